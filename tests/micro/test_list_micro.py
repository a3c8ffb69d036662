"""`python -m reports serve`: the list of 100 runs of eight cells against that of 1,000.

./launch.sh micro tests/micro/test_list_micro.py     (aim: ten times the time, at most 0.3 s)
"""

import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.serve import make_server
from tests.support.record_factory import ZOO, record, write_run

pytestmark = pytest.mark.micro


@pytest.fixture(params=[100, 1000])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    files = {}
    first = write_run(tmp_path / "runs" / "0000", [record(animal) for animal in ZOO])
    for path in first.rglob("*.json"):
        files[path.relative_to(first)] = path.read_bytes()
    for number in range(1, request.param):
        for name, content in files.items():
            path = tmp_path / "runs" / f"{number:04}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    with make_server(tmp_path / "runs", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def ask(address: str) -> bytes:
    with urllib.request.urlopen(address) as answer:
        content: bytes = answer.read()
    return content


@pytest.mark.benchmark(group="the list of runs, asked for again")
def test_list(benchmark: Any, address: str) -> None:
    page = ask(address)  # every record is read for the first time
    assert page.count(b"<th><a href") in (100, 1000)  # a row a run
    assert benchmark(ask, address) == page

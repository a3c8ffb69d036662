"""`python -m reports serve`.

Oracles: what stands in the records; paths and hosts that must not be answered.
"""

import http.client
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.results.storage import read, write_json
from reports.__main__ import main
from reports.serve import Handler, make_server
from tests.support.record_factory import ZOO, failed, record, write_run

Answer = tuple[int, str, dict[str, str]]


@contextmanager
def served(root: Path) -> Iterator[int]:
    with make_server(root, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def ask(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", f"{host}:{port}")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.html").write_text("secret", encoding="utf-8")
    runs = tmp_path / "runs"
    write_run(runs / "one", [record(ZOO[0], run="one"), failed(ZOO[1], "oom", "2 GiB", run="one")])
    started = record(ZOO[0], run="two", status="started", accuracy=None, finished=None)
    write_run(runs / "two", [started])
    write_json(
        runs / "two" / "config.json", {"models": [ZOO[0].name, ZOO[1].name], "seeds": [0, 1]}
    )
    return runs


def test_it_lists_every_run_with_its_state(root: Path) -> None:
    with served(root) as port:
        status, page, _ = ask(port, "/")
    assert status == 200
    assert "1 of 2 cells, 1 out of memory" in page
    assert "training: 0 of 4 cells" in page


def test_it_shows_a_cell_at_work_with_its_curve(root: Path) -> None:
    with served(root) as port:
        _, page, _ = ask(port, "/")
    assert f"{ZOO[0].name}-s0: epoch 5" in page
    assert page.count("<polyline") == 2  # one cell with a curve in each of the two runs


def test_it_refreshes_only_while_a_run_trains(root: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "done" / "one", [record(ZOO[0], run="one")])
    with served(root) as port:
        assert 'http-equiv="refresh"' in ask(port, "/")[1]
    with served(tmp_path / "done") as port:
        assert 'http-equiv="refresh"' not in ask(port, "/")[1]


def test_it_opens_a_report_that_is_not_written_yet_and_writes_nothing(root: Path) -> None:
    before = sorted(root.rglob("*"))
    with served(root) as port:
        status, page, _ = ask(port, "/run/one")
    assert status == 200
    assert "Content-Security-Policy" in page
    assert sorted(root.rglob("*")) == before


def test_it_opens_the_report_that_was_written(root: Path) -> None:
    (root / "one" / "report.html").write_text("<p>written</p>", encoding="utf-8")
    with served(root) as port:
        assert ask(port, "/run/one")[1] == "<p>written</p>"


@pytest.mark.parametrize(
    "path",
    [
        "/run/none",
        "/run/..",
        "/run/../secret.html",
        "/run/%2e%2e%2fsecret.html",
        "/run/one/../../secret.html",
        "/run//etc/passwd",
        "/run/one%2freport.html",
        "/etc/passwd",
        "/run/",
        "/run/%00",
        "/run/one%00",
    ],
)
def test_no_path_leads_out(root: Path, path: str) -> None:
    with served(root) as port:
        status, page, _ = ask(port, path)
    assert status == 404
    assert "secret" not in page
    assert "root:" not in page


def test_a_link_that_leads_out_is_no_run(root: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "outside", [record(ZOO[2], run="outside")])
    (root / "linked").symlink_to(tmp_path / "outside")
    with served(root) as port:
        assert "linked" not in ask(port, "/")[1]
        assert ask(port, "/run/linked")[0] == 404


def test_a_report_that_is_a_link_is_not_followed(root: Path, tmp_path: Path) -> None:
    (root / "one" / "report.html").symlink_to(tmp_path / "secret.html")
    with served(root) as port:
        assert ask(port, "/run/one")[1] != "secret"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_only_reads(root: Path, method: str) -> None:
    with served(root) as port:
        assert ask(port, "/run/one", method)[0] == 501


def test_head_answers_without_a_body(root: Path) -> None:
    with served(root) as port:
        status, body, headers = ask(port, "/", "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["content-length"]) > 0


def test_a_foreign_host_name_is_refused(root: Path) -> None:
    with served(root) as port:
        assert ask(port, "/", host="evil.example")[0] == 403
        assert ask(port, "/", host="localhost")[0] == 200


def test_the_list_runs_no_script_and_loads_nothing(root: Path) -> None:
    with served(root) as port:
        _, page, headers = ask(port, "/")
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "script-src" not in headers["content-security-policy"]
    assert "<script" not in page


def test_it_listens_on_the_loopback_only(root: Path) -> None:
    with make_server(root, 0) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_hostile_names_are_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    write_run(tmp_path / name, [failed(ZOO[0], "started", None, run=name)])
    with served(tmp_path) as port:
        _, page, _ = ask(port, "/")
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_torn_records_are_counted(root: Path) -> None:
    next((root / "one" / "cells").glob("*/record.json")).write_text("{", encoding="utf-8")
    with served(root) as port:
        assert "1 unreadable" in ask(port, "/")[1]


def spoil_name(run: Path) -> None:
    run.rename(os.fsdecode(os.fsencode(run.parent) + b"/one\xff"))


def spoil_config(run: Path, content: str) -> None:
    (run / "config.json").write_text(content, encoding="utf-8")


def spoil_record(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = next((run / "cells").glob("*/record.json"))
    content = json.loads(path.read_bytes())
    change(content)
    write_json(path, content)


def spoil_kind(run: Path) -> None:
    path = next((run / "cells").glob("*/record.json"))
    path.unlink()
    os.mkfifo(path)


SPOILERS: dict[str, Callable[[Path], None]] = {
    "a name that is no text": spoil_name,
    "a configuration as deep as a well": lambda run: spoil_config(run, "[" * 100_000),
    "models that are no list": lambda run: spoil_config(run, '{"models": {"a": 1}, "seeds": 3}'),
    "an epoch of no images": lambda run: spoil_record(
        run, lambda content: content["epochs"][0]["evaluation"].update(num_images=0)
    ),
    "a pipe for a record": spoil_kind,
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_a_bad_run_is_a_row_and_the_others_are_listed(
    root: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(root / "one")
    with served(root) as port:
        status, page, _ = ask(port, "/")
        assert status == 200
        assert "training: 0 of 4 cells" in page  # the other run
        links = re.findall(r'href="(/run/[^"]+)"', page)
        assert len(links) == 2
        for link in links:
            assert ask(port, link)[0] == 200


def test_runs_that_come_and_go_cost_no_answer(root: Path) -> None:
    stop = threading.Event()

    def move() -> None:
        while not stop.is_set():
            shutil.copytree(root / "one", root / "moving")
            shutil.rmtree(root / "moving")

    mover = threading.Thread(target=move)
    with served(root) as port:
        mover.start()
        try:
            answers = [ask(port, "/") for _ in range(60)]
        finally:
            stop.set()
            mover.join()
    assert all(status == 200 and "training: 0 of 4" in page for status, page, _ in answers)


def test_a_record_is_read_again_only_when_it_has_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []

    def counted(path: Path, kind: Any) -> Any:
        reads.append(path)
        return read(path, kind)

    monkeypatch.setattr("reports.progress.read", counted)
    with served(root) as port:
        ask(port, "/")
        assert len(reads) == 3
        ask(port, "/")
        assert len(reads) == 3
        spoil_record(root / "two", lambda content: content.update(seed=5))
        ask(port, "/")
    assert len(reads) == 4


def talk(port: int, request: bytes) -> bytes:
    """Send bytes as they are; return all that comes until the server hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_two_hosts_are_refused(root: Path) -> None:
    with served(root) as port:
        request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n"
        assert talk(port, request).startswith(b"HTTP/1.0 403")


def test_a_client_that_says_nothing_is_hung_up_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "timeout", 0.2)
    with served(root) as port:
        assert talk(port, b"") == b""
        assert talk(port, b"GET / HT") == b""


def test_a_client_that_hangs_up_leaves_no_traceback(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(root) as port:
        for _ in range(5):
            connection = socket.create_connection(("127.0.0.1", port))
            # To close with this set is to reset: what is sent on finds nobody.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(b"GET /run/one HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            connection.close()
        assert ask(port, "/")[0] == 200
    assert capsys.readouterr().err == ""


def test_a_run_s_page_has_an_origin_of_its_own(root: Path) -> None:
    with served(root) as port:
        policy = ask(port, "/run/one")[2]["content-security-policy"]
    assert "sandbox" in policy
    assert "allow-same-origin" not in policy


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with served(tmp_path) as port:
        assert "No runs yet." in ask(port, "/")[1]


@pytest.mark.parametrize(
    "given",
    [["none"], ["runs", "--port", "1"], ["runs", "--port", "99999"], ["runs", "--port", "-1"]],
)
def test_wrong_requests_are_refused_in_one_line(
    given: list[str],
    root: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("reports.serve.Server", refuse)
    monkeypatch.chdir(root.parent)
    assert main(["serve", *given]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_it_needs_no_torch(root: Path) -> None:
    code = "import sys, reports.serve; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])

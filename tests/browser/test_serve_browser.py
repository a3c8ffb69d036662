"""Pages of runs as `python -m reports serve` hands them out, in a real browser."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.serve import make_server
from tests.support.record_factory import write_demo

pytestmark = pytest.mark.browser

# What a run's folder may bring: a page that reads the list and the other runs.
HOSTILE = """<!doctype html><title>hostile</title><p id="said">nothing</p><script>
async function steal(path) {
  try { return (await (await fetch(path)).text()).length + " characters"; }
  catch (error) { return "refused"; }
}
Promise.all(["/", "/run/demo"].map(steal)).then((all) => { said.textContent = all.join(); });
</script>"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("served")
    write_demo(root / "demo", seeds=(0,))
    hostile = write_demo(root / "hostile", seeds=(0,))
    (hostile / "report.html").write_text(HOSTILE, encoding="utf-8")
    with make_server(Path(root), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_hostile_run_s_page_reads_nothing_of_others(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/run/hostile")
    page.locator("#said", has_text=",").wait_for()
    assert page.text_content("#said") == "refused,refused"
    page.close()


def test_a_run_s_page_works_in_its_sandbox(browser: Any, address: str) -> None:
    page = browser.new_page(accept_downloads=True)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/run/demo")
    page.wait_for_selector("#rows tr, table tbody tr")
    page.click("thead button >> nth=1")  # sort
    assert "sort=" in page.evaluate("location.hash")
    with page.expect_download() as download:
        page.click("#csv")
    assert Path(download.value.path()).read_text(encoding="utf-8-sig").count("\n") > 5
    page.click("#link")
    page.locator("#shown", has_text="ink").wait_for()
    assert errors == []
    page.close()

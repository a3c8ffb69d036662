"""One browser for all tests of the page.

Every page is watched for requests, errors and policy violations.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opened_page import Open, Opened, missing_browser

from reports.page import build_page
from reports.runs import read_source
from tests.support.record_factory import write_demo

WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (e) => {
  violations.push(e.effectiveDirective + ' ' + e.blockedURI);
});
"""


FIRST_VIEW = """() => {
history.replaceState(null, '', '#');
readAddress();
showAll();
document.querySelectorAll('details[open]').forEach((details) => { details.open = false; });
document.activeElement.blur();
violations.length = 0;
scrollTo(0, 0);
}"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, started once."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing_browser("no Playwright")
    path = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    )
    if path is None:
        missing_browser("no chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def demo_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run as users have it."""
    folder = write_demo(tmp_path_factory.mktemp("browser") / "demo")
    (folder / "report.html").write_text(build_page(read_source([folder])), encoding="utf-8")
    return folder / "report.html"


def open_page(browser: Any, path: Path, view: str = "", **options: Any) -> Opened:
    """Open a file offline in a context of its own, and watch it."""
    context = browser.new_context(offline=True, reduced_motion="reduce", **options)
    context.add_init_script(WATCH)
    page = context.new_page()
    page.set_default_timeout(30_000)
    found = Opened(page, path.as_uri())
    page.on("request", lambda request: found.requests.append(request.url[:100]))
    page.on(
        "console", lambda m: found.errors.append(m.text) if m.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    if options.get("java_script_enabled", True):
        found.load(view)
    else:
        page.goto(found.url)
    return found


def check_quiet(found: Opened) -> None:
    """Check that nothing but the document was asked for, and nothing reported or refused."""
    assert [r for r in found.requests if not r.startswith(("data:", "blob:", "about:"))] in (
        [],
        [found.url[:100]],
    )
    assert found.errors == []
    assert found.page.evaluate("window.violations ?? []") == []


@pytest.fixture
def opened(browser: Any) -> Iterator[Open]:
    """Open pages of a test's own."""
    held: list[Opened] = []

    def start(path: Path, view: str = "", **options: Any) -> Opened:
        held.append(open_page(browser, path, view, **options))
        return held[-1]

    yield start
    for found in held:
        check_quiet(found)
        found.page.context.close()


@pytest.fixture(scope="session")
def shared(browser: Any, demo_page: Path) -> Iterator[Opened]:
    """The demo's page, opened once: a page takes seconds to open on a busy machine."""
    found = open_page(browser, demo_page)
    yield found
    found.page.context.close()


@pytest.fixture
def demo(shared: Opened) -> Iterator[Opened]:
    """The demo's page in its first view, as its own Reset button gives it."""
    shared.page.mouse.move(0, 0)
    shared.page.evaluate(FIRST_VIEW)
    shared.errors.clear()
    yield shared
    check_quiet(shared)

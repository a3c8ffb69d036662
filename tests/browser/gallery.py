"""Pictures of a report for the README: light, dark and narrow.

python tests/browser/gallery.py results/quick docs
"""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from reports.page import build_page
from reports.runs import read_source

VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 1500}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 1500}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 1100}},
}


def take(page_file: Path, folder: Path) -> list[Path]:
    """Take the pictures of a page that is on disk.

    The first chart is drawn before the first picture is taken.
    """
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, options in VIEWS.items():
            page = browser.new_context(offline=True, **options).new_page()
            page.goto(page_file.resolve().as_uri())
            page.wait_for_selector("html[data-ready]", state="attached")
            page.locator(
                ".chart"
            ).first.scroll_into_view_if_needed()  # charts are drawn when they are first seen
            page.wait_for_selector(".chart .main-svg")
            page.evaluate("window.scrollTo(0, 0)")
            taken.append(folder / f"report-{name}.png")
            page.screenshot(path=taken[-1])
        browser.close()
    return taken


def main() -> None:
    """Build the page of the runs given and take its pictures."""
    parser = argparse.ArgumentParser(description="Pictures of a report for the README.")
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        help="run folders, or folders of runs; the last argument is where to",
    )
    given = parser.parse_args().runs
    if len(given) < 2:
        parser.error("give at least one run and the folder for the pictures")
    *runs, folder = given
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    page.write_text(build_page(read_source(runs)), encoding="utf-8")
    for path in take(page, folder):
        print(path)
    page.unlink()


if __name__ == "__main__":
    main()

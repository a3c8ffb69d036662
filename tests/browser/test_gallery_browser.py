"""The gallery in a real browser. Oracle: the images that were written, counted one by one."""

import numpy as np
import pytest
from opened_page import Open

from reports.page import build_page
from reports.runs import read_source
from tests.support.record_factory import ZOO
from tests.test_gallery import Written, exact_p, write_three

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Written:
    written = write_three(tmp_path_factory.mktemp("gallery") / "run")
    page = build_page(read_source([written.folder]))
    (written.folder / "report.html").write_text(page, encoding="utf-8")
    return written


def only(run: Written, first: str, second: str) -> list[int]:
    """The images that the first model gets right and the second one wrong."""
    right = {name: said == run.labels for name, said in run.said.items()}
    return [int(i) for i in np.flatnonzero(right[first] & ~right[second])]


@pytest.mark.parametrize("width", [320, 1280])
def test_a_pair_is_counted_and_shown(width: int, run: Written, opened: Open) -> None:
    page = opened(run.folder / "report.html", viewport={"width": width, "height": 900})
    first, second = ZOO[2].name, ZOO[0].name
    page.page.select_option("#first", label=first)
    page.page.select_option("#second", label=second)
    page.wait("document.querySelectorAll('#gallery .pictures').length === 2")
    a, b = only(run, first, second), only(run, second, first)
    said = page.page.inner_text("#gallery .body p")
    assert f"Of 400 test images {len(a)} are right by {first} alone, {len(b)} by {second}" in said
    assert f"is {exact_p(len(a), len(b)):.4f}," in said or "below 0.0001" in said
    # What is shown is among the images, those of even numbers, that only one gets right.
    texts = page.page.eval_on_selector_all(
        "#gallery .pictures:first-of-type img", "images => images.map(i => i.alt)"
    )
    numbers = {int(text.split()[2].rstrip(",")) for text in texts}
    kept = {i for i in [*a, *b] if i % 2 == 0}
    assert numbers
    assert numbers <= kept
    rows = page.page.eval_on_selector_all(
        "#gallery tbody tr", "rows => rows.map(r => [...r.children].map(c => c.textContent))"
    )
    assert sum(int(row[2]) for row in rows) == len(a)
    assert sum(int(row[3]) for row in rows) == len(b)
    assert page.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_a_link_restores_pair_and_class(run: Written, opened: Open) -> None:
    page = opened(run.folder / "report.html")
    shown = page.page.evaluate("data.gallery.pictures.labels[0]")
    page.page.select_option("#first", label=ZOO[1].name)
    page.page.select_option("#class", value=str(shown))
    page.load(page.page.evaluate("location.hash.slice(1)"))
    assert page.page.eval_on_selector("#first", "s => s.selectedOptions[0].text") == ZOO[1].name
    assert page.page.input_value("#class") == str(shown)
    page.wait(
        "name => [...document.querySelectorAll('#gallery .pictures img')]"
        ".every(image => image.alt.endsWith(', ' + name))",
        f"class {shown}",
    )


def test_axe_finds_nothing_in_the_gallery(run: Written, opened: Open) -> None:
    sync = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(run.folder / "report.html")
    page.wait("document.querySelectorAll('#gallery h3').length")
    found = sync.Axe().run(page.page, context="#gallery")
    assert [each["id"] for each in found.response["violations"]] == []

"""Random sets of records in a real browser: right order, nothing runs, nothing overflows.

Oracle: Python's own sort of the records' numbers; a mark that any script in a name would leave.
"""

from pathlib import Path

import pytest
from opened_page import Open, Opened

from bench.results.setting import ranking_key
from reports.page import build_page
from reports.runs import Source
from tests.support.random_records import random_source

pytestmark = pytest.mark.browser
NUMBERS = range(200)
SOME = NUMBERS[::20]
OTHERS = [number for number in NUMBERS if number not in SOME]


def expected_order(source: Source) -> list[str]:
    """Sort models by mean top-1 among those ranked together, best first, without one last."""
    groups: dict[str, dict[tuple[str, str], list[float]]] = {}
    for run, cell in source.cells:
        rows = groups.setdefault(repr(ranking_key(cell.record)), {}).setdefault(
            (run.name, cell.record.model), []
        )
        if cell.record.status == "ok" and cell.record.accuracy:
            rows.append(cell.record.accuracy.top1)
    names = []
    for rows_of_group in groups.values():
        means = {
            key: sum(values) / len(values) if values else None
            for key, values in rows_of_group.items()
        }
        with_top1 = sorted(
            (-mean, place, key[1])
            for place, (key, mean) in enumerate(means.items())
            if mean is not None
        )
        names += [name for _, _, name in with_top1] + [
            key[1] for key, mean in means.items() if mean is None
        ]
    return names


def check(opened: Opened, number: int, folder: Path) -> None:
    source = random_source(number)
    file = folder / f"{number}.html"
    file.write_text(build_page(source), encoding="utf-8")
    opened.requests.clear()
    opened.url = file.as_uri()
    opened.load()
    assert opened.models() == expected_order(source), number
    assert opened.page.evaluate("window.ran") is None
    assert opened.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, number
    opened.page.click("#ranking th[data-sort=top1] button")
    values = opened.page.evaluate("bodies.map(b => b.order.map(row => row.values.top1 ?? null))")
    for group in values:
        present = [v for v in group if v is not None]
        assert present == sorted(present)
        assert group[len(present) :] == [None] * (len(group) - len(present))
    file.unlink()


@pytest.mark.ci
def test_some_random_pages(opened: Open, tmp_path: Path, demo_page: Path) -> None:
    page = opened(demo_page)
    for number in SOME:
        check(page, number, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_the_other_random_pages(part: int, opened: Open, tmp_path: Path, demo_page: Path) -> None:
    page = opened(demo_page, viewport={"width": 360, "height": 700})
    for number in OTHERS[part::10]:
        check(page, number, tmp_path)


def test_hostile_names_do_nothing_in_charts_and_models(opened: Open, tmp_path: Path) -> None:
    source = random_source(next(n for n in NUMBERS if "onerror" in str(random_source(n))))
    file = tmp_path / "hostile.html"
    file.write_text(build_page(source, None), encoding="utf-8")
    page = opened(file)
    page.draw_all()
    page.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.wait(
        "document.querySelectorAll('.model .facts').length"
        " === document.querySelectorAll('.model').length"
    )
    assert page.page.evaluate("window.ran") is None
    assert page.page.locator("main img:not(.pictures img):not(.sprite)").count() == 0

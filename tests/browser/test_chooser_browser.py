"""The chooser's controls.

Oracle: Python's chooser, which reads the same records and makes the same draws.
"""

from pathlib import Path

import numpy as np
import pytest
from opened_page import Open, Opened

from bench.results.posterior import Field, count_normals, draw_true
from reports.candidates import candidates_of
from reports.choice_text import answer
from reports.column import format_value
from reports.question import read_question
from reports.ranking import Group, entries_of, groups_of
from reports.runs import Source, read_source

pytestmark = pytest.mark.browser

SENTENCES = "document.querySelector('#choices').textContent"


@pytest.fixture(scope="session")
def source(demo_page: Path) -> Source:
    return read_source([demo_page.parent])


@pytest.fixture(scope="session")
def group(source: Source) -> Group:
    return groups_of(entries_of(source))[0]


def expected(
    source: Source, group: Group, choose: str, prefer: str | None = None, price: float | None = None
) -> str:
    question = read_question(source, choose, prefer, price)
    return " ".join(each.striptags() for each in answer(group, question).sentences)


def test_the_page_opens_with_pythons_sentence(demo: Opened, source: Source, group: Group) -> None:
    assert demo.page.evaluate(SENTENCES) == expected(source, group, "")


def test_draws_are_pythons(demo: Opened, group: Group) -> None:
    found = demo.page.evaluate("[...countNormals('top1:3', 2000)]")
    assert found == pytest.approx(count_normals("top1:3", 2_000), abs=1e-12)
    for key in ("top1", "train_images_per_second", "latency_ms_p95", "num_parameters", "nll"):
        candidates = candidates_of(group, key)
        assert candidates is not None
        drawn = demo.page.evaluate(
            "key => candidatesOf(0, key).draws.map(own => own && [...own])", key
        )
        for place, own in enumerate(drawn):
            if own is None:
                assert np.isnan(candidates.draws[:, place]).all()
            else:
                assert own == pytest.approx(candidates.draws[:, place], rel=1e-9)


@pytest.mark.parametrize("first", [54.0, 14.0, 35.0], ids=["ahead", "behind", "near"])
def test_a_model_too_far_away_is_drawn_as_by_python(demo: Opened, first: float) -> None:
    figures, own, spreads = [first, 34.6, 33.4, 32.5], [0.4, 0.5, 0.4, 0.3], [0.4, 1.0, 2.0, 9.0]
    expected = draw_true(Field(np.array(figures), np.array(own), 0.3, np.array(spreads)), "x")
    field = {"figures": figures, "own": own, "shared": 0.3, "spreads": spreads}
    found = demo.page.evaluate("field => drawTrue(field, 'x').map(own => [...own])", field)
    assert pytest.approx(expected, rel=1e-9) == np.array(found).T


def test_numbers_are_written_as_python_writes_them(demo: Opened) -> None:
    draw = np.random.default_rng(0)
    values = [*(draw.lognormal(0, 6, 400)), *(draw.integers(0, 10**6, 400) / 2**5)]
    values += [0.0, 0.295, 0.285, 1.25, 0.0625, 99.95, 9.995, 119.99, 1e9, 999_999.5]
    for kind in ("percent", "bytes", "count", "seconds", "ms", "number"):
        found = demo.page.evaluate(
            "([values, kind]) => values.map(v => formatValue(v, kind))", [values, kind]
        )
        assert found == [format_value(value, kind) for value in values], kind


QUESTIONS = [
    ("", "top5", None),
    ("", "num_parameters", 0.4),
    ("", "ece", None),
    ("top1>=20", "train_images_per_second", None),
    ("latency_ms_p95<=3 ms", "top1", 2.5),
    ("num_parameters<=5M, train_images_per_second>=150", "top1", None),
    ("peak_memory_bytes<=200 MB, latency_ms_p50<=2.3", "nll", None),
    ("latency_ms_p50<=0.1, top1>=99.5", "top1", None),
    ("train_cost<=0.001", "train_seconds", 1.0),
    ("train_images_per_second>=1000", "top1", None),
    ("train_images_per_second>=900", "superclass_top1", None),
]


@pytest.mark.parametrize(("choose", "prefer", "price"), QUESTIONS)
def test_a_link_says_what_python_says(
    choose: str, prefer: str, price: float | None, demo: Opened, source: Source, group: Group
) -> None:
    question = read_question(source, choose, prefer, price)
    asked = {
        "choose": ",".join(limit.text for limit in question.limits),
        "prefer": prefer,
        "price": "" if price is None else str(price),
    }
    demo.page.evaluate("asked => { location.hash = new URLSearchParams(asked).toString(); }", asked)
    demo.wait("document.querySelector('#chooser').open")
    assert demo.page.evaluate(SENTENCES) == expected(source, group, choose, prefer, price)


def test_controls_change_the_sentence_and_the_link(
    demo: Opened, source: Source, group: Group, opened: Open, demo_page: Path
) -> None:
    page = demo.page
    page.click("#chooser summary")
    page.click("#add-limit")
    page.select_option("[aria-label='Column of limit 1']", "peak_memory_bytes")
    page.select_option("[aria-label='Unit of limit 1']", label="MB")
    page.fill("[aria-label='Number of limit 1']", "80")
    page.click("#add-limit")
    page.select_option("[aria-label='Column of limit 2']", "top1")
    page.fill("[aria-label='Number of limit 2']", "10")
    page.fill("#price", "1.5")
    words = expected(source, group, "peak_memory_bytes<=80MB, top1>=10", None, 1.5)
    assert page.evaluate(SENTENCES) == words
    assert page.inner_text("#as-command") == (
        'python -m reports RUN --choose "peak_memory_bytes<=80000000, top1>=10" --price 1.5'
    )
    other = opened(demo_page, view=page.evaluate("location.hash.slice(1)"))
    assert other.page.evaluate(SENTENCES) == words
    assert other.page.input_value("[aria-label='Number of limit 1']") == "80"
    page.click("[aria-label='Remove limit 1']")
    assert page.evaluate(SENTENCES) == expected(source, group, "top1>=10", None, 1.5)
    page.fill("[aria-label='Number of limit 1']", "")
    page.fill("#price", "")
    assert page.evaluate(SENTENCES) == expected(source, group, "")
    assert page.evaluate("location.hash") == ""


def test_the_table_of_chances_has_the_figures(demo: Opened) -> None:
    demo.page.evaluate("location.hash = 'choose=num_parameters<=5000000'")
    demo.wait("document.querySelector('#chances table') !== null")
    rows = demo.page.eval_on_selector_all(
        "#chances tr", "rows => rows.map(row => [...row.children].map(cell => cell.textContent))"
    )
    assert rows[0] == ["Model", "The best within the limits", "Top-1", "Parameters"]
    assert rows[1][0] == "lenet5"
    assert rows[1][3] == "69.7 k"
    assert len(rows) == 9


@pytest.mark.parametrize("view", ["choose=<b>&prefer=x&price=-1", "choose=top1<=a,zz<=1&price=x"])
def test_a_question_that_makes_no_sense_is_survived(view: str, demo: Opened) -> None:
    demo.page.evaluate("view => { location.hash = view; }", view)
    demo.wait("document.querySelector('#shown').textContent === '9 rows'")
    assert demo.page.evaluate(SENTENCES).startswith("Take resnet18_cifar: ")

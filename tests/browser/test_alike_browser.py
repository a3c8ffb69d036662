"""Models, runs and classes of equal and nearly equal names: each is a mark of its own.

Oracle: how many rows and classes were written, and a row's own figures, whatever it is called.
"""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opened_page import Open, Opened

from reports.page import build_page
from reports.runs import read_source
from tests.support.record_factory import Animal, accuracy, comparison, data_info, record, write_run

pytestmark = pytest.mark.browser
# Alike in their first 29 characters, in those and their last ones, and not escaped.
NAMES = (
    "alexnet_single_tower_of_somebody@lrn=on",
    "alexnet_single_tower_of_somebody@lrn=off",
    "x" * 70,
    "x" * 35 + "y" + "x" * 35,
    "<b>bold</b> and as long as the next one",
    "<b>bold</b> and as long as the next two",
    "lenet5",
    "1",
    "2026-11-22",
)
RUNS = ("a run whose name is very long, the first", "a run whose name is very long, the other", "r")
NUM_CLASSES = 40


def write_alike(number: int, folder: Path) -> tuple[list[Path], int]:
    """Write two or three runs of the same models in which little is called unlike."""
    draw = random.Random(number)
    names = draw.sample(NAMES, draw.randint(2, 5))
    superclasses = tuple(f"things that are found in gardens, {i % 7}" for i in range(8))
    data = data_info(
        class_names=tuple(f"a flower of many words, kind {i % 30}" for i in range(NUM_CLASSES)),
        superclass_names=superclasses,
        superclass_of=tuple(i % 8 for i in range(NUM_CLASSES)),
        num_test=400,
    )
    folders = []
    for run in draw.sample(RUNS, draw.choice((2, 3))):
        animals = []
        for name in names:
            size, speed = draw.randint(10**4, 10**6), draw.uniform(50, 5_000)
            animals.append(Animal(name, "one", size, 10 * size, speed, draw.uniform(20, 80)))
        cells = [record(animal, run=run, data=data, num_epochs=3) for animal in animals]
        small = [
            replace(cell, accuracy=accuracy(37.5 + 2 * i, n=400)) for i, cell in enumerate(cells)
        ]
        folders.append(write_run(folder / f"{len(folders)}", small, comparison(animals, run=run)))
    return folders, len(folders) * len(names)


# Each figure is drawn as a person who chooses its tab would see it.
DRAW = """async key => {
  const figure = data.figures.find(f => f.key === key);
  const chart = document.querySelector(`.chart[data-chart="${figure.chart}"]`);
  state.tabs[figure.chart] = key;
  await draw(chart);
  const place = chart.querySelector(".plot");
  const ticks = axis => place._fullLayout[`${axis}axis`].type === "category"
    ? [...place.querySelectorAll(`.${axis}tick text`)].map(t => t.textContent) : [];
  return {
    traces: place.calcdata.map((points, i) => ({
      type: place.data[i].type, across: place.data[i].orientation === "h",
      starts: points.map(p => p.b ?? null), places: points.map(p => p.p ?? null),
      rows: place.data[i].z?.length, columns: place.data[i].z?.[0].length,
    })),
    bars: place.querySelectorAll(".bars .point").length,
    places: ["xaxis", "yaxis"].map(a => (place._fullLayout[a]._categories ?? []).length),
    x: ticks("x"), y: ticks("y"),
    legend: [...place.querySelectorAll(".legendtext")].map(t => t.textContent),
  };
}"""


def check(opened: Opened, num_rows: int) -> None:
    figures = opened.page.evaluate("data.figures.map(f => [f.key, f.chart])")
    assert {"tradeoff", "curve", "reach", "bottleneck", "memory", "pair", "map", "gap"} <= {
        chart for _, chart in figures
    }
    for key, chart in figures:
        found = opened.page.evaluate(DRAW, key)
        assert len(set(found["legend"])) == len(found["legend"]), key
        assert len(set(found["x"])) == len(found["x"]), key
        assert len(set(found["y"])) == len(found["y"]), key
        check_figure(key, chart, found, num_rows)


def check_figure(key: str, chart: str, found: dict[str, Any], num_rows: int) -> None:
    bars = [trace for trace in found["traces"] if trace["type"] == "bar"]
    if chart in ("memory", "bottleneck"):
        assert len(found["y"]) == num_rows, key
        assert found["bars"] == len(bars) * num_rows
        # The first kind begins at 0 in every row: no row stands on another of its name.
        assert bars[0]["starts"] == [0] * num_rows
        assert all(sorted(bar["places"]) == sorted(bars[0]["places"]) for bar in bars)
    if chart == "pair":
        assert (found["traces"][0]["rows"], found["traces"][0]["columns"]) == (num_rows, num_rows)
        assert found["places"] == [num_rows, num_rows]
    if key == "map-class":
        assert found["places"] == [NUM_CLASSES, num_rows]
    if key == "map-superclass":
        assert found["places"] == [8, num_rows]
    if chart == "gap":
        assert found["places"][0] == NUM_CLASSES
    if chart == "calibration":
        assert len(found["legend"]) == num_rows + 1


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 12))]
)
@pytest.mark.ci
def test_a_row_is_a_mark_whatever_it_is_called(number: int, opened: Open, tmp_path: Path) -> None:
    folders, num_rows = write_alike(number, tmp_path)
    file = tmp_path / "page.html"
    file.write_text(build_page(read_source(folders)), encoding="utf-8")
    check(opened(file, viewport={"width": 1280, "height": 900}), num_rows)
    narrow = opened(file, viewport={"width": 320, "height": 700})
    check(narrow, num_rows)
    # A model's own chart of superclasses, too.
    narrow.page.evaluate("document.querySelector('details.model').open = true")
    narrow.wait("document.querySelectorAll('details.model[open] .main-svg').length")
    narrow.wait(
        "[...document.querySelectorAll('details.model[open] .plot')]"
        ".some(p => p._fullLayout?.yaxis._categories?.length === 8)"
    )

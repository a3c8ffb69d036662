"""Charts in a real browser.

Oracle: the records' own values, met again in table twins and in what plotly was given.
"""

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opened_page import Open, Opened

from reports.page import build_page
from reports.runs import read_source
from tests.support.record_factory import (
    PAPERS,
    ZOO,
    comparison,
    measurements,
    predictions,
    record,
    write_run,
)

pytestmark = pytest.mark.browser
SEEDS = (0, 1, 2)


def given(demo: Opened, chart: str) -> list[dict[str, Any]]:
    """The traces that plotly was given."""
    place = f".chart[data-chart='{chart}'] .plot"
    demo.page.evaluate("selector => document.querySelector(selector).scrollIntoView()", place)
    demo.wait("selector => document.querySelector(selector).querySelector('.main-svg')", place)
    found: list[dict[str, Any]] = demo.page.eval_on_selector(
        place, "p => p.data.map(t => structuredClone(t))"
    )
    return found


def test_charts_are_drawn_when_they_are_first_seen(opened: Open, demo_page: Path) -> None:
    page = opened(demo_page, viewport={"width": 1280, "height": 500})
    assert page.page.query_selector(".chart[data-chart=calibration] .main-svg") is None
    page.page.locator(".chart[data-chart=calibration]").scroll_into_view_if_needed()
    page.page.wait_for_selector(".chart[data-chart=calibration] .main-svg")


def test_every_chart_can_be_drawn(demo: Opened) -> None:
    demo.draw_all()
    assert demo.page.locator(".chart[data-chart] .main-svg").count() >= 9


def test_no_chart_offers_to_share_itself(demo: Opened) -> None:
    demo.draw_all()
    assert demo.page.locator(".modebar-btn").count() == 0
    assert demo.page.get_by_text("Share chart").count() == 0


def test_each_chart_says_its_finding(demo: Opened) -> None:
    captions = demo.page.eval_on_selector_all(
        ".chart[data-chart] figcaption", "c => c.map(x => x.textContent)"
    )
    assert all(len(caption) > 40 for caption in captions)
    names = demo.page.eval_on_selector_all(
        ".chart[data-chart] .plot",
        "p => p.map(x => [x.getAttribute('role'), !!x.getAttribute('aria-describedby')])",
    )
    assert all(name == ["img", True] for name in names)


def test_the_twin_of_the_trade_off_holds_every_model(demo: Opened) -> None:
    head, *rows = demo.twin("tradeoff")
    assert head == ["Model", "Training (images/s)", "Top-1 (%)", "Low", "High"]
    assert sorted(row[0] for row in rows) == sorted(a.name for a in ZOO)
    for row in rows:
        animal = next(a for a in ZOO if a.name == row[0])
        (rate,) = (m for m in measurements(animal) if m.metric == "train_images_per_second")
        counts = [a.num_top1 for s in SEEDS if (a := record(animal, s).accuracy)]
        assert float(row[1]) == pytest.approx(128 / statistics.median(rate.values[0]), rel=1e-5)
        assert float(row[2]) == pytest.approx(statistics.mean(counts) / 100, rel=1e-5)
        assert float(row[3]) < float(row[2]) < float(row[4])


def test_the_pareto_front_is_what_nothing_beats(demo: Opened) -> None:
    rows = [(row[0], float(row[1]), float(row[2])) for row in demo.twin("tradeoff")[1:]]
    expected = {
        n for n, x, y in rows if not any(a >= x and b >= y and (a > x or b > y) for _, a, b in rows)
    }
    front = next(t for t in given(demo, "tradeoff") if t["name"] == "Pareto front")
    assert {
        n for n, x, _ in rows if x in [pytest.approx(v, rel=1e-5) for v in front["x"]]
    } == expected


def test_another_cost_can_be_chosen(demo: Opened) -> None:
    given(demo, "tradeoff")
    before = demo.page.inner_text("#caption-tradeoff")
    demo.choose("tradeoff-peak_memory_bytes")
    demo.wait("document.querySelector('[data-chart=tradeoff]').dataset.drawn.endsWith('bytes')")
    assert demo.page.inner_text("#caption-tradeoff") != before
    assert demo.twin("tradeoff")[0][1] == "Peak memory (MB)"


def test_names_stand_beside_their_points(demo: Opened) -> None:
    texts = [t.strip() for trace in given(demo, "tradeoff") for t in trace.get("text", [])]
    assert {a.name for a in ZOO} >= {t for t in texts if t}
    assert len([t for t in texts if t]) >= 6


def test_names_leave_narrow_charts(opened: Open, demo_page: Path) -> None:
    page = opened(demo_page, viewport={"width": 360, "height": 640})
    assert all("text" not in trace["mode"] for trace in given(page, "tradeoff"))


def test_narrow_charts_still_name_every_model(opened: Open, demo_page: Path) -> None:
    page = opened(demo_page, viewport={"width": 320, "height": 640})
    for chart in ("map", "pair", "bottleneck"):
        page.page.locator(f".chart[data-chart={chart}]").scroll_into_view_if_needed()
        page.page.wait_for_selector(f".chart[data-chart={chart}] .ytick text")
        names = page.page.eval_on_selector_all(
            f".chart[data-chart={chart}] .ytick text", "t => t.map(e => e.textContent)"
        )
        names_of_all = [animal.name for animal in ZOO]
        brief = [name if len(name) <= 14 else name[:13] + "…" for name in names_of_all]
        assert sorted(names) == sorted(brief)


def test_a_family_looks_alike_in_table_and_chart(demo: Opened) -> None:
    trace = next(t for t in given(demo, "tradeoff") if t["name"] == "lenet")
    shown = demo.page.evaluate(
        "c => { const e = document.createElement('i'); e.style.color = c; document.body.append(e);"
        " const found = getComputedStyle(e).color; e.remove(); return found; }",
        trace["marker"]["color"],
    )
    mark = demo.page.locator("#ranking tr:has-text('lenet5') .mark").first
    assert mark.evaluate("m => getComputedStyle(m).color") == shown


def test_curves_by_epoch_hold_every_seed(demo: Opened) -> None:
    rows = demo.twin("curve")[1:]
    expected = [
        (f"{animal.name}, seed {seed}", epoch.epoch + 1, epoch.evaluation.top1)
        for animal in ZOO
        for seed in SEEDS
        for epoch in record(animal, seed).epochs
        if epoch.evaluation
    ]
    assert sorted((row[0], int(row[1]), float(row[2])) for row in rows) == sorted(
        (name, e, pytest.approx(top1, abs=0.006)) for name, e, top1 in expected
    )


def test_curves_by_time_use_training_seconds(demo: Opened) -> None:
    demo.choose("curve-top1-seconds")
    curve = next(t for t in given(demo, "curve") if t["hovertext"][0] == "lenet5, seed 1")
    assert curve["x"] == pytest.approx([e.seconds for e in record(ZOO[0], 1).epochs], abs=0.006)


def test_loss_curves_hold_the_training_loss(demo: Opened) -> None:
    demo.choose("curve-loss-epoch")
    curve = next(t for t in given(demo, "curve") if t["hovertext"][0] == "lenet5, seed 0")
    assert curve["y"] == pytest.approx([e.train_loss for e in record(ZOO[0], 0).epochs], abs=6e-5)


def test_the_bottleneck_is_named_from_the_three_rates(demo: Opened) -> None:
    shares = {(row[0], row[1]): float(row[2]) for row in demo.twin("bottleneck")[1:]}
    for animal in ZOO:
        rates = {m.metric: 128 / statistics.median(m.values[0]) for m in measurements(animal)[:3]}
        expected = 100 * rates["train_images_per_second"] / rates["train_step_images_per_second"]
        assert shares[animal.name, "Step alone"] == pytest.approx(expected, rel=1e-4)
    assert "The step is the bottleneck" in demo.page.inner_text("#caption-bottleneck")


def test_time_to_accuracy_is_the_first_epoch_that_reached_it(demo: Opened) -> None:
    rows = {(row[0], row[1]): float(row[2]) for row in demo.twin("reach")[1:]}
    for (name, threshold), seconds in rows.items():
        animal = next(a for a in ZOO if a.name == name)
        firsts = []
        for seed in SEEDS:
            curve = record(animal, seed).epochs
            firsts += [
                e.seconds
                for e in curve
                if e.evaluation and e.evaluation.top1 >= int(threshold[:-2])
            ][:1]
        assert seconds == pytest.approx(statistics.median(firsts), rel=1e-4)


def test_memory_counts_three_copies_of_the_weights(demo: Opened) -> None:
    rows = {(row[0], row[1]): float(row[2]) for row in demo.twin("memory")[1:]}
    for animal in ZOO:
        for kind in ("Weights", "Gradients", "Optimiser"):
            assert rows[animal.name, kind] == pytest.approx(
                4 * animal.num_parameters / 1e6, rel=1e-4
            )


def test_the_matrix_says_who_beats_whom(demo: Opened) -> None:
    rows = {(row[0], row[1]): row[2] for row in demo.twin("pair")[1:]}
    assert float(rows["resnet18_cifar", "squeezenet1_1_cifar"]) > 0
    assert float(rows["squeezenet1_1_cifar", "resnet18_cifar"]) < 0
    assert rows["lenet5", "lenet5"] == ""


def test_hard_classes_are_counted_from_the_predictions(demo: Opened) -> None:
    rows = {(row[0], row[1]): float(row[2]) for row in demo.twin("map")[1:]}
    held = [predictions(record(ZOO[0], seed)) for seed in SEEDS]
    for c in (0, 17, 99):
        right = statistics.mean(float((p["predicted"][p["label"] == c] == c).mean()) for p in held)
        assert rows["lenet5", f"class {c}"] == pytest.approx(100 * right, abs=0.06)


def test_calibration_holds_confidence_against_truth(demo: Opened) -> None:
    trace = next(t for t in given(demo, "calibration") if t["name"] == "lenet5")
    held = [predictions(record(ZOO[0], seed)) for seed in SEEDS]
    sure = [float(c) for p in held for c in p["confidence"] if 0.5 <= c < 0.6]
    assert any(x == pytest.approx(100 * statistics.mean(sure), abs=0.01) for x in trace["x"])


def test_charts_take_the_colours_of_the_theme(demo: Opened) -> None:
    light = given(demo, "tradeoff")[0]["marker"]["color"]
    demo.page.click("#theme")
    assert given(demo, "tradeoff")[0]["marker"]["color"] != light


def test_a_picture_can_be_saved(demo: Opened) -> None:
    given(demo, "tradeoff")
    with demo.page.expect_download() as held:
        demo.page.click(".chart[data-chart=tradeoff] .picture")
    assert held.value.suggested_filename == "zoometry-tradeoff-train_images_per_second.png"
    assert Path(held.value.path()).read_bytes().startswith(b"\x89PNG")


def test_a_models_part_says_what_it_is(demo: Opened) -> None:
    demo.page.evaluate("document.querySelector('details.model').open = true")
    part = demo.page.locator("details.model[open]")
    part.locator(".facts").wait_for()
    for text in (
        "lenet",
        "stride 1, no pooling",
        "1998",
        PAPERS["lenet5"].paper,
        "./launch.sh --recipe quick",
        "seed 2 ok",
    ):
        assert part.get_by_text(text).first.is_visible()


def test_a_models_layers_add_up(demo: Opened) -> None:
    demo.page.evaluate("document.querySelector('details.model').open = true")
    demo.page.wait_for_selector("details.model[open] .scroll[aria-label=Layers]")
    rows = demo.page.locator("details.model").first.locator("[aria-label=Layers] tbody tr")
    cells = rows.evaluate_all("rows => rows.map(row => row.children[3].textContent)")
    assert sum(int(cell.split()[0].replace(",", "")) for cell in cells) == ZOO[0].num_parameters


def test_classes_gained_and_lost_follow_the_baseline(demo: Opened) -> None:
    demo.page.evaluate("document.querySelector('details.model').open = true")
    demo.page.wait_for_selector("details.model[open] .classes")
    first = demo.page.locator(
        "details.model"
    ).first  # another test may have opened others of this page
    assert first.get_by_text("Gains over").count() == 0
    demo.page.select_option("#baseline", label="resnet18")
    assert first.get_by_text("Gains over resnet18").count() == 1


def test_confusion_counts_every_image(demo: Opened) -> None:
    found = demo.page.evaluate("data.models[0].confusion.flat().reduce((a, b) => a + b, 0)")
    assert found == 10_000 * len(SEEDS)


# Pairs of a name and a bar of an interval that cross, as they are drawn.
CROSSINGS = """place => {
  const found = [];
  const bars = [...place.querySelectorAll(".errorbar path")].map(b => b.getBoundingClientRect());
  for (const text of place.querySelectorAll(".textpoint text, .annotation-text")) {
    const t = text.getBoundingClientRect();
    for (const b of bars) {
      const across = t.left + 1 < b.right && b.left < t.right - 1;
      if (across && t.top + 2 < b.bottom && b.top < t.bottom - 2) found.push(text.textContent);
    }
  }
  return found;
}"""


@pytest.mark.parametrize(
    "width", [900, *(pytest.param(width, marks=pytest.mark.ci) for width in (1280, 1600))]
)
def test_no_name_lies_on_a_bar(width: int, opened: Open, tmp_path: Path) -> None:
    records = [record(animal, seed) for animal in ZOO for seed in SEEDS]
    folder = write_run(tmp_path / "run", records, comparison(rounds=20))
    (tmp_path / "page.html").write_text(build_page(read_source([folder])), encoding="utf-8")
    page = opened(tmp_path / "page.html", viewport={"width": width, "height": 900})
    place = ".chart[data-chart=tradeoff] .plot"
    for key in page.page.evaluate(
        "data.figures.filter(f => f.chart === 'tradeoff').map(f => f.key)"
    ):
        page.choose(key)
        page.wait("p => document.querySelector(p).querySelector('.main-svg')", place)
        assert page.page.eval_on_selector(place, CROSSINGS) == []


def test_curves_of_a_time_budget_open_by_time(opened: Open, tmp_path: Path) -> None:
    whole = record(ZOO[0])
    for seconds, first in ((30.0, "curve-top1-seconds"), (None, "curve-top1-epoch")):
        timed = replace(whole, config=whole.config | {"seconds": seconds})
        file = tmp_path / f"{seconds}.html"
        folder = write_run(tmp_path / f"{seconds}", [timed])
        file.write_text(build_page(read_source([folder])), encoding="utf-8")
        page = opened(file)
        assert page.page.get_attribute("[name=tab-curve]", "value") == first
        page.page.evaluate("document.querySelector('details.model').open = true")
        page.wait("document.querySelector('details.model .plot .xtitle')")
        title = page.page.text_content("details.model .plot .xtitle")
        assert title == ("Training time (s)" if seconds else "Epoch")


def test_no_chart_leaves_half_a_row_empty(demo: Opened) -> None:
    boxes = demo.page.eval_on_selector_all(
        ".chart[data-chart]",
        "c => c.map(x => x.getBoundingClientRect()).map(r => [r.top, r.left, r.right])",
    )
    edges = demo.page.evaluate(
        "(r => [r.left, r.right])(document.querySelector('.charts').getBoundingClientRect())"
    )
    for top in {top for top, _, _ in boxes}:
        in_row = [box for box in boxes if box[0] == top]
        assert min(left for _, left, _ in in_row) == pytest.approx(edges[0], abs=1)
        assert max(right for _, _, right in in_row) == pytest.approx(edges[1], abs=1)

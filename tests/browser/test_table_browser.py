"""The ranking in a real browser.

Oracle: order, filters and ratios worked out here from the same records.
"""

import csv
import io
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from opened_page import Open, Opened

from reports.page import build_page
from reports.runs import read_source
from reports.spreadsheet import escape
from tests.support.record_factory import (
    ZOO,
    comparison,
    measurements,
    predictions,
    record,
    write_run,
)

pytestmark = pytest.mark.browser
SEEDS = (0, 1, 2)
BROKEN = "vgg16_bn"


def top1(name: str) -> float:
    animal = next(a for a in ZOO if a.name == name)
    found = [record(animal, seed).accuracy for seed in SEEDS]
    return statistics.mean(100 * a.num_top1 / a.num_images for a in found if a)


def rate(name: str, metric: str = "train_images_per_second") -> float:
    animal = next(a for a in ZOO if a.name == name)
    (found,) = (m for m in measurements(animal) if m.metric == metric)
    return (found.images or 0) / statistics.median(found.values[0])


def sort(demo: Opened, key: str) -> None:
    demo.page.click(f"#ranking th[data-sort={key}] button")


def download(demo: Opened, button: str) -> str:
    with demo.page.expect_download() as held:
        demo.page.click(button)
    return Path(held.value.path()).read_text(encoding="utf-8")


NAMES = [animal.name for animal in ZOO]
BY_TOP1 = sorted(NAMES, key=top1, reverse=True)


def test_it_opens_by_top1_best_first_failures_last(demo: Opened) -> None:
    assert demo.models() == [*BY_TOP1, BROKEN]


def test_sorting_by_a_rate_puts_the_fastest_first(demo: Opened) -> None:
    sort(demo, "train_images_per_second")
    assert demo.models() == [*sorted(NAMES, key=rate, reverse=True), BROKEN]


def test_sorting_by_a_cost_puts_the_cheapest_first(demo: Opened) -> None:
    sort(demo, "num_parameters")
    assert demo.models() == [*[a.name for a in sorted(ZOO, key=lambda a: a.num_parameters)], BROKEN]


def test_sorting_again_turns_the_order_and_keeps_failures_last(demo: Opened) -> None:
    sort(demo, "top1")
    assert demo.models() == [*reversed(BY_TOP1), BROKEN]


def test_sorting_by_name_is_alphabetic(demo: Opened) -> None:
    sort(demo, "model")
    assert demo.models() == sorted([*NAMES, BROKEN])


def test_the_sorted_column_says_so_to_a_screen_reader(demo: Opened) -> None:
    sort(demo, "latency_ms_p50")
    heads = demo.page.eval_on_selector_all(
        "#ranking th[data-sort]", "h => h.map(x => [x.dataset.sort, x.ariaSort])"
    )
    assert [key for key, order in heads if order != "none"] == ["latency_ms_p50"]
    assert ["latency_ms_p50", "ascending"] in heads


def test_places_are_of_the_column_that_is_sorted(demo: Opened) -> None:
    sort(demo, "num_parameters")
    places = demo.page.eval_on_selector_all(
        "#ranking td.place", "cells => cells.map(c => c.textContent)"
    )
    assert places == ["1", "2", "3", "4", "5", "6", "7", "8", ""]


def test_search_keeps_what_holds_every_word(demo: Opened) -> None:
    demo.page.fill("#search", "CIFAR alexnet")
    assert sorted(demo.models()) == ["alexnet_grouped_cifar", "alexnet_single_tower_cifar"]
    assert demo.page.inner_text("#shown") == "2 of 9 rows"


def test_search_without_a_match_shows_nothing_and_says_so(demo: Opened) -> None:
    demo.page.fill("#search", "<b>none</b>")
    assert demo.models() == []
    assert demo.page.inner_text("#shown") == "0 of 9 rows"


def test_a_family_can_be_left_out(demo: Opened) -> None:
    demo.page.click("label:has([data-family=alexnet])")
    assert all("alexnet" not in name for name in demo.models())
    assert len(demo.models()) == 7


def test_search_and_families_work_together(demo: Opened) -> None:
    demo.page.click("label:has([data-family=resnet])")
    demo.page.fill("#search", "net")
    assert "resnet18" not in demo.models()
    assert "lenet5" in demo.models()


def test_a_column_can_be_hidden(demo: Opened) -> None:
    demo.page.click(".menu summary")
    demo.page.uncheck("[data-column=top1]")
    assert not demo.page.is_visible("#ranking thead .c-top1")
    assert demo.page.is_visible("#ranking thead .c-top5")


def test_a_column_can_be_added(demo: Opened) -> None:
    assert not demo.page.is_visible("#ranking thead .c-latency_ms_p99")
    demo.page.click(".menu summary")
    demo.page.check("[data-column=latency_ms_p99]")
    assert demo.page.is_visible("#ranking thead .c-latency_ms_p99")


def test_escape_closes_the_menu_and_returns_to_it(demo: Opened) -> None:
    demo.page.click(".menu summary")
    demo.page.keyboard.press("Escape")
    assert not demo.page.is_visible("[data-column=top1]")
    assert demo.page.evaluate("document.activeElement.matches('.menu summary')")


def test_a_click_elsewhere_closes_the_menu(demo: Opened) -> None:
    demo.page.click(".menu summary")
    demo.page.click("#title")
    assert not demo.page.is_visible("[data-column=top1]")


def ratios(demo: Opened, key: str) -> dict[str, str]:
    found: dict[str, str] = demo.page.evaluate(
        "key => Object.fromEntries([...rowElements].map(([i, row]) =>"
        " [data.rows[i].model, row.querySelector('.c-' + key + ' .vs')?.innerText ?? '']))",
        key,
    )
    return found


def test_a_baseline_gives_each_rate_its_ratio_round_by_round(demo: Opened) -> None:
    demo.page.select_option("#baseline", label="resnet18")
    shown = ratios(demo, "train_images_per_second")
    (base,) = (m for m in measurements(ZOO[7]) if m.metric == "train_images_per_second")
    for animal in ZOO[:7]:
        (own,) = (m for m in measurements(animal) if m.metric == "train_images_per_second")
        rounds = [b / a for a, b in zip(own.values[0], base.values[0], strict=True)]
        expected = math.exp(statistics.median(math.log(r) for r in rounds))
        assert float(shown[animal.name].split("×")[0]) == pytest.approx(expected, rel=0.02)
        assert ("faster" if expected > 1 else "slower") in shown[animal.name]
    assert shown["resnet18"] == shown[BROKEN] == ""


def test_a_baseline_gives_accuracies_their_points(demo: Opened) -> None:
    demo.page.select_option("#baseline", label="lenet5")
    shown = ratios(demo, "top1")
    for name in BY_TOP1:
        if name != "lenet5":
            points = float(shown[name].split()[0].replace("−", "-"))
            assert points == pytest.approx(top1(name) - top1("lenet5"), abs=0.006)
            assert ("better" if points > 0 else "worse") in shown[name]


def test_a_baseline_gives_log_losses_their_differences(demo: Opened) -> None:
    losses = {}
    for animal in (ZOO[0], ZOO[7]):
        each = [predictions(record(animal, seed))["loss"].mean(dtype=float) for seed in (0, 1, 2)]
        losses[animal.name] = statistics.mean(each)
    demo.page.select_option("#baseline", label="lenet5")
    demo.page.click(".menu summary")
    demo.page.check("[data-column=nll]")
    number, judgement = ratios(demo, "nll")["resnet18"].split()[:2]
    less = losses["resnet18"] - losses["lenet5"]
    assert float(number.replace("−", "-")) == pytest.approx(less, abs=6e-4)
    assert judgement == ("better" if less < 0 else "worse")


def test_a_cost_without_pairs_has_a_plain_ratio(demo: Opened) -> None:
    demo.page.select_option("#baseline", label="lenet5")
    assert (
        ratios(demo, "num_parameters")["resnet18"]
        == f"{ZOO[7].num_parameters / ZOO[0].num_parameters:.0f}×"
    )


def test_taking_the_baseline_away_takes_its_ratios_away(demo: Opened) -> None:
    demo.page.select_option("#baseline", label="lenet5")
    demo.page.select_option("#baseline", label="no baseline")
    assert demo.page.query_selector(".vs") is None
    assert demo.page.query_selector("tr.base") is None


def test_the_csv_is_what_is_shown(demo: Opened) -> None:
    sort(demo, "train_images_per_second")
    demo.page.fill("#search", "cifar")
    text = download(demo, "#csv")
    assert text.startswith("\ufeffplace,")  # Excel takes it for UTF-8
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert [row["model"] for row in rows] == demo.models()
    assert [float(row["train_images_per_second"]) for row in rows] == [
        rate(row["model"]) for row in rows
    ]
    assert "latency_ms_p99" not in rows[0]


def test_no_name_is_a_formula_in_the_csv(opened: Open, tmp_path: Path) -> None:
    names = ("=cmd.py:net", "+1", "-1", "@x", "'=1", "plain", "\uff1d1")
    records = [record(animal._replace(name=name)) for animal, name in zip(ZOO, names, strict=False)]
    folder = write_run(tmp_path / "run", records)
    (tmp_path / "page.html").write_text(build_page(read_source([folder])), encoding="utf-8")
    text = download(opened(tmp_path / "page.html"), "#csv")
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    assert sorted(row["model"] for row in rows) == sorted(str(escape(name)) for name in names)


def test_the_json_is_what_is_shown_with_its_baseline(demo: Opened) -> None:
    demo.page.select_option("#baseline", label="lenet5")
    held: dict[str, Any] = json.loads(download(demo, "#json"))
    assert held["baseline"] == "demo/lenet5"
    assert [row["model"] for row in held["rows"]] == demo.models()
    first = held["rows"][0]
    assert first["top1"] == pytest.approx(top1(first["model"]), abs=1e-9)
    assert first["top1_low"] < first["top1"] < first["top1_high"]
    assert first["train_images_per_second_verdict"] in ("faster", "slower")
    assert held["rows"][-1]["cause"].startswith("out of memory")


def test_reset_brings_back_the_first_view(demo: Opened) -> None:
    sort(demo, "model")
    demo.page.fill("#search", "lenet")
    demo.page.select_option("#baseline", label="lenet5")
    demo.page.click("#reset")
    assert demo.models() == [*BY_TOP1, BROKEN]
    assert demo.page.input_value("#search") == ""
    assert demo.page.query_selector(".vs") is None


def test_intervals_stand_under_their_numbers(demo: Opened) -> None:
    cell = demo.page.inner_text("#ranking tr[data-i] .c-top1").split("\n")
    low, high = (float(text) for text in cell[1].split(" to "))
    assert low < float(cell[0]) < high


def test_a_warning_stands_beside_its_number_and_leads_to_its_text(demo: Opened) -> None:
    demo.page.click("#ranking sup a")
    assert demo.page.evaluate("location.hash") in ("", "#")
    warning = demo.page.locator(".warnings li").first
    assert "Drifted" in warning.inner_text()
    assert warning.evaluate(
        "w => { const r = w.getBoundingClientRect();"
        " return r.top >= 0 && r.bottom <= innerHeight; }"
    )


def test_the_comparison_that_the_page_shows_is_the_one_that_was_written(demo: Opened) -> None:
    shown = [
        float(text.replace(",", "")) for text in demo.column("train_images_per_second") if text
    ]
    compared = comparison()
    expected = [
        (m.images or 0) / statistics.median(m.values[0])
        for name in BY_TOP1
        for m in compared.measurements[name]
        if m.metric == "train_images_per_second"
    ]
    assert shown == pytest.approx(expected, rel=0.005)


def test_links_to_a_model_open_its_part(demo: Opened) -> None:
    demo.page.click("#ranking a:has-text('lenet5')")
    part = demo.page.locator("details.model[open]")
    assert part.count() == 1
    assert part.locator("> summary").inner_text().startswith("lenet5")
    assert demo.page.evaluate("document.activeElement.matches('details[open] > summary')")


def test_a_long_table_is_laid_out_in_turn_and_whole_in_the_end(
    opened: Open, tmp_path: Path
) -> None:
    animals = [ZOO[0]._replace(name=f"model_{i}") for i in range(150)]
    run = write_run(
        tmp_path / "run",
        [record(animal, num_epochs=1) for animal in animals],
        with_predictions=False,
    )
    file = tmp_path / "long.html"
    file.write_text(build_page(read_source([run])), encoding="utf-8")
    found = opened(file)
    laid_out = (
        "[...document.querySelectorAll('#ranking tr[data-i]')]"
        ".filter(row => row.offsetHeight > 0).length"
    )
    found.wait(f"{laid_out} === 150")
    soon = found.page.evaluate(f"(sortBy('model'), {laid_out})")
    assert 0 < soon < 150
    assert found.models() == sorted(
        (a.name for a in animals), reverse=found.page.evaluate("state.dir === 'desc'")
    )
    found.page.evaluate("sortBy('model')")
    found.page.emulate_media(media="print")
    assert found.page.evaluate(laid_out) == 150
    found.page.emulate_media(media="screen")
    found.wait(f"{laid_out} === 150")
    assert found.models() == sorted(
        (a.name for a in animals), reverse=found.page.evaluate("state.dir === 'desc'")
    )

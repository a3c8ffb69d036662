"""200 random sets of records: the page holds what is worked out from them here, another way.

Oracle: plain loops over all pairs and `statistics`, and Wilson's formula with the quantile written
out.
"""

import json
import math
import re
import statistics
from itertools import combinations
from typing import Any

import pytest
from scipy import stats

from bench.results.record import Comparison, RunRecord
from bench.results.setting import ranking_key
from reports.page import build_page
from reports.runs import Source
from tests.support.random_records import random_source
from tests.support.unpacked import unpack_text

RATE = "train_images_per_second"


def payload_of(page: str) -> dict[str, Any]:
    packed = re.search(r'id="payload">([^<]*)<', page)
    assert packed
    found: dict[str, Any] = json.loads(unpack_text(packed[1]))
    return found


def rows_of(source: Source) -> dict[tuple[str, str, str], list[RunRecord]]:
    """The records of each row: run, model, and what must agree."""
    rows: dict[tuple[str, str, str], list[RunRecord]] = {}
    for run, cell in source.cells:
        rows.setdefault((run.name, cell.record.model, repr(ranking_key(cell.record))), []).append(
            cell.record
        )
    return rows


def interval(records: list[RunRecord]) -> tuple[float, float, float] | None:
    """Mean top-1 and its interval: Wilson's for the images, Student's for the seeds."""
    found = [r.accuracy for r in records if r.status == "ok" and r.accuracy]
    if not found:
        return None
    values = [100 * a.num_top1 / a.num_images for a in found]
    p, n, z = statistics.mean(values) / 100, found[0].num_images, 1.959963984540054
    centre, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n),
    )
    seeds = 0.0
    if len(values) > 1:
        seeds = (
            stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
        )
    low, high = max(0.0, 100 * (centre - half)), min(100.0, 100 * (centre + half))
    middle = 100 * p
    return (
        middle,
        max(0.0, middle - math.hypot(middle - low, seeds)),
        min(100.0, middle + math.hypot(high - middle, seeds)),
    )


def rate_of(comparison: Comparison | None, model: str) -> float | None:
    if comparison is None:
        return None
    held = [m for m in comparison.measurements.get(model, ()) if m.metric == RATE]
    return (held[0].images or 0) / statistics.median(held[0].values[0]) if held else None


@pytest.mark.parametrize(
    "number", [n if n < 60 else pytest.param(n, marks=pytest.mark.slow) for n in range(200)]
)
def test_numbers_ranks_and_front_are_those_of_the_records(number: int) -> None:
    source = random_source(number)
    page = build_page(source)
    payload = payload_of(page)
    rows, comparisons = rows_of(source), {run.name: run.comparison for run in source.runs}
    groups: dict[str, list[tuple[str, str]]] = {}
    for run, model, key in rows:
        groups.setdefault(key, []).append((run, model))
    shown = {(row["run"], row["model"], row["group"]): row for row in payload["rows"]}
    assert len(shown) == len(rows) == page.count("<tr data-i=")
    for group, (key, members) in enumerate(groups.items()):
        check_group(group, {m: rows[m[0], m[1], key] for m in members}, shown, comparisons)
    check_front(payload, shown)


def check_group(
    group: int,
    members: dict[tuple[str, str], list[RunRecord]],
    shown: dict[tuple[str, str, int], dict[str, Any]],
    comparisons: dict[str, Comparison | None],
) -> None:
    spans = {member: interval(records) for member, records in members.items()}
    places = places_of({member: span for member, span in spans.items() if span})
    for (run, model), records in members.items():
        row = shown[run, model, group]
        span = spans[run, model]
        assert row["values"].get("top1") == (
            None if span is None else pytest.approx(span[0], abs=1e-9)
        )
        finished = any(r.status == "ok" for r in records)
        assert row["status"] == ("ok" if finished else records[0].status)
        expected = rate_of(comparisons[run], model) if finished else None
        assert row["values"].get(RATE) == (
            None if expected is None else pytest.approx(expected, rel=1e-12)
        )
        if span is not None:
            assert int(row["places"]["top1"].lstrip("=")) == places[run, model]
            if "top1" in row["limits"]:
                assert row["limits"]["top1"] == pytest.approx(span[1:], abs=1e-9)


def places_of(
    spans: dict[tuple[str, str], tuple[float, float, float]],
) -> dict[tuple[str, str], int]:
    """1 and how many are proven better: by z tests of the intervals, stepping down by Holm.

    These records have no predictions, which would be compared image by image.
    """
    tests = []
    for (a, (x, *ends)), (b, (y, *others)) in combinations(spans.items(), 2):
        error = math.hypot(ends[1] - ends[0], others[1] - others[0]) / 2 / stats.norm.ppf(0.975)
        p = 2 * stats.norm.sf(abs(x - y) / error)
        tests.append((p, b if x > y else a))
    tests.sort()
    places = dict.fromkeys(spans, 1)
    for step, (p, worse) in enumerate(tests):
        if p >= 0.05 / (len(tests) - step):
            break
        places[worse] += 1
    return places


def check_front(payload: dict[str, Any], shown: dict[tuple[str, str, int], dict[str, Any]]) -> None:
    figure = next((f for f in payload["figures"] if f["key"] == f"tradeoff-{RATE}"), None)
    points = [
        (row["values"][RATE], row["values"]["top1"], row["name"])
        for (_, _, group), row in shown.items()
        if group == 0 and {RATE, "top1"} <= row["values"].keys()
    ]
    front = {
        m
        for x, y, m in points
        if not any(a >= x and b >= y and (a > x or b > y) for a, b, _ in points)
    }
    assert (figure is None) == (not points)
    if figure:
        assert set(figure["traces"][-1]["names"]) == front


@pytest.mark.parametrize("number", range(0, 200, 10))
def test_a_random_page_is_the_same_bytes_twice(number: int) -> None:
    assert build_page(random_source(number)) == build_page(random_source(number))

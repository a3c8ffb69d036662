"""The table of metrics. Oracle: itself, against the functions that take what it names."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from bench.measure import once
from bench.measure.once import ONCE
from bench.measure.visit import VISITS
from bench.results.metric import CHOICES, ENERGY, FIGURES, METRICS, list_metrics
from reports.frame import COLUMNS, CONTRACT


def test_every_choice_has_its_function_and_no_function_is_without_a_choice() -> None:
    taken = {"in turn": VISITS, "once": ONCE}
    for how, functions in taken.items():
        assert {m.name for m in CHOICES if m.taken == how} == set(functions)
    assert all(list_metrics(measure) for measure in CHOICES)


def test_every_figure_has_one_column_and_new_ones_come_behind_the_published() -> None:
    keys = [column.key for column in FIGURES]
    assert len(set(keys)) == len(keys)
    assert set(keys) <= set(COLUMNS)
    assert COLUMNS[: len(CONTRACT)] == CONTRACT
    # Only a metric's own column can be a statistic of its values.
    own = {column.key for metric in METRICS.values() for column in metric.columns}
    assert {column.key for column in FIGURES if column.statistic} == own


def test_energy_is_what_the_meter_counted_for_each_image(
    runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    subject: Any = SimpleNamespace(batch=SimpleNamespace(labels=range(4)), step=taken.append)
    # 8 joules a step of 4 images.
    meter = SimpleNamespace(joules=lambda: 8.0 * len(taken))
    monkeypatch.setattr(once, "open_meter", lambda runtime: meter)
    monkeypatch.setattr(once, "LEAST_SECONDS", 0.01)
    found: Mapping[str, float] = ONCE[ENERGY.name](runtime)(subject)
    assert found == {"energy_joules_per_image": 2.0}

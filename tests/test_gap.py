"""Classes of two models held together.

Oracle: counts by hand, McNemar's exact p by scipy, Holm by its definition.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from reports.chart.classes import class_gaps, draw_class_gaps, most_confused
from reports.ranking import Entry, best_first, entries_of, groups_of
from reports.runs import read_source
from reports.view import build_view
from tests.support.record_factory import ZOO, data_info, predictions, record, write_demo, write_run


@pytest.fixture(scope="module")
def best_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, Entry]:
    source = read_source([write_demo(tmp_path_factory.mktemp("gap") / "demo", seeds=(0,))])
    first, second, *_ = best_first(groups_of(entries_of(source))[0], "top1")
    return first, second


def test_each_class_is_a_test_of_its_own_adjusted_for_their_number(
    best_two: tuple[Entry, Entry],
) -> None:
    labels = best_two[0].predictions["label"]
    raw = {}
    for each in np.unique(labels):
        a, b = (entry.correct[0][labels == each] for entry in best_two)
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        p = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
        raw[int(each)] = (100 * (only_a - only_b) / len(a), p)
    smallest = min(p for _, p in raw.values())
    gaps = {each: (points, p) for each, points, p in class_gaps(*best_two)}
    assert set(gaps) == set(raw)
    for each, (points, p) in gaps.items():
        assert points.value == pytest.approx(raw[each][0])
        assert points.low <= points.value <= points.high
        assert p >= raw[each][1] - 1e-12
    assert min(p for _, p in gaps.values()) == pytest.approx(min(1.0, len(raw) * smallest))


def test_the_chart_shows_every_class_from_the_largest_gap_down(
    best_two: tuple[Entry, Entry], tmp_path: Path
) -> None:
    source = read_source([write_demo(tmp_path / "demo", seeds=(0, 1))])
    (figure,) = draw_class_gaps(build_view(source))
    values = figure.traces[0]["y"]
    assert values == sorted(values, reverse=True)
    assert len(values) == 100
    assert best_two[0].model in figure.caption


@pytest.mark.parametrize("num_classes", [100, 181, 182, 1_000])
def test_confusions_are_those_of_the_file_however_many_classes_there_are(
    num_classes: int, tmp_path: Path
) -> None:
    names = tuple(f"class {i}" for i in range(num_classes))
    whole = record(ZOO[0], data=data_info(class_names=names, superclass_names=(), superclass_of=()))
    folder = write_run(tmp_path / "run", [whole], with_predictions=False)
    said = predictions(whole)
    # As a run writes them: classes in two bytes, whose product goes beyond two from 182 on.
    small = {name: said[name].astype(np.int16) for name in ("label", "predicted")}
    cell = folder / "cells" / whole.cell
    np.savez_compressed(cell / "predictions.npz", confidence=said["confidence"], **small)
    (entry,) = entries_of(read_source([folder]))
    pairs = zip(said["label"].tolist(), said["predicted"].tolist(), strict=True)
    counts = Counter((true, answered) for true, answered in pairs if true != answered)
    expected = sorted(((*pair, count) for pair, count in counts.items()), key=lambda c: (-c[2], c))
    assert most_confused(entry) == expected[:8]

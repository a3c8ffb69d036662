"""One model held against itself, learning curves and classes. Oracles: scipy's tests and counts."""

from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from bench.results.record import RunRecord
from reports.chart.class_accuracy import class_estimates, draw_class_accuracy
from reports.chart.learning import draw_learning
from reports.retrained import compare_ways, describe_ways
from reports.runs import read_source
from reports.view import View, build_view
from tests.support.record_factory import ZOO, data_info, record, write_run

FIVE = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
FLOWERS = data_info(
    class_names=FIVE,
    superclass_names=(),
    superclass_of=(),
    num_train=3000,
    num_validation=300,
    num_test=400,
)


def of_flowers(number: int, top1: float, run: str, **config: object) -> RunRecord:
    animal = ZOO[number]._replace(top1=top1)
    made = record(animal, 0, run=run, data=FLOWERS)
    assert made.accuracy is not None
    return replace(made, config=made.config | config)


def view_of(tmp_path: Path, *records: RunRecord) -> View:
    runs: dict[str, list[RunRecord]] = {}
    for each in records:
        runs.setdefault(each.run, []).append(each)
    return build_view(read_source([write_run(tmp_path / run, own) for run, own in runs.items()]))


def test_a_model_is_held_against_itself_on_the_same_images(tmp_path: Path) -> None:
    view = view_of(
        tmp_path,
        of_flowers(0, 85, "a", train="head"),
        of_flowers(1, 70, "a", train="head"),
        of_flowers(0, 92, "b", train="head+all"),
        # On other data, which says nothing of either.
        replace(of_flowers(0, 99, "c", train="all"), data=replace(FLOWERS, checksum="other")),
    )
    assert len(view.groups) == 3
    (found,) = compare_ways(view.entries)
    assert found.ways == ("what is trained: head+all", "what is trained: head")
    own, other = found.entry.correct[0], found.other.correct[0]
    only = int((own & ~other).sum()), int((other & ~own).sum())
    assert found.pair.value == pytest.approx(100 * (only[0] - only[1]) / len(own))
    is_proven = stats.binomtest(only[0], sum(only)).pvalue < 0.05
    assert is_proven
    assert found.pair.judgement == "better"
    (sentence,) = describe_ways([found])
    assert sentence.startswith(f"{ZOO[0].name} gains {found.pair.value:.1f} points of top-1 (")
    assert sentence.endswith(") by what is trained: head+all instead of head")


def test_a_model_with_more_images_is_a_point_of_its_curve(tmp_path: Path) -> None:
    few = replace(of_flowers(0, 60, "a"), images_per_class=20, data=replace(FLOWERS, num_train=100))
    all_of_them = of_flowers(0, 85, "b")
    view = view_of(tmp_path, all_of_them, few, of_flowers(1, 70, "b"))
    (figure,) = draw_learning(view)
    (trace,) = figure.traces
    assert trace["x"] == [20, 600]
    assert trace["y"] == [each.accuracy.top1 for each in (few, all_of_them) if each.accuracy]
    assert compare_ways(view.entries) == [], "other training images are no other way to learn"


def test_each_class_has_wilsons_interval(tmp_path: Path) -> None:
    view = view_of(tmp_path, of_flowers(0, 85, "a"), of_flowers(1, 70, "a"))
    (figure,) = draw_class_accuracy(view)
    best = view.groups[0].entries[0]
    for number, found in enumerate(class_estimates(best, range(5))):
        inside = best.labels == number
        right = int(best.correct[0][inside].sum())
        test = stats.binomtest(right, int(inside.sum()))
        low, high = test.proportion_ci(method="wilson")
        assert found == pytest.approx((100 * right / inside.sum(), 100 * low, 100 * high))
        assert figure.traces[0]["y"][number] == found.value


def test_of_many_classes_no_marks_are_drawn(tmp_path: Path) -> None:
    view = build_view(read_source([write_run(tmp_path / "a", [record(ZOO[0], 0)])]))
    assert draw_class_accuracy(view) == []
    assert draw_learning(view) == []

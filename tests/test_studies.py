"""Studies: their frame, what they count, and the page that they are drawn on.

Oracle: closed forms, simulated answers whose truth is drawn, and `bench.verify` on their runs.
"""

import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.data.dataset import Dataset
from bench.publish import main as publish
from bench.request.config import RunConfig
from bench.results.finding import (
    Answer,
    Finding,
    Picture,
    Plot,
    Point,
    Series,
    find_findings,
    read_finding,
    write_finding,
)
from bench.results.image_interval import independent_difference, wilson_interval
from bench.results.interval import Estimate
from bench.results.record import Accuracy, Epoch
from bench.studies import lab as laboratory
from bench.studies.__main__ import main
from bench.studies.catalogue import CATALOGUE, STUDIES, Study, choose_studies
from bench.studies.explain import agreement, share_in_middle
from bench.studies.imbalance import images_of_part
from bench.studies.lab import Lab, Trained
from bench.studies.outcome import do_study
from bench.studies.relu_tanh import steps_to
from bench.studies.wording import join_names, say_count, say_estimate
from bench.verify import find_faults
from reports.study import build_gallery, draw_plot, write_gallery
from tests.support.record_factory import record

SMALL = RunConfig(
    models=("lenet5",),
    image_size=32,
    epochs=1,
    batch_size=32,
    seeds=(0, 1),
    images_per_class=(8,),
    assess_train=True,
    num_threads=1,
    channels_last=True,
)


def finding(**changes: Any) -> Finding:
    points = (Point(place="a <b>", value=1.0, low=0.5, high=2.0), Point(place="b", value=2.0))
    plot = Plot(
        title="A plot",
        caption="What it shows.",
        kind="dots",
        x="Points",
        y="Variant",
        series=(Series(name="ours", points=points),),
    )
    whole = Finding(
        study="demo",
        question="Does it <work>?",
        answer=Answer(sentences=("It does.",), setting="On nothing.", plots=(plot,)),
        quick=False,
        runs=("a",),
        seconds=60.0,
        environment={"machine": "a machine", "git_commit": "0123456789"},
        created="2026-11-29T00:00:00",
    )
    return replace(whole, **changes)


def test_a_name_that_is_no_study_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["relu_tan"]) == 2
    assert "did you mean relu_tanh" in capsys.readouterr().err
    assert choose_studies(("all",)) == choose_studies(("all", "flowers")) == list(CATALOGUE)


def test_without_a_name_all_are_listed_and_torch_stays_out() -> None:
    code = "from bench.studies.__main__ import main; import sys; main([])"
    command = [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    *listed, has_torch = said.stdout.splitlines()
    assert [line.split()[0] for line in listed] == [study.name for study in CATALOGUE]
    assert has_torch == "False"


@pytest.mark.parametrize("study", CATALOGUE, ids=lambda study: study.name)
def test_every_study_is_a_function_of_its_name_that_says_what_it_asks(study: Any) -> None:
    assert study.load().__name__ == study.name
    assert study.load().__doc__
    assert study.question.endswith("?")


def test_gaps_of_other_images_add_up_newcombes_limits() -> None:
    """Newcombe 1998, table II, method 10: 56 of 70 against 48 of 80 differ by 0.0524 to 0.3339."""
    (a, b) = (
        Estimate(100 * right / n, *wilson_interval(right, n)) for right, n in ((56, 70), (48, 80))
    )
    expected = (20.0, 5.24, 33.39)
    assert tuple(independent_difference(a, b)) == pytest.approx(expected, abs=0.005)


def test_a_third_of_the_classes_has_its_own_top1() -> None:
    label = np.tile(np.arange(10), (2, 6))
    predicted = np.where(label < 4, label, 0)  # the first third of ten classes is four of them
    trained = Trained("demo", (replace_classes(record()),) * 2, ())
    trained.__dict__["said"] = {"label": label, "predicted": predicted}
    head, tail = (trained.accuracy_on(images_of_part(trained, one)) for one in ("head", "tail"))
    assert (head.value, tail.value) == (100, 0)
    # Not from 100 to 100: 24 images in a row are right of any share from 86 % on (Wilson 1927).
    assert (head.low, head.high) == pytest.approx((86.2, 100), abs=0.1)
    assert images_of_part(trained, None).all()


def replace_classes(one: Any) -> Any:
    ten = tuple(f"class {number}" for number in range(10))
    return replace(
        one, data=replace(one.data, class_names=ten, superclass_names=(), superclass_of=())
    )


def test_an_even_heat_has_a_quarter_in_the_middle_and_agrees_with_nothing() -> None:
    even, peak = np.ones((8, 8), np.float32), np.zeros((8, 8), np.float32)
    peak[3, 4] = 1
    assert share_in_middle(even) == share_in_middle(0 * even) == 0.25
    assert share_in_middle(peak) == 1
    assert agreement(even, peak) == 0
    assert agreement(peak, peak) == pytest.approx(1)


def test_the_quick_forms_take_an_hour_at_most() -> None:
    assert sum(study.minutes for study in CATALOGUE) <= 60


def row(step: int, train_top1: int) -> Epoch:
    counts = Accuracy(
        split="train",
        num_images=100,
        num_top1=train_top1,
        num_top5=100,
        num_superclass=None,
        loss=1,
    )
    return Epoch(
        epoch=step // 10 - 1,
        step=step,
        images=step * 10,
        seconds=step,
        train_loss=1,
        learning_rate=0.1,
        train_evaluation=counts,
    )


def test_steps_to_an_error_lie_on_the_line_between_two_epochs() -> None:
    learnt = replace(record(), epochs=(row(10, 50), row(20, 70), row(30, 90)))
    assert steps_to(learnt, 25) == pytest.approx(22.5)
    assert steps_to(learnt, 50) == pytest.approx(10)
    assert steps_to(learnt, 75) == pytest.approx(5)  # from all wrong at step 0
    assert steps_to(learnt, 5) == math.inf


def test_what_was_trained_is_kept_and_verified_and_a_failed_cell_is_named(
    tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def open_data(config: RunConfig, *, say: Any = None) -> Dataset:
        opened.append(str(config.out))
        return tiny_data

    monkeypatch.setattr(laboratory, "open_run_data", open_data)
    monkeypatch.setattr(laboratory, "check_request", lambda *given, **more: None)
    said: list[str] = []
    lab = Lab(tmp_path, quick=True, say=said.append)
    first = lab.train("small", SMALL)
    assert list(find_faults(tmp_path / "small")) == []
    assert all(r.epochs[0].train_evaluation.num_images == 80 for r in first.records)
    assert first.right.shape == (2, 64)
    again = Lab(tmp_path, quick=True, say=said.append).train("small", SMALL)
    assert again.records == first.records
    with pytest.raises(ValueError, match="--lr differ"):
        lab.train("small", replace(SMALL, lr=0.1))
    too_fast = replace(SMALL, lr=1e9, seeds=(0,))
    with pytest.raises(ValueError, match=r"lenet5-s0-n8 is diverged .*the loss.*; .* delete .*too"):
        lab.train("too fast", too_fast)
    assert lab.train("too fast", too_fast, may_diverge=True).records[0].status == "diverged"


def test_a_gain_is_paired_over_seeds_and_images() -> None:
    """What a seed does to both variants alike, it doesn't do to their difference."""
    random = np.random.default_rng(0)
    luck = random.normal(0, 0.1, (5, 1))
    chance = random.random((5, 2000))
    records = tuple(record(seed=seed) for seed in range(5))
    better, worse = (Trained(name, records, ()) for name in ("better", "worse"))
    label = np.zeros((5, 2000), int)
    better.__dict__["said"] = {"label": label, "predicted": 1 * (chance > 0.55 + luck)}
    worse.__dict__["said"] = {"label": label, "predicted": 1 * (chance > 0.5 + luck)}
    gain, p = better.gain_over(worse)
    assert gain.low < 5 < gain.high
    assert gain.high - gain.low < 3
    assert p < 0.001
    some, _ = better.gain_over(worse, np.arange(2000) < 500)
    assert some.high - some.low > 1.5 * (gain.high - gain.low)
    with pytest.raises(ValueError, match="better and one aren't of the same seeds"):
        better.gain_over(Trained("one", records[:1], ()))


def test_what_a_study_took_is_kept_when_it_only_reads_its_runs(tmp_path: Path) -> None:
    study: Any = SimpleNamespace(
        name="demo", question="Does it?", load=lambda: lambda lab: finding().answer
    )
    lab = Lab(tmp_path, quick=True)
    write_finding(tmp_path, finding(seconds=60.0))
    assert 60 < do_study(study, lab).seconds < 61
    (tmp_path / "finding.json").write_text("damaged")
    assert do_study(study, lab).seconds < 1


def test_a_finding_is_read_as_it_was_written_and_found_in_its_folder(tmp_path: Path) -> None:
    write_finding(tmp_path / "demo", finding())
    paths = find_findings([tmp_path])
    assert paths == find_findings([tmp_path / "demo"])
    assert [read_finding(path) for path in paths] == [finding()]
    paths[0].write_text('{"study": "demo"}')
    with pytest.raises(ValueError, match=r"finding.json: no finding of a study"):
        read_finding(paths[0])


def test_the_page_says_what_was_asked_and_found_and_marks_quick_forms() -> None:
    page = build_gallery([finding(), finding(quick=True)])
    assert page.count("Does it &lt;work&gt;?") == 2
    assert page.count('<span class="tag">quick form</span>') == 1
    assert "It does." in page
    assert "commit 0123456" in page


def test_a_logarithmic_axis_is_marked_where_the_points_are() -> None:
    one, other = (
        Series(name=name, points=tuple(Point(place=place, value=1.0) for place in places))
        for name, places in {"a": (5, 100), "b": (20, 5)}.items()
    )
    plot = Plot(title="t", caption="c", kind="lines", x="x", y="y", log_x=True, series=(one, other))
    assert draw_plot(plot)["layout"]["xaxis"] == {"type": "log", "tickvals": [5, 20, 100]}


def test_published_findings_are_of_studies_that_are_there() -> None:
    paths = find_findings([Path(__file__).parent.parent / "results" / "studies"])
    for path in paths:
        found = read_finding(path)
        assert (found.study, path.parent.name.removesuffix("-quick")) == (found.study,) * 2
        assert found.study in STUDIES
        assert found.quick == path.parent.name.endswith("-quick")


def test_ctrl_c_ends_a_study_with_130_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupt(lab: Lab) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Study, "load", lambda study: interrupt)
    assert main(["relu_tanh", "--out", str(tmp_path)]) == 130
    assert "give the same command to go on" in capsys.readouterr().out


def test_a_published_finding_has_no_pictures_and_its_runs_have_no_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, quick = tmp_path / "demo", Path(__file__).parent.parent / "results" / "quick"
    shown = replace(finding().answer, pictures=(Picture(png="", caption="a photograph"),))
    write_finding(study, finding(answer=shown))
    shutil.copytree(quick, study / "a")
    assert publish([str(study), str(tmp_path / "published")]) == 0
    assert [path.name for path in (tmp_path / "published").iterdir()] == ["finding.json"]
    assert read_finding(tmp_path / "published" / "finding.json") == finding()
    assert publish([str(study), str(tmp_path / "published")]) == 2
    assert "is there already" in capsys.readouterr().err
    shutil.rmtree(study / "a" / "cells")
    assert publish([str(study), str(tmp_path / "again")]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_a_folder_without_findings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no study has a finding there"):
        write_gallery([str(tmp_path)])


def test_numbers_are_said_with_their_intervals() -> None:
    assert say_estimate(Estimate(6.14, 5.2, 7.3), "times") == "6.1 times (5.2 to 7.3)"
    said = say_estimate(Estimate(1.0, -0.5, 2.5), "points", signed=True)
    assert said == "+1.0 points (-0.5 to +2.5)"
    assert "no interval" in say_estimate(Estimate(6.1, 0, math.inf), "times")
    assert (say_count(1, "seed"), say_count(2000, "seed")) == ("1 seed", "2,000 seeds")
    assert join_names(["a"]) == "a"
    assert join_names("abc") == "a, b and c"

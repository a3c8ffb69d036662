"""The study of false and missed winners.

Oracle: comparisons whose truth is drawn, and a clock that only steps move.
"""

import json
import random
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.studies import same_model_twice as study
from bench.studies import twin_measurement
from bench.studies.lab import Lab
from bench.studies.trial import Trial, list_trials


def line(trial: Trial, ratio: float = 1.0) -> dict[str, Any]:
    """A comparison in which the second build is `ratio` times as fast as the first."""
    rng = np.random.default_rng(zlib.crc32(repr(trial).encode()))
    first, second = rng.lognormal(sigma=0.01, size=(2, 40))
    seconds = {"first": first.tolist(), "second": (second / ratio).tolist()}
    return {**trial._asdict(), "ended_by": "seconds", "seconds": 12.0, "values": seconds}


def test_the_plan_is_200_of_equals_half_of_them_beside_other_work_and_100_slowed() -> None:
    counted = Counter((trial.kind, trial.busy) for trial in list_trials())
    assert counted == {("same", False): 100, ("same", True): 100, ("slowed", False): 100}
    assert len(set(list_trials())) == 300


def test_the_answer_counts_what_was_claimed_and_what_was_found() -> None:
    equal = [
        line(Trial("same", "lenet5", False, i), 1.1 if i < 3 else 0.9 if i < 5 else 1.0)
        for i in range(20)
    ]
    slow = [
        line(Trial("slowed", "lenet5", False, i), 1 / 1.05 if i < 7 else 1.0) for i in range(10)
    ]
    answer = study.summarise(equal + slow)
    assert "between equals in 5 of 20, 25.0 % (11.2 to 46.9) (3 or fewer are" in answer.sentences[0]
    assert stats.binom.ppf(0.975, 20, 0.05) == 3
    assert "5 % slower is found in 7 of 10" in answer.sentences[1]
    (series,) = answer.plots[0].series
    assert [(point.place, point.value) for point in series.points] == [
        ("same, lenet5, alone", 25),
        ("slowed, lenet5, alone", 70),
    ]


def test_a_slower_equal_is_a_false_claim_and_a_faster_slowed_one_is_not_found() -> None:
    assert study.is_told_apart(line(Trial("same", "lenet5", False, 0), 0.9))
    assert not study.is_told_apart(line(Trial("slowed", "lenet5", False, 0), 1.1))


def test_a_torn_line_is_done_again(tmp_path: Path) -> None:
    file, trials = tmp_path / "study.jsonl", list_trials()
    file.write_text(json.dumps(line(trials[0])) + "\n" + json.dumps(line(trials[1]))[:-9])
    lines = study.read_lines(file)
    assert [study.trial_of(each) for each in lines] == trials[:1]
    assert file.read_text().count("\n") == 1
    assert file.read_text().endswith("\n")


def test_a_slowed_step_takes_five_percent_more(
    monkeypatch: pytest.MonkeyPatch, runtime: Any
) -> None:
    from bench.train.trainer import Learner

    class Clock:
        now = 100.0

        def __call__(self) -> float:
            Clock.now += 1e-4
            return Clock.now

    took = random.Random(0).uniform(1, 2)

    def step(self: Learner, *given: Any, **named: Any) -> str:
        Clock.now += took
        return "loss"

    monkeypatch.setattr(Learner, "step", step)
    monkeypatch.setattr(twin_measurement.time, "perf_counter", Clock())
    learner: Any = Learner(*[None] * 7, runtime)  # type: ignore[arg-type]
    before = Clock.now
    assert twin_measurement.slow_down(learner).step() == "loss"
    assert Clock.now - before == pytest.approx(1.05 * took, abs=1e-3)


def test_other_work_is_a_process_that_ends_with_the_comparison() -> None:
    import psutil

    children = psutil.Process().children
    before = len(children())
    with twin_measurement.keep_core_busy():
        assert len(children()) == before + 1
    assert len(children()) == before


@pytest.mark.slow
def test_a_comparison_is_kept_with_its_raw_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twin_measurement, "SECONDS", 1.0)
    monkeypatch.setattr(study, "NUM_QUICK", 1)
    lab = Lab(tmp_path, quick=True)
    answer = study.same_model_twice(lab)
    (kept,) = study.read_lines(tmp_path / "trials.jsonl")
    assert study.trial_of(kept) == list_trials()[0]
    first, second = (kept["values"][name] for name in ("first", "second"))
    assert len(first) == len(second) >= 3
    monkeypatch.setattr(twin_measurement, "measure_trial", pytest.fail)
    assert study.same_model_twice(lab) == answer

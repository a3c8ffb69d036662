"""Two builds of one model measured against each other, as a comparison does it."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.cell.open_run import open_alone
from bench.distributed.process import die_with_parent
from bench.measure.subject import build_subject
from bench.measure.turns import take_turns
from bench.measure.visit import step_visit
from bench.request.command_line import parse
from bench.studies.trial import METRIC, MODELS, Trial
from bench.train.build import RunContext
from bench.train.trainer import Learner
from zoo.registry import resolve

SECONDS = 8.0  # of taking turns; building and warming both up may take 5 more
SLOWDOWN = 1.05  # times as long as it took, a slowed step takes


def measure_trials(
    trials: Sequence[Trial], folder: Path, num_threads: int | None = None
) -> Iterator[dict[str, Any]]:
    """Do trials, yielding a line for each: what was compared, where, and the raw seconds of both.

    Raises Interrupted after a signal.
    """
    if not trials:
        return
    request = parse(["--recipe", "smoke", "--dataset", "synthetic"])
    config = replace(request, models=MODELS, pairs="auto", out=folder, num_threads=num_threads)
    with open_alone(config) as context:
        for trial in trials:
            line = measure_trial(trial, context)
            line["threads"] = context.runtime.num_threads
            line["machine"] = context.environment["machine"]
            line["commit"] = context.environment["git_commit"]
            yield line


def measure_trial(trial: Trial, context: RunContext) -> dict[str, Any]:
    """Measure two builds of a model, interleaved.

    Returns the trial with the raw seconds of both, round by round.
    """
    start = time.perf_counter()
    spec = resolve(trial.model, num_classes=len(context.data.class_names))
    first, second = build_subject(spec, context), build_subject(spec, context)
    if trial.kind == "slowed":
        assert second.learner is not None, "the study is of training steps"
        second.learner = slow_down(second.learner)
    runtime = context.runtime
    with keep_core_busy() if trial.busy else contextlib.nullcontext():
        turns = take_turns(
            {"first": step_visit(first, runtime), "second": step_visit(second, runtime)},
            rounds=None,
            seconds=SECONDS,
            seed=trial.number,
            check=runtime.check_signal,
            watch=runtime.watch().read_taken,
        )
    values = {name: rows[METRIC] for name, rows in turns.values.items()}
    return {
        **trial._asdict(),
        "ended_by": turns.ended_by,
        "seconds": time.perf_counter() - start,
        "values": values,
        "disturbed": turns.disturbed,
    }


class SlowedLearner(Learner):
    """A learner each of whose steps is drawn out by 5 % of the time that it took."""

    def step(self, *given: Any, **named: Any) -> Any:
        start = time.perf_counter()
        loss = super().step(*given, **named)
        self.runtime.synchronize()
        until = start + SLOWDOWN * (time.perf_counter() - start)
        # Sleeping would give the core away, and wake up late by more than is drawn out.
        while time.perf_counter() < until:
            pass
        return loss


def slow_down(learner: Learner) -> Learner:
    """Return the learner with slowed steps; both share model and optimiser."""
    return SlowedLearner(**vars(learner))


@contextlib.contextmanager
def keep_core_busy() -> Iterator[None]:
    """Keep the last core of this process busy with another one."""
    core = max(os.sched_getaffinity(0))
    work = f"import os\nos.sched_setaffinity(0, [{core}])\nwhile True: pass"
    worker = subprocess.Popen([sys.executable, "-c", work], preexec_fn=die_with_parent)
    try:
        yield
    finally:
        worker.kill()
        worker.wait()

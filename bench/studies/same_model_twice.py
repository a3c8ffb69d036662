"""How often a comparison claims a winner where there is none, and how often it finds a model that is 5 % slower.

python -m bench.study runs/study.jsonl              do what is missing of 300 comparisons, then print the table
python -m bench.study runs/study.jsonl --limit 5    do at most five of them
python -m bench.study runs/study.jsonl --table      print the table of what is there

Each comparison is of two fresh builds of one model, at most 15 s long: 200 of equals, half of them
beside other work on one core, and 100 in which one of the two is slowed on purpose. A line a
comparison, with all raw values, is added to the file when it ends, so an interrupted study goes on
where it was.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bench.distributed.process import die_with_parent
from bench.request.command_line import complain, parse
from bench.request.config import RunConfig
from bench.results.record import Measurement, make_measurement
from bench.results.verdict import Verdict, speed_ratio, verdict

if TYPE_CHECKING:
    from bench.train.build import RunContext

MODELS = ("lenet5", "squeezenet1_1")
METRIC = "train_images_per_second"
EACH = 50  # comparisons of a kind
SECONDS = 8.0  # of taking turns; building and warming both up may take 5 more
CLAIMS_ALLOWED = 16  # of 200 at 5 %: the exact binomial test's bound
FINDS_NEEDED = 90  # of 100
HEAD = ("kind", "model", "beside", "n", "won", "half width", "rounds", "longest")

Kind = Literal["same", "slowed"]


class Trial(NamedTuple):
    """One comparison of the study."""

    kind: Kind
    model: str
    busy: bool
    number: int


def plan() -> list[Trial]:
    """All comparisons in an order drawn once, so that no kind has an hour of the day to itself."""
    conditions: list[tuple[Kind, bool]] = [("same", False), ("same", True), ("slowed", False)]
    trials = [
        Trial(k, model, busy, i) for k, busy in conditions for model in MODELS for i in range(EACH)
    ]
    random.Random(0).shuffle(trials)
    return trials


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when done, 2 for a wrong request, 130 or 143 if interrupted."""
    options = _parser().parse_args(words)
    lines = read_lines(options.file)
    done = {trial_of(line) for line in lines}
    if not options.table:
        try:
            lines += _run(
                [trial for trial in plan() if trial not in done][: options.limit], options.file
            )
        except ValueError as error:
            return complain(error)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
    print(table(lines))
    return 0


def _run(trials: Sequence[Trial], path: Path) -> list[dict[str, Any]]:
    """Do trials, adding a line each; KeyboardInterrupt after a signal."""
    if not trials:
        return []
    from bench.cell.open_run import open_alone
    from bench.distributed.runtime import Interrupted

    path.parent.mkdir(parents=True, exist_ok=True)
    found = []
    with open_alone(replace(_config(), out=path.parent)) as context:
        for trial in trials:
            try:
                line = measure(trial, context)
            except Interrupted as stop:
                raise KeyboardInterrupt from stop
            line |= {
                "threads": context.runtime.num_threads,
                "machine": context.environment["machine"],
                "commit": context.environment["git_commit"],
            }
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            found.append(line)
            print(
                f"{len(found)}/{len(trials)} {' '.join(map(str, trial))}: {judge(line)}", flush=True
            )
    return found


def _config() -> RunConfig:
    return replace(
        parse(["--recipe", "smoke", "--dataset", "synthetic"]), models=MODELS, pairs="auto"
    )


def measure(trial: Trial, context: "RunContext") -> dict[str, Any]:
    """Compare two builds of a model in turn.

    The trial with the raw seconds of both, round by round.
    """
    from bench.measure.compare import build
    from bench.measure.turns import take_turns
    from bench.measure.visit import step_visit
    from zoo.registry import resolve

    start = time.perf_counter()
    spec = resolve(trial.model, num_classes=len(context.data.class_names))
    first, second = build(spec, context), build(spec, context)
    if trial.kind == "slowed":
        second.learner = slowed(second.learner)
    with other_work(trial.busy):
        turns = take_turns(
            {
                "first": step_visit(first, context.runtime),
                "second": step_visit(second, context.runtime),
            },
            rounds=None,
            seconds=SECONDS,
            seed=trial.number,
            check=context.runtime.check_signal,
        )
    values = {name: rows[METRIC] for name, rows in turns.values.items()}
    took = time.perf_counter() - start
    return {**trial._asdict(), "ended_by": turns.ended_by, "seconds": took, "values": values}


def slowed(learner: Any) -> Any:
    """The learner, each of whose steps is drawn out by 5 % of the time that it took."""
    from bench.train.trainer import Learner

    class Slowed(Learner):
        def step(self, *given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            loss = super().step(*given, **named)
            self.runtime.synchronize()
            until = start + 1.05 * (time.perf_counter() - start)
            while time.perf_counter() < until:
                pass
            return loss

    return Slowed(**vars(learner))


@contextlib.contextmanager
def other_work(busy: bool) -> Iterator[None]:
    """Keep the last core busy with another process, if `busy`."""
    if not busy:
        yield
        return
    core = max(os.sched_getaffinity(0))
    work = f"import os\nos.sched_setaffinity(0, [{core}])\nwhile True: pass"
    worker = subprocess.Popen([sys.executable, "-c", work], preexec_fn=die_with_parent)
    try:
        yield
    finally:
        worker.kill()
        worker.wait()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The comparisons that a file holds; a line that was torn by a crash is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        path.write_text("".join(whole), encoding="utf-8")
    return [json.loads(line) for line in whole]


def trial_of(line: Mapping[str, Any]) -> Trial:
    """Which comparison a line is of."""
    return Trial(**{name: line[name] for name in Trial._fields})


def ratio_of(line: Mapping[str, Any]) -> tuple[float, float, float]:
    """How many times as fast the second build was: (ratio, low, high)."""
    second, first = (_measurement(line["values"][name]) for name in ("second", "first"))
    return speed_ratio(second, first)


def _measurement(seconds: Sequence[float]) -> Measurement:
    return make_measurement(METRIC, [seconds], images=1)


def judge(line: Mapping[str, Any]) -> Verdict:
    """The verdict on a line's second build."""
    return verdict(*ratio_of(line)[1:])


def won(line: Mapping[str, Any]) -> bool:
    """Whether a winner is claimed; of a slowed build, whether it is found to be the slower one."""
    found = judge(line)
    return found == "slower" or (line["kind"] == "same" and found == "faster")


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """The study as text: a row a kind, model and company, and the two sums that it is for."""
    rows = [HEAD, *_rows(lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    drawn = "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    equal, slow = ([line for line in lines if line["kind"] == kind] for kind in ("same", "slowed"))
    claimed, found = sum(map(won, equal)), sum(map(won, slow))
    return (
        f"{drawn}\na winner is claimed between equals in {claimed} of {len(equal)} (at most {CLAIMS_ALLOWED} of 200); "
        f"5 % is found in {found} of {len(slow)} (at least {FINDS_NEEDED} of 100)"
    )


def _rows(lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for kind, model, busy in dict.fromkeys(
        (trial.kind, trial.model, trial.busy) for trial in sorted(plan())
    ):
        some = [
            line
            for line in lines
            if (line["kind"], line["model"], line["busy"]) == (kind, model, busy)
        ]
        if not some:
            continue
        half = statistics.median((high - low) / 2 for _, low, high in map(ratio_of, some))
        rounds = statistics.median(len(line["values"]["first"]) for line in some)
        yield (
            kind,
            model,
            "other work" if busy else "nothing",
            str(len(some)),
            str(sum(map(won, some))),
            f"{half:.3f}",
            f"{rounds:.0f}",
            f"{max(line['seconds'] for line in some):.1f} s",
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.study", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("file", type=Path, help="where the comparisons are kept, a line each")
    parser.add_argument("--table", action="store_true", help="print the table alone")
    parser.add_argument("--limit", type=int, metavar="N", help="do at most N comparisons now")
    return parser


if __name__ == "__main__":
    sys.exit(main())

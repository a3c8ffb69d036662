"""How often a comparison claims a winner where there is none, and finds a model that is 5 % slower.

Each comparison is of two fresh builds of one model, at most 15 s long: 200 of equals, half of them
beside other work on one core, and 100 in which one of the two is slowed on purpose. A line a
comparison, with all raw values, is added to `trials.jsonl` when it ends, so an interrupted study
goes on where it was.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import special

from bench.environment import describe_machine
from bench.results.finding import Answer, Plot, Series, point_at
from bench.results.image_interval import wilson_interval
from bench.results.interval import CONFIDENCE, Estimate
from bench.results.record import make_measurement
from bench.results.verdict import Verdict, speed_ratio, verdict
from bench.studies.lab import Lab
from bench.studies.trial import METRIC, Trial, list_trials
from bench.studies.twin_measurement import measure_trials
from bench.studies.wording import say_estimate

FINDS_NEEDED = 90  # of 100
NUM_QUICK = 12  # comparisons of the quick form

Line = Mapping[str, Any]


def same_model_twice(lab: Lab) -> Answer:
    """How often is a winner claimed between equals, and a model that is 5 % slower found?

    300 comparisons in about an hour; the quick form does the first 12 of them.
    """
    trials = list_trials()[: NUM_QUICK if lab.quick else None]
    file = lab.folder / "trials.jsonl"
    lines = read_lines(file)
    done = {trial_of(line) for line in lines}
    missing = [trial for trial in trials if trial not in done]
    check_machine(lines, file)
    measured = measure_trials(missing, lab.folder, lab.num_threads)
    for number, line in enumerate(measured, start=1):
        # At once, and the file closed: an interrupted study loses one comparison at most.
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(line) + "\n")
        lines.append(line)
        name = " ".join(map(str, trial_of(line)))
        lab.say(f"{number}/{len(missing)} {name}: {judge_second(line)}")
    wanted = set(trials)
    return summarise([line for line in lines if trial_of(line) in wanted])


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the comparisons that a file holds; a line that was torn by a crash is cut off."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        # The next line would otherwise be added behind the torn one.
        path.write_text("".join(whole), encoding="utf-8")
    return [json.loads(line) for line in whole]


def check_machine(lines: Sequence[Line], file: Path) -> None:
    """Refuse to go on with comparisons that another machine made; ValueError, one line."""
    machine = describe_machine()["machine"]
    others = {line["machine"] for line in lines if line.get("machine", machine) != machine}
    if others:
        raise ValueError(
            f"{file} is of another machine ({', '.join(sorted(others))}); give another --out"
        )


def trial_of(line: Line) -> Trial:
    """Return the trial that a line is of."""
    return Trial(**{name: line[name] for name in Trial._fields})


def ratio_of(line: Line) -> tuple[float, float, float]:
    """Return how many times as fast the second build was: (ratio, low, high)."""
    builds = {}
    for name, seconds in line["values"].items():
        # A ratio doesn't depend on how many images there were.
        # Lines from before the rounds were watched say nothing of others.
        disturbed = line.get("disturbed", 0.0)
        builds[name] = make_measurement(METRIC, [seconds], images=1, disturbed=disturbed)
    return speed_ratio(builds["second"], builds["first"])


def judge_second(line: Line) -> Verdict:
    """Return the verdict on a line's second build."""
    _, low, high = ratio_of(line)
    return verdict(low, high)


def is_told_apart(line: Line) -> bool:
    """Return whether equals have a winner, or a slowed build is found to be the slower one."""
    found = judge_second(line)
    if line["kind"] == "slowed":
        return found == "slower"
    return found in ("slower", "faster")


def summarise(lines: Sequence[Line]) -> Answer:
    """Return what the comparisons add up to, by kind, model and company."""
    equals = [line for line in lines if line["kind"] == "same"]
    slowed = [line for line in lines if line["kind"] == "slowed"]
    ratios = [ratio_of(line) for line in lines]
    half_width = statistics.median((high - low) / 2 for _, low, high in ratios)
    num_rounds = statistics.median(len(line["values"]["first"]) for line in lines)
    by_condition: dict[str, list[Line]] = {}
    for line in sorted(lines, key=lambda line: (line["kind"], line["model"], line["busy"])):
        beside = "beside other work" if line["busy"] else "alone"
        by_condition.setdefault(f"{line['kind']}, {line['model']}, {beside}", []).append(line)
    points = [point_at(name, share_told_apart(some)) for name, some in by_condition.items()]
    return Answer(
        sentences=(
            f"{_count('A winner is claimed between equals', equals)} "
            f"({_most_by_chance(len(equals))} or fewer are within chance).",
            f"{_count('A model that is 5 % slower is found', slowed)} "
            f"(at least {FINDS_NEEDED} of 100 are asked for).",
        ),
        setting=(
            f"{len(lines)} comparisons of two fresh builds of a model, by the median of "
            f"{num_rounds:.0f} rounds and a half width of {half_width:.3f} of the ratio."
        ),
        plots=(
            Plot(
                title="Comparisons that tell the two builds apart",
                caption="Of equals (same) none should be told apart, of slowed ones all.",
                kind="dots",
                x="Told apart (%)",
                y="Comparison",
                series=(Series(name="told apart", points=tuple(points)),),
            ),
        ),
    )


def share_told_apart(lines: Sequence[Line]) -> Estimate:
    """Return how many percent of comparisons tell their builds apart, with Wilson's limits."""
    num_apart = sum(map(is_told_apart, lines))
    return Estimate(100 * num_apart / len(lines), *wilson_interval(num_apart, len(lines)))


def _most_by_chance(num_equals: int) -> int:
    """Return how many equals may be told apart at 5 %: the upper limit of 95 % of all studies."""
    return math.ceil(special.bdtrik((1 + CONFIDENCE) / 2, num_equals, 1 - CONFIDENCE))


def _count(what: str, lines: Sequence[Line]) -> str:
    if not lines:
        return f"{what} in 0 of 0"
    share = say_estimate(share_told_apart(lines), "%")
    return f"{what} in {sum(map(is_told_apart, lines))} of {len(lines)}, {share}"

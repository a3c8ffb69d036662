"""How often a comparison claims a winner where there is none, and finds a model that is 5 % slower.

    python -m bench.study runs/study.jsonl              do what is missing of 300 comparisons
    python -m bench.study runs/study.jsonl --limit 5    do at most five of them
    python -m bench.study runs/study.jsonl --busy       do only those beside other work
    python -m bench.study runs/study.jsonl --table      print the table of what is there

Each comparison is of two fresh builds of one model, at most 15 s long: 200 of equals, half of them
beside other work on one core, and 100 in which one of the two is slowed on purpose. A line a
comparison, with all raw values, is added to the file when it ends, so an interrupted study goes on
where it was.
"""

import argparse
import io
import json
import signal
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.request.command_line import report_error
from bench.results.record import make_measurement
from bench.results.verdict import Verdict, speed_ratio, verdict
from bench.studies.trial import METRIC, Trial, list_trials

CLAIMS_ALLOWED = 16  # of 200 at 5 %: the exact binomial test's bound
FINDS_NEEDED = 90  # of 100
HEADINGS = ("kind", "model", "beside", "n", "won", "half width", "rounds", "longest")
WIDTH = 100  # characters of the table, on a terminal or off it

Line = Mapping[str, Any]


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when done, 2 for a wrong request, 130 if interrupted."""
    description = (__doc__ or "").split("\n", 1)[0]
    parser = argparse.ArgumentParser(prog="python -m bench.study", description=description)
    parser.add_argument("file", type=Path, help="where the comparisons are kept, a line each")
    parser.add_argument("--table", action="store_true", help="print the table alone")
    parser.add_argument("--limit", type=int, metavar="N", help="do at most N comparisons now")
    parser.add_argument("--busy", action="store_true", help="do those beside other work alone")
    options = parser.parse_args(words)
    lines = read_lines(options.file)
    if not options.table:
        done = {trial_of(line) for line in lines}
        missing = [trial for trial in list_trials() if trial not in done]
        if options.busy:
            missing = [trial for trial in missing if trial.busy]
        try:
            lines += _do_trials(missing[: options.limit], options.file)
        except ValueError as error:
            return report_error(error)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
    print(format_study(lines))
    return 0


def _do_trials(trials: Sequence[Trial], path: Path) -> list[dict[str, Any]]:
    """Do trials, adding a line to the file and printing one for each."""
    if not trials:
        return []
    # Here, because it brings in torch: the table alone is there at once.
    from bench.studies.twin_measurement import measure_trials

    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for line in measure_trials(trials, path.parent):
        # At once, and the file closed: an interrupted study loses one comparison at most.
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        lines.append(line)
        trial = " ".join(map(str, trial_of(line)))
        print(f"{len(lines)}/{len(trials)} {trial}: {judge_second(line)}", flush=True)
    return lines


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


def format_study(lines: Sequence[Line]) -> str:
    """Return the study as text: a row a kind, model and company, and the two sums it is for."""
    text = io.StringIO()
    table = Table(*HEADINGS, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in _list_rows(lines):
        table.add_row(*row)
    # Without colours: the text is compared and kept, wherever it was made.
    Console(file=text, width=WIDTH, color_system=None).print(table)
    # rich fills every line up to the table's width.
    rows = [row.rstrip() for row in text.getvalue().splitlines()]
    equals = [line for line in lines if line["kind"] == "same"]
    slowed = [line for line in lines if line["kind"] == "slowed"]
    num_claimed, num_found = sum(map(is_told_apart, equals)), sum(map(is_told_apart, slowed))
    rows.append(
        f"a winner is claimed between equals in {num_claimed} of {len(equals)} "
        f"(at most {CLAIMS_ALLOWED} of 200); "
        f"5 % is found in {num_found} of {len(slowed)} (at least {FINDS_NEEDED} of 100)"
    )
    return "\n".join(rows)


def _list_rows(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    by_condition: dict[tuple[str, str, bool], list[Line]] = {}
    for line in lines:
        condition = (line["kind"], line["model"], line["busy"])
        by_condition.setdefault(condition, []).append(line)
    rows: list[tuple[str, ...]] = []
    for condition, some in sorted(by_condition.items()):
        kind, model, busy = condition
        ratios = [ratio_of(line) for line in some]
        half_width = statistics.median((high - low) / 2 for _, low, high in ratios)
        num_rounds = statistics.median(len(line["values"]["first"]) for line in some)
        longest = max(line["seconds"] for line in some)
        row = (
            kind,
            model,
            "other work" if busy else "nothing",
            str(len(some)),
            str(sum(map(is_told_apart, some))),
            f"{half_width:.3f}",
            f"{num_rounds:.0f}",
            f"{longest:.1f} s",
        )
        rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(main())

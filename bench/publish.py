"""Copy what of a run is published: no weights, no images of the data set, no scores. No torch.

python -m bench.publish runs/quick results/quick      refuses a run with faults
python -m bench.publish runs/studies/relu_tanh-quick results/studies/relu_tanh-quick

Of a study its finding is, if none of its runs has a fault; they stay where they are. Of a run its
records, predictions and comparison are; run `python -m tests.readme` after it.
"""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.request.command_line import report_error
from bench.results.finding import FILE as FINDING
from bench.results.finding import read_finding, write_finding
from bench.verify import find_faults

PUBLISHED = (
    "config.json",
    "comparison.json",
    "look.json",
    "cells/*/record.json",
    "cells/*/predictions.npz",
)


def main(words: Sequence[str]) -> int:
    """Publish one run; returns 0, or 2 for a wrong request."""
    try:
        if len(words) != 2:
            raise ValueError("give a run's folder and the folder to publish it in")
        run, target = map(Path, words)
        if target.exists():
            raise ValueError(f"{target}: is there already; remove it, or name another folder")
        publish = publish_study if (run / FINDING).is_file() else publish_run
        num_files = publish(run, target)
    except ValueError as error:
        return report_error(error)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {num_files} files, {size / 1e6:.1f} MB")
    return 0


def publish_run(run: Path, target: Path) -> int:
    """Copy a run's published files to a new folder; returns how many.

    ValueError if the run is not whole.
    """
    _check(run)
    num_files = 0
    for pattern in PUBLISHED:
        for path in sorted(run.glob(pattern)):
            place = target / path.relative_to(run)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
            num_files += 1
    return num_files


def publish_study(study: Path, target: Path) -> int:
    """Write a study's finding to a new folder, without its pictures; returns 1, its files.

    ValueError if the finding can't be read, or one of its runs is not whole.
    """
    finding = read_finding(study / FINDING)
    for run in finding.runs:
        _check(study / run)
    write_finding(target, replace(finding, answer=replace(finding.answer, pictures=())))
    return 1


def _check(run: Path) -> None:
    if not (run / "cells").is_dir():
        raise ValueError(f"{run}: holds no run")
    faults = list(find_faults(run))
    if faults:
        raise ValueError(f"{run}: {len(faults)} faults, first: {faults[0]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Copy what of a run is published: records, predictions, comparison; no weights, no images of the data set. No torch.

python -m bench.publish runs/survey results/survey      refuses a run with faults; then `python -m tests.readme`
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.request.command_line import complain
from bench.verify import faults

PUBLISHED = ("config.json", "comparison.json", "cells/*/record.json", "cells/*/predictions.npz")


def main(words: Sequence[str]) -> int:
    """Publish one run; returns 0, or 2 for a wrong request."""
    try:
        if len(words) != 2:
            raise ValueError("give a run's folder and the folder to publish it in")
        num_files = publish(Path(words[0]), Path(words[1]))
    except ValueError as error:
        return complain(error)
    size = sum(path.stat().st_size for path in Path(words[1]).rglob("*") if path.is_file())
    print(f"{words[1]}: {num_files} files, {size / 1e6:.1f} MB")
    return 0


def publish(run: Path, target: Path) -> int:
    """Copy a run's published files to a new folder; returns how many.

    ValueError if the run is not whole.
    """
    if not (run / "cells").is_dir():
        raise ValueError(f"{run}: holds no run")
    if target.exists():
        raise ValueError(f"{target}: is there already; remove it, or name another folder")
    found = list(faults(run))
    if found:
        raise ValueError(f"{run}: {len(found)} faults, first: {found[0]}")
    paths = [path for pattern in PUBLISHED for path in sorted(run.glob(pattern))]
    for path in paths:
        place = target / path.relative_to(run)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return len(paths)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Look at a data set: what is in it, and which images show the same, also across the splits.

python -m bench.data DIR                    an image folder, or the folder of a set's files
python -m bench.data cifar100 [--data-dir DIR]
python -m bench.data DIR --json             all of it, every pair, as JSON
python -m bench.data DIR --sheet pairs.png  pictures of up to 100 pairs, to judge by eye

Nothing is removed. A run's `--drop-duplicates` leaves out training images that are in the test set.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.request.command_line import report_error
from zoo.terminal import tolerate_output


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, or 2 for a wrong request."""
    options = _parse(sys.argv[1:] if words is None else words)
    # Imported late: --help needs none of it.
    from bench.data.look_command import show_look

    try:
        show_look(options.data, options.data_dir, as_json=options.json, sheet=options.sheet)
    except ValueError as error:
        return report_error(error)
    return 0


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.data",
        description="Look at a data set: counts, sizes, unreadable files, and doubles.",
    )
    parser.add_argument("data", metavar="DIR|NAME", help="a folder, or a name of --dataset")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where a named set is")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw up to 100 pairs")
    return parser.parse_args(words)


if __name__ == "__main__":
    tolerate_output()
    sys.exit(main())

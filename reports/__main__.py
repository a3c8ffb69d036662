"""Make the page, the table and the CSV of one or several runs.

python -m reports runs/2026-11-22-quick
python -m reports runs/a runs/b -o both.html --csv both.csv --baseline lenet5
python -m reports .benchmarks/before.json .benchmarks/after.json     micro-benchmarks, held against each other
python -m reports serve runs/
"""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.results.storage import write_bytes
from reports.frame import write_csv
from reports.micro import micro_text, read_micro
from reports.runs import Source, read_source
from reports.terminal import print_ranking


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, or 2 for a wrong request."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["serve"]:
        return _serve(given[1:])
    options = _parser().parse_args(given)
    files = [path for path in options.runs if path.suffix == ".json"]
    runs = [path for path in options.runs if path.suffix != ".json"]
    try:
        micro = [read_micro(path) for path in files]
        if micro:
            print(micro_text(micro))
        if not runs:
            if options.output or options.csv:
                raise ValueError("micro-benchmarks alone make no page and no CSV: name a run too")
            return 0
        source = read_source(runs)
        if options.baseline is not None:
            check_baseline(source, options.baseline)
    except ValueError as error:
        return _refuse(error)
    from reports.page import build_page

    page = build_page(source, options.baseline, micro)
    target = options.output or runs[0] / "report.html"
    try:
        write_page(target, page)
        if options.csv is not None:
            write_csv(source, options.csv)
    except ValueError as error:
        return _refuse(error)
    print_ranking(source)
    print(f"report: {target}" + (f"  table: {options.csv}" if options.csv else ""))
    return 0


def _serve(arguments: Sequence[str]) -> int:
    from reports.serve import serve

    try:
        serve(arguments)
    except ValueError as error:
        return _refuse(error)
    return 0


def _refuse(error: ValueError) -> int:
    print(f"reports: {error}", file=sys.stderr)
    return 2


def check_baseline(source: Source, name: str) -> None:
    """Refuse a baseline that no run has, with the nearest names."""
    models = sorted({cell.record.model for _, cell in source.cells})
    if name not in models:
        near = difflib.get_close_matches(name, models, n=3, cutoff=0.4)
        hint = (
            f"; did you mean {' or '.join(near)}?"
            if near
            else f"; there are {', '.join(models[:8])}"
        )
        raise ValueError(f"--baseline {name}: no such model in these runs{hint}")


def write_page(target: Path, page: str) -> None:
    """Write the page as a finished whole; ValueError if it can't be written."""
    try:
        write_bytes(target, page.encode())
    except OSError as error:
        raise ValueError(f"{target}: can't be written ({error.strerror or error})") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        description="The page and the table of runs.",
        epilog="`python -m reports serve RUNS` lists all runs.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="a run's folder, a folder of runs, or a JSON file of `./launch.sh micro`",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE.html",
        help="the page (default: the first RUN/report.html)",
    )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="also write the tidy table, one row a record"
    )
    parser.add_argument(
        "--baseline",
        metavar="MODEL",
        help="the model that the page holds the others against at first",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

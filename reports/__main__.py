"""Make the page, the table and the CSV of one or several runs.

python -m reports runs/2026-11-22-quick
python -m reports runs/a runs/b -o both.html --csv both.csv --baseline lenet5
"""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from reports.source import Source, read_source


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, or 2 for a wrong request."""
    options = _parser().parse_args(arguments)
    try:
        report(options.runs, output=options.output, csv=options.csv, baseline=options.baseline)
    except ValueError as error:
        print(f"reports: {error}", file=sys.stderr)
        return 2
    return 0


def report(runs: Sequence[Path], *, output: Path | None, csv: Path | None, baseline: str | None) -> None:
    """Write the page and, if asked, the CSV, and print the ranking. ValueError for what the user can put right."""
    source = read_source(runs)
    if baseline is not None:
        check_baseline(source, baseline)
    target = output or runs[0] / "report.html"
    _write(target, source, baseline)
    if csv is not None:
        from reports.frame import write_csv

        write_csv(source, csv)
    from reports.terminal import print_ranking

    print_ranking(source)
    print(f"report: {target}" + (f"  table: {csv}" if csv else ""))


def check_baseline(source: Source, name: str) -> None:
    """Refuse a baseline that no run has, with the nearest names."""
    models = sorted({cell.record.model for _, cell in source.cells})
    if name not in models:
        near = difflib.get_close_matches(name, models, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(models[:8])}"
        raise ValueError(f"--baseline {name}: no such model in these runs{hint}")


def _write(target: Path, source: Source, baseline: str | None) -> None:
    from bench.record import write_bytes
    from reports.page import build_page

    page = build_page(source, baseline).encode()
    try:
        write_bytes(target, page)
    except OSError as error:
        raise ValueError(f"{target}: can't be written ({error.strerror or error})") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reports", description="The page and the table of runs.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, or a folder of runs")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE.html", help="the page (default: the first RUN/report.html)"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the tidy table, one row a record")
    parser.add_argument("--baseline", metavar="MODEL", help="the model that the page holds the others against at first")
    return parser


if __name__ == "__main__":
    sys.exit(main())

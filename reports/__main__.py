"""Make the page, the table and the CSV of one or several runs.

python -m reports runs/2026-11-22-quick
python -m reports RUN --choose "latency_ms_p95<=5 ms, peak_memory_bytes<=200 MB" --prefer top1
python -m reports runs/a runs/b -o both.html --csv both.csv --baseline lenet5
python -m reports .benchmarks/before.json .benchmarks/after.json   compare two micro-benchmark files
python -m reports serve runs/
python -m reports studies runs/studies
"""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.results.storage import write_bytes
from reports.micro import print_micro, read_micro
from reports.question import read_question
from reports.runs import Source, encode_page, read_source
from reports.spreadsheet import write_csv
from reports.terminal import print_ranking
from reports.usage import find_usage
from zoo.terminal import show, tolerate_output, visible

MOST_SHOWN = 8  # models named in a refusal that has no nearest name
CUTOFF = 0.5  # difflib's similarity, the same as for every other name that is refused


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Return 0, or 2 for a wrong request."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] in (["serve"], ["studies"]):
        return _do_other(given[0], given[1:])
    options = _parse(given)
    # A run is a folder, so a file's ending tells micro-benchmarks from runs.
    files = [path for path in options.runs if path.suffix == ".json"]
    runs = [path for path in options.runs if path.suffix != ".json"]
    try:
        micro = [read_micro(path) for path in files]
        if micro:
            print_micro(micro)
        if not runs:
            if options.output or options.csv:
                raise ValueError("micro-benchmarks make no page and no CSV: name a run as well")
            return 0
        source = read_source(runs)
        for option in ("baseline", "card"):
            if getattr(options, option) is not None:
                check_model(source, f"--{option}", getattr(options, option))
        check_text(options)
        question = read_question(source, options.choose, options.prefer, options.price)
    except ValueError as error:
        return _refuse(error)

    if options.table or options.card:
        return _write_text(source, options)
    # Imported late: a wrong request is refused before the charts are loaded.
    from reports.page import build_page

    # Outside of any `try`: a ValueError of the page's own code is a bug, not a wrong request.
    page = build_page(source, options.baseline, micro, question)
    report = options.output or runs[0] / "report.html"
    try:
        write_page(report, page)
        if options.csv is not None:
            write_csv(source, options.csv)
    except ValueError as error:
        return _refuse(error)
    print_ranking(source, question)
    show(f"report: {report}" + (f"  table: {options.csv}" if options.csv else ""))
    usage = find_usage(source, question, private=True)
    if usage is not None:
        show(f"use {usage.model}:")
        for command in usage.commands:
            show(f"  {command}")
    return 0


def _do_other(command: str, arguments: Sequence[str]) -> int:
    # Imported late: a page of runs needs neither.
    from reports.serve import serve
    from reports.study import write_gallery

    try:
        {"serve": serve, "studies": write_gallery}[command](arguments)
    except ValueError as error:
        return _refuse(error)
    return 0


def _refuse(error: ValueError) -> int:
    print(f"reports: {visible(str(error))}", file=sys.stderr)
    return 2


def _write_text(source: Source, options: argparse.Namespace) -> int:
    """Write the table, or a model's card, to the file that is named or to standard output."""
    # Imported late: a page of the same runs needs neither.
    from reports.card_text import card_text
    from reports.text_table import table_text

    text = card_text(source, options.card) if options.card else table_text(source, options.table)
    if options.output is None:
        show(text.rstrip())
        return 0
    try:
        write_page(options.output, text)
    except ValueError as error:
        return _refuse(error)
    return 0


def check_text(options: argparse.Namespace) -> None:
    """Raise ValueError where --table or --card stand beside what only a page has."""
    texts = [f"--{name}" for name in ("table", "card") if getattr(options, name) is not None]
    if len(texts) > 1:
        raise ValueError("--table and --card are two texts: ask for one at a time")
    for name in ("baseline", "choose", "csv"):
        if texts and getattr(options, name):
            raise ValueError(f"{texts[0]} writes a text and no page: leave --{name} out")


def check_model(source: Source, option: str, name: str) -> None:
    """Raise ValueError for a model that no run has, naming the nearest ones.

    The hint is that of `zoo.suggest`, which reports may not import: everything a report says of a
    model must come from its record, or a page couldn't be made of runs of another version's zoo. A
    test holds the two to the same words.
    """
    models = sorted({cell.record.model for _, cell in source.cells})
    if name in models:
        return
    hint = f"choose from {', '.join(models[:MOST_SHOWN])}"
    near = difflib.get_close_matches(name, models, cutoff=CUTOFF)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    raise ValueError(f"{option} {name}: no such model in these runs; {hint}")


def write_page(target: Path, page: str) -> None:
    """Write the page as a finished whole. Raise ValueError if it can't be written."""
    try:
        write_bytes(target, encode_page(page))
    except OSError as error:
        raise ValueError(f"{target}: can't be written ({error.strerror or error})") from error


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        description="Make the page and the table of runs.",
        epilog="`python -m reports serve RUNS` lists all runs in a browser, "
        "`python -m reports studies DIR` makes the page of studies.",
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
        help="where to write the page (default: report.html in the first RUN), or the text of "
        "--table or --card (default: standard output)",
    )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="also write the tidy table, one row a record"
    )
    parser.add_argument(
        "--baseline",
        metavar="MODEL",
        help="the model that the page compares the others with when it opens",
    )
    parser.add_argument(
        "--table", choices=("markdown", "latex"), help="write the table as text, and no page"
    )
    parser.add_argument(
        "--card", metavar="MODEL", help="write the card of a model in Markdown, and no page"
    )
    parser.add_argument(
        "--choose",
        default="",
        metavar="LIMITS",
        help="limits on columns of the CSV for the model to take, such as "
        '"latency_ms_p95<=5 ms, peak_memory_bytes<=200 MB"',
    )
    parser.add_argument(
        "--prefer",
        metavar="COLUMN",
        help="what to prefer among the models that keep the limits (default: top1)",
    )
    parser.add_argument(
        "--price",
        type=float,
        metavar="P",
        help="price of an hour, which makes train_cost of the training time",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    tolerate_output()
    sys.exit(main())

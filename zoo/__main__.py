"""List the models of the zoo, or show the layers of one.

    python -m zoo                      every model of ours
    python -m zoo 'alexnet*' --json    those that match, as JSON
    python -m zoo --family lightweight --max-parameters 2e6
    python -m zoo alexnet_grouped      one model: its layers with shapes, parameters and multiply-adds

The list needs no torch: its figures stand in the catalogue, and the tests count them again.
"""

import argparse
import dataclasses
import difflib
import json
import sys
from collections.abc import Sequence

from zoo import registry
from zoo.spec import ModelSpec

COLUMNS = ("name", "family", "year", "source", "input", "stem", "parameters", "multiply-adds")
LAYER_COLUMNS = ("layer", "kind", "kernel", "output", "parameters", "multiply-adds")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the list or one model; return the exit code (2 for a name that isn't there)."""
    options = _parser().parse_args(arguments)
    try:
        _show(options)
    except ValueError as error:
        print(f"python -m zoo: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m zoo", description="List the models, or show the layers of one."
    )
    parser.add_argument(
        "name", nargs="?", default="*", metavar="NAME|GLOB|tv:NAME|timm:NAME|FILE.py:FUNCTION"
    )
    parser.add_argument(
        "--family", metavar="NAME", help="list a family, or all of a file: lightweight, resnet, ..."
    )
    parser.add_argument(
        "--tag", metavar="NAME", help="list models with a tag: lightweight, transformer, ..."
    )
    parser.add_argument(
        "--max-parameters",
        type=float,
        metavar="N",
        help="list models of at most N parameters (2e6)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="count one model at N px instead of its own size",
    )
    parser.add_argument(
        "--num-classes",
        type=int,
        default=100,
        metavar="N",
        help="count one model with N classes (100)",
    )
    return parser


def _show(options: argparse.Namespace) -> None:
    filtered = options.family or options.tag or options.max_parameters is not None
    if registry.is_glob(options.name) or filtered:
        _show_list(_filtered(options), as_json=options.json)
    else:
        _show_model(options)


def _filtered(options: argparse.Namespace) -> list[ModelSpec]:
    """List the models that the name and every filter let through. ValueError where none is left."""
    specs = [registry.resolve(name) for name in registry.expand([options.name])]
    if options.family is not None:
        _check_known(
            "family",
            options.family,
            {spec.family for spec in specs} | {spec.file for spec in specs},
        )
        specs = [spec for spec in specs if options.family in (spec.family, spec.file)]
    if options.tag is not None:
        _check_known("tag", options.tag, {tag for spec in specs for tag in spec.tags})
        specs = [spec for spec in specs if options.tag in spec.tags]
    if options.max_parameters is not None:
        specs = [spec for spec in specs if spec.num_parameters <= options.max_parameters]
    if not specs:
        raise ValueError(
            f"no model has at most {options.max_parameters:,.0f} parameters; raise --max-parameters"
        )
    return specs


def _check_known(kind: str, name: str, known: set[str]) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"no {kind} {name!r}{hint} (there are {', '.join(sorted(known))})")


def _show_list(specs: Sequence[ModelSpec], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([dataclasses.asdict(spec) for spec in specs], indent=1))
        return
    rows = [
        (
            s.name,
            s.family,
            str(s.year),
            s.source,
            f"{s.in_channels}x{s.image_size}x{s.image_size}",
            s.stem,
            f"{s.num_parameters:,}",
            f"{s.multiply_adds:,}",
        )
        for s in specs
    ]
    _print_table(COLUMNS, rows, num_right=2)


def _show_model(options: argparse.Namespace) -> None:
    from zoo import describe  # torch is paid for here only

    described = describe.describe(
        options.name, num_classes=options.num_classes, image_size=options.image_size
    )
    if options.json:
        print(json.dumps(described.as_json(), indent=1))
        return
    print("\n".join(described.heading()))
    _print_table(LAYER_COLUMNS, described.rows(), num_right=2)
    print("\n".join(described.footing()))


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, num_right: int) -> None:
    """Print a table: by rich on a terminal, as plain aligned text anywhere else.

    The last columns align right.
    """
    right = set(range(len(columns) - num_right, len(columns)))
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for i, column in enumerate(columns):
            table.add_column(column, justify="right" if i in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        cells = [
            c.rjust(w) if i in right else c.ljust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    sys.exit(main())

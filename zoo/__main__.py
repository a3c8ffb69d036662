"""List the models of the zoo, or show the layers of one.

    python -m zoo                      every model of ours
    python -m zoo 'alexnet*' --json    those that match, as JSON
    python -m zoo --family lightweight --max-parameters 2e6
    python -m zoo alexnet_grouped      one model: its layers with shapes and multiply-adds

The list needs no torch: its figures stand in the catalogue, and the tests count them again.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from zoo import registry
from zoo.cause import UserCodeError
from zoo.spec import ModelSpec
from zoo.suggest import did_you_mean
from zoo.terminal import tolerate_output, visible

COLUMNS = ("name", "family", "year", "source", "input", "stem", "parameters", "multiply-adds")
LAYER_COLUMNS = ("layer", "kind", "kernel", "output", "parameters", "multiply-adds")
NUMBERS = ("parameters", "multiply-adds")  # columns that align right
PLAIN_WIDTH = 1000  # characters, off a terminal: more than any row, so that each stays one line


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the list or one model; return the exit code (2 for a name that isn't there)."""
    options = _build_parser().parse_args(arguments)
    has_filter = options.family or options.tag or options.max_parameters is not None
    try:
        if has_filter or registry.is_glob(options.name):
            _print_list(_filter(options), as_json=options.json)
        else:
            _print_model(options)
    except (ValueError, UserCodeError) as error:
        print(f"python -m zoo: {visible(str(error))}", file=sys.stderr)
        return 2
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m zoo", description="List the models, or show the layers of one."
    )
    add = parser.add_argument
    add("name", nargs="?", default="*", metavar="NAME|GLOB|tv:NAME|timm:NAME|FILE.py:FUNCTION")
    help_family = "list a family, or all of a file: lightweight, resnet, ..."
    add("--family", metavar="NAME", help=help_family)
    add("--tag", metavar="NAME", help="list models with a tag: lightweight, transformer, ...")
    help_most = "list models of at most N parameters (2e6)"
    add("--max-parameters", type=float, metavar="N", help=help_most)
    add("--json", action="store_true", help="print JSON")
    help_size = "count one model at N px instead of its own size"
    add("--image-size", type=int, metavar="N", help=help_size)
    help_classes = "count one model with N classes (100)"
    add("--num-classes", type=int, default=100, metavar="N", help=help_classes)
    return parser


def _filter(options: argparse.Namespace) -> list[ModelSpec]:
    """Return the models that the name and every filter let through.

    Raise ValueError for an unknown name, family or tag, and where no model is left.
    """
    specs = [registry.resolve(name) for name in registry.expand([options.name])]
    if options.family is not None:
        known = {spec.family for spec in specs} | {spec.file for spec in specs}
        _check_known("family", options.family, known)
        specs = [spec for spec in specs if options.family in (spec.family, spec.file)]
    if options.tag is not None:
        tags: set[str] = set()
        for spec in specs:
            tags.update(spec.tags)
        _check_known("tag", options.tag, tags)
        specs = [spec for spec in specs if options.tag in spec.tags]
    if options.max_parameters is not None:
        specs = [spec for spec in specs if spec.num_parameters <= options.max_parameters]
    if not specs:
        raise ValueError(
            f"no model has at most {options.max_parameters:,.0f} parameters; raise --max-parameters"
        )
    return specs


def _check_known(kind: str, name: str, known: Iterable[str]) -> None:
    names = sorted(known)
    if name not in names:
        near = did_you_mean(name, names, num_names=1)
        hint = f"; {near}" if near else ""
        raise ValueError(f"no {kind} {name!r}{hint} (there are {', '.join(names)})")


def _print_list(specs: Sequence[ModelSpec], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([dataclasses.asdict(spec) for spec in specs], indent=1))
        return
    rows = []
    for spec in specs:
        origin = (spec.name, spec.family, str(spec.year), spec.source)
        image = f"{spec.in_channels}x{spec.image_size}x{spec.image_size}"
        counts = (f"{spec.num_parameters:,}", f"{spec.multiply_adds:,}")
        rows.append((*origin, image, spec.stem, *counts))
    _print_table(COLUMNS, rows)


def _print_model(options: argparse.Namespace) -> None:
    from zoo.describe import describe  # nested: imports torch, which the list does without

    described = describe(
        options.name, num_classes=options.num_classes, image_size=options.image_size
    )
    if options.json:
        print(json.dumps(described.as_json(), indent=1))
        return
    print(visible("\n".join(described.heading())))
    _print_table(LAYER_COLUMNS, described.rows())
    print(visible("\n".join(described.footing())))


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned text: folded to the width of a terminal, a line a row anywhere else."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        is_number = column in NUMBERS
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(visible, row))
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    # No markup, emoji or highlighting: brackets and colons in a name are what they are.
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    console.print(table)


if __name__ == "__main__":
    tolerate_output()
    sys.exit(main())

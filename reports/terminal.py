"""The ranked table for the terminal: drawn by rich on one, plain aligned text elsewhere."""

import re
import sys
import textwrap
from collections.abc import Sequence

from markupsafe import Markup

from bench.results.metric import Column
from bench.results.setting import LABELS
from reports.chart.deploy import describe_fastest, fastest_of
from reports.chart.scaling import efficiencies
from reports.choice_text import Question, answer
from reports.column import COLUMNS, format_value
from reports.disturbance import MARK, describe_disturbances, is_disturbed
from reports.estimate import has_interval
from reports.ranking import (
    Entry,
    Group,
    entries_of,
    groups_of,
    ranks_of,
    shared_and_different,
)
from reports.retrained import compare_ways, describe_ways
from reports.runs import Source
from reports.table import causes_of, heading, place_text
from zoo.terminal import show, visible

SHOWN = tuple(column for column in COLUMNS if column.terminal)
WIDTH = 100  # characters of plain text
MODEL = 1  # the place of its column
HEADINGS = ("#", "model", *(column.terminal for column in SHOWN))


def print_ranking(source: Source, question: Question) -> None:
    """Print every group's ranking to standard output, failures last with their cause.

    The last words are what to take of each group.
    """
    entries = entries_of(source)
    groups = groups_of(entries)
    _, different = shared_and_different(groups)
    if different:
        names = ", ".join(LABELS[name] for name in different)
        said = f"{len(groups)} groups are not ranked together: they differ in {names}"
        show(textwrap.fill(visible(said), WIDTH, subsequent_indent="  "))
    for number, group in enumerate(groups, start=1):
        if len(groups) > 1:
            said = f"Group {number}: {heading(group, different)}"
            show("\n" + textwrap.fill(visible(said), WIDTH, subsequent_indent="  "))
        if sys.stdout.isatty():
            _print_rich(rows_of(group))
        else:
            show(plain_table(rows_of(group)))
        for entry in group.entries:
            for cause in causes_of(entry):
                show(visible(f"  {entry.names.title}: {cause}")[:WIDTH])
        for sentence in describe_disturbances(group.entries):
            lines = textwrap.wrap(f"{MARK} {sentence}", WIDTH - 2, subsequent_indent="  ")
            show(textwrap.indent("\n".join(lines), "  "))
        for entry in group.entries:
            found = fastest_of(entry, "latency")
            if found is not None:
                way = f"  {entry.names.title}, one image: {describe_fastest(found)}"
                show(textwrap.fill(visible(way), WIDTH, subsequent_indent="    "))
    for sentence in describe_ways(compare_ways(entries)):
        show(textwrap.fill(visible(f"  {sentence}"), WIDTH, subsequent_indent="    "))
    for each in efficiencies(groups):
        show(visible(f"  {each.sentence}")[:WIDTH])
    for fault in source.faults:
        show(visible(f"  skipped {fault.name}: {fault.reason}")[:WIDTH])
    for number, group in enumerate(groups, start=1):
        choice = " ".join(sentence.unescape() for sentence in _said(group, question))
        named = f"Group {number}: {choice}" if len(groups) > 1 else choice
        show("\n".join(textwrap.wrap(visible(named), WIDTH)))


def _said(group: Group, question: Question) -> list[Markup]:
    """Return what to take of a group, without bold letters."""
    return [Markup(re.sub("</?b>", "", each)) for each in answer(group, question).sentences]


def rows_of(group: Group) -> list[tuple[str, ...]]:
    """Return the finished rows as text: place, model, then the figures of SHOWN."""
    places = ranks_of(group)["top1"]
    rows = []
    for entry in group.entries:
        if entry.finished:
            figures = [_text(entry, column) for column in SHOWN]
            rows.append((place_text(places.get(entry.key)), visible(entry.name), *figures))
    return rows


def _text(entry: Entry, column: Column) -> str:
    number = entry.numbers.get(column.key)
    if number is None:
        return "-"
    text = format_value(number.value, column.kind)
    if column.key == "top1" and has_interval(number):
        text = f"{text} ±{(number.high - number.low) / 2:.1f}"
    return f"{text}{MARK}" if is_disturbed(entry, column.key) else text


def plain_table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return aligned columns of at most WIDTH characters; a long name is cut in its middle."""
    if not rows:
        return "  no finished model"
    lines = [HEADINGS, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # The names get what the figures leave, and never less than tells most names apart.
    gaps = 2 * (len(widths) - 1)
    room = max(12, WIDTH - gaps - (sum(widths) - widths[MODEL]))
    widths[MODEL] = min(widths[MODEL], room)
    table = []
    for line in lines:
        cells = [text.rjust(width) for text, width in zip(line, widths, strict=True)]
        cells[MODEL] = _cut(line[MODEL], widths[MODEL]).ljust(widths[MODEL])
        table.append("  ".join(cells))
    return "\n".join(table)


def _cut(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    half = (width - 1) // 2
    return f"{text[: width - 1 - half]}…{text[len(text) - half :]}"


def _print_rich(rows: Sequence[tuple[str, ...]]) -> None:
    # Imported here: output that no terminal shows needs no rich.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, title in enumerate(HEADINGS):
        if position == MODEL:
            table.add_column(title, justify="left", overflow="fold")
        else:
            table.add_column(title, justify="right", overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    # No markup, emoji or highlighting: brackets and colons in a name are what they are.
    Console(markup=False, emoji=False, highlight=False).print(table)

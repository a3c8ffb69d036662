"""The page's table as the template and the page's script need it.

Groups of rows, each cell with its text and note.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.results.interval import Estimate
from bench.results.metric import Column
from bench.results.setting import LABELS, UNSET
from reports.chart.palette import Mark
from reports.column import COLUMNS, format_value
from reports.estimate import has_interval
from reports.ranking import Entry, Group, Rank, ranks_of, shared_and_different
from reports.verdict_text import ENDINGS, interval_text
from reports.warning import PageWarning

MOST_CHARACTERS = 60  # of a setting in a heading


@dataclass(frozen=True)
class CellView:
    """One cell: its number and interval as text, and the numbers of the warnings on it."""

    key: str
    text: str
    interval: str
    notes: tuple[int, ...]


@dataclass(frozen=True)
class RowView:
    """One row of the table."""

    index: int
    key: str
    model: str
    run: str
    family: str
    mark: Mark
    status: str
    seeds: str
    causes: tuple[str, ...]
    notes: tuple[int, ...]
    place: str
    rank: str  # its interval in top-1: `1–3`
    cells: tuple[CellView, ...]


@dataclass(frozen=True)
class GroupView:
    """Rows that are ranked together; the heading says what sets them apart from other groups."""

    number: int
    heading: str
    rows: tuple[RowView, ...]


def group_views(
    groups: Sequence[Group],
    marks: Mapping[str, Mark],
    warned: Sequence[PageWarning],
    order: Mapping[str, int],
) -> list[GroupView]:
    """Return the table's groups.

    `order` numbers the rows by key, `marks` gives each family its colour and shape.
    """
    _, different = shared_and_different(groups)
    views = []
    for number, group in enumerate(groups, start=1):
        ranks = ranks_of(group)["top1"]
        rows = []
        for entry in group.entries:
            rank = ranks.get(entry.key)
            row = _row(entry, marks[entry.family], warned, rank, order[entry.key])
            rows.append(replace(row, rank=rank_text(group, entry)))
        views.append(GroupView(number, heading(group, different), tuple(rows)))
    return views


def heading(group: Group, different: Sequence[str]) -> str:
    """Return what sets a group apart from the others: `batch 128, machine EPYC`."""
    parts = []
    for name in different:
        value = group.key[name]
        # An empty list of augmentations is text without a character.
        text = UNSET[name] if value in (None, "") else _rule_value(value)
        parts.append(f"{LABELS[name]} {text}")
    return ", ".join(parts)


def _rule_value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    is_checksum = re.fullmatch("[0-9a-f]{40,}", text)
    if is_checksum:
        return text[:12]
    # Paths and machines often differ at their ends alone.
    return text if len(text) <= MOST_CHARACTERS else f"{text[:20]}…{text[21 - MOST_CHARACTERS :]}"


def _row(
    entry: Entry, mark: Mark, warned: Sequence[PageWarning], rank: Rank | None, index: int
) -> RowView:
    notes: dict[str, list[int]] = {}
    for number, warning in enumerate(warned, start=1):
        if entry.key in warning.keys:
            notes.setdefault(warning.column, []).append(number)
    cells = []
    for column in COLUMNS:
        own = tuple(notes.get(column.key, ()))
        cells.append(_cell(column, entry.numbers.get(column.key), own))
    return RowView(
        index=index,
        key=entry.key,
        model=entry.model,
        run=entry.run.name,
        family=entry.family,
        mark=mark,
        status="ok" if entry.finished else entry.record.status,
        seeds=seeds_of(entry),
        causes=tuple(causes_of(entry)),
        notes=tuple(notes.get("", ())),  # those that are of no column
        place=place_text(rank),
        rank="",
        cells=tuple(cells),
    )


def _cell(column: Column, number: Estimate | None, notes: tuple[int, ...]) -> CellView:
    if number is None:
        return CellView(column.key, "", "", notes)
    interval = interval_text(number, column.key) if has_interval(number) else ""
    return CellView(column.key, format_value(number.value, column.kind), interval, notes)


def place_text(rank: Rank | None) -> str:
    """Return a place as text: `=2` if it is shared, empty without one."""
    if rank is None:
        return ""
    return f"={rank.place}" if rank.tied else str(rank.place)


def rank_text(group: Group, entry: Entry) -> str:
    """Return the interval of a row's rank in top-1: `1–3`, empty if it is one place."""
    standing = group.standings.rows.get(entry.key)
    if standing is None or standing.low == standing.high:
        return ""
    return f"{standing.low}–{standing.high}"


def seeds_of(entry: Entry) -> str:
    """Return how many seeds ended well, of how many."""
    done, total = len(entry.finished), len(entry.cells)
    seeds = f"{total} seed{'s' if total > 1 else ''}"
    return seeds if done == total else f"{done} of {seeds}"


def causes_of(entry: Entry) -> list[str]:
    """Return a line for each seed that didn't end well: `seed 1 out of memory: …`."""
    lines = []
    for cell in entry.unfinished:
        record = cell.record
        seed = f"seed {record.seed} " if len(entry.cells) > 1 else ""
        reached = f" after epoch {record.epochs[-1].epoch + 1}" if record.epochs else ""
        cause = f": {record.error}" if record.error else ""
        lines.append(f"{seed}{ENDINGS[record.status]}{reached}{cause}")
    return lines


def rows_data(group: Group, numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return a group's rows for the page's script, each under its number in the table."""
    ranks = ranks_of(group)
    rows = []
    for entry in group.entries:
        row = row_data(entry, ranks, numbers[entry.key])
        rows.append(row | {"rank": rank_text(group, entry)})
    return rows


def row_data(entry: Entry, ranks: Mapping[str, Mapping[str, Rank]], index: int) -> dict[str, Any]:
    """Return a row for the page's script.

    Raw numbers, intervals where there are any, and places by column.
    """
    numbers = entry.numbers
    limits = {key: [n.low, n.high] for key, n in numbers.items() if has_interval(n)}
    places = {}
    for column, rows in ranks.items():
        if entry.key in rows:
            places[column] = place_text(rows[entry.key])
    return {
        "i": index,
        "key": entry.key,
        "run": entry.run.name,
        "model": entry.model,
        "name": entry.name,
        "label": entry.names.label,
        "family": entry.family,
        "group": entry.group,
        "status": "ok" if entry.finished else entry.record.status,
        "seeds": len(entry.finished),
        "cause": "; ".join(causes_of(entry)) or None,
        "values": {key: number.value for key, number in numbers.items()},
        "limits": limits,
        "places": places,
    }

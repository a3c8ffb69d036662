"""The parts of the page, each a function of the view.

A new part is a function here, its entry in PARTS, and its block in `templates/page.html.j2`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.results.metric import Column
from reports.chart.catalogue import charts_data, draw_charts
from reports.chooser import chooser_data, first_answers
from reports.column import COLUMNS
from reports.gallery import gallery_data
from reports.micro import describe_files, micro_rows
from reports.model_card import models_data
from reports.pairs import SPEEDS, baselines_of, is_finite, noise_floor
from reports.provenance import environment_rows, facts_of, title_of
from reports.published import compare_with_published
from reports.retrained import compare_ways
from reports.table import group_views, heading, rows_data
from reports.usage import find_usage
from reports.verdict_text import verdict_of
from reports.view import View


@dataclass(frozen=True)
class Part:
    """One part of the page: variables of the template, and data (JSON) for the page's script."""

    html: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)


def head_part(view: View) -> Part:
    """Return the title, the facts under it, and what several parts of the template ask for."""
    entries = view.entries
    facts = facts_of(view.source, entries, noise_floor(entries))
    stand_in = [entry for entry in entries if entry.record.data.stand_in]
    shared = {"source": view.source, "entries": entries, "row_numbers": view.row_numbers}
    usage = find_usage(view.source, view.question)
    head = {"title": title_of(entries), "facts": facts, "stand_in": stand_in, "usage": usage}
    return Part(shared | head)


def choice_part(view: View) -> Part:
    """Return what to take in each of the first groups, and what the page's script chooses from."""
    return Part({"answers": first_answers(view)}, {"chooser": chooser_data(view)})


def verdict_part(view: View) -> Part:
    """Return the verdict on each group, in sentences."""
    verdicts = []
    for group, pairs in zip(view.groups, view.pairs, strict=True):
        sentences = verdict_of(group, pairs["top1"], pairs[SPEEDS[0]])
        verdicts.append({"heading": heading(group, view.different), "sentences": sentences})
    return Part({"verdicts": verdicts})


def ranking_part(view: View) -> Part:
    """Return the table: its columns, rows, and the pairs that a chosen baseline shows."""
    numbers = view.row_numbers
    baselines, rows = [], []
    for group in view.groups:
        rows += rows_data(group, numbers)
        baselines += [(numbers[e.key], e) for e in baselines_of(group, view.baseline)]
    columns = [_column_data(column) for column in COLUMNS]
    # A model of several runs or groups has several rows: the first one is the baseline at first.
    named = [numbers[entry.key] for entry in view.entries if entry.model == view.baseline]
    families = [entry.family for entry in view.entries]
    counts = {name: (view.marks[name], families.count(name)) for name in sorted(view.marks)}
    groups = group_views(view.groups, view.marks, view.warnings, numbers)
    html = {"columns": COLUMNS, "groups": groups, "families": counts, "baselines": baselines}
    data = {"columns": columns, "rows": rows, "pairs": _pairs_data(view)}
    return Part(html, data | {"baseline": named[0] if named else None})


def _column_data(column: Column) -> dict[str, Any]:
    """Return a column for the script; `decimals` are those of a difference, null for a ratio."""
    decimals = None
    if column.as_difference:
        decimals = 2 if column.kind == "percent" else 3
    data = {"key": column.key, "title": column.title, "better": column.better}
    return data | {"shown": column.shown, "decimals": decimals}


def _pairs_data(view: View) -> dict[str, dict[int, dict[int, list[Any]]]]:
    """Return column -> baseline's number -> row's number -> [value, low, high, judgement]."""
    numbers = view.row_numbers
    data: dict[str, dict[int, dict[int, list[Any]]]] = {}
    for of_group in view.pairs:
        for column, pairs in of_group.items():
            by_baseline = data.setdefault(column, {})
            for base, rows in pairs.items():
                by_row = by_baseline[numbers[base]] = {}
                for key, pair in rows.items():
                    # JSON has no infinity: an end that isn't known is null.
                    ends = (pair.low, pair.high) if is_finite(pair) else (None, None)
                    figures = [_shorten(figure) for figure in (pair.value, *ends)]
                    by_row[numbers[key]] = [*figures, pair.judgement]
    return data


def _shorten(figure: float | None) -> float | None:
    """Return a number of a pair in five digits, which is more than is shown of it.

    Pairs are most of a page's numbers: in all their digits those of 30 models take 0.1 MB more.
    """
    return None if figure is None else float(f"{figure:.5g}")


def published_part(view: View) -> Part:
    """Return published accuracies beside ours."""
    return Part({"published": compare_with_published(view.entries)})


def retrained_part(view: View) -> Part:
    """Return models beside themselves, trained in other ways."""
    return Part({"retrained": compare_ways(view.entries)})


def charts_part(view: View) -> Part:
    """Return the charts of `reports/chart/catalogue.py`, each with its figures."""
    charts = draw_charts(view)
    return Part({"charts": charts}, charts_data(view, charts))


def gallery_part(view: View) -> Part:
    """Return where two models of the largest group disagree; the page's script shows a pair."""
    gallery = gallery_data(view.largest, view.row_numbers)
    by_number = {view.row_numbers[entry.key]: entry for entry in view.largest.entries}
    compared = [by_number[number] for number in gallery.get("rows", ())]
    return Part({"compared": compared}, {"gallery": gallery})


def models_part(view: View) -> Part:
    """Return what the page shows of each model when its line is opened."""
    return Part({}, models_data(view.groups, view.row_numbers))


def look_part(view: View) -> Part:
    """Return what a look at the data found."""
    return Part({"looks": view.looks})


def warnings_part(view: View) -> Part:
    """Return the warnings, numbered as the table's notes are."""
    return Part({"warnings": view.warnings})


def micro_part(view: View) -> Part:
    """Return the micro-benchmarks, where files of them were given."""
    if not view.micro:
        return Part({"micro": [], "micro_about": ""})
    rows = [row.texts for row in micro_rows(view.micro)]
    return Part({"micro": rows, "micro_about": describe_files(view.micro)})


def environment_part(view: View) -> Part:
    """Return all that a number may depend on, a column a run."""
    return Part({"environment": environment_rows(view.source)})


PARTS: tuple[Callable[[View], Part], ...] = (
    head_part,
    choice_part,
    verdict_part,
    ranking_part,
    retrained_part,
    published_part,
    charts_part,
    gallery_part,
    look_part,
    models_part,
    warnings_part,
    micro_part,
    environment_part,
)

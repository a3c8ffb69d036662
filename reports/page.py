"""The HTML page: one file that needs nothing else, the same bytes for the same records."""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.chart.classes import answer_figures, gap_figure
from reports.chart.cost import bottleneck, memory, pair_matrix, roofline, time_to_accuracy
from reports.chart.curves import curve_figures, curves_of
from reports.chart.figure import Figure
from reports.chart.palette import GROUND, HUES, SHAPES, marks_of
from reports.chart.scaling import scaling
from reports.chart.tradeoff import tradeoffs
from reports.column import COLUMNS
from reports.micro import MicroFile, micro_about, micro_rows
from reports.model_card import models_data
from reports.pairs import (
    SPEEDS,
    Pairs,
    baselines_of,
    is_finite,
    noise_floor,
    speed_pairs,
    top1_pairs,
)
from reports.provenance import environment_rows, facts_of, title_of
from reports.published import beside
from reports.ranking import Entry, Group, entries_of, groups_of, ranks_of, shared_and_different
from reports.runs import Source
from reports.table import RULES, group_views, row_data
from reports.verdict_text import verdict_of
from reports.warning import warnings_of

SCRIPTS = ("state.js", "table.js", "chart.js", "model.js", "page.js")
MAX_CHARTED_GROUPS = 4


def build_page(source: Source, baseline: str | None = None, micro: Sequence[MicroFile] = ()) -> str:
    """The whole page for a source.

    `baseline` is the model that the table starts with as its baseline.
    """
    entries = entries_of(source)
    groups = groups_of(entries)
    order = {
        entry.key: i for i, entry in enumerate(entry for group in groups for entry in group.entries)
    }
    compared = [compare(group, baseline) for group in groups]
    figures = figures_of(groups, entries, compared)
    marks = marks_of(entry.family for entry in entries)
    warned = warnings_of(entries)
    payload = {
        "columns": [
            {"key": c.key, "title": c.title, "better": c.better, "shown": c.shown} for c in COLUMNS
        ],
        "rows": [row for group in groups for row in _rows(group, order)],
        "pairs": _pairs_data(compared, order),
        "baseline": next((order[e.key] for e in entries if baseline and e.model == baseline), None),
        "figures": [vars(figure) for figure in figures],
        "curves": curves_of(entries, order, marks),
        "shapes": SHAPES,
        **models_data(groups, order),
    }
    style, script = stylesheet(), "\n".join(_template_text(name) for name in SCRIPTS)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title_of(entries),
            source=source,
            entries=entries,
            stand_in=[e for e in entries if e.record.data.stand_in],
            verdicts=[
                {
                    "heading": heading,
                    "sentences": verdict_of(group, pairs["top1"], pairs[SPEEDS[0]]),
                }
                for heading, group, pairs in zip(_headings(groups), groups, compared, strict=True)
            ],
            facts=facts_of(source, entries, noise_floor(entries)),
            columns=COLUMNS,
            groups=group_views(groups, marks, warned, order),
            families={
                family: (marks[family], sum(e.family == family for e in entries))
                for family in sorted(marks)
            },
            baselines=[
                (order[e.key], e) for group in groups for e in baselines_of(group, baseline)
            ],
            charts=_charts(figures),
            warned=warned,
            order=order,
            environment=environment_rows(source),
            micro=[row.words for row in micro_rows(micro)] if micro else [],
            micro_about=micro_about(micro) if micro else "",
            beside=beside(entries),
            style=Markup(style),
            script=Markup(script),
            policy=policy(style, script),
            payload=packed(json.dumps(payload, allow_nan=False, separators=(",", ":"))),
            plotly=_packed_plotly(),
        )
    )


def compare(group: Group, baseline: str | None) -> dict[str, Pairs]:
    """All pairs of a group, by column."""
    baselines = baselines_of(group, baseline)
    pairs = {metric: speed_pairs(group, metric, baselines) for metric in SPEEDS}
    return pairs | {"top1": top1_pairs(group, baselines)}


def figures_of(
    groups: Sequence[Group], entries: Sequence[Entry], compared: Sequence[Mapping[str, Pairs]]
) -> list[Figure]:
    """Every chart of the page, in its order.

    What is not about accuracy against cost is of the largest group.
    """
    marks = marks_of(entry.family for entry in entries)
    figures: list[Figure] = []
    for number, group in enumerate(groups[:MAX_CHARTED_GROUPS]):
        figures += tradeoffs(group, marks, f"-{number + 1}" if number else "")
    figures += curve_figures(entries)
    main, pairs = max(zip(groups, compared, strict=True), key=lambda both: len(both[0].entries))
    figures += time_to_accuracy(main) + bottleneck(main) + memory(main) + roofline(main, marks)
    figures += (
        scaling(groups) + pair_matrix(main, pairs) + answer_figures(main, marks) + gap_figure(main)
    )
    return figures


def _headings(groups: Sequence[Group]) -> list[str]:
    from reports.table import heading

    _, different = shared_and_different(groups)
    return [heading(group, different) for group in groups]


def _rows(group: Group, order: Mapping[str, int]) -> list[dict[str, Any]]:
    ranks = ranks_of(group)
    return [row_data(entry, ranks, order[entry.key]) for entry in group.entries]


def _pairs_data(
    compared: Sequence[Mapping[str, Pairs]], order: Mapping[str, int]
) -> dict[str, Any]:
    """Pairs by column, baseline's and row's number.

    Value, low and high (absent where infinite), judgement.
    """
    data: dict[str, dict[int, dict[int, list[Any]]]] = {}
    for group in compared:
        for column, pairs in group.items():
            held = data.setdefault(column, {})
            for base, rows in pairs.items():
                held[order[base]] = {
                    order[key]: [
                        p.value,
                        *((p.low, p.high) if is_finite(p) else (None, None)),
                        p.judgement,
                    ]
                    for key, p in rows.items()
                }
    return data


def _charts(figures: Sequence[Figure]) -> dict[str, list[Figure]]:
    charts: dict[str, list[Figure]] = {}
    for figure in figures:
        charts.setdefault(figure.chart, []).append(figure)
    return charts


def stylesheet() -> str:
    """The style sheet with the palette's colours and a rule for each column that can be hidden."""
    themes = {
        name: "".join(f"--h{i}:{colour};" for i, colour in enumerate(HUES[name]))
        + f"--ground:{GROUND[name]};"
        for name in HUES
    }
    text = _template_text("page.css")
    for name, variables in themes.items():
        text = text.replace(f"/* {name} palette */", variables)
    hues = "".join(f".h{i}{{color:var(--h{i})}}" for i in range(len(HUES["light"])))
    hidden = "".join(f".no-{c.key} .c-{c.key}{{display:none}}" for c in COLUMNS)
    return text + hues + hidden


def policy(style: str, script: str) -> str:
    """The content security policy: our style and our two scripts by hash, nothing else.

    plotly sets style attributes by `setAttribute`, which has no narrower word than `unsafe-inline`
    for attributes; its empty `<style>` is allowed by the hash of nothing. Pictures are those that
    the page makes itself.
    """
    return (
        f"default-src 'none'; script-src {_hash(script)} {_hash(_plotly())}; style-src {_hash(style)} {_hash('')}; "
        "style-src-attr 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def packed(text: str) -> str:
    """Text as gzip and base64, the same bytes on every day."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


@cache
def _plotly() -> str:
    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


@cache
def _packed_plotly() -> str:
    return packed(_plotly())


@cache
def _template_text(name: str) -> str:
    return (files("reports") / "templates" / name).read_text(encoding="utf-8")


def foldable(name: str) -> Markup:
    """A name that a narrow column may break behind its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["rules"] = RULES
    environment.filters["foldable"] = foldable
    return environment

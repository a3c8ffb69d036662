"""The gallery of studies: what each asked, its answer in words, and its figures.

python -m reports studies runs/studies
python -m reports studies results/studies -o studies.html

One file that needs nothing else, as a run's page is.
"""

import argparse
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bench.results.finding import Finding, Plot, Series, find_findings, read_finding
from reports.chart.figure import Trace
from reports.chart.palette import SHAPES
from reports.packed_text import pack_text
from reports.page import (
    content_policy,
    packed_plotly,
    stylesheet,
    template_environment,
    template_text,
)
from zoo.terminal import show

SCRIPTS = ("state.js", "chart.js", "study.js")
PAGE = "studies.html"


def build_gallery(findings: Sequence[Finding]) -> str:
    """Return the page of all these findings."""
    figures = []
    for finding in findings:
        for number, plot in enumerate(finding.answer.plots):
            figures.append(draw_plot(plot) | {"key": plot_key(finding, number)})
    payload = json.dumps(
        {"figures": figures, "shapes": SHAPES}, allow_nan=False, separators=(",", ":")
    )
    style = stylesheet() + template_text("study.css")
    script = "\n".join(template_text(name) for name in SCRIPTS)
    template = template_environment().get_template("study.html.j2")
    return template.render(
        findings=findings,
        plot_key=plot_key,
        style=Markup(style),
        script=Markup(script),
        policy=content_policy(style, script),
        payload=pack_text(payload),
        plotly=packed_plotly(),
    )


def plot_key(finding: Finding, number: int) -> str:
    """Return what ties a plot's place on the page to its data."""
    form = "-quick" if finding.quick else ""
    return f"{finding.study}{form}-{number}"


def draw_plot(plot: Plot) -> dict[str, Any]:
    """Return a plot as the page's script draws it: rows with dots, or lines over numbers."""
    traces = [_draw_series(series, plot, number) for number, series in enumerate(plot.series)]
    layout: dict[str, Any] = {}
    if plot.kind == "dots":
        rows = list(dict.fromkeys(_as_place(p.place) for one in plot.series for p in one.points))
        layout = {
            # A name at every row, however narrow the page is.
            "yaxis": {
                "type": "category",
                "categoryarray": rows,
                "autorange": "reversed",
                "dtick": 1,
            },
            "rows": len(rows),
        }
    elif plot.log_x:
        # Plotly's own marks between tens are bare digits: a 2 for 20.
        places = sorted({p.place for one in plot.series for p in one.points}, key=float)
        layout = {"xaxis": {"type": "log", "tickvals": places}}
    return {"x": plot.x, "y": plot.y, "traces": traces, "layout": layout, "title": plot.title}


def _as_place(place: float | str) -> float | str:
    """Return a place for plotly, which reads tags in text."""
    return html.escape(place) if isinstance(place, str) else place


def _draw_series(series: Series, plot: Plot, number: int) -> Trace:
    values = [point.value for point in series.points]
    places = [_as_place(point.place) for point in series.points]
    across = plot.kind == "dots"
    spread = {
        "array": [0 if p.high is None else p.high - p.value for p in series.points],
        "arrayminus": [0 if p.low is None else p.value - p.low for p in series.points],
    }
    return {
        "type": "scatter",
        "mode": "markers" if across else "lines+markers",
        "name": html.escape(series.name),
        "x": values if across else places,
        "y": places if across else values,
        "error_x" if across else "error_y": spread,
        # Hollow marks for what somebody else measured.
        "marker": {"symbol": SHAPES[number % len(SHAPES)] + ("-open" if series.published else "")},
        "hue": number,
        "dash": number,
    }


def write_gallery(words: Sequence[str]) -> None:
    """Write the page of the studies in some folders; ValueError for a wrong request."""
    parser = argparse.ArgumentParser(
        prog="python -m reports studies", description="Make the page of studies' findings."
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="a study's folder, or one of studies"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE.html", help=f"default: {PAGE} in the first DIR"
    )
    options = parser.parse_args(words)
    paths = find_findings(options.folders)
    if not paths:
        raise ValueError(f"{', '.join(map(str, options.folders))}: no study has a finding there")
    findings = [read_finding(path) for path in paths]
    output = options.output or options.folders[0] / PAGE
    # Imported here, since the command line imports this module.
    from reports.__main__ import write_page

    write_page(output, build_gallery(findings))
    show(f"studies: {output}")

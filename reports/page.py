"""The HTML page: one file that needs nothing else, the same bytes for the same records."""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.results.setting import LABELS
from reports.chart.palette import GROUND, HUES
from reports.choice_text import Question
from reports.column import COLUMNS
from reports.micro import MicroFile
from reports.packed_text import pack_text
from reports.part import PARTS
from reports.runs import Source
from reports.view import build_view

SCRIPTS = (
    "state.js",
    "table.js",
    "draws.js",
    "choose.js",
    "choice_text.js",
    "chooser.js",
    "chart.js",
    "model.js",
    "gallery.js",
    "page.js",
)


def build_page(
    source: Source,
    baseline: str | None = None,
    micro: Sequence[MicroFile] = (),
    question: Question = Question(),  # noqa: B008 - it is frozen
) -> str:
    """Return the whole page for a source.

    `baseline` is the model that the table starts with as its baseline, `question` what the page
    chooses by when it opens.
    """
    view = build_view(source, baseline, micro, question)
    html: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for make_part in PARTS:
        part = make_part(view)
        html |= part.html
        data |= part.data
    # Infinities and NaN are no JSON: the browser would refuse all of the data for one of them.
    payload = json.dumps(data, allow_nan=False, separators=(",", ":"))
    style = stylesheet()
    script = "\n".join(template_text(name) for name in SCRIPTS)
    template = template_environment().get_template("page.html.j2")
    return template.render(
        html,
        style=Markup(style),
        script=Markup(script),
        policy=content_policy(style, script),
        payload=pack_text(payload),
        plotly=packed_plotly(),
    )


def stylesheet() -> str:
    """Return the style sheet with the palette's colours and a rule to hide each column."""
    text = template_text("page.css")
    for theme, hues in HUES.items():
        variables = "".join(f"--h{i}:{colour};" for i, colour in enumerate(hues))
        variables += f"--ground:{GROUND[theme]};"
        text = text.replace(f"/* {theme} palette */", variables)
    text += "".join(f".h{i}{{color:var(--h{i})}}" for i in range(len(HUES["light"])))
    return text + "".join(f".no-{c.key} .c-{c.key}{{display:none}}" for c in COLUMNS)


def content_policy(style: str, script: str) -> str:
    """Return the content security policy: our style and our two scripts by hash, nothing else.

    plotly sets style attributes by `setAttribute`, which has no narrower word than `unsafe-inline`
    for attributes; its empty `<style>` is allowed by the hash of nothing. Pictures are those that
    the page makes itself.
    """
    rules = (
        "default-src 'none'",
        f"script-src {_hash(script)} {_hash(_plotly())}",
        f"style-src {_hash(style)} {_hash('')}",
        "style-src-attr 'unsafe-inline'",
        "img-src data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(rules)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _plotly() -> str:
    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


@cache
def packed_plotly() -> str:
    # 4.5 MB become 1.8 MB in the page; packing them takes longer than the rest of a small page.
    return pack_text(_plotly())


@cache
def template_text(name: str) -> str:
    return (files("reports") / "templates" / name).read_text(encoding="utf-8")


@cache
def template_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["rules"] = LABELS
    environment.filters["foldable"] = break_at_underscores
    return environment


def break_at_underscores(name: str) -> Markup:
    """Return a name that a narrow column may break after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))

"""A model's card in Markdown (Mitchell et al. 2019, "Model Cards for Model Reporting").

What it is, the data, its figures with intervals, what it is not for, and how to use it.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from bench.results.metric import FIGURES
from reports.chart.classes import class_percent
from reports.column import COLUMNS
from reports.model_card import FACTS, command_of, training_facts
from reports.provenance import describe_data, describe_machine, describe_rules
from reports.ranking import Entry, entries_of
from reports.runs import Source
from reports.table import seeds_of
from reports.text_table import escape_markdown
from reports.usage import commands_of
from reports.verdict_text import estimate_text
from reports.warning import warnings_of

# Figures of the probabilities; the others are of the answers, the speed and the size.
RELIABILITY = tuple(column.key for column in FIGURES if column.as_difference)
MAX_CLASSES = 5  # of the worst ones


def card_text(source: Source, model: str) -> str:
    """Return the card of a model, a part for each of its rows. `model` is one of the source's."""
    rows = [entry for entry in entries_of(source) if entry.model == model]
    return "\n".join("\n".join(_lines(entry)) for entry in rows)


def _lines(entry: Entry) -> Iterator[str]:
    record = entry.record
    yield f"# {escape_markdown(entry.name)}\n"
    yield "## What it is\n"
    facts = [(title, record.spec.get(key)) for key, title in FACTS]
    facts += [(title, value) for title, value in training_facts(record)]
    yield from _list([(title, str(value)) for title, value in facts if value not in (None, "", [])])
    yield "## Data\n"
    yield from _list([("Data", describe_data(entry)), ("Rules", describe_rules(entry))])
    if record.data.stand_in:
        yield "**Stand-in data: nothing here says how good the model is on real images.**\n"
    yield "## Figures\n"
    yield f"{seeds_of(entry)}; {escape_markdown(describe_machine(entry.run))}. In brackets 95 %.\n"
    keys = [column.key for column in COLUMNS if column.key not in RELIABILITY]
    yield from _figures(entry, keys)
    if any(key in entry.numbers for key in RELIABILITY):
        yield "## How far its probabilities can be trusted\n"
        yield from _figures(entry, RELIABILITY)
    yield "## What to mind\n"
    yield from (f"- {escape_markdown(text)}" for text in _limits(entry))
    yield "\n## How to use it\n"
    commands = [command for command in (command_of(entry), *commands_of(entry)) if command]
    yield "```\n" + "\n".join(commands).replace("```", "'''") + "\n```\n"


def _list(facts: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield from (f"- {title}: {escape_markdown(value)}" for title, value in facts)
    yield ""


def _figures(entry: Entry, keys: Sequence[str]) -> Iterator[str]:
    """Yield a table of the columns that the row has, with what each is."""
    yield "| | figure | |\n|:---|---:|:---|"
    for column in COLUMNS:
        if column.key in keys and column.key in entry.numbers:
            figure = estimate_text(entry.numbers[column.key], column.key)
            cells = (column.title, figure, column.about)
            yield f"| {' | '.join(map(escape_markdown, cells))} |"
    yield ""


def _limits(entry: Entry) -> Iterator[str]:
    """Yield what a user should know before the model is used."""
    data = entry.record.data
    yield f"It knows {len(data.class_names)} classes and names one of them whatever it is shown."
    yield f"Images that differ from those of {data.name} in kind or origin were not tested."
    percent = class_percent(entry)
    told = [place for place in np.argsort(percent).tolist() if not np.isnan(percent[place])]
    if told and entry.correct.size:
        worst = ", ".join(f"{data.class_names[i]} {percent[i]:.0f} %" for i in told[:MAX_CLASSES])
        yield f"Its worst classes: {worst}."
    yield from (warning.text for warning in warnings_of([entry]))

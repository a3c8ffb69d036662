"""What the page's script chooses from: the errors of each column's figures, and the words."""

from collections.abc import Mapping
from typing import Any

from bench.results.choice import Candidates
from bench.results.limit import units_of
from bench.results.metric import Column
from reports.candidates import BY_COLUMN, CHOSEN_BY, TRAIN_COST, candidates_of
from reports.choice_text import WORDS, Answer, Question, answer
from reports.ranking import Group
from reports.view import View

MAX_GROUPS = 4  # those that the page's head summarises


def first_answers(view: View) -> list[Answer]:
    """Return what to take in each of the first groups, as the page opens."""
    return [answer(group, view.question) for group in view.groups[:MAX_GROUPS]]


def chooser_data(view: View) -> dict[str, Any]:
    """Return what `choose.js` needs of the first groups."""
    groups = [_group_data(group, view.row_numbers) for group in view.groups[:MAX_GROUPS]]
    used = {key for group in groups for key in group["columns"]}
    if "train_seconds" in used:
        used.add(TRAIN_COST.key)
    return {
        "groups": groups,
        "columns": {key: _column_data(BY_COLUMN[key]) for key in BY_COLUMN if key in used},
        "question": _question_data(view.question),
        "words": WORDS,
    }


def _column_data(column: Column) -> dict[str, Any]:
    return {
        "title": column.title,
        "unit": column.unit,
        "kind": column.kind,
        "units": units_of(column),
        "higher": column.better == "higher",
        "preferable": column.key in CHOSEN_BY,
    }


def _question_data(question: Question) -> dict[str, Any]:
    limits = [
        {"column": limit.column, "sign": limit.sign, "value": limit.value}
        for limit in question.limits
    ]
    return {"limits": limits, "prefer": question.preferred, "price": question.price}


def _group_data(group: Group, row_numbers: Mapping[str, int]) -> dict[str, Any]:
    columns = {}
    for key in BY_COLUMN:
        candidates = candidates_of(group, key)
        if candidates is not None:
            columns[key] = _errors_data(candidates)
    return {"rows": [row_numbers[entry.key] for entry in group.entries], "columns": columns}


def _errors_data(candidates: Candidates) -> dict[str, Any]:
    """Return what the script can't read from the rows; without errors next to nothing."""
    field = candidates.field
    data: dict[str, Any] = {"log": candidates.is_log, "source": candidates.source}
    if not candidates.is_exact:
        data |= {"own": field.own.tolist(), "shared": field.shared}
        data |= {"spreads": field.spreads.tolist()}
    return data

"""The terminal's table for other documents: Markdown or LaTeX, with the same rows and figures."""

import re
from collections.abc import Callable, Sequence

from reports.ranking import entries_of, groups_of, shared_and_different
from reports.runs import Source
from reports.table import heading
from reports.terminal import HEADINGS, MODEL, rows_of
from zoo.terminal import visible

Cells = Sequence[str]
LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def table_text(source: Source, form: str) -> str:
    """Return every group's table in a form of FORMS, each under what sets it apart."""
    groups = groups_of(entries_of(source))
    _, different = shared_and_different(groups)
    parts = []
    for number, group in enumerate(groups, start=1):
        title = f"Group {number}: {heading(group, different)}" if len(groups) > 1 else ""
        parts.append(FORMS[form](rows_of(group), visible(title)))
    return "\n".join(parts)


def escape_markdown(text: str) -> str:
    """Return text that Markdown and the HTML within it take as it is, on one line."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", plain)


def escape_latex(text: str) -> str:
    """Return text that LaTeX takes as it is."""
    return "".join(LATEX.get(character, character) for character in text.replace("\n", " "))


def _markdown(rows: Sequence[Cells], title: str) -> str:
    rules = [":---" if place == MODEL else "---:" for place in range(len(HEADINGS))]
    lines = [HEADINGS, *rows]
    cells = [[escape_markdown(cell) for cell in line] for line in lines]
    cells.insert(1, rules)
    table = "".join(f"| {' | '.join(line)} |\n" for line in cells)
    return f"{escape_markdown(title)}\n\n{table}" if title else table


def _latex(rows: Sequence[Cells], title: str) -> str:
    """Return a tabular with rules of the package booktabs; the title is a comment."""
    columns = "".join("l" if place == MODEL else "r" for place in range(len(HEADINGS)))
    head, *body = [" & ".join(map(escape_latex, line)) + r" \\" for line in (HEADINGS, *rows)]
    lines = [f"% {title}"] if title else []
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


FORMS: dict[str, Callable[[Sequence[Cells], str], str]] = {"markdown": _markdown, "latex": _latex}

"""The table and a model's card as text.

Oracles: the terminal's own rows; markdown-it, a parser of Markdown; LaTeX's special characters.
"""

import itertools
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from reports.__main__ import main
from reports.ranking import entries_of, groups_of
from reports.runs import read_source
from reports.terminal import HEADINGS, rows_of
from reports.text_table import escape_latex, escape_markdown
from tests.support.record_factory import write_demo

HOSTILE = r"a|b_c*d*[e](f)<script>&`g`~~h~~\i"


def parse(text: str) -> list[list[str]]:
    """Return the cells of a text's tables, as a reader sees them."""
    rows: list[list[str]] = []
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    for before, token in itertools.pairwise(tokens):
        if before.type == "tr_open":
            rows.append([])
        if before.type in ("th_open", "td_open"):
            assert all(child.type == "text" for child in token.children or ()), token.content
            rows[-1].append("".join(child.content for child in token.children or ()))
    return rows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_demo(tmp_path / "demo")


def test_the_markdown_table_is_the_terminals(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--table", "markdown"]) == 0
    groups = groups_of(entries_of(read_source([run])))
    expected = [list(row) for group in groups for row in (HEADINGS, *rows_of(group))]
    assert parse(capsys.readouterr().out) == expected


def test_the_latex_table_has_the_terminals_cells(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run), "--table", "latex"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [line.removesuffix(r" \\").split(" & ") for line in lines if line.endswith(r"\\")]
    groups = groups_of(entries_of(read_source([run])))
    rows = [row for group in groups for row in (HEADINGS, *rows_of(group))]
    assert found == [[escape_latex(cell) for cell in row] for row in rows]
    assert lines.count(r"\begin{tabular}{rl" + "r" * (len(HEADINGS) - 2) + "}") == len(groups)


def test_a_hostile_name_is_text_in_both_forms() -> None:
    assert parse(f"| x |\n|---|\n| {escape_markdown(HOSTILE)} |\n") == [["x"], [HOSTILE]]
    escapes = r"\\text\w+\{\}|\\[&%$#_{}]"
    rest = re.sub(escapes, "", escape_latex(HOSTILE + "#$%^{}"))
    # Nothing is left that LaTeX obeys, once its escapes are taken away.
    assert not re.search(r"[\\&%$#_{}~^<>|]", rest)


def test_a_card_says_what_the_model_is_and_its_figures(run: Path, tmp_path: Path) -> None:
    (entry, *_) = entries_of(read_source([run]))
    file = tmp_path / "card.md"
    assert main([str(run), "--card", entry.model, "-o", str(file)]) == 0
    text = file.read_text()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[:3] == ["What it is", "Data", "Figures"]
    assert headings[-2:] == ["What to mind", "How to use it"]
    figures = {row[0]: row[1] for row in parse(text)}
    top1 = entry.numbers["top1"]
    assert figures["Top-1"] == f"{top1.value:.1f} % ({top1.low:.1f} to {top1.high:.1f})"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--card lenet55", "--card lenet55: no such model in these runs; did you mean lenet5"),
        ("--card lenet5 --table latex", "--table and --card are two texts"),
        ("--table latex --csv x.csv", "--table writes a text and no page: leave --csv out"),
        ("--card lenet5 --baseline lenet5", "--card writes a text and no page"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: str, message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run), *words.split()]) == 2
    assert message in capsys.readouterr().err

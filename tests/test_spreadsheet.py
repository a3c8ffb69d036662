"""The CSV opens right in a spreadsheet, runs nothing there, and says what was written.

Oracle: OWASP's list of what begins a formula ("CSV Injection"), and what pandas and `csv` read.
"""

import csv
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.runs import Cell, Run, Source
from reports.spreadsheet import escape, unescape, write_csv
from tests.support.record_factory import ZOO, Animal, record

OWASP = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
FORMULAS = (
    "=cmd.py:net",
    "=1+1",
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "=HYPERLINK(A1)",
    "'=1",
    "''-1",
    "\r",
    "a\rb",
)


def source_of(errors: list[str]) -> Source:
    whole = record(ZOO[0], num_epochs=0)
    cells = tuple(
        Cell(replace(whole, seed=i, status="failed", error=error), Path("none"))
        for i, error in enumerate(errors)
    )
    return Source((Run("-run", Path("none"), cells, None),), ())


@given(st.lists(st.text() | st.sampled_from(FORMULAS), min_size=1, max_size=20))
@settings(deadline=None, max_examples=40)
def test_texts_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    file = tmp_path_factory.mktemp("csv") / "x.csv"
    write_csv(source_of(texts), file)
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    assert [unescape(text) for text in frame["error"]] == texts
    assert set(frame["run"]) == {"'-run"}
    assert not any(text.startswith(OWASP) for text in frame["error"])


@given(st.text())
def test_what_is_no_formula_is_left_alone(text: str) -> None:
    assert unescape(str(escape(text))) == text
    if not text.lstrip("'").startswith(OWASP):
        assert escape(text) == text


def test_excel_takes_it_for_utf8_and_others_read_its_head(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    write_csv(source_of(["Müller’s \u6f22\u5b57"]), file)
    assert file.read_bytes().startswith(b"\xef\xbb\xbfrun,model,")
    assert pd.read_csv(file)["error"][0] == "Müller’s \u6f22\u5b57"
    with file.open(encoding="utf-8-sig", newline="") as lines:
        assert next(csv.DictReader(lines))["run"] == "'-run"
    # As .ci/run looks at it.
    head = f'head -1 "{file}" | grep -q train_images_per_second'
    assert subprocess.run(["bash", "-c", head], check=False).returncode == 0


def test_negative_numbers_stay_numbers(tmp_path: Path) -> None:
    one = record(Animal("=cmd.py:net", "@f", 1, 1, 10.0, 10.0), -3)
    source = Source((Run("demo", Path("none"), (Cell(one, Path("none")),), None),), ())
    write_csv(source, tmp_path / "x.csv")
    row = pd.read_csv(tmp_path / "x.csv").iloc[0]
    assert (row["model"], row["family"], row["seed"]) == ("'=cmd.py:net", "'@f", -3)

"""What `python -m reports` writes to a terminal, a pipe, or nowhere.

Oracle: what a terminal would do with it, which is nothing: no control character gets through.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reports.__main__ import main
from tests.support.record_factory import ZOO, failed, record, write_run

ROOT = Path(__file__).parents[1]
ESCAPES = "\x1b]0;owned\x07\x1b[2J[bold]\r"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    named = record(ZOO[0], model=f"m{ESCAPES}")
    broken = failed(ZOO[1], "failed", f"RuntimeError: {ESCAPES}", model=f"n{ESCAPES}")
    run = write_run(tmp_path / "run", [named, broken])
    torn = run / "cells" / f"t{ESCAPES}-s0" / "record.json"
    torn.parent.mkdir()
    torn.write_text("{", encoding="utf-8")
    return run


@pytest.mark.parametrize("is_terminal", [False, True])
def test_escapes_are_shown_and_not_obeyed(
    hostile: Path,
    is_terminal: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")  # so that none of rich's own escapes are there
    assert main([str(hostile), "--baseline", f"o{ESCAPES}"]) == 2
    assert main([str(hostile), "-o", str(hostile / "page.html")]) == 0
    said = capsys.readouterr()
    text = said.out + said.err
    assert {c for c in text if not c.isprintable()} <= {"\n"}
    assert text.count("\\x1b]0;owned\\x07\\x1b[2J[bold]\\r") >= 3  # a row, a cause, a refusal


def test_escapes_in_micro_benchmarks_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    benchmark = {"fullname": ESCAPES, "stats": {"data": [1.0, 2.0]}}
    whole = {"benchmarks": [benchmark], "machine_info": {"processor": ESCAPES}}
    path.write_text(json.dumps(whole), encoding="utf-8")
    assert main([str(path)]) == 0
    assert {c for c in capsys.readouterr().out if not c.isprintable()} <= {"\n"}


@pytest.mark.parametrize("rounds", ["[0]", "[-1]", "[NaN]", "[1e400]", "[" * 100_000])
def test_rounds_that_are_no_times_are_refused_in_one_line(
    tmp_path: Path, rounds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = '{"machine_info": {}, "benchmarks": [{"fullname": "a", "stats": {"data": ROUNDS}}]}'
    path = tmp_path / "a.json"
    path.write_text(text.replace("ROUNDS", rounds), encoding="utf-8")
    assert main([str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("end", ["| head -c 1", "> /dev/full", ">&-"])
def test_it_ends_quietly_where_nobody_reads(hostile: Path, end: str) -> None:
    command = f'"$@" {end}; exit "${{PIPESTATUS[0]}}"'
    words = ["bash", "-c", command, "bash", sys.executable, "-m", "reports", str(hostile)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (hostile / "report.html").is_file()

"""Output isn't the run: what can't be shown costs characters or lines.

Oracle: /dev/full, a pipe without a reader, a closed descriptor, an ASCII terminal, and what a
terminal would do with a text's control characters: nothing.
"""

import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results.record import RunRecord
from bench.results.storage import read
from tests.support.processes import ROOT, argv_of, small_data, variables
from zoo.terminal import visible

LIST = [sys.executable, "-m", "zoo"]
SEEN = {"\n", "\t"}


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    shown = visible(text)
    kinds = {unicodedata.category(character) for character in set(shown) - SEEN}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode("utf-8")
    assert visible(shown) == shown


def test_what_a_person_can_read_stays_as_it_is() -> None:
    text = "Größe 3 µm\t[1/2] 漢字 😀 C:\\x1b\n"
    assert visible(text) == text
    assert visible("\x1b]0;title\x07\r\x9b2J\u202e\udcff") == (
        "\\x1b]0;title\\x07\\r\\x9b2J\\u202e\\udcff"
    )


@pytest.mark.parametrize("more", [(), ("--json",), ("--help",)], ids=" ".join)
@pytest.mark.parametrize("end", ["| head -c 1", "> /dev/full", ">&-", "| true"])
def test_a_list_ends_quietly(end: str, more: tuple[str, ...]) -> None:
    command = f'"$@" {end}; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", command, "bash", *LIST, *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("module", ["zoo", "bench.launch", "bench.run"])
def test_a_wrong_name_with_escapes_is_shown(tmp_path: Path, module: str) -> None:
    name = "\x1b]0;owned\x07\x1b[2Jlenet"
    words = [name] if module == "zoo" else ["--models", name]
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        env=variables(tmp_path),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"\\x1b]0;owned" in done.stderr


MODELS = """
from torch import nn

def größe(num_classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))

def fails(num_classes=10):
    raise RuntimeError("\\x1b]0;owned\\x07 größe")
"""


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize(
    ("end", "encoding"),
    [("", "ascii"), ("> /dev/full", ""), (">&-", ""), ("2>&- >&-", ""), ("| head -1", "latin-1")],
    ids=["ASCII", "full disk", "closed", "both closed", "no reader"],
)
def test_a_run_is_the_same_whatever_becomes_of_its_output(
    tmp_path: Path, end: str, encoding: str
) -> None:
    place = small_data(tmp_path / "place")
    folder = tmp_path / "Größe[/b] 漢字"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(MODELS, encoding="utf-8")
    words = argv_of("--epochs 1 --batch-size 24 --dataset cifar10 --measure none --channels-last")
    words += ["--models"]
    words += [f"{folder}/mine.py:größe", f"{folder}/mine.py:fails", "lenet5"]
    command = f'"$@" {end}; exit "${{PIPESTATUS[0]}}"'
    more = {"PYTHONIOENCODING": encoding} if encoding else {}
    launched = [sys.executable, "-m", "bench.launch", *words, "--out", str(folder / "run")]
    done = subprocess.run(
        ["bash", "-c", command, "bash", *launched],
        cwd=ROOT,
        env=variables(place, CUDA_VISIBLE_DEVICES="", **more),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1, (done.stdout, done.stderr)  # a model failed
    assert b"Traceback" not in done.stderr
    # The table is that of reports, whose own tests hold what it shows.
    assert b"\x1b" not in done.stdout.partition(b"#  model")[0] + done.stderr
    records = [read(path, RunRecord) for path in (folder / "run").glob("cells/*/record.json")]
    assert sorted(record.status for record in records) == ["failed", "ok", "ok"]
    assert (folder / "run" / "report.html").exists()
    log = (folder / "run" / "log.txt").read_text(encoding="utf-8")
    assert "größe, seed 0: training" in log
    assert "\\x1b]0;owned" in log
    assert "\x1b" not in log

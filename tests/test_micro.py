"""Micro-benchmarks read back.

Oracle: rounds that are drawn with a known ratio, in pytest-benchmark's own layout.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.__main__ import main
from reports.micro import micro_rows, read_micro
from tests.support.record_factory import ZOO, comparison, record, write_run

CPU = "AMD EPYC"


def write(
    path: Path, times: dict[str, float], *, seed: int = 0, rounds: int = 60, cpu: str = CPU
) -> Path:
    """A file of pytest-benchmark with these medians in seconds."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "fullname": f"tests/micro/test_x.py::{name}",
            "group": None,
            "extra_info": {},
            "stats": {
                "data": (seconds * rng.lognormal(sigma=0.02, size=rounds)).tolist(),
                "rounds": rounds,
            },
        }
        for name, seconds in times.items()
    ]
    whole = {
        "machine_info": {"cpu": {"brand_raw": cpu}},
        "commit_info": {"id": "0123456789abcdef"},
        "benchmarks": rows,
        "datetime": "2026-11-22T01:02:03",
        "version": "5.1.0",
    }
    path.write_text(json.dumps(whole))
    return path


def test_a_regression_is_seen_and_what_did_not_change_is_the_same(tmp_path: Path) -> None:
    before = write(tmp_path / "before.json", {"load": 1e-3, "step": 2e-2, "gone": 1.0})
    after = write(tmp_path / "after.json", {"load": 1e-3, "step": 2.5e-2, "new": 1.0}, seed=1)
    rows = {
        row.name.rpartition("::")[2]: row
        for row in micro_rows([read_micro(before), read_micro(after)])
    }
    assert set(rows) == {"load", "step", "new"}
    assert rows["load"].judgement == "same"
    assert rows["step"].judgement == "slower"
    assert rows["step"].ratio is not None
    assert rows["step"].ratio.low < 0.8 < rows["step"].ratio.high
    assert rows["new"].ratio is None


def test_three_rounds_prove_nothing(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{i}.json", {"step": 1.0 + i}, rounds=3) for i in range(2)]
    (row,) = micro_rows([read_micro(path) for path in files])
    assert row.judgement == "undecided"
    assert "1e+" not in row.texts[2]


def test_files_of_different_machines_are_not_held_against_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = (
        write(tmp_path / f"{cpu}.json", {"step": 1.0}, cpu=cpu) for cpu in ("one", "two")
    )
    assert main([str(before), str(after)]) == 0
    out = capsys.readouterr().out
    assert "Not compared with one.json, which is of another machine (one)." in out
    assert out.rstrip().endswith("new")


def test_a_page_takes_them_as_a_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "a", [record(ZOO[0])], comparison(ZOO[:1]))
    file = write(tmp_path / "micro.json", {"step": 2e-2})
    assert main([str(run), str(file)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert 'id="micro"' in page
    assert "test_x.py::step" in page
    assert main([str(run)]) == 0
    assert 'id="micro"' not in (run / "report.html").read_text(encoding="utf-8")
    assert "test_x.py::step" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"benchmarks": []}', '{"benchmarks": [], "machine_info": {}}']
)
def test_what_is_no_such_file_is_refused_in_one_line(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    assert main([str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main([str(tmp_path / "nowhere.json")]) == 2

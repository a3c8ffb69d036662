"""Publishing a run. Oracle: the list of what may be published, and `bench.verify` on the copy."""

from pathlib import Path

import pytest

from bench.publish import main
from bench.verify import find_faults

ROOT = Path(__file__).parent.parent
RUN = ROOT / "results" / "quick"


def test_records_and_predictions_are_copied_and_nothing_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for path in RUN.rglob("*.*"):
        place = run / path.relative_to(RUN)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    cells = [path.parent for path in run.glob("cells/*/record.json")]
    (cells[0] / "checkpoints").mkdir()
    for path in (
        run / "log.txt",
        run / "report.html",
        cells[0] / "checkpoints" / "weights.safetensors",
    ):
        path.write_text("x")
    assert main([str(run), str(tmp_path / "published")]) == 0
    copied = {
        str(path.relative_to(tmp_path / "published"))
        for path in (tmp_path / "published").rglob("*.*")
    }
    assert {name.rpartition("/")[2] for name in copied} == {
        "config.json",
        "comparison.json",
        "record.json",
        "predictions.npz",
    }
    assert len(copied) == 2 + 2 * len(cells)
    assert list(find_faults(tmp_path / "published")) == []


def test_a_run_with_faults_and_a_folder_that_is_there_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cells").mkdir()
    for words, line in (
        ([str(RUN), str(tmp_path)], "is there already"),
        ([str(tmp_path), str(tmp_path / "new")], "faults, first:"),
        ([str(tmp_path / "none"), str(tmp_path / "new")], "holds no run"),
        ([str(RUN)], "give a run's folder"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert line in error
        assert error.count("\n") == 1

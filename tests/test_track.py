"""Trackers. Oracles: tensorboard's own reader of its files, and accelerate's own list of names."""

from pathlib import Path
from typing import Any

import pytest
from accelerate.utils import LoggerType

from bench.launch.check import check_request, complete
from bench.request.command_line import parse
from bench.request.config import TRACKERS
from tests.support.processes import Runs, argv_of


def test_the_names_are_accelerates() -> None:
    assert {*TRACKERS, "all"} == {str(name.value) for name in LoggerType}


def test_a_missing_package_is_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS, "wandb", "no_such_package")
    argv = [
        *argv_of("--models lenet5 --dataset synthetic --track wandb --out"),
        str(tmp_path / "run"),
    ]
    with pytest.raises(
        ValueError, match=r"--track wandb: its package is missing; .*pip install wandb"
    ) as refused:
        check_request(complete(parse(argv)), world_size=1)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="did you mean tensorboard"):
        parse(["--track", "tensorbord"])


def read_scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Read all scalars of a folder's event files, by name and step, with tensorboard's own code."""
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_file_loader", reason="extra `track`"
    )
    found: dict[str, dict[int, float]] = {}
    for path in folder.glob("**/events.*"):
        for event in reader.LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = _number(value)
    return found


def _number(value: Any) -> float:
    return float(value.simple_value)


@pytest.mark.ci
@pytest.mark.distributed
def test_tensorboard_is_told_what_the_record_says_once_a_world(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    assert runs.run("told", 2, "--track", "tensorboard", models=["plain"]) == [0, 0]
    record = runs.records("told")["plain 0"]
    folder = tmp_path / "told" / "track" / record.cell
    assert len(list(folder.glob("**/events.*"))) == 1
    found = read_scalars(folder)
    steps = [row.step for row in record.epochs]
    assert found["train/loss"] == pytest.approx(
        dict(zip(steps, (row.train_loss for row in record.epochs), strict=True))
    )
    top1 = [row.evaluation.top1 for row in record.epochs if row.evaluation]
    assert found["validation/top1"] == pytest.approx(dict(zip(steps, top1, strict=True)))
    assert record.accuracy is not None
    assert found["test/top1"] == pytest.approx({steps[-1]: record.accuracy.top1})

"""The seam between a run and who runs its cells.

Oracle: the serial executor's records, to the bit, whichever executor made them.
"""

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.cell.executor import Executor, choose_executor
from bench.cell.open_run import Cell
from bench.cell.packed import PackedExecutor
from bench.cell.serial import KeepingExecutor, SerialExecutor
from bench.distributed.process import RELAUNCH
from bench.request.command_line import parse
from bench.results.record import RunRecord
from bench.results.storage import read, write
from bench.run import main
from bench.train.build import RunContext
from bench.verify import find_faults
from tests.support.image_factory import use_own_cache, write_cifar10

MODELS = ("lenet5", "mlp")


class BackwardExecutor:
    """Runs the cells last to first, in a thread of its own: a path that no other executor takes."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.order: list[str] = []

    def run(self, cells: Sequence[Cell]) -> list[RunRecord]:
        records: list[RunRecord] = []

        def work() -> None:
            for cell in reversed(cells):
                self.order.append(cell.model)
                records.extend(SerialExecutor(self.context).run([cell]))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return records[::-1]


@pytest.fixture
def request_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A small run of two cells, without its folder."""
    use_own_cache(monkeypatch, tmp_path)
    monkeypatch.setattr("bench.run.write_report", lambda config: True)
    data = write_cifar10(tmp_path / "cifar10")
    budget = ["--image-size", "32", "--epochs", "1", "--num-threads", "1", "--measure", "none"]
    return ["--models", *MODELS, "--dataset", "cifar10", "--data-dir", str(data), *budget]


def read_records(run: Path) -> dict[str, RunRecord]:
    records = [read(path, RunRecord) for path in sorted(run.glob("cells/*/record.json"))]
    return {record.model: record for record in records}


def test_a_run_is_the_same_whoever_runs_its_cells(
    request_words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*request_words, "--out", str(tmp_path / "serial")]) == 0
    chosen: list[BackwardExecutor] = []

    def choose_backward(context: RunContext) -> Executor:
        chosen.append(BackwardExecutor(context))
        return chosen[0]

    monkeypatch.setattr("bench.run.choose_executor", choose_backward)
    assert main([*request_words, "--out", str(tmp_path / "backward")]) == 0
    assert chosen[0].order == [*reversed(MODELS)]
    serial, backward = (read_records(tmp_path / name) for name in ("serial", "backward"))
    for model in MODELS:
        assert backward[model].checksums == serial[model].checksums
        assert backward[model].accuracy == serial[model].accuracy
    assert list(find_faults(tmp_path / "backward")) == []


def test_a_later_launch_keeps_every_record_whatever_it_says(
    request_words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*request_words, "--out", str(tmp_path / "run")]
    assert main(words) == 0
    path = tmp_path / "run" / "cells" / "mlp-s0" / "record.json"
    write(path, dataclasses.replace(read(path, RunRecord), status="failed", error="in between"))
    before = path.read_bytes()
    monkeypatch.setenv(RELAUNCH, "1")
    assert main([*words, "--resume"]) == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "variables", "kind"),
    [
        ([], {}, SerialExecutor),
        (["--pack"], {}, PackedExecutor),
        (["--pack"], {RELAUNCH: "1"}, KeepingExecutor),
    ],
)
def test_the_request_says_who_runs_the_cells(
    tiny_data: Any,
    runtime: Any,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    variables: dict[str, str],
    kind: type,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = parse(["--models", "lenet5", "--epochs", "1", *words])
    context = RunContext(config, tiny_data, runtime, Path("none"), {})
    assert isinstance(choose_executor(context), kind)

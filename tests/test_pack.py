"""Cells side by side.

Oracle: the same cells one after another with as many threads each, to the bit.
"""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from bench.launch.check import check_request, complete
from bench.request.command_line import parse
from bench.verify import find_faults
from tests.support.processes import Runs

pytestmark = [pytest.mark.distributed, pytest.mark.ci]

CELLS = ["--seeds", "0", "1", "2"]
PACKED = [*CELLS, "--pack", "--pack-size", "2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    made = Runs(tmp_path_factory.mktemp("pack"))
    assert made.run("alone", 1, *CELLS, models=["norm"]) == [0]
    return made


def marks(folder: Path, number: int) -> list[int]:
    """Wait until so many processes are in the midst of training; returns their numbers."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = [int(path.name) for path in folder.iterdir()]
        if len(found) >= number:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{number} processes did not begin to train")


def is_alive(number: int) -> bool:
    """Whether a process still runs: what nobody has asked for its exit code yet doesn't."""
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_packed_cells_are_those_of_one_after_another(runs: Runs) -> None:
    assert runs.run("packed", 1, *PACKED, models=["norm"]) == [0]
    assert runs.outcome("packed") == runs.outcome("alone")
    for record in runs.records("packed").values():
        assert record.environment["num_threads"] == 1
        assert record.environment["cells_at_once"] == 2
        assert not record.measurements
    assert list(find_faults(runs.folder / "packed")) == []
    log = (runs.folder / "packed" / "log.txt").read_text()
    assert "norm, seed 1: epoch 2: loss" in log


def test_a_signal_ends_all_cells_and_each_goes_on(runs: Runs, tmp_path: Path) -> None:
    world = runs.start("stopped", 1, *PACKED, models=["norm"], SLOW="0.1", MARKS=str(tmp_path))
    workers = marks(tmp_path, 2)
    os.kill(world.ranks[0].pid or 0, signal.SIGINT)
    assert world.wait().codes == [130]
    assert not any(is_alive(worker) for worker in workers)
    stopped = [record.status for record in runs.records("stopped").values()]
    assert stopped.count("interrupted") >= 2
    assert runs.run("stopped", 1, *PACKED, "--resume", models=["norm"]) == [0]
    assert runs.outcome("stopped") == runs.outcome("alone")


@pytest.mark.slow
def test_a_cell_that_does_not_heed_a_signal_is_ended(runs: Runs, tmp_path: Path) -> None:
    words = [*PACKED, "--timeout", "2"]
    world = runs.start("deaf", 1, *words, models=["norm"], SLOW="0.1", MARKS=str(tmp_path))
    workers = marks(tmp_path, 2)
    os.kill(workers[0], signal.SIGSTOP)
    os.kill(world.ranks[0].pid or 0, signal.SIGINT)
    assert world.wait().codes == [130]
    assert not any(is_alive(worker) for worker in workers)


def test_no_cell_outlives_a_run_that_is_killed(runs: Runs, tmp_path: Path) -> None:
    world = runs.start("killed", 1, *PACKED, models=["norm"], SLOW="0.5", MARKS=str(tmp_path))
    workers = marks(tmp_path, 2)
    os.kill(world.ranks[0].pid or 0, signal.SIGKILL)
    assert world.wait().codes == [-signal.SIGKILL]
    end = time.monotonic() + 10
    while any(is_alive(worker) for worker in workers):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_cell_whose_process_is_killed_is_a_row(runs: Runs) -> None:
    assert runs.run("deadly", 1, *PACKED, models=["deadly", "plain"]) == [1]
    found = {cell: (record.status, record.error) for cell, record in runs.records("deadly").items()}
    assert found["plain 0"] == found["plain 1"] == ("ok", None)
    assert found["deadly 0"] == found["deadly 1"] == ("failed", "its process was killed by SIGKILL")


@pytest.mark.parametrize(
    ("words", "world_size", "line"),
    [
        (["--pack"], 1, "--pack: cells side by side"),
        (["--pack", "--epochs", "1"], 2, "not 2; set NPROC=1"),
        (["--pack-size", "2"], 1, "--pack-size 2: works only with --pack"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_can_not_be_packed_is_refused(
    words: list[str], world_size: int, line: str, tmp_path: Path
) -> None:
    config = complete(
        parse(
            ["--models", "lenet5", "--dataset", "synthetic", *words, "--out", str(tmp_path / "run")]
        )
    )
    with pytest.raises(ValueError, match=line) as refused:
        check_request(config, world_size=world_size)
    assert "\n" not in str(refused.value)

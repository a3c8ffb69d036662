"""Real launchers and real signals.

Oracle: the contract of exit codes, and the processes that the system lists.

Slow: `./launch.sh test -m slow tests/test_launch_faults.py`. What needs no real launcher is in
test_faults.py and test_supervise.py.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.results.record import RunRecord
from bench.results.storage import read
from bench.train import checkpoint
from tests.support.processes import HAND, LONG, Launch

pytestmark = [pytest.mark.slow, pytest.mark.distributed]

HUNGRY = """
import torch
from torch import nn

class Hungry(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer = nn.Linear(3072, num_classes)
        self.eaten = []

    def forward(self, images):
        if self.training:
            self.eaten.append(torch.ones(256, 1024, 1024))  # 1 GiB
        return self.layer(images.flatten(1))

def hungry(num_classes=10):
    return Hungry(num_classes)
"""
MEMORY = Path("/sys/fs/cgroup/memory")
LIMIT = 3 * 2**30  # bytes


def record(run: Path, model: str = "lenet5") -> RunRecord:
    return read(run / "cells" / f"{model}-s0" / "record.json", RunRecord)


def has_checkpoint(run: Path) -> bool:
    """Whether the newest checkpoint of lenet5 verifies."""
    places = checkpoint.list_checkpoints(run / "cells" / "lenet5-s0" / "checkpoints")
    return bool(places and checkpoint.verify(places[-1]))


def test_a_killed_worker_ends_the_others_with_one_line(tmp_path: Path) -> None:
    launched = Launch(tmp_path, *LONG, NPROC="2")
    launched.wait_for("epoch 9")
    launched.workers()[1].kill()
    code, _, err = launched.end(30)
    assert code == 1
    assert len(err.splitlines()) == 1, err
    assert "died of SIGKILL; interrupted: 0 of 1 cells are finished" in err
    assert has_checkpoint(launched.run)
    assert not launched.all()


def test_a_killed_worker_is_followed_by_another_world(tmp_path: Path) -> None:
    launched = Launch(
        tmp_path, "--models", "lenet5", "--epochs", "60", "--restarts", "1", NPROC="2"
    )
    launched.wait_for("epoch 2")
    launched.workers()[0].kill()
    code, _, err = launched.end(90)
    assert code == 0, err
    assert "going on from the last checkpoint, 0 restarts are left" in err
    assert record(launched.run).status == "ok"


def test_a_stopped_worker_is_named(tmp_path: Path) -> None:
    launched = Launch(tmp_path, *LONG, "--timeout", "3", NPROC="2")
    launched.wait_for("epoch 2")
    launched.workers()[0].suspend()
    code, _, err = launched.end(30)
    assert code == 1
    assert "of 2 no longer answers: dead, or silent for 3 s (--timeout)" in err
    assert len(err.splitlines()) == 1, err
    assert not launched.all()


@pytest.mark.parametrize("who", ["the launcher", "accelerate's"])
def test_no_worker_outlives_its_launcher(tmp_path: Path, who: str) -> None:
    launched = Launch(tmp_path, *LONG, NPROC="2")
    launched.wait_for("epoch 2")
    (launched.process if who == "the launcher" else launched.between()).kill()
    assert launched.gone_within(5)
    code, _, err = launched.end()
    assert code == (-signal.SIGKILL if who == "the launcher" else 1)
    assert who == "the launcher" or "accelerate's launcher died of SIGKILL" in err
    assert has_checkpoint(launched.run)


def everyone(launched: Launch) -> None:
    for process in launched.all():
        process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_signal_to_all_processes_at_once_as_slurm_sends_it_leaves_a_checkpoint(
    tmp_path: Path, processes: str
) -> None:
    launched = Launch(tmp_path, *LONG, NPROC=processes)
    launched.wait_for("epoch 2")
    everyone(launched)
    code, out, err = launched.end(30)
    assert code == 143, err
    assert "interrupted: 0 of 1 cells are finished" in out
    assert record(launched.run).status == "interrupted"
    assert has_checkpoint(launched.run)
    assert not launched.all()


def to_the_top(launched: Launch) -> None:
    launched.process.terminate()


TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.mark.parametrize("command", [HAND, TORCHRUN], ids=["accelerate", "torchrun"])
@pytest.mark.parametrize("send", [to_the_top, everyone])
def test_by_hand_a_signal_to_the_launcher_leaves_a_checkpoint(
    tmp_path: Path, command: tuple[str, ...], send: Callable[[Launch], None]
) -> None:
    launched = Launch(
        tmp_path, *LONG, command=(*command, "bench/run.py"), ACCELERATE_USE_CPU="true"
    )
    launched.wait_for("epoch 2")
    send(launched)
    assert launched.gone_within(30)
    code, _, _ = launched.end()
    assert code != 0
    assert record(launched.run).status == "interrupted"
    assert has_checkpoint(launched.run)


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with a limit of memory, which this test makes."""
    folder = MEMORY / f"zoometry-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"a control group for memory (version 1) can't be made here: {error.strerror}")
    (folder / "memory.limit_in_bytes").write_text(str(LIMIT))
    yield folder
    folder.rmdir()


def test_a_cell_that_the_kernel_kills_for_memory_is_a_row_and_the_next_one_runs(
    tmp_path: Path, group: Path
) -> None:
    (tmp_path / "mine.py").write_text(HUNGRY)
    joins = f'echo $$ > {group}/cgroup.procs; exec "$@"'
    command = ("bash", "-c", joins, "bash", sys.executable, "-m", "bench.launch")
    launched = Launch(
        tmp_path,
        "--models",
        f"{tmp_path}/mine.py:hungry",
        "lenet5",
        "--epochs",
        "2",
        command=command,
    )
    code, _, err = launched.end(120)
    assert code == 1, err
    assert (
        "rank 0 ran out of memory and was killed by the kernel; "
        "the next cell goes on in a new world" in err
    )
    (hungry,) = (launched.run / "cells").glob("*hungry~*-s0")
    assert read(hungry / "record.json", RunRecord).status == "oom"
    assert record(launched.run).status == "ok"
    assert (launched.run / "report.html").exists()

"""Known faults of accelerate, torch and safetensors, each written as what would be right.

Strict xfail: the release that mends one fails here, and the way around it can go. Oracle: what each
library says of itself.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accelerate.accelerator
import pytest
import torch
from accelerate import Accelerator
from accelerate.commands import launch
from accelerate.scheduler import AcceleratedScheduler
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import (
    DataLoaderConfiguration,
    ProjectConfiguration,
    find_executable_batch_size,
)
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader

from tests.support.processes import argv_of

pytestmark = pytest.mark.filterwarnings("default")  # accelerate's own


@pytest.fixture(autouse=True)
def _fresh_state() -> Iterator[None]:
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)
    PartialState._reset_state()


def start(*words: str) -> None:
    """Run `accelerate launch WORDS` in this process."""
    launch.launch_command(launch.launch_command_parser().parse_args(list(words)))


@pytest.mark.xfail(
    strict=True,
    reason="starts one process without a word; world.py refuses the world that it makes",
)
def test_two_processes_on_a_cpu_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(launch, "simple_launcher", lambda args: started.append("one"))
    monkeypatch.setattr(launch, "multi_gpu_launcher", lambda args: started.append("two"))
    start("--cpu", "--num_processes", "2", "script.py")
    assert started == ["two"]


@pytest.mark.xfail(
    strict=True,
    reason="every failure is 1; workers leave their code in a file that launch.py names",
)
def test_the_launcher_gives_the_scripts_exit_code(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys; sys.exit(2)")
    with pytest.raises(SystemExit) as stop:
        start("--cpu", "--quiet", "--num_processes", "1", str(script))
    assert stop.value.code == 2


@pytest.mark.xfail(
    strict=True, reason="plain launches set OMP_NUM_THREADS=1; runtime.py sets threads itself"
)
def test_one_process_gets_all_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    found: list[str] = []
    monkeypatch.setattr(
        launch, "simple_launcher", lambda args: found.append(str(args.num_cpu_threads_per_process))
    )
    start("--cpu", "script.py")
    assert found == ["4"]


@pytest.mark.xfail(
    strict=True, reason="a prepared scheduler steps once a process; ours is a function of the step"
)
def test_a_scheduler_steps_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    monkeypatch.setattr(
        "accelerate.scheduler.AcceleratorState", lambda: SimpleNamespace(num_processes=2)
    )
    optimizer.step()
    skipped: Any = SimpleNamespace(step_was_skipped=False)
    AcceleratedScheduler(scheduler, skipped).step()
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.xfail(
    strict=True, reason="a loader's epoch isn't kept; our orders are counted from seed and epoch"
)
def test_a_resume_goes_on_with_the_next_epochs_order(tmp_path: Path) -> None:
    def begin() -> tuple[Accelerator, Any]:
        AcceleratorState._reset_state(True)
        torch.manual_seed(1)
        accelerator = Accelerator(
            cpu=True, dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True)
        )
        return accelerator, accelerator.prepare(DataLoader(range(64), batch_size=8, shuffle=True))  # type: ignore[arg-type]

    accelerator, loader = begin()
    list(loader)
    accelerator.save_state(str(tmp_path))
    expected = torch.cat(list(loader)).tolist()
    accelerator, loader = begin()
    accelerator.load_state(str(tmp_path))
    assert torch.cat(list(loader)).tolist() == expected


@pytest.mark.xfail(
    strict=True,
    reason="the old checkpoint goes before the new one is written; ours after its rename",
)
def test_a_failed_save_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    naming = ProjectConfiguration(str(tmp_path), automatic_checkpoint_naming=True, total_limit=1)
    accelerator = Accelerator(cpu=True, project_config=naming)
    accelerator.save_state()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(accelerate.accelerator, "save_accelerator_state", full)
    with pytest.raises(OSError, match="No space"):
        accelerator.save_state()
    assert (tmp_path / "checkpoints" / "checkpoint_0").exists()


@pytest.mark.xfail(
    strict=True, reason="damaged states of random generators are passed over; ours are counted"
)
def test_a_damaged_state_of_generators_is_refused(tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    accelerator.save_state(str(tmp_path))
    (tmp_path / "random_states_0.pkl").write_bytes(b"damaged")
    with pytest.raises(Exception, match=r"."):
        accelerator.load_state(str(tmp_path))


@pytest.mark.xfail(
    strict=True,
    reason="a batch size found once is kept for the next call; ours is never changed silently",
)
def test_the_second_call_tries_the_size_that_was_asked_for() -> None:
    tried: list[int] = []

    @find_executable_batch_size(starting_batch_size=128)
    def train(batch_size: int) -> None:
        tried.append(batch_size)
        if len(tried) == 1:
            raise RuntimeError("CUDA out of memory.")

    train()
    train()
    assert tried[-1] == 128


@pytest.mark.xfail(
    strict=True,
    reason="neither format has a checksum that is looked at; checkpoint.py keeps sha256 sums",
)
@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_a_flipped_bit_in_a_weight_is_refused(tmp_path: Path, kind: str) -> None:
    path, weight = tmp_path / "weights", torch.full((64, 64), 1.5)
    if kind == "torch":
        torch.save({"weight": weight}, path)
    else:
        save_file({"weight": weight}, path)
    content = bytearray(path.read_bytes())
    content[content.index(weight.numpy().tobytes()) + 5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(Exception, match=r"."):
        torch.load(path) if kind == "torch" else load_file(path)


@pytest.mark.slow
@pytest.mark.xfail(
    strict=True, reason="it ends at once and its child runs on; run.py asks for its parent's death"
)
def test_a_launcher_that_is_asked_to_end_asks_its_child(tmp_path: Path) -> None:
    import signal
    import subprocess
    import time

    import psutil

    script, mark = tmp_path / "script.py", tmp_path / "mark"
    script.write_text(f"import pathlib, time; pathlib.Path({str(mark)!r}).touch(); time.sleep(20)")
    command = [
        sys.executable,
        *argv_of("-m accelerate.commands.launch --cpu --num_processes 1"),
        str(script),
    ]
    launcher = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not mark.exists():
        time.sleep(0.1)
    (child,) = psutil.Process(launcher.pid).children()
    launcher.send_signal(signal.SIGTERM)
    launcher.wait()
    try:
        child.wait(2)
    except psutil.TimeoutExpired:
        pytest.fail("the child runs on")
    finally:
        if child.is_running():
            child.kill()

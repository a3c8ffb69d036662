"""Two processes with a tower each beside one process with the grouped network.

    python -m pytest -m micro tests/micro/test_tower_micro.py --benchmark-columns=min,median,rounds

One training step of 64 images at 224 px in both, in one run, on the same number of cores.
`extra_info` in pytest-benchmark's JSON holds what each process had resident at its peak, less what
it had after its imports.
"""

import multiprocessing as mp
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn

from zoo import create_model
from zoo.tower import tower_of_mesh

pytestmark = [pytest.mark.micro, pytest.mark.distributed]

NUM_CORES = 2
BATCH = 64


def resident_bytes(line: str) -> int:
    """Read a line of this process's memory status (`VmHWM`: the most there was, `VmRSS`.

    What there is).
    """
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(row.split()[1]) for row in status.splitlines() if row.startswith(line))


def make_step(num_processes: int, rank: int) -> Callable[[], None]:
    torch.manual_seed(0)
    model: nn.Module = create_model("alexnet_grouped")
    if num_processes > 1:
        group = dist.group.WORLD
        assert group is not None
        model = tower_of_mesh(model, group=group, rank=rank, size=num_processes)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    images = torch.randn(BATCH, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(100, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def work(pipe: Connection, rank: int, num_processes: int, store: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(NUM_CORES // num_processes)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=num_processes
    )
    after_imports = resident_bytes("VmRSS")
    step = make_step(num_processes, rank)
    while pipe.recv() == "step":
        step()
        pipe.send(resident_bytes("VmHWM") - after_imports)
    dist.destroy_process_group()


@contextmanager
def workers(num_processes: int, folder: Path) -> Iterator[Callable[[], list[int]]]:
    """Start processes that do a step together when called.

    A call returns the peak memory of each.
    """
    context = mp.get_context("spawn")
    pipes, processes = [], []
    for rank in range(num_processes):
        ours, theirs = context.Pipe()
        process = context.Process(
            target=work, args=(theirs, rank, num_processes, str(folder / "store"))
        )
        process.start()
        pipes.append(ours)
        processes.append(process)

    def step() -> list[int]:
        for pipe in pipes:
            pipe.send("step")
        return [pipe.recv() for pipe in pipes]

    yield step
    for pipe in pipes:
        pipe.send("end")
    for process in processes:
        process.join()


@pytest.mark.parametrize(
    "num_processes", [1, 2], ids=["grouped on one process", "a tower a process"]
)
def test_step(benchmark: BenchmarkFixture, num_processes: int, tmp_path: Path) -> None:
    benchmark.group = f"AlexNet, {BATCH} images of 224 px, a training step on {NUM_CORES} cores"
    with workers(num_processes, tmp_path) as step:
        benchmark.extra_info["peak_memory_bytes"] = benchmark.pedantic(
            step, rounds=5, warmup_rounds=2
        )

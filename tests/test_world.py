"""The world before torch.

Oracle: the environment that torchrun sets, written down here as it does.
"""

import os
from pathlib import Path

import pytest

from bench.distributed.hardware import count_visible, num_cores, num_gpus
from bench.distributed.process import World, check_world, read_world
from bench.launch.__main__ import Layout, make_command, make_environment, read_layout
from bench.request.command_line import parse

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


def test_the_world_is_read_as_torchrun_writes_it() -> None:
    assert read_world(TORCHRUN) == World(rank=3, size=4, local_rank=1, local_size=2)
    assert read_world({}) == World(0, 1, 0, 1)


def test_a_world_that_is_not_there_is_refused_with_the_command_that_works() -> None:
    with pytest.raises(
        ValueError, match=r"2 processes were asked for and 1 started.*NPROC=2 \./launch\.sh"
    ):
        check_world(2, World(0, 1, 0, 1), {})
    with pytest.raises(ValueError, match="MASTER_ADDR is set but WORLD_SIZE is not"):
        check_world(None, World(0, 1, 0, 1), {"MASTER_ADDR": "localhost"})
    check_world(4, World(3, 4, 1, 2), TORCHRUN)


def put_gpus(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Put a machine's tool on the path that lists GPUs as NVIDIA's does; none with 0."""
    lines = [f"GPU {i}: NVIDIA H100 80GB HBM3 (UUID: GPU-{i}a1b)" for i in range(number)]
    if number:
        tool = folder / "nvidia-smi"
        tool.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(lines) + "\nEND\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, 3),
        ("", 0),
        ("-1", 0),
        ("0,2", 2),
        ("2, 1", 2),
        ("0,1,2,3,4,5", 3),
        ("0,7,1", 1),  # CUDA takes no more from the first that isn't there
        ("7", 0),
        ("1,-1,2", 1),
        ("0,0", 0),  # a list with a repeated name leaves none
        ("GPU-1a,GPU-0a1b", 2),
        ("GPU-", 0),  # three begin so
        ("GPU-9", 0),
        ("MIG-8a/1/0", 1),
        ("none", 0),
    ],
)
def test_gpus_are_those_that_are_there_and_left_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: int
) -> None:
    """The rules are those of CUDA's programming guide on CUDA_VISIBLE_DEVICES."""
    variables = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    put_gpus(tmp_path, monkeypatch, 3)
    assert num_gpus(variables) == expected
    assert num_gpus(variables | {"ACCELERATE_USE_CPU": "true"}) == 0
    put_gpus(tmp_path / "nowhere", monkeypatch, 0)
    assert num_gpus(variables) == 0
    assert read_layout(variables).local_size == 1


@pytest.mark.parametrize("visible", ["0,1,2,3,4,5", "0,7,1", "0,0", "1,-1,2", "2,1", "7"])
def test_gpus_are_counted_as_torch_counts_them(
    monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    from torch import cuda

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    named = cuda._parse_visible_devices()
    theirs = 0
    while theirs < len(named) and int(named[theirs]) < 3:
        theirs += 1
    devices = ["GPU-0", "GPU-1", "GPU-2"]
    assert count_visible(visible.split(","), devices) == theirs


def test_cores_are_at_most_those_of_the_affinity() -> None:
    assert 1 <= num_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"NPROC": "0"}, "NPROC=0"),
        ({"NPROC": "two"}, "NPROC=two"),
        ({"NNODES": "2"}, "MASTER_ADDR"),
        ({"NNODES": "2", "NODE_RANK": "2", "MASTER_ADDR": "a"}, "NODE_RANK=2"),
        ({"NPROC": "3", "CUDA_VISIBLE_DEVICES": "0,1"}, "2 GPUs"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT=99999: .* at most 65535"),
        ({"MASTER_PORT": "-1"}, "MASTER_PORT=-1"),
        ({"MASTER_PORT": "²"}, "MASTER_PORT=²"),
        ({"NPROC": "9" * 5000}, "NPROC=999"),
        ({"NNODES": "1e3"}, "NNODES=1e3"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_layout_is_refused_by_the_name_of_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], line: str
) -> None:
    put_gpus(tmp_path, monkeypatch, 3)
    with pytest.raises(ValueError, match=line):
        read_layout({"CUDA_VISIBLE_DEVICES": ""} | variables)


def test_slurm_and_our_own_variables_say_the_same() -> None:
    ours = {
        "CUDA_VISIBLE_DEVICES": "",
        "NNODES": "2",
        "NODE_RANK": "1",
        "MASTER_ADDR": "a",
        "NPROC": "2",
    }
    slurm = {
        "CUDA_VISIBLE_DEVICES": "",
        "SLURM_NNODES": "2",
        "SLURM_NODEID": "1",
        "MASTER_ADDR": "a",
        "NPROC": "2",
    }
    assert read_layout(ours) == read_layout(slurm) == Layout(2, 2, 1, "a", 29500, gpus=False)


def test_several_processes_on_a_cpu_are_started_in_the_way_that_accelerate_understands() -> None:
    layout = read_layout({"CUDA_VISIBLE_DEVICES": "", "NPROC": "2"})
    words = make_command(parse(["--models", "lenet5", "--epochs", "1"]), layout)
    assert "--multi_gpu" in words
    assert words[words.index("--num_processes") + 1] == "2"
    assert words[words.index("--main_process_port") + 1] == "0"
    assert words[words.index("--world") + 1] == "2"
    assert make_environment(layout, {"RANK": "7", "HOME": "/"}) == {
        "ACCELERATE_USE_CPU": "true",
        "GLOO_SOCKET_IFNAME": "lo",
        "HOME": "/",
    }

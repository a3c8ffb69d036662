"""The world before torch.

Oracle: the environment that torchrun sets, written down here as it does.
"""

import os

import pytest

from bench.distributed.process import World, check_world, num_cores, num_gpus, read_world
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


def test_gpus_are_those_that_are_left_visible() -> None:
    assert num_gpus({"CUDA_VISIBLE_DEVICES": "0,2"}) == 2
    assert num_gpus({"CUDA_VISIBLE_DEVICES": ""}) == 0
    assert num_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == 0
    assert num_gpus({"ACCELERATE_USE_CPU": "true"}) == 0


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
    ],
)
def test_a_wrong_layout_is_refused_by_the_name_of_the_variable(
    variables: dict[str, str], line: str
) -> None:
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

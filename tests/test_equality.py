"""Worlds of several processes, by the same entry as a launcher's workers.

Oracle: gradient accumulation in one process, to the bit: weights with running statistics, and the
losses of every epoch.
"""

import signal
from pathlib import Path

import pytest

from bench.launch.check import check_request, complete
from bench.request.command_line import parse
from tests.support.processes import Runs

pytestmark = [pytest.mark.distributed, pytest.mark.ci]

STOPPED = 128 + signal.SIGTERM


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("worlds"))


def test_two_processes_are_two_micro_batches_of_one(runs: Runs) -> None:
    """A LeNet, an AlexNet with dropout, and a network with dropout and batch normalisation."""
    models = ("lenet5", "alexnet_half_cifar", "norm")
    assert runs.run("world2", 2, models=models) == [0, 0]
    assert runs.run("parts2", 1, "--accumulate", "2", models=models) == [0]
    assert runs.outcome("world2") == runs.outcome("parts2")
    assert len(runs.outcome("world2")) == 3


def test_parameters_that_a_step_leaves_alone_train_as_with_one_process(runs: Runs) -> None:
    assert runs.run("left2", 2, models=["idle", "branching"]) == [0, 0]
    assert runs.run("left1", 1, "--accumulate", "2", models=["idle", "branching"]) == [0]
    assert runs.outcome("left2") == runs.outcome("left1")


def test_three_processes_in_order_are_three_micro_batches_of_one(runs: Runs) -> None:
    assert runs.run("world3", 3, "--exact", models=["norm"]) == [0, 0, 0]
    assert runs.run("parts3", 1, "--accumulate", "3", models=["norm"]) == [0]
    assert runs.outcome("world3") == runs.outcome("parts3")


def test_a_run_goes_on_in_another_world_to_the_bit_with_as_many_micro_batches(runs: Runs) -> None:
    """18 steps: some by 2 processes, then by 1 with two micro-batches a step, the rest by 2."""
    assert runs.run("moved", 2, models=["norm"], STOP_AT="5") == [STOPPED] * 2
    assert runs.run("moved", 1, "--resume", "--accumulate", "2", models=["norm"], STOP_AT="11") == [
        STOPPED
    ]
    assert runs.run("moved", 2, "--resume", models=["norm"]) == [0, 0]
    assert runs.run("unmoved", 2, models=["norm"]) == [0, 0]
    assert runs.outcome("moved") == runs.outcome("unmoved")
    assert (runs.records("moved")["norm 0"].resumed_from or 0) >= 8


def test_a_run_goes_on_in_another_world_with_larger_micro_batches(runs: Runs) -> None:
    """Without dropout and normalisation only rounding differs; losses are still epoch means."""
    assert runs.run("larger", 2, models=["plain"], STOP_AT="4") == [STOPPED] * 2
    assert runs.run("larger", 1, "--resume", models=["plain"]) == [0]
    assert runs.run("one", 1, models=["plain"]) == [0]
    found, expected = (runs.outcome(name)["plain 0"][1] for name in ("larger", "one"))
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("words", "world_size", "line"),
    [
        (["--exact", "--accumulate", "2"], 2, "--exact --accumulate 2: each of 2 processes"),
        (["--sync-batchnorm"], 1, "--sync-batchnorm: one process"),
        (["--sync-batchnorm"], 2, "--sync-batchnorm: torch has it for GPUs only"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_ways_of_joining_that_can_not_be_are_refused(
    words: list[str], world_size: int, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    config = complete(
        parse(
            ["--models", "lenet5", "--dataset", "synthetic", *words, "--out", str(tmp_path / "run")]
        )
    )
    with pytest.raises(ValueError, match=line) as refused:
        check_request(config, world_size=world_size)
    assert "\n" not in str(refused.value)

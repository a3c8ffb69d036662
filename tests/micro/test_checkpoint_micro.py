"""How long a checkpoint of 57 M parameters holds training up, and how long a resume reads.

./launch.sh micro tests/micro/test_checkpoint_micro.py     (aim: held up 0.15 s, reads in 5 s)

`begun` is what training waits for, `written` is until the checkpoint is on the disk. Beside them
torch.save and torch.load of the same tensors: one file each, without a checksum.
"""

import dataclasses
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.data.loader import Batch
from bench.distributed.runtime import Runtime
from bench.request.command_line import parse
from bench.train import checkpoint
from bench.train.build import build_learner
from bench.train.checkpoint_writer import CheckpointWriter
from bench.train.trainer import Learner, Progress
from tests.support.saved import save_checkpoint
from zoo.registry import create_model

pytestmark = pytest.mark.micro

ROUNDS = 5


@pytest.fixture(scope="module")
def learner() -> Iterator[Learner]:
    """AlexNet with both towers after a step, so that every weight has its momentum."""
    config = dataclasses.replace(parse(["--recipe", "smoke"]), weight_decay=0.0)
    with Runtime.start(config) as runtime:
        one = build_learner(
            create_model("alexnet_two_tower"), config=config, peak=0.1, seed=0, runtime=runtime
        )
        for weight in one.bare.parameters():
            weight.grad = torch.zeros_like(weight)
        one.optimizer.step()
        one.optimizer.zero_grad(set_to_none=True)
        yield one


@pytest.mark.parametrize("side", ["begun", "written", "torch.save"])
def test_saving(benchmark: Any, learner: Learner, tmp_path: Path, side: str) -> None:
    benchmark.group = "saving 57 M parameters with momentum"
    steps = itertools.count()
    saving = CheckpointWriter(tmp_path, learner)

    def save() -> None:
        if side == "torch.save":
            torch.save(
                [learner.bare.state_dict(), learner.optimizer.state_dict()], tmp_path / "one.pt"
            )
            return
        saving.save(Progress(step=next(steps)))
        if side == "written":
            saving.finish()

    benchmark.pedantic(save, setup=saving.finish, rounds=ROUNDS, warmup_rounds=1)
    saving.finish()
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("side", ["alone", "while written"])
def test_steps(benchmark: Any, learner: Learner, tmp_path: Path, side: str) -> None:
    """Steps that train on, without a checkpoint and with one that is begun at the first."""
    benchmark.group = "20 steps of 16 images"
    numbers = itertools.count()
    saving = CheckpointWriter(tmp_path, learner)
    batch = Batch(torch.rand(16, 3, 224, 224), torch.zeros(16, dtype=torch.int64))

    def steps() -> None:
        if side == "while written":
            saving.save(Progress(step=next(numbers)))
        for step in range(20):
            learner.step(batch, step=step, rate=0.0)

    benchmark.pedantic(steps, setup=saving.finish, rounds=ROUNDS, warmup_rounds=1)
    saving.finish()
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("side", ["ours", "torch.load"])
def test_reading(benchmark: Any, learner: Learner, tmp_path: Path, side: str) -> None:
    benchmark.group = "reading them again"
    save_checkpoint(tmp_path, learner, Progress(step=1))
    torch.save([learner.bare.state_dict(), learner.optimizer.state_dict()], tmp_path / "one.pt")

    def read() -> None:
        if side == "ours":
            assert checkpoint.restore(tmp_path, learner) is not None
            return
        weights, state = torch.load(tmp_path / "one.pt")
        learner.bare.load_state_dict(weights)
        learner.optimizer.load_state_dict(state)

    benchmark.pedantic(read, rounds=ROUNDS, warmup_rounds=1)
    shutil.rmtree(tmp_path)

"""How long a checkpoint of 57 M parameters holds training up, and how long a resume reads.

./launch.sh micro tests/micro/test_checkpoint_micro.py     (aim: saves in 1.5 s, reads in 5 s)

Beside it torch.save and torch.load of the same tensors: one file each, without a checksum.
"""

import dataclasses
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.distributed.runtime import Runtime
from bench.request.command_line import parse
from bench.train import checkpoint
from bench.train.build import build_learner
from bench.train.trainer import Learner, Progress
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


@pytest.mark.parametrize("side", ["ours", "torch.save"])
def test_saving(benchmark: Any, learner: Learner, tmp_path: Path, side: str) -> None:
    benchmark.group = "saving 57 M parameters with momentum"
    steps = itertools.count()

    def save() -> None:
        if side == "ours":
            checkpoint.save(tmp_path, learner, Progress(step=next(steps)))
        else:
            torch.save(
                [learner.bare.state_dict(), learner.optimizer.state_dict()], tmp_path / "one.pt"
            )

    benchmark.pedantic(save, rounds=ROUNDS, warmup_rounds=1)
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("side", ["ours", "torch.load"])
def test_reading(benchmark: Any, learner: Learner, tmp_path: Path, side: str) -> None:
    benchmark.group = "reading them again"
    checkpoint.save(tmp_path, learner, Progress(step=1))
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

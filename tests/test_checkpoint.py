"""Checkpoints under damage. Oracle: the bytes that were there before, and what must be refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.distributed.runtime import Runtime
from bench.request.command_line import parse
from bench.results import sealed_folder
from bench.results.storage import write_json
from bench.train import checkpoint
from bench.train.build import build_learner
from bench.train.trainer import Learner, Progress

CONFIG = dataclasses.replace(parse(["--recipe", "smoke"]), ema=0.9)


def learner(runtime: Runtime, seed: int) -> Learner:
    torch.manual_seed(seed)
    one = build_learner(nn.Linear(4, 3), config=CONFIG, peak=0.1, seed=0, runtime=runtime)
    one.bare.weight.grad = torch.ones_like(one.bare.weight)
    one.optimizer.step()
    return one


def weights(one: Learner) -> list[torch.Tensor]:
    tensors = [*one.bare.state_dict().values(), *(one.ema.state_dict().values() if one.ema else [])]
    return [t.clone() for t in tensors]


def test_what_is_saved_comes_back(runtime: Runtime, tmp_path: Path) -> None:
    one, other = learner(runtime, 1), learner(runtime, 2)
    checkpoint.save(
        tmp_path,
        one,
        Progress(epoch=2, step=7, step_in_epoch=1, images=70, seconds=1.5, loss_sum=0.1),
    )
    progress = checkpoint.restore(tmp_path, other)
    assert progress == Progress(
        epoch=2, step=7, step_in_epoch=1, images=70, seconds=1.5, loss_sum=0.1
    )
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))
    momentum = other.optimizer.state[other.bare.weight]["momentum_buffer"]
    assert torch.equal(momentum, one.optimizer.state[one.bare.weight]["momentum_buffer"])


def test_only_the_newest_two_are_kept_and_nothing_half_written(
    runtime: Runtime, tmp_path: Path
) -> None:
    for step in (9, 10, 11):
        checkpoint.save(tmp_path, learner(runtime, 1), Progress(step=step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_10", "step_11"]


def damages(content: bytes, draw: np.random.Generator) -> list[bytes]:
    at = int(draw.integers(len(content)))
    flipped = bytearray(content)
    flipped[at] ^= 1 << int(draw.integers(8))
    zeroed = bytearray(content)
    zeroed[at : at + 4096] = bytes(len(zeroed[at : at + 4096]))
    return [
        bytes(flipped),
        content[:at],
        bytes(zeroed) if zeroed != content else b"",
        content + b"\0",
    ]


def test_every_damage_is_found_and_the_checkpoint_before_is_taken(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, learner(runtime, 1), Progress(step=1))
    checkpoint.save(tmp_path, learner(runtime, 2), Progress(step=2))
    draw, said = np.random.default_rng(0), list[str]()
    monkeypatch.setattr(runtime, "say", said.append)
    for path in sorted((tmp_path / "step_2").iterdir()):
        good = path.read_bytes()
        for bad in [content for _ in range(5) for content in damages(good, draw)]:
            path.write_bytes(bad)
            said.clear()
            progress = checkpoint.restore(tmp_path, learner(runtime, 3))
            if _says_the_same(path, bad, good):
                continue
            assert progress is not None, bad
            assert progress.step == 1, f"{path.name} was damaged and taken"
            assert path.name in said[0] or "manifest" in said[0]
        path.unlink()
        assert _step(checkpoint.restore(tmp_path, learner(runtime, 3))) == 1
        path.write_bytes(good)
    assert _step(checkpoint.restore(tmp_path, learner(runtime, 3))) == 2


def _says_the_same(path: Path, bad: bytes, good: bytes) -> bool:
    """JSON with a trailing NUL, say, is damaged; a manifest that parses to the same is not."""
    if path.suffix != ".json":
        return False
    try:
        return bool(json.loads(bad) == json.loads(good))
    except ValueError:
        return False


def _step(progress: Progress | None) -> int | None:
    return progress.step if progress else None


def test_a_save_that_fails_leaves_the_one_before(
    runtime: Runtime, tmp_path: Path, monkeypatch: Any
) -> None:
    checkpoint.save(tmp_path, learner(runtime, 1), Progress(step=1))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_weights", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, learner(runtime, 2), Progress(step=2))
    assert [path.name for path in tmp_path.iterdir()] == ["step_1"]


@pytest.mark.parametrize("side", [2, 600])  # within a buffer, and beyond it
def test_a_full_disk_is_told_as_the_system_tells_it(side: int) -> None:
    weight = nn.Parameter(torch.ones(side, side))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save_optimizer(Path("/dev/full"), optimizer)


def test_a_checkpoint_of_another_version_is_named_and_passed_over(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, learner(runtime, 1), Progress(step=1))
    place = tmp_path / "step_1"
    manifest = sealed_folder.read_manifest(place, checkpoint.SEALED)
    del manifest["format"]
    seal = sealed_folder._seal_of(manifest, checkpoint.SEALED)
    write_json(place / sealed_folder.MANIFEST, {**manifest, "seal": seal})
    said: list[str] = []
    monkeypatch.setattr(runtime, "say", said.append)
    assert checkpoint.restore(tmp_path, learner(runtime, 2)) is None
    (line,) = said
    assert "step_1: was written by another version" in line
    assert "\n" not in line

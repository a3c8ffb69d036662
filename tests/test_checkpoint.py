"""Checkpoints under damage. Oracle: the bytes that were there before, and what must be refused."""

import contextlib
import dataclasses
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.data.loader import Batch
from bench.distributed.runtime import Runtime
from bench.request.command_line import parse
from bench.results import sealed_folder, storage
from bench.results.storage import write_json
from bench.train import checkpoint, checkpoint_writer
from bench.train.build import build_learner
from bench.train.checkpoint_writer import CheckpointWriter
from bench.train.trainer import Learner, Progress
from tests.support.saved import save_checkpoint

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
    save_checkpoint(
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
        save_checkpoint(tmp_path, learner(runtime, 1), Progress(step=step))
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
    save_checkpoint(tmp_path, learner(runtime, 1), Progress(step=1))
    save_checkpoint(tmp_path, learner(runtime, 2), Progress(step=2))
    draw, said = np.random.default_rng(0), list[str]()
    monkeypatch.setattr(runtime, "say", said.append)
    place, aside = tmp_path / "step_2", tmp_path / "damaged_step_2"
    for path in sorted(place.iterdir()):
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
            assert aside.name in said[0]
            aside.rename(place)
        path.unlink()
        assert _step(checkpoint.restore(tmp_path, learner(runtime, 3))) == 1
        aside.rename(place)
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
    save_checkpoint(tmp_path, learner(runtime, 1), Progress(step=1))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_writer, "save_weights", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path, learner(runtime, 2), Progress(step=2))
    assert [path.name for path in tmp_path.iterdir()] == ["step_1"]


@contextlib.contextmanager
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no weights be written before the end."""
    go_on, write = threading.Event(), checkpoint_writer.save_weights

    def wait_and_write(path: Path, state: dict[str, torch.Tensor]) -> None:
        assert go_on.wait(timeout=60)
        write(path, state)

    monkeypatch.setattr(checkpoint_writer, "save_weights", wait_and_write)
    yield
    go_on.set()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_training_goes_on_while_its_state_of_before_is_written(
    runtime: Runtime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    memory_format: torch.memory_format,
) -> None:
    def build() -> Learner:
        net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).to(memory_format=memory_format)
        one = build_learner(net, config=CONFIG, peak=0.1, seed=0, runtime=runtime)
        step(one)
        return one

    def step(one: Learner) -> None:
        for weight in one.bare.parameters():
            weight.grad = torch.randn_like(weight)
        one.optimizer.step()
        assert one.ema is not None
        one.ema.update_parameters(one.bare)

    def state(one: Learner) -> list[torch.Tensor]:
        tensors = [entry["momentum_buffer"] for entry in one.optimizer.state.values()]
        return weights(one) + [tensor.clone() for tensor in tensors]

    one, other = build(), build()
    with contextlib.closing(CheckpointWriter(tmp_path, one)) as saving:
        # The second is copied to where the first one's tensors are.
        for number in (1, 2):
            with held_up(monkeypatch):
                saving.save(Progress(step=number))
                saved = state(one)
                step(one)
            saving.finish()
            assert checkpoint.restore(tmp_path, other) == Progress(step=number)
            assert all(torch.equal(a, b) for a, b in zip(saved, state(other), strict=True))
            assert not torch.equal(saved[0], state(one)[0])
            strides = [t.stride() for t in state(other)]
            assert strides == [t.stride() for t in saved]


def test_what_the_disk_refused_is_told_at_the_next_checkpoint(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, learner(runtime, 1), Progress(step=1))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_writer, "save_optimizer", full)
    saving = CheckpointWriter(tmp_path, learner(runtime, 2))
    saving.save(Progress(step=2))  # not yet
    with pytest.raises(OSError, match="No space"):
        saving.save(Progress(step=3))
    assert [path.name for path in tmp_path.iterdir()] == ["step_1"]


def test_closing_waits_for_what_is_being_written(runtime: Runtime, tmp_path: Path) -> None:
    saving = CheckpointWriter(tmp_path, learner(runtime, 1))
    saving.save(Progress(step=1))
    saving.close()
    assert _step(checkpoint.restore(tmp_path, learner(runtime, 2))) == 1


@pytest.mark.parametrize("side", [2, 600])  # within a buffer, and beyond it
def test_a_full_disk_is_told_as_the_system_tells_it(side: int) -> None:
    weight = nn.Parameter(torch.ones(side, side))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    with pytest.raises(OSError, match="No space left"):
        checkpoint_writer.save_optimizer(Path("/dev/full"), optimizer.state_dict())


def test_a_checkpoint_of_another_version_is_named_and_passed_over(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, learner(runtime, 1), Progress(step=1))
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


def test_damaged_newer_checkpoints_do_not_evict_good_ones(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, learner(runtime, 1), Progress(step=300))
    for step in (400, 500):
        place = tmp_path / f"step_{step}"
        place.mkdir()
        (place / "manifest.json").write_text("{}")
    said: list[str] = []
    monkeypatch.setattr(runtime, "say", said.append)
    one = learner(runtime, 2)
    assert _step(checkpoint.restore(tmp_path, one)) == 300
    assert ["damaged_step_500" in said[0], "damaged_step_400" in said[1]] == [True, True]
    names = []
    for step in (350, 400, 500):
        save_checkpoint(tmp_path, one, Progress(step=step))
        names.append(sorted(path.name for path in tmp_path.glob("step_*")))
    assert names == [["step_300", "step_350"], ["step_350", "step_400"], ["step_400", "step_500"]]
    assert _step(checkpoint.restore(tmp_path, learner(runtime, 3))) == 500


class Counting(nn.Module):
    """Counts its forward passes somewhere outside its state, and scales by the count."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.place = place
        self.count: Any = None
        if place == "buffer":
            del self.count
            self.register_buffer("count", torch.zeros(1), persistent=False)
        elif place == "attribute":
            self.count = torch.zeros(1)
        elif place in ("number", "list"):
            self.count = 0.0
        self.seen: Any = [torch.zeros(1)] if place == "list" else False

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.count = 1.0 if self.count is None else self.count + 1
            if self.place == "made later":
                self.count = torch.as_tensor(self.count)
            if self.place == "flag":
                self.count, self.seen = 2.0 - self.seen, True
        scores: torch.Tensor = self.linear(images) * self.count
        return scores


@pytest.mark.parametrize("place", ["buffer", "attribute", "made later", "number", "flag"])
def test_what_a_forward_pass_keeps_out_of_the_state_resumes_to_the_bit(
    place: str, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    batches = [Batch(torch.randn(6, 4), torch.arange(6) % 3) for _ in range(6)]
    monkeypatch.setattr(runtime, "say", pytest.fail)

    def build() -> Learner:
        torch.manual_seed(1)
        return build_learner(Counting(place), config=CONFIG, peak=0.1, seed=0, runtime=runtime)

    def train(one: Learner, steps: range) -> None:
        for step in steps:
            one.step(batches[step], step=step, rate=0.1)

    whole, first, second = build(), build(), build()
    train(whole, range(6))
    train(first, range(3))
    save_checkpoint(tmp_path, first, Progress(step=3))
    checkpoint.restore(tmp_path, second)
    train(second, range(3, 6))
    assert type(second.bare.count) is type(whole.bare.count)
    assert second.bare.count == whole.bare.count == (1 if place == "flag" else 6)
    assert all(torch.equal(a, b) for a, b in zip(weights(second), weights(whole), strict=True))
    for a, b in zip(second.evaluated.buffers(), whole.evaluated.buffers(), strict=True):
        assert torch.equal(a, b)


def test_tensors_that_a_checkpoint_lacks_are_said_at_the_first(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(runtime, "say", said.append)
    model = nn.Sequential(Counting("list"), nn.LSTM(3, 3))
    one = build_learner(model, config=CONFIG, peak=0.1, seed=0, runtime=runtime)
    for step in (1, 2):
        save_checkpoint(tmp_path, one, Progress(step=step))
    assert len(said) == 1
    assert "checkpoints lack tensors in 0.seen (list):" in said[0]


def test_the_scale_of_fp16s_loss_comes_back(runtime: Runtime, tmp_path: Path) -> None:
    """On a CPU, with torch's own scaler: accelerate makes one on a GPU alone."""
    runtime.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    one = learner(runtime, 1)
    one.bare.weight.grad = torch.full_like(one.bare.weight, float("inf"))
    runtime.accelerator.scaler.scale(torch.zeros(1))  # a scaler makes its tensors at its first use
    one._update()  # skipped, and the scale is halved
    expected = runtime.accelerator.scaler.state_dict()
    assert expected["scale"] == 2.0**9
    save_checkpoint(tmp_path, one, Progress(step=1))
    runtime.accelerator.scaler = torch.amp.GradScaler("cpu")
    checkpoint.restore(tmp_path, learner(runtime, 2))
    assert runtime.accelerator.scaler.state_dict() == expected


def test_what_a_checkpoint_says_is_on_the_disk_before_it_has_its_name(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that outlasts a power cut: files, their names, the folder's name, then removals."""
    calls: list[str] = []

    def record(owner: Any, name: str, tell: Any) -> None:
        call = getattr(owner, name)

        def wrapped(*args: Any, **options: Any) -> Any:
            calls.append(tell(*args))
            return call(*args, **options)

        monkeypatch.setattr(owner, name, wrapped)

    def relative(path: Any) -> str:
        return str(Path(path).relative_to(tmp_path))

    for step in (1, 2):
        save_checkpoint(tmp_path / "run", learner(runtime, 1), Progress(step=step))
    record(
        os, "fsync", lambda handle: f"sync {relative(Path(f'/proc/self/fd/{handle}').readlink())}"
    )
    record(os, "rename", lambda old, new: f"rename {relative(old)} {relative(new)}")
    record(shutil, "rmtree", lambda path, *_: f"remove {relative(path)}")
    save_checkpoint(tmp_path / "run", learner(runtime, 2), Progress(step=3))
    aside = "run/.step_3.tmp"
    renamed = calls.index(f"rename {aside} run/step_3")
    for name in ("model.safetensors", "ema.safetensors", "optimizer.pt"):
        assert calls.index(f"sync {aside}/{name}") < calls.index(f"sync {aside}") < renamed
    assert any(call.startswith(f"sync {aside}/.manifest.json") for call in calls[:renamed])
    assert calls[renamed + 1] == "sync run"
    assert renamed < calls.index("remove run/step_1")


def test_a_new_folder_is_synced_from_the_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(storage, "sync", synced.append)
    storage.write_bytes(tmp_path / "a" / "b" / "file", b"content")
    assert synced == [tmp_path / "a", tmp_path, tmp_path / "a" / "b"]

"""Checkpoints: folders that appear by one rename, under a manifest of checksums; the newest one that verifies is taken.

step_N/manifest.json       {"files": {name: sha256}, "progress": …, "optimizer": …, "seal": sha256 of the rest}
step_N/model.safetensors   step_N/optimizer.safetensors   step_N/ema.safetensors      (model.0, model.1 … where ranks
                                                                                     share a model)
"""

import dataclasses
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bench.results.sealed_folder import (
    MANIFEST,
    ManifestFormat,
    check_files,
    hash_file,
    read_manifest,
    seal_into_place,
    start_aside,
)
from bench.train.trainer import Learner, Progress

KEEP = 2
FORMAT = ManifestFormat(checksums="files", seal="seal", hash_file=hash_file)


def save(folder: Path, learner: Learner, progress: Progress) -> None:
    """Write a checkpoint beside its place, sync it, rename it into place, and only then prune older ones.

    A collective call: where ranks share a model each writes its part.
    """
    runtime = learner.runtime
    runtime.share_buffers(learner.bare)
    place = folder / f"step_{progress.step}"
    aside = folder / f".step_{progress.step}.tmp"
    if not runtime.on_main(_begin, place, aside):
        return
    try:
        runtime.on_each(lambda: _write_tensors(aside, learner))
        runtime.on_main(_commit, aside, place, learner, progress)
    finally:
        runtime.on_main(shutil.rmtree, aside, True)


def _begin(place: Path, aside: Path) -> bool:
    """Make the folder to write into; return whether the checkpoint is still to be written."""
    if place.exists():
        return False
    start_aside(aside)
    return True


def _commit(aside: Path, place: Path, learner: Learner, progress: Progress) -> None:
    entries = {
        "progress": dataclasses.asdict(progress),
        "optimizer": _split_state(learner.optimizer)[1],
    }
    seal_into_place(aside, place, entries, FORMAT)
    for old in _steps(place.parent)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)


def restore(folder: Path, learner: Learner) -> Progress | None:
    """Load the newest checkpoint that verifies into the learner; damaged ones are named and passed over.

    A collective call: main chooses, so that all ranks take the same.
    """
    chosen = learner.runtime.on_main(_newest, folder, learner.runtime.say)
    if chosen is None:
        return None
    place, manifest = chosen
    part = _part(learner)
    learner.bare.load_state_dict(load_file(place / f"model{part}.safetensors"))
    if learner.ema:
        learner.ema.load_state_dict(load_file(place / f"ema{part}.safetensors"))
    _join_state(
        learner.optimizer, load_file(place / f"optimizer{part}.safetensors"), manifest["optimizer"]
    )
    return Progress(**manifest["progress"])


def _newest(folder: Path, say: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    for place in reversed(_steps(folder)):
        try:
            return place, verify(place)
        except ValueError as error:
            say(f"{error}; taking the one before")
    return None


def _part(learner: Learner) -> str:
    """What stands behind a file's name where ranks share a model.

    The rank's place on the model axis.
    """
    return f".{learner.runtime.model_rank}" if learner.runtime.model_size > 1 else ""


def verify(place: Path) -> dict[str, Any]:
    """Read a checkpoint's manifest and check every file against it.

    ValueError names the one that is damaged.
    """
    manifest = read_manifest(place, FORMAT)
    step = manifest["progress"]["step"]
    if f"step_{step}" != place.name:
        raise ValueError(f"{place / MANIFEST}: is that of step {step}")
    check_files(place, manifest, FORMAT)
    return manifest


def save_weights(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Write tensors to a safetensors file; shared and strided ones are written as plain copies.

    OSError where the disk refuses: safetensors' own error names only the number, in its text.
    """
    try:
        save_file(_plain(state), path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from error


def _plain(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors as rows of memory of their own; only those are copied that aren't so already."""
    plain: dict[str, torch.Tensor] = {}
    taken: set[int] = set()
    for name, tensor in state.items():
        row = tensor.detach().cpu().contiguous()
        memory = row.untyped_storage()
        if memory.nbytes() != row.nbytes or memory.data_ptr() in taken:
            row = row.clone()
        taken.add(row.untyped_storage().data_ptr())
        plain[name] = row
    return plain


def _write_tensors(folder: Path, learner: Learner) -> None:
    """Write this rank's part, unless another rank of the data axis holds the same."""
    if learner.runtime.data_rank > 0:
        return
    part = _part(learner)
    save_weights(folder / f"model{part}.safetensors", learner.bare.state_dict())
    save_weights(folder / f"optimizer{part}.safetensors", _split_state(learner.optimizer)[0])
    if learner.ema:
        save_weights(folder / f"ema{part}.safetensors", learner.ema.state_dict())


def _split_state(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """An optimiser's state as tensors by name and the numbers beside them."""
    state = optimizer.state_dict()
    tensors = {
        f"{i}.{k}": v
        for i, row in state["state"].items()
        for k, v in row.items()
        if torch.is_tensor(v)
    }
    numbers = {
        str(i): {k: v for k, v in row.items() if not torch.is_tensor(v) and v is not None}
        for i, row in state["state"].items()
    }
    return tensors, numbers


def _join_state(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], numbers: dict[str, Any]
) -> None:
    state = optimizer.state_dict()
    state["state"] = {int(i): dict(row) for i, row in numbers.items()}
    for name, tensor in tensors.items():
        i, key = name.split(".", 1)
        state["state"].setdefault(int(i), {})[key] = tensor
    optimizer.load_state_dict(state)
    _lay_out(optimizer)


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give state the strides of its weights.

    Fused optimisers walk both as one row, and files hold plain copies.
    """
    for parameter, row in optimizer.state.items():
        for key, value in row.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                row[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _steps(folder: Path) -> list[Path]:
    """The finished checkpoints of a folder, oldest first."""
    named = [path for path in folder.glob("step_*") if path.name[5:].isdigit()]
    return sorted(named, key=lambda path: int(path.name[5:]))

"""Checkpoints: folders that appear by one rename, under a manifest of checksums; the newest one that verifies is taken.

step_N/manifest.json       {"files": {name: sha256}, "progress": …, "optimizer": …, "seal": sha256 of the rest}
step_N/model.safetensors   step_N/optimizer.safetensors   step_N/ema.safetensors
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bench.record import write_json
from bench.trainer import Learner, Progress

KEEP = 2


def save(folder: Path, learner: Learner, progress: Progress) -> None:
    """Write a checkpoint beside its place, sync it, rename it into place, and only then prune older ones."""
    place = folder / f"step_{progress.step}"
    if place.exists():
        return
    aside = folder / f".step_{progress.step}.{os.getpid()}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        _write_tensors(aside, learner)
        files = {path.name: sha256(path) for path in sorted(aside.iterdir())}
        manifest = {
            "files": files,
            "progress": dataclasses.asdict(progress),
            "optimizer": _split_state(learner.optimizer)[1],
        }
        write_json(aside / "manifest.json", {**manifest, "seal": _seal(manifest)})
        aside.rename(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for old in _steps(folder)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)


def restore(folder: Path, learner: Learner, say: Callable[[str], None]) -> Progress | None:
    """Load the newest checkpoint that verifies into the learner; damaged ones are named and passed over."""
    for place in reversed(_steps(folder)):
        try:
            manifest = verify(place)
        except ValueError as error:
            say(f"{error}; taking the one before")
            continue
        learner.bare.load_state_dict(load_file(place / "model.safetensors"))
        if learner.ema:
            learner.ema.load_state_dict(load_file(place / "ema.safetensors"))
        _join_state(learner.optimizer, load_file(place / "optimizer.safetensors"), manifest["optimizer"])
        return Progress(**manifest["progress"])
    return None


def verify(place: Path) -> dict[str, Any]:
    """Read a checkpoint's manifest and check every file against it; ValueError names the one that is damaged."""
    try:
        manifest: dict[str, Any] = json.loads((place / "manifest.json").read_bytes())
        seal, expected = manifest.pop("seal"), manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{place / 'manifest.json'}: can't be read ({error})") from error
    if seal != _seal(manifest):
        raise ValueError(f"{place / 'manifest.json'}: is not what was written")
    for name, checksum in expected.items():
        path = place / name
        found = sha256(path) if path.is_file() else "nothing"
        if found != checksum:
            raise ValueError(f"{path}: sha256 {found} instead of {checksum}")
    return manifest


def _seal(manifest: dict[str, Any]) -> str:
    """The sha256 of what a manifest says, however it is laid out."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, allow_nan=False).encode()).hexdigest()


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_weights(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Write tensors to a safetensors file; shared and strided ones are written as plain copies.

    OSError where the disk refuses: safetensors' own error names only the number, in its text.
    """
    try:
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from error


def _write_tensors(folder: Path, learner: Learner) -> None:
    save_weights(folder / "model.safetensors", learner.bare.state_dict())
    save_weights(folder / "optimizer.safetensors", _split_state(learner.optimizer)[0])
    if learner.ema:
        save_weights(folder / "ema.safetensors", learner.ema.state_dict())


def _split_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """An optimiser's state as tensors by name and the numbers beside them."""
    state = optimizer.state_dict()
    tensors = {f"{i}.{k}": v for i, row in state["state"].items() for k, v in row.items() if torch.is_tensor(v)}
    numbers = {
        str(i): {k: v for k, v in row.items() if not torch.is_tensor(v) and v is not None}
        for i, row in state["state"].items()
    }
    return tensors, numbers


def _join_state(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], numbers: dict[str, Any]) -> None:
    state = optimizer.state_dict()
    state["state"] = {int(i): dict(row) for i, row in numbers.items()}
    for name, tensor in tensors.items():
        i, key = name.split(".", 1)
        state["state"].setdefault(int(i), {})[key] = tensor
    optimizer.load_state_dict(state)
    _lay_out(optimizer)


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give state the strides of its weights: fused optimisers walk both as one row, and files hold plain copies."""
    for parameter, row in optimizer.state.items():
        for key, value in row.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                row[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _steps(folder: Path) -> list[Path]:
    """The finished checkpoints of a folder, oldest first."""
    named = [path for path in folder.glob("step_*") if path.name[5:].isdigit()]
    return sorted(named, key=lambda path: int(path.name[5:]))

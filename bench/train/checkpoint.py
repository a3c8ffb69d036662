"""Checkpoints: sealed folders that appear by one rename; a resume takes the newest that verifies.

    step_N/manifest.json       {"files": {name: sha256}, "format", "progress", "scaler", "seal"}
    step_N/model.safetensors   the weights, and all else that a forward pass may change
    step_N/ema.safetensors     their average, where one is kept
    step_N/optimizer.pt        the optimiser's whole state_dict, its parameter groups too

Where ranks share a model each writes its part: model.0.safetensors, model.1.safetensors …
"""

import dataclasses
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bench.results.sealed_folder import (
    MANIFEST,
    Manifest,
    ManifestFormat,
    check_files,
    hash_file,
    read_manifest,
    seal_into_place,
    start_aside,
)
from bench.train.module_state import full_state, list_unkept, load_full_state
from bench.train.trainer import Learner, Progress

NUM_KEPT = 2  # the newest, and one in case that it is damaged
SEALED = ManifestFormat(checksums="files", seal="seal", hash_file=hash_file)
# Of what is inside: 1 had the optimiser's tensors in safetensors, without its groups; 2 had neither
# the scaler nor the buffers that a module keeps out of its state.
FORMAT = 3
DAMAGED = "damaged_"  # stands before the name of a checkpoint that was moved aside


def save(folder: Path, learner: Learner, progress: Progress) -> None:
    """Write a checkpoint aside, rename it into place, and only then remove older ones.

    A collective call: where ranks share a model each writes its part. OSError where the disk
    refuses; the checkpoints before stay as they are.
    """
    runtime = learner.runtime
    runtime.share_buffers(learner.bare)
    place = folder / f"step_{progress.step}"
    aside = folder / f".step_{progress.step}.tmp"
    scaler = runtime.accelerator.scaler  # of fp16 alone
    entries: Manifest = {
        "format": FORMAT,
        "progress": dataclasses.asdict(progress),
        "scaler": scaler.state_dict() if scaler else None,
    }
    if runtime.on_main(place.exists):
        return
    is_first = not runtime.on_main(list_checkpoints, folder)
    unkept = list_unkept(learner.bare) if is_first else []
    if unkept:
        runtime.say(
            f"checkpoints lack tensors in {', '.join(unkept)}: a resumed training may differ; "
            "register_buffer keeps them"
        )
    runtime.on_main(start_aside, aside)
    try:
        runtime.on_each(lambda: _write_tensors(aside, learner))
        runtime.on_main(seal_into_place, aside, place, entries, SEALED)
    finally:
        runtime.on_main(shutil.rmtree, aside, True)
    for old in runtime.on_main(list_checkpoints, folder)[:-NUM_KEPT]:
        runtime.on_main(shutil.rmtree, old, True)


def _write_tensors(folder: Path, learner: Learner) -> None:
    """Write this rank's part, unless another rank of the data axis holds the same."""
    if learner.runtime.data_rank > 0:
        return
    part = _part_suffix(learner)
    save_weights(folder / f"model{part}.safetensors", full_state(learner.bare))
    save_optimizer(folder / f"optimizer{part}.pt", learner.optimizer)
    if learner.ema:
        save_weights(folder / f"ema{part}.safetensors", full_state(learner.ema))


def restore(folder: Path, learner: Learner) -> Progress | None:
    """Load the newest checkpoint that verifies into the learner; None if there is none.

    Damaged ones are named and moved aside. A collective call: main chooses, so that all ranks take
    the same.
    """
    newest = learner.runtime.on_main(_find_newest, folder, learner.runtime.say)
    if newest is None:
        return None
    place, manifest = newest
    part = _part_suffix(learner)
    load_full_state(learner.bare, load_file(place / f"model{part}.safetensors"))
    if learner.ema:
        load_full_state(learner.ema, load_file(place / f"ema{part}.safetensors"))
    # Read into the CPU's memory, from where it goes to each parameter's device; nothing but tensors
    # and plain values is unpickled.
    state = torch.load(place / f"optimizer{part}.pt", map_location="cpu", weights_only=True)
    learner.optimizer.load_state_dict(state)
    if manifest["scaler"]:
        learner.runtime.accelerator.scaler.load_state_dict(manifest["scaler"])
    return Progress(**manifest["progress"])


def _find_newest(folder: Path, say: Callable[[str], None]) -> tuple[Path, Manifest] | None:
    for place in reversed(list_checkpoints(folder)):
        try:
            return place, verify(place)
        except ValueError as error:
            # Where it stands it would be counted among the newest, and the good ones be removed.
            aside = place.with_name(DAMAGED + place.name)
            shutil.rmtree(aside, ignore_errors=True)
            place.rename(aside)
            say(f"{error}; it is now {aside.name}, and the one before is taken")
    return None


def _part_suffix(learner: Learner) -> str:
    """Return what names this rank's part of a shared model: its place on the model axis."""
    return f".{learner.runtime.model_rank}" if learner.runtime.model_size > 1 else ""


def verify(place: Path) -> Manifest:
    """Read a checkpoint's manifest and check every file against it.

    ValueError names the one that is damaged, or says that an earlier version wrote it.
    """
    manifest = read_manifest(place, SEALED)
    step = manifest["progress"]["step"]
    if f"step_{step}" != place.name:
        raise ValueError(f"{place / MANIFEST}: is that of step {step}")
    if manifest.get("format") != FORMAT:
        raise ValueError(f"{place}: was written by another version, which kept less of its state")
    check_files(place, manifest, SEALED)
    return manifest


def save_weights(
    path: Path, state: dict[str, torch.Tensor], *, metadata: dict[str, str] | None = None
) -> None:
    """Write tensors to a safetensors file; shared and strided ones are written as plain copies.

    `metadata` stands in the file beside them. OSError where the disk refuses.
    """
    # safetensors takes only tensors that fill memory of their own: those that don't are copied.
    plain: dict[str, torch.Tensor] = {}
    taken: set[int] = set()
    for name, tensor in state.items():
        row = tensor.detach().cpu().contiguous()
        memory = row.untyped_storage()
        if memory.nbytes() != row.nbytes or memory.data_ptr() in taken:
            row = row.clone()
        taken.add(row.untyped_storage().data_ptr())
        plain[name] = row
    try:
        save_file(plain, path, metadata)
    except SafetensorError as error:
        # safetensors names the system's error only by its number, within its text.
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from error


def save_optimizer(path: Path, optimizer: torch.optim.Optimizer) -> None:
    """Write all that an optimiser knows, including what it counts in its parameter groups.

    OSError where the disk refuses.
    """
    try:
        # torch keeps a tensor's strides, which safetensors doesn't: fused optimisers walk a weight
        # and its state as two rows of memory, so both must be laid out alike.
        with path.open("wb") as file:
            torch.save(optimizer.state_dict(), file)
    except RuntimeError as error:
        # The archive writer hides a refused write behind a complaint of its own.
        refused = error.__context__
        if not isinstance(refused, OSError):
            raise
        raise OSError(refused.errno, refused.strerror, str(path)) from error


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the finished checkpoints of a folder, oldest first."""
    steps = {}
    for path in folder.glob("step_*"):
        number = path.name.removeprefix("step_")
        if number.isdigit():
            steps[int(number)] = path
    return [steps[step] for step in sorted(steps)]

"""Checkpoints: sealed folders that appear by one rename; a resume takes the newest that verifies.

    step_N/manifest.json       {"files": {name: sha256}, "format", "progress", "scaler", "seal"}
    step_N/model.safetensors   the weights, and all else that a forward pass may change
    step_N/ema.safetensors     their average, where one is kept
    step_N/optimizer.pt        the optimiser's whole state_dict, its parameter groups too

Where ranks share a model each writes its part: model.0.safetensors, model.1.safetensors …
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from bench.results.sealed_folder import (
    MANIFEST,
    Manifest,
    ManifestFormat,
    check_files,
    hash_file,
    read_manifest,
)
from bench.train.module_state import load_full_state
from bench.train.trainer import Learner, Progress

NUM_KEPT = 2  # the newest, and one in case that it is damaged
SEALED = ManifestFormat(checksums="files", seal="seal", hash_file=hash_file)
# Of what is inside: 1 had the optimiser's tensors in safetensors, without its groups; 2 had neither
# the scaler nor the buffers that a module keeps out of its state.
FORMAT = 3
DAMAGED = "damaged_"  # stands before the name of a checkpoint that was moved aside


def restore(folder: Path, learner: Learner) -> Progress | None:
    """Load the newest checkpoint that verifies into the learner; None if there is none.

    Damaged ones are named and moved aside. A collective call: main chooses, so that all ranks take
    the same.
    """
    newest = learner.runtime.on_main(_find_newest, folder, learner.runtime.say)
    if newest is None:
        return None
    place, manifest = newest
    part = part_suffix(learner)
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


def part_suffix(learner: Learner) -> str:
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


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the finished checkpoints of a folder, oldest first."""
    steps = {}
    for path in folder.glob("step_*"):
        number = path.name.removeprefix("step_")
        if number.isdigit():
            steps[int(number)] = path
    return [steps[step] for step in sorted(steps)]

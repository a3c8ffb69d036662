"""Write checkpoints while training goes on: their tensors are copied first, then a thread writes.

Training waits for the copy alone, and for the write before if that hasn't ended. Whatever ends the
process meanwhile, the checkpoint before stays (`bench/train/checkpoint.py`).
"""

import dataclasses
import os
import re
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch.utils._pytree import tree_map_only

from bench.results.sealed_folder import Manifest, seal_into_place, start_aside
from bench.train.checkpoint import (
    FORMAT,
    NUM_KEPT,
    SEALED,
    list_checkpoints,
    part_suffix,
)
from bench.train.module_state import full_state, list_unkept
from bench.train.trainer import Learner, Progress


class _Job(NamedTuple):
    """A checkpoint that is being written: where, what its manifest says, and its copied state."""

    aside: Path
    place: Path
    entries: Manifest
    state: dict[str, Any]


class CheckpointWriter:
    """Saves the checkpoints of a cell, one at a time.

    Its copies are kept for the next checkpoint, so that it holds a second set of weights, averages
    and optimiser state in the CPU's memory. Where ranks share a model each writes its part, and
    training waits for all of them: only then is the checkpoint whole.
    """

    def __init__(self, folder: Path, learner: Learner) -> None:
        self.folder = folder
        self.learner = learner
        self._copies: list[torch.Tensor] = []
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._job: _Job | None = None
        self._writing: Future[None] | None = None

    def save(self, progress: Progress) -> None:
        """Copy the state and begin to write it aside; nothing where this step has been saved.

        A collective call. OSError where the disk refused the checkpoint before; those that are
        whole stay as they are.
        """
        self.finish()
        runtime = self.learner.runtime
        runtime.share_buffers(self.learner.bare)
        place = self.folder / f"step_{progress.step}"
        if runtime.on_main(place.exists):
            return
        scaler = runtime.accelerator.scaler  # of fp16 alone
        entries: Manifest = {
            "format": FORMAT,
            "progress": dataclasses.asdict(progress),
            "scaler": scaler.state_dict() if scaler else None,
        }
        self._say_what_is_lacking()
        aside = self.folder / f".step_{progress.step}.tmp"
        runtime.on_main(start_aside, aside)
        self._job = _Job(aside, place, entries, self._copy_state())
        self._writing = self._pool.submit(self._write, self._job)
        if runtime.model_size > 1:
            self.finish()

    def finish(self) -> None:
        """Wait until what was saved is on the disk. A collective call.

        OSError where the disk refuses; the checkpoints before stay as they are.
        """
        job, writing = self._job, self._writing
        if job is None or writing is None:
            return
        self._job = self._writing = None
        runtime = self.learner.runtime
        try:
            runtime.on_each(writing.result)
            if runtime.model_size > 1:
                runtime.on_main(self._seal, job)
        finally:
            runtime.on_main(shutil.rmtree, job.aside, True)

    def close(self) -> None:
        """Wait for what is being written, and let go of the copies. Other ranks aren't asked."""
        self._pool.shutdown()
        if self._job is not None:
            self.learner.runtime.on_main_alone(shutil.rmtree, self._job.aside, True)
        self._copies.clear()

    def _say_what_is_lacking(self) -> None:
        """Name, at a cell's first checkpoint, what a network holds where no state finds it."""
        runtime = self.learner.runtime
        if runtime.on_main(list_checkpoints, self.folder):
            return
        unkept = list_unkept(self.learner.bare)
        if unkept:
            runtime.say(
                f"checkpoints lack tensors in {', '.join(unkept)}: a resumed training may differ; "
                "register_buffer keeps them"
            )

    def _copy_state(self) -> dict[str, Any]:
        """Copy all tensors of a checkpoint into the memory that the last one's were copied to."""
        learner = self.learner
        # The other ranks of the data axis hold the same as the first.
        if learner.runtime.data_rank > 0:
            return {}
        state: dict[str, Any] = {
            "model": full_state(learner.bare),
            "optimizer": learner.optimizer.state_dict(),
        }
        if learner.ema:
            state["ema"] = full_state(learner.ema)
        before = iter(self._copies)
        copies: list[torch.Tensor] = []

        def copy(tensor: torch.Tensor) -> torch.Tensor:
            place = next(before, None)
            if place is None or not _are_alike(place, tensor):
                place = torch.empty_like(tensor, device="cpu")
            copies.append(place.copy_(tensor.detach()))
            return place

        copied: dict[str, Any] = tree_map_only(torch.Tensor, copy, state)
        self._copies = copies
        return copied

    def _write(self, job: _Job) -> None:
        """Write this rank's part of a checkpoint, and the whole of it where nobody else has any."""
        runtime = self.learner.runtime
        if runtime.data_rank > 0:
            return
        _write_tensors(job.aside, job.state, part_suffix(self.learner))
        if runtime.model_size == 1:
            self._seal(job)

    def _seal(self, job: _Job) -> None:
        """Rename a checkpoint into place, and only then remove older ones."""
        seal_into_place(job.aside, job.place, job.entries, SEALED)
        for old in list_checkpoints(self.folder)[:-NUM_KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def _write_tensors(folder: Path, state: dict[str, Any], part: str) -> None:
    for name in ("model", "ema"):
        if name in state:
            save_weights(folder / f"{name}{part}.safetensors", state[name])
    save_optimizer(folder / f"optimizer{part}.pt", state["optimizer"])


def _are_alike(place: torch.Tensor, tensor: torch.Tensor) -> bool:
    """Return whether a tensor fits into another's memory, stride by stride."""
    return (
        place.shape == tensor.shape
        and place.dtype == tensor.dtype
        and place.stride() == tensor.stride()
    )


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


def save_optimizer(path: Path, state: dict[str, Any]) -> None:
    """Write an optimiser's `state_dict`, including what it counts in its parameter groups.

    OSError where the disk refuses.
    """
    try:
        # torch keeps a tensor's strides, which safetensors doesn't: fused optimisers walk a weight
        # and its state as two rows of memory, so both must be laid out alike.
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        # The archive writer hides a refused write behind a complaint of its own.
        refused = error.__context__
        if not isinstance(refused, OSError):
            raise
        raise OSError(refused.errno, refused.strerror, str(path)) from error

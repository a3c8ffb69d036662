"""A cell's record as it stands while the cell runs, written whole at every change."""

import dataclasses
import errno
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from torch import nn

from bench.cell.cell_file import (
    write_answers,
    write_run_look,
    write_samples,
    write_thumbnails,
)
from bench.cell.open_run import Cell
from bench.data.dataset import Dataset
from bench.distributed.process import cells_given_up
from bench.distributed.roll_call import WorldBroken
from bench.request.config import to_json
from bench.results.record import DataInfo, RunRecord, Status, now
from bench.results.sealed_folder import hash_file
from bench.results.storage import cell_folder, read, sync, write
from bench.train.build import Outcome, RunContext
from bench.train.checkpoint_writer import save_weights
from bench.train.schedule import choose_optimizer
from zoo import weights
from zoo.cause import cause_of
from zoo.spec import ModelSpec

# A cell that fails of these doesn't fail alone: the next one would find the same disk.
DISK_FAULTS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO}
)


@dataclass
class RecordWriter:
    """The record of the cell under way, and the folder that it is written to."""

    record: RunRecord
    cell: Cell
    context: RunContext

    @property
    def folder(self) -> Path:
        """Return where the cell keeps its files."""
        return record_path(self.cell, self.context).parent

    def update(self, **changes: Any) -> None:
        """Change the record and write it. A collective call."""
        self.record = replace(self.record, **changes)
        self.context.runtime.on_main(write, record_path(self.cell, self.context), self.record)

    def fail(self, error: Exception) -> None:
        """Keep the cause of a failure.

        Raises WorldBroken if not all ranks share it, OSError if it is the disk's.
        """
        is_oom = isinstance(error, torch.OutOfMemoryError | MemoryError)
        status: Status = "oom" if is_oom else "failed"
        try:
            self.context.runtime.roll_call(error, status)
        except WorldBroken as broken:
            self._keep_break(broken)
            raise
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            raise error
        self.update(status=status, error=cause_of(error), finished=now())

    def _keep_break(self, broken: WorldBroken) -> None:
        """Keep why the world broke. A cell that had no fault of its own was only interrupted."""
        changes: dict[str, Any] = {"status": "interrupted", "finished": None}
        if broken.fault:
            changes = {"status": broken.fault.status, "finished": now()}
        self.record = replace(self.record, error=str(broken), **changes)
        # No collective call goes through any more.
        path = record_path(self.cell, self.context)
        self.context.runtime.on_main_alone(write, path, self.record)


def record_path(cell: Cell, context: RunContext) -> Path:
    """Return where a cell's record stands."""
    return cell_folder(context.folder, cell.key) / "record.json"


def find_record(cell: Cell, context: RunContext) -> RunRecord | None:
    """Read the record that another process or an earlier start left, if there is one."""
    path = record_path(cell, context)
    return read(path, RunRecord) if path.exists() else None


def is_done(record: RunRecord) -> bool:
    """Return whether a cell is left as its record says: it has ended, or brought down a world."""
    return record.status in ("ok", "diverged") or record.cell in cells_given_up()


def begin_record(cell: Cell, context: RunContext) -> RunRecord:
    """Make the record of a cell that has started: a run that is killed is still a row."""
    spec: dict[str, JsonValue] = {"name": cell.model}
    # Of a model that couldn't be built the name is all that is known.
    config = choose_optimizer(context.config, {})
    if isinstance(cell.spec, ModelSpec):
        spec = spec_as_json(cell.spec)
        config = choose_optimizer(context.config, cell.spec.defaults)
    return RunRecord(
        run=context.folder.name,
        model=cell.model,
        seed=cell.seed,
        fold=cell.key.fold,
        images_per_class=cell.key.images_per_class,
        status="started",
        config=to_json(config),
        spec=spec,
        environment=dict(context.environment),
        data=describe_data(cell, context),
        world_size=context.runtime.world_size,
        batch_size=context.config.batch_size,
        created=now(),
    )


def give_up_cell(cell: Cell, context: RunContext, status: Status, cause: str) -> RunRecord:
    """Write down that a cell's process died: a row with its cause."""
    before = find_record(cell, context) or begin_record(cell, context.of_cell(cell.key))
    record = replace(before, status=status, error=cause, finished=now())
    write(record_path(cell, context), record)
    return record


def describe_data(cell: Cell, context: RunContext) -> DataInfo:
    """Describe the data for a record: which images, and how this model sees them."""
    data = context.data
    # A model that couldn't be built says nothing of its own.
    spec = cell.spec if isinstance(cell.spec, ModelSpec) else None
    own_size = data.size if spec is None else spec.image_size
    own_mean = None if spec is None else spec.mean
    own_std = None if spec is None else spec.std
    return DataInfo(
        name=data.name,
        stand_in=data.stand_in,
        source=data.source,
        checksum=data.checksum,
        protocol=data.protocol,
        image_size=context.config.image_size or own_size,
        num_train=len(data.train_indices),
        num_validation=len(data.validation_indices),
        num_test=len(data.rows_of("test")[1]),
        class_names=data.class_names,
        superclass_names=data.superclass_names,
        superclass_of=data.superclass_of,
        mean=own_mean or data.mean,
        std=own_std or data.std,
        stored_shape=(data.size, data.size, data.test.images.shape[-1]),
        short_side=data.short_side,
    )


def spec_as_json(spec: ModelSpec) -> dict[str, JsonValue]:
    """Return a spec as plain JSON values."""
    plain: dict[str, Any] = dataclasses.asdict(spec)
    # JSON knows no tuples, and a record that was read must equal the one that was written.
    tuples = {name: value for name, value in plain.items() if isinstance(value, tuple)}
    return plain | {name: list(value) for name, value in tuples.items()}


def write_outcome(
    folder: Path,
    model: nn.Module,
    state: dict[str, torch.Tensor],
    found: Outcome,
    data: Dataset,
) -> dict[str, str]:
    """Write a model's whole state, what it says and a few samples; returns their checksums."""
    path = folder / "model.safetensors"
    save_weights(path, state, metadata=weights.describe_input(model))
    sync(folder / "model.safetensors")  # before the checkpoints that it is from are removed
    write_answers(folder, found, data)
    write_samples(folder, data)
    run = folder.parents[1]  # a cell lies in its run's `cells`
    write_thumbnails(run, data)
    write_run_look(run, data)
    names = ("model.safetensors", "predictions.npz", "scores.npz", "samples.npz")
    return {name: hash_file(folder / name) for name in names}

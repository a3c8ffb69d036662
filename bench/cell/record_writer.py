"""A cell's record as it stands while the cell runs, written whole at every change."""

import dataclasses
import errno
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.data.dataset import Dataset
from bench.distributed.roll_call import WorldBroken
from bench.distributed.runtime import Runtime
from bench.results.record import DataInfo, RunRecord, Status, now
from bench.results.sealed_folder import hash_file
from bench.results.storage import write, write_bytes
from bench.train import checkpoint
from bench.train.evaluation import Predictions
from zoo.cause import cause_of
from zoo.spec import ModelSpec

# Of these a cell doesn't fail alone: the next one would find the same disk.
DISK_FAULTS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO}
)


@dataclass
class Keeper:
    """The record of the cell under way."""

    record: RunRecord
    path: Path
    runtime: Runtime

    def update(self, **changes: Any) -> None:
        """Change the record and write it. A collective call."""
        self.record = replace(self.record, **changes)
        self.runtime.on_main(write, self.path, self.record)

    def fail(self, error: Exception) -> None:
        """Keep the cause of a failure.

        Raises WorldBroken if not all ranks share it, OSError if it is the disk's.
        """
        status: Status = (
            "oom" if isinstance(error, torch.OutOfMemoryError | MemoryError) else "failed"
        )
        try:
            self.runtime.roll_call(error, status)
        except WorldBroken as broken:
            own: Status = broken.fault.status if broken.fault else "interrupted"
            self.record = replace(
                self.record, status=own, error=str(broken), finished=now() if broken.fault else None
            )
            self.runtime.on_main_alone(write, self.path, self.record)
            raise
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            raise error
        self.update(status=status, error=cause_of(error), finished=now())


def data_info(data: Dataset, image_size: int, spec: Mapping[str, Any]) -> DataInfo:
    """What a record says of the data: which images, and how this model saw them."""
    return DataInfo(
        name=data.name,
        stand_in=data.stand_in,
        source=data.source,
        checksum=data.checksum,
        protocol=data.protocol,
        image_size=image_size,
        num_train=len(data.train_indices),
        num_validation=len(data.validation_indices),
        num_test=len(data.test.labels),
        class_names=data.class_names,
        superclass_names=data.superclass_names,
        superclass_of=data.superclass_of,
        mean=tuple(spec.get("mean") or data.mean),
        std=tuple(spec.get("std") or data.std),
    )


def spec_as_json(spec: ModelSpec) -> dict[str, Any]:
    """A spec as plain JSON values."""
    plain = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    return {
        k: dict(v) if isinstance(v, Mapping) else list(v) if isinstance(v, tuple) else v
        for k, v in plain.items()
    }


NUM_SAMPLES = 36  # test images kept beside the predictions


def keep_outcome(
    folder: Path, state: dict[str, torch.Tensor], predictions: Predictions, data: Dataset
) -> dict[str, str]:
    """Write weights, predictions and a few samples; returns their checksums."""
    checkpoint.save_weights(folder / "model.safetensors", state)
    _write_arrays(
        folder / "predictions.npz",
        label=predictions.label,
        predicted=predictions.predicted,
        confidence=predictions.confidence,
        top5=predictions.top5,
    )
    index = np.linspace(
        0, len(data.test.labels) - 1, min(NUM_SAMPLES, len(data.test.labels))
    ).astype(np.int64)
    window = slice(data.margin, data.margin + data.size)
    _write_arrays(
        folder / "samples.npz",
        index=index,
        image=np.asarray(data.test.images[index][:, window, window]),
    )
    names = ("model.safetensors", "predictions.npz", "samples.npz")
    return {name: hash_file(folder / name) for name in names}


def _write_arrays(path: Path, **arrays: np.ndarray[Any, Any]) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_bytes(path, content.getvalue())

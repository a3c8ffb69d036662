"""A cell's record as it stands while the cell runs, written whole at every change."""

import errno
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.distributed.roll_call import WorldBroken, cause_of
from bench.distributed.runtime import Runtime
from bench.results.record import RunRecord, Status, now
from bench.results.storage import write

# Of these a cell doesn't fail alone: the next one would find the same disk.
DISK_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO})


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
        """Keep the cause of a failure. Raises WorldBroken if not all ranks share it, OSError if it is the disk's."""
        status: Status = "oom" if isinstance(error, torch.OutOfMemoryError | MemoryError) else "failed"
        try:
            self.runtime.roll_call(error, status)
        except WorldBroken as broken:
            own: Status = broken.fault.status if broken.fault else "interrupted"
            self.record = replace(self.record, status=own, error=str(broken), finished=now() if broken.fault else None)
            self.runtime.alone(write, self.path, self.record)
            raise
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            raise error
        self.update(status=status, error=cause_of(error), finished=now())

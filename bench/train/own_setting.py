"""What a model has of its own before it is trained: its optimiser, memory format and batch size."""

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from dataclasses import replace

from bench.data.lock import locked
from bench.results.memory_format import used_format
from bench.results.record import RunRecord
from bench.train.batch_size import with_batch_size, with_best_batch_size
from bench.train.build import RunContext
from bench.train.memory_format import with_faster_format, with_format
from bench.train.schedule import choose_optimizer
from zoo.spec import ModelSpec


def settle(
    spec: ModelSpec, context: RunContext, record: RunRecord, keep: Callable[..., None]
) -> RunContext:
    """Return the context with all that a model has of its own, found by trial where that is asked.

    `keep` writes what was found into the cell's record, where the model's other cells find it.
    """
    context = replace(context, config=choose_optimizer(context.config, spec.defaults))
    with _before_other_cells(context):
        context, found = with_faster_format(spec, context, record)
        if context.config.best_batch:
            context, batch = with_best_batch_size(spec, context, record)
            found |= batch
        keep(**found)
    return context


def as_trained(record: RunRecord, context: RunContext) -> RunContext:
    """Return the context with the batch size and memory format that a record was trained with."""
    return with_format(used_format(record), with_batch_size(record.batch_size, context))


@contextlib.contextmanager
def _before_other_cells(context: RunContext) -> Iterator[None]:
    """Let cells that run side by side try one after another: all of a model then share a result."""
    if not context.config.cells_share_machine:
        yield
        return
    cells = context.folder / "cells"
    with locked(cells, fcntl.LOCK_EX, lambda line: None, timeout=context.config.timeout):
        yield

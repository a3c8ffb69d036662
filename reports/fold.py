"""The folds of a model and seed put together: one cell, of which every image is tested once."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.record import (
    Accuracy,
    CellKey,
    Epoch,
    Measurement,
    RunRecord,
    Stage,
    make_measurement,
)
from reports.runs import Cell

FIT_RATE = "fit_images_per_second"


@dataclass(frozen=True)
class FoldedCell(Cell):
    """A model with one seed on all its folds.

    `record` is put together of those of `parts`, its times are means over them; pictures and
    weights are the first fold's.
    """

    parts: tuple[Cell, ...] = ()

    @cached_property
    def answers(self) -> dict[str, NDArray[Any]]:
        """Return what was said of each image by the model that wasn't trained on it, (n,).

        In the order of the whole set, with each image's `fold`; empty unless every image is there
        once.
        """
        said = [part.answers for part in self.parts]
        if self.record.status != "ok" or not all("row" in answers for answers in said):
            return {}
        rows = np.concatenate([answers["row"] for answers in said])
        order = np.argsort(rows, kind="stable")
        if not np.array_equal(rows[order], np.arange(len(rows))):
            return {}
        numbers = [part.record.fold or 0 for part in self.parts]
        folds = np.repeat(numbers, [len(answers["row"]) for answers in said])
        joined = {"fold": folds[order]}
        for name in said[0]:
            if all(name in answers for answers in said):
                joined[name] = np.concatenate([answers[name] for answers in said])[order]
        return joined


def join_folds(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells with the folds of each model and seed as one."""
    parts: dict[CellKey, list[Cell]] = {}
    for cell in cells:
        parts.setdefault(cell.record.key._replace(fold=None), []).append(cell)
    return [own[0] if own[0].record.fold is None else _join(own) for own in parts.values()]


def folds_of(cells: Sequence[Cell]) -> NDArray[np.int64] | None:
    """Return the fold of each image of cells that have the same, (n,); None without folds."""
    found = [cell.answers["fold"] for cell in cells if "fold" in cell.answers]
    return found[0] if found else None


def fold_top1(cells: Sequence[Cell]) -> list[float]:
    """Return the top-1 on each fold, the mean over the seeds in percent; empty without folds."""
    of_seeds = [cell.parts for cell in cells if isinstance(cell, FoldedCell)]
    means = []
    for parts in zip(*of_seeds, strict=True):
        tested = [part.record.accuracy for part in parts if part.record.accuracy is not None]
        means.append(statistics.fmean(accuracy.top1 for accuracy in tested))
    return means


def _join(parts: Sequence[Cell]) -> FoldedCell:
    records = [part.record for part in parts]
    first = records[0]
    missing = len(records) != first.config.get("folds")
    failed = next((record for record in records if record.status != "ok"), None)
    changes: dict[str, Any] = {"fold": None, "checksums": {}, "finished": records[-1].finished}
    if failed is not None:
        error = failed.error and f"fold {failed.fold}: {failed.error}"
        changes |= {"status": failed.status, "error": error, "accuracy": None}
    elif missing:
        changes |= {"status": "started", "accuracy": None}
    else:
        changes |= _join_results(records)
    return FoldedCell(replace(first, **changes), parts[0].folder, tuple(parts))


def _join_results(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Return what the records of all folds say together."""
    num_test = sum(record.data.num_test for record in records)
    seconds = [record.train_seconds for record in records if record.train_seconds is not None]
    stages = zip(*(record.stages for record in records), strict=True)
    # The last epochs of a budget of seconds some folds may not have.
    epochs = zip(*(record.epochs for record in records), strict=False)
    return {
        "data": replace(records[0].data, num_test=num_test),
        "accuracy": _add_counts([record.accuracy for record in records]),
        "stages": tuple(_average_stage(rows) for rows in stages),
        "epochs": tuple(_average_epoch(rows) for rows in epochs),
        "train_seconds": statistics.fmean(seconds) if seconds else None,
        "measurements": _join_rates(records),
    }


def _add_counts(counts: Sequence[Accuracy | None]) -> Accuracy | None:
    found = [each for each in counts if each is not None]
    if len(found) < len(counts):
        return None
    superclass = [each.num_superclass for each in found if each.num_superclass is not None]
    num_images = sum(each.num_images for each in found)
    return Accuracy(
        split=found[0].split,
        num_images=num_images,
        num_top1=sum(each.num_top1 for each in found),
        num_top5=sum(each.num_top5 for each in found),
        num_superclass=sum(superclass) if len(superclass) == len(found) else None,
        loss=sum(each.loss * each.num_images for each in found) / num_images,
    )


def _average_stage(rows: Sequence[Stage]) -> Stage:
    seconds = statistics.fmean(row.seconds for row in rows)
    evaluation = _add_counts([row.evaluation for row in rows])
    return replace(rows[0], seconds=seconds, evaluation=evaluation)


def _average_epoch(rows: Sequence[Epoch]) -> Epoch:
    taken = [row.taken_cores for row in rows if row.taken_cores is not None]
    return replace(
        rows[0],
        seconds=statistics.fmean(row.seconds for row in rows),
        train_loss=statistics.fmean(row.train_loss for row in rows),
        evaluation=_add_counts([row.evaluation for row in rows]),
        taken_cores=statistics.fmean(taken) if taken else None,
    )


def _join_rates(records: Sequence[RunRecord]) -> tuple[Measurement, ...]:
    """Return the images a second of all folds' trainings together, where all were measured."""
    rates = [row for record in records for row in record.measurements if row.metric == FIT_RATE]
    if len(rates) < len(records):
        return ()
    # Of each fold a rank has one value: the seconds that its whole training took.
    of_ranks = zip(*(rate.values for rate in rates), strict=True)
    seconds = [(sum(own[0] for own in folds),) for folds in of_ranks]
    return (make_measurement(FIT_RATE, seconds, images=sum(rate.images or 0 for rate in rates)),)

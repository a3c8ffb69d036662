"""Check that the records of a run are whole and agree with themselves and each other. No torch.

python -m bench.verify runs/NAME…      a line a fault; exit 1 if there is one
python -m bench.verify results/trained     each of the runs in it
"""

import hashlib
import math
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from bench.request.command_line import read_request, report_error
from bench.request.config import RunConfig, differing, from_json
from bench.results.comparison_check import comparison_faults
from bench.results.memory_format import (
    FORMATS,
    WHERE_FASTER,
    asked_format,
    choose_channels_last,
)
from bench.results.prediction_check import double_faults, fold_faults, prediction_faults
from bench.results.record import Accuracy, CellKey, Comparison, Epoch, RunRecord
from bench.results.setting import asked_settings
from bench.results.storage import comparison_paths, find_run_folders, read
from bench.train.schedule import choose_optimizer, drop_peak, learning_rate_at
from zoo.spec import ONCE, total_multiply_adds

# Published runs leave weights, pictures and all scores but the likeliest out.
KEPT_ASIDE = frozenset({"model.safetensors", "samples.npz", "scores.npz"})

# Figures went through JSON and sums in another order.
is_close = partial(math.isclose, rel_tol=1e-9, abs_tol=1e-9)


def main(folders: Sequence[str]) -> int:
    """Print every fault of these runs.

    Returns 0 if there is none, 1 if there is, 2 where there is nothing to check.
    """
    if not folders:
        sys.stderr.write("zoometry: name at least one run's folder\n")
        return 2
    try:
        runs = [run for name in folders for run in _find_runs(Path(name))]
    except ValueError as error:
        return report_error(error)
    code = 0
    for folder in runs:
        faults = list(find_faults(folder))
        for fault in faults:
            print(fault)
        num_records = len(list(folder.glob("cells/*/record.json")))
        print(f"{folder}: {num_records} records, {len(faults)} faults")
        if faults:
            code = 1
    return code


def _find_runs(folder: Path) -> list[Path]:
    """Return the runs that a folder is or holds; ValueError if there is none."""
    runs = find_run_folders(folder)
    if not runs:
        raise ValueError(f"{folder}: holds no run")
    return runs


def find_faults(folder: Path) -> Iterator[str]:
    """Yield every fault of a run, in a line each."""
    try:
        request = read_request(folder)
    except ValueError as error:
        yield str(error)
        return
    records: list[RunRecord] = []
    finished: dict[CellKey, Path] = {}
    for path in sorted(folder.glob("cells/*/record.json")):
        try:
            record = read(path, RunRecord)
        except ValueError as error:
            yield str(error)
            continue
        records.append(record)
        if record.status == "ok":
            finished[record.key] = path.parent
        for fault in record_faults(record, request, path.parent):
            yield f"{path}: {fault}"
    for fault in run_faults(records, request):
        yield f"{folder}: {fault}"
    # Without training there is nothing that was tested, unless the weights were given.
    if request.folds and any(record.accuracy for record in records):
        for fault in fold_faults(finished, request.folds):
            yield f"{folder}: {fault}"
    for path in comparison_paths(folder):
        try:
            comparison = read(path, Comparison)
        except ValueError as error:
            yield str(error)
            continue
        for fault in comparison_faults(comparison, records, path):
            yield f"{path}: {fault}"


def run_faults(records: Sequence[RunRecord], request: RunConfig) -> Iterator[str]:
    """Check the records of a run beside each other: one a cell, all on the same data."""
    cells = [record.key for record in records]
    if len(set(cells)) < len(cells):
        yield "two records are of one cell"
    for key in request.cell_keys:
        if key not in cells:
            yield f"{key}: no record"
    if len({record.data.checksum for record in records}) > 1:
        yield "the records are of different data"
    if len({record.world_size for record in records}) > 1:
        yield "the records are of worlds of different size"


def record_faults(record: RunRecord, request: RunConfig, folder: Path) -> Iterator[str]:
    """Check a record by itself, against what was asked for and the files beside it."""
    try:
        config = from_json(dict(record.config))
    except (ValueError, TypeError) as error:
        yield f"config: {error}"
        return
    yield from _identity_faults(record, config, request, folder)
    yield from _search_faults(record, config)
    yield from _format_faults(record)
    if record.status != "ok":
        if record.status != "started" and not record.error:
            yield f"is {record.status} without a cause"
        return
    yield from _cost_faults(record)
    was_trained = bool(record.epochs) or request.epochs != 0
    if was_trained:
        yield from _training_faults(record, config)
    # Without training there is nothing to evaluate, unless the weights were given.
    if was_trained or record.accuracy is not None:
        yield from _accuracy_faults(record, folder)


def is_fitted_once(record: RunRecord) -> bool:
    """Return whether a record's model takes no steps, whatever was asked for."""
    return record.spec.get("learner") == ONCE


def _identity_faults(
    record: RunRecord, config: RunConfig, request: RunConfig, folder: Path
) -> Iterator[str]:
    """Check that a record is of a cell that was asked for, and made as asked."""
    if folder.name not in (record.key.name, record.key.old_name):
        yield f"is of {record.cell} but lies in {folder.name}"
    if record.key not in request.cell_keys:
        yield "is of a cell that was not asked for"
    if record.spec.get("name") != record.model:
        yield f"spec is of {record.spec.get('name')}"
    defaults = record.spec.get("defaults")
    asked = choose_optimizer(request, defaults if isinstance(defaults, dict) else {})
    changed = differing(config, asked)
    if request.best_batch:
        # It is worked out for each model.
        changed = [flag for flag in changed if flag != "--batch-size"]
    if changed:
        yield f"{', '.join(changed)} differ from the run's config.json and the model's own"
    if record.batch_size != config.batch_size or record.data.protocol != config.protocol:
        yield "batch size or protocol differs from its own config"
    stated = {"world_size": record.world_size} | asked_settings(record)
    for name, expected in stated.items():
        found = record.environment.get(name)
        if found != expected:
            yield f"environment: {name} is {found}, not {expected}"


def _search_faults(record: RunRecord, config: RunConfig) -> Iterator[str]:
    """Check that a best batch is the one that the search found, and a fixed one has no search."""
    search = record.batch_search
    if bool(search) != config.best_batch and (search or record.status == "ok"):
        yield "holds a search for the best batch that wasn't asked for, or none that was"
    rates = search.get("images_per_second")
    if isinstance(rates, dict):
        best = max(rates, key=lambda size: float(str(rates[size])), default="")
        if best != str(search.get("best")) or search.get("best") != record.batch_size:
            yield "its batch is not the best one that was found"


def _format_faults(record: RunRecord) -> Iterator[str]:
    """Check that a model has the memory format that was asked for, or the one that was faster."""
    trial = record.format_trial
    is_tried = asked_format(record) == WHERE_FASTER
    if is_tried and record.config.get("channels_last") is not None:
        yield "its memory format was asked for, and its environment says otherwise"
    if is_fitted_once(record):
        is_tried = False
    if (trial is not None) != is_tried and (trial or record.status == "ok"):
        yield "holds a trial of memory formats where none was asked for, or none where one was"
    if trial is None:
        return
    if set(trial.seconds) != set(FORMATS) or len(set(map(len, trial.seconds.values()))) != 1:
        yield "its trial of memory formats isn't of both in every round"
    elif choose_channels_last(trial.seconds) != trial.channels_last:
        yield "its memory format is not the one that was faster"


def _cost_faults(record: RunRecord) -> Iterator[str]:
    """Check that a model's costs are those of its layers and of its spec."""
    # A network that can't run without numbers is trained uncounted, and its spec says so.
    counted = record.spec.get("multiply_adds", 0) is not None
    if not counted and record.num_parameters is not None and not record.layers:
        return
    if record.num_parameters is None or record.multiply_adds is None or not record.layers:
        yield "is ok but has no costs"
        return
    if total_multiply_adds(record.layers) != record.multiply_adds:
        yield "multiply-adds are not the sum of the layers'"
    # More is right: layers that share a parameter count it each.
    if sum(layer.num_parameters for layer in record.layers) < record.num_parameters:
        yield "the layers have fewer parameters than the model"
    # A spec's counts hold for one number of classes and one image size.
    if record.spec.get("at") == [len(record.data.class_names), record.data.image_size]:
        for name in ("num_parameters", "multiply_adds"):
            found, expected = getattr(record, name), record.spec.get(name)
            if found != expected:
                yield f"{name} is {found}, its spec says {expected}"


def _training_faults(record: RunRecord, config: RunConfig) -> Iterator[str]:
    """Check the epochs of a record: their order, their steps, and the rates of their last steps."""
    epochs = record.epochs
    takes_steps = config.takes_steps and not is_fitted_once(record)
    yield from _stage_faults(record, config)
    if not takes_steps and epochs:
        way = "its model" if is_fitted_once(record) else f"--train {config.train}"
        yield f"has epochs, and {way} takes no steps"
    if takes_steps and config.epochs != 0 and not epochs:
        yield "is ok but has no epochs"
        return
    if [row.epoch for row in epochs] != list(range(len(epochs))):
        yield "epochs are not 0, 1, 2, …"
    if takes_steps and config.epochs is not None and len(epochs) != config.epochs:
        yield f"{len(epochs)} epochs of {config.epochs}"
    for before, row in pairwise(epochs):
        if row.step <= before.step or row.seconds <= before.seconds:
            yield f"epoch {row.epoch}: step or time doesn't grow"
    for row in epochs:
        for fault in _epoch_faults(row, record, config):
            yield f"epoch {row.epoch}: {fault}"
    seconds = sum(stage.seconds for stage in record.stages)
    if epochs:
        seconds += epochs[-1].seconds
    if record.train_seconds is None or not is_close(record.train_seconds, seconds):
        yield "train_seconds is not that of its stages and its last epoch"
    if not config.cells_share_machine:
        yield from _rate_faults(record)
    elif record.measurements:
        yield "speed was measured beside other cells"


def _stage_faults(record: RunRecord, config: RunConfig) -> Iterator[str]:
    """Check what was learnt otherwise than by steps."""
    found = tuple(stage.name for stage in record.stages)
    if is_fitted_once(record):
        # Not every pipeline has a codebook.
        without_codebook = tuple(name for name in found if name != "codebook")
        if without_codebook != ("features", "fit") or "codebook" in found[1:]:
            yield f"has the stages {found}, and its model is fitted in others"
    else:
        expected = ("features", "fit") if config.fits_head else ()
        if found != expected:
            yield f"has the stages {found}, and --train {config.train} has {expected}"
    for stage in record.stages:
        if stage.images not in (0, record.data.num_train):
            yield f"{stage.name}: learnt from {stage.images} images of {record.data.num_train}"
        if stage.evaluation is not None:
            for fault in _count_faults(stage.evaluation, record):
                yield f"{stage.name}: {fault}"


def _epoch_faults(row: Epoch, record: RunRecord, config: RunConfig) -> Iterator[str]:
    """Check one epoch of a record."""
    steps_per_epoch = record.data.num_train // record.batch_size
    if row.images != row.step * record.batch_size:
        yield f"{row.images} images are not {row.step} steps of {record.batch_size}"
    # Only the last one may be cut short, by a budget of seconds.
    is_cut = row is not record.epochs[-1] and row.step % steps_per_epoch != 0
    if is_cut or row.step > (row.epoch + 1) * steps_per_epoch:
        yield f"ends at step {row.step}, an epoch has {steps_per_epoch}"
    # Over a budget of seconds the schedule follows a clock that the record doesn't have.
    if config.epochs:
        assert config.lr is not None, "a record's config says it"
        evaluations = [before.evaluation for before in record.epochs[: row.epoch]]
        errors = [100 - evaluation.top1 for evaluation in evaluations if evaluation]
        share = (row.step - 1) / (config.epochs * steps_per_epoch)
        expected = learning_rate_at(config, drop_peak(config, config.lr, errors), share)
        if not is_close(row.learning_rate, expected):
            yield f"learning rate {row.learning_rate} is not the schedule's"
    for evaluation in (row.evaluation, row.train_evaluation):
        if evaluation is not None:
            yield from _count_faults(evaluation, record)
    if (row.train_evaluation is not None) != config.assess_train:
        yield "training images were evaluated unasked, or not although it was asked for"


def _rate_faults(record: RunRecord) -> Iterator[str]:
    """Check the images a second of the whole training."""
    rates = [row for row in record.measurements if row.metric == "fit_images_per_second"]
    if len(rates) != 1:
        yield "fit_images_per_second is not there once"
        return
    rate = rates[0]
    if len(rate.values) != record.world_size:
        yield f"fit_images_per_second has {len(rate.values)} ranks of {record.world_size}"
        return
    took = max(rate.merged)
    images = sum(stage.images for stage in record.stages)
    if record.epochs:
        images += record.epochs[-1].images
    if rate.images != images or not is_close(took, record.train_seconds or 0):
        yield "fit_images_per_second is not the images and seconds of the epochs"


def _count_faults(counts: Accuracy, record: RunRecord) -> Iterator[str]:
    """Check what was counted over one part of the data."""
    data = record.data
    sizes = {"train": data.num_train, "validation": data.num_validation, "test": data.num_test}
    expected = sizes[counts.split]
    if counts.num_images != expected:
        yield f"{counts.num_images} {counts.split} images of {expected}"
    if not 0 <= counts.num_top1 <= counts.num_top5 <= counts.num_images:
        yield "top-1, top-5 and number of images are out of order"
    if counts.num_superclass is not None and not 0 <= counts.num_superclass <= counts.num_images:
        yield "superclass count is out of range"
    if counts.split == "test" and record.data.protocol == "split" and counts is not record.accuracy:
        yield "the test set was looked at before the end"


def _accuracy_faults(record: RunRecord, folder: Path) -> Iterator[str]:
    """Check the final accuracy, and the files from which it can be counted again."""
    if record.accuracy is None:
        yield "is ok but has no accuracy"
        return
    if record.accuracy.split != "test":
        yield "accuracy is not of the test set"
    yield from _count_faults(record.accuracy, record)
    for name, checksum in record.checksums.items():
        path = folder / name
        if not path.exists():
            if name not in KEPT_ASIDE:
                yield f"{name} is missing"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
            yield f"{name} has another checksum than its record says"
    predictions = folder / "predictions.npz"
    if predictions.name not in record.checksums:
        yield "no checksum of predictions.npz"
    elif predictions.exists():
        yield from prediction_faults(record, record.accuracy, folder)
        yield from double_faults(record, folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

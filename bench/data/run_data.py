"""The data of a run, checked against what is asked of them. No torch."""

import numpy as np

from bench.data.cache import Say
from bench.data.dataset import Dataset, describe_classes, open_dataset, say_nothing
from bench.data.run_look import add_look
from bench.data.subset import take_classes, take_part, take_parts
from bench.request.config import RunConfig
from zoo.registry import list_fitted_once

__all__ = ["Dataset", "describe_part", "open_run_data"]  # whoever opens a run's data names them


def open_run_data(config: RunConfig, *, say: Say = say_nothing) -> Dataset:
    """Open the data set that a run asks for, in any of its processes.

    ValueError for one with too few images for the batch or the folds that are asked for, and for a
    class that it lacks.
    """
    found = whole = open_dataset(
        config.dataset,
        config.data_dir,
        protocol=config.protocol,
        image_size=config.image_size,
        skip_unreadable=config.skip_unreadable,
        whole=config.folds is not None,
        workers=config.workers,
        timeout=config.timeout,
        say=say,
    )
    if config.classes:
        found = take_classes(whole, config.classes)
    if config.folds is not None:
        _check_folds(config.folds, found, say)
    else:
        found = add_look(found, whole, config, say)
    smallest = _smallest_training_set(found, config)
    all_fit_once = config.models and list_fitted_once(config.models) == list(config.models)
    takes_steps = config.takes_steps and config.epochs != 0 and not all_fit_once
    if takes_steps and not config.best_batch and config.batch_size > smallest:
        raise ValueError(
            f"--batch-size {config.batch_size}: {found.name} has {smallest} training images; "
            f"give {smallest} or less"
        )
    return found


def _check_folds(num_folds: int, data: Dataset, say: Say) -> None:
    """Refuse folds that a class has too few images for, and say what the folds are cut of."""
    counts = np.bincount(data.train.labels, minlength=len(data.class_names))
    least = int(counts.argmin())
    if counts[least] < num_folds:
        raise ValueError(
            f"--folds {num_folds}: class {data.class_names[least]!r} has {counts[least]} images, "
            f"and each fold needs one; give {counts[least]} or less"
        )
    left_out = len(data.test.labels)
    unread = f"; the {left_out:,} images of the test set aren't read" if left_out else ""
    say(f"{data.name}: {num_folds} folds of {counts.sum():,} images, each tested once{unread}")


def _smallest_training_set(data: Dataset, config: RunConfig) -> int:
    """Return how many images the cells learn from that learn from fewest.

    ValueError where a fold leaves nothing for validation.
    """
    parts = take_parts(data, config)
    if config.folds and not all(len(part.validation_indices) for part in parts):
        raise ValueError(
            f"--folds {config.folds}: {data.name} has two images of each class, so that none "
            "is left for validation; add images"
        )
    return min(len(part.train_indices) for part in parts)


def describe_part(data: Dataset, config: RunConfig) -> str:
    """Say how many images the first cell learns from, and how many of each class."""
    part = take_part(data, config.cell_keys[0], config)
    num_images, num_classes = len(part.train_indices), len(data.class_names)
    return f"{num_images:,} training images of {num_classes} classes, {describe_classes(part)}"

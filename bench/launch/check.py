"""Check what must hold before anything starts: models, data, processes, folder.

No torch. Every fault is a ValueError of one line, which becomes exit code 2.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from bench.data.dataset import check_dataset
from bench.distributed.hardware import num_gpus
from bench.launch.learning_check import check_fitted_once, check_train
from bench.request.command_line import check_folder, read_request
from bench.request.config import HUB, NONE, PARALLEL, TRACKERS, RunConfig
from bench.results.weights_file import find_weights
from zoo.registry import check_name, expand, list_models
from zoo.switch import split_switches
from zoo.terminal import show

# The prefixes of models that have published weights.
LIBRARIES = ("tv:", "timm:")


def complete(config: RunConfig) -> RunConfig:
    """Expand globs and name the run's folder, so that all processes have the same request.

    Processes that torchrun's elastic agent starts again continue the run.
    """
    out = config.out or _find_free_folder(config.recipe)
    is_restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    models = tuple(expand(config.models))
    config = dataclasses.replace(config, models=models, out=out, resume=config.resume or is_restart)
    return _as_fitted(config, out) if config.resume and config.least_steps else config


def _as_fitted(config: RunConfig, folder: Path) -> RunConfig:
    """Return a request with the models and seconds that its run was given on a slow machine."""
    if not (folder / "config.json").exists():
        return config
    begun = read_request(folder)
    if set(begun.models) | set(begun.left_out) != set(config.models) | set(config.left_out):
        return config
    return dataclasses.replace(
        config, models=begun.models, seconds=begun.seconds, left_out=begun.left_out
    )


def _find_free_folder(recipe: str) -> Path:
    """Name a folder by date and recipe, and by a number if another start was as quick."""
    first = Path("runs") / time.strftime(f"%Y%m%d-%H%M%S-{recipe}")
    folder = first
    number = 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def reserve_folder(config: RunConfig) -> RunConfig:
    """Make the folder of a run that was asked for without one; two starts never get the same."""
    while True:
        folder = _find_free_folder(config.recipe)
        try:
            folder.mkdir(parents=True)
            return dataclasses.replace(config, out=folder)
        except FileExistsError:
            continue
        except OSError as error:
            raise ValueError(f"--out {folder}: can't be made ({error.strerror})") from error


def check_request(config: RunConfig, *, world_size: int, say: Callable[[str], None] = show) -> None:
    """Check everything that needs no torch; `say` is told what the data set is taken from.

    ValueError says in one line what is wrong and what to do.
    """
    for name in config.models:
        check_name(name)
    check_pretrained(config)
    check_fitted_once(config)
    check_train(config)
    _check_parallel(config, world_size)
    check_dataset(
        config.dataset,
        config.data_dir,
        image_size=config.image_size,
        workers=config.workers,
        say=say,
    )
    if config.workers and "pca" in config.augment:
        raise ValueError(
            "--augment pca --workers: pca needs the colours of all images; leave --workers out, so "
            "that they are decoded into the cache"
        )
    _check_batch_size(config, world_size)
    check_trackers(config.track)
    _check_gradients(config, world_size)
    _check_packed(config, world_size)
    # Last, because only a request that is right by itself can be held against a folder's.
    check_folder(config)


def _check_batch_size(config: RunConfig, world_size: int) -> None:
    """Check that a batch can be split evenly into micro-batches of all copies of the model."""
    num_copies = world_size // PARALLEL[config.parallel]
    num_parts = num_copies * config.accumulate
    parts = f"{num_copies} processes x {config.accumulate} micro-batches"
    is_power_of_two = num_parts & (num_parts - 1) == 0
    if config.best_batch and not is_power_of_two:
        # The sizes that are tried are powers of two.
        raise ValueError(f"--batch-size best: {parts} must make a power of 2")
    if config.batch_size % num_parts:
        nearest = max(1, round(config.batch_size / num_parts)) * num_parts
        raise ValueError(
            f"--batch-size {config.batch_size} can't be divided by {parts}; "
            f"the nearest that can is {nearest}"
        )


def _check_gradients(config: RunConfig, world_size: int) -> None:
    """Check the options that say how processes combine their gradients and statistics."""
    if config.exact and config.accumulate > 1 and world_size > 1:
        raise ValueError(
            f"--exact --accumulate {config.accumulate}: each of {world_size} processes adds up its "
            "own micro-batches first, which is another order; leave one of the two out"
        )
    if config.sync_batchnorm and world_size == 1:
        raise ValueError("--sync-batchnorm: one process has nobody to share with; leave it out")
    if config.sync_batchnorm and not num_gpus():
        raise ValueError(
            "--sync-batchnorm: torch has it for GPUs only, and this run is on the CPU; leave it out"
        )


def _check_packed(config: RunConfig, world_size: int) -> None:
    """Check what cells that share a machine need."""
    if config.pack_size and not config.pack:
        raise ValueError(
            f"--pack-size {config.pack_size}: works only with --pack; add --pack, or leave it out"
        )
    if not config.pack:
        return
    if config.seconds is not None:
        raise ValueError(
            "--pack: cells side by side would each get less out of --seconds; give --epochs N"
        )
    if world_size > 1:
        raise ValueError(f"--pack: each cell is one process, not {world_size}; set NPROC=1")


def _check_parallel(config: RunConfig, world_size: int) -> None:
    """Check that the processes and the models can share a model in the way that is asked for."""
    way = config.parallel
    num_sharers = PARALLEL[way]
    if world_size % num_sharers:
        even = 2 * (world_size // 2 + 1)
        raise ValueError(
            f"--parallel {way}: {world_size} processes can't form pairs; set NPROC={even}"
        )
    if way == "devices" and world_size > 1:
        raise ValueError(
            f"--parallel devices: is for one process, not {world_size}; set NPROC=1, "
            "or give --parallel tower"
        )
    if way == "data":  # any model can
        return
    able = [spec.name for spec in list_models() if way in spec.parallelise]
    for name in config.models:
        if split_switches(name)[0] not in able:
            raise ValueError(
                f"--parallel {way}: {name} can't be shared this way; {', '.join(able)} can, "
                "and any model with --parallel data"
            )


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker whose package is missing, with the command that installs it."""
    for name in names:
        if find_spec(TRACKERS[name]) is None:
            raise ValueError(
                f"--track {name}: its package is missing; install it with "
                f".venv/bin/python -m pip install {name}"
            )


def check_pretrained(config: RunConfig) -> None:
    """Check that there can be weights for every model; ValueError names one without."""
    given = config.pretrained
    if given == NONE:
        return
    if given == HUB:
        for model in config.models:
            if not model.startswith(LIBRARIES):
                raise ValueError(
                    f"--pretrained: {model} has no published weights; give a file, "
                    "or choose tv:NAME or timm:NAME"
                )
        return
    if Path(given).is_file() and len(config.models) > 1:
        raise ValueError(
            f"--pretrained {given}: one file for {len(config.models)} models; "
            "name one model, or give a folder"
        )
    for model in config.models:
        for seed in config.seeds:
            find_weights(Path(given), model, seed)

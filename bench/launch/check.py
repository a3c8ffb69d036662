"""What must hold before anything starts: models, data, world, folder.

No torch; every fault is one line and exit 2.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from bench.data.dataset import check_dataset
from bench.distributed.process import num_gpus
from bench.request.command_line import check_folder
from bench.request.config import HUB, NONE, PARALLEL, TRACKERS, RunConfig
from bench.results.storage import weights_file
from zoo.registry import check_name, expand, list_models, split_switches


def complete(config: RunConfig) -> RunConfig:
    """Expand globs and name the run's folder, so that every process of the run has the same request.

    A world that torchrun's elastic agent starts again goes on with the run.
    """
    out = config.out or Path("runs") / time.strftime(f"%Y%m%d-%H%M%S-{config.recipe}")
    resume = config.resume or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    return dataclasses.replace(config, models=tuple(expand(config.models)), out=out, resume=resume)


def check_request(
    config: RunConfig, *, world_size: int, say: Callable[[str], None] = print
) -> None:
    """Check what needs no torch.

    Models by name, data by place, the batch against the world, the folder.
    """
    for name in config.models:
        check_name(name)
    check_pretrained(config)
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
            "--augment pca --workers: pca needs the colours of all images; decode them into the cache"
        )
    shares = world_size // PARALLEL[config.parallel]
    share = shares * config.accumulate
    if config.best_batch and share & (share - 1):
        raise ValueError(
            f"--batch-size best: {shares} processes x {config.accumulate} micro-batches must make a power of 2"
        )
    if config.batch_size % share:
        near = max(1, round(config.batch_size / share)) * share
        raise ValueError(
            f"--batch-size {config.batch_size} can't be divided by {shares} processes x {config.accumulate} "
            f"micro-batches; the nearest that can is {near}"
        )
    check_trackers(config.track)
    _check_joined(config, world_size)
    _check_packed(config, world_size)
    check_folder(config)


def _check_joined(config: RunConfig, world_size: int) -> None:
    """Check the ways in which processes join what each has of a step."""
    if config.exact and config.accumulate > 1 and world_size > 1:
        raise ValueError(
            f"--exact --accumulate {config.accumulate}: of {world_size} processes each adds up its own micro-batches "
            "first, which is another order; leave one of the two away"
        )
    if config.sync_batchnorm and world_size == 1:
        raise ValueError("--sync-batchnorm: one process has nobody to share with; leave it away")
    if config.sync_batchnorm and not num_gpus():
        raise ValueError(
            "--sync-batchnorm: torch has it for GPUs only, and this run is on the CPU; leave it away"
        )


def _check_packed(config: RunConfig, world_size: int) -> None:
    """Check what cells that share a machine need."""
    if config.pack and config.seconds is not None:
        raise ValueError(
            "--pack: cells side by side would each get less of --seconds; give --epochs N"
        )
    if config.pack and world_size > 1:
        raise ValueError(f"--pack: each cell is a process by itself, not {world_size}; say NPROC=1")
    if config.pack_size and not config.pack:
        raise ValueError(f"--pack-size {config.pack_size}: is for --pack")


def _check_parallel(config: RunConfig, world_size: int) -> None:
    """Refuse a world or a model that can't share a model in the way that is asked for."""
    way, sharers = config.parallel, PARALLEL[config.parallel]
    if world_size % sharers:
        raise ValueError(
            f"--parallel {way}: {world_size} processes can't pair up; say NPROC={2 * (world_size // 2 + 1)}"
        )
    if way == "devices" and world_size > 1:
        raise ValueError(
            f"--parallel devices: is for one process, not {world_size}; say NPROC=1, or --parallel tower"
        )
    able = [spec.name for spec in list_models() if way in spec.parallelise]
    for name in config.models if way != "data" else ():
        if split_switches(name)[0] not in able:
            raise ValueError(
                f"--parallel {way}: {name} can't be shared so; {', '.join(able)} can, "
                "and any model with --parallel data"
            )


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker whose package isn't there, with the command that installs it."""
    for name in names:
        if find_spec(TRACKERS[name]) is None:
            raise ValueError(
                f"--track {name}: its package is missing: .venv/bin/python -m pip install {name}"
            )


LIBRARIES = ("tv:", "timm:")


def check_pretrained(config: RunConfig) -> None:
    """Check that there can be weights for every model.

    No torch; ValueError says for which there are none.
    """
    given = config.pretrained
    if given == NONE:
        return
    if given == HUB:
        own = [model for model in config.models if not model.startswith(LIBRARIES)]
        if own:
            raise ValueError(
                f"--pretrained: {own[0]} has no published weights; give a file, or take tv:NAME or timm:NAME"
            )
        return
    if Path(given).is_file() and len(config.models) > 1:
        raise ValueError(
            f"--pretrained {given}: one file for {len(config.models)} models; name one model, or a folder"
        )
    for model in config.models:
        for seed in config.seeds:
            weights_file(Path(given), model, seed)

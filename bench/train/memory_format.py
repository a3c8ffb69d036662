"""Which memory format a model trains faster in on this machine: a few steps of both, in turn.

Channels-last isn't the faster one everywhere. The trial is of models of its own, on noise: the one
that is trained afterwards is as if the format had been asked for, to the bit.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from bench.results.memory_format import CHANNELS_LAST, FORMATS, NCHW, choose_channels_last
from bench.results.record import FormatTrial, RunRecord
from bench.train.build import RunContext, build_model, prepare_learner
from bench.train.step import TRIAL_RATE, make_noise_batch, read_earlier_trial, time_action
from bench.train.trainer import Learner
from zoo.spec import STEPS, ModelSpec

FEW_IMAGES = 2  # of a micro-batch, in the first step: one of a whole batch may take a minute
LONGEST_STEP = 0.25  # seconds: the images are doubled until a step takes about so long
ROUNDS = (2, 12)  # the least, and the most
TRIAL_SECONDS = 1.0  # of rounds, after which none is begun


def with_format(channels_last: bool | None, context: RunContext) -> RunContext:
    """Return the context with a memory format, for the cells of one model."""
    return replace(context, config=replace(context.config, channels_last=channels_last))


def with_faster_format(
    spec: ModelSpec, context: RunContext, record: RunRecord
) -> tuple[RunContext, dict[str, Any]]:
    """Return the context with this model's faster format, and what its record says of it then.

    Each model is tried once: other seeds, and a resume, take what a record says. Nothing is tried
    where a format was asked for or is settled (`device_setting.choose_format`), nor of what takes
    no steps.
    """
    if not context.runtime.tries_formats or spec.learner != STEPS:
        return context, {}
    runtime = context.runtime
    trial = runtime.on_main(read_earlier_trial, context.folder, spec.name, "format_trial")
    if trial is None:
        trial = try_formats(spec, context, record)
        rates = ", ".join(f"{trial.rate(name):,.0f} in {name}" for name in FORMATS)
        taken = CHANNELS_LAST if trial.channels_last else NCHW
        runtime.say(
            f"    {spec.name}, images/s in steps of {trial.num_images}: {rates}; trains in {taken}"
        )
    return with_format(trial.channels_last, context), {"format_trial": trial}


def try_formats(spec: ModelSpec, context: RunContext, record: RunRecord) -> FormatTrial:
    """Time training steps of a model in both formats, in turn. A collective call."""
    runtime, config = context.runtime, context.config
    size = record.data.image_size
    shape = (spec.in_channels, size, size)
    # A user's own network may draw where it is built, and ours where it is stepped.
    with torch.random.fork_rng(devices=[]):
        learners = {
            name: prepare_learner(
                build_model(spec, record.seed, context),
                spec,
                config=replace(config, channels_last=name == CHANNELS_LAST),
                peak=TRIAL_RATE,
                seed=record.seed,
                runtime=runtime,
                sizes_vary=True,
            )
            for name in FORMATS
        }
        num_images = _count_images(learners[CHANNELS_LAST], shape)
        seconds = _take_turns(learners, num_images, shape)
    return FormatTrial(
        channels_last=choose_channels_last(seconds),
        num_images=num_images * runtime.data_size,
        seconds={name: tuple(values) for name, values in seconds.items()},
    )


def _count_images(learner: Learner, shape: tuple[int, int, int]) -> int:
    """Return with how many images this rank takes its steps: its batch, if that isn't too long."""
    config = learner.config
    most = config.batch_size // learner.runtime.data_size
    num_images = min(most, FEW_IMAGES * config.accumulate)
    _time_step(learner, num_images, shape)  # what torch loads late is no step's
    while num_images < most:
        # The first step of a size makes its kernels ready, which may take ten times as long.
        seconds = min(_time_step(learner, num_images, shape) for _ in range(2))
        # Twice the images take up to twice as long.
        if 2 * seconds > LONGEST_STEP:
            break
        num_images = min(most, 2 * num_images)
    return num_images


def _take_turns(
    learners: Mapping[str, Learner], num_images: int, shape: tuple[int, int, int]
) -> dict[str, list[float]]:
    """Return the seconds of steps by format, round by round."""
    runtime = learners[CHANNELS_LAST].runtime
    seconds: dict[str, list[float]] = {name: [] for name in FORMATS}
    for learner in learners.values():
        _time_step(learner, num_images, shape)
    least, most = ROUNDS
    start = time.perf_counter()
    for number in range(most):
        if number >= least and runtime.broadcast(time.perf_counter() - start) > TRIAL_SECONDS:
            break
        runtime.check_signal()
        # Who goes first finds other caches than who goes second.
        for name in FORMATS if number % 2 == 0 else reversed(FORMATS):
            seconds[name].append(_time_step(learners[name], num_images, shape))
    return seconds


def _time_step(learner: Learner, num_images: int, shape: tuple[int, int, int]) -> float:
    """Return the seconds of a step on noise, those of the slowest rank."""
    runtime = learner.runtime
    batch = make_noise_batch(num_images, shape, config=learner.config, device=runtime.device)
    step = partial(learner.step, batch, step=0, rate=TRIAL_RATE)
    return max(runtime.gather(time_action(step, runtime)))

"""What a run will take, and what of it a slow machine can do: a few steps of each model tell."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.cell.budget import Budget, choose_budget
from bench.cell.open_run import Cell
from bench.cell.plan import estimate_seconds, rate_device
from bench.cell.record_writer import find_record, is_done
from bench.data.dataset import Dataset
from bench.data.subset import take_part
from bench.distributed.runtime import Runtime
from bench.request.config import RunConfig
from bench.results.verdict import DISTURBANCE
from bench.train.build import RunContext, build_model, prepare_learner
from bench.train.schedule import choose_optimizer
from bench.train.step import TRIAL_RATE, make_noise_batch, time_action
from zoo.fit import check_image_size
from zoo.registry import list_models
from zoo.spec import STEPS, ModelSpec

SHORT_SECONDS = 300  # of a run that nobody needs to be told of
LONG_SECONDS = 1800  # of a model's training: there a smaller form is named
FEW_IMAGES = 8  # a step of so many is timed first: one of a whole batch may take a minute
QUICK_STEP = 0.5  # seconds


def say_what_it_takes(cells: Sequence[Cell], context: RunContext) -> None:
    """Say how long training will take, where it is long, and what would be shorter.

    By the work of each model and a matrix product first; only where that is much are steps taken.
    """
    config, runtime = context.config, context.runtime
    if not (config.epochs and config.takes_steps) or config.cells_share_machine:
        return
    left = [cell for cell in cells if isinstance(cell.spec, ModelSpec)]
    left = [cell for cell in left if not _is_finished(cell, context)]
    specs = {cell.model: cell.spec for cell in left if isinstance(cell.spec, ModelSpec)}
    specs = {model: spec for model, spec in specs.items() if spec.learner == STEPS}
    left = [cell for cell in left if cell.model in specs]
    rate = runtime.broadcast(runtime.world_size * rate_device(runtime.device))
    guesses = {
        model: estimate_seconds(spec, config, context.data, rate) for model, spec in specs.items()
    }
    shares = {cell.key: _share_of_images(cell, context) for cell in left}
    if sum(guesses[key.model] * share for key, share in shares.items()) < SHORT_SECONDS:
        return
    # Another rank's failure would leave this one waiting: several ranks keep to the guess.
    alone = runtime.world_size == 1
    seconds = {
        model: _time_model(spec, context, guesses[model]) if alone else guesses[model]
        for model, spec in specs.items()
    }
    total = sum(seconds[key.model] * share for key, share in shares.items())
    if total < SHORT_SECONDS:
        return
    each = ", ".join(f"{model} {describe_time(each)}" for model, each in seconds.items())
    many = ""
    if config.folds or config.images_per_class:
        many = f" on all training images, in {len(left)} cells"
    elif len(config.seeds) > 1:
        many = f" with each of {len(config.seeds)} seeds"
    runtime.say(f"training will take about {describe_time(total)}: {each}{many}")
    for model, spec in specs.items():
        if seconds[model] >= LONG_SECONDS:
            for line in _name_smaller(spec, config, context.data.size):
                runtime.say(line)


def fit_budget(
    config: RunConfig, cells: list[Cell], data: Dataset, runtime: Runtime
) -> tuple[RunConfig, list[Cell]]:
    """Return the request and the cells as this machine can do them, where that is asked for.

    A run that was begun keeps what was found then (`launch/check.py`). Several ranks, and cells
    side by side, are left as they are: a rate by itself says little of them. So are those of a
    machine that others keep busy, which says nothing of how fast it is.
    """
    assert config.out is not None, "the request was completed"
    is_alone = runtime.world_size == 1 and not config.cells_share_machine
    if not (config.least_steps and is_alone) or (config.out / "config.json").exists():
        return config, cells
    # None of the run's own is there yet, nor is it asked for.
    context = RunContext(config, data, runtime, Path(), {})
    specs = {cell.model: cell.spec for cell in cells if isinstance(cell.spec, ModelSpec)}
    watch = runtime.watch()
    times = {model: time_image(spec, context) for model, spec in specs.items()}
    known = {model: seconds for model, seconds in times.items() if seconds is not None}
    if not known or watch.read_taken() > DISTURBANCE:
        return config, cells
    num_evaluated = len(data.validation_indices) + len(data.test.labels)
    budget = choose_budget(known, config, num_evaluated=num_evaluated)
    _say(budget, config, runtime)
    fitted = replace(
        config,
        models=tuple(model for model in config.models if model not in budget.left_out),
        seconds=budget.seconds,
        left_out=budget.left_out,
    )
    return fitted, [cell for cell in cells if cell.model not in budget.left_out]


def _say(budget: Budget, config: RunConfig, runtime: Runtime) -> None:
    """Say what becomes of a request on a slow machine, if anything does."""
    if not budget.left_out:
        return
    names = ", ".join(budget.left_out)
    runtime.say(
        f"this machine is slow: for {config.least_steps} steps and more each model is trained for "
        f"{budget.seconds:.0f} s, and left out for it: {names}; name them by --models to train all"
    )


def describe_time(seconds: float) -> str:
    """Return a time in words: `45 hours`, `12 minutes`, `20 seconds`."""
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _is_finished(cell: Cell, context: RunContext) -> bool:
    before = context.runtime.on_main(find_record, cell, context)
    return before is not None and is_done(before)


def _share_of_images(cell: Cell, context: RunContext) -> float:
    """Return how many training images a cell sees, as a share of those of the whole set."""
    subset = take_part(context.data, cell.key, context.config)
    return len(subset.train_indices) / len(context.data.train_indices)


def _time_model(spec: ModelSpec, context: RunContext, guess: float) -> float:
    """Return the seconds that training would take by a few steps on noise.

    Those by its work alone, `guess`, where it can't be built or trained: its cell will say why.
    """
    seconds = time_image(spec, context)
    if seconds is None:
        return guess
    return seconds * (context.config.epochs or 0) * len(context.data.train_indices)


def time_image(spec: ModelSpec, context: RunContext) -> float | None:
    """Return the seconds of training on an image, by a few steps; None where none can be taken."""
    # Compiling takes a minute, and is no part of a step.
    config = choose_optimizer(replace(context.config, compile=False), spec.defaults)
    runtime = context.runtime
    size = config.image_size or spec.image_size
    try:
        model = build_model(spec, config.seeds[0], context)
        learner = prepare_learner(
            model, spec, config=config, peak=TRIAL_RATE, seed=0, runtime=runtime, sizes_vary=True
        )
        seconds = 0.0
        for num_images in (FEW_IMAGES * config.accumulate, config.batch_size):
            shape = (spec.in_channels, size, size)
            batch = make_noise_batch(num_images, shape, config=config, device=runtime.device)
            step = partial(learner.step, batch, step=0, rate=TRIAL_RATE)
            first, second = time_action(step, runtime), time_action(step, runtime)
            seconds = min(first, second) / num_images
            if second > QUICK_STEP:
                break
    except Exception as error:
        runtime.note(f"{spec.name}: no step could be timed ({error})")
        return None
    return seconds


def _name_smaller(spec: ModelSpec, config: RunConfig, size: int) -> Iterator[str]:
    """Yield what would train faster, where a network is made for larger images than there are."""
    if config.image_size is not None or spec.image_size <= size:
        return
    advice = []
    small = f"{spec.name}_cifar"
    if list_models(small):
        advice.append(f"{small} is its form for 32 px")
    try:
        check_image_size(spec.name, size, in_channels=spec.in_channels)
    except ValueError:
        pass
    else:
        advice.append(f"--image-size {size} trains every model at the images' own size")
    if advice:
        yield (
            f"{spec.name} enlarges images of {size} px to its own {spec.image_size}: "
            f"{'; '.join(advice)}"
        )

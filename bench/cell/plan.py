"""What a request would do: its cells, and the minutes and memory that they are expected to take."""

import time
from collections.abc import Sequence

import torch

from bench.cell.open_run import Cell, list_specs
from bench.data.dataset import Dataset
from bench.data.subset import take_part
from bench.distributed.runtime import Runtime
from bench.request.config import RunConfig
from bench.results.step_memory import estimate_step_memory
from bench.train.method_choice import takes_steps
from bench.train.schedule import choose_optimizer
from zoo.cost import count_parameters, try_layer_costs
from zoo.registry import create_empty
from zoo.spec import ONCE, ModelSpec, total_multiply_adds

REACHED = 0.3  # of a matrix product's rate, by training steps of small networks here
PASSES = 3  # a training step is a forward pass and two of its size backward
PRODUCT_SIZE = 1024  # rows and columns of the matrices by which this machine is rated


def show_plan(cells: Sequence[Cell], config: RunConfig, data: Dataset, runtime: Runtime) -> int:
    """Print a line a cell and the sum; returns the exit code, 0.

    Runs nothing but a few matrix products, to see how fast this machine is.
    """
    rate = runtime.world_size * rate_device(runtime.device)
    total = 0.0
    begun: set[str] = set()
    for cell in cells:
        name = str(cell.key)
        if isinstance(cell.spec, str):
            runtime.say(f"{name}: can't be built: {cell.spec}")
            continue
        subset = take_part(data, cell.key, config)
        # The features of a model are computed once for all its cells.
        seconds = estimate_seconds(
            cell.spec, config, subset, rate, with_features=cell.model not in begun
        )
        begun.add(cell.model)
        memory = _estimate_memory(cell.spec, config, data, runtime)
        total += seconds
        runtime.say(
            f"{name}: about {seconds / 60:.1f} minutes of training, "
            f"{memory / 2**20:,.0f} MiB a process"
        )
    if runtime.tries_formats and any(
        takes_steps(spec, config) for spec in list_specs(cells).values()
    ):
        runtime.say(
            "memory format: each model's faster one, by a second or two of steps before it is "
            "trained; --channels-last or --no-channels-last settles it for all"
        )
    if config.least_steps is not None:
        runtime.say(
            f"least steps: where a model would take fewer than {config.least_steps}, all get more "
            "seconds and the slowest are left out"
        )
    measuring = 0.0
    if config.measure:
        measuring = config.launches * config.measure_seconds * len(config.models)
    runtime.say(
        f"{len(cells)} cells: about {total / 60:.1f} minutes of training "
        f"and {measuring / 60:.1f} of measuring; nothing was run"
    )
    return 0


def _estimate_memory(spec: ModelSpec, config: RunConfig, data: Dataset, runtime: Runtime) -> float:
    """Estimate the bytes of a step on one rank."""
    model = create_empty(spec.name, num_classes=len(data.class_names))
    image_size = config.image_size or spec.image_size
    layers = try_layer_costs(model, image_size=image_size, in_channels=spec.in_channels)
    held_at_once = config.batch_size / runtime.data_size / config.accumulate
    settled = choose_optimizer(config, spec.defaults)
    memory = estimate_step_memory(
        num_parameters=count_parameters(model),
        activation_bytes=held_at_once * sum(layer.activation_bytes for layer in layers),
        optimizer=settled.optimizer,
        momentum=settled.momentum,
    )
    return memory.total_bytes


def estimate_seconds(
    spec: ModelSpec,
    config: RunConfig,
    data: Dataset,
    rate: float,
    *,
    with_features: bool = True,
) -> float:
    """Estimate the seconds of a cell's training by the work of its steps, and of its features.

    `rate` is the multiply-adds a second that the world's matrix products reach.
    """
    model = create_empty(spec.name, num_classes=len(data.class_names))
    image_size = config.image_size or spec.image_size
    layers = try_layer_costs(model, image_size=image_size, in_channels=spec.in_channels)
    passes = 0
    # What is fitted once looks at the images, too.
    if (config.fits_head and with_features) or spec.learner == ONCE:
        passes += len(data.train.labels)
    if takes_steps(spec, config):
        passes += PASSES * (config.epochs or 0) * len(data.train_indices)
    seconds = passes * (total_multiply_adds(layers) or 0) / (REACHED * rate)
    if takes_steps(spec, config) and config.seconds is not None:
        seconds += config.seconds
    return seconds


def rate_device(device: torch.device) -> float:
    """Return the multiply-adds a second that a square matrix product reaches."""
    a = torch.rand(PRODUCT_SIZE, PRODUCT_SIZE, device=device)
    # To read a number of the product is to wait for it on a GPU. The first two wake threads up.
    for _ in range(2):
        float((a @ a)[0, 0])
    start = time.perf_counter()
    float((a @ a)[0, 0])
    return PRODUCT_SIZE**3 / (time.perf_counter() - start)

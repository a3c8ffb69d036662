"""What a request would do.

Its cells, with the minutes and the memory that they are expected to take.
"""

import time

import torch

from bench.cell.run_cell import Cell
from bench.data.dataset import Dataset
from bench.distributed.runtime import Runtime
from bench.request.config import RunConfig
from bench.results.step_memory import estimate_step_memory
from bench.train.schedule import choose_optimizer
from zoo.cost import count_parameters, layer_costs
from zoo.registry import create_model

REACHED = 0.3  # of a matrix product's rate, by training steps of small networks here
PASSES = 3  # a training step is a forward pass and two of its size backward


def show_plan(cells: list[Cell], config: RunConfig, data: Dataset, runtime: Runtime) -> int:
    """Print a line a cell and the sum.

    Runs nothing but one matrix product, to see how fast this machine is.
    """
    rate = runtime.world_size * _multiply_adds_per_second(runtime.device)
    total = 0.0
    for cell in cells:
        if isinstance(cell.spec, str):
            runtime.say(f"{cell.model}, seed {cell.seed}: can't be built: {cell.spec}")
            continue
        with torch.device("meta"):
            model = create_model(cell.model, num_classes=len(data.class_names))
        size = config.image_size or cell.spec.image_size
        layers = layer_costs(model, image_size=size, in_channels=cell.spec.in_channels)
        images = (config.epochs or 0) * len(data.train_indices)
        seconds = config.seconds or PASSES * images * sum(
            layer.multiply_adds for layer in layers
        ) / (REACHED * rate)
        num_images = config.batch_size / runtime.data_size / config.accumulate
        settled = choose_optimizer(config, cell.spec.defaults)
        memory = estimate_step_memory(
            num_parameters=count_parameters(model),
            activation_bytes=num_images * sum(layer.activation_bytes for layer in layers),
            optimizer=settled.optimizer,
            momentum=settled.momentum,
        )
        total += seconds
        runtime.say(
            f"{cell.model}, seed {cell.seed}: about {seconds / 60:.1f} minutes of training, "
            f"{memory.total_bytes / 2**20:,.0f} MiB a process"
        )
    measuring = (
        config.launches * config.measure_seconds * len(config.models) if config.measure else 0.0
    )
    runtime.say(
        f"{len(cells)} cells: about {total / 60:.1f} minutes of training and {measuring / 60:.1f} of measuring; "
        "nothing was run"
    )
    return 0


def _multiply_adds_per_second(device: torch.device, size: int = 1024) -> float:
    """The rate of a square matrix product."""
    a = torch.rand(size, size, device=device)
    for _ in range(2):
        float((a @ a)[0, 0])
    start = time.perf_counter()
    float((a @ a)[0, 0])
    return size**3 / (time.perf_counter() - start)

"""The weights that a run starts from: a file, another run, or those that a library publishes."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.request.config import HUB, NONE, RunConfig
from bench.results.weights_file import find_weights
from zoo import weights
from zoo.external import fetch_trained_state
from zoo.registry import create_model


class StartingWeights(NamedTuple):
    """Where a model's first weights are from, and which stay new since the classes differ."""

    origin: str
    new: tuple[str, ...]


def read_weights(given: str, model: str, seed: int) -> dict[str, Tensor]:
    """Read the weights that a model starts from.

    `given` is what `--pretrained` says. ValueError, one line, where they can't be had.
    """
    if given == HUB:
        return fetch_trained_state(model)
    return weights.read(find_weights(Path(given), model, seed))


def check_pretrained(config: RunConfig, num_classes: int) -> None:
    """Check that the weights fit their models before anything starts.

    ValueError names model, parameter and shapes.
    """
    if config.pretrained == NONE:
        return
    # A library publishes one set of weights a model; files may differ by seed.
    seeds = config.seeds[:1] if config.pretrained == HUB else config.seeds
    for model in config.models:
        with torch.device("meta"):
            built = create_model(model, num_classes=num_classes)
        for seed in seeds:
            try:
                state = read_weights(config.pretrained, model, seed)
                weights.fit_state(built, state, num_classes=num_classes)
            except ValueError as error:
                raise ValueError(f"--pretrained: {model}: {error}") from error


def load_starting_weights(
    model: nn.Module, state: dict[str, Tensor], *, given: str, num_classes: int
) -> StartingWeights:
    """Load a state into a model, and return what the model starts from."""
    new = weights.load_pretrained(model, state, num_classes=num_classes)
    origin = "published" if given == HUB else Path(given).name
    return StartingWeights(origin, tuple(new))

"""Weights that a run starts from: published ones, a file, or a folder of files; what of them fits, and what is new."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.request.config import RunConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

from bench.request.config import HUB, NONE
from bench.results.storage import weights_file

LIBRARIES = ("tv:", "timm:")


class Start(NamedTuple):
    """Where a model's first weights are from, and the parameters that are new since the classes differ."""

    origin: str
    fresh: tuple[str, ...]


def check_pretrained(config: RunConfig) -> None:
    """Check that there can be weights for every model. No torch; ValueError says for which there are none."""
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
        raise ValueError(f"--pretrained {given}: one file for {len(config.models)} models; name one model, or a folder")
    for model in config.models:
        for seed in config.seeds:
            weights_file(Path(given), model, seed)


def read_weights(given: str, model: str, seed: int) -> "dict[str, Tensor]":
    """Read the weights that a model starts from. ValueError, one line, where they can't be had."""
    if given != HUB:
        from zoo import weights

        return weights.read(weights_file(Path(given), model, seed))
    from zoo.external import trained_state

    return trained_state(model)


def check_fit(config: RunConfig, num_classes: int) -> None:
    """Check that the weights fit their models before anything starts. ValueError names model, parameter and shapes."""
    import torch

    from zoo import weights
    from zoo.registry import create_model

    for model in config.models if config.pretrained != NONE else ():
        with torch.device("meta"):
            built = create_model(model, num_classes=num_classes)
        for seed in config.seeds if config.pretrained != HUB else config.seeds[:1]:
            try:
                weights.fitted(built, read_weights(config.pretrained, model, seed), num_classes=num_classes)
            except ValueError as error:
                raise ValueError(f"--pretrained: {model}: {error}") from error


def start_from(model: "nn.Module", state: "dict[str, Tensor]", *, given: str, num_classes: int) -> Start:
    """Load a state into a model, and say what it starts from."""
    from zoo import weights

    fresh = weights.load_pretrained(model, state, num_classes=num_classes)
    return Start("published" if given == HUB else Path(given).name, tuple(fresh))

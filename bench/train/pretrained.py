"""The weights that a run starts from: a file, another run, or those that a library publishes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.data.cache import user_cache
from bench.request.config import HUB, NONE, RunConfig
from bench.results.record import RunRecord
from bench.results.storage import read
from bench.results.weights_file import find_weights
from bench.train.feature import find_classifier
from zoo import saved_weights, weights
from zoo.cause import UserCodeError
from zoo.external import fetch_trained_state
from zoo.registry import create_empty, resolve
from zoo.spec import ModelSpec


@dataclass(frozen=True)
class GivenWeights:
    """A state that a model may start from, its rows in the order of the run's classes.

    `new` are the parameters of other classes, which don't count; `metadata` is what the file says
    beside its tensors.
    """

    state: dict[str, Tensor]
    origin: str
    new: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)


class StartingWeights(NamedTuple):
    """Where a model's first weights are from, and which stay new since the classes differ."""

    origin: str
    new: tuple[str, ...]


def read_weights(given: str, model: str, seed: int, class_names: Sequence[str]) -> GivenWeights:
    """Read the weights that a model starts from.

    `given` is what `--pretrained` says. ValueError, one line, where they can't be had, or were
    trained for the same classes in an order that they can't be brought into.
    """
    if given == HUB:
        _check_library_cache(model)
        return GivenWeights(fetch_trained_state(model), "published")
    path = find_weights(Path(given), model, seed)
    saved = saved_weights.read(path)
    record = path.with_name("record.json")
    of_a_run = path.name == "model.safetensors" and record.is_file()
    origin = Path(given).name if of_a_run else path.name
    if saved.is_averaged:
        origin = f"{origin} (averaged, {saved.entry})"
    found = GivenWeights(saved.state, origin, metadata=saved.metadata)
    if not of_a_run:
        return found
    return _match_classes(found, model, read(record, RunRecord).data.class_names, class_names)


def _check_library_cache(model: str) -> None:
    """Refuse to fetch for a user without a home, who says nowhere where the library may keep it.

    torch would make a folder that is called `~` where the run was started.
    """
    if not os.environ.get("TORCH_HOME" if model.startswith("tv:") else "HF_HOME"):
        user_cache()


def _match_classes(
    found: GivenWeights, model: str, theirs: Sequence[str], ours: Sequence[str]
) -> GivenWeights:
    """Put the rows of a run's weights into the order of our classes, by their names.

    Where they are other classes, the rows stay new. Numbers, which stand for names that nobody
    gave, say nothing.
    """
    if tuple(theirs) == tuple(ours) or len(theirs) != len(ours):
        return found
    if _are_numbers(theirs) or _are_numbers(ours):
        return found
    rows = _list_class_rows(model, len(ours))
    if set(theirs) != set(ours):
        return replace(found, new=rows)
    order = [list(theirs).index(name) for name in ours]
    moved = {name: found.state[name][order] for name in rows if name in found.state}
    return replace(found, state=found.state | moved)


def _are_numbers(names: Sequence[str]) -> bool:
    return list(names) == [str(number) for number in range(len(names))]


def _list_class_rows(model: str, num_classes: int) -> tuple[str, ...]:
    """Name the tensors of a model's state that have a row a class.

    ValueError for a model whose classes lie elsewhere too.
    """
    built = create_empty(model, num_classes=num_classes)
    larger = create_empty(model, num_classes=num_classes + 1)
    own, more = built.state_dict(), larger.state_dict()
    shapes = {name: (own[name].shape, more[name].shape) for name in own if name in more}
    rows = [name for name, (shape, wider) in shapes.items() if shape != wider]
    for name in rows:
        shape, wider = shapes[name]
        if wider != (num_classes + 1, *shape[1:]):
            raise ValueError(
                f"the weights' classes stand in another order, and {name} can't be reordered"
            )
    return tuple(rows)


def check_pretrained(config: RunConfig, class_names: Sequence[str]) -> None:
    """Check that the weights fit their models before anything starts.

    ValueError names model, parameter and shapes.
    """
    if config.pretrained == NONE:
        return
    # A library publishes one set of weights a model; files may differ by seed.
    seeds = config.seeds[:1] if config.pretrained == HUB else config.seeds
    num_classes = len(class_names)
    for model in config.models:
        try:
            built = create_empty(model, num_classes=num_classes)
        except UserCodeError:
            continue  # it is a row of the run already
        for seed in seeds:
            try:
                found = read_weights(config.pretrained, model, seed, class_names)
                weights.fit_state(built, found.state, num_classes=num_classes, new=found.new)
            except ValueError as error:
                raise ValueError(f"--pretrained: {model}: {error}") from error
        if config.fits_head:
            _check_last_layer(built, resolve(model, num_classes=num_classes), config)


def _check_last_layer(empty: nn.Module, spec: ModelSpec, config: RunConfig) -> None:
    """Refuse a model whose scores no linear layer makes; `empty` has no numbers."""
    # A user's own code may not run without numbers: it fails in its row.
    if spec.source == "file":
        return
    size = config.image_size or spec.image_size
    images = torch.empty(1, spec.in_channels, size, size, device="meta")
    try:
        find_classifier(empty, images)
    except ValueError as error:
        raise ValueError(f"--train {config.train}: {spec.name}: {error}") from error


def load_starting_weights(
    model: nn.Module, found: GivenWeights, *, num_classes: int
) -> StartingWeights:
    """Load weights into a model, and return what the model starts from."""
    new = weights.load_pretrained(model, found.state, num_classes=num_classes, new=found.new)
    weights.follow_metadata(model, found.metadata)
    return StartingWeights(found.origin, tuple(new))

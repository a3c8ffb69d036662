"""Load weights whole or not at all: from a state, from a file, or as their library trained them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

State = Mapping[str, Tensor]


@runtime_checkable
class Scaling(Protocol):
    """A network of torchvision that may scale its images itself."""

    transform_input: bool


@runtime_checkable
class Adopting(Protocol):
    """A network that comes in several forms and turns another's weights into its own."""

    def adopt(self, state: State) -> State: ...


def load(model: nn.Module, state: State) -> None:
    """Load a state into a model.

    ValueError, before anything is changed, names the first parameter that doesn't fit.
    """
    check(model, state)
    model.load_state_dict(state)


def check(model: nn.Module, state: State) -> None:
    """Raise ValueError naming the first parameter of a state that is missing, of another shape, or unknown here."""
    own = model.state_dict()
    kind = type(model).__name__
    for name, tensor in own.items():
        if name not in state:
            raise ValueError(f"the weights lack {name}, which {kind} has")
        if state[name].shape != tensor.shape:
            shapes = (
                f"{tuple(state[name].shape)} in the weights and {tuple(tensor.shape)} in the model"
            )
            raise ValueError(f"{name} is {shapes}")
    for name in state:
        if name not in own:
            raise ValueError(f"{kind} has no {name}, which the weights have")


def load_pretrained(model: nn.Module, state: State, *, num_classes: int) -> list[str]:
    """Load weights that may have been trained for other classes; return the names that stay fresh for that reason.

    ValueError as `fitted`, before anything is changed.
    """
    own = model.state_dict()
    state, fresh = fitted(model, state, num_classes=num_classes)
    if isinstance(model, Scaling) and _auxiliary(state):
        model.transform_input = (
            True  # torchvision's published networks read images scaled to -1 ... 1
        )
    model.load_state_dict({name: own[name] if name in fresh else state[name] for name in own})
    return fresh


def fitted(model: nn.Module, state: State, *, num_classes: int) -> tuple[State, list[str]]:
    """Fit published weights to a model: names as they are here, and the names that stay fresh for other classes.

    Only parameters of `num_classes` rows may differ, in their rows. ValueError names the first
    other one that does.
    """
    own = model.state_dict()
    if isinstance(model, Adopting):
        state = model.adopt(state)
    state = {_undotted(name) if name not in own else name: tensor for name, tensor in state.items()}
    counters = {
        name: tensor for name, tensor in own.items() if name.endswith("num_batches_tracked")
    }
    state = counters | state  # files from before batch norms counted
    fresh = [
        name
        for name, tensor in own.items()
        if name in state
        and len(tensor.shape) > 0
        and len(tensor) == num_classes != len(state[name])
        and tensor.shape[1:] == state[name].shape[1:]
    ]
    heads = set(_auxiliary(state)) if getattr(model, "aux_logits", None) is False else set()
    check(
        model,
        {name: own[name] if name in fresh else t for name, t in state.items() if name not in heads},
    )
    return state, fresh


def _undotted(name: str) -> str:
    """A name of torchvision's DenseNet as it is written today.

    `norm.1.weight` is `norm1.weight`.
    """
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)", r"\1", name)


def _auxiliary(state: State) -> list[str]:
    """The parameters of auxiliary classifiers, which GoogLeNet and Inception v3 need in training alone."""
    return [name for name in state if name.startswith(("aux1.", "aux2.", "AuxLogits."))]


def _unwrapped(state: object) -> object:
    """The dictionary of tensors in what training scripts save around it, its names without DDP's `module.`."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if isinstance(state, Mapping) and all(str(name).startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def read(path: Path) -> dict[str, Tensor]:
    """Read a state from a safetensors file or one that torch saved.

    ValueError says in one line what is wrong.
    """
    if not path.is_file():
        raise ValueError(f"no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = _unwrapped(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # whatever a damaged file makes its reader say
        cause = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} holds no weights that can be read: {cause}") from error
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(tensor, Tensor) for tensor in state.values())
    ):
        raise ValueError(f"{path} holds no dictionary of tensors")
    return state

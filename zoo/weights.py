"""Load weights whole or not at all: from a state, from a file, or as their library trained them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

State = Mapping[str, Tensor]


def load(model: nn.Module, state: State) -> None:
    """Load a state into a model. ValueError, before anything is changed, names the first parameter that doesn't fit."""
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
            shapes = f"{tuple(state[name].shape)} in the weights and {tuple(tensor.shape)} in the model"
            raise ValueError(f"{name} is {shapes}")
    for name in state:
        if name not in own:
            raise ValueError(f"{kind} has no {name}, which the weights have")


def load_pretrained(model: nn.Module, state: State, *, num_classes: int) -> list[str]:
    """Load weights that may have been trained for other classes; return the names that stay fresh for that reason.

    Only parameters of `num_classes` rows may differ, in their rows. ValueError as `load`.
    """
    own = model.state_dict()
    fresh = [
        name
        for name, tensor in own.items()
        if name in state and len(tensor.shape) > 0 and len(tensor) == num_classes != len(state[name])
        and tensor.shape[1:] == state[name].shape[1:]
    ]  # fmt: skip
    load(model, {**state, **{name: own[name] for name in fresh}})
    return fresh


def read(path: Path) -> dict[str, Tensor]:
    """Read a state from a safetensors file or one that torch saved. ValueError says in one line what is wrong."""
    if not path.is_file():
        raise ValueError(f"no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes its reader say
        raise ValueError(f"{path} holds no weights that can be read: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{path} holds no dictionary of tensors")
    return state

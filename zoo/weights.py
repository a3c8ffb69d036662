"""Load weights whole or not at all."""

from collections.abc import Mapping

from torch import Tensor, nn


def load(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state into a model. ValueError, before anything is changed, names the first parameter that doesn't fit."""
    check(model, state)
    model.load_state_dict(state)


def check(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raise ValueError naming the first parameter of a state that is missing, of another shape, or unknown here."""
    own = model.state_dict()
    for name, tensor in own.items():
        if name not in state:
            raise ValueError(f"the weights lack {name}, which {type(model).__name__} has")
        if state[name].shape != tensor.shape:
            raise ValueError(
                f"{name} is {tuple(state[name].shape)} in the weights and {tuple(tensor.shape)} in the model"
            )
    for name in state:
        if name not in own:
            raise ValueError(f"{type(model).__name__} has no {name}, which the weights have")

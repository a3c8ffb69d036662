"""Load weights whole or not at all: from a state, from a file, or as their library trained them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.cause import first_line

State = Mapping[str, Tensor]

# What training scripts save a state under, beside their optimiser's.
WRAPPERS = ("state_dict", "model_state_dict", "model")
# The auxiliary classifiers of GoogLeNet and Inception v3, which they need in training alone.
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


@runtime_checkable
class ScalesImages(Protocol):
    """A network of torchvision that may scale its images itself."""

    transform_input: bool


@runtime_checkable
class AdoptsWeights(Protocol):
    """A network that comes in several forms and turns another's weights into its own."""

    def adopt(self, state: State) -> State: ...


def load(model: nn.Module, state: State) -> None:
    """Load a state into a model.

    Raise ValueError as `check`, before anything is changed.
    """
    check(model, state)
    model.load_state_dict(state)


def check(model: nn.Module, state: State) -> None:
    """Raise ValueError unless a state has exactly the model's parameters and buffers.

    It names the first one that is missing, of another shape, or unknown here.
    """
    own = model.state_dict()
    kind = type(model).__name__
    for name, tensor in own.items():
        if name not in state:
            raise ValueError(f"the weights lack {name}, which {kind} has")
        given, wanted = tuple(state[name].shape), tuple(tensor.shape)
        if given != wanted:
            raise ValueError(f"{name} is {given} in the weights and {wanted} in the model")
    for name in state:
        if name not in own:
            raise ValueError(f"{kind} has no {name}, which the weights have")


def load_pretrained(model: nn.Module, state: State, *, num_classes: int) -> list[str]:
    """Load weights that may have been trained for other classes.

    Return the names that stay fresh for that reason. Raise ValueError as `fit_state`, before
    anything is changed.
    """
    own = model.state_dict()
    state, fresh = fit_state(model, state, num_classes=num_classes)
    if isinstance(model, ScalesImages) and any(name.startswith(AUXILIARY) for name in state):
        # torchvision's published networks of this kind read images scaled to -1 ... 1.
        model.transform_input = True
    # Every name of the model and no other, so that the loading is strict.
    loaded = {name: state[name] for name in own}
    for name in fresh:
        loaded[name] = own[name]
    model.load_state_dict(loaded)
    return fresh


def fit_state(model: nn.Module, state: State, *, num_classes: int) -> tuple[State, list[str]]:
    """Fit published weights to a model.

    Return them under the names that they have here, and the names that stay fresh since the classes
    differ: only parameters of `num_classes` rows may, in their rows. Raise ValueError naming the
    first other one that does.
    """
    own = model.state_dict()
    if isinstance(model, AdoptsWeights):
        state = model.adopt(state)
    # Files from before batch normalisation counted its batches lack the counters.
    fitted = {name: t for name, t in own.items() if name.endswith("num_batches_tracked")}
    for name, tensor in state.items():
        known = name if name in own else _modernise(name)
        fitted[known] = tensor
    fresh = []
    for name, tensor in own.items():
        if name in fitted and _differs_in_classes(tensor, fitted[name], num_classes):
            fresh.append(name)
    has_no_heads = getattr(model, "aux_logits", None) is False
    checked = {}
    for name, tensor in fitted.items():
        if has_no_heads and name.startswith(AUXILIARY):
            continue
        checked[name] = own[name] if name in fresh else tensor
    check(model, checked)
    return fitted, fresh


def _differs_in_classes(own: Tensor, given: Tensor, num_classes: int) -> bool:
    """Return whether a parameter has a row a class here, and another number of like rows there."""
    if own.dim() == 0 or len(own) != num_classes or own.shape[1:] != given.shape[1:]:
        return False
    return len(given) != num_classes


def _modernise(name: str) -> str:
    """Write a name of torchvision's DenseNet as it is written today.

    `norm.1.weight` is `norm1.weight`.
    """
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)", r"\1", name)


def read(path: Path) -> dict[str, Tensor]:
    """Read a state from a safetensors file or one that torch saved.

    What training scripts save around it is taken off, DDP's `module.` too. Nothing but tensors and
    plain containers is ever unpickled. Raise ValueError that says in one line what is wrong.
    """
    # Not timm.models.load_state_dict: it takes averaged weights (`state_dict_ema`) in silence where
    # there are any, knows no `model_state_dict`, lets a pickled Namespace in, and takes seconds to
    # import.
    if not path.is_file():
        raise ValueError(f"no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A damaged file makes its reader raise nearly anything.
        cause = first_line(error)
        raise ValueError(f"{path} holds no weights that can be read: {cause}") from error
    state = _unwrap(saved)
    # A list, say, or numbers beside the tensors.
    if not isinstance(state, dict) or not state:
        raise ValueError(f"{path} holds no dictionary of tensors")
    if not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{path} holds no dictionary of tensors")
    return state


def _unwrap(saved: object) -> object:
    """Return the state in what a training script saved, its names without DDP's `module.`."""
    for key in WRAPPERS:
        if isinstance(saved, Mapping) and isinstance(saved.get(key), Mapping):
            saved = saved[key]
    if isinstance(saved, Mapping) and all(str(name).startswith("module.") for name in saved):
        return {name.removeprefix("module."): tensor for name, tensor in saved.items()}
    return saved

"""All that a network's forward passes may change, so that a resume goes on with the same bits.

Beside weights and buffers these are buffers that a module keeps out of its state, tensors that are
plain attributes, and numbers of a user's own modules, such as a count of calls.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

NUMBER = "number:"  # stands before the name of an attribute that is a plain number
DTYPES: dict[type, torch.dtype] = {bool: torch.bool, int: torch.int64, float: torch.float64}
# Numbers of these packages' modules describe a layer and don't change.
LIBRARIES = ("torch", "torchvision", "timm", "zoo")
OWN_TO_TORCH = frozenset(vars(nn.Module()))
DEPTH = 3  # how far into lists and objects tensors are looked for


def full_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's weights, all its buffers, and its plain tensors and numbers, by name."""
    found = dict(model.named_buffers())
    registered = _list_registered(model)
    for name, value, module in _list_attributes(model):
        if isinstance(value, Tensor) and id(value) not in registered:
            found[name] = value.detach()
        elif type(value) in DTYPES and _is_users(module) and _fits(value):
            found[NUMBER + name] = torch.tensor(value, dtype=DTYPES[type(value)])
    return {**found, **model.state_dict()}


def load_full_state(model: nn.Module, full: dict[str, Tensor]) -> None:
    """Put back what `full_state` returned."""
    own_state = model.state_dict().keys()
    model.load_state_dict({name: full[name] for name in own_state})
    buffers = dict(model.named_buffers())
    for name, value in full.items():
        if name in own_state:
            continue
        if name in buffers:
            buffers[name].copy_(value)
            continue
        place, _, attribute = name.removeprefix(NUMBER).rpartition(".")
        module = model.get_submodule(place)
        if name.startswith(NUMBER):
            setattr(module, attribute, value.item())
            continue
        before = getattr(module, attribute, None)
        like = before if isinstance(before, Tensor) else next(model.parameters(), value)
        setattr(module, attribute, value.to(like.device))


def list_unkept(model: nn.Module) -> list[str]:
    """Name the attributes in whose lists or objects there are tensors that `full_state` lacks."""
    registered = _list_registered(model)
    return [
        f"{name} ({type(value).__name__})"
        for name, value, _ in _list_attributes(model)
        if not isinstance(value, Tensor) and _holds_tensor(value, registered, DEPTH)
    ]


def _list_registered(model: nn.Module) -> set[int]:
    """Return which tensors are parameters or buffers, whatever else they are called."""
    return {id(tensor) for tensor in (*model.parameters(), *model.buffers())}


def _list_attributes(model: nn.Module) -> Iterator[tuple[str, Any, nn.Module]]:
    for place, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute not in OWN_TO_TORCH:
                yield f"{place}.{attribute}" if place else attribute, value, module


def _is_users(module: nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] not in LIBRARIES


def _fits(value: float) -> bool:
    return not isinstance(value, int) or value.bit_length() < 64


def _holds_tensor(value: Any, registered: set[int], depth: int) -> bool:
    if isinstance(value, Tensor):
        return id(value) not in registered
    if depth == 0 or isinstance(value, nn.Module | str | bytes | type):
        return False
    inside: list[Any] = list(getattr(value, "__dict__", {}).values())
    if isinstance(value, dict):
        inside += value.values()
    elif isinstance(value, list | tuple | set | frozenset | deque):
        inside += value
    return any(_holds_tensor(one, registered, depth - 1) for one in inside)

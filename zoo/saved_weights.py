"""Files of weights read as their writers meant them: the state inside what a script has saved."""

import argparse
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from zoo.cause import first_line

# What scripts save a state under. Where a script keeps an average of the weights beside those of
# the last step, it evaluates and publishes the average: timm, torchvision's references, YOLO.
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "params_ema", "ema")
LATEST = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "params",
    "module",
    "weights",
)
# What torch puts into names: `torch.compile`, FSDP, activation checkpointing.
INSERTED = re.compile(r"_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.")
PARALLEL = "module."  # DDP, DataParallel and torch's AveragedModel
AVERAGE_COUNTER = "n_averaged"  # of torch's AveragedModel
MOST_NAMED = 8  # of what a file holds instead

# What training scripts pickle beside a state and torch doesn't know. Making one runs no code.
HARMLESS: list[Any] = [
    argparse.Namespace,
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    np.float64(0).__reduce__()[0],
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")),
]


class SavedWeights(NamedTuple):
    """A state, under which name its file had it ("" for none), and what the file says beside it."""

    state: dict[str, Tensor]
    entry: str
    metadata: dict[str, str]

    @property
    def is_averaged(self) -> bool:
        """Return whether these are an average of the weights of many steps."""
        return self.entry.partition(".")[0] in AVERAGED


def read(path: Path) -> SavedWeights:
    """Read a state from a safetensors file or one that torch saved.

    What training scripts save around it is taken off, and what torch puts into its names. Nothing
    but tensors and plain values is ever unpickled. ValueError says in one line what is wrong.
    """
    # Not timm.models.load_state_dict: it doesn't say which of several states it took, knows no
    # `net`, unpickles whatever a file asks for, and takes seconds to import.
    if not path.is_file():
        raise ValueError(f"no weights at {path}")
    metadata: dict[str, str] = {}
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                saved: object = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        else:
            with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TorchScript's, before it is refused
                saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A damaged file makes its reader raise nearly anything.
        raise ValueError(f"{path} holds no weights that can be read: {_explain(error)}") from error
    found = next(_find_states(saved), None)
    if found is None:
        raise ValueError(
            f"{path} holds no dictionary of tensors: found {_describe(saved)}; looked for one that "
            f"stands alone or under {', '.join(AVERAGED + LATEST)}"
        )
    entry, state = found
    for name in state:
        if not isinstance(name, str):
            raise ValueError(f"{path}: a tensor is named {name!r}, which is no text")
    return SavedWeights(_unwrap_names(state), entry, metadata)


def _find_states(saved: object, entry: str = "") -> Iterator[tuple[str, Mapping[Any, Tensor]]]:
    """Yield the states in what a script saved, the one that it would publish first."""
    if not isinstance(saved, Mapping) or not saved:
        return
    if all(isinstance(value, Tensor) for value in saved.values()):
        yield entry, saved
        return
    for key in (*AVERAGED, *LATEST):
        yield from _find_states(saved.get(key), f"{entry}.{key}" if entry else key)


def _unwrap_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state under the names that its network has outside of torch's wrappers."""
    plain = {INSERTED.sub("", name): tensor for name, tensor in state.items()}
    while True:
        inside = {name: tensor for name, tensor in plain.items() if name != AVERAGE_COUNTER}
        if not inside or not all(name.startswith(PARALLEL) for name in inside):
            return plain
        plain = {name.removeprefix(PARALLEL): tensor for name, tensor in inside.items()}


def _explain(error: Exception) -> str:
    """Say in one line why a file can't be read, where torch's own first line doesn't."""
    way_out = "where you trust it, save its weights alone by torch.save(model.state_dict(), FILE)"
    if "TorchScript" in str(error):
        return f"it is a TorchScript program; {way_out}"
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused is not None:
        return f"it holds a pickled {refused[1]}, which could run code; {way_out}"
    if "weights_only" in str(error):
        # torch's line advises to unpickle it all.
        return "it is neither of torch.save nor of safetensors, or damaged"
    return first_line(error)


def _describe(saved: object) -> str:
    if not isinstance(saved, Mapping):
        return f"a {type(saved).__name__}"
    if not saved:
        return "an empty dictionary"
    for key in (*AVERAGED, *LATEST):
        if isinstance(saved.get(key), Mapping):
            return f"under {key} {_describe(saved[key])}"
    entries = [f"{name} ({type(value).__name__})" for name, value in saved.items()]
    more = f" and {len(entries) - MOST_NAMED} more" if len(entries) > MOST_NAMED else ""
    return ", ".join(entries[:MOST_NAMED]) + more

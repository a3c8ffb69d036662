"""Load weights whole or not at all: of this network, of other classes, or of another wrapper."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from zoo.saved_weights import INSERTED
from zoo.suggest import nearest

State = Mapping[str, Tensor]

TRANSFORM = "transform_input"  # in a file's metadata: torchvision's name for scaling its images
COUNTER = "num_batches_tracked"  # files from before batch normalisation counted its batches lack it
# The auxiliary classifiers of GoogLeNet and Inception v3, which they need in training alone.
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


@runtime_checkable
class ScalesImages(Protocol):
    """A network of torchvision that may scale its images itself."""

    transform_input: bool


class Fitted(NamedTuple):
    """A model's whole state, and which of it isn't the file's since the classes differ.

    `scales_images`: torchvision's published networks with auxiliary heads read images scaled to
    -1 ... 1.
    """

    state: State
    fresh: list[str]
    scales_images: bool


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


def check(model: nn.Module, state: State, *, kept: Collection[str] = ()) -> None:
    """Raise ValueError unless a state has exactly the model's parameters and buffers.

    It names the first one that is missing, of another shape or kind, or unknown here, and says how
    many fit. Those of `kept` stay the model's own, whatever the state has.
    """
    own = model.state_dict()
    kind = type(model).__name__
    for name, tensor in own.items():
        if name in kept:
            continue
        if name not in state:
            near = nearest(name, state.keys() - own.keys())
            like = f"the nearest that they have is {near[0]}" if near else "they have none like it"
            fault = f"the weights lack {name}, which {kind} has"
            raise ValueError(f"{fault}; {like} {_rate(own, state)}")
        given, wanted = tuple(state[name].shape), tuple(tensor.shape)
        if given != wanted:
            fault = f"{name} is {given} in the weights and {wanted} in the model"
            raise ValueError(f"{fault} {_rate(own, state)}")
        fault = _find_fault(state[name], tensor)
        if fault:
            raise ValueError(f"{name} in the weights {fault}")
    for name in state:
        if name not in own:
            raise ValueError(f"{kind} has no {name}, which the weights have {_rate(own, state)}")


def _rate(own: State, state: State) -> str:
    """Say how many tensors of a model and of a state fit each other, in name and shape."""
    fitting = [name for name in own if name in state and state[name].shape == own[name].shape]
    others = len(state) - len(fitting)
    extra = f", and {others} of the weights' don't" if others else ""
    return f"({len(fitting)} of {len(own)} tensors fit{extra})"


def _find_fault(given: Tensor, wanted: Tensor) -> str:
    """Return why a tensor can't be a model's, whatever its shape; empty where it can."""
    if given.is_meta:
        return "has no values (device meta)"
    if given.is_quantized:
        return f"is quantised ({given.dtype}); dequantise it"
    if given.layout is not torch.strided:
        return f"is not dense ({given.layout}); save it by to_dense()"
    if _kind_of(given) != _kind_of(wanted):
        return f"is {given.dtype}, and {wanted.dtype} in the model"
    # Of one byte only half the values of a weight are left, and their scales aren't in the tensor.
    if given.is_floating_point() and given.itemsize < 2:
        return f"is {given.dtype}, without the scales that it was divided by"
    if given.is_floating_point() and not given.isfinite().all():
        num_bad = int((~given.isfinite()).sum())
        return f"has {num_bad} values of {given.numel()} that are NaN or infinite"
    return ""


def _kind_of(tensor: Tensor) -> str:
    """Return what a tensor's values are: torch converts between any two without a word."""
    if tensor.dtype is torch.bool:
        return "truth values"
    if tensor.is_complex():
        return "complex numbers"
    return "real numbers" if tensor.is_floating_point() else "integers"


def describe_input(model: nn.Module) -> dict[str, str]:
    """Return what a network does to its images, for the metadata of the file of its weights."""
    if not isinstance(model, ScalesImages):
        return {}
    return {TRANSFORM: str(bool(model.transform_input)).lower()}


def follow_metadata(model: nn.Module, metadata: Mapping[str, str]) -> None:
    """Let a network do to its images what `describe_input` says of that of the weights."""
    if isinstance(model, ScalesImages) and TRANSFORM in metadata:
        model.transform_input = metadata[TRANSFORM] == "true"


def load_pretrained(
    model: nn.Module, state: State, *, num_classes: int, new: Collection[str] = ()
) -> list[str]:
    """Load weights that may have been trained for other classes.

    Return the names that stay fresh for that reason. Raise ValueError as `fit_state`, before
    anything is changed.
    """
    fitted = fit_state(model, state, num_classes=num_classes, new=new)
    if isinstance(model, ScalesImages) and fitted.scales_images:
        model.transform_input = True
    model.load_state_dict(fitted.state)
    return fitted.fresh


def fit_state(
    model: nn.Module, state: State, *, num_classes: int, new: Collection[str] = ()
) -> Fitted:
    """Fit published weights to a model, under the names that they have here.

    Those of `new` stay fresh, and parameters of `num_classes` rows that differ in their rows. Raise
    ValueError naming the first other one that doesn't fit.
    """
    own = model.state_dict()
    if isinstance(model, AdoptsWeights):
        state = model.adopt(state)
    prefix = find_prefix(own, state)
    # A user's own network may have in its names what torch inserts, and files lack.
    own_names = {INSERTED.sub("", name): name for name in own}
    has_no_heads = getattr(model, "aux_logits", None) is False
    fitted = {}
    heads = {}
    for name, tensor in state.items():
        if not name.startswith(prefix):
            continue
        given = name.removeprefix(prefix)
        known = own_names.get(given) or own_names.get(_modernise(given)) or given
        if has_no_heads and known.startswith(AUXILIARY):
            heads[known] = tensor
        else:
            fitted[known] = tensor
    fresh = []
    for name, tensor in own.items():
        differs = name in fitted and _differs_in_classes(tensor, fitted[name], num_classes)
        if differs or name in new:
            fresh.append(name)
    counters = [name for name in own if name.endswith(COUNTER) and name not in fitted]
    check(model, fitted, kept=[*fresh, *counters])
    # Every name of the model, so that loading is strict.
    kept = {name: own[name] for name in (*fresh, *counters)}
    return Fitted(fitted | kept, fresh, scales_images=bool(heads))


def find_prefix(own: Iterable[str], state: Iterable[str]) -> str:
    """Return what stands before a network's names in a state, as Lightning's `model.` does.

    What doesn't begin so is of other parts of its program, such as a loss. Of two networks in one
    state the averaged one is meant. ValueError where several may be.
    """
    names = {INSERTED.sub("", name) for name in own if not name.endswith(COUNTER)}
    hits: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in names:
                hits["".join(f"{part}." for part in parts[:start])] += 1
    most = max(hits.values(), default=0)
    # Fewer are those of another network, whose layers happen to be called alike.
    if hits[""] == most or 2 * most <= len(names):
        return ""
    best = [prefix for prefix, number in hits.items() if number == most]
    averaged = [prefix for prefix in best if "ema" in prefix.lower()]
    if len(averaged or best) > 1:
        raise ValueError(
            f"the weights hold several networks: {', '.join(sorted(best))}; save one of them alone"
        )
    return (averaged or best)[0]


def _differs_in_classes(own: Tensor, given: Tensor, num_classes: int) -> bool:
    """Return whether a parameter has a row a class here, and another number of like rows there."""
    if own.dim() == 0 or own.dim() != given.dim() or len(own) != num_classes:
        return False
    if own.shape[1:] != given.shape[1:]:
        return False
    return len(given) != num_classes


def _modernise(name: str) -> str:
    """Write a name of torchvision's DenseNet as it is written today.

    `norm.1.weight` is `norm1.weight`.
    """
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)", r"\1", name)

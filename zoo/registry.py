"""Find models by name and build them. Importing this file imports no torch: only building does.

Names: our own (`lenet5`, globs where a list is asked for), `tv:NAME` of torchvision, `timm:NAME` of
timm, and `FILE.py:FUNCTION` for a network of the user's. Behind any of them switches of the
function that builds it: `alexnet_grouped_cifar@activation=tanh,lrn=off`.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.catalogue import CATALOGUE
from zoo.library import find_namesakes
from zoo.spec import ONCE, ModelSpec, total_multiply_adds
from zoo.suggest import did_you_mean
from zoo.switch import check_switches, split_switches

if TYPE_CHECKING:
    from torch import nn

GLOB_CHARACTERS = frozenset("*?[")
SPECS = {spec.name: spec for spec in CATALOGUE}


def list_models(pattern: str = "*") -> list[ModelSpec]:
    """Return our own models whose names match a glob, in the order of the catalogue.

    Empty where none matches. Needs no torch.

        >>> [spec.name for spec in list_models("lenet*")]
        ['lenet5', 'lenet5_1998']
    """
    return [spec for spec in CATALOGUE if fnmatchcase(spec.name, pattern)]


def list_fitted_once(names: Sequence[str]) -> list[str]:
    """Return those of these names whose models are fitted once, not trained by steps.

    Needs no torch.
    """
    once = {spec.name for spec in CATALOGUE if spec.learner == ONCE}
    return [name for name in names if split_switches(name)[0] in once]


def is_glob(name: str) -> bool:
    """Return whether a name stands for many of ours."""
    return not GLOB_CHARACTERS.isdisjoint(name) and not _is_foreign(name)


def check_name(name: str) -> None:
    """Raise ValueError, with the nearest names, unless `name` can be a model.

    Of a foreign name the form is checked, and that FILE.py exists. Needs no torch, so that a
    request can be refused before anything starts.
    """
    base, _ = split_switches(name)
    if _is_foreign(base):
        _check_foreign(base)
    elif base not in SPECS:
        raise ValueError(f"unknown model {base!r}{_hint(base)}; `python -m zoo` lists all")


def expand(names: Sequence[str]) -> list[str]:
    """Return the names that names and globs stand for: order kept, duplicates dropped.

    Raise ValueError for an unknown name, a glob that matches nothing, and an empty list. Needs no
    torch.

        >>> expand(["tv:resnet18", "lenet*", "lenet5"])
        ['tv:resnet18', 'lenet5', 'lenet5_1998']
    """
    found: dict[str, None] = {}  # an ordered set
    for name in names:
        if not is_glob(name):
            check_name(name)
            found[name] = None
            continue
        matches = list_models(name)
        if not matches:
            raise ValueError(f"no model matches {name!r}{_hint(name)}; `python -m zoo` lists all")
        for spec in matches:
            found[spec.name] = None
    if not found:
        raise ValueError("no model given; name at least one, `python -m zoo` lists all")
    return list(found)


def resolve(name: str, *, num_classes: int = 100) -> ModelSpec:
    """Return what is known of a model.

    One of ours is looked up, without torch; its counts are for 100 classes. A foreign or switched
    one is built for `num_classes` and counted; `ModelSpec.at` says which. Raise ValueError for a
    name that isn't there or a switch that the model lacks.

        >>> resolve("lenet5").num_parameters
        69656
        >>> resolve("tv:resnet18", num_classes=1000).num_parameters
        11689512
    """
    check_name(name)
    base, switches = split_switches(name)
    if _is_foreign(base):
        # Nested: it imports torch, which listing and checking names do without.
        from zoo import external

        spec = external.describe_foreign(base, num_classes=num_classes, **switches)
        return replace(spec, name=name)
    spec = SPECS[base]
    return _recount(spec, name, num_classes) if switches else spec


def _recount(spec: ModelSpec, name: str, num_classes: int) -> ModelSpec:
    """Return a spec of ours with the name and the counts of the switched model."""
    # Nested: they import torch, and only a switched model pays for it.
    from zoo import cost, external
    from zoo.scores import find_wrong_scores

    _, switches = split_switches(name)
    image_size = external.find_image_size(switches) or spec.image_size
    in_channels = int(switches.get("in_channels", spec.in_channels))
    shape = {"image_size": image_size, "in_channels": in_channels}
    model = create_empty(name, num_classes=num_classes)
    wrong = find_wrong_scores(model, num_classes=num_classes, **shape)
    if wrong:
        raise ValueError(f"{name} {wrong}")
    layers = cost.layer_costs(model, **shape)
    return replace(
        spec,
        name=name,
        image_size=image_size,
        in_channels=in_channels,
        total_stride=cost.total_stride(model, **shape),
        num_parameters=cost.count_parameters(model),
        at=(num_classes, image_size),
        multiply_adds=total_multiply_adds(layers),
    )


def create_model(
    name: str, *, num_classes: int = 100, in_channels: int | None = None, **switches: Any
) -> "nn.Module":
    """Build a model with fresh weights, drawn from torch's random state.

    It maps (N, in_channels, H, W) float32 images to (N, num_classes) float32 scores;
    `resolve(name).image_size` is the H and W that it is meant for. `in_channels` is the model's own
    unless given: 3, but 1 for `lenet5_1998`. `switches` go to the function of the model's name,
    and take precedence over those behind an `@` in `name`. Raise ValueError for a name that isn't
    there or a switch that the model lacks.

        >>> model = create_model("resnet18_cifar", num_classes=10)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    check_name(name)
    name, named = split_switches(name)
    switches = {**named, **switches}
    if in_channels is not None:
        switches["in_channels"] = in_channels
    if _is_foreign(name):
        from zoo import external

        return external.build_foreign(name, num_classes=num_classes, **switches)
    build = get_builder(name)
    try:
        check_switches(build, switches)
        model: nn.Module = build(num_classes=num_classes, **switches)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return model


def get_builder(name: str) -> Callable[..., "nn.Module"]:
    """Return the function that builds a model of ours: zoo/resnet.py has `resnet18_cifar`."""
    module = importlib.import_module(f"zoo.{SPECS[name].file}")
    build: Callable[..., nn.Module] = getattr(module, name)
    return build


def create_empty(name: str, *, num_classes: int = 100) -> "nn.Module":
    """Build a model on the `meta` device: its shapes without its numbers, at no cost of memory.

    torch's random state is left as it was. Raise ValueError as `create_model`.
    """
    from zoo import cost  # nested: imports torch, which listing and checking names do without

    return cost.build_empty(partial(create_model, name, num_classes=num_classes))


def _is_foreign(name: str) -> bool:
    return ":" in name


def _check_foreign(name: str) -> None:
    library, _, rest = name.rpartition(":")
    if library in ("tv", "timm"):
        if not rest:
            raise ValueError(f"{name!r} names no model; write {library}:NAME")
    elif not library.endswith(".py") or not rest.isidentifier():
        raise ValueError(
            f"unknown model {name!r}; write NAME, tv:NAME, timm:NAME or FILE.py:FUNCTION"
        )
    elif not Path(library).is_file():
        raise ValueError(f"no file {library!r} for model {name!r} (looked in {Path.cwd()})")


def _hint(name: str) -> str:
    """Return `; did you mean ...?`: a library's model of this very name, else near names of ours.

    Not `suggest.unknown`, which lists all where none is near: there are too many.
    """
    namesakes = find_namesakes(name)
    if namesakes:
        return f"; did you mean {' or '.join(namesakes)}?"
    hint = did_you_mean(name, SPECS)
    return f"; {hint}" if hint else ""

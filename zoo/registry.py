"""Find models by name and build them. Importing this file imports no torch: only building does.

Names: our own (`lenet5`, globs where a list is asked for), `tv:NAME` of torchvision, `timm:NAME` of
timm, and `FILE.py:FUNCTION` for a network of the user's. Behind any of them switches of the
function that builds it: `alexnet_grouped_cifar@activation=tanh,lrn=off`.
"""

import contextlib
import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.catalogue import CATALOGUE
from zoo.library import namesakes
from zoo.spec import ModelSpec as ModelSpec

if TYPE_CHECKING:
    from torch import nn

GLOB_CHARACTERS = frozenset("*?[")


def list_models(pattern: str = "*") -> list[ModelSpec]:
    """List our own models whose names match a glob, in the order of the catalogue."""
    return [spec for spec in CATALOGUE if fnmatchcase(spec.name, pattern)]


def is_glob(name: str) -> bool:
    """Say whether a name stands for many of ours."""
    return not GLOB_CHARACTERS.isdisjoint(name) and not _is_foreign(name)


def check_name(name: str) -> None:
    """Raise ValueError unless `name` can be a model. Of foreign names the form is checked, and FILE.

    Needs no torch, so that a request can be refused before anything starts.
    """
    base, _ = split_switches(name)
    if _is_foreign(base):
        _check_foreign(base)
    elif base not in _specs():
        raise ValueError(f"unknown model {base!r}{_nearest(base)}; `python -m zoo` lists all")


def expand(names: Sequence[str]) -> list[str]:
    """Turn names and globs into names: order kept, duplicates dropped.

    ValueError where nothing matches.
    """
    found: dict[str, None] = {}
    for name in names:
        if not is_glob(name):
            check_name(name)
            found[name] = None
            continue
        matches = list_models(name)
        if not matches:
            raise ValueError(
                f"no model matches {name!r}{_nearest(name)}; `python -m zoo` lists all"
            )
        found.update(dict.fromkeys(spec.name for spec in matches))
    if not found:
        raise ValueError("no model given; name at least one, `python -m zoo` lists all")
    return list(found)


def resolve(name: str, *, num_classes: int = 100) -> ModelSpec:
    """Return what is known of a model.

    A foreign or switched one is built for `num_classes` and counted.
    """
    check_name(name)
    base, switches = split_switches(name)
    if _is_foreign(base):
        from zoo import external

        return replace(external.describe(base, num_classes=num_classes, **switches), name=name)
    return _switched(name, _specs()[base], num_classes) if switches else _specs()[base]


def _switched(name: str, spec: ModelSpec, num_classes: int) -> ModelSpec:
    """A spec of ours with the counts of the switched model."""
    import torch

    from zoo import cost

    with torch.device("meta"):
        model = create_model(name, num_classes=num_classes)
    layers = cost.layer_costs(model, image_size=spec.image_size, in_channels=spec.in_channels)
    return replace(
        spec,
        name=name,
        num_parameters=cost.count_parameters(model),
        at=(num_classes, spec.image_size),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
    )


def create_model(
    name: str, *, num_classes: int = 100, in_channels: int | None = None, **switches: Any
) -> "nn.Module":
    """Build a model with fresh weights (torch's random state decides them). The function of its name takes `switches`.

    Its input is (N, in_channels, H, W) float32, its output (N, num_classes) scores. ValueError for
    a name that is not there or a switch that the model lacks.
    """
    check_name(name)
    name, named = split_switches(name)
    switches = {**named, **switches}
    if in_channels is not None:
        switches["in_channels"] = in_channels
    if _is_foreign(name):
        from zoo import external

        return external.build(name, num_classes=num_classes, **switches)
    build = getattr(importlib.import_module(f"zoo.{_specs()[name].file}"), name)
    _check_switches(name, build, switches)
    model: nn.Module = build(num_classes=num_classes, **switches)
    return model


def split_switches(name: str) -> tuple[str, dict[str, bool | int | float | str]]:
    """Split `NAME@SWITCH=VALUE,SWITCH=VALUE` into the name and its switches, of which there may be none."""
    head, colon, tail = name.rpartition(":")
    base, at, rest = tail.partition("@")
    switches = {}
    for one in rest.split(",") if at else ():
        switch, _, value = one.partition("=")
        if not switch.isidentifier() or not value:
            raise ValueError(
                f"{name!r}: {one!r} is no switch; write NAME@SWITCH=VALUE,SWITCH=VALUE"
            )
        switches[switch] = _value(value)
    return head + colon + base, switches


def _value(text: str) -> bool | int | float | str:
    """A switch's value: true, false, a number, else the text itself."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _check_switches(name: str, build: Callable[..., object], switches: Mapping[str, Any]) -> None:
    parameters = inspect.signature(build).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        known = [parameter.name for parameter in parameters if parameter.name != "num_classes"]
        for switch in switches:
            if switch not in known:
                raise ValueError(f"{name} has no switch {switch!r}; it has {', '.join(known)}")


def _specs() -> dict[str, ModelSpec]:
    return {spec.name: spec for spec in CATALOGUE}


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


def _nearest(name: str) -> str:
    if others := namesakes(name):
        return f"; did you mean {' or '.join(others)}?"
    close = difflib.get_close_matches(name, list(_specs()), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""

"""Models of torchvision, of timm and of the user's own files, imported only when one is built."""

import difflib
import importlib.util
import inspect
import re
import socket
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import nn

from zoo import cost, stem
from zoo.spec import ModelSpec

USER_IMAGE_SIZE = 32
FETCH_SECONDS = 30.0  # a download that stands still for so long has broken off


def torchvision_model(
    name: str, *, num_classes: int, in_channels: int = 3, **switches: Any
) -> nn.Module:
    """Build a torchvision classifier with fresh weights.

    ValueError for a name that torchvision lacks.
    """
    from torchvision import models

    known = models.list_models(models)
    if name not in known:
        raise ValueError(f"torchvision has no model {name!r}{_nearest(name, known)}")
    if name in ("googlenet", "inception_v3"):
        switches = {"aux_logits": False, "init_weights": True, **switches}
    model: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **switches)
    return stem.read_channels(model, in_channels)


def timm_model(name: str, *, num_classes: int, in_channels: int = 3, **switches: Any) -> nn.Module:
    """Build a timm classifier with fresh weights. ValueError for a name that timm lacks."""
    import timm

    if not timm.is_model(name):
        raise ValueError(f"timm has no model {name!r}{_nearest(name, timm.list_models())}")
    model: nn.Module = timm.create_model(
        name, num_classes=num_classes, in_chans=in_channels, **switches
    )
    return model


def trained_state(name: str) -> dict[str, torch.Tensor]:
    """Fetch the weights that `tv:NAME` or `timm:NAME` was published with, from its library's cache or hub.

    ValueError for a model of ours or of a user, one without such weights, or where they can't be
    fetched.
    """
    library, _, rest = name.rpartition(":")
    if library not in ("tv", "timm"):
        raise ValueError(
            f"{name} has no published weights; give a file, or take tv:NAME or timm:NAME"
        )
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(FETCH_SECONDS)
    try:
        return _torchvision_state(rest) if library == "tv" else _timm_state(rest)
    except (
        Exception
    ) as error:  # whatever a library's downloader makes of a network that isn't there
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(
            f"its published weights can't be fetched ({cause[:200]}); give a file instead"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _torchvision_state(name: str) -> dict[str, torch.Tensor]:
    from torchvision import models

    state: dict[str, torch.Tensor] = models.get_model_weights(name).DEFAULT.get_state_dict(
        progress=False, check_hash=True
    )
    return state


def _timm_state(name: str) -> dict[str, torch.Tensor]:
    import timm
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    # The hub's client tries for half a minute, aloud, before it looks in its cache.
    constants.HF_HUB_OFFLINE = before or not _is_known(urlsplit(constants.ENDPOINT).hostname or "")
    try:
        return dict(timm.create_model(name, pretrained=True).state_dict())
    finally:
        constants.HF_HUB_OFFLINE = before


def _is_known(host: str) -> bool:
    """Whether the network knows a host's address."""
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False


def of_torchvision(name: str, **fixed: Any) -> Callable[..., nn.Module]:
    """Make the function that builds a torchvision model under a name of ours."""

    def build_torchvision(
        *, num_classes: int = 100, in_channels: int = 3, **switches: Any
    ) -> nn.Module:
        return torchvision_model(
            name, num_classes=num_classes, in_channels=in_channels, **{**fixed, **switches}
        )

    return build_torchvision


def of_timm(name: str, **fixed: Any) -> Callable[..., nn.Module]:
    """Make the function that builds a timm model under a name of ours."""

    def build_timm(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
        return timm_model(
            name, num_classes=num_classes, in_channels=in_channels, **{**fixed, **switches}
        )

    return build_timm


def densenet(*, num_classes: int, in_channels: int, **design: Any) -> nn.Module:
    """Build torchvision's DenseNet of another design than those that it names."""
    from torchvision.models import DenseNet

    return stem.read_channels(DenseNet(num_classes=num_classes, **design), in_channels)


def nasnet_a(*, num_classes: int, in_channels: int, **design: Any) -> nn.Module:
    """Build timm's NASNet-A (6 cells a stage) of another width than the one that it names."""
    from timm.models.nasnet import NASNetALarge

    model: nn.Module = NASNetALarge(num_classes=num_classes, in_chans=in_channels, **design)
    return model


def user_model(name: str, *, num_classes: int, **switches: Any) -> nn.Module:
    """Call FUNCTION of FILE.py with `num_classes` and what else it takes, and check that a model came back."""
    function = _user_function(name)
    model = function(**_accepted(name, function, {"num_classes": num_classes, **switches}))
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name} returned a {type(model).__name__}, not a torch.nn.Module")
    return model


def build(name: str, *, num_classes: int, **switches: Any) -> nn.Module:
    """Build a foreign model by its full name (`tv:`, `timm:`, `FILE.py:FUNCTION`)."""
    library, _, rest = name.rpartition(":")
    if library == "tv":
        return torchvision_model(rest, num_classes=num_classes, **switches)
    if library == "timm":
        return timm_model(rest, num_classes=num_classes, **switches)
    return user_model(name, num_classes=num_classes, **switches)


def describe(name: str, *, num_classes: int, **switches: Any) -> ModelSpec:
    """Build a foreign model, count it at its own image size, and say what is known of it."""
    library, _, rest = name.rpartition(":")
    known = {"tv": _torchvision_facts, "timm": _timm_facts}.get(library, _user_facts)(name, rest)
    random_state = torch.get_rng_state()
    model = build(name, num_classes=num_classes, **switches)
    torch.set_rng_state(random_state)
    layers = cost.layer_costs(model, image_size=known["image_size"])
    return ModelSpec(
        name=name,
        total_stride=cost.total_stride(model, image_size=known["image_size"]),
        num_parameters=cost.count_parameters(model),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        at=(num_classes, known["image_size"]),
        **known,
    )


def _torchvision_facts(name: str, rest: str) -> dict[str, Any]:
    from torchvision import models

    facts: dict[str, Any] = {
        "family": _family(rest),
        "file": "external",
        "source": "torchvision",
        "year": 0,
        "paper": "",
        "image_size": 224,
    }
    if rest in models.list_models(models):
        transform = models.get_model_weights(rest).DEFAULT.transforms()
        facts |= {
            "image_size": transform.crop_size[0],
            "mean": tuple(transform.mean),
            "std": tuple(transform.std),
        }
    return facts


def _timm_facts(name: str, rest: str) -> dict[str, Any]:
    import timm

    facts: dict[str, Any] = {
        "family": _family(rest),
        "file": "external",
        "source": "timm",
        "year": 0,
        "paper": "",
        "image_size": 224,
    }
    known = timm.models.get_pretrained_cfg(rest) if timm.is_model(rest) else None
    if known is not None:
        facts |= {
            "image_size": known.input_size[-1],
            "mean": tuple(known.mean),
            "std": tuple(known.std),
        }
    return facts


def _user_facts(name: str, rest: str) -> dict[str, Any]:
    function = _user_function(name)
    size = getattr(
        function,
        "image_size",
        getattr(sys.modules[function.__module__], "image_size", USER_IMAGE_SIZE),
    )
    return {
        "family": "user",
        "file": name.rpartition(":")[0],
        "source": "file",
        "year": 0,
        "paper": "",
        "image_size": int(size),
    }


def _user_function(name: str) -> Callable[..., Any]:
    file, _, rest = name.rpartition(":")
    module = _user_module(Path(file).resolve())
    function = getattr(module, rest, None)
    if not callable(function):
        known = [
            key
            for key, value in vars(module).items()
            if callable(value) and not key.startswith("_")
        ]
        raise ValueError(f"{file} has no function {rest!r}{_nearest(rest, known)}")
    checked: Callable[..., Any] = function
    return checked


@cache
def _user_module(path: Path) -> ModuleType:
    """Import a user's file once, under a name that can't hide another module.

    It may import its neighbours.
    """
    name = "zoo_user_" + re.sub(r"\W", "_", str(path))
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    found.loader.exec_module(module)
    return module


def _accepted(name: str, function: Callable[..., Any], switches: dict[str, Any]) -> dict[str, Any]:
    """Keep the arguments that a user's function takes.

    Only `num_classes` may be dropped in silence.
    """
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return switches
    taken = {parameter.name for parameter in parameters}
    refused = [key for key in switches if key not in taken and key != "num_classes"]
    if refused:
        raise ValueError(
            f"{name} takes no {refused[0]!r}; it takes {', '.join(sorted(taken)) or 'nothing'}"
        )
    return {key: value for key, value in switches.items() if key in taken}


def _family(name: str) -> str:
    """Guess a family from a library's name: what stands before the first digit or underscore."""
    return re.split(r"[\d_.]", name)[0] or name


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""

"""Models of torchvision and timm; with those of users' files, every model that isn't ours.

The libraries are imported only when a model of theirs is built or described: they take seconds.
"""

import contextlib
import re
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import nn

from zoo import cost, stem
from zoo.cause import UserCodeError, cause_of
from zoo.scores import find_wrong_scores
from zoo.spec import ModelSpec, total_multiply_adds
from zoo.suggest import did_you_mean
from zoo.switch import check_library_switches, list_plain_switches
from zoo.user_file import build_user_model, describe_user_file, running_user_code

PUBLISHED_IMAGE_SIZE = 224  # pixels, of ImageNet models that don't say what they were trained at
SIZED_MODELS = "vit_"  # torchvision's that are built for one image size, 224 px unless told
SIZE_SWITCHES = ("image_size", "img_size")  # torchvision's name and timm's
FETCH_SECONDS = 30.0  # a download that stands still for so long has broken off
MOST_CAUSE = 200  # characters of a library's message that are passed on


def build_torchvision(
    name: str, *, num_classes: int, in_channels: int = 3, **switches: Any
) -> nn.Module:
    """Build a torchvision classifier with fresh weights.

    It maps (N, in_channels, H, W) float32 images to (N, num_classes) scores. Raise ValueError for a
    name that torchvision lacks.
    """
    from torchvision import models

    known = models.list_models(models)
    if name not in known:
        raise ValueError(_unknown_model("torchvision", name, known))
    fixed: dict[str, Any] = {"weights": None}
    if name in ("googlenet", "inception_v3"):
        # Without the auxiliary classifiers, which give a second and third output in training; and
        # torchvision warns unless it is told whether to draw the weights.
        fixed |= {"aux_logits": False, "init_weights": True}
    if name.startswith(SIZED_MODELS):
        # Their position embeddings are of one size: that of the published weights.
        fixed["image_size"] = _torchvision_facts(name)["image_size"]
    build = partial(models.get_model, name, num_classes=num_classes, **fixed)
    return stem.read_channels(_build_switched(f"tv:{name}", build, switches), in_channels)


def build_timm(name: str, *, num_classes: int, in_channels: int = 3, **switches: Any) -> nn.Module:
    """Build a timm classifier with fresh weights.

    It maps (N, in_channels, H, W) float32 images to (N, num_classes) scores. Raise ValueError for a
    name that timm lacks.
    """
    import timm

    if not timm.is_model(name):
        raise ValueError(_unknown_model("timm", name, timm.list_models()))
    build = partial(timm.create_model, name, num_classes=num_classes, in_chans=in_channels)
    return _build_switched(f"timm:{name}", build, switches)


def _build_switched(
    name: str, build: Callable[..., nn.Module], switches: Mapping[str, Any]
) -> nn.Module:
    """Build a library's model, whose class says what its switches can be.

    Raise ValueError for a switch that it lacks, or a value that it can't have.
    """
    if not switches:
        return build()
    try:
        model = build(**switches)
    except Exception as error:
        # A value that a constructor doesn't expect makes it raise nearly anything.
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            given = ", ".join(f"{switch}={value}" for switch, value in switches.items())
            raise ValueError(f"{name} can't be built with {given}: {cause_of(error)}") from error
        known = ", ".join(list_plain_switches(type(build()))) or "none"
        raise ValueError(f"{name}: there is no switch {unknown[1]!r}; it has {known}") from error
    try:
        check_library_switches(model, switches, build)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return model


def _unknown_model(library: str, name: str, known: list[str]) -> str:
    """Return the line that refuses a name, without a list of all: a library has hundreds."""
    hint = did_you_mean(name, known)
    return f"{library} has no model {name!r}" + (f"; {hint}" if hint else "")


def fetch_trained_state(name: str) -> dict[str, torch.Tensor]:
    """Return the weights that `tv:NAME` or `timm:NAME` was published with.

    They come from the library's cache, or else its hub. Raise ValueError for a model of ours or of
    a user, for one without such weights, and where they can't be fetched.
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
    except Exception as error:
        # Each library's downloader raises what it likes where there is no network.
        cause = cause_of(error)[:MOST_CAUSE]
        raise ValueError(
            f"its published weights can't be fetched ({cause}); give a file instead"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _torchvision_state(name: str) -> dict[str, torch.Tensor]:
    from torchvision import models

    weights = models.get_model_weights(name).DEFAULT
    state: dict[str, torch.Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    return state


def _timm_state(name: str) -> dict[str, torch.Tensor]:
    import timm
    from huggingface_hub import constants

    # Offline, the hub's client retries for half a minute, printing as it goes, before it looks in
    # its cache. It reads HF_HUB_OFFLINE from the environment once, when it is imported, so the
    # constant is what can still be set, and only for as long as this fetch takes.
    before = constants.HF_HUB_OFFLINE
    hub = urlsplit(constants.ENDPOINT).hostname or ""
    constants.HF_HUB_OFFLINE = before or not _has_address(hub)
    try:
        return dict(timm.create_model(name, pretrained=True).state_dict())
    finally:
        constants.HF_HUB_OFFLINE = before


def _has_address(host: str) -> bool:
    """Return whether the network knows a host's address."""
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False


def from_torchvision(name: str, **fixed: Any) -> Callable[..., nn.Module]:
    """Return the function that builds a torchvision model under a name of ours."""

    def build(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
        options = {**fixed, **switches}
        return build_torchvision(name, num_classes=num_classes, in_channels=in_channels, **options)

    return build


def from_timm(name: str, **fixed: Any) -> Callable[..., nn.Module]:
    """Return the function that builds a timm model under a name of ours."""

    def build(*, num_classes: int = 100, in_channels: int = 3, **switches: Any) -> nn.Module:
        options = {**fixed, **switches}
        return build_timm(name, num_classes=num_classes, in_channels=in_channels, **options)

    return build


def build_densenet(*, num_classes: int, in_channels: int, **design: Any) -> nn.Module:
    """Build torchvision's DenseNet of another design than those that it names."""
    from torchvision.models import DenseNet

    return stem.read_channels(DenseNet(num_classes=num_classes, **design), in_channels)


def build_nasnet_a(*, num_classes: int, in_channels: int, **design: Any) -> nn.Module:
    """Build timm's NASNet-A (6 cells a stage) of another width than the one that it names."""
    from timm.models.nasnet import NASNetALarge

    model: nn.Module = NASNetALarge(num_classes=num_classes, in_chans=in_channels, **design)
    return model


def build_foreign(name: str, *, num_classes: int, **switches: Any) -> nn.Module:
    """Build a foreign model by its full name (`tv:`, `timm:`, `FILE.py:FUNCTION`)."""
    library, _, rest = name.rpartition(":")
    if library == "tv":
        return build_torchvision(rest, num_classes=num_classes, **switches)
    if library == "timm":
        return build_timm(rest, num_classes=num_classes, **switches)
    return build_user_model(name, num_classes=num_classes, **switches)


def describe_foreign(name: str, *, num_classes: int, **switches: Any) -> ModelSpec:
    """Build a foreign model, count it at its own image size, and return what is known of it.

    torch's random state is left as it was.
    """
    library, _, rest = name.rpartition(":")
    if library == "tv":
        facts = _torchvision_facts(rest)
    elif library == "timm":
        facts = _timm_facts(rest)
    else:
        facts = describe_user_file(name)
    facts["image_size"] = find_image_size(switches) or facts["image_size"]
    shape = {
        "image_size": facts["image_size"],
        "in_channels": int(switches.get("in_channels", 3)),
    }
    is_users = facts["source"] == "file"
    build = partial(build_foreign, name, num_classes=num_classes, **switches)
    # A user's code gets numbers, which its forward pass may look at.
    model = _build_aside(build) if is_users else cost.build_empty(build)
    with running_user_code(name) if is_users else contextlib.nullcontext():
        wrong = find_wrong_scores(model, num_classes=num_classes, **shape)
        layers = cost.try_layer_costs(model, **shape)
        stride = cost.try_total_stride(model, **shape)
    if wrong:
        # A user's model is a row that failed, beside the others; a library's isn't meant so.
        raise (UserCodeError if is_users else ValueError)(f"{name} {wrong}")
    return ModelSpec(
        name=name,
        in_channels=shape["in_channels"],
        year=0,  # neither library says, and the catalogue's years are of papers
        paper="",
        total_stride=stride,
        num_parameters=cost.count_parameters(model),
        multiply_adds=total_multiply_adds(layers),
        at=(num_classes, facts["image_size"]),
        **facts,
    )


def _build_aside(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model, and leave torch's random state as it was."""
    with torch.random.fork_rng(devices=()):
        return build()


def find_image_size(switches: Mapping[str, object]) -> int | None:
    """Return the image size that switches build a model for; None where they don't say."""
    for switch in SIZE_SWITCHES:
        size = switches.get(switch)
        if isinstance(size, int):
            return size
    return None


def _torchvision_facts(name: str) -> dict[str, Any]:
    from torchvision import models

    facts = _library_facts("torchvision", name)
    if name in models.list_models(models):
        transform = models.get_model_weights(name).DEFAULT.transforms()
        facts["image_size"] = transform.crop_size[0]
        facts["mean"] = tuple(transform.mean)
        facts["std"] = tuple(transform.std)
    return facts


def _timm_facts(name: str) -> dict[str, Any]:
    import timm

    facts = _library_facts("timm", name)
    known = timm.models.get_pretrained_cfg(name) if timm.is_model(name) else None
    if known is not None:
        facts["image_size"] = known.input_size[-1]
        facts["mean"] = tuple(known.mean)
        facts["std"] = tuple(known.std)
    return facts


def _library_facts(library: str, name: str) -> dict[str, Any]:
    """Return what holds of a library's model whose published weights say nothing.

    Its family is guessed from its name: what stands before the first digit, dot or underscore.
    """
    family = re.split(r"[\d_.]", name)[0] or name
    return {
        "family": family,
        "file": "external",
        "source": library,
        "image_size": PUBLISHED_IMAGE_SIZE,
    }

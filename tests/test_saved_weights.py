"""Files of weights as their writers mean them, and those of the wrong kind.

Oracles: the network that was saved, by the wrappers and savers of torch and timm themselves.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.optim.swa_utils import AveragedModel

from bench.results.weights_file import find_weights
from tests.support.image_factory import one_line
from zoo import create_model, saved_weights, weights

State = dict[str, Any]
REAL = Path(os.environ.get("ZOOMETRY_DATA", "/nowhere")) / "pretrained"


def network(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return create_model("lenet5", num_classes=7)


def load(path: Path) -> State:
    """Load a file's weights into a network of other weights; return what it then has."""
    model = network(2)
    state = saved_weights.read(path).state
    assert weights.load_pretrained(model, state, num_classes=7) == []
    return model.state_dict()


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def checkpointed(model: nn.Module) -> State:
    model.conv2 = checkpoint_wrapper(model.get_submodule("conv2"))
    return {f"_fsdp_wrapped_module.{name}": tensor for name, tensor in model.named_parameters()}


WRITERS: dict[str, Callable[[nn.Module], State]] = {
    "plain": lambda m: m.state_dict(),
    "data parallel": lambda m: nn.DataParallel(m).state_dict(),
    "compiled": lambda m: torch.compile(m).state_dict(),  # type: ignore[attr-defined]
    "compiled in parallel": lambda m: nn.DataParallel(torch.compile(m)).state_dict(),  # type: ignore[arg-type]
    "parallel, then compiled": lambda m: torch.compile(nn.DataParallel(m)).state_dict(),  # type: ignore[attr-defined]
    "averaged": lambda m: AveragedModel(m).state_dict(),
    "checkpointed and sharded": checkpointed,
    "Lightning's": lambda m: prefixed("model.", m.state_dict()) | {"loss.weight": torch.ones(7)},
    "transformers'": lambda m: prefixed("timm_model.", m.state_dict()),
    "DINO's": lambda m: prefixed("module.backbone.", m.state_dict()),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("writer", WRITERS)
def test_names_are_those_without_the_wrapper(writer: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    state = {name: tensor.clone() for name, tensor in WRITERS[writer](network()).items()}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    assert equal(load(path), network().state_dict())


@pytest.mark.parametrize("key", saved_weights.LATEST)
def test_a_state_is_found_beside_what_scripts_save_with_it(key: str, tmp_path: Path) -> None:
    beside = {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(71.5),
        "optimizer": {"state": {}, "param_groups": []},
        "ema": None,
    }
    torch.save(beside | {key: network().state_dict()}, tmp_path / "x.pth.tar")
    assert equal(load(tmp_path / "x.pth.tar"), network().state_dict())


@pytest.mark.parametrize(
    ("key", "wrap"),
    [
        ("model_ema", lambda m: AveragedModel(m).state_dict()),  # torchvision's references
        ("state_dict_ema", lambda m: m.state_dict()),
        ("ema", lambda m: {"decay": 0.9, "module": m.state_dict()}),
    ],
)
def test_an_average_goes_before_the_last_step(
    key: str, wrap: Callable[[nn.Module], State], tmp_path: Path
) -> None:
    saved = {"model": network(3).state_dict(), "state_dict": network(3).state_dict()}
    torch.save(saved | {key: wrap(network())}, tmp_path / "x.pth")
    assert saved_weights.read(tmp_path / "x.pth").is_averaged
    assert equal(load(tmp_path / "x.pth"), network().state_dict())


def test_timms_own_saver_is_understood(tmp_path: Path) -> None:
    model = network()
    average: Any = ModelEmaV3(model, decay=0.5)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    average.update(model)
    saver = CheckpointSaver(
        model,
        torch.optim.SGD(model.parameters(), 0.1),
        args=argparse.Namespace(model="squeezenet1_1", lr=0.1),
        model_ema=average,
        checkpoint_dir=str(tmp_path),
        recovery_dir=str(tmp_path),
    )
    saver.save_checkpoint(epoch=1, metric=71.5)
    (path,) = tmp_path.glob("last*")
    assert equal(load(path), average.module.state_dict())


def test_two_networks_in_one_state_are_told_apart_by_name(tmp_path: Path) -> None:
    latest, averaged = network(3).state_dict(), network().state_dict()
    torch.save(prefixed("model.", latest) | prefixed("model_ema.", averaged), tmp_path / "x.pt")
    assert equal(load(tmp_path / "x.pt"), averaged)
    torch.save(prefixed("online.", latest) | prefixed("target.", averaged), tmp_path / "y.pt")
    with pytest.raises(ValueError, match=r"several networks: online\., target\.;") as error:
        load(tmp_path / "y.pt")
    one_line(error)


@pytest.mark.parametrize(
    ("saved", "line"),
    [
        ({"epoch": 3, "optimizer": {"lr": 0.1}}, "found epoch (int), optimizer (dict); looked"),
        ({"state_dict": {"a": torch.ones(1), "b": 2}}, "under state_dict a (Tensor), b (int)"),
        ({}, "found an empty dictionary"),
        (torch.ones(3), "found a Tensor"),
        ({0: torch.ones(3)}, "a tensor is named 0"),
        (nn.Linear(2, 2), "holds a pickled torch.nn.modules.linear.Linear, which could run code"),
        ({"model": nn.Linear(2, 2)}, "save its weights alone by torch.save(model.state_dict()"),
    ],
)
def test_what_is_no_state_is_told_by_what_it_is(saved: Any, line: str, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth") as error:
        saved_weights.read(tmp_path / "x.pth")
    assert line in one_line(error)


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_that_a_file_asks_for_is_run(tmp_path: Path) -> None:
    state = {"state_dict": network().state_dict(), "args": Hostile(tmp_path / "ran")}
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="which could run code") as error:
        saved_weights.read(tmp_path / "x.pth")
    one_line(error)
    assert not (tmp_path / "ran").exists()


def quantised(tensor: Tensor) -> Tensor:
    return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)  # type: ignore[no-any-return]


def with_one(value: float) -> Callable[[Tensor], Tensor]:
    def change(tensor: Tensor) -> Tensor:
        changed = tensor.clone()
        changed[0, 0] = value
        return changed

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Tensor.bool, "is torch.bool, and torch.float32 in the model"),
        (Tensor.long, "is torch.int64, and"),
        (lambda t: t.to(torch.uint8), "is torch.uint8, and"),
        (lambda t: t.to(torch.complex64), "is torch.complex64, and"),
        (lambda t: t.to(torch.float8_e4m3fn), "is torch.float8_e4m3fn, without the scales"),
        (lambda t: t.to(torch.float8_e5m2), "is torch.float8_e5m2, without the scales"),
        (with_one(float("nan")), "has 25 values of 450 that are NaN or infinite"),
        (with_one(float("-inf")), "that are NaN or infinite"),
        (lambda t: t.to("meta"), "has no values"),
        (Tensor.to_sparse, "is not dense (torch.sparse_coo)"),
        (quantised, "is quantised (torch.qint8)"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*quant.*")
def test_weights_of_the_wrong_kind_are_refused_by_name(
    change: Callable[[Tensor], Tensor], reason: str, tmp_path: Path
) -> None:
    state = network().state_dict()
    name = "conv1.weight"
    state[name] = change(state[name])
    torch.save(state, tmp_path / "x.pth")
    model = network(2)
    with pytest.raises(ValueError, match=f"^{name} in the weights ") as error:
        weights.load_pretrained(model, saved_weights.read(tmp_path / "x.pth").state, num_classes=7)
    assert reason in one_line(error)
    assert equal(model.state_dict(), network(2).state_dict())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_points_are_converted(kind: torch.dtype, tmp_path: Path) -> None:
    state = {name: tensor.to(kind) for name, tensor in network().state_dict().items()}
    torch.save(state, tmp_path / "x.pth")
    assert equal(load(tmp_path / "x.pth"), {name: t.float() for name, t in state.items()})


def test_weights_of_another_network_are_told_by_how_many_fit() -> None:
    given = create_model("resnet18_cifar", num_classes=7).state_dict()
    with pytest.raises(ValueError, match=r"conv1\.weight is .*\(0 of 10 tensors fit, and 122"):
        weights.load_pretrained(network(), given, num_classes=7)
    renamed = {name.replace("conv1.", "convl."): t for name, t in network().state_dict().items()}
    with pytest.raises(
        ValueError, match=r"is convl\.weight \(8 of 10 tensors fit, and 2 of"
    ) as error:
        weights.load_pretrained(network(), renamed, num_classes=7)
    one_line(error)


@pytest.mark.skipif(not REAL.is_dir(), reason="ZOOMETRY_DATA names no folder with pretrained/")
def test_a_published_file_is_found_and_is_timms_network() -> None:
    model = create_model("timm:tf_efficientnet_lite0", num_classes=1000).eval()
    path = find_weights(REAL, "timm:tf_efficientnet_lite0", 0)
    state = saved_weights.read(path).state
    assert weights.load_pretrained(model, state, num_classes=1000) == []
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    theirs.load_state_dict(load_file(path))
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(model(images), theirs(images))
    five = create_model("timm:tf_efficientnet_lite0", num_classes=5)
    new = weights.load_pretrained(five, state, num_classes=5)
    assert new == ["classifier.weight", "classifier.bias"]
    larger = create_model("timm:tf_efficientnet_lite1", num_classes=5)
    with pytest.raises(ValueError, match=r"lack blocks.*\(294 of 386 tensors fit"):
        weights.load_pretrained(larger, state, num_classes=5)

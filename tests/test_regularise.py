"""Dropout and stochastic depth at other rates.

Oracles: torchvision's and timm's builders with their own options, and that a network that drops
nothing gives in training what it gives in evaluation.
"""

from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.ops import StochasticDepth

from bench.cell.open_run import list_cells
from bench.request.command_line import parse
from zoo.registry import create_model, resolve
from zoo.regularise import build_regularised


def rates(model: nn.Module, kind: type[nn.Module], name: str) -> list[float]:
    return [getattr(module, name) for module in model.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("name", ["efficientnet_b0", "convnext_tiny"])
def test_stochastic_depth_is_torchvisions_with_its_last_block_at_the_rate(name: str) -> None:
    spec = resolve(f"tv:{name}", num_classes=10)
    ours = rates(build_regularised(spec, 10, drop_path=0.4), StochasticDepth, "p")
    theirs = rates(
        torchvision.models.get_model(name, stochastic_depth_prob=0.4), StochasticDepth, "p"
    )
    assert max(ours) == pytest.approx(0.4)
    assert ours == pytest.approx([0.4 / max(theirs) * rate for rate in theirs])


def test_stochastic_depth_and_dropout_are_timms() -> None:
    from timm.layers import DropPath

    spec = resolve("timm:mobilenetv2_100", num_classes=10)
    ours = build_regularised(spec, 10, drop_path=0.3, dropout=0.25)
    theirs = timm.create_model(
        "mobilenetv2_100", num_classes=10, drop_path_rate=0.3, drop_rate=0.25
    )
    expected = rates(theirs, DropPath, "drop_prob")
    assert rates(ours, DropPath, "drop_prob") == expected
    assert max(expected) > 0.2
    assert ours.drop_rate == theirs.drop_rate == 0.25


@pytest.mark.parametrize(
    "name", ["alexnet_single_tower_cifar", "vgg11_cifar", "squeezenet1_1_cifar"]
)
def test_without_dropout_training_is_evaluation(name: str) -> None:
    images = torch.randn(2, 3, 32, 32)
    model = build_regularised(resolve(name), 10, dropout=0.0).train()
    torch.manual_seed(0)
    trained = model(images)
    assert torch.equal(trained, model.eval()(images))
    own = create_model(name, num_classes=10).train()
    assert not torch.equal(own(images), own.eval()(images))


@pytest.mark.parametrize(
    ("model", "words", "line"),
    [
        ("lenet5", ["--dropout", "0.1"], "lenet5 has no dropout"),
        ("resnet18_cifar", ["--drop-path", "0.1"], "resnet18_cifar has no stochastic depth"),
        ("timm:vgg11", ["--drop-path", "0.1"], "timm:vgg11 of timm can't be built so"),
    ],
)
def test_what_a_model_has_not_is_refused(
    model: str, words: list[str], line: str, tiny_data: Any
) -> None:
    with pytest.raises(ValueError, match=line) as refused:
        list_cells(parse(["--models", model, "--epochs", "1", *words]), tiny_data)
    assert "\n" not in str(refused.value)

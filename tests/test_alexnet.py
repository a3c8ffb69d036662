"""AlexNet and its variants.

Oracles: the layers' figures in the paper (Krizhevsky et al. 2012, section 3.5) and their sums,
torchvision's alexnet with the same weights, and closed forms of the initialisations.
"""

import math

import pytest
import torch
from torch import nn
from torchvision.models import alexnet as torchvision_alexnet

from zoo import cost, create_model
from zoo.__main__ import main
from zoo.alexnet import AlexNet
from zoo.layer import LocalResponseNorm
from zoo.spec import LayerCost

PAPER = {  # layer: (output shape, weights and biases, multiply-adds with two towers)
    "conv1": ((96, 55, 55), 34_944, 105_415_200),
    "conv2": ((256, 27, 27), 307_456, 223_948_800),
    "conv3": ((384, 13, 13), 885_120, 149_520_384),
    "conv4": ((384, 13, 13), 663_936, 112_140_288),
    "conv5": ((256, 13, 13), 442_624, 74_760_192),
    "fc6": ((4096,), 37_752_832, 37_748_736),
    "fc7": ((4096,), 16_781_312, 16_777_216),
    "fc8": ((1000,), 4_097_000, 4_096_000),
}
VARIANTS = ("two_tower", "grouped", "single_tower", "single_tower_narrow", "half", "owt")


def layers(name: str, num_classes: int = 1000) -> dict[str, LayerCost]:
    with torch.device("meta"):
        model = create_model(name, num_classes=num_classes)
    return {layer.name: layer for layer in cost.layer_costs(model, image_size=224)}


def test_grouped_has_the_papers_layers() -> None:
    found = layers("alexnet_grouped")
    assert {
        name: (found[name].output_shape, found[name].num_parameters, found[name].multiply_adds)
        for name in PAPER
    } == PAPER
    assert sum(math.prod(found[name].output_shape) for name in PAPER) == 659_272
    assert sum(layer.num_parameters for layer in found.values()) == 60_965_224


def test_each_tower_has_half_of_every_layer() -> None:
    found = layers("alexnet_two_tower")
    for name, (shape, num_parameters, multiply_adds) in PAPER.items():
        for tower in (found[f"towers.0.{name}"], found[f"towers.1.{name}"]):
            assert tower.output_shape == (shape[0] // 2, *shape[1:])
            assert tower.num_parameters == num_parameters / 2
            assert tower.multiply_adds == multiply_adds / 2


def test_single_tower_has_the_counts_of_a_network_without_groups() -> None:
    found = layers("alexnet_single_tower")
    assert [found[name].num_parameters for name in ("conv2", "conv4", "conv5")] == [
        614_656,
        1_327_488,
        884_992,
    ]
    assert sum(layer.multiply_adds for layer in found.values()) == pytest.approx(
        1_135.3e6, rel=1e-4
    )


def test_prints_the_papers_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alexnet_two_tower", "--num-classes", "1000"]) == 0
    printed = capsys.readouterr().out
    for figure in (
        "5x5x48",
        "3x3x256",
        "659,272 units",
        "60,965,224 parameters",
        "724,406,816 multiply-adds",
        "before conv3 cross 21,632",
        "before fc6 cross 4,608",
        "before fc8 cross 2,048",
    ):
        assert figure in printed


def test_owt_equals_torchvision_to_the_bit_with_the_same_weights() -> None:
    theirs, ours = (
        torchvision_alexnet(weights=None, num_classes=10),
        create_model("alexnet_owt", num_classes=10),
    )
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    results = []
    for model in (theirs, ours):
        torch.manual_seed(0)  # dropout
        scores = model.train()(images)
        scores.square().sum().backward()
        results.append([scores, *(parameter.grad for parameter in model.parameters())])
    for their_tensor, our_tensor in zip(*results, strict=True):
        assert torch.equal(their_tensor, our_tensor)


def test_lrn_stays_within_a_tower() -> None:
    with torch.device("meta"):
        norms = [
            m for m in create_model("alexnet_grouped").modules() if isinstance(m, LocalResponseNorm)
        ]
    assert [(n.size, n.alpha, n.beta, n.k, n.groups) for n in norms] == [
        (5, 1e-4, 0.75, 2.0, 2)
    ] * 2


@pytest.mark.parametrize(("lrn", "alpha"), [("code", 1e-4), ("paper", 5e-4)])
def test_alpha_of_the_code_or_of_the_paper(lrn: str, alpha: float) -> None:
    model = create_model("alexnet_grouped_cifar", lrn=lrn)
    assert isinstance(model.norm1, LocalResponseNorm)
    assert model.norm1.alpha == alpha


@pytest.mark.parametrize("form", ["", "_cifar"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "switches", [{"pooling": "plain"}, {"activation": "tanh"}, {"lrn": "paper", "dropout": 0.0}]
)
def test_switches_work_in_every_variant(
    variant: str, form: str, switches: dict[str, object]
) -> None:
    with torch.device("meta"):
        model = create_model(f"alexnet_{variant}{form}", **switches)
    side = 32 if form else 224
    assert model(torch.empty(2, 3, side, side, device="meta")).shape == (2, 100)


def test_paper_initialisation() -> None:
    torch.manual_seed(0)
    model = create_model("alexnet_grouped_cifar", init="paper")
    ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}  # section 5
    for name, layer in model.named_children():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.03)
            assert layer.bias is not None
            assert layer.bias.unique().tolist() == [float(name in ones)]


def test_kaiming_initialisation_of_the_narrow_port() -> None:
    torch.manual_seed(0)
    model = create_model("alexnet_single_tower_narrow_cifar")
    assert isinstance(model, AlexNet)
    assert model.conv2.weight.std().item() == pytest.approx(
        math.sqrt(2 / (256 * 25)), rel=0.03
    )  # 2 / fan out
    assert model.fc7.weight.std().item() == pytest.approx(0.01, rel=0.03)


def test_unknown_switch_is_refused() -> None:
    with pytest.raises(ValueError, match="no switch 'norm'; it has widths, hidden"):
        create_model("alexnet_grouped", norm="off")


@pytest.mark.parametrize("name", ["alexnet_grouped_cifar", "alexnet_single_tower_cifar"])
def test_dropped_are_the_outputs_of_the_hidden_layers(name: str) -> None:
    """With everything dropped the scores are the last layer's bias, whatever the image."""
    model = create_model(name, dropout=1.0).train()
    assert isinstance(model, AlexNet)
    scores = model(torch.randn(2, 3, 32, 32))
    assert torch.equal(scores, model.fc8.bias.expand(2, -1))

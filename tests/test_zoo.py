"""Every model of the registry, enumerated: a new model needs no new test.

Oracles: the counts that stand in the catalogue (counted again from the built networks), torch's FlopCounterMode, the
parameter counts that torchvision and the literature print.
"""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from zoo import cost, create_model, list_models
from zoo.spec import ModelSpec

SPECS = list_models()


@pytest.fixture(params=SPECS, ids=lambda spec: spec.name)
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    value: ModelSpec = request.param
    return value


def on_meta(spec: ModelSpec, num_classes: int = 100) -> torch.nn.Module:
    with torch.device("meta"):
        return create_model(spec.name, num_classes=num_classes)


def test_counts_are_as_the_catalogue_says(spec: ModelSpec) -> None:
    num_classes, image_size = spec.at
    model = on_meta(spec, num_classes)
    layers = cost.layer_costs(model, image_size=image_size, in_channels=spec.in_channels)
    assert sum(parameter.numel() for parameter in model.parameters()) == spec.num_parameters
    assert sum(layer.num_parameters for layer in layers) == spec.num_parameters
    assert sum(layer.multiply_adds for layer in layers) == spec.multiply_adds


def test_total_stride_is_as_recorded(spec: ModelSpec) -> None:
    found = cost.total_stride(on_meta(spec), image_size=spec.image_size, in_channels=spec.in_channels)
    assert found == spec.total_stride


@pytest.mark.parametrize("num_classes", [5, 10, 1000])
def test_scores_have_a_column_a_class(spec: ModelSpec, num_classes: int) -> None:
    images = torch.empty(2, spec.in_channels, spec.image_size, spec.image_size, device="meta")
    assert on_meta(spec, num_classes).eval()(images).shape == (2, num_classes)


def test_reads_grey_images(spec: ModelSpec) -> None:
    with torch.device("meta"):
        model = create_model(spec.name, in_channels=1)
    images = torch.empty(2, 1, spec.image_size, spec.image_size, device="meta")
    assert model.eval()(images).shape == (2, 100)


def test_multiply_adds_are_half_the_flops_of_torch(spec: ModelSpec) -> None:
    model = on_meta(spec).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, spec.in_channels, spec.image_size, spec.image_size, device="meta"))
    assert math.isclose(spec.multiply_adds, counter.get_total_flops() / 2)


PUBLISHED_PARAMETERS = {  # with 1000 classes; torchvision's documentation, and the sums of the AlexNet paper's layers
    "alexnet_grouped": 60_965_224,
    "alexnet_single_tower": 62_378_344,
    "alexnet_owt": 61_100_840,
    "resnet18": 11_689_512,
    "squeezenet1_1": 1_235_496,
    "mobilenet_v2": 3_504_872,
    "shufflenet_v2_x1_0": 2_278_604,
}


@pytest.mark.parametrize(("name", "num_parameters"), PUBLISHED_PARAMETERS.items())
def test_parameters_are_the_published_number(name: str, num_parameters: int) -> None:
    with torch.device("meta"):
        assert cost.count_parameters(create_model(name, num_classes=1000)) == num_parameters


PUBLISHED_CIFAR = {  # millions of parameters and of multiply-adds with 100 classes, chenyaofo/pytorch-cifar-models
    "mobilenet_v2_cifar": (2.35, 88.1),
    "shufflenet_v2_x1_0_cifar": (1.36, 45.1),
}


@pytest.mark.parametrize(("name", "millions"), PUBLISHED_CIFAR.items())
def test_small_stems_cost_what_the_literature_prints(name: str, millions: tuple[float, float]) -> None:
    (spec,) = list_models(name)
    assert (round(spec.num_parameters / 1e6, 2), round(spec.multiply_adds / 1e6, 1)) == millions

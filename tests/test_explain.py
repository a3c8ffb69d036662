"""Heat maps.

Oracle: closed forms. Of a network whose scores are linear in its maps, Grad-CAM is that sum of
maps; of a score that is read from one quarter, occlusion finds that quarter.
"""

import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.deploy.explain import explain, find_map_layer
from zoo.registry import create_model, list_models, resolve
from zoo.two_tower import to_grouped

NAMES = ("lenet5", "resnet20", "shufflenet_v2_x1_0_cifar", "speedrun")


def noise(name: str, seed: int = 0) -> Tensor:
    """An image of the size and channels that a model takes."""
    spec, random = resolve(name), torch.Generator().manual_seed(seed)
    return torch.randn(spec.in_channels, spec.image_size, spec.image_size, generator=random)


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, num_classes=10).eval()


def read_quarter(images: Tensor) -> np.ndarray:
    """Score class 1 by the light in the upper left quarter, as something that is no network."""
    light = images[:, :, :16, :16].sum((1, 2, 3))
    return torch.stack([torch.zeros_like(light), light], 1).numpy()


def test_grad_cam_is_the_weighted_sum_of_maps_where_scores_are_linear_in_them() -> None:
    torch.manual_seed(0)
    head = nn.Linear(5, 3)
    convolution = nn.Conv2d(3, 5, 3, padding=1)
    model = nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    image = torch.randn(3, 12, 12)
    with torch.no_grad():
        maps = convolution(image[None])[0]
        expected = torch.einsum("c,chw->hw", head.weight[2], maps).clamp(min=0)
    np.testing.assert_allclose(explain(model, image, 2), expected / expected.max(), atol=1e-6)


def test_the_answer_itself_is_explained_unless_a_class_is_named() -> None:
    model, image = build("lenet5"), noise("lenet5")
    answer = int(model(image[None]).argmax())
    np.testing.assert_array_equal(explain(model, image), explain(model, image, answer))
    assert (explain(model, image, (answer + 1) % 10) != explain(model, image)).any()


def test_occlusion_finds_the_quarter_that_the_score_is_read_from() -> None:
    heat = explain(read_quarter, torch.ones(3, 32, 32))
    assert heat[:12, :12].min() > 0.9
    assert heat[20:].max() == heat[:, 20:].max() == 0


def test_a_place_that_speaks_against_a_class_has_none() -> None:
    assert not explain(read_quarter, -torch.ones(3, 32, 32), 1).any()


@pytest.mark.parametrize("name", [*NAMES, "mlp"])
def test_a_model_is_explained_and_left_as_it_was(name: str) -> None:
    model, image = build(name), noise(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    heat = explain(model, image)
    assert heat.shape == image.shape[1:]
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max() in (0, 1)
    assert all(parameter.grad is None for parameter in model.parameters())
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert (find_map_layer(model, image[None]) is None) == (name == "mlp")


def test_patches_that_become_tokens_are_no_maps_to_read() -> None:
    assert find_map_layer(build("vit_tiny_cifar"), noise("vit_tiny_cifar")[None]) is None


def test_a_network_whose_weights_are_frozen_is_explained_alike() -> None:
    model, image = build("lenet5"), noise("lenet5")
    expected = explain(model, image)
    np.testing.assert_array_equal(explain(model.requires_grad_(False), image), expected)


def test_both_towers_are_looked_at() -> None:
    model, image = build("alexnet_two_tower_cifar"), noise("alexnet_two_tower_cifar")
    np.testing.assert_array_equal(explain(model, image), explain(to_grouped(model), image))


def test_a_network_without_maps_has_no_grad_cam() -> None:
    with pytest.raises(ValueError, match="no layer gives maps"):
        explain(build("mlp"), noise("mlp"), way="grad_cam")


def test_without_captum_the_command_that_installs_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[explain\]'"):
        explain(build("mlp"), noise("mlp"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [spec.name for spec in list_models()])
def test_every_model_of_the_catalogue_is_explained(name: str) -> None:
    heat = explain(build(name), noise(name))
    assert heat.max() in (0, 1)

"""The Python interface. Oracles: the papers' and libraries' published counts, torchvision's own
layers, and the examples of the docstrings.
"""

import doctest

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

import zoo
from zoo import registry


def test_what_is_public_is_documented() -> None:
    for name in zoo.__all__:
        public = getattr(zoo, name)
        assert public.__doc__, name
        assert public.__module__ in ("zoo", "zoo.registry", "zoo.spec")
    assert {"create_model", "list_models", "resolve"} <= set(zoo.__all__)


def test_the_docstrings_examples_are_true() -> None:
    results = doctest.testmod(registry, extraglobs={"torch": torch})
    assert results.attempted >= 5
    assert results.failed == 0


# 1000 classes: the papers' tables and torchvision's and timm's documentation.
PUBLISHED = {"alexnet_grouped": 60_965_224, "resnet18": 11_689_512, "timm:resnet18": 11_689_512}


@pytest.mark.parametrize(("name", "num_parameters"), PUBLISHED.items())
def test_a_model_by_name_has_the_published_parameters(name: str, num_parameters: int) -> None:
    with torch.device("meta"):
        model = zoo.create_model(name, num_classes=1000)
    assert isinstance(model, nn.Module)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters


def test_a_foreign_model_is_the_librarys_own() -> None:
    torch.manual_seed(0)
    theirs = resnet18(weights=None, num_classes=10).eval()
    torch.manual_seed(0)
    ours = zoo.create_model("tv:resnet18", num_classes=10).eval()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(images), theirs(images))


def test_scores_have_a_row_an_image_and_a_column_a_class() -> None:
    spec = zoo.resolve("lenet5_1998")
    model = zoo.create_model(spec.name, num_classes=7)
    images = torch.zeros(2, spec.in_channels, spec.image_size, spec.image_size)
    scores = model(images)
    assert scores.shape == (2, 7)
    assert scores.dtype == torch.float32


def test_a_spec_says_for_what_its_counts_hold() -> None:
    assert zoo.resolve("lenet5", num_classes=10).at == (100, 32)  # ours: as in the catalogue
    counted = zoo.resolve("tv:resnet18", num_classes=1000)
    assert counted.at == (1000, 224)
    assert counted.num_parameters == PUBLISHED["resnet18"]


def test_the_random_state_decides_the_weights() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(zoo.create_model("lenet5").state_dict()["conv1.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_no_match_is_an_empty_list_and_a_wrong_name_an_error_of_one_line() -> None:
    assert zoo.list_models("nobody*") == []
    for call in (zoo.create_model, zoo.resolve):
        with pytest.raises(ValueError, match="unknown model 'lenet6'; did you mean") as refused:
            call("lenet6")
        assert "\n" not in str(refused.value)

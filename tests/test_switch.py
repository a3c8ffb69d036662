"""Switches behind a name. Oracles: the signatures of the functions and classes that take them."""

import inspect
import re
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from torch import nn

from zoo import create_model, list_models, resolve
from zoo.alexnet import Design as AlexNetDesign
from zoo.fitted_model import Design as FittedDesign
from zoo.registry import create_empty, get_builder


def switches_of(name: str) -> dict[str, object]:
    """Return the kinds of a model's own switches, by name; of an AlexNet those of its design."""
    build = get_builder(name)
    parameters = inspect.signature(build).parameters
    if all(one.kind is not one.VAR_KEYWORD for one in parameters.values()):
        hints = get_type_hints(build)
        return {switch: hints[switch] for switch in parameters if switch != "num_classes"}
    designs = {"alexnet": AlexNetDesign, "two_tower": AlexNetDesign, "classical": FittedDesign}
    (spec,) = list_models(name)
    return dict(get_type_hints(designs[spec.file])) if spec.file in designs else {}


EVERY = []
for spec in list_models():
    EVERY += [(spec.name, switch, kind) for switch, kind in switches_of(spec.name).items()]


@pytest.mark.parametrize(("name", "switch", "kind"), EVERY)
def test_every_switch_of_every_model_refuses_what_it_can_not_be(
    name: str, switch: str, kind: object
) -> None:
    wrong = ["nonsense", "1.5", "-1", "nan", "true"]
    if kind is bool:
        wrong.remove("true")
    if kind is float:
        wrong.remove("-1")
        wrong += ["-0.1", "1.1"]
    for value in wrong:
        with pytest.raises(ValueError, match=f"{switch} is ") as caught:
            resolve(f"{name}@{switch}={value}")
        assert "\n" not in str(caught.value)
        if get_origin(kind) is Literal:
            assert " or ".join(str(one) for one in get_args(kind)) in str(caught.value)


QUICK = ("lenet5", "cuda_convnet", "resnet18_cifar", "mobilenet_v3_small_cifar", "vit_tiny_cifar")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(spec.name, marks=() if spec.name in QUICK else pytest.mark.slow)
        for spec in list_models()
    ],
)
def test_a_switch_that_a_model_lacks_is_refused_with_those_that_it_has(name: str) -> None:
    # torchvision's MobileNet v3 takes any word, and passes over those that it doesn't know.
    said = r": there is no switch 'nonsense'(; (it has|did you mean) |, or 1 changes nothing)"
    with pytest.raises(ValueError, match=said):
        create_empty(f"{name}@nonsense=1")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda_convnet@lrn=off", "cuda_convnet: lrn is true or false, not 'off'"),
        ("cuda_convnet@activation=gelu", "cuda_convnet: activation is relu or tanh, not 'gelu'"),
        ("alexnet_half@towers=3", "alexnet_half: towers is 1 or 2, not 3"),
        ("lenet5_1998@output=linear", "output is rbf or softmax, not 'linear'"),
        ("lenet5@in_channels=2", "in_channels is 1 for grey images or 3"),
        ("lenet5@num_classes=2", "the data set says how many classes"),
        ("alexnet_half@lrn=off,lrn=code", "lrn is given twice"),
        (
            "tv:resnet18@zero_init_residual=maybe",
            "zero_init_residual is true or false, not 'maybe'",
        ),
        (
            "tv:resnet18@grops=2",
            "tv:resnet18: there is no switch 'grops'; it has zero_init_residual, groups",
        ),
        ("resnet18@norm_layer=nonsense", "can't be built with norm_layer=nonsense: TypeError"),
        ("timm:resnet18@drop_rate=high", "drop_rate is a number, not 'high'"),
        ("timm:resnet18@act_layer=gelux", "can't be built with act_layer=gelux: KeyError"),
        (
            "timm:vit_tiny_patch16_224@nonsense=2",
            "there is no switch 'nonsense'; it has img_size, patch_size",
        ),
        ("tv:googlenet@aux_logits=true", "returns a GoogLeNetOutputs; a model must return"),
        ("timm:resnet18@features_only=true", "returns a list; a model must return"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        resolve(name, num_classes=5)
    assert "\n" not in str(caught.value)


def test_values_that_can_be_are_taken() -> None:
    plain = create_model("cuda_convnet@lrn=false,activation=tanh")
    kinds = [type(layer) for layer in plain.modules()]
    assert nn.Tanh in kinds
    assert nn.ReLU not in kinds
    assert sum(isinstance(layer, nn.Identity) for layer in plain.modules()) == 2
    assert resolve("timm:resnet18@drop_rate=0.1,act_layer=gelu", num_classes=5).at == (5, 224)
    assert create_model("mlp", hidden=(8,))[1].out_features == 8
    # Words that torchvision's MobileNet v3 takes without its class naming them.
    whole, half = resolve("tv:mobilenet_v3_small"), resolve("tv:mobilenet_v3_small@width_mult=0.5")
    assert half.num_parameters < whole.num_parameters

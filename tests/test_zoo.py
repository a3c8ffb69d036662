"""Every model of the registry, enumerated: a new model needs no new test.

Oracles: the counts that stand in the catalogue (counted again from the built networks), torch's
FlopCounterMode, published counts, torchvision's and timm's own models, and identities
(channels-last, batch of one, saved and loaded). What every form goes through runs without numbers
on the `meta` device; the rest on the smallest form of each family (but for two large ones; for
export and compilation, five small ones), and on all forms under the marker `slow`.
"""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models as torchvision_models

from zoo import cost, create_model, list_models
from zoo.fit import check_image_size
from zoo.spec import STEPS, ModelSpec, total_multiply_adds

SPECS = list_models()
SMALLEST = {
    family: min(
        (spec for spec in SPECS if spec.family == family), key=lambda spec: spec.multiply_adds
    )
    for family in {spec.family for spec in SPECS}
}


TRAINED = [spec for spec in SPECS if spec.learner == STEPS]


def is_small(spec: ModelSpec) -> bool:
    """Return whether a form is the smallest of its family, and fast enough to be trained here."""
    return spec is SMALLEST[spec.family] and spec.multiply_adds < 6e8


REAL = [
    pytest.param(spec, id=spec.name, marks=() if is_small(spec) else pytest.mark.slow)
    for spec in SPECS
]


@pytest.fixture(params=SPECS, ids=lambda spec: spec.name, scope="module")
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    value: ModelSpec = request.param
    return value


@pytest.fixture(scope="module")
def on_meta(spec: ModelSpec) -> nn.Module:
    with torch.device("meta"):
        return create_model(spec.name).eval()


def test_counts_are_as_the_catalogue_says(spec: ModelSpec, on_meta: nn.Module) -> None:
    assert spec.at == (100, spec.image_size)
    layers = cost.layer_costs(on_meta, image_size=spec.image_size, in_channels=spec.in_channels)
    assert sum(parameter.numel() for parameter in on_meta.parameters()) == spec.num_parameters
    assert sum(layer.num_parameters for layer in layers) == spec.num_parameters
    assert total_multiply_adds(layers) == spec.multiply_adds


def test_total_stride_is_as_recorded(spec: ModelSpec, on_meta: nn.Module) -> None:
    assert (
        cost.total_stride(on_meta, image_size=spec.image_size, in_channels=spec.in_channels)
        == spec.total_stride
    )


def test_multiply_adds_are_half_the_flops_of_torch(spec: ModelSpec, on_meta: nn.Module) -> None:
    with FlopCounterMode(display=False) as counter:
        on_meta(torch.empty(1, spec.in_channels, spec.image_size, spec.image_size, device="meta"))
    # Queries by keys and weights by values of 12 blocks, with a token for the class.
    attention = 0
    if spec.family == "vit":
        tokens = (spec.image_size // spec.total_stride) ** 2 + 1
        attention = 12 * 2 * 192 * tokens**2
    assert spec.multiply_adds == counter.get_total_flops() / 2 - attention


def test_scores_have_a_column_a_class_and_grey_images_are_read(spec: ModelSpec) -> None:
    with torch.device("meta"):
        model = create_model(spec.name, num_classes=10, in_channels=1).eval()
    assert model(torch.empty(2, 1, spec.image_size, spec.image_size, device="meta")).shape == (
        2,
        10,
    )


@pytest.mark.parametrize("num_classes", [5, 1000])
@pytest.mark.parametrize(
    "name",
    [pytest.param(s.name, marks=() if s.family == "alexnet" else pytest.mark.slow) for s in SPECS],
)
def test_any_number_of_classes(name: str, num_classes: int) -> None:
    (spec,) = list_models(name)
    with torch.device("meta"):
        model = create_model(name, num_classes=num_classes).eval()
    images = torch.empty(2, spec.in_channels, spec.image_size, spec.image_size, device="meta")
    assert model(images).shape == (2, num_classes)


def test_what_was_changed_for_small_images_is_recorded() -> None:
    for spec in SPECS:
        if spec.name.endswith("_cifar"):
            (original,) = list_models(spec.name.removesuffix("_cifar"))
            assert spec.image_size == 32 < original.image_size
            assert spec.stem != original.stem
            assert spec.family == original.family


def built(spec: ModelSpec) -> nn.Module:
    torch.manual_seed(0)
    return create_model(spec.name, num_classes=10)


def images_of(spec: ModelSpec, num_images: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(
        num_images, spec.in_channels, spec.image_size, spec.image_size, generator=generator
    )


@pytest.mark.parametrize("spec", [one for one in REAL if one.values[0] in TRAINED])
def test_every_parameter_learns_and_the_loss_falls(spec: ModelSpec) -> None:
    model = built(spec)
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    images, labels = images_of(spec), torch.tensor([1, 2, 3, 4])
    optimizer = torch.optim.AdamW(model.parameters(), 3e-4)
    losses = []
    for step in range(10):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        if step == 0:
            lacking = [
                n
                for n, p in model.named_parameters()
                if p.grad is None or not p.grad.isfinite().all()
            ]
            assert lacking == []
        optimizer.step()
        losses.append(loss.item())
        if step >= 5 and losses[-1] < losses[0]:
            return
    pytest.fail(f"the loss did not fall in ten steps: {losses}")


@pytest.mark.parametrize("spec", REAL)
@torch.no_grad()
def test_evaluation_has_no_chance_in_it(spec: ModelSpec) -> None:
    """Scores are the same twice, for loaded weights, for one image alone, in channels-last."""
    model = built(spec).eval()
    images = images_of(spec)
    scores = model(images)
    assert scores.shape == (4, 10)
    assert scores.isfinite().all()
    assert torch.equal(model(images), scores)
    torch.manual_seed(1)
    other = create_model(spec.name, num_classes=10).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(images), scores)
    close = {"rtol": 1e-3, "atol": 1e-4 * scores.abs().max().item()}
    torch.testing.assert_close(model(images[:1]), scores[:1], **close)
    in_channels_last = model.to(memory_format=torch.channels_last)(
        images.contiguous(memory_format=torch.channels_last)
    )
    torch.testing.assert_close(in_channels_last, scores, **close)


def exported_at_once(spec: ModelSpec) -> bool:
    """Return whether a form is the smallest of its family, and exported in a second or so."""
    # What is fitted once is built of the same parts: one stands for all.
    is_alike = spec.learner != STEPS and spec.name != "hog_svm"
    return spec is SMALLEST[spec.family] and spec.multiply_adds < 1.5e7 and not is_alike


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(spec, id=spec.name, marks=() if exported_at_once(spec) else pytest.mark.slow)
        for spec in SPECS
    ],
)
@torch.no_grad()
def test_survives_export_and_compilation(spec: ModelSpec) -> None:
    model, images = built(spec).eval(), images_of(spec, 2)
    scores = model(images)
    close = {"rtol": 1e-3, "atol": 1e-4 * scores.abs().max().item()}
    torch.testing.assert_close(
        torch.export.export(model, (images,)).module()(images), scores, **close
    )
    torch.compiler.reset()
    torch.testing.assert_close(
        torch.compile(model, backend="aot_eager", fullgraph=True)(images), scores, **close
    )


# With 1000 classes: torchvision's and timm's documentation, and the papers.
PUBLISHED_PARAMETERS = {
    "alexnet_two_tower": 60_965_224,
    "alexnet_grouped": 60_965_224,
    "alexnet_single_tower": 62_378_344,
    "alexnet_owt": 61_100_840,
    "vgg11": 132_863_336,
    "vgg16_bn": 138_365_992,
    "googlenet": 6_624_904,
    "inception_v3": 23_834_568,
    "xception": 22_855_952,
    "nasnet_a_mobile": 5_289_978,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnext50_32x4d": 25_028_904,
    "se_resnet50": 28_088_024,
    "densenet121": 7_978_856,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "shufflenet_v1": 1_865_728,
    "shufflenet_v2_x1_0": 2_278_604,
    "mnasnet1_0": 4_383_312,
    "efficientnet_b0": 5_288_548,
    "ghostnet": 5_182_508,
    "vit_tiny": 5_717_416,
}


@pytest.mark.parametrize(("name", "num_parameters"), PUBLISHED_PARAMETERS.items())
def test_parameters_are_the_published_number(name: str, num_parameters: int) -> None:
    with torch.device("meta"):
        assert cost.count_parameters(create_model(name, num_classes=1000)) == num_parameters


# Millions of parameters and of multiply-adds with 100 classes: chenyaofo/pytorch-cifar-models for
# VGG, MobileNetV2 and ShuffleNetV2; osmr/pytorchcv for NIN and WRN; the others print parameters
# alone. LeNet-5's 60,000: LeCun et al. 1998.
PUBLISHED_CIFAR: dict[str, tuple[float, float | None]] = {
    "vgg11_bn_cifar": (9.80, 153.3),
    "vgg13_bn_cifar": (9.99, 228.8),
    "vgg16_bn_cifar": (15.30, 313.8),
    "vgg19_bn_cifar": (20.61, 398.7),
    "mobilenet_v2_cifar": (2.35, 88.1),
    "shufflenet_v2_x1_0_cifar": (1.36, 45.1),
    "nin": (0.98, 223.6),
    "resnet20": (0.28, None),
    "resnet32": (0.47, None),
    "resnet56": (0.86, None),
    "resnet18_cifar": (11.22, None),
    "resnet34_cifar": (21.33, None),
    "resnet50_cifar": (23.71, 1298.0),
    "wide_resnet28_10": (36.54, None),
    "densenet_bc_100_12": (0.80, None),
    "lenet5_1998": (0.06, None),
}


@pytest.mark.parametrize(("name", "millions"), PUBLISHED_CIFAR.items())
def test_small_forms_cost_what_the_literature_prints(
    name: str, millions: tuple[float, float | None]
) -> None:
    (spec,) = list_models(name)
    assert round(spec.num_parameters / 1e6, 2) == millions[0]
    assert millions[1] in (None, round(spec.multiply_adds / 1e6, 1))


@pytest.mark.parametrize(
    "name", ["resnet18", "squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x1_0"]
)
def test_torchvisions_model_with_the_same_weights_gives_the_same_scores(name: str) -> None:
    theirs: Any = torchvision_models.get_model(name, weights=None, num_classes=10).eval()
    ours = create_model(name, num_classes=10).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours(images), theirs(images))


def test_timms_model_with_the_same_weights_gives_the_same_scores() -> None:
    theirs = timm.create_model("ghostnet_100", num_classes=10).eval()
    ours = create_model("ghostnet", num_classes=10).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize(
    "name", ["squeezenet1_1", "mobilenet_v2", "shufflenet_v2_x1_0", "resnet18"]
)
def test_plain_stems_read_small_images_too(name: str) -> None:
    check_image_size(name, 32)


def test_an_image_that_is_too_small_is_refused_before_training() -> None:
    with pytest.raises(
        ValueError,
        match=r"alexnet_grouped can't read images of 32 px: it reads 224 px; "
        r"set --image-size or take alexnet_grouped_cifar",
    ):
        check_image_size("alexnet_grouped", 32)


@pytest.mark.parametrize(
    ("name", "values", "stride"), [("speedrun", 12, 1), ("speedrun_cpu", 48, 2)]
)
def test_whitened_patches_have_unit_covariance(name: str, values: int, stride: int) -> None:
    """The identity that names the first layer of the networks for short budgets."""
    model: Any = create_model(name)
    images = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)).cumsum(3)
    model.see_images(images)
    whitened = (
        nn.functional.conv2d(images, model.whiten.weight, stride=stride)[:, :values]
        .movedim(1, 3)
        .flatten(0, 2)
        .double()
    )
    covariance = whitened.T @ whitened / len(whitened)
    assert (covariance - covariance.diag().diag()).abs().max() < 1e-3
    assert not model.whiten.weight.requires_grad

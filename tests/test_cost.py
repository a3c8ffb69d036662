"""What models cost.

Oracles: torch's FlopCounterMode, timm's model of the same network, the GFLOPs that torchvision
prints beside its weights (convolutions, linear layers and products of activations), closed forms.
"""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models as torchvision_models

from zoo import resolve
from zoo.cause import UserCodeError
from zoo.cost import count_parameters, layer_costs
from zoo.registry import create_empty
from zoo.spec import PRODUCTS, LayerCost, total_multiply_adds

PATCHES = (224 // 16) ** 2
TOKENS = PATCHES + 1
WIDTH, BLOCKS = 768, 12


def products_of(layers: list[LayerCost]) -> int:
    return sum(layer.multiply_adds for layer in layers if layer.kind == PRODUCTS)


def test_a_vision_transformers_projections_are_counted_and_its_products_apart() -> None:
    """ViT-B/16 in closed form.

    A block multiplies each token by 4 WIDTH^2 weights in its projections and by 8 WIDTH^2 in its
    feed-forward part.
    """
    layers = layer_costs(create_empty("tv:vit_b_16"), image_size=224)
    blocks = BLOCKS * 12 * WIDTH**2 * TOKENS
    assert (
        total_multiply_adds(layers)
        == blocks + PATCHES * WIDTH * 3 * 16**2 + 100 * WIDTH
        == 16_847_809_536
    )
    assert products_of(layers) == BLOCKS * 2 * TOKENS**2 * WIDTH == 715_327_488
    assert [layer.kind for layer in layers].count(PRODUCTS) == 1
    timms = layer_costs(create_empty("timm:vit_base_patch16_224"), image_size=224)
    assert total_multiply_adds(timms) == 16_847_809_536
    assert products_of(timms) == 715_327_488


MODELS = [
    "tv:vit_b_16",
    "tv:swin_t",
    "tv:swin_v2_t",
    "tv:maxvit_t",
    "tv:regnet_y_400mf",
    "timm:eva02_tiny_patch14_224",
    "timm:beit_base_patch16_224",
    "timm:coat_tiny",
    "timm:mixer_s32_224",
    "timm:xcit_nano_12_p16_224",
    "timm:lambda_resnet26t",
    "timm:gcresnet33ts",
]


@pytest.mark.parametrize("name", MODELS)
def test_all_that_torch_counts_is_in_a_row_and_every_parameter_is_shown(name: str) -> None:
    model = create_empty(name, num_classes=1000).eval()
    size = 224 if "v2" not in name and "lambda" not in name and "gcres" not in name else 256
    layers = layer_costs(model, image_size=size)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, size, size, device="meta"))
    torch.backends.mha.set_fastpath_enabled(fast)
    assert total_multiply_adds(layers) + products_of(layers) == counter.get_total_flops() // 2
    assert sum(layer.num_parameters for layer in layers) >= count_parameters(model)


@pytest.mark.parametrize(
    "name",
    ["vit_b_16", "vit_b_32", "swin_t", "swin_v2_t", "maxvit_t", "convnext_tiny", "regnet_y_400mf"],
)
def test_torchvision_prints_the_same_gigaflops(name: str) -> None:
    weights = torchvision_models.get_model_weights(name).DEFAULT
    size = weights.transforms().crop_size[0]
    layers = layer_costs(create_empty(f"tv:{name}", num_classes=1000), image_size=size)
    printed = weights.meta["_ops"]
    assert (total_multiply_adds(layers) + products_of(layers)) / 1e9 == pytest.approx(
        printed, abs=1e-3
    )


class Functional(nn.Module):
    """Weights that others multiply by, an answer in a tuple, products of activations by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(5, 7)
        self.linear = nn.Linear(48, 8)
        self.pair = Pair()
        self.mix = nn.ParameterList([nn.Parameter(torch.zeros(8, 4))])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.flatten(2).transpose(1, 2).reshape(1, 16, 48)
        x = F.linear(x, self.linear.weight, self.linear.bias)
        x, _ = self.pair(x)
        x = torch.einsum("bnc,cd->bnd", x, self.mix[0])
        return torch.einsum("bnd,bmd->bnm", x, x).mean(1)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(8, 8))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return x @ self.weight, None


def test_functional_calls_tuples_and_lists_of_parameters_are_rows() -> None:
    layers = {layer.name or layer.kind: layer for layer in layer_costs(Functional(), image_size=16)}
    assert {name: layer.num_parameters for name, layer in layers.items()} == {
        "pair": 64,
        "Functional": 0,
        "unused": 42,
        "linear": 392,
        "mix": 32,
        PRODUCTS: 0,
    }
    assert layers["pair"].multiply_adds == 16 * 8 * 8
    assert layers["pair"].output_shape == (16, 8)
    assert layers["Functional"].multiply_adds == 16 * 48 * 8 + 16 * 8 * 4
    assert layers[PRODUCTS].multiply_adds == 16 * 16 * 4


def test_frozen_attention_is_counted_as_trained_attention_is() -> None:
    """torch fuses a transformer's layer where no weight learns."""
    model = nn.Sequential(
        nn.Conv2d(3, 32, 8, 8),
        nn.Flatten(2),
        nn.TransformerEncoderLayer(16, 2, 64, batch_first=True),
    )
    learning = layer_costs(model, image_size=32)
    frozen = layer_costs(model.requires_grad_(False), image_size=32)
    assert frozen == learning
    assert total_multiply_adds(frozen) == 16 * 32 * 192 + 32 * (4 * 16**2 + 2 * 16 * 64)


@pytest.mark.parametrize(
    ("name", "size", "stride"),
    [
        ("tv:vit_h_14", 518, 14),
        ("tv:vit_b_16@image_size=32", 32, 16),
        ("timm:vit_tiny_patch16_224@img_size=64,patch_size=8", 64, 8),
        ("vit_tiny@img_size=64,patch_size=8", 64, 8),
    ],
)
def test_models_of_a_fixed_size_are_built_and_counted_for_it(
    name: str, size: int, stride: int
) -> None:
    spec = resolve(name, num_classes=5)
    assert (spec.image_size, spec.total_stride, spec.at) == (size, stride, (5, size))


def test_grey_images_asked_for_behind_a_name_are_what_it_reads() -> None:
    """LeNet-5's first layer has 6 x 25 weights a channel, on 28 x 28 pixels."""
    colour, grey = resolve("lenet5"), resolve("lenet5@in_channels=1")
    assert (colour.in_channels, grey.in_channels) == (3, 1)
    assert colour.multiply_adds - grey.multiply_adds == 2 * 6 * 25 * 28**2


def test_networks_that_read_numbers_while_they_are_built_have_a_form_without() -> None:
    before = torch.get_rng_state()
    model = create_empty("tv:regnet_y_400mf", num_classes=3)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("body", "returned"),
    [
        ("return {'logits': self.fc(x.flatten(1))}", "a dict"),
        ("return self.fc(x.flatten(1)), x", "a tuple"),
        ("return torch.zeros(len(x), 1000)", "a tensor of (2, 1000) for 2 images of 5 classes"),
        ("return self.fc(x.flatten(1)).argmax(1)", "a tensor of (2,) for 2 images of 5 classes"),
        ("return self.fc(x.flatten(1)).long()", "a tensor of torch.int64"),
        ("y = self.fc(x.flatten(1)); return (y, y) if self.training else y", "a tuple"),
    ],
)
def test_what_isnt_scores_is_said_before_training(body: str, returned: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.fc = torch.nn.Linear(3072, 5)\n"
        f"    def forward(self, x):\n        {body}\n"
        "def net(num_classes):\n    return Net()\n"
    )
    with pytest.raises(UserCodeError) as caught:
        resolve(f"{path}:net", num_classes=5)
    said = str(caught.value)
    assert said.startswith(f"{path}:net returns {returned}; a model must return one tensor of")
    assert "\n" not in said

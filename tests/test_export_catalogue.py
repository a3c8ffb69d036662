"""Every form of the catalogue as an ONNX file.

Oracle: torch, on 64 images that are alike within blocks of 4 px, so that answers differ.
"""

import numpy as np
import pytest
import torch

from bench.deploy.export import FORMS
from bench.deploy.model_info import Transform
from bench.deploy.pipeline import Pipeline
from zoo.registry import create_model, list_models
from zoo.spec import ModelSpec

NUM_IMAGES = 64
AT_ONCE = 16
SIDE = 32
IN_CI = ("lenet5_1998", "mlp")  # a few seconds each


def mark(spec: ModelSpec) -> pytest.MarkDecorator:
    return pytest.mark.ci if spec.name in IN_CI else pytest.mark.slow


def make_images() -> np.ndarray:
    blocks = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 8, 8, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((1, 4, 4, 1), np.uint8))


@pytest.mark.parametrize(
    "spec", [pytest.param(spec, id=spec.name, marks=mark(spec)) for spec in list_models()]
)
def test_an_exported_form_answers_as_torch(spec: ModelSpec) -> None:
    torch.manual_seed(0)
    network = create_model(spec.name).eval().requires_grad_(False)
    transform = Transform(
        short_side=SIDE,
        side=SIDE,
        channels=3,
        mean=(0.5, 0.5, 0.45),
        std=(0.27, 0.26, 0.28),
        in_channels=spec.in_channels,
        image_size=spec.image_size,
    )
    pipeline = Pipeline(network, transform).eval()
    images = make_images()
    score = FORMS["onnx"].load(FORMS["onnx"].prepare(pipeline)({}), "NHWC")
    for start in range(0, NUM_IMAGES, AT_ONCE):
        batch = images[start : start + AT_ONCE]
        with torch.inference_mode():
            expected = pipeline(torch.from_numpy(batch))[1].numpy()
        found = score(batch)
        # Fresh weights may give scores of hundreds, or of 1e-9.
        largest = float(np.abs(expected).max())
        assert found == pytest.approx(expected, abs=1e-4 * max(1.0, largest))
        assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()

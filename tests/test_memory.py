"""Memory by kind. Oracle.

A model whose weights, gradients, momentum and kept tensors can be added up by hand.
"""

from pathlib import Path

import pytest

from bench.measure.memory import request_memory
from bench.request.command_line import parse
from bench.request.config import to_json

MODEL = """
from torch import nn

def wide(num_classes=100):
    layers = [nn.AvgPool2d(32), nn.Flatten(), nn.Linear(3, 4096), nn.Linear(4096, 4096)]
    return nn.Sequential(*layers, nn.Linear(4096, num_classes))
"""


@pytest.mark.distributed
def test_the_peak_is_that_of_weights_gradients_and_momentum(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MODEL)
    request = {
        "config": to_json(parse(["--recipe", "smoke", "--num-threads", "1"])),
        "model": f"{file}:wide",
        "num_classes": 100,
        "in_channels": 3,
        "image_size": 32,
        "batch_size": 8,
        "uploaded_bytes": 0,
    }
    found = request_memory(request)
    assert isinstance(found, dict), found
    weights = 4 * (3 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 100 + 100)  # float32
    assert (
        found["parameter_bytes"] == found["gradient_bytes"] == found["optimizer_bytes"] == weights
    )
    # Kept of 8 images: their means, the linear layers' two other inputs, the logarithms of the
    # probabilities, the labels (int64) and the sum of their weights; not the images, which no
    # weight is multiplied with.
    assert found["activation_bytes"] == 4 * 8 * (3 + 4096 + 4096 + 100) + 8 * 8 + 4
    peak = found["peak_memory_bytes"]
    assert 3 * weights <= peak <= 3.75 * weights + 30e6, (
        f"{peak / 1e6:.0f} MB instead of {3 * weights / 1e6:.0f}"
    )
    assert found["process_peak_bytes"] > peak
    assert "device_allocated_bytes" not in found  # this device has none: absent, not zero


@pytest.mark.distributed
def test_what_cannot_be_measured_is_a_cause(tmp_path: Path) -> None:
    request = {
        "config": to_json(parse(["--recipe", "smoke"])),
        "model": "lenet5",
        "num_classes": 100,
        "in_channels": 3,
        "image_size": 3,
        "batch_size": 8,
        "uploaded_bytes": 0,
    }
    cause = request_memory(request)
    assert isinstance(cause, str)
    assert "Error" in cause

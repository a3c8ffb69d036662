"""Peak memory. Oracle: a model whose weights, gradients and momentum can be added up by hand."""

from pathlib import Path

import pytest

from bench.config import parse, to_json
from bench.memory import peak_memory_bytes

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
        "config": to_json(parse(["--recipe", "smoke", "--num-threads", "1"])), "model": f"{file}:wide",
        "num_classes": 100, "in_channels": 3, "image_size": 32, "batch_size": 8,
    }  # fmt: skip
    peak = peak_memory_bytes(request)
    expected = 3 * 4 * (4096 * 4096 + 4096 * 105)  # float32 weights, gradients, momentum
    assert isinstance(peak, int), peak
    assert expected <= peak <= 1.25 * expected + 30e6, f"{peak / 1e6:.0f} MB instead of {expected / 1e6:.0f}"


@pytest.mark.distributed
def test_what_cannot_be_measured_is_a_cause(tmp_path: Path) -> None:
    request = {
        "config": to_json(parse(["--recipe", "smoke"])), "model": "lenet5", "num_classes": 100, "in_channels": 3,
        "image_size": 3, "batch_size": 8,
    }  # fmt: skip
    cause = peak_memory_bytes(request)
    assert isinstance(cause, str)
    assert "Error" in cause

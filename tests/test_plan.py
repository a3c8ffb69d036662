"""`--dry-run`. Oracle: the closed form of a step's memory."""

import re
from typing import Any

import pytest
import torch

from bench.cell.open_run import list_cells
from bench.cell.plan import show_plan
from bench.request.command_line import parse
from zoo.cost import count_parameters, layer_costs
from zoo.registry import create_model


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_plan_with_the_papers_optimiser_counts_one_momentum(
    accumulate: int, tiny_data: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--recipe", "paper", "--models", "vgg11_cifar", "--accumulate", str(accumulate)]
    config = parse([*words, "--num-threads", "1"])
    said: list[str] = []
    monkeypatch.setattr(runtime, "say", said.append)
    assert show_plan(list_cells(config, tiny_data), config, tiny_data, runtime) == 0
    with torch.device("meta"):
        model = create_model("vgg11_cifar", num_classes=len(tiny_data.class_names))
    outputs = sum(x.activation_bytes for x in layer_costs(model, image_size=32, in_channels=3))
    weights_gradients_and_momentum = 3 * 4 * count_parameters(model)
    expected = weights_gradients_and_momentum + 2 * config.batch_size / accumulate * outputs
    found = re.search(r"([\d,]+) MiB a process", said[0])
    assert found is not None, said[0]
    assert int(found[1].replace(",", "")) == round(expected / 2**20)

"""The estimate of a training step's memory. Oracle: the closed form, and the tensors of a step."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from bench.request.command_line import parse
from bench.results.step_memory import StepMemory, estimate_recorded_step, estimate_step_memory
from bench.train.build import build_learner
from bench.train.step import build_tiny_network, make_noise_batch
from tests.support.record_factory import record


@pytest.mark.parametrize(
    ("optimizer", "momentum", "copies"),
    [
        ("sgd", 0.9, 3),
        ("sgd", 0.0, 2),
        (None, 0.9, 3),
        ("momentum", 0.9, 3),
        ("momentum", 0.0, 2),
        ("adam", 0.9, 4),
        ("adamw", 0.9, 4),
        ("lamb", 0.9, 4),
    ],
)
def test_the_model_is_there_once_for_each_of_weights_gradients_and_state(
    optimizer: str | None, momentum: float, copies: int
) -> None:
    found = estimate_step_memory(
        num_parameters=1_000, activation_bytes=500.0, optimizer=optimizer, momentum=momentum
    )
    assert found.model_bytes == copies * 4_000
    assert found.total_bytes == copies * 4_000 + 2 * 500


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_state_is_what_the_optimiser_holds_after_a_step(
    optimizer: str, momentum: float, runtime: Any
) -> None:
    config = dataclasses.replace(
        parse(["--recipe", "smoke"]), optimizer=optimizer, momentum=momentum
    )
    model = build_tiny_network()
    learner = build_learner(model, config=config, peak=0.1, seed=0, runtime=runtime)
    batch = make_noise_batch(config.accumulate, (3, 8, 8), config=config, device=runtime.device)
    learner.step(batch, step=0, rate=0.1)
    found = estimate_step_memory(
        num_parameters=count(model), activation_bytes=0, optimizer=optimizer, momentum=momentum
    )
    tensors = [
        value
        for state in learner.optimizer.state.values()
        for value in state.values()
        if torch.is_tensor(value) and value.ndim > 0  # Adam counts its steps in a scalar
    ]
    assert found.optimizer == sum(tensor.nbytes for tensor in tensors)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_a_record_is_estimated_with_its_own_optimiser() -> None:
    given = record(config={"optimizer": "momentum", "momentum": 0.9}, num_local_parameters=10)
    outputs = sum(layer.activation_bytes for layer in given.layers)
    assert estimate_recorded_step(given, num_images=3) == StepMemory(40, 40, 40, 3 * outputs)

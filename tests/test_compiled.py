"""What `--compile` times. Oracle: a backend that counts how often what it compiled is run."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.measure.subject import Subject, build_subject
from bench.measure.sweep import time_inference
from bench.measure.visit import infer_visit, latency_visit, train_visit
from bench.request.command_line import parse
from bench.train.build import RunContext, compile_model
from zoo.registry import resolve


class Backend:
    """Runs graphs as they are.

    `runs` counts how often, `any_size` how many graphs were compiled for sizes of any kind.
    """

    def __init__(self) -> None:
        self.runs = 0
        self.any_size = 0

    def __call__(self, graph: Any, examples: list[Any]) -> Callable[..., Any]:
        self.any_size += any(isinstance(each, torch.SymInt) for each in examples)

        def run(*arguments: Any) -> Any:
            self.runs += 1
            return graph(*arguments)

        return run


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    torch.compiler.reset()
    counting = Backend()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counting))
    yield counting
    torch.compiler.reset()


@pytest.fixture
def subject(backend: Backend, tiny_data: Any, runtime: Any) -> Subject:
    config = parse(["--models", "lenet5", "--epochs", "1", "--batch-size", "8", "--compile"])
    context = RunContext(config, tiny_data, runtime, Path("none"), {})
    return build_subject(resolve("lenet5", num_classes=10), context)


@pytest.mark.parametrize(
    ("make_visit", "runs"),
    # A forward pass that isn't timed and one that is; a step, then two parts with one and the
    # loader alone.
    [(infer_visit, 2), (latency_visit, 2), (train_visit, 3)],
)
def test_what_is_timed_is_compiled(
    make_visit: Callable[..., Any], runs: int, subject: Subject, backend: Backend, runtime: Any
) -> None:
    visit = make_visit(subject, runtime)
    visit()
    assert backend.runs == runs
    visit()
    assert backend.runs == 2 * runs


def test_a_sweep_is_compiled_before_its_clock_starts(
    subject: Subject, backend: Backend, runtime: Any
) -> None:
    times = time_inference(subject, runtime, seconds=0.05, bytes_an_image=1.0, seed=0)
    # Three passes a timing; one, two and four images are compiled before.
    timings = 3 + sum(len(seconds) for seconds in times.seconds.values())
    assert backend.runs == 3 * timings


class Chain(nn.Module):
    """Layers in a row: networks of one class and many depths."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(depth))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            rows = layer(rows)
        return rows


def test_every_model_of_a_class_is_compiled_for_its_own_size(backend: Backend) -> None:
    """Torch's defaults leave the ninth uncompiled, and compile the second for any size."""
    models = [compile_model(Chain(depth)) for depth in range(1, 13)]
    for rows, model in enumerate(models, start=2):
        model(torch.zeros(rows, 4))
    assert backend.runs == len(models)
    assert backend.any_size == 0


def test_a_model_whose_sizes_vary_is_compiled_once_for_all_of_them(backend: Backend) -> None:
    model = compile_model(Chain(1), sizes_vary=True)
    for rows in range(2, 20):
        model(torch.zeros(rows, 4))
    assert backend.runs == 18
    assert backend.any_size == 1

"""`--batch-size best`.

Oracle: what was found is the maximum of what was tried, and tried are powers of 2 that fit.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.request.command_line import parse
from bench.train.batch_size import LEAST_STEPS, find_best_batch_size, with_best_batch_size
from bench.train.build import RunContext, build_learner, build_model
from tests.support.record_factory import data_info, record
from zoo.registry import resolve


@pytest.fixture
def context(tiny_data: Any, runtime: Any, tmp_path: Path) -> RunContext:
    config = parse(
        ["--models", "lenet5", "--batch-size", "best", "--epochs", "1", "--num-threads", "1"]
    )
    (tmp_path / "cells").mkdir()
    return RunContext(config, tiny_data, runtime, tmp_path, {})


def test_the_best_batch_is_the_fastest_of_those_tried_and_the_record_says_so(
    context: RunContext,
) -> None:
    at, changes = with_best_batch_size(
        resolve("lenet5", num_classes=10), context, record(data=data_info(image_size=32))
    )
    search = changes["batch_search"]
    rates = {int(size): rate for size, rate in search["images_per_second"].items()}
    assert list(rates) == [2**i for i in range(len(rates))]
    assert max(rates) <= len(context.data.train_indices) // LEAST_STEPS
    assert at.config.batch_size == changes["batch_size"] == max(rates, key=lambda size: rates[size])
    assert changes["config"]["batch_size"] == changes["batch_size"]
    assert search["ended"]


def test_a_model_that_fits_in_no_batch_is_refused_with_the_cause(context: RunContext) -> None:
    model = build_model(resolve("lenet5", num_classes=10), 0, context)
    learner = build_learner(
        model, config=context.config, peak=1e-6, seed=0, runtime=context.runtime
    )
    with pytest.raises(ValueError, match="not even 1 images fit"):
        find_best_batch_size(learner, shape=(3, 32, 32), num_train=1_000, bytes_an_image=1e15)


@pytest.mark.parametrize(
    "words", [["--batch-size", "best"], ["--batch-size=best"], ["--best-batch"]]
)
def test_best_is_asked_for_as_a_batch_size(words: list[str]) -> None:
    config = parse(["--models", "lenet5", "--epochs", "1", *words])
    assert config.best_batch
    assert config == replace(parse(["--models", "lenet5", "--epochs", "1"]), best_batch=True)

"""The parts of a run, each by itself: from the forward pass to the record and the page.

`./launch.sh micro tests/micro/test_part_micro.py` writes a JSON file; `python -m reports OLD.json
NEW.json` reads two.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.data.loader import Loader
from bench.data.pixels import ModelInput
from bench.distributed.runtime import Runtime
from bench.measure.subject import Subject, build_subject
from bench.request.command_line import parse
from bench.results.record import RunRecord
from bench.results.storage import read, write
from bench.train.build import RunContext, assess
from bench.train.trainer import Progress
from reports.page import build_page
from reports.runs import read_source
from tests.support.image_factory import memory_dataset
from tests.support.record_factory import record, write_demo
from tests.support.saved import save_checkpoint
from zoo.registry import resolve

pytestmark = pytest.mark.micro
DATASET = memory_dataset(5_000)
MODEL = "squeezenet1_1_cifar"
AUGMENTATIONS = [
    ("crop", "mirror"),
    ("trivial",),
    ("rotation",),
    ("pca",),
    ("erasing",),
    ("mixup",),
]


@pytest.fixture(scope="module")
def context() -> Iterator[RunContext]:
    config = replace(parse(["--recipe", "smoke"]), image_size=None)
    with Runtime.start(config) as runtime:
        yield RunContext(config, DATASET, runtime, Path(), {})


@pytest.fixture(scope="module")
def subject(context: RunContext) -> Subject:
    return build_subject(resolve(MODEL, num_classes=len(DATASET.class_names)), context)


def test_forward(benchmark: Any, subject: Subject) -> None:
    model, images = subject.learner.bare.eval(), subject.batch.images
    with torch.inference_mode():
        benchmark.pedantic(lambda: model(images), rounds=60, warmup_rounds=5)


def test_training_step(benchmark: Any, subject: Subject) -> None:
    benchmark.pedantic(lambda: subject.step(subject.batch), rounds=40, warmup_rounds=5)


@pytest.mark.parametrize("augment", AUGMENTATIONS, ids="+".join)
def test_augmentation(benchmark: Any, augment: tuple[str, ...]) -> None:
    taken = ModelInput(DATASET.mean, DATASET.std, True, torch.device("cpu"))
    loader = Loader(DATASET, taken, batch_size=128, seed=0, augment=augment)
    batches = (batch for epoch in range(1_000) for batch in loader.epoch(epoch))
    benchmark.pedantic(lambda: next(batches), rounds=60, warmup_rounds=5)


def test_evaluation(benchmark: Any, context: RunContext, subject: Subject) -> None:
    spec = resolve(MODEL, num_classes=len(DATASET.class_names))
    benchmark.pedantic(
        lambda: assess(subject.learner.bare, spec, context, split="test"),
        rounds=10,
        warmup_rounds=1,
    )


def test_checkpoint(benchmark: Any, subject: Subject, tmp_path: Path) -> None:
    steps = iter(range(1_000))
    save = lambda: save_checkpoint(tmp_path, subject.learner, Progress(step=next(steps)))  # noqa: E731
    benchmark.pedantic(save, rounds=20, warmup_rounds=2)


def test_record(benchmark: Any, tmp_path: Path) -> None:
    path, whole = tmp_path / "record.json", record(num_epochs=100)

    def there_and_back() -> RunRecord:
        write(path, whole)
        return read(path, RunRecord)

    assert benchmark.pedantic(there_and_back, rounds=40, warmup_rounds=3) == whole


def test_page(benchmark: Any, tmp_path: Path) -> None:
    source = read_source([write_demo(tmp_path / "demo")])
    assert benchmark.pedantic(lambda: build_page(source), rounds=8, warmup_rounds=1).startswith(
        "<!doctype html>"
    )

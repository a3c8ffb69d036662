"""What the tests of the bench share.

One thread, a small data set in memory, a runtime of one process.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

NUM_CLASSES = 10
NUM_TRAIN = 200
NUM_TEST = 64


@pytest.fixture(scope="session")
def tiny_data() -> Any:
    """Ten classes of 32 px noise in five superclasses: 160 + 40 + 64 images, margin 4."""
    from bench.data.dataset import Dataset, ImageSet

    draw = np.random.default_rng(0)

    def images(n: int) -> ImageSet:
        stored = np.zeros((n, 40, 40, 3), np.uint8)
        stored[:, 4:36, 4:36] = draw.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        return ImageSet(stored, np.arange(n) % NUM_CLASSES)

    train = images(NUM_TRAIN)
    return Dataset(
        name="tiny",
        stand_in=False,
        source="embedded",
        checksum="0" * 64,
        size=32,
        margin=4,
        train=train,
        test=images(NUM_TEST),
        train_indices=np.arange(40, NUM_TRAIN),
        validation_indices=np.arange(40),
        protocol="split",
        class_names=tuple(f"class {i}" for i in range(NUM_CLASSES)),
        superclass_names=tuple(f"superclass {i}" for i in range(5)),
        superclass_of=tuple(i // 2 for i in range(NUM_CLASSES)),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_data: Any) -> Any:
    """A run of one cell with its export, what exported it, and the lines that were said."""
    from bench.deploy.cell_choice import find_cell
    from bench.deploy.checked_export import Exporter
    from bench.distributed.runtime import Runtime
    from bench.request.command_line import parse
    from tests.support.trained_run import open_context, write_cell

    folder = tmp_path_factory.mktemp("deploy") / "run"
    with Runtime.start(parse(["--recipe", "smoke", "--num-threads", "1"])) as runtime:
        write_cell(open_context(folder, tiny_data, runtime))
    exporter = Exporter.open(find_cell(folder), tiny_data)
    lines: list[str] = []
    exporter.export("onnx", folder / "cells/lenet5-s0/model.onnx", lines.append)
    return folder, exporter, lines


@pytest.fixture
def runtime() -> Iterator[Any]:
    """A world of one process with one thread."""
    from bench.distributed.runtime import Runtime
    from bench.request.command_line import parse

    with Runtime.start(parse(["--recipe", "smoke", "--num-threads", "1"])) as started:
        yield started


@pytest.fixture
def root() -> Path:
    """The project's root."""
    return Path(__file__).parent.parent


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the test away from the user's cache and data, and from the real sets' checksums."""
    from tests.support.image_factory import use_own_cache

    use_own_cache(monkeypatch, tmp_path)


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    """Write a small CIFAR-10 in the hub's layout."""
    from tests.support.image_factory import write_cifar10

    return write_cifar10(tmp_path / "data" / "cifar10")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute with one thread, for bits that don't depend on the machine's cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that start processes first.

    The files that take long don't wait for one core at the end.
    """
    items.sort(key=lambda item: item.get_closest_marker("distributed") is None)

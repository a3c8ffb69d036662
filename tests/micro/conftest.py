"""What the micro-benchmarks share: the images."""

import os

import pytest

from bench.data import Dataset, open_dataset


@pytest.fixture(scope="session")
def data() -> Dataset:
    """CIFAR-100 where it is at hand, else the stand-in, whose images are of the same size."""
    return open_dataset("cifar100" if os.environ.get("ZOOMETRY_DATA") else "synthetic", None)

"""Which solver fits a model's classifier: the table, and what is needed for it."""

from importlib.util import find_spec
from typing import Any, Protocol

import psutil

from bench.train.codebook import NUM_SAMPLED
from bench.train.forest_solver import Trees
from bench.train.linear_solver import Ridge, SupportVectors
from bench.train.solver import Solver
from zoo.extra import need
from zoo.fitted_model import FittedModel

USABLE = 0.8  # of the memory that is free


class SolverKind(Protocol):
    """A class of solvers: made for a classifier, a number of images, and a seed."""

    def __call__(self, classifier: Any, num_images: int, seed: int, /) -> Solver: ...

    def count_bytes(self, classifier: Any, num_images: int, /) -> int: ...


SOLVERS: dict[str, SolverKind] = {"svm": SupportVectors, "ridge": Ridge, "forest": Trees}


def start_solver(model: FittedModel, num_images: int, seed: int) -> Solver:
    """Return the solver of a model's classifier, with room for the features of so many images."""
    return SOLVERS[model.solver](model.classifier, num_images, seed)


def check_solver(name: str, model: FittedModel, num_images: int, num_processes: int) -> None:
    """Refuse a model whose features don't fit into memory, or whose library isn't installed.

    Also one that compares with more images than there are. ValueError says how much is needed, or
    how to get the library. `model` has no numbers.
    """
    landmarks = model.kernel.num_landmarks if model.kernel else 0
    if landmarks > min(num_images, NUM_SAMPLED):
        raise ValueError(
            f"{name}: landmarks={landmarks}: at most {min(num_images, NUM_SAMPLED):,} training "
            "images can be; give fewer"
        )
    for library in model.libraries:
        if find_spec(library) is None:
            need(library, "classic")
    needed = SOLVERS[model.solver].count_bytes(model.classifier, num_images)
    if model.kernel is not None:
        needed += model.kernel.count_bytes()
    needed *= num_processes
    free = psutil.virtual_memory().available
    if needed > USABLE * free:
        each = f" in each of {num_processes} processes" if num_processes > 1 else ""
        raise ValueError(
            f"{name}: {model.num_features:,} features of {num_images:,} images need about "
            f"{needed / num_processes / 1e9:,.1f} GB of memory{each}, and {free / 1e9:.1f} GB are "
            "free; take fewer codes, levels or landmarks"
        )

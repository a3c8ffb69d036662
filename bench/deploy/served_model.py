"""The models that a page offers: each opened when it is first asked, and what it says of a picture.

No torch, unless a model has nothing but its run's weights.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from bench.deploy.cell_choice import TrainedCell, find_cell, list_cells
from bench.deploy.guess import rank_classes
from bench.deploy.model_info import ModelInfo
from bench.deploy.predictor import Predictor, open_predictor
from bench.results.array_file import read_arrays
from bench.results.reliability import image_losses, set_limit

NUM_LIKELIEST = 5
VALIDATION = ("validation_label", "validation_log_probabilities")  # arrays of a run's scores.npz
MAX_SET_NAMES = 12  # of a longer conformal set the likeliest are named


class Answer(TypedDict):
    """What a model says of a picture, as JSON has it.

    `number` is the likeliest class, `classes` are the fields of each Guess, `set` says in words
    which classes a 90 % conformal set holds: it is empty where validation is missing.
    """

    model: str
    number: int
    classes: list[dict[str, Any]]
    set: str
    milliseconds: float


class Opened(NamedTuple):
    """An opened model, and the loss up to which it can't exclude a class; None without one."""

    predictor: Predictor
    limit: float | None


@dataclass
class ServedModel:
    """A model that is opened when it is first asked, and answers one thread at a time.

    What explains a network listens to its layers, and would hear other questions' passes.
    """

    key: str
    title: str
    open: Callable[[], Predictor]
    folder: Path | None = None  # of its cell, which may hold validation scores
    _opened: Opened | None = None
    _lock: Lock = field(default_factory=Lock)

    def opened(self) -> Opened:
        """Return the model, opened; ValueError where it can't be."""
        with self._lock:
            if self._opened is None:
                self._opened = Opened(self.open(), read_set_limit(self.folder))
            return self._opened

    def answer(self, pixels: NDArray[np.uint8]) -> Answer:
        """Return what the model says of a picture (H, W, 3)."""
        predictor, limit = self.opened()
        with self._lock:
            start = time.perf_counter()
            (probability,) = predictor.predict([pixels])
            seconds = time.perf_counter() - start
        likeliest = rank_classes(probability.tolist(), predictor.info, NUM_LIKELIEST)
        return Answer(
            model=self.key,
            number=int(probability.argmax()),
            classes=[guess._asdict() for guess in likeliest],
            set="" if limit is None else say_set(predictor.info, probability, limit),
            milliseconds=round(1000 * seconds, 1),
        )

    def explain(self, pixels: NDArray[np.uint8], target: int) -> NDArray[np.float32]:
        """Return how much each pixel of a picture's square speaks for a class: (S, S), 0 to 1."""
        predictor = self.opened().predictor
        with self._lock:
            return predictor.explain(predictor.fit(pixels), target)


def read_set_limit(folder: Path | None) -> float | None:
    """Return the loss up to which a class is in a 90 % conformal set, from validation's scores.

    None where a model has none: it is a file alone, or a published cell.
    """
    if folder is None or not (folder / "scores.npz").is_file():
        return None
    scores = read_arrays(folder / "scores.npz", (), optional=VALIDATION)
    if len(scores) < len(VALIDATION):
        return None
    label, log_probabilities = (scores[name] for name in VALIDATION)
    return float(set_limit(image_losses(log_probabilities, label)))


def say_set(info: ModelInfo, probability: NDArray[np.float32], limit: float) -> str:
    """Say which classes a model can't exclude: those whose loss is no larger than `limit`."""
    num_classes = len(info.class_names)
    likeliest = np.argsort(-probability, kind="stable")
    losses = -np.log(np.maximum(probability, np.finfo(np.float32).tiny))
    included = [info.class_names[number] for number in likeliest if losses[number] <= limit]
    if not included:
        return "no class: the picture is unlike those that the model was validated on"
    if len(included) == num_classes:
        return "any class: too few validation images, or the model can't tell them apart"
    if len(included) == 1:
        return f"{included[0]} alone"
    if len(included) > MAX_SET_NAMES:
        others = len(included) - MAX_SET_NAMES
        return f"{', '.join(included[:MAX_SET_NAMES])} or one of {others} more"
    return f"{', '.join(included[:-1])} or {included[-1]}"


def say_agreement(models: Sequence[ServedModel], answers: Sequence[Answer]) -> str:
    """Say whether several models give a picture the same class; empty for one model."""
    if len(answers) < 2:
        return ""
    said = [answer["classes"][0]["name"] for answer in answers]
    if len(set(said)) == 1:
        return f"All {len(said)} say {said[0]}." if len(said) > 2 else f"Both say {said[0]}."
    parts = [f"{model.title} says {name}" for model, name in zip(models, said, strict=True)]
    known = {frozenset(model.opened().predictor.info.class_names) for model in models}
    heading = "They disagree" if len(known) == 1 else "They know different classes"
    return f"{heading}: {', '.join(parts)}."


def list_models(
    runs: Sequence[Path], exports: Sequence[Path], names: Sequence[str], seed: int | None
) -> list[ServedModel]:
    """List the models of runs, the best on validation first, and those of exported files.

    `names` limits the runs' models, `seed` their seeds. ValueError for what isn't there.
    """
    models = []
    for run in runs:
        cells = list_cells(run)
        if names:
            cells = [find_cell(run, name, seed) for name in names]
        elif seed is not None:
            cells = [cell for cell in cells if cell.record.seed == seed]
        models += [_serve_cell(run, cell, name_run=len(runs) > 1) for cell in cells]
    models += [_serve_export(path) for path in exports]
    if not models:
        raise ValueError("nothing to serve: give a run's folder, or --onnx FILE")
    _tell_apart(models)
    return models


def _tell_apart(models: Sequence[ServedModel]) -> None:
    """Number the keys and titles that several models share, in two folders of one name."""
    for model in models:
        twins = [other for other in models if other.key == model.key]
        for number, twin in enumerate(twins[1:], 2):
            twin.key, twin.title = f"{twin.key}-{number}", f"{twin.title} {number}"


def _serve_cell(run: Path, cell: TrainedCell, *, name_run: bool) -> ServedModel:
    record = cell.record

    def open_cell() -> Predictor:
        return open_predictor(run=run, model=record.model, seed=record.seed)

    title = f"{record.model}, seed {record.seed}"
    if name_run:
        title += f" ({run.name})"
    return ServedModel(f"{run.name}/{cell.folder.name}", title, open_cell, cell.folder)


def _serve_export(path: Path) -> ServedModel:
    predictor = open_predictor(onnx=path)
    return ServedModel(path.name, path.name, lambda: predictor)

"""The seam of everything that asks a trained model about pictures. No torch.

predictor = open_predictor(run=Path("runs/a"), model="lenet5")
predictor = open_predictor(onnx=Path("lenet5.onnx"))
predictor.predict([pixels])     (1, classes) probabilities
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.picture import fit_square
from bench.deploy.model_info import ModelInfo

Library = Literal["any", "torch", "onnxruntime"]


class Predictor(ABC):
    """A trained model that answers: what it is, which library runs it, and what it says.

    It may be asked by several threads at once.
    """

    info: ModelInfo
    library: str  # with its version, as `torch 2.14.1`

    @abstractmethod
    def score(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return scores (N, classes) of squares (N, short_side, short_side, channels)."""

    def predict(
        self, pictures: Sequence[NDArray[np.uint8]], *, temperature: float = 1.0
    ) -> NDArray[np.float32]:
        """Return probabilities (N, classes) of pictures (H, W, 1 or 3), each of any size.

        Scores are divided by `temperature`.
        """
        squares = np.stack([self.fit(picture) for picture in pictures])
        return self.predict_squares(squares, temperature=temperature)

    def predict_squares(
        self, squares: NDArray[np.uint8], *, temperature: float = 1.0
    ) -> NDArray[np.float32]:
        """Return probabilities (N, classes) of what `fit` has made of pictures, stacked."""
        return softmax(self.score(squares) / temperature)

    def fit(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the square of a picture that is scored, made as a data set makes its images."""
        transform = self.info.transform
        return fit_square(picture, transform.short_side, transform.channels)

    @abstractmethod
    def find_temperature(self) -> float:
        """Return what scores must be divided by, so that probabilities are right on validation.

        ValueError says what is missing to know it.
        """

    def explain(self, square: NDArray[np.uint8], target: int) -> NDArray[np.float32]:
        """Return how much each pixel of a square speaks for a class: (S, S) of (S, S, C), 0 to 1.

        By occlusion, which asks for nothing but scores, unless a kind of predictor knows better.
        ValueError without the libraries that explaining takes.
        """
        from bench.deploy.explain import explain_scores

        return explain_scores(self.score, square, target)


def softmax(scores: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the probabilities (N, classes) of scores (N, classes)."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def open_predictor(
    *,
    run: Path | None = None,
    model: str | None = None,
    seed: int | None = None,
    onnx: Path | None = None,
    library: Library = "any",
    num_threads: int | None = None,
) -> Predictor:
    """Open an exported file, or a model of a run: by default the best on validation.

    Of a run an export beside its weights is taken, if it is of these very weights: it needs no
    torch. `library` says which one is wanted. ValueError, one line, for what can't be opened.
    """
    if (run is None) == (onnx is None):
        raise ValueError("give either --run RUN (with --model NAME) or --onnx FILE")
    if onnx is not None:
        if model is not None or seed is not None:
            raise ValueError("--onnx: the file says which model it is; leave --model, --seed out")
        return _open_export(onnx, num_threads)
    assert run is not None, "either is given"
    return _open_of_run(run, model, seed, library, num_threads)


def _open_export(path: Path, num_threads: int | None) -> Predictor:
    # Imported here: each kind of predictor brings its own library.
    from bench.deploy.onnx_predictor import OnnxPredictor

    return OnnxPredictor(path, num_threads=num_threads)


def _open_of_run(
    run: Path, model: str | None, seed: int | None, library: Library, num_threads: int | None
) -> Predictor:
    from bench.deploy.cell_choice import EXPORT, WEIGHTS, find_cell

    cell = find_cell(run, model, seed)
    export = cell.folder / EXPORT
    has_weights = (cell.folder / WEIGHTS).is_file()
    if export.is_file() and library != "torch" and (find_spec("onnxruntime") or not has_weights):
        predictor = _open_export(export, num_threads)
        if predictor.info.checksum == cell.record.checksums.get(WEIGHTS):
            return predictor
    if library == "onnxruntime":
        raise ValueError(f"{export}: no export of these weights; `python -m bench.export` makes it")
    if not has_weights:
        raise ValueError(f"{cell.folder}: no {WEIGHTS}, and no export of it")
    from bench.deploy.torch_predictor import TorchPredictor

    return TorchPredictor(cell, num_threads=num_threads)

"""A run's weights that answer by torch, on the CPU."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bench.data.pixels import Finish, ModelInput
from bench.deploy.calibration import fit_temperature
from bench.deploy.cell_choice import WEIGHTS, TrainedCell
from bench.deploy.explain import explain
from bench.deploy.model_info import ModelInfo, Transform, info_of_cell
from bench.deploy.predictor import Predictor
from zoo import saved_weights, weights
from zoo.registry import create_model

CPU = torch.device("cpu")


class TorchPredictor(Predictor):
    """A cell's weights; ValueError where they don't fit the model that its name builds today."""

    def __init__(self, cell: TrainedCell, *, num_threads: int | None = None) -> None:
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self.folder = cell.folder
        self.info = info_of_cell(cell.folder, cell.record)
        self.library = f"torch {torch.__version__}"
        self.network = load_network(cell, self.info)
        self.finish = make_finish(self.info.transform)

    def prepare(self, squares: NDArray[np.uint8]) -> Tensor:
        """Return what the network takes of squares (N, short_side, short_side, channels)."""
        transform = self.info.transform
        margin = (transform.short_side - transform.side) // 2
        window = slice(margin, margin + transform.side)
        return self.finish(torch.from_numpy(squares)[:, window, window])

    def find_temperature(self) -> float:
        return fit_temperature(self.folder)

    def score(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            scores: Tensor = self.network(self.prepare(squares))
        return scores.float().numpy()

    def explain(self, square: NDArray[np.uint8], target: int) -> NDArray[np.float32]:
        heat = torch.from_numpy(explain(self.network, self.prepare(square[None])[0], target))
        side = self.info.transform.side
        window = functional.interpolate(heat[None, None], (side, side), mode="bilinear")[0, 0]
        # Nothing beyond the window that the network takes can speak for a class.
        margin = (len(square) - side) // 2
        whole = torch.zeros(square.shape[:2])
        whole[margin : margin + side, margin : margin + side] = window
        return whole.numpy()


def load_network(cell: TrainedCell, info: ModelInfo) -> nn.Module:
    """Build a cell's network with its weights, to answer and not to learn."""
    path = cell.folder / WEIGHTS
    network = create_model(info.model, num_classes=len(info.class_names))
    saved = saved_weights.read(path)
    try:
        weights.load(network, saved.state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    weights.follow_metadata(network, saved.metadata)
    return network.eval().requires_grad_(False)


def make_finish(transform: Transform) -> Finish:
    """Return what prepares squares as the run prepared its images."""
    taken = ModelInput(
        mean=transform.mean,
        std=transform.std,
        channels_last=False,
        device=CPU,
        image_size=transform.image_size,
        in_channels=transform.in_channels,
    )
    return Finish(taken, size=transform.side, channels=transform.channels)

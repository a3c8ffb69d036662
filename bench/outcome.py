"""What a finished cell leaves beside its record: weights, predictions, and a few test images for the report."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.data.dataset import Dataset
from bench.results.storage import write_bytes
from bench.train import checkpoint
from bench.train.evaluation import Predictions

NUM_SAMPLES = 36  # test images kept beside the predictions


def keep_outcome(
    folder: Path, state: dict[str, torch.Tensor], predictions: Predictions, data: Dataset
) -> dict[str, str]:
    """Write weights, predictions and a few samples; returns their checksums."""
    checkpoint.save_weights(folder / "model.safetensors", state)
    _write_arrays(folder / "predictions.npz", label=predictions.label, predicted=predictions.predicted,
                  confidence=predictions.confidence, top5=predictions.top5)  # fmt: skip
    index = np.linspace(0, len(data.test.labels) - 1, min(NUM_SAMPLES, len(data.test.labels))).astype(np.int64)
    window = slice(data.margin, data.margin + data.size)
    _write_arrays(folder / "samples.npz", index=index, image=np.asarray(data.test.images[index][:, window, window]))
    names = ("model.safetensors", "predictions.npz", "samples.npz")
    return {name: checkpoint.sha256(folder / name) for name in names}


def _write_arrays(path: Path, **arrays: np.ndarray[Any, Any]) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_bytes(path, content.getvalue())

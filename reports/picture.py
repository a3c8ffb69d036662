"""Small pictures for the page: sample images with the models' answers, and filters of first layers, as PNG."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.ranking import Entry

MAX_SAMPLES = 24
MAX_FILTERS = 64
MAX_FILTER_BYTES = 60_000  # of all models together: filters look like noise and don't pack


def png(pixels: NDArray[np.uint8]) -> str:
    """Pixels (h, w, 3) or (h, w, 1) as a data address."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def samples_of(entries: Sequence[Entry], order: Mapping[str, int]) -> list[dict[str, Any]]:
    """Sample images kept by the runs, once each, with the five most probable classes that each model gave.

    A run keeps `samples.npz` (index, image) and `predictions.npz` (label, top5) beside each record.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for entry in entries:
        for cell in entry.finished[:1]:
            kept = cell.arrays("samples.npz", ("index", "image"))
            answers = cell.arrays("predictions.npz", ("label", "top5"))
            if not kept or not answers or not _fits(kept, answers):
                continue
            for index, image in zip(kept["index"][:MAX_SAMPLES].tolist(), kept["image"], strict=False):
                key = (entry.record.data.checksum, index)
                if key not in found:
                    found[key] = {
                        "image": png(image),
                        "label": int(answers["label"][index]),
                        "index": index,
                        "answers": {},
                    }
                found[key]["answers"][order[entry.key]] = answers["top5"][index].tolist()
    return list(found.values())


def _fits(kept: Mapping[str, NDArray[Any]], answers: Mapping[str, NDArray[Any]]) -> bool:
    images, index = kept["image"], kept["index"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or len(images) != len(index):
        return False
    top5 = answers["top5"]  # fewer columns where there are fewer classes
    return top5.ndim == 2 and len(top5) == len(answers["label"]) and bool((index < len(answers["label"])).all())


def filters_of(entries: Sequence[Entry], order: Mapping[str, int]) -> dict[int, dict[str, Any]]:
    """The first convolution's filters of each model's first seed as one picture, until they take too much room."""
    found: dict[int, dict[str, Any]] = {}
    room = MAX_FILTER_BYTES
    for entry in entries:
        weights = first_filters(entry)
        if weights is None:
            continue
        picture = png(sprite(weights))
        room -= len(picture)
        if room < 0:
            break
        found[order[entry.key]] = {"image": picture, "count": len(weights), "size": weights.shape[-1]}
    return found


def first_filters(entry: Entry) -> NDArray[np.float32] | None:
    """Weights (n, 3 or 1, k, k) of the first convolution, from the run's `model.safetensors`; None without."""
    from safetensors import SafetensorError, safe_open

    names = [f"{layer.name}.weight" for layer in entry.record.layers]
    for cell in entry.finished[:1]:
        path = cell.folder / "model.safetensors"
        if not path.is_file():
            continue
        try:
            with safe_open(path, framework="numpy") as file:
                present = set(file.keys())
                weights = next((file.get_tensor(name) for name in names if name in present), None)
        except (SafetensorError, OSError, TypeError, ValueError):
            continue
        if (
            weights is not None
            and weights.ndim == 4
            and weights.shape[1] in (1, 3)
            and weights.shape[2] == weights.shape[3] > 1
        ):
            return np.asarray(weights[:MAX_FILTERS], dtype=np.float32)
    return None


def sprite(weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Filters (n, 3 or 1, k, k) side by side with a line of pixels between, each stretched to its own range."""
    n, _, size, _ = weights.shape
    across = min(n, 16)
    down = math.ceil(n / across)
    sheet = np.full((down * (size + 1) - 1, across * (size + 1) - 1, 3), 128, dtype=np.uint8)
    for i, kernel in enumerate(weights):
        low, high = float(kernel.min()), float(kernel.max())
        pixels = (255 * (kernel - low) / (high - low or 1)).astype(np.uint8).transpose(1, 2, 0)
        top, left = (i // across) * (size + 1), (i % across) * (size + 1)
        sheet[top : top + size, left : left + size] = pixels
    return sheet

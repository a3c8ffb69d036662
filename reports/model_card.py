"""Each model's part of the page.

What it is, its layers, its answers, and the command that repeats it.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.record import RunRecord
from reports.chart.classes import MAX_ROWS, answers_data
from reports.ranking import Entry, Group

FACTS = (
    ("source", "Source"),
    ("year", "Year"),
    ("paper", "Paper"),
    ("image_size", "Own image size"),
    ("stem", "Stem"),
    ("total_stride", "Total stride"),
    ("notes", "Notes"),
)


def models_data(groups: Sequence[Group], order: Mapping[str, int]) -> dict[str, Any]:
    """All models' parts, the data sets whose class names they use, and the pictures."""
    entries = [entry for group in groups for entry in group.entries]
    datasets: dict[str, int] = {}
    parts = []
    for group in groups:
        with_answers = len(group.entries) <= MAX_ROWS
        for entry in group.entries:
            number = datasets.setdefault(entry.record.data.checksum, len(datasets))
            parts.append(_part(entry, order, number, with_answers))
    names = {number: checksum for checksum, number in datasets.items()}
    return {
        "models": parts,
        "datasets": [_dataset(entries, names[number]) for number in range(len(names))],
        "samples": samples_of(entries[:MAX_ROWS], order),
        "filters": filters_of(entries, order),
    }


def _part(
    entry: Entry, order: Mapping[str, int], dataset: int, with_answers: bool
) -> dict[str, Any]:
    record = entry.record
    return {
        "i": order[entry.key],
        "dataset": dataset,
        "facts": [
            [title, str(record.spec[key])]
            for key, title in FACTS
            if record.spec.get(key) not in (None, "", [])
        ]
        + _started(record),
        "layers": [
            [
                x.name,
                x.kind,
                "×".join(map(str, x.output_shape)),
                x.num_parameters,
                x.multiply_adds,
                x.activation_bytes,
            ]
            for x in record.layers
        ],
        "command": command_of(entry),
        "environment": ", ".join(
            f"{name} {record.environment[name]}"
            for name in ("machine", "torch", "git_commit")
            if record.environment.get(name)
        ),
        "seeds": [
            [c.record.seed, c.record.status, c.record.accuracy.top1 if c.record.accuracy else None]
            for c in entry.cells
        ],
        **(answers_data(entry) if with_answers else {}),
    }


def _started(record: RunRecord) -> list[list[str]]:
    """How a model's training began: its peak rate, and the weights that it was given."""
    rate, given = record.config.get("lr"), record.spec.get("pretrained")
    facts = [["Peak learning rate", f"{rate:g}"]] if isinstance(rate, int | float) else []
    if not isinstance(given, dict):
        return facts
    new = given.get("new")
    text = (
        f"{given.get('from')}; new: {', '.join(map(str, new))}"
        if isinstance(new, list) and new
        else given.get("from")
    )
    return [*facts, ["Starts from", str(text)]]


def command_of(entry: Entry) -> str:
    """The recorded command, if there is one."""
    command = entry.record.environment.get("command")
    return command if isinstance(command, str) else ""


def _dataset(entries: Sequence[Entry], checksum: str) -> dict[str, Any]:
    data = next(entry.record.data for entry in entries if entry.record.data.checksum == checksum)
    return {"classes": data.class_names, "superclasses": data.superclass_names}


MAX_SAMPLES = 24
MAX_FILTERS = 64
MAX_FILTER_BYTES = 60_000  # of all models together: filters look like noise and don't pack


def png(pixels: NDArray[np.uint8]) -> str:
    """Pixels (h, w, 3) or (h, w, 1) as a data address."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
        buffer, format="PNG", optimize=True
    )
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
            for index, image in zip(
                kept["index"][:MAX_SAMPLES].tolist(), kept["image"], strict=False
            ):
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
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[-1] not in (1, 3)
        or len(images) != len(index)
    ):
        return False
    top5 = answers["top5"]  # fewer columns where there are fewer classes
    return (
        top5.ndim == 2
        and len(top5) == len(answers["label"])
        and bool((index < len(answers["label"])).all())
    )


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
        found[order[entry.key]] = {
            "image": picture,
            "count": len(weights),
            "size": weights.shape[-1],
        }
    return found


def first_filters(entry: Entry) -> NDArray[np.float32] | None:
    """Weights (n, 3 or 1, k, k) of the first convolution, from the run's `model.safetensors`.

    None without.
    """
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

"""Each model's part of the page: what it is, its layers, its answers, its pictures."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.record import RunRecord
from bench.results.way import LOADS
from reports.chart.classes import MAX_ROWS, answers_data
from reports.chart.deploy import describe_fastest, fastest_of
from reports.chart.figure import class_axis
from reports.ranking import Entry, Group
from reports.runs import Cell, is_below

# Entries of a record's spec, and what the page calls them.
FACTS = (
    ("source", "Source"),
    ("year", "Year"),
    ("paper", "Paper"),
    ("image_size", "Own image size"),
    ("stem", "Stem"),
    ("total_stride", "Total stride"),
    ("notes", "Notes"),
)
ENVIRONMENT = ("machine", "torch", "git_commit")
MAX_SAMPLES = 24
MAX_FILTER_SIDE = 64  # pixels; those of 1x1 convolutions aren't drawn either
MAX_FILTERS = 64
MAX_FILTER_BYTES = 60_000  # of all models together: filters look like noise and don't pack
FILTERS_IN_A_ROW = 16


def models_data(groups: Sequence[Group], row_numbers: Mapping[str, int]) -> dict[str, Any]:
    """Return all models' parts, the data sets whose class names they use, and the pictures."""
    entries: list[Entry] = []
    datasets: dict[str, dict[str, Any]] = {}  # by checksum, numbered in their order
    models = []
    for group in groups:
        entries += group.entries
        with_answers = len(group.entries) <= MAX_ROWS
        for entry in group.entries:
            data = entry.record.data
            names: dict[str, Any] = {"classes": data.class_names}
            if data.superclass_names:
                names["superclasses"] = data.superclass_names
                names["superclass_axis"] = class_axis(data.superclass_names)
            datasets.setdefault(data.checksum, names)
            place = {
                "i": row_numbers[entry.key],
                "dataset": list(datasets).index(data.checksum),
            }
            answers = answers_data(entry) if with_answers else {}
            models.append(place | _card(entry) | answers)
    return {
        "models": models,
        "datasets": list(datasets.values()),
        "samples": samples_of(entries[:MAX_ROWS], row_numbers),
        "filters": filters_of(entries, row_numbers),
    }


def _card(entry: Entry) -> dict[str, Any]:
    """Return what the record says of a model, as the page's script reads it."""
    record = entry.record
    facts = []
    for key, title in FACTS:
        if record.spec.get(key) not in (None, "", []):
            facts.append([title, str(record.spec[key])])
    layers = []
    for layer in record.layers:
        shape = "×".join(map(str, layer.output_shape))
        costs = [layer.num_parameters, layer.multiply_adds, layer.activation_bytes]
        layers.append([layer.name, layer.kind, shape, *costs])
    seeds = []
    for cell in entry.cells:
        accuracy = cell.record.accuracy
        top1 = accuracy.top1 if accuracy else None
        seeds.append([cell.record.seed, cell.record.status, top1])
    environment = []
    for name in ENVIRONMENT:
        if record.environment.get(name):
            environment.append(f"{name} {record.environment[name]}")
    return {
        "facts": facts + training_facts(record) + _deploy_facts(entry),
        "layers": layers,
        "command": command_of(entry),
        "environment": ", ".join(environment),
        "seeds": seeds,
    }


def training_facts(record: RunRecord) -> list[list[str]]:
    """Return how training began: memory format, peak learning rate, initial weights."""
    facts = []
    if record.format_trial is not None:
        trial = record.format_trial
        rates = ", ".join(f"{name} {trial.rate(name):,.0f}" for name in trial.seconds)
        taken = "channels-last" if trial.channels_last else "NCHW"
        facts.append(["Memory format", f"{taken} (images/s in trial steps: {rates})"])
    learning_rate = record.config.get("lr")
    if isinstance(learning_rate, int | float):
        facts.append(["Peak learning rate", f"{learning_rate:g}"])
    pretrained = record.spec.get("pretrained")
    if isinstance(pretrained, dict):
        start = str(pretrained.get("from"))
        new = pretrained.get("new")
        if isinstance(new, list) and new:
            start += f"; new: {', '.join(map(str, new))}"
        facts.append(["Starts from", start])
    return facts


def _deploy_facts(entry: Entry) -> list[list[str]]:
    """Return which way runs a model's exported file fastest here, if that was measured."""
    facts = []
    for load, title in zip(LOADS, ("Fastest, one image", "Fastest, batches"), strict=True):
        found = fastest_of(entry, load)
        if found is not None:
            facts.append([title, describe_fastest(found)])
    return facts


def command_of(entry: Entry) -> str:
    """Return the recorded command, empty if there is none."""
    command = entry.record.environment.get("command")
    return command if isinstance(command, str) else ""


def samples_of(entries: Sequence[Entry], row_numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the sample images that runs kept, each once, with every model's five best answers.

    A run keeps `samples.npz` (index, image) and `predictions.npz` (label, top5) beside each record.
    """
    found: dict[tuple[str, bool, int], dict[str, Any]] = {}
    for entry in entries:
        # The first seed stands for the model.
        for cell in entry.finished[:1]:
            kept = cell.arrays("samples.npz", ("index", "image"))
            answers = cell.arrays("predictions.npz", ("label", "top5"))
            num_classes = len(entry.record.data.class_names)
            if not kept or not answers or not _fit_together(kept, answers, num_classes):
                continue
            numbers = kept["index"][:MAX_SAMPLES].tolist()
            for index, image in zip(numbers, kept["image"], strict=False):
                # A fold's images are others than those of a test set.
                key = (entry.record.data.checksum, entry.folds is None, index)
                if key not in found:
                    label = int(answers["label"][index])
                    sample = {"image": encode_png(image), "label": label, "index": index}
                    found[key] = sample | {"answers": {}}
                five = answers["top5"][index].tolist()
                found[key]["answers"][row_numbers[entry.key]] = five
    return list(found.values())


def _fit_together(
    kept: Mapping[str, NDArray[Any]], answers: Mapping[str, NDArray[Any]], num_classes: int
) -> bool:
    """Return whether the images are images, and each has its answer."""
    images, index = kept["image"], kept["index"]
    labels, top5 = answers["label"], answers["top5"]  # fewer than five columns of few classes
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        return False
    if not images.size or index.shape != (len(images),) or labels.ndim != 1:
        return False
    if top5.ndim != 2 or len(top5) != len(labels) or not top5.size:
        return False
    limits = ((index, len(labels)), (labels, num_classes), (top5, num_classes))
    return all(numbers.dtype.kind in "iu" and is_below(numbers, limit) for numbers, limit in limits)


def filters_of(
    entries: Sequence[Entry], row_numbers: Mapping[str, int]
) -> dict[int, dict[str, Any]]:
    """Return a picture of each model's first filters, until they take too much room."""
    found: dict[int, dict[str, Any]] = {}
    room = MAX_FILTER_BYTES
    for entry in entries:
        weights = first_filters(entry)
        if weights is None:
            continue
        picture = encode_png(tile_filters(weights))
        room -= len(picture)
        if room < 0:
            break
        size = weights.shape[-1]
        number = row_numbers[entry.key]
        found[number] = {"image": picture, "count": len(weights), "size": size}
    return found


def first_filters(entry: Entry) -> NDArray[np.float32] | None:
    """Return weights (n, 3 or 1, k, k) of the first convolution of the first seed.

    They are read from the run's `model.safetensors`; None without it.
    """
    names = [f"{layer.name}.weight" for layer in entry.record.layers]
    for cell in entry.finished[:1]:
        weights = _first_weights(cell, names)
        # A kernel of one pixel, or one that doesn't read colours or grey, makes no picture.
        if weights is None or weights.ndim != 4 or weights.shape[1] not in (1, 3):
            return None
        is_drawable = len(weights) > 0 and np.isfinite(weights).all()
        if is_drawable and 1 < weights.shape[2] == weights.shape[3] <= MAX_FILTER_SIDE:
            return np.asarray(weights[:MAX_FILTERS], dtype=np.float32)
    return None


def _first_weights(cell: Cell, names: Sequence[str]) -> NDArray[Any] | None:
    """Return the first of these tensors that the cell's file holds; None without file or tensor."""
    # Imported here: few runs keep their weights.
    from safetensors import SafetensorError, safe_open

    path = cell.folder / "model.safetensors"
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            present = set(file.keys())
            first = next((name for name in names if name in present), None)
            return np.asarray(file.get_tensor(first)) if first else None
    except (SafetensorError, OSError, TypeError, ValueError):
        return None  # torn, or of a type that numpy lacks (bfloat16)


def tile_filters(weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return filters (n, 3 or 1, k, k) side by side as (h, w, 3), each stretched to its own range.

    A grey line of one pixel separates them.
    """
    number, _, size, _ = weights.shape
    across = min(number, FILTERS_IN_A_ROW)
    down = math.ceil(number / across)
    pitch = size + 1
    sheet = np.full((down * pitch - 1, across * pitch - 1, 3), 128, dtype=np.uint8)
    for i, kernel in enumerate(weights):
        low, high = float(kernel.min()), float(kernel.max())
        stretched = 255 * (kernel - low) / (high - low or 1)
        row, column = divmod(i, across)
        top, left = row * pitch, column * pitch
        pixels = stretched.astype(np.uint8).transpose(1, 2, 0)
        sheet[top : top + size, left : left + size] = pixels
    return sheet


def encode_png(pixels: NDArray[np.uint8]) -> str:
    """Return pixels (h, w, 3) or (h, w, 1) as the address of a PNG, `data:image/png;base64,…`."""
    # Imported here: few runs keep pictures.
    from PIL import Image

    grey = pixels.shape[-1] == 1
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if grey else pixels).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"

"""Where two models disagree: how many images only one of them gets right, and some of them.

Counts are over all test images of the first seeds; pictures are those that the run kept.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.image_interval import top1_difference
from reports.ranking import Entry, Group, best_first
from reports.runs import read_arrays

MAX_ROWS = 40  # models of which two are chosen, the most accurate
MAX_ANSWERS = 80_000  # bits that the page carries: models times test images
MAX_PICTURES = 48
ACROSS = 12  # pictures in a row of the sheet


@dataclass(frozen=True)
class Pictures:
    """Pictures of test images (n, s, s, 1 or 3) and which images they are, (n,)."""

    index: NDArray[np.int64]
    image: NDArray[np.uint8]


def gallery_data(group: Group, row_numbers: Mapping[str, int]) -> dict[str, Any]:
    """Return what the page's script counts and shows of a group; empty without two to compare.

    Images stand in the order of their classes, so that `counts` says which are of which.
    """
    rows = _comparable(group)
    if len(rows) < 2:
        return {}
    labels = rows[0].labels
    right = np.stack([entry.correct[0] for entry in rows])
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=len(rows[0].record.data.class_names))
    folds = rows[0].folds
    p_values = [[_p_of(right[a], right[b], folds) for b in range(a)] for a in range(len(rows))]
    return {
        "rows": [row_numbers[entry.key] for entry in rows],
        "seeds": [entry.finished[0].record.seed for entry in rows],
        "counts": counts.tolist(),
        "right": [_pack_bits(answers[order]) for answers in right],
        "test": "McNemar's exact p" if folds is None else "The p over folds (Nadeau and Bengio)",
        "p": p_values,  # a row of each model, against those before it
        "pictures": _pictures_data(rows, labels, right),
    }


def _comparable(group: Group) -> list[Entry]:
    """Return the rows whose first seeds answered the same images, best first."""
    rows = [entry for entry in best_first(group, "top1") if entry.labels.size]
    if not rows:
        return []
    labels = rows[0].labels
    same = [entry for entry in rows if np.array_equal(entry.labels, labels)]
    return same[: min(MAX_ROWS, MAX_ANSWERS // len(labels))]


def _p_of(a: NDArray[np.bool_], b: NDArray[np.bool_], folds: NDArray[np.int64] | None) -> float:
    return top1_difference(a[None], b[None], folds=folds)[1]


def _pack_bits(answers: NDArray[np.bool_]) -> str:
    return base64.b64encode(np.packbits(answers).tobytes()).decode()


def _pictures_data(
    rows: Sequence[Entry], labels: NDArray[np.int64], right: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return the pictures that tell most pairs apart, and what each model said of them."""
    kept = _find_pictures(rows, labels)
    if kept is None:
        return {}
    chosen = choose_pictures(right[:, kept.index], labels[kept.index])
    if not chosen.size:
        return {}
    index = kept.index[chosen]
    said = [entry.predictions["predicted"][index].tolist() for entry in rows]
    return {
        "index": index.tolist(),
        "labels": labels[index].tolist(),
        "said": said,
        "sheet": encode_sheet(kept.image[chosen]),
        "side": kept.image.shape[1],
        "across": ACROSS,
    }


def _find_pictures(rows: Sequence[Entry], labels: NDArray[np.int64]) -> Pictures | None:
    """Return what a run of these rows kept of their data; None if none did, or it doesn't fit."""
    names = ("index", "image", "checksum")
    for folder in dict.fromkeys(entry.run.folder for entry in rows):
        kept = read_arrays(folder / "thumbnails.npz", names)
        if not kept or str(kept["checksum"]) != rows[0].record.data.checksum:
            continue
        index, image = kept["index"], kept["image"]
        fits = image.dtype == np.uint8 and image.ndim == 4 and image.shape[-1] in (1, 3)
        numbered = index.dtype.kind in "iu" and index.shape == image.shape[:1] and index.size > 0
        if fits and numbered and index.min() >= 0 and index.max() < len(labels):
            return Pictures(index.astype(np.int64), image)
    return None


def choose_pictures(right: NDArray[np.bool_], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pictures that tell most pairs of models apart, from each class in turn.

    `right` is (models, pictures). A picture that all get right, or none, isn't among them.
    """
    num_right = right.sum(axis=0)
    pairs = num_right * (len(right) - num_right)
    # Within its class each picture has a place by how many pairs it tells apart.
    order = np.lexsort((-pairs, labels))
    _, first = np.unique(labels[order], return_index=True)
    sizes = np.diff([*first, len(order)])
    places = np.arange(len(order)) - np.repeat(first, sizes)
    in_turn = order[np.lexsort((-pairs[order], places))]
    return np.asarray(in_turn[pairs[in_turn] > 0][:MAX_PICTURES])


def encode_sheet(images: NDArray[np.uint8], across: int = ACROSS) -> str:
    """Return pictures side by side as the address of one picture, so many in a row."""
    # Imported here: few runs keep pictures.
    from PIL import Image

    side, channels = images.shape[1], images.shape[-1]
    down = -(-len(images) // across)
    sheet = np.zeros((down * side, across * side, channels), dtype=np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, across)
        sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = image
    buffer = io.BytesIO()
    picture = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    picture.save(buffer, format="WEBP", quality=70, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"

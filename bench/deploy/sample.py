"""Test images of runs, to try their models on."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.deploy.cell_choice import list_cells
from bench.results.array_file import UNREADABLE, read_arrays


class Samples(NamedTuple):
    """Images (H, W, 1 or 3), and what is on each."""

    images: list[NDArray[np.uint8]]
    names: list[str]


def read_samples(runs: Sequence[Path]) -> Samples:
    """Return the test images that runs have kept, each data set's once."""
    images: list[NDArray[np.uint8]] = []
    names: list[str] = []
    seen = set()
    for run in runs:
        folder, record = list_cells(run)[0]
        if record.data.checksum in seen:
            continue
        try:
            kept = read_arrays(folder / "samples.npz", ("index", "image"))
            label = read_arrays(folder / "predictions.npz", ("label",))["label"]
            names += [record.data.class_names[number] for number in label[kept["index"]]]
            images += list(kept["image"])
        except UNREADABLE:
            # Pictures to try are a convenience: a run without them is served all the same.
            continue
        seen.add(record.data.checksum)
    return Samples(images, names)

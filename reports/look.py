"""What a look at the data of each run found, for the page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.results.look import DOUBLES, DataLook
from bench.results.look_text import describe_look
from reports.gallery import encode_sheet
from reports.runs import Run, Source, read_arrays

MOST_LOOKS = 3  # data sets that a page describes
MOST_PAIRS = 4


@dataclass(frozen=True)
class LookView:
    """A data set: what was found, and pictures of some pairs, an address each."""

    name: str
    facts: Sequence[tuple[str, str]]
    pairs: Sequence[str]


def looks_of(source: Source) -> list[LookView]:
    """Return a view of each data set of some runs, in their order."""
    found: dict[tuple[str, int], LookView] = {}
    for run in source.runs:
        look = run.look
        # A folder may hold the look of other data than its records are of.
        if look is None or look.checksum not in {cell.record.data.checksum for cell in run.cells}:
            continue
        found.setdefault((look.checksum, look.num_dropped), _view(look, run))
    return list(found.values())[:MOST_LOOKS]


def _view(look: DataLook, run: Run) -> LookView:
    return LookView(look.name, describe_look(look), _draw_pairs(run))


def _draw_pairs(run: Run) -> list[str]:
    """Return pictures of a few test images, each beside its double in training."""
    kept = read_arrays(run.folder / DOUBLES, ("image",))
    image = kept.get("image", np.empty(0))
    fits = image.dtype == np.uint8 and image.ndim == 5 and image.shape[1] == 2
    if not fits or image.shape[2] != image.shape[3] or image.shape[4] != 3 or not len(image):
        return []
    return [encode_sheet(pair, across=2) for pair in image[:MOST_PAIRS]]

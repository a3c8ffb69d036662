"""The look at the data of a run: opened, said, and heeded where that is asked for. No torch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.data.cache import Say
from bench.data.file_look import open_folder_look
from bench.data.folder import find_folder
from bench.data.look import MOST_COMPARED, open_look
from bench.request.config import RunConfig
from bench.results.look import DataLook, Pairs, PartLook

if TYPE_CHECKING:
    from bench.data.dataset import Dataset, ImageSet


def add_look(data: "Dataset", whole: "Dataset", config: RunConfig, say: Say) -> "Dataset":
    """Return what a run takes of a whole set with the look at it.

    With --drop-duplicates without the training images that are in the test set. The stand-in is
    looked at only then: code draws it.
    """
    if whole.stand_in and not config.drop_duplicates:
        return data
    num_images = len(whole.train.labels) + len(whole.test.labels)
    if config.workers and num_images > MOST_COMPARED and not config.drop_duplicates:
        say(f"{data.name}: not looked at for doubles, which `python -m bench.data` does")
        return data
    look = renumber(_open(whole, config, say), data)
    num_test = len(data.test.labels)
    num_leaked = int(look.has_double(num_test).sum())
    if num_leaked:
        say(
            f"{data.name}: {num_leaked:,} of {num_test:,} test images "
            f"({100 * num_leaked / num_test:.1f} %) show the same as a training image"
        )
    found = replace(data, look=look)
    return drop_doubles(found, say) if config.drop_duplicates else found


def _open(whole: "Dataset", config: RunConfig, say: Say) -> DataLook:
    if whole.name != "imagefolder":
        return open_look(whole, say=say, timeout=config.timeout)
    folder = find_folder(
        config.data_dir, config.image_size, lambda line: None, timeout=config.timeout
    )
    return open_folder_look(folder, say=say)


def renumber(look: DataLook, data: "Dataset") -> DataLook:
    """Return a look at a whole set as one at a part of it, by the rows of the part."""
    train, test = data.train, data.test
    return replace(
        look,
        checksum=data.checksum,
        class_names=data.class_names,
        train=_take_part(look.train, train, len(data.class_names)),
        test=_take_part(look.test, test, len(data.class_names)),
        across=_take_pairs(look.across, test.rows, train.rows),
    )


def _take_part(part: PartLook, images: "ImageSet", num_classes: int) -> PartLook:
    counts = np.bincount(images.labels, minlength=num_classes)
    is_whole = len(images.labels) == part.num_images
    return PartLook(
        class_counts=tuple(counts.tolist()),
        # Which they are isn't kept.
        num_plain=part.num_plain if is_whole else 0,
        pairs=_take_pairs(part.pairs, images.rows, images.rows),
    )


Rows = NDArray[np.int64] | None


def _take_pairs(pairs: Pairs, first_rows: Rows, second_rows: Rows) -> Pairs:
    """Return the pairs of which both images are among these rows, by their places there."""
    first, second = _places(pairs.first, first_rows), _places(pairs.second, second_rows)
    kept = (first >= 0) & (second >= 0)
    return pairs.take(kept, first=first, second=second)


def _places(numbers: Sequence[int], rows: Rows) -> NDArray[np.int64]:
    """Return where numbers stand in `rows`, which ascend; -1 for those that aren't there."""
    wanted = np.asarray(numbers, np.int64)
    if rows is None:
        return wanted
    places = np.searchsorted(rows, wanted)
    found = np.append(rows, -1)[places] == wanted
    return np.where(found, places, -1)


def drop_doubles(data: "Dataset", say: Say) -> "Dataset":
    """Return a set without the training and validation images that are in its test set.

    ValueError where a class would have no training image left.
    """
    assert data.look is not None, "doubles are told by a look"
    across = data.look.across
    doubles = np.unique(data.look.copies.second).astype(np.int64)
    train, held_out = (
        np.setdiff1d(rows, doubles) for rows in (data.train_indices, data.validation_indices)
    )
    num_dropped = (
        len(data.train_indices) + len(data.validation_indices) - len(train) - len(held_out)
    )
    left = np.bincount(data.train.labels[train], minlength=len(data.class_names))
    had = np.bincount(data.train.labels[data.train_indices], minlength=len(data.class_names))
    emptied = np.flatnonzero((left == 0) & (had > 0))
    if len(emptied):
        name = data.class_names[emptied[0]]
        raise ValueError(
            f"--drop-duplicates: all training images of class {name!r} are in the test set "
            f"({len(emptied)} such classes); leave it out, or take them out of the test set"
        )
    say(f"{data.name}: {num_dropped:,} training and validation images left out: they are doubles")
    return replace(
        data,
        train_indices=train,
        validation_indices=held_out,
        source=f"{data.source}, {num_dropped} doubles of test images left out",
        look=replace(
            data.look,
            across=across.take(~np.isin(across.second, doubles)),
            num_dropped=num_dropped,
        ),
    )

"""A whole image folder decoded: into the cache, or once through to check and count it."""

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.cache import Facts, Say, Tally, reserve_images, tally_images
from bench.data.class_folder import show
from bench.data.folder import Folder, Row
from bench.data.picture import decode_square
from zoo.cause import first_line

CHUNK = 512  # images that are held at once where they aren't stored
NUM_NAMED = 3  # faulty files that an error names before it counts the others


def build_folder(source: Folder, aside: Path, say: Say) -> Facts:
    """Decode all images, into `aside` where they are stored; return what the cache keeps of them.

    ValueError names unreadable files. Where they are skipped, they are said instead, and counted in
    the facts.
    """
    purpose = "to check and count it" if source.num_workers else "into the cache"
    say(f"decoding {source.name} once, {purpose}")
    train, train_checksum = _build_part(source, "train", source.train, aside, say)
    test, test_checksum = _build_part(source, "test", source.test, aside, say)
    num_images = len(source.train) + len(source.test)
    # With the names: the same pictures under other names are other data.
    parts = json.dumps([train_checksum, test_checksum, source.classes])
    checksum = hashlib.sha256(parts.encode()).hexdigest()
    mean, std = train.statistics()
    return {
        "checksum": checksum,
        "size": source.size,
        "margin": source.margin,
        "class_names": source.classes,
        "superclass_names": [],
        "superclass_of": [],
        "mean": mean,
        "std": std,
        "num_skipped": num_images - train.num_images - test.num_images,
    }


def _build_part(
    source: Folder, part: str, rows: Sequence[Row], aside: Path, say: Say
) -> tuple[Tally, str]:
    """Decode the training or the test set; return what its images add up to, and its checksum."""
    if source.num_workers:
        tally, kept = _tally_rows(source, rows, say)
    else:
        tally, kept = _store_rows(source, rows, aside / f"{part}_images.npy", say)
    labels = np.array([rows[row][1] for row in kept], np.int64)
    # A set that stays whole has no test images to lose.
    if rows:
        _check_what_is_left(source, part, labels)
    np.save(aside / f"{part}_labels.npy", labels)
    np.save(aside / f"{part}_rows.npy", kept)
    return tally, tally.checksum(labels)


def _store_rows(
    source: Folder, rows: Sequence[Row], path: Path, say: Say
) -> tuple[Tally, NDArray[np.int64]]:
    """Decode these rows into a file; return what they add up to, and those that are kept."""
    images = reserve_images(path, (len(rows), source.side, source.side, 3))
    faults = _decode_rows(source, rows, images)
    kept = _leave_out(source, len(rows), faults, say)
    if not faults:
        return tally_images(images), kept
    # Written anew without the faulty rows; one by one, since all at once would be a copy of the set
    # in memory.
    aside = path.with_suffix(".part")
    fewer = reserve_images(aside, (len(kept), *images.shape[1:]))
    for to, row in enumerate(kept):
        fewer[to] = images[row]
    fewer.flush()
    aside.replace(path)
    return tally_images(fewer), kept


def _tally_rows(source: Folder, rows: Sequence[Row], say: Say) -> tuple[Tally, NDArray[np.int64]]:
    """Do the same without storing them: chunk by chunk, and once more if some are left out."""
    shape = (source.side, source.side, 3)
    kept = np.arange(len(rows))
    while True:
        tally = Tally((len(kept), *shape))
        faults: dict[int, str] = {}
        for start in range(0, len(kept), CHUNK):
            numbers = kept[start : start + CHUNK]
            chunk = [rows[row] for row in numbers]
            images = np.empty((len(chunk), *shape), np.uint8)
            found = _decode_rows(source, chunk, images)
            faults |= {start + row: fault for row, fault in found.items()}
            tally.add(images)
        if not faults:
            return tally, kept
        # The sum holds the shape of the whole set, and what stands for the faulty images.
        kept = kept[_leave_out(source, len(kept), faults, say)]


def _decode_rows(source: Folder, rows: Sequence[Row], images: NDArray[np.uint8]) -> dict[int, str]:
    """Decode every row into `images`; return why, by row, for those that can't be read."""

    def decode_one(row: int) -> str:
        path = source.folder / rows[row][0]
        try:
            images[row] = decode_square(path, source.side)
        except Exception as error:
            # Whatever one file can raise is its own fault: Pillow's decoders raise errors of every
            # kind, and one that has no memory left for it too.
            return f"{show(path)} ({show(first_line(error))})"
        return ""

    # Threads, since Pillow decodes without the interpreter's lock.
    with warnings.catch_warnings(), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        faults = list(pool.map(decode_one, range(len(rows))))
    return {row: fault for row, fault in enumerate(faults) if fault}


def _leave_out(
    source: Folder, num_images: int, faults: dict[int, str], say: Say
) -> NDArray[np.int64]:
    """Return the rows that can be read, and say which can't.

    ValueError if they may not be skipped.
    """
    if faults:
        named = ", ".join(list(faults.values())[:NUM_NAMED])
        num_more = len(faults) - NUM_NAMED
        more = f" and {num_more} more" if num_more > 0 else ""
        text = f"{len(faults)} of {num_images} images can't be read: {named}{more}"
        if not source.skip_unreadable:
            raise ValueError(f"{text}; --skip-unreadable leaves them out")
        say(f"{text}; they are left out")
    return np.setdiff1d(np.arange(num_images), list(faults)).astype(np.int64)


def _check_what_is_left(source: Folder, part: str, labels: NDArray[np.int64]) -> None:
    """Refuse a set of which skipping left nothing, or no training image of a class."""
    left = set(labels.tolist())
    for label, name in enumerate(source.classes):
        if part == "train" and label not in left:
            raise ValueError(
                f"{source.folder}: class {name!r} has no training image that can be read"
            )
    if not left:
        raise ValueError(f"{source.folder}: {part} has no image that can be read")

"""A look at a data set: what is in it, and which images show the same, also across the splits.

Found once, and kept in the cache under the data's checksum. No torch.
"""

import hashlib
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.data.cache import Facts, Say, open_cached
from bench.data.double import Doubles, find_doubles, pair_equals
from bench.data.signature import SIDE, is_plain
from bench.results.look import FILE, DataLook, Pairs, PartLook, read_look, write_look

if TYPE_CHECKING:
    from bench.data.dataset import Dataset, ImageSet

FORMAT = 1  # of what is found, and how; another number looks at every set anew
CHUNK = 4096  # images that are read at a time
# Pairs grow with the square of the images: 60,000 take 10 s on two cores, these two minutes.
MOST_COMPARED = 200_000


@dataclass(frozen=True)
class Seen:
    """All images of a set as they are compared: first those of the test set, then of training.

    `thumbnails` (N, SIDE, SIDE, 3); images are equal whose numbers `same` (N,) are. `labels` (N,).
    `is_there` (N,): of the others nothing could be read.
    """

    thumbnails: NDArray[np.uint8]
    same: NDArray[np.int64]
    labels: NDArray[np.int64]
    num_test: int
    is_there: NDArray[np.bool_]


def open_look(data: "Dataset", *, say: Say, timeout: float) -> DataLook:
    """Return the look at a decoded set, from the cache or found now."""

    def look() -> DataLook:
        num_images = len(data.train.labels) + len(data.test.labels)
        say(f"looking for doubles among the {num_images:,} images of {data.name}, once")
        return look_at_set(data)

    return keep_look(data.name, data.checksum, stamp="", look=look, say=say, timeout=timeout)


def keep_look(
    name: str,
    identity: str,
    *,
    stamp: str,
    look: Callable[[], DataLook],
    say: Say,
    timeout: float,
) -> DataLook:
    """Return a look from the cache, or have it found and keep it (see `open_cached`)."""

    def build(aside: Path) -> Facts:
        write_look(aside / FILE, look())
        return {}

    folder, _ = open_cached(
        f"look-{name}", identity, stamp=f"{FORMAT} {stamp}", build=build, say=say, timeout=timeout
    )
    return read_look(folder / FILE)


def look_at_set(data: "Dataset") -> DataLook:
    """Look at all images of a decoded set."""
    start = time.perf_counter()
    test, train = _read_pictures(data.test, data), _read_pictures(data.train, data)
    labels = np.concatenate([data.test.labels, data.train.labels])
    thumbnails = np.concatenate([test[0], train[0]])
    same = number_equals([*test[1], *train[1]])
    is_there = np.ones(len(labels), bool)
    seen = Seen(thumbnails, same, labels, len(data.test.labels), is_there)
    train_look, test_look, across = look_at_seen(seen, num_classes=len(data.class_names))
    return DataLook(
        name=data.name,
        checksum=data.checksum,
        class_names=data.class_names,
        size=data.size,
        channels=data.train.images.shape[-1],
        near=len(labels) <= MOST_COMPARED,
        train=train_look,
        test=test_look,
        across=across,
        seconds=time.perf_counter() - start,
    )


def _read_pictures(part: "ImageSet", data: "Dataset") -> tuple[NDArray[np.uint8], list[bytes]]:
    """Return the thumbnails of a part's images, and checksums of their pixels."""
    window = slice(data.margin, data.margin + data.size)
    thumbnails = np.empty((len(part.labels), SIDE, SIDE, 3), np.uint8)
    digests = []
    for start in range(0, len(part.labels), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(part.labels)))
        images = part.images[rows][:, window, window]
        digests += [hashlib.sha256(image.tobytes()).digest() for image in images]
        # One channel becomes three by being copied.
        thumbnails[rows] = np.stack([shrink(image) for image in images])
    return thumbnails, digests


def number_equals(keys: Sequence[Hashable]) -> NDArray[np.int64]:
    """Number keys in order of appearance, equal ones alike."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image (s, s, 1 or 3) as a thumbnail (SIDE, SIDE, 1 or 3)."""
    if len(image) == SIDE:
        return image
    # Imported here: images of 32 px need no library.
    from bench.data.picture import fit_square

    return fit_square(image, SIDE, image.shape[-1])


def look_at_seen(seen: Seen, *, num_classes: int) -> tuple[PartLook, PartLook, Pairs]:
    """Return what a look says of training set, test set, and of doubles across them."""
    num_test = seen.num_test
    if len(seen.labels) <= MOST_COMPARED:
        found = find_doubles(seen.thumbnails, seen.same, num_test)
    else:
        found = pair_equals(seen.same, num_test)
    found = found.take(np.lexsort((-found.evidence, ~found.exact)))
    plain = is_plain(seen.thumbnails) & seen.is_there

    def look_at_part(begin: int, end: int) -> PartLook:
        inside = (begin <= found.first) & (found.second < end)
        labels = seen.labels[begin:end][seen.is_there[begin:end]]
        return PartLook(
            class_counts=tuple(np.bincount(labels, minlength=num_classes).tolist()),
            num_plain=int(plain[begin:end].sum()),
            pairs=_tell_pairs(found.take(inside), seen.labels, begin, begin),
        )

    crossing = (found.first < num_test) & (found.second >= num_test)
    across = _tell_pairs(found.take(crossing), seen.labels, 0, num_test)
    train, test = look_at_part(num_test, len(seen.labels)), look_at_part(0, num_test)
    return train, test, across


def _tell_pairs(
    found: Doubles, labels: NDArray[np.int64], first_begin: int, second_begin: int
) -> Pairs:
    """Return pairs by rows of their parts: of each image the likeliest double, the first of all."""
    kept = np.zeros(len(found.first), bool)
    for column in (found.first, found.second):
        kept[np.unique(column, return_index=True)[1]] = True
    found = found.take(kept)
    differs = labels[found.first] != labels[found.second]
    order = np.lexsort((found.second, found.first))
    columns = (
        found.first - first_begin,
        found.second - second_begin,
        found.exact,
        found.mirrored,
        differs,
    )
    return Pairs(
        **{
            name: tuple(column[order].tolist())
            for name, column in zip(Pairs.__dataclass_fields__, columns, strict=True)
        }
    )

"""A look at an image folder: every file opened once, for what it is and a thumbnail. No torch."""

import hashlib
import os
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base

from bench.data.cache import Say
from bench.data.class_folder import show
from bench.data.folder import Folder, Row
from bench.data.look import MOST_COMPARED, Seen, keep_look, look_at_seen, number_equals
from bench.data.picture import open_picture, open_regular, take_centre, to_rgb
from bench.data.signature import SIDE
from bench.results.look import DataLook, FileLook
from zoo.cause import first_line

STRIP = 3  # times as long as it is wide: the square in its middle shows little of it
# A JPEG decodes at an eighth of its size in a fraction of the time; twice a thumbnail is enough.
DRAFT = 2 * SIDE


@dataclass(frozen=True)
class FileSeen:
    """What one file is; `fault` says why it can't be read, and then nothing else is known."""

    thumbnail: NDArray[np.uint8]
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    format: str = ""
    orientation: int = 0
    fault: str = ""


def open_folder_look(source: Folder, *, say: Say) -> DataLook:
    """Return the look at a folder, whose rows are those that it lists; from the cache or found now.

    It is kept under the state of the folder's files.
    """

    def look() -> DataLook:
        num_images = len(source.train) + len(source.test)
        say(f"looking at the {num_images:,} files of {source.folder}, once")
        return look_at_folder(source)

    return keep_look(
        source.name,
        f"{source.folder.resolve()}",
        stamp=source.stamp,
        look=look,
        say=say,
        timeout=source.timeout,
    )


def look_at_folder(source: Folder) -> DataLook:
    """Look at all files of a folder."""
    start = time.perf_counter()
    rows = (*source.test, *source.train)
    files = _open_files(source.folder, rows)
    seen = Seen(
        thumbnails=np.stack([each.thumbnail for each in files]),
        same=_number_same(source.folder, rows, files),
        labels=np.array([label for _, label in rows], np.int64),
        num_test=len(source.test),
        is_there=np.array([not each.fault for each in files]),
    )
    train, test, across = look_at_seen(seen, num_classes=len(source.classes))
    return DataLook(
        name=source.name,
        checksum=source.stamp,
        class_names=source.classes,
        size=0,
        channels=3,
        files=_describe_files(rows, files),
        near=len(rows) <= MOST_COMPARED,
        train=train,
        test=test,
        across=across,
        seconds=time.perf_counter() - start,
    )


def _open_files(folder: Path, rows: Sequence[Row]) -> list[FileSeen]:
    # Threads, since Pillow decodes without the interpreter's lock.
    with warnings.catch_warnings(), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return list(pool.map(lambda row: see_file(folder / row[0]), rows))


def see_file(path: Path) -> FileSeen:
    """Open one file."""
    nothing = FileSeen(np.zeros((SIDE, SIDE, 3), np.uint8))
    try:
        with open_regular(path) as file:
            image = open_picture(file)
            found = replace(nothing, size=image.size, mode=image.mode, format=image.format or "")
            image.draft(None, (DRAFT, DRAFT))
            upright = to_rgb(image)
            orientation = image.getexif().get(Base.Orientation, 0)
            thumbnail = np.asarray(take_centre(upright, SIDE))
    except Exception as error:
        # Whatever one file can raise is its own fault, as when it is decoded to be trained on.
        return replace(nothing, fault=show(first_line(error)))
    return replace(found, thumbnail=thumbnail, orientation=int(orientation))


def _number_same(folder: Path, rows: Sequence[Row], files: Sequence[FileSeen]) -> NDArray[np.int64]:
    """Number pictures, those alike that are equal to the pixel.

    Only what is alike in size and thumbnail is decoded whole.
    """
    alike = number_equals([(each.size, each.thumbnail.tobytes()) for each in files])
    counts = np.bincount(alike)
    keys: list[tuple[int, bytes]] = []
    for number, each in enumerate(files):
        key = b""
        if each.fault:
            key = str(number).encode()
        elif counts[alike[number]] > 1:
            key = _hash_pixels(folder / rows[number][0])
        keys.append((int(alike[number]), key))
    return number_equals(keys)


def _hash_pixels(path: Path) -> bytes:
    with open_regular(path) as file:
        return hashlib.sha256(np.asarray(to_rgb(open_picture(file))).tobytes()).digest()


def _describe_files(rows: Sequence[Row], files: Sequence[FileSeen]) -> FileLook:
    read = [each for each in files if not each.fault]
    sizes = sorted((each.size for each in read), key=lambda size: (size[0] * size[1], size))
    smallest, median, largest = (
        sizes[int(share * (len(sizes) - 1))] if sizes else (0, 0) for share in (0, 0.5, 1)
    )
    strips = [each for each in read if max(each.size) > STRIP * min(each.size)]
    turned = [str(each.orientation) for each in read if each.orientation]
    unreadable = [
        (show(row[0]), each.fault) for row, each in zip(rows, files, strict=True) if each.fault
    ]
    return FileLook(
        formats=dict(Counter(each.format for each in read).most_common()),
        modes=dict(Counter(each.mode for each in read).most_common()),
        orientations=dict(Counter(turned).most_common()),
        smallest=smallest,
        median=median,
        largest=largest,
        num_strips=len(strips),
        unreadable=tuple(unreadable),
    )

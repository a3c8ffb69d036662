"""Read arrays of a `.npz` file that may be anybody's, without taking its word for their size."""

import io
import math
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.storage import open_regular

# What numpy and zipfile raise for an archive that is missing, torn, encrypted, packed in a way that
# they lack, of another format, or without an array that is asked for.
UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, EOFError, SyntaxError),
    *(RuntimeError, OverflowError, MemoryError, zipfile.BadZipFile, zlib.error),
)
MOST_BYTES = 2**28  # of an array: 256 MiB, where the five best classes of 1,000,000 images take 38


def read_arrays(
    path: Path, keys: Collection[str], *, optional: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    """Return arrays by name: all of `keys`, and what the file has of `optional`.

    Raise one of UNREADABLE for whatever is wrong with the file.
    """
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        held = [key for key in optional if f"{key}.npy" in names]
        return {key: _read_array(archive, f"{key}.npy") for key in (*keys, *held)}


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read an array. Raise ValueError for one that is too large, or not as large as it says.

    numpy allocates what an array's header says before it has read a byte, and a few kilobytes of
    zip may hold gigabytes.
    """
    if archive.getinfo(name).file_size > MOST_BYTES:
        raise ValueError(f"{name}: more than {MOST_BYTES} bytes")
    content = io.BytesIO(archive.read(name))
    if np.lib.format.read_magic(content) != (1, 0):
        raise ValueError(f"{name}: of another format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(content)
    if math.prod(shape) * dtype.itemsize != len(content.getbuffer()) - content.tell():
        raise ValueError(f"{name}: its size isn't what its header says")
    content.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(content, allow_pickle=False)
    return array

"""Folders that are whole or not there: written aside, sealed by a manifest, renamed. No torch.

A writer fills a folder of another name (`start_aside`) and lets `seal_into_place` write its
manifest and rename it. A reader takes `read_manifest`, which costs nothing, and `check_files`,
which reads every byte, before it trusts what is inside.
"""

import hashlib
import json
import mmap
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.results.storage import make_folder, sync, write_json

MANIFEST = "manifest.json"
BLOCK_BYTES = 2**24  # hashed at a time by `hash_file_in_blocks`
NO_FILE = "nothing"  # stands for the checksum of a file that isn't there

Manifest = dict[str, Any]


@dataclass(frozen=True)
class ManifestFormat:
    """Which names a manifest gives to its parts, and how its checksums are computed.

    `checksums` is the key of {file name: checksum}, `seal` that of the sha256 of all other entries,
    or of a list of the `sealed` ones. Folders of every format are on users' disks, so that none of
    these may change.
    """

    checksums: str
    seal: str
    hash_file: Callable[[Path], str]
    sealed: tuple[str, ...] = ()


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_file_in_blocks(path: Path) -> str:
    """Return the sha256 of the sha256 of a file's blocks, in hex.

    Blocks are hashed side by side (hashing holds no interpreter lock), so that two cores read a
    large file in half the time.
    """
    total = hashlib.sha256()
    starts = range(0, path.stat().st_size, BLOCK_BYTES)
    with ThreadPoolExecutor(max_workers=4) as pool:
        for digest in pool.map(lambda start: _hash_block(path, start), starts):
            total.update(digest)
    return total.hexdigest()


def _hash_block(path: Path, start: int) -> bytes:
    # Mapped, so that the bytes are hashed where the page cache has them, without a copy.
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as content,
        content[start : start + BLOCK_BYTES] as block,
    ):
        return hashlib.sha256(block).digest()


def start_aside(aside: Path) -> None:
    """Make the folder to write into, emptied of what a killed writer left."""
    shutil.rmtree(aside, ignore_errors=True)
    make_folder(aside)


def seal_into_place(aside: Path, place: Path, entries: Manifest, form: ManifestFormat) -> None:
    """Write the manifest of a folder's files, with these entries, and rename it to `place`.

    A folder that stands there is replaced. All is on the disk in the order in which it counts:
    files, their names, the folder's name. OSError where the disk refuses.
    """
    paths = sorted(aside.iterdir())
    # The disk writes while the processor hashes.
    with ThreadPoolExecutor() as pool:
        synced = pool.map(sync, paths)
        checksums = {path.name: found for path, found in _hash_files(paths, form).items()}
        list(synced)  # raises what a disk refused
    manifest = {**entries, form.checksums: checksums}
    manifest[form.seal] = _seal_of(manifest, form)
    write_json(aside / MANIFEST, manifest)
    shutil.rmtree(place, ignore_errors=True)
    aside.rename(place)
    sync(place.parent)


def read_manifest(folder: Path, form: ManifestFormat) -> Manifest:
    """Return the entries of a folder's manifest, without its seal.

    ValueError if it can't be read or isn't what was written.
    """
    path = folder / MANIFEST
    try:
        manifest: Manifest = json.loads(path.read_bytes())
        seal = manifest.pop(form.seal)
        expected = _seal_of(manifest, form)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: can't be read ({error})") from error
    if seal != expected:
        raise ValueError(f"{path}: is not what was written")
    return manifest


def check_files(folder: Path, manifest: Manifest, form: ManifestFormat) -> None:
    """Compare every file that a manifest names with its checksum.

    ValueError names the first that differs or is missing.
    """
    expected = {folder / name: checksum for name, checksum in manifest[form.checksums].items()}
    for path, found in _hash_files(expected, form).items():
        if found == NO_FILE:
            raise ValueError(f"{path}: is missing")
        if found != expected[path]:
            raise ValueError(f"{path}: sha256 {found} instead of {expected[path]}")


def _hash_files(paths: Iterable[Path], form: ManifestFormat) -> dict[Path, str]:
    """Hash files side by side: training waits for its checkpoint, and every start for its data."""

    def hash_one(path: Path) -> str:
        if not path.is_file():
            return NO_FILE
        return form.hash_file(path)

    listed = list(paths)
    with ThreadPoolExecutor() as pool:
        return dict(zip(listed, pool.map(hash_one, listed), strict=True))


def _seal_of(manifest: Manifest, form: ManifestFormat) -> str:
    """Compute the sha256 of what a manifest says, however its JSON is laid out."""
    said = [manifest[key] for key in form.sealed] if form.sealed else manifest
    text = json.dumps(said, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

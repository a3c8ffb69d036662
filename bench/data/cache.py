"""Decoded data sets on disk: built once, whoever asks first; verified at every start; mapped, never read in. No torch.

A set is a folder of .npy files under a manifest with a sha256 of each. It is written aside and renamed, under a file
lock: ranks that start at once build it once. A folder that doesn't verify is built anew, and that is said.
"""

import fcntl
import hashlib
import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.results.storage import write_json

BLOCK = 2**24  # bytes that are hashed at a time
FORMAT = 1  # of the arrays and the manifest; another number makes another folder
Facts = dict[str, Any]
Say = Callable[[str], None]


def user_cache() -> Path:
    """Name the user's cache folder of this project; it needn't exist."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "zoometry"


def writable_cache(say: Say) -> Path:
    """Make the folder for decoded sets: the user's cache, or a private temporary folder if that can't be written."""
    folder = user_cache() / "decoded"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        aside = Path(tempfile.gettempdir()) / f"zoometry-{os.getuid()}"
        say(f"the cache {folder} can't be written ({error.strerror}); decoded data goes to {aside}")
    aside.mkdir(mode=0o700, exist_ok=True)
    if aside.stat().st_uid != os.getuid():
        raise ValueError(f"{aside} belongs to another user: set XDG_CACHE_HOME to a folder that you can write")
    return aside


def open_cached(
    name: str, identity: str, *, stamp: str, build: Callable[[Path], Facts], say: Say
) -> tuple[Path, Facts]:
    """Return the folder of a decoded set and its facts, building it with `build(folder)` if it isn't there.

    `identity` says which set it is (sources and sizes), `stamp` in which state its sources are: another stamp rebuilds
    the same folder. ValueError if the folder can't be written.
    """
    root = writable_cache(say)
    key = hashlib.sha256(f"{FORMAT} {name} {identity}".encode()).hexdigest()[:12]
    folder = root / f"{name}-{key}"
    with locked(folder, fcntl.LOCK_SH):
        facts, _ = verify(folder, stamp)
    if facts is None:
        with locked(folder, fcntl.LOCK_EX):
            facts, fault = verify(folder, stamp)
            if facts is None:
                if folder.exists():
                    say(f"the cache {folder} {fault}: building it anew")
                facts = _build(folder, stamp, build)
    return folder, facts


def verify(folder: Path, stamp: str) -> tuple[Facts | None, str]:
    """Check a decoded set against its manifest: (facts, "") if it is sound, else (None, what is wrong)."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        sums, facts = manifest["sha256"], manifest["facts"]
        if _sum_of(manifest["stamp"], facts, sums) != manifest["sum"]:
            return None, "has a damaged manifest"
    except (OSError, ValueError, KeyError, TypeError):
        return None, "has no readable manifest"
    if manifest["stamp"] != stamp:
        return None, "is of an older state of its source"
    found = hash_files([folder / file for file in sums])
    wrong = [file for file, expected in sums.items() if found[folder / file] != expected]
    return (None, f"is damaged ({', '.join(wrong)})") if wrong else (facts, "")


def hash_files(paths: list[Path]) -> dict[Path, str]:
    """Compute each file's checksum: the sha256 of the sha256 of its blocks; empty for a file that isn't there.

    Blocks are hashed side by side (hashing holds no interpreter lock), so that two cores verify a set in half the time.
    """
    sizes = {path: path.stat().st_size if path.is_file() else 0 for path in paths}
    blocks = [(path, start) for path in paths for start in range(0, sizes[path], BLOCK)]
    totals = {path: hashlib.sha256() for path in paths}
    with ThreadPoolExecutor(max_workers=4) as pool:
        for (path, _), digest in zip(blocks, pool.map(_hash_block, blocks), strict=True):
            totals[path].update(digest)
    return {path: total.hexdigest() if sizes[path] else "" for path, total in totals.items()}


def _hash_block(block: tuple[Path, int]) -> bytes:
    path, start = block
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as content,
        content[start : start + BLOCK] as part,
    ):
        return hashlib.sha256(part).digest()


def _sum_of(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _build(folder: Path, stamp: str, build: Callable[[Path], Facts]) -> Facts:
    """Build aside, then rename. What a killed builder left is removed first: the lock says that nobody else builds."""
    for left in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(left, ignore_errors=True)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        aside.mkdir()
        facts: Facts = json.loads(json.dumps(build(aside)))
        sums = {path.name: total for path, total in hash_files(sorted(aside.iterdir())).items()}
        write_json(
            aside / "manifest.json",
            {"stamp": stamp, "facts": facts, "sha256": dict(sums), "sum": _sum_of(stamp, facts, sums)},
        )
        shutil.rmtree(folder, ignore_errors=True)
        aside.replace(folder)
    except OSError as error:
        raise ValueError(
            f"decoded data can't be written to {folder} ({error.strerror or error}): "
            "free some space there or set XDG_CACHE_HOME to another folder"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return facts


@contextmanager
def locked(folder: Path, kind: int) -> Iterator[None]:
    """Hold a lock (fcntl.LOCK_SH or LOCK_EX) that stands beside a folder and dies with its holder."""
    with folder.with_name(f".{folder.name}.lock").open("a") as file:
        fcntl.flock(file, kind)
        yield

"""What a run keeps on disk: files written aside and renamed, and the places of its records.

No torch.
"""

import errno
import fcntl
import io
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue, TypeAdapter, ValidationError

from bench.results.record import (
    SCHEMA,
    CellKey,
    Comparison,
    RunRecord,
)

Written = TypeVar("Written", RunRecord, Comparison)


def write_json(path: Path, value: JsonValue) -> None:
    """Write JSON aside and rename it into place: a reader sees the old file or the new one."""
    write_bytes(
        path, (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()
    )


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file aside, sync it, rename it into place, and sync its name."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    make_folder(path.parent)
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays as one compressed archive, whole or not at all."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_bytes(path, content.getvalue())


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that a power cut doesn't take them back."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)  # which holds its name


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, would outlast a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems can't sync a folder; they keep names in their own way.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(handle)


def write(path: Path, record: RunRecord | Comparison) -> None:
    """Write a record or a comparison as JSON."""
    write_json(path, TypeAdapter(type(record)).dump_python(record, mode="json"))


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read its bytes; OSError for anything that isn't a file.

    A pipe under a record's name would be waited for without an end.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes; OSError for anything that isn't a file."""
    with open_regular(path) as file:
        return file.read()


def read(path: Path, kind: type[Written]) -> Written:
    """Read a record or a comparison; ValueError says in one line what is wrong with the file."""
    content = read_bytes(path)
    try:
        found = TypeAdapter(kind).validate_json(content)
    except ValidationError as error:
        raise ValueError(f"{path}: {_fault(content, kind, error)}") from error
    if found.schema > SCHEMA:
        raise ValueError(f"{path}: {_newer(found.schema)}")
    return found


def _fault(content: bytes, kind: type[Written], error: ValidationError) -> str:
    """What is wrong with a file that didn't validate: most telling first."""
    try:
        raw: Any = json.loads(content)
    except (ValueError, RecursionError) as torn:
        return f"not JSON ({torn})"
    if not isinstance(raw, dict) or not isinstance(raw.get("schema"), int):
        return f"not a {kind.__name__} (no schema number)"
    if raw["schema"] > SCHEMA:
        return _newer(raw["schema"])
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _newer(schema: int) -> str:
    return f"schema {schema} is newer than this version reads ({SCHEMA})"


def lock_folder(folder: Path) -> TextIO:
    """Make a run's folder and lock it for this process: the lock is held until the file is closed.

    ValueError if the folder can't be written, or another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise ValueError(f"--out {folder}: can't be written ({error.strerror})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ValueError(f"--out {folder}: another process is running in it") from error
    return lock


def cell_folder(run: Path, key: CellKey) -> Path:
    """Return where a run keeps a cell.

    One that was begun when folders had less telling names stays where it is.
    """
    own = run / "cells" / key.name
    old = run / "cells" / key.old_name
    if old == own or own.exists() or not _holds(old, key):
        return own
    return old


def _holds(folder: Path, key: CellKey) -> bool:
    """Return whether a cell's folder is this cell's, and not that of another with its name."""
    try:
        record = read(folder / "record.json", RunRecord)
    except (OSError, ValueError):
        return False
    return record.key == key


def is_run_folder(path: Path) -> bool:
    """Return whether a folder is a run's."""
    return (path / "cells").is_dir()


def find_run_folders(path: Path) -> list[Path]:
    """Return the folder itself if it is a run's, else the run folders in it, sorted by name.

    Raise ValueError if it isn't a folder.
    """
    if not path.is_dir():
        siblings = sorted(path.parent.glob("*/")) if path.parent.is_dir() else []
        runs = [folder.name for folder in siblings if is_run_folder(folder)]
        # Run names begin with a date, so the last ones are those that were probably meant.
        hint = f"; runs there: {', '.join(runs[-3:])}" if runs else ""
        raise ValueError(f"{path}: no such folder{hint}")
    if is_run_folder(path):
        return [path]
    return sorted(child for child in path.iterdir() if is_run_folder(child))


def comparison_path(folder: Path, launch: int = 0, group: int = 0) -> Path:
    """Where a run keeps a comparison.

    `comparison.json`, of later launches and groups `comparison-l1-g1.json`.
    """
    later = "".join(
        f"-{letter}{number}" for letter, number in (("l", launch), ("g", group)) if number
    )
    return folder / f"comparison{later}.json"


def comparison_paths(folder: Path) -> list[Path]:
    """All comparisons of a run, the first one first."""
    return sorted(
        folder.glob("comparison*.json"),
        key=lambda path: (path.name != "comparison.json", path.name),
    )


def read_run(folder: Path) -> tuple[list[RunRecord], Comparison | None]:
    """Read all records of a run's folder in its config's order, and its comparison if there."""
    records = [read(path, RunRecord) for path in sorted((folder / "cells").glob("*/record.json"))]
    names = requested_models(folder)
    position = {model: place for place, model in enumerate(names)}
    records.sort(key=lambda record: sort_key(record.key, position))
    path = folder / "comparison.json"
    return records, read(path, Comparison) if path.exists() else None


def sort_key(key: CellKey, position: Mapping[str, int]) -> tuple[int, str, int, int, int]:
    """Return what cells are sorted by: their models' positions, seeds, folds; most images first."""
    place = position.get(key.model, len(position))
    return place, key.model, key.seed, key.fold or 0, -(key.images_per_class or 0)


def requested_models(folder: Path) -> Sequence[str]:
    """The models of a run in the order they were asked for, from its `config.json`.

    Empty if that can't be read.
    """
    models = read_config(folder).get("models")
    return [name for name in models if isinstance(name, str)] if isinstance(models, list) else []


def read_config(folder: Path) -> dict[str, JsonValue]:
    """Return what a run's `config.json` says; empty if it can't be read."""
    try:
        config = json.loads(read_bytes(folder / "config.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}

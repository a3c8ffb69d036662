"""Which files of a folder are images, and of which class; what is passed over is counted."""

import os
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# Made by other programs, with small copies of pictures in them or none: macOS, Synology, ext4,
# Windows.
NO_CLASSES = ("__macosx", "@eadir", "lost+found", "$recycle.bin")


@dataclass(frozen=True)
class ClassFolders:
    """Each class's images as CLASS/FILE, and how many of what was passed over."""

    images: dict[str, list[str]] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def num_images(self) -> int:
        """Images of all classes."""
        return sum(map(len, self.images.values()))


def show(path: Path | str) -> str:
    """Return a file's name on one line, with what can't be printed written out."""
    text = str(path)
    return text if text.isprintable() else ascii(text)[1:-1]


def is_passed_over(folder: str) -> bool:
    """Return whether a folder of this name is none of the user's: hidden, or another program's."""
    return folder.startswith(".") or folder.lower() in NO_CLASSES


def list_folders(place: Path) -> list[str]:
    """List the names of the folders in a folder, without those that are passed over."""
    return [name for name in _list_names(place) if (place / name).is_dir()]


def list_classes(place: Path) -> ClassFolders:
    """List the images of each class under a folder. ValueError names a folder that can't be read.

    A picture that lies in no class's folder is passed over too.
    """
    found = ClassFolders()
    for name in _list_names(place, found.passed_over):
        if (place / name).is_dir():
            _check_name(place / name)
            found.images[name] = _list_class(place / name, found.passed_over)
        else:
            found.passed_over[_kind_of(name, "in no class's folder")] += 1
    return found


def _list_names(place: Path, passed_over: Counter[str] | None = None) -> list[str]:
    try:
        names = sorted(path.name for path in place.iterdir())
    except OSError as error:
        raise ValueError(f"{show(place)}: can't be listed ({error.strerror})") from error
    kept = [name for name in names if not is_passed_over(name)]
    if passed_over is not None and len(kept) < len(names):
        passed_over["hidden"] += len(names) - len(kept)
    return kept


def _list_class(place: Path, passed_over: Counter[str]) -> list[str]:
    def refuse(error: OSError) -> None:
        raise ValueError(f"{show(error.filename)}: can't be listed ({error.strerror})") from error

    paths = []
    for base, folders, files in os.walk(place, onerror=refuse, followlinks=True):
        entered = [name for name in folders if not _is_left_out(Path(base) / name)]
        passed_over["hidden"] += len(folders) - len(entered)
        folders[:] = entered
        for name in files:
            if name.startswith("."):
                passed_over["hidden"] += 1
            elif name.lower().endswith(SUFFIXES):
                paths.append(str((Path(base) / name).relative_to(place.parent)))
            else:
                passed_over[_kind_of(name)] += 1
    return paths


def _is_left_out(folder: Path) -> bool:
    """Return whether a folder in a class isn't entered: passed over, or a link back up."""
    if is_passed_over(folder.name):
        return True
    return folder.is_symlink() and folder.resolve() in folder.parent.resolve().parents


def _kind_of(name: str, picture: str = "") -> str:
    suffix = Path(name).suffix.lower()
    if suffix in SUFFIXES:
        return f"{suffix} {picture}"
    return show(suffix) or "without a suffix"


def _check_name(folder: Path) -> None:
    """Refuse a class whose name no record can hold."""
    kinds = {unicodedata.category(letter) for letter in folder.name}
    if kinds & {"Cc", "Cs"}:  # control characters, and bytes that aren't UTF-8
        raise ValueError(
            f"{show(folder)}: a class's name must be printable text; rename the folder"
        )


def describe_passed_over(counts: Counter[str]) -> str:
    """Say how many of what was passed over, the most first: `12 .txt, 3 hidden`."""
    return ", ".join(f"{number} {kind}" for kind, number in counts.most_common() if number)

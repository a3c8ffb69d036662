"""Which folders of a set are its splits: train, test and validation by their usual names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from bench.data.class_folder import list_classes, list_folders, show

Role = Literal["train", "test", "val"]
Splits = dict[Role, str]  # the folder of each split that is there
# Without case, digits and punctuation: `Training_Set`, `test2017`.
STEMS: dict[Role, Sequence[str]] = {
    "train": ("train", "training"),
    "test": ("test", "testing", "tests"),
    "val": ("val", "valid", "validation", "validate", "dev", "eval", "evaluation"),
}
ENDINGS = ("", "set", "data", "images", "split")


def role_of(name: str) -> Role | None:
    """Return which split a folder of this name usually is, if any."""
    letters = "".join(letter for letter in name.lower() if letter.isalpha())
    for role, stems in STEMS.items():
        if letters in [stem + ending for stem in stems for ending in ENDINGS]:
            return role
    return None


def find_splits(folder: Path) -> Splits:
    """Find a set's splits; empty where the folder holds classes alone.

    ValueError where folders look like splits and can't be told.
    """
    names = list_folders(folder)
    named: dict[Role, list[str]] = {}
    for name in names:
        role = role_of(name)
        if role and not _is_class_among_classes(folder / name, names):
            named.setdefault(role, []).append(name)
    for role, found in named.items():
        if len(found) > 1:
            shown = " and ".join(show(name) for name in found)
            raise ValueError(f"{folder}: {shown} would both be {role}/; keep one of them")
    splits = {role: found[0] for role, found in named.items()}
    if splits and "train" not in splits:
        shown = ", ".join(f"{show(name)}/" for name in splits.values())
        raise ValueError(
            f"{folder}: {shown} looks like a split, but there is no train/ beside it; "
            "name the folder of the training images train/"
        )
    return splits


def _is_class_among_classes(place: Path, names: Sequence[str]) -> bool:
    """Return whether a folder with a split's name holds pictures, as others beside it do.

    A set of vehicles has a class `train`.
    """
    others = [name for name in names if not role_of(name)]
    return bool(others) and not list_classes(place).num_images


def check_is_flat(folder: Path, images: Mapping[str, Sequence[str]]) -> None:
    """Refuse classes that all hold the same folders and no picture of their own.

    Those are splits of names that aren't known here, and the folders in them are the classes.
    """
    inner: list[set[str]] = []
    for paths in images.values():
        # CLASS/FILE has two parts, CLASS/FOLDER/FILE more.
        parts = [path.split("/", 2) for path in paths]
        inner.append({part[1] if len(part) > 2 else "" for part in parts})
    same = inner[0]
    if len(inner) < 2 or len(same) < 2 or "" in same or any(one != same for one in inner):
        return
    shown = ", ".join(f"{show(name)}/" for name in sorted(images)[:3])
    raise ValueError(
        f"{folder}: {shown} each hold the same folders ({', '.join(sorted(same)[:3])}), as splits "
        "do: name them train/ and test/; if they are classes, put their pictures into them directly"
    )

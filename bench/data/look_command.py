"""What `python -m bench.data` does: finds a set, has it looked at, and shows what was found."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from bench.data.class_folder import show as printable
from bench.data.dataset import DATASETS, Dataset, open_dataset
from bench.data.file_look import open_folder_look, see_file
from bench.data.folder import SIZE, TIMEOUT, Folder, check_trainable, list_folder
from bench.data.look import open_look, shrink
from bench.data.source import ARCHIVES, find_source
from bench.results.look import DataLook, Pairs, Part
from bench.results.look_text import describe_look
from zoo.suggest import did_you_mean
from zoo.terminal import show

MOST_SHOWN = 10  # pairs on the terminal
ON_SHEET = 100
Picture = Callable[[Part, int], NDArray[np.uint8]]


@dataclass(frozen=True)
class Subject:
    """A set that was looked at, and how one of its images is named and drawn."""

    look: DataLook
    name: Callable[[Part, int], str]
    picture: Picture
    paths: dict[Part, list[str]] | None = None  # of a folder's images
    refusal: str = ""  # why a run would not take it


def show_look(given: str, data_dir: Path | None, *, as_json: bool, sheet: Path | None) -> None:
    """Print what is found in a folder or a named set.

    ValueError, one line, where there is nothing to look at.
    """
    say = (lambda line: None) if as_json else show
    subject = find_subject(given, data_dir, say)
    if sheet is not None:
        draw_sheet(subject, sheet)
    if as_json:
        found = TypeAdapter(DataLook).dump_python(subject.look, mode="json")
        print(json.dumps(found | ({"paths": subject.paths} if subject.paths else {})))
        return
    for line in tell(subject):
        show(line)
    if sheet is not None:
        show(f"pairs: {sheet}")


def find_subject(given: str, data_dir: Path | None, say: Callable[[str], None]) -> Subject:
    """Find a set by its name or its folder, and look at it."""
    place = Path(given)
    if given in DATASETS and given != "imagefolder":
        return _look_at_set(open_dataset(given, data_dir, protocol="published", say=say), say)
    if given == "imagefolder" and data_dir is not None:
        place = data_dir
    if not place.is_dir():
        hint = did_you_mean(given, DATASETS) or f"sets are {', '.join(DATASETS)}"
        raise ValueError(f"{given}: neither a folder nor a data set; {hint}")
    folder = list_folder(place, SIZE, say)
    if folder is not None:
        return _look_at_folder(folder, say)
    for name in ARCHIVES:
        if find_source(name, place):
            return _look_at_set(open_dataset(name, place, protocol="published", say=say), say)
    raise ValueError(
        f"{given}: holds neither CLASS/*.jpg nor train/CLASS/*.jpg, nor the files of "
        f"{', '.join(ARCHIVES)}"
    )


def _look_at_set(data: Dataset, say: Callable[[str], None]) -> Subject:
    parts = {"train": data.train, "test": data.test}

    def name(part: Part, row: int) -> str:
        return f"{part} {row} ({data.class_names[parts[part].labels[row]]})"

    def picture(part: Part, row: int) -> NDArray[np.uint8]:
        window = slice(data.margin, data.margin + data.size)
        return shrink(parts[part].images[np.array([row])][0, window, window])

    return Subject(open_look(data, say=say, timeout=TIMEOUT), name, picture)


def _look_at_folder(folder: Folder, say: Callable[[str], None]) -> Subject:
    paths: dict[Part, list[str]] = {
        "train": [path for path, _ in folder.train],
        "test": [path for path, _ in folder.test],
    }
    refusal = ""
    try:
        check_trainable(folder)
    except ValueError as error:
        refusal = str(error)
    return Subject(
        open_folder_look(folder, say=say),
        lambda part, row: printable(paths[part][row]),
        lambda part, row: see_file(folder.folder / paths[part][row]).thumbnail,
        paths,
        refusal,
    )


def tell(subject: Subject) -> list[str]:
    """Return what is printed of a set, line by line."""
    look = subject.look
    facts = describe_look(look)
    width = max(len(name) for name, _ in facts)
    lines = [f"{look.name}:", *(f"  {name:{width}}  {text}" for name, text in facts)]
    listed = list_pairs(look)
    if listed:
        order = "exact ones first" if look.is_of_one_kind else "what leaks first"
        lines += ["", f"{min(MOST_SHOWN, len(listed))} of {len(listed):,} pairs, {order}:"]
    for (a, first), (b, second), words in listed[:MOST_SHOWN]:
        lines.append(f"  {subject.name(a, first)} = {subject.name(b, second)}  {words}")
    num_training = len(set(look.copies.second))
    if num_training:
        lines += [
            "",
            f"A run gives top-1 also without these test images; --drop-duplicates leaves "
            f"{num_training:,} training images out.",
        ]
    if subject.refusal:
        lines += ["", f"A run would refuse it: {subject.refusal}"]
    return lines


Place = tuple[Part, int]  # part and row


def list_pairs(look: DataLook) -> list[tuple[Place, Place, str]]:
    """List pairs with a word or two on each: across the splits first, and exact ones first."""
    groups: Sequence[tuple[Pairs, Part, Part]] = (
        (look.across, "test", "train"),
        (look.train.pairs, "train", "train"),
        (look.test.pairs, "test", "test"),
    )
    listed = []
    for pairs, a, b in groups:
        columns = zip(
            pairs.first, pairs.second, pairs.exact, pairs.mirrored, pairs.other_class, strict=True
        )
        for first, second, exact, mirrored, differs in sorted(columns, key=lambda row: not row[2]):
            words = ["exact" if exact else "near"]
            words += ["mirrored"] if mirrored else []
            words += ["other label"] if differs else []
            listed.append(((a, first), (b, second), ", ".join(words)))
    return listed


def draw_sheet(subject: Subject, path: Path) -> None:
    """Draw pairs side by side, a random choice of all; ValueError if the file can't be written."""
    from PIL import Image, ImageDraw

    listed = list_pairs(subject.look)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(listed), min(ON_SHEET, len(listed)), replace=False))
    side, across = 64, 10
    width, height = 2 * side + 10, side + 14
    sheet = Image.new("RGB", (across * width, -(-max(1, len(chosen)) // across) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, choice in enumerate(chosen):
        a, b, words = listed[choice]
        left, top = number % across * width, number // across * height
        draw.text((left, top), f"{number} {words}", fill="black")
        for place, offset in ((a, 0), (b, side + 1)):
            image = np.broadcast_to(subject.picture(*place), (32, 32, 3))
            large = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
            sheet.paste(large, (left + offset, top + 12))
    try:
        sheet.save(path, "PNG")
    except OSError as error:
        raise ValueError(f"--sheet {path}: can't be written ({error.strerror})") from error

"""A data set decoded into the cache: in canonical order, checked against what it must add up to.

Canonical order is by the sha256 of the pixels, then the label: the same from every source.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from bench.data import synthetic
from bench.data.cache import (
    Decoded,
    Facts,
    Say,
    find_superclasses,
    sort_canonically,
    tally_images,
    write_set,
)
from bench.data.reader import decode
from bench.data.source import Source

MARGIN = 4  # zeros around an image of 32 px: a crop moves by up to 4 px each way

# What a set adds up to in canonical order, CIFAR-100 computed from a verified copy; `both` holds
# the superclasses too.
CHECKSUMS = {
    ("cifar100", "train"): "dea4d1fd172ff6d3a791532c16c0c253d4b7940e98c226265e55baf2a2753a52",
    ("cifar100", "test"): "8549619d92b50f52ace963e8bcdae37a33af74c703ba8af8d23095ab3549f6f5",
    ("cifar100", "both"): "069f3420ac49f2cc4b5e75d051af5ddc57e04ce137b7d71beaf16efd92093831",
    ("synthetic", "train"): synthetic.CHECKSUM_TRAIN,
    ("synthetic", "test"): synthetic.CHECKSUM_TEST,
}


def expected_checksums(name: str) -> dict[str, str]:
    """Look up what the parts of a set must add up to, where that is known."""
    return {part: total for (known, part), total in CHECKSUMS.items() if known == name}


def build_set(source: Source, folder: Path, say: Say) -> Facts:
    """Decode a set, put it in order, check it and write it; return what the cache keeps about it.

    ValueError names the files whose content isn't what it must be.
    """
    say(f"decoding {source.name} ({source.kind}) into the cache, once")
    if source.kind == "embedded":
        train, test, names = synthetic.draw_stand_in()
    else:
        train, test, names = decode(source)
    train, test = sort_canonically(train), sort_canonically(test)
    superclass_of = find_superclasses(train)
    train_tally = tally_images(train.images)
    train_sum = train_tally.checksum(train.labels)
    test_sum = tally_images(test.images).checksum(test.labels)
    both_sum = hashlib.sha256(f"{train_sum} {test_sum} {superclass_of}".encode()).hexdigest()
    _check_sums(source, {"train": train_sum, "test": test_sum, "both": both_sum})
    class_names = names.classes or _number_names(int(train.labels.max()) + 1)
    superclass_names = names.superclasses or _number_names(len(set(superclass_of)))
    sets = {"train": train, "test": test}
    _check_labels(source, sets, len(class_names))
    for part, decoded in sets.items():
        write_set(folder, part, decoded, MARGIN)
    mean, std = train_tally.statistics()
    return {
        "checksum": both_sum,
        "size": train.images.shape[1],
        "margin": MARGIN,
        "class_names": class_names,
        "superclass_names": superclass_names,
        "superclass_of": superclass_of,
        "mean": mean,
        "std": std,
    }


def _number_names(n: int) -> tuple[str, ...]:
    """Name classes by their numbers, where the files have no names."""
    return tuple(str(number) for number in range(n))


def _check_sums(source: Source, sums: Mapping[str, str]) -> None:
    files = {"train": source.train, "test": source.test or source.train, "both": source.files}
    expected = expected_checksums(source.name)
    for part, found in sums.items():
        if found != expected.get(part, found):
            names = ", ".join(str(path) for path in files[part]) or source.name
            # Where both sets add up and the whole doesn't, it is the superclasses that differ.
            what = "labels have" if part == "both" else f"{part} images have"
            raise ValueError(
                f"{names}: the {what} checksum {found}, expected {expected[part]}: "
                "the data is damaged or altered"
            )


def _check_labels(source: Source, sets: Mapping[str, Decoded], num_classes: int) -> None:
    for part, decoded in sets.items():
        low, high = decoded.labels.min(), decoded.labels.max()
        if low < 0 or high >= num_classes:
            files = source.train if part == "train" else source.test or source.train
            raise ValueError(
                f"{files[0]}: labels from {low} to {high}, but there are {num_classes} classes"
            )

"""Parts of a data set.

Oracle: counts by hand, and the whole set itself.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.data.dataset import Dataset, class_counts, open_dataset
from bench.data.subset import cut_tail, take_classes, take_part
from bench.request.config import RunConfig
from bench.results.record import CellKey


@pytest.fixture(scope="module")
def whole() -> Dataset:
    return open_dataset("synthetic", None)


def test_classes_are_renumbered_in_the_order_given_with_their_own_images(whole: Dataset) -> None:
    names = (whole.class_names[7], whole.class_names[2])
    part = take_classes(whole, names)
    assert part.class_names == names
    assert part.checksum != whole.checksum
    assert part.superclass_of == ()
    for number, label in enumerate((7, 2)):
        for before, after in ((whole.train, part.train), (whole.test, part.test)):
            np.testing.assert_array_equal(
                np.asarray(after.images)[after.labels == number],
                np.asarray(before.images)[before.labels == label],
            )
    rows = whole.validation_indices[np.isin(whole.train.labels[whole.validation_indices], (7, 2))]
    np.testing.assert_array_equal(
        np.asarray(part.train.images)[part.validation_indices], np.asarray(whole.train.images)[rows]
    )
    both = np.concatenate([part.train_indices, part.validation_indices])
    np.testing.assert_array_equal(np.sort(both), np.arange(len(part.train.labels)))


def test_fewer_images_are_a_part_of_more_and_others_stay(whole: Dataset) -> None:
    few, more = (take_part(whole, CellKey("lenet5", 0, None, n), RunConfig()) for n in (3, 5))
    assert class_counts(few).tolist() == [3] * len(whole.class_names)
    assert set(few.train_indices) < set(more.train_indices) < set(whole.train_indices)
    np.testing.assert_array_equal(few.validation_indices, whole.validation_indices)
    assert few.checksum == whole.checksum


def test_a_long_tail_falls_evenly_by_the_logarithm() -> None:
    counts = cut_tail(np.full(3, 400), 100)
    assert counts.tolist() == [400, 40, 4]
    assert cut_tail(np.array([5, 5]), 100).tolist() == [5, 1]  # a class is never lost
    assert cut_tail(np.array([5, 0]), 100).tolist() == [5, 0]


def test_a_tail_is_cut_from_what_each_class_keeps(whole: Dataset) -> None:
    part = take_part(whole, CellKey("lenet5", 0, None, 10), RunConfig(imbalance=10))
    counts = class_counts(part)
    assert (counts[0], counts[-1]) == (10, 1)
    assert (np.diff(counts) <= 0).all()


def test_nothing_asked_is_the_whole_set(whole: Dataset) -> None:
    np.testing.assert_array_equal(
        take_part(whole, CellKey("lenet5", 0), RunConfig()).train_indices, whole.train_indices
    )


def test_a_class_that_is_not_there_gets_the_nearest_names(whole: Dataset) -> None:
    wrong = whole.class_names[3] + "x"
    with pytest.raises(ValueError, match=rf"--classes.*{wrong}.*did you mean"):
        take_classes(whole, (wrong, whole.class_names[1]))
    with pytest.raises(ValueError, match="one class alone"):
        take_classes(whole, whole.class_names[:1])


def test_a_folder_that_is_decoded_as_it_goes_keeps_its_rows(tmp_path: Path) -> None:
    from PIL import Image

    for name, grey in (("a", 0), ("b", 100), ("c", 200)):
        (tmp_path / name).mkdir()
        for number in range(4):
            image = Image.fromarray(np.full((40, 40, 3), grey + number, np.uint8))
            image.save(tmp_path / name / f"{number}.png")
    folder = open_dataset("imagefolder", tmp_path, image_size=32, workers=1)
    part = take_classes(folder, ("c", "a"))
    pixels = part.train.images[np.arange(len(part.train.labels))]
    np.testing.assert_array_equal(pixels[:, 0, 0, 0] >= 200, part.train.labels == 0)
    assert replace(part, class_names=()).train.images.shape[0] == len(part.train.labels)

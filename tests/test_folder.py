"""Image folders.

Oracles: torchvision's ImageFolder, Resize and CenterCrop on the same files, hashlib's order, and
the counts published with the five flowers.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional

from bench.data import folder as folders
from bench.data import folder_build
from bench.data.dataset import check_dataset, open_dataset
from tests.support.image_factory import one_line

pytestmark = pytest.mark.usefixtures("own_cache")

REAL = os.environ.get("ZOOMETRY_DATA")
SIZE, SIDE = 28, 32


def write_images(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Write images of several shapes and modes, some a folder deeper, among files that are none."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name / "more").mkdir(parents=True)
        for i in range(count):
            height, width = rng.integers(20, 90, 2)
            grey = Image.fromarray(rng.integers(0, 256, (height, width), np.uint8))
            image = (
                grey
                if i % 3 == 0
                else Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
            )
            image.save(
                folder
                / name
                / ("more" if i % 4 == 0 else "")
                / f"{name}{i}.{'PNG' if i % 2 else 'jpg'}"
            )
        (folder / name / "readme.txt").write_text("not an image")
        (folder / name / "._hidden.jpg").write_text("not an image")
    return folder


@pytest.fixture
def given(tmp_path: Path) -> Path:
    write_images(tmp_path / "set" / "train", {"cat": 20, "ant": 30})
    write_images(tmp_path / "set" / "val", {"cat": 3, "ant": 4}, seed=1)
    return tmp_path / "set"


def test_images_are_torchvisions_resize_and_centre_crop(given: Path) -> None:
    found = open_dataset("imagefolder", given, image_size=SIZE)
    theirs = ImageFolder(str(given / "val"))
    assert found.class_names == tuple(theirs.classes) == ("ant", "cat")
    expected = {}
    for path, label in theirs.samples:
        if "/._" not in path:
            with Image.open(path) as image:
                square = functional.center_crop(
                    functional.resize(image.convert("RGB"), SIDE), [SIDE, SIDE]
                )
            expected[np.asarray(square).tobytes()] = label
    ours = {
        image.tobytes(): label
        for image, label in zip(found.test.images, found.test.labels, strict=True)
    }
    assert ours == expected
    assert (found.size, found.margin, len(found.train.labels)) == (SIZE, 2, 50)


def test_rows_are_ordered_by_the_sha256_of_their_names(given: Path) -> None:
    found = folders.find_folder(given, SIZE, print)
    sums = [
        hashlib.sha256(path.removeprefix("train/").encode()).digest() for path, _ in found.train
    ]
    assert sums == sorted(sums)
    assert [path.split("/")[1] for path, _ in found.train] == [
        ("ant", "cat")[label] for _, label in found.train
    ]


def test_validation_is_a_tenth_of_each_class(given: Path) -> None:
    found = open_dataset("imagefolder", given, image_size=SIZE)
    assert np.bincount(found.train.labels[found.validation_indices]).tolist() == [3, 2]


def test_test_set_is_cut_where_none_is_given(tmp_path: Path) -> None:
    write_images(tmp_path / "plain", {"cat": 20, "ant": 30})
    found = folders.find_folder(tmp_path / "plain", SIZE, print)
    assert np.bincount([label for _, label in found.test]).tolist() == [3, 2]
    assert not set(found.train) & set(found.test)
    for label, num_test in enumerate((3, 2)):
        sums = [
            [hashlib.sha256(p.encode()).digest() for p, k in rows if k == label]
            for rows in (found.test, found.train)
        ]
        assert len(sums[0]) == num_test
        assert max(sums[0]) < min(sums[1])
    said: list[str] = []
    write_images(tmp_path / "alone" / "train", {"cat": 20, "ant": 30})
    alone = folders.find_folder(tmp_path / "alone", SIZE, said.append)
    assert [path for path, _ in alone.test] == [f"train/{path}" for path, _ in found.test]
    assert any("neither test/ nor val/" in line for line in said)


def test_labelled_test_folder_goes_before_val(given: Path) -> None:
    (given / "test").mkdir()
    (given / "test" / "unlabelled.jpg").write_bytes(b"")
    assert folders.find_folder(given, SIZE, print).test[0][0].startswith("val/")
    write_images(given / "test", {"cat": 2, "ant": 2})
    assert len(folders.find_folder(given, SIZE, print).test) == 4


def test_sizes_are_kept_apart_and_the_second_start_decodes_nothing(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = (open_dataset("imagefolder", given, image_size=size) for size in (SIZE, 56))
    assert (small.train.images.shape[1], large.train.images.shape[1]) == (32, 64)
    monkeypatch.setattr(folder_build, "decode_square", pytest.fail)
    assert open_dataset("imagefolder", given, image_size=SIZE).checksum == small.checksum


def test_unreadable_images_are_named_and_counted(given: Path) -> None:
    for i in range(5):
        (given / "train" / "cat" / f"bad{i}.jpg").write_bytes(b"\xff\xd8 no more")
    with pytest.raises(
        ValueError, match=r"5 of 55 images can't be read: .*cat/bad\d.jpg .* and 2 more"
    ) as error:
        open_dataset("imagefolder", given, image_size=SIZE)
    one_line(error)


def test_unreadable_images_are_left_out_where_that_is_asked_for(given: Path) -> None:
    whole = open_dataset("imagefolder", given, image_size=SIZE)
    for i, part in enumerate(("train", "train", "val")):
        (given / part / "cat" / f"bad{i}.jpg").write_bytes(b"\xff\xd8 no more")
    said: list[str] = []
    left = open_dataset(
        "imagefolder", given, image_size=SIZE, skip_unreadable=True, say=said.append
    )
    assert any("2 of 52 images can't be read" in line and "left out" in line for line in said)
    assert left.source == "folder, 3 unreadable images left out"
    for ours, theirs in ((left.train, whole.train), (left.test, whole.test)):
        assert np.array_equal(ours.images, theirs.images)
        assert np.array_equal(ours.labels, theirs.labels)
    with pytest.raises(ValueError, match="--skip-unreadable leaves them out"):
        open_dataset("imagefolder", given, image_size=SIZE)


def test_a_class_of_which_nothing_is_readable_is_refused_still(given: Path) -> None:
    for path in (given / "train" / "cat").rglob("*.*"):
        path.write_bytes(b"\xff\xd8 no more")
    with pytest.raises(
        ValueError, match="class 'cat' has no training image that can be read"
    ) as error:
        open_dataset("imagefolder", given, image_size=SIZE, skip_unreadable=True)
    one_line(error)


def test_truncated_image_is_named(given: Path) -> None:
    path = next((given / "val" / "ant").glob("*.PNG"))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match=f"val/ant/{path.name}") as error:
        open_dataset("imagefolder", given, image_size=SIZE)
    one_line(error)


@pytest.mark.parametrize(
    "pixels", [900, 400]
)  # of 1,000: Pillow warns above its limit, and refuses above twice that
def test_huge_image_is_named(given: Path, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (10, 100)).save(given / "train" / "cat" / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    for path in [*given.rglob("*.PNG"), *given.rglob("*.jpg")]:
        Image.new("RGB", (10, 10)).save(path)
    with pytest.raises(ValueError, match=r"1 of 51 images can't be read: .*huge.png") as error:
        open_dataset("imagefolder", given, image_size=SIZE)
    one_line(error)


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ({"cat": 5}, {"cat": 2}, "one class alone"),
        ({"cat": 5, "dog": 0}, {"cat": 2}, "class 'dog' has no training images"),
        ({"cat": 5, "dog": 5}, {"cow": 2}, "class 'cow' is not in"),
        ({"cat": 0}, {"cat": 2}, "train: no class folder with images"),
    ],
)
def test_what_can_not_be_trained_on_is_refused(
    train: dict[str, int], val: dict[str, int], message: str, tmp_path: Path
) -> None:
    write_images(tmp_path / "train", train)
    write_images(tmp_path / "val", val)
    with pytest.raises(ValueError, match=message) as error:
        check_dataset("imagefolder", tmp_path)
    one_line(error)


def test_folder_without_images_is_refused_with_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no image folder in .*train/CLASS") as error:
        check_dataset("imagefolder", tmp_path)
    one_line(error)


def test_more_than_the_cache_should_hold_is_refused(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "LARGEST_CACHE", 57 * 64**2 * 3)
    open_dataset("imagefolder", given, image_size=56)
    with pytest.raises(
        ValueError, match=r"57 images at 84 px .* take --image-size 56 or less"
    ) as error:
        open_dataset("imagefolder", given, image_size=84)
    one_line(error)


@pytest.mark.skipif(not REAL, reason="ZOOMETRY_DATA doesn't name a folder with the five flowers")
def test_real_flowers_have_the_published_counts() -> None:
    found = folders.find_folder(Path(str(REAL)) / "flowers5", None, print)
    assert found.classes == ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    assert np.bincount([label for _, label in found.train + found.test]).tolist() == [
        633,
        898,
        641,
        699,
        799,
    ]
    assert (len(found.train), len(found.test), found.side) == (3303, 367, 256)

"""Image folders as people have them: odd names, stray files, dangling links, full disks.

Oracles: what was written, and the errors of the system itself.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_folder import SIZE, write_images

from bench.data import cache, folder_build
from bench.data import folder as folders
from bench.data.dataset import Dataset, open_dataset
from bench.data.run_data import open_run_data
from bench.request.command_line import parse
from tests.support.image_factory import one_line

pytestmark = pytest.mark.usefixtures("own_cache")
CLASSES = {"cat": 20, "ant": 30}


def found_in(place: Path, said: list[str] | None = None) -> folders.Folder:
    return folders.find_folder(place, SIZE, [].append if said is None else said.append)


def opened(place: Path, said: list[str] | None = None, **options: bool) -> Dataset:
    say = [].append if said is None else said.append
    return open_dataset("imagefolder", place, image_size=SIZE, say=say, **options)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    write_images(tmp_path / "set" / "train", CLASSES)
    write_images(tmp_path / "set" / "val", {"cat": 3, "ant": 4}, seed=1)
    return tmp_path / "set"


def test_hidden_folders_are_none_and_what_is_passed_over_is_said(tmp_path: Path) -> None:
    place = write_images(tmp_path / "set", CLASSES)
    for hidden in (".ipynb_checkpoints", "@eaDir"):
        write_images(place / "cat" / hidden, {"copies": 5})
    write_images(place / "__MACOSX", {"cat": 2})
    Image.new("RGB", (9, 9)).save(place / "loose.png")
    (place / "cat" / "clip.MP4").write_bytes(b"")
    said: list[str] = []
    found = found_in(place, said)
    assert found.classes == ("ant", "cat")
    assert len(found.train) + len(found.test) == 50
    (line,) = [line for line in said if "passed over" in line]
    for words in ("2 .txt", "1 .mp4", "5 hidden", "1 .png in no class's folder"):
        assert words in line


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("TRAIN", "Valid"),
        ("train_set", "test-images"),
        ("train2017", "val2017"),
    ],
)
def test_the_usual_names_of_splits_are_splits(train: str, test: str, tmp_path: Path) -> None:
    write_images(tmp_path / train, CLASSES)
    write_images(tmp_path / test, {"cat": 3, "ant": 4}, seed=1)
    found = found_in(tmp_path)
    assert found.classes == ("ant", "cat")
    assert (len(found.train), len(found.test)) == (50, 7)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("train", "Training"), "would both be train/"),
        (("test", "val"), "no train/ beside it"),
        (("fold1", "fold2"), "each hold the same folders"),
    ],
)
def test_what_looks_like_splits_and_is_not_understood_is_refused(
    names: tuple[str, ...], line: str, tmp_path: Path
) -> None:
    for name in names:
        write_images(tmp_path / name, CLASSES)
    with pytest.raises(ValueError, match=line) as error:
        found_in(tmp_path)
    one_line(error)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("bus", "train", "test"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.new("RGB", (9, 9)).save(tmp_path / name / f"{i}.png")
    assert found_in(tmp_path).classes == ("bus", "test", "train")


def test_folders_that_are_not_used_are_said(given: Path) -> None:
    write_images(given / "test", {"cat": 2, "ant": 2})
    said: list[str] = []
    assert len(found_in(given, said).test) == 4
    assert any("val/ not used; validation images are cut from train/" in line for line in said)


def test_what_can_not_be_opened_is_named_or_left_out(given: Path) -> None:
    whole = opened(given)
    place = given / "train" / "cat"
    (place / "gone.jpg").symlink_to(place / "nowhere.jpg")
    (place / "loop.jpg").symlink_to(place / "loop.jpg")
    (place / "up").symlink_to(given)
    os.mkfifo(place / "pipe.jpg")
    (place / "folder.jpg").mkdir()
    (place / os.fsdecode(b"\xff\n.jpg")).write_bytes(b"")
    with pytest.raises(ValueError, match=r"4 of 54 images can't be read: .*\.jpg") as error:
        opened(given)
    one_line(error)
    said: list[str] = []
    left = opened(given, said, skip_unreadable=True)
    assert left.source == "folder, 4 unreadable images left out"
    assert np.array_equal(left.train.images, whole.train.images)


@pytest.mark.parametrize("fault", [MemoryError(), RecursionError("deep"), KeyError("tag")])
def test_whatever_one_file_raises_is_its_fault(
    given: Path, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = folder_build.decode_square

    def decode(path: Path, side: int) -> object:
        if path.name == "cat1.PNG" and path.parts[-3] == "train":
            raise fault
        return real(path, side)

    monkeypatch.setattr(folder_build, "decode_square", decode)
    assert "1 unreadable" in opened(given, skip_unreadable=True).source


def test_another_name_or_picture_is_another_checksum(given: Path) -> None:
    sums = {opened(given).checksum}
    for part in ("train", "val"):
        (given / part / "cat").rename(given / part / "cow")
    sums.add(opened(given).checksum)
    Image.new("RGB", (30, 30)).save(given / "train" / "cow" / "one more.png")
    sums.add(opened(given).checksum)
    assert len(sums) == 3


@pytest.mark.parametrize("count", [2, 3])
def test_a_set_without_validation_images_is_refused_before_training(
    count: int, tmp_path: Path
) -> None:
    place = write_images(tmp_path / "set", {"cat": count, "ant": count})
    if count == 3:
        assert len(opened(place).validation_indices) == 2
        return
    with pytest.raises(ValueError, match="none is left for validation") as error:
        opened(place)
    assert "--protocol published" in one_line(error)
    assert (
        len(open_dataset("imagefolder", place, protocol="published", image_size=SIZE).test.labels)
        == 2
    )


def test_a_batch_of_more_images_than_there_are_is_refused_before_training(tmp_path: Path) -> None:
    place = write_images(tmp_path / "set", {"cat": 20, "ant": 20})
    words = ["--models", "lenet5", "--dataset", "imagefolder", "--data-dir", str(place)]
    config = parse([*words, "--image-size", str(SIZE), "--out", str(tmp_path / "run")])
    with pytest.raises(ValueError, match="--batch-size 128: imagefolder has 34") as error:
        open_run_data(config)
    one_line(error)
    assert open_run_data(replace(config, batch_size=32)).name == "imagefolder"
    assert open_run_data(replace(config, epochs=0, seconds=None)).name == "imagefolder"


def test_a_class_without_validation_images_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    opened(write_images(tmp_path / "set", {"cat": 2, "ant": 20}), said)
    assert any("1 class has no validation image" in line for line in said)


def test_a_channel_that_never_changes_is_divided_by_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "ant"):
        (tmp_path / name).mkdir()
        for i in range(5):
            values = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            values[..., 2] = 7
            Image.fromarray(values).save(tmp_path / name / f"{i}.png")
    said: list[str] = []
    found = opened(tmp_path, said)
    assert found.std[2] == 1
    assert found.mean[2] == pytest.approx(7 / 255)
    assert min(found.std[:2]) > 0.1
    assert [line for line in said if "channel" in line] == [
        "imagefolder: channel 2 is the same in all pixels; it isn't scaled"
    ]


def test_space_is_taken_before_anything_is_decoded(tmp_path: Path) -> None:
    images = cache.reserve_images(tmp_path / "x.npy", (10, 64, 64, 3))
    taken = (tmp_path / "x.npy").stat()
    assert taken.st_blocks * 512 >= images.nbytes


@pytest.mark.parametrize("after", [0, 1])  # the training set's file, the test set's
def test_a_full_disk_is_named_and_nothing_is_left(
    given: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def full(*_: int) -> None:
        calls.append(1)
        if len(calls) > after:
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ValueError, match=r"can't be written to .*No space left on device") as error:
        opened(given)
    assert "XDG_CACHE_HOME" in one_line(error)
    root = cache.user_cache() / "decoded"
    assert [path.suffix for path in root.iterdir()] == [".lock"]


def test_a_user_without_a_home_is_told_what_to_set(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said: list[str] = []
    assert len(opened(given, said).train.labels) == 50
    assert any("set HOME, or XDG_CACHE_HOME" in line and str(tmp_path) in line for line in said)
    with pytest.raises(ValueError, match="has no home folder: set HOME") as error:
        open_dataset("cifar100", None)
    one_line(error)

"""A look at an image folder: what its files are, and messages where nothing can be looked at.

Oracles: the files that the test writes, and Pillow's own modes.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_look import SCENES, compress

from bench.data.__main__ import main
from bench.data.dataset import open_dataset
from bench.data.file_look import look_at_folder, see_file
from bench.data.folder import Folder, find_folder, list_folder

pytestmark = pytest.mark.usefixtures("own_cache")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16")


def write(place: Path, image: np.ndarray | Image.Image, **options: object) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(place, **options)


def write_set(place: Path, num_images: int = 6) -> Path:
    """Write two classes of scenes with a test set of their own."""
    for number in range(2 * num_images):
        name = f"{'ab'[number % 2]}/{number}.png"
        write(place / "train" / name, SCENES[number])
    for number in range(2):
        write(place / "test" / f"{'ab'[number]}/{number}.png", SCENES[100 + number])
    return place


def listed(place: Path) -> Folder:
    found = list_folder(place, 32, [].append)
    assert found is not None
    return found


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 2
    found = capsys.readouterr()
    assert found.err.count("\n") == 1
    return found.err


@pytest.mark.parametrize("mode", MODES)
def test_pictures_of_every_mode_and_odd_sizes_are_seen(mode: str, tmp_path: Path) -> None:
    deep = np.arange(12 * 10, dtype=np.uint16).reshape(10, 12) * 500
    picture = Image.fromarray(SCENES[0]).resize((12, 10))
    made = Image.fromarray(deep) if mode == "I;16" else picture.convert(mode)
    suffix = "jpg" if mode == "CMYK" else "png"
    write(tmp_path / f"x.{suffix}", made, **({"transparency": 0} if mode == "P" else {}))
    seen = see_file(tmp_path / f"x.{suffix}")
    assert (seen.fault, seen.size, seen.mode) == ("", (12, 10), mode)
    assert seen.thumbnail.shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("size", "suffix"), [((1, 1), "png"), ((10000, 2), "png"), ((2, 10000), "jpg")]
)
def test_dots_and_strips_are_seen(size: tuple[int, int], suffix: str, tmp_path: Path) -> None:
    write(tmp_path / f"x.{suffix}", Image.new("RGB", size, (10, 200, 30)))
    seen = see_file(tmp_path / f"x.{suffix}")
    assert (seen.fault, seen.size) == ("", size)
    assert np.abs(seen.thumbnail.astype(int) - (10, 200, 30)).max() <= 3


def test_what_lies_on_its_side_is_turned_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = write_set(tmp_path / "set")
    upright = Image.fromarray(SCENES[100])
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees anticlockwise: it takes a quarter back to stand
    write(place / "train/a/turned.jpg", upright.rotate(90, expand=True), exif=exif, quality=95)
    look = look_at_folder(listed(place))
    assert look.files is not None
    assert look.files.orientations == {"6": 1}
    # The same scene stands upright in the test set: they are doubles only if one was turned.
    assert len(look.across.first) == 1
    assert "1 image not upright by EXIF; turned when read" in told(capsys, str(place))


def test_equal_files_of_other_formats_are_exact_and_compressed_ones_near(tmp_path: Path) -> None:
    place = write_set(tmp_path / "set")
    write(place / "train/a/same.bmp", SCENES[100])
    write(place / "train/b/near.png", compress(SCENES[101:102], 60)[0])
    folder = listed(place)
    look = look_at_folder(folder)
    pairs = zip(look.across.first, look.across.second, look.across.exact, strict=True)
    named = {(folder.test[a][0], folder.train[b][0], exact) for a, b, exact in pairs}
    assert named == {
        ("test/a/0.png", "train/a/same.bmp", True),
        ("test/b/1.png", "train/b/near.png", False),
    }


def test_unreadable_files_are_named_and_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = write_set(tmp_path / "set")
    for name in ("test/a/torn.png", "train/a/torn.png"):
        (place / name).write_bytes((place / "test/a/0.png").read_bytes()[:200])
    shown = told(capsys, str(place))
    assert "12 training, 2 test" in shown
    assert "torn.png" in shown
    assert "and 1 more" in shown
    assert "Exact doubles  none" in shown
    assert "Near doubles   none" in shown


def test_one_class_and_one_image_are_looked_at_and_a_run_would_refuse_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        write(tmp_path / f"set/cat/{number}.png", SCENES[number])
    shown = told(capsys, str(tmp_path / "set"))
    assert "2 training, 1 test" in shown
    assert "one class alone ('cat'), two are the least" in shown
    write(tmp_path / "one/cat/0.png", SCENES[0])
    shown = told(capsys, str(tmp_path / "one"))
    assert "0 training, 1 test" in shown
    assert "class 'cat' has no training images" in shown
    with pytest.raises(ValueError, match="one class alone"):
        find_folder(tmp_path / "set", 32, [].append)


def test_json_has_every_pair_by_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = write_set(tmp_path / "set")
    write(place / "train/b/copy.png", SCENES[100])
    found = json.loads(told(capsys, str(place), "--json"))
    (first,), (second,) = found["across"]["first"], found["across"]["second"]
    assert found["paths"]["test"][first] == "test/a/0.png"
    assert found["paths"]["train"][second] == "train/b/copy.png"
    assert found["across"]["other_class"] == [True]


def test_a_sheet_shows_the_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = write_set(tmp_path / "set")
    write(place / "train/a/copy.png", SCENES[100])
    told(capsys, str(place), "--sheet", str(tmp_path / "pairs.png"))
    sheet = np.asarray(Image.open(tmp_path / "pairs.png"))
    left, right = sheet[12:76, :64], sheet[12:76, 65:129]
    assert (left == right).all()
    assert left.std() > 10
    assert "can't be written" in refused(capsys, str(place), "--sheet", "/dev/null/pairs.png")


def test_what_is_neither_a_folder_nor_a_set_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "did you mean cifar100" in refused(capsys, "cifar1000")
    assert "neither a folder nor a data set" in refused(capsys, str(tmp_path / "missing"))
    assert "holds neither CLASS/*.jpg" in refused(capsys, str(tmp_path))
    assert "not found" in refused(capsys, "cifar10", "--data-dir", str(tmp_path))


def test_a_set_is_found_by_the_folder_of_its_files(
    cifar10: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = told(capsys, str(cifar10))
    assert "200 training, 50 test" in shown
    assert "all 32 x 32 px, RGB" in shown
    assert open_dataset("cifar10", cifar10).look is None

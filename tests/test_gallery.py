"""Where two models disagree, and the pictures that a run keeps for it.

Oracle: sets of images counted one by one, and the binomial distribution in whole fractions.
"""

import base64
import io
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bench.cell.cell_file import MAX_SIDE, shrink, spread_over_classes, write_thumbnails
from reports.gallery import ACROSS, choose_pictures, gallery_data
from reports.part import gallery_part
from reports.runs import read_source
from reports.view import build_view
from tests.support.record_factory import ZOO, accuracy, data_info, predictions, record, write_run

DRAW = np.random.default_rng(3)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=300), st.integers(1, 60))
def test_classes_have_equally_many_thumbnails(labels: list[int], most: int) -> None:
    index = spread_over_classes(np.array(labels), most)
    assert len(index) <= most
    assert sorted(set(index.tolist())) == index.tolist()
    counts = [sum(labels[i] == each for i in index) for each in set(labels)]
    available = [labels.count(each) for each in set(labels)]
    quota = most // len(available)
    if quota:
        assert counts == [min(quota, each) for each in available]


@pytest.mark.parametrize("channels", [1, 3])
def test_large_images_are_shrunk_whole(channels: int) -> None:
    image = np.zeros((4 * MAX_SIDE, 4 * MAX_SIDE, channels), np.uint8)
    image[: 2 * MAX_SIDE] = 200
    small = shrink(image)
    assert small.shape == (MAX_SIDE, MAX_SIDE, channels)
    assert (small[: MAX_SIDE // 2] == 200).all()
    assert (small[MAX_SIDE // 2 :] == 0).all()
    assert shrink(image[:MAX_SIDE, :MAX_SIDE]) is not None


def dataset(images: NDArray[np.uint8], labels: NDArray[np.int64], margin: int) -> Any:
    test = SimpleNamespace(images=images, labels=labels)
    size = images.shape[1] - 2 * margin
    return SimpleNamespace(test=test, margin=margin, size=size, checksum="sha256:12ab")


def test_thumbnails_are_kept_once_without_the_margin(tmp_path: Path) -> None:
    images = DRAW.integers(0, 256, (20, 12, 12, 3), np.uint8)
    data = dataset(images, np.arange(20) % 4, margin=2)
    write_thumbnails(tmp_path, data)
    with np.load(tmp_path / "thumbnails.npz") as kept:
        assert str(kept["checksum"]) == "sha256:12ab"
        assert np.array_equal(kept["image"], images[kept["index"], 2:10, 2:10])
        assert len(kept["index"]) == 20
    before = (tmp_path / "thumbnails.npz").stat().st_mtime_ns
    write_thumbnails(tmp_path, data)
    assert (tmp_path / "thumbnails.npz").stat().st_mtime_ns == before


@given(st.integers(0, 2**32 - 1))
def test_pictures_are_those_that_tell_models_apart(seed: int) -> None:
    draw = np.random.default_rng(seed)
    right = draw.random((4, 30)) < 0.6
    labels = draw.integers(0, 3, 30)
    chosen = choose_pictures(right, labels).tolist()
    telling = [i for i in range(30) if 0 < right[:, i].sum() < 4]
    assert sorted(chosen) == telling

    def pairs(i: int) -> int:
        return sum(right[a, i] != right[b, i] for a in range(4) for b in range(a))

    for each in range(3):
        of_class = [pairs(i) for i in chosen if labels[i] == each]
        assert of_class == sorted(of_class, reverse=True)
    # In turn: as long as all classes have some left, no class is ahead by more than one.
    shortest = min(sum(labels[i] == each for i in telling) for each in range(3))
    for each in range(3):
        assert sum(labels[i] == each for i in chosen[: 3 * shortest]) == shortest


@dataclass
class Written:
    """A run of three models, and what they said of its images."""

    folder: Path
    said: dict[str, NDArray[Any]]
    labels: NDArray[Any]
    images: NDArray[np.uint8]


def write_three(folder: Path, *, checksum: str = "sha256:12ab") -> Written:
    data = data_info(num_test=400)
    records = []
    for animal in ZOO[:3]:
        whole = record(animal, data=data)
        records.append(replace(whole, accuracy=accuracy(round(animal.top1), n=400)))
    write_run(folder, records)
    answers = {each.model: predictions(each) for each in records}
    labels = answers[ZOO[0].name]["label"]
    # Each image is of one grey of its own, which a lossy picture keeps.
    images = np.broadcast_to((np.arange(400) % 250)[:, None, None, None], (400, 8, 8, 3))
    index = np.arange(0, 400, 2)
    arrays = {"index": index, "image": images[index].astype(np.uint8)}
    np.savez_compressed(folder / "thumbnails.npz", checksum=np.array(checksum), **arrays)
    said = {name: each["predicted"] for name, each in answers.items()}
    return Written(folder, said, labels, images.astype(np.uint8))


def exact_p(only_a: int, only_b: int) -> float:
    n, least = only_a + only_b, min(only_a, only_b)
    below = sum(Fraction(math.comb(n, k), 2**n) for k in range(least + 1))
    return float(min(Fraction(1), 2 * below))


def test_counts_and_p_are_those_of_the_images(tmp_path: Path) -> None:
    run = write_three(tmp_path / "run")
    view = build_view(read_source([run.folder]))
    gallery = gallery_data(view.largest, view.row_numbers)
    models = {view.row_numbers[entry.key]: entry.model for entry in view.entries}
    names = [models[i] for i in gallery["rows"]]
    order = sorted(range(400), key=lambda i: (run.labels[i], i))
    for name, packed in zip(names, gallery["right"], strict=True):
        bits = np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8))[:400]
        assert bits.tolist() == [int(run.said[name][i] == run.labels[i]) for i in order]
    assert gallery["counts"] == [4] * 100
    for a in range(3):
        for b in range(a):
            right_a, right_b = (run.said[names[i]] == run.labels for i in (a, b))
            only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
            assert gallery["p"][a][b] == pytest.approx(exact_p(only_a, only_b), rel=1e-9)


def test_pictures_are_those_of_their_images(tmp_path: Path) -> None:
    run = write_three(tmp_path / "run")
    view = build_view(read_source([run.folder]))
    pictures = gallery_data(view.largest, view.row_numbers)["pictures"]
    content = base64.b64decode(pictures["sheet"].partition(",")[2])
    sheet = np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(int)
    assert pictures["index"]
    for place, image in enumerate(pictures["index"]):
        row, column = divmod(place, ACROSS)
        cut = sheet[8 * row + 3 : 8 * row + 5, 8 * column + 3 : 8 * column + 5]
        assert abs(cut.mean() - image % 250) < 12
        assert pictures["labels"][place] == run.labels[image]
        assert [said[place] for said in pictures["said"]] == [
            run.said[entry.model][image] for entry in gallery_part(view).html["compared"]
        ]


@pytest.mark.parametrize("fault", ["published", "torn", "other data", "index", "shape"])
def test_pictures_that_do_not_fit_are_left_out(fault: str, tmp_path: Path) -> None:
    checksum = "other" if fault == "other data" else "sha256:12ab"
    run = write_three(tmp_path / "run", checksum=checksum)
    file = run.folder / "thumbnails.npz"
    whole: dict[str, Any] = {"index": np.arange(9), "image": run.images[:9]}
    whole["checksum"] = np.array("sha256:12ab")
    match fault:
        case "published":
            file.unlink()
        case "torn":
            file.write_bytes(b"PK torn")
        case "index":
            np.savez_compressed(file, **whole | {"index": np.arange(9) + 395})
        case "shape":
            np.savez_compressed(file, **whole | {"image": run.images[:9, :, :, 0]})
    view = build_view(read_source([run.folder]))
    gallery = gallery_data(view.largest, view.row_numbers)
    assert gallery["pictures"] == {}
    assert len(gallery["right"]) == 3


def test_one_model_has_nobody_to_disagree_with(tmp_path: Path) -> None:
    view = build_view(read_source([write_run(tmp_path / "run", [record(ZOO[0])])]))
    assert gallery_data(view.largest, view.row_numbers) == {}

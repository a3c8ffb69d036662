"""A look at a data set finds what was put there.

Oracles: doubles that the test plants (shifted, mirrored, compressed, darker, cut closer), and a
count of all pairs by hand in a small set.
"""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.data import double
from bench.data import look as looks
from bench.data.dataset import Dataset, ImageSet
from bench.data.look import look_at_set, number_equals, open_look
from bench.results.look import DataLook, Pairs, read_look, write_look
from bench.results.look_text import describe_look
from tests.support.image_factory import memory_dataset

NUM_SCENES = 120
SIDE = 32
MARGIN = 4


def draw_scenes(n: int, seed: int) -> NDArray[np.uint8]:
    """Draw pictures with the spectrum of photographs, 1 / f, (n, 40, 40, 3)."""
    rng = np.random.default_rng(seed)
    side = SIDE + 2 * MARGIN
    down, across = np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij")
    fall = 1 / np.maximum(np.hypot(down, across), 1 / side)
    noise = rng.standard_normal((n, 3, side, side // 2 + 1, 2)) @ np.array([1, 1j])
    # Channels of a photograph are much alike.
    mixed = 0.8 * noise.mean(axis=1, keepdims=True) * 3**0.5 + 0.4 * noise
    planes = np.fft.irfft2(mixed * fall, s=(side, side))
    planes /= planes.std(axis=(1, 2, 3), keepdims=True)
    return np.clip(128 + 50 * planes, 0, 255).round().astype(np.uint8).transpose(0, 2, 3, 1)


SCENES = draw_scenes(NUM_SCENES, seed=0)


def view(down: int = 0, across: int = 0) -> NDArray[np.uint8]:
    """Return windows of the scenes, moved by so many pixels."""
    return SCENES[:, MARGIN + down : MARGIN + down + SIDE, MARGIN + across : MARGIN + across + SIDE]


def compress(images: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    found = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        found.append(np.asarray(Image.open(buffer)))
    return np.stack(found)


def cut_closer(images: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    edge = (1 - share) / 2 * SIDE
    box = (edge, edge, SIDE - edge, SIDE - edge)
    return np.stack(
        [
            np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC, box))
            for image in images
        ]
    )


COPIES = {
    "the same": view(),
    "down by 2": view(down=2),
    "across by -2": view(across=-2),
    "mirrored": view()[:, :, ::-1],
    "mirrored and across by 2": view(across=2)[:, :, ::-1],
    "JPEG at 50": compress(view(), 50),
    "10 % brighter": np.clip(view() * 1.1, 0, 255).astype(np.uint8),
    "10 % darker": (view() * 0.9).astype(np.uint8),
    "cut closer": cut_closer(view(), 0.9),
}


def make_set(
    train: NDArray[np.uint8], test: NDArray[np.uint8], train_labels: Any = 0, test_labels: Any = 0
) -> Dataset:
    """Make a data set of these images; labels are one number, or one each."""
    border = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
    parts = []
    for images, labels in ((train, train_labels), (test, test_labels)):
        each = np.broadcast_to(np.asarray(labels, np.int64), (len(images),))
        parts.append(ImageSet(np.pad(images, border), each))
    return replace(memory_dataset(10), train=parts[0], test=parts[1], checksum="0" * 64)


def inside_pairs(look: DataLook) -> list[tuple[int, int]]:
    """List the pairs within training and test set."""
    parts = (look.train.pairs, look.test.pairs)
    return [pair for part in parts for pair in zip(part.first, part.second, strict=True)]


@pytest.mark.parametrize("name", COPIES)
def test_planted_doubles_are_found_across_the_splits(name: str) -> None:
    look = look_at_set(make_set(train=COPIES[name], test=view()))
    pairs = set(zip(look.across.first, look.across.second, strict=True))
    found = sum((row, row) in pairs for row in range(NUM_SCENES))
    assert found >= 0.98 * NUM_SCENES
    # Nothing else is told: scenes have nothing in common.
    assert len(pairs) == found
    assert inside_pairs(look) == []
    assert set(look.across.mirrored) == {"mirrored" in name}
    assert set(look.across.exact) == {name == "the same"}


def test_other_pictures_are_no_doubles() -> None:
    look = look_at_set(make_set(train=draw_scenes(600, seed=1)[:, :32, :32], test=view()))
    assert look.across == Pairs()
    assert inside_pairs(look) == []


def test_equal_pictures_are_paired_within_and_across() -> None:
    # Numbers stand for pictures: 1 is twice in the test set and three times in training.
    test, train = [1, 2, 1], [3, 1, 4, 1, 4, 1]
    found = look_at_set(make_set(train=view()[train], test=view()[test]))
    assert set(zip(found.test.pairs.first, found.test.pairs.second, strict=True)) == {(0, 2)}
    assert {(1, 3), (3, 5), (2, 4)} <= set(
        zip(found.train.pairs.first, found.train.pairs.second, strict=True)
    )
    assert set(found.across.first) == {0, 2}
    assert set(found.across.second) == {1, 3, 5}
    assert all(found.across.exact)


def test_two_labels_of_one_picture_are_counted() -> None:
    look = look_at_set(
        make_set(
            view()[:4], view(across=1)[:4], train_labels=[0, 1, 2, 3], test_labels=[0, 1, 3, 2]
        )
    )
    assert look.across.count(exact=False) == 4
    assert look.across.count(exact=False, other_class=True) == 2
    assert dict(describe_look(look))["Two labels"] == "2 pairs of nearly the same"


def test_pictures_of_one_colour_are_doubles_only_if_equal() -> None:
    flat = np.stack([np.full((SIDE, SIDE, 3), value, np.uint8) for value in (10, 10, 11, 200)])
    look = look_at_set(make_set(train=flat, test=flat[3:] - 1))
    assert (look.train.num_plain, look.test.num_plain) == (4, 1)
    assert list(zip(look.train.pairs.first, look.train.pairs.second, strict=True)) == [(0, 1)]
    assert not look.across.first


def test_of_frames_that_are_all_alike_few_pairs_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(double, "MOST_CANDIDATES", 4)
    frames = np.repeat(view()[:1], 60, axis=0) + np.arange(60, dtype=np.uint8)[:, None, None, None]
    found = double.find_doubles(frames, np.arange(60), num_test=0)
    assert len(found.first) <= 60 * 4
    assert set(found.first) | set(found.second) == set(range(60))


def test_a_set_of_one_image_or_none_has_no_doubles() -> None:
    look = look_at_set(make_set(train=view()[:1], test=view()[:0]))
    assert (look.train.num_images, look.test.num_images) == (1, 0)
    assert not look.across.first


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    look = look_at_set(make_set(train=view()[:9], test=view(down=1)[:9]))
    write_look(tmp_path / "look.json", look)
    assert read_look(tmp_path / "look.json") == look
    (tmp_path / "look.json").write_text('{"schema": 1}')
    with pytest.raises(ValueError, match=r"look\.json: .*Field required"):
        read_look(tmp_path / "look.json")
    with pytest.raises(ValueError, match="differ in length"):
        Pairs(first=(1,))


@pytest.mark.usefixtures("own_cache")
def test_a_set_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_set(train=view()[:9], test=view(down=1)[:9])
    said: list[str] = []
    first = open_look(data, say=said.append, timeout=5)
    monkeypatch.setattr(looks, "look_at_set", None)
    assert open_look(data, say=said.append, timeout=5) == first
    assert sum("looking for doubles" in line for line in said) == 1


def test_too_many_images_have_only_their_equals_paired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "MOST_COMPARED", 10)
    look = look_at_set(make_set(train=COPIES["down by 2"][:9], test=view()[[0, 0]]))
    assert not look.near
    assert look.across == Pairs()
    assert list(zip(look.test.pairs.first, look.test.pairs.second, strict=True)) == [(0, 1)]
    assert "not looked for" in dict(describe_look(look))["Near doubles"]


def test_keys_are_numbered_in_order_of_appearance() -> None:
    assert number_equals(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]

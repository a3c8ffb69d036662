"""A run heeds what a look at its data found: its records, its files, the table and verify.

Oracles: doubles that the test plants in a small CIFAR-10, and counts by numpy.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_look import SCENES, inside_pairs, make_set, view

from bench.cell.cell_file import write_run_look
from bench.data.dataset import Dataset
from bench.data.look import look_at_set
from bench.data.run_data import open_run_data
from bench.data.run_look import drop_doubles, renumber
from bench.data.subset import take_classes
from bench.request.command_line import parse
from bench.results.image_interval import top1_difference, top1_estimate
from bench.results.look import DOUBLES, FILE, Pairs, read_look
from bench.results.look_text import describe_look
from bench.results.record import Accuracy
from bench.results.reliability import difference, estimate, image_scores
from tests.support.image_factory import write_parquet

LABELS = np.arange(len(SCENES)) % 10


def looked(data: Dataset) -> Dataset:
    return replace(data, look=look_at_set(data))


@pytest.fixture
def doubled() -> Dataset:
    """100 training images, of which the first 20 are the test set moved by a pixel."""
    made = make_set(
        np.concatenate([view(across=1)[:20], view()[20:100]]),
        view()[:20],
        LABELS[:100],
        LABELS[:20],
    )
    return replace(
        made, train_indices=np.arange(5, 100), validation_indices=np.arange(5), protocol="split"
    )


def test_what_is_in_the_test_set_is_left_out_of_training(doubled: Dataset) -> None:
    said: list[str] = []
    left = drop_doubles(looked(doubled), said.append)
    assert left.train_indices.tolist() == list(range(20, 100))
    assert left.validation_indices.tolist() == []
    assert left.source.endswith("20 doubles of test images left out")
    assert left.look is not None
    assert (left.look.across, left.look.num_dropped) == (Pairs(), 20)
    assert "20 training and validation images left out" in said[0]


def test_where_all_images_are_of_one_kind_only_exact_doubles_are_told() -> None:
    """Five scenes in many versions: a version in the test set is no copy of another in training."""
    rng = np.random.default_rng(0)
    kinds = np.arange(203) % 5
    noise = rng.integers(-6, 7, (203, *view().shape[1:]))
    versions = np.clip(view()[kinds] + noise, 0, 255).astype(np.uint8)
    train, test = np.concatenate([versions[:150], versions[200:]]), versions[150:]
    made = make_set(train, test, kinds[[*range(150), 200, 201, 202]], kinds[150:])
    data = looked(replace(made, train_indices=np.arange(153), validation_indices=np.arange(0)))
    look = data.look
    assert look is not None
    assert look.is_of_one_kind
    assert np.flatnonzero(look.has_double(53)).tolist() == [50, 51, 52]
    facts = dict(describe_look(look))
    assert facts["Exact doubles"].startswith("3 test images have one in training")
    assert facts["Near doubles"].startswith("not told: 153 training images look nearly the same")
    assert facts["Two labels"] == "none"
    left = drop_doubles(data, [].append)
    assert left.train_indices.tolist() == list(range(150))
    assert left.look is not None
    assert left.look.num_dropped == 3
    assert not left.look.has_double(53).any()


def test_a_class_that_would_be_emptied_is_named(doubled: Dataset) -> None:
    few = replace(doubled, train_indices=np.arange(5, 21))
    with pytest.raises(ValueError, match=r"--drop-duplicates: all training images of class '1'"):
        drop_doubles(looked(few), [].append)


def test_a_look_is_renumbered_for_a_part_of_the_classes(doubled: Dataset) -> None:
    look = look_at_set(doubled)
    part = take_classes(doubled, ("3", "7"))
    assert renumber(look, part) == replace(
        look_at_set(part), seconds=look.seconds, checksum=part.checksum
    )
    assert len(renumber(look, part).across.first) == 4


def test_unreadable_files_move_the_rows_behind_them() -> None:
    look = look_at_set(make_set(view()[:6], view()[:3]))
    part = make_set(view()[[0, 2, 3, 4, 5]], view()[:3])
    kept = replace(part, train=replace(part.train, rows=np.array([0, 2, 3, 4, 5])))
    across = renumber(look, kept).across
    assert list(zip(across.first, across.second, strict=True)) == [(0, 0), (2, 1)]


def test_top1_without_doubles_has_the_interval_and_the_test_of_top1() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 300)
    has_double = rng.random(300) < 0.3
    said = []
    for share in (0.2, 0.3):
        predicted = np.where(rng.random(300) < share, (label + 1) % 3, label)
        said.append({"label": label, "predicted": predicted, "has_double": has_double})
    key = "top1_without_doubles"
    a, b = (image_scores(answers)[key][None] for answers in said)
    right = [(answers["label"] == answers["predicted"])[~has_double] for answers in said]
    counted = Accuracy(
        split="test",
        num_images=len(right[0]),
        num_top1=int(right[0].sum()),
        num_top5=len(right[0]),
        num_superclass=None,
        loss=1.0,
    )
    assert estimate(key, a) == top1_estimate([counted])
    assert difference(key, a, b) == top1_difference(right[0][None], right[1][None])


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    """Write a CIFAR-10 of which 10 of 40 test images lie in training, moved by a pixel."""
    place = tmp_path / "cifar10"
    write_parquet(place, "train", view(down=1)[:80], {"label": LABELS[:80]})
    write_parquet(place, "test", view()[70:110], {"label": LABELS[70:110]})
    return tmp_path


def open_data(place: Path, said: list[str], *words: str) -> Dataset:
    given = ["--dataset", "cifar10", "--data-dir", str(place), "--batch-size", "16", *words]
    return open_run_data(parse(["--recipe", "smoke", *given]), say=said.append)


@pytest.mark.usefixtures("own_cache")
def test_a_run_says_how_many_test_images_leak(leaking: Path) -> None:
    said: list[str] = []
    data = open_data(leaking, said)
    assert any("10 of 40 test images (25.0 %) show the same as a training image" in x for x in said)
    assert data.look is not None
    assert inside_pairs(data.look) == []
    assert data.look.has_double(40).sum() == 10
    dropped = open_data(leaking, said, "--drop-duplicates")
    num_before = len(data.train_indices) + len(data.validation_indices)
    assert len(dropped.train_indices) + len(dropped.validation_indices) == num_before - 10
    assert sum("looking for doubles" in line for line in said) == 1


def test_a_run_keeps_its_look_and_pictures_of_some_doubles(
    doubled: Dataset, tmp_path: Path
) -> None:
    data = looked(doubled)
    write_run_look(tmp_path, data)
    assert read_look(tmp_path / FILE) == data.look
    pictures = np.load(tmp_path / DOUBLES)["image"]
    assert pictures.shape == (4, 2, 32, 32, 3)
    assert (pictures[0, 0] == view()[0]).all()
    assert (pictures[0, 1] == view(across=1)[0]).all()


def test_a_damaged_look_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / FILE
    for content in ("", "[]", json.dumps({"schema": 9}), "{" * 5000):
        path.write_text(content)
        with pytest.raises(ValueError, match="look") as error:
            read_look(path)
        assert "\n" not in str(error.value)

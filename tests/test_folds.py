"""Folds and images a class. Oracles: scikit-learn's StratifiedKFold, and counting."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.model_selection import StratifiedKFold

from bench.data.run_data import open_run_data
from bench.data.subset import deal_folds, take_part
from bench.request.command_line import parse
from bench.request.config import RunConfig
from bench.results.record import CellKey
from bench.results.storage import read_run, write_arrays
from bench.run import main
from bench.verify import find_faults
from reports.ranking import entries_of
from reports.runs import read_source
from reports.tidy import tidy_rows
from tests.support.image_factory import memory_dataset, use_own_cache, write_cifar10
from tests.support.processes import argv_of
from tests.support.record_factory import record, write_run
from zoo import create_model


@pytest.mark.parametrize("counts", [(10, 10, 10), (5, 23, 8, 40), (7,) * 30])
def test_folds_are_as_even_as_scikit_learns(counts: tuple[int, ...]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    folds = deal_folds(labels, 5)
    ours = np.stack([np.bincount(labels[folds == fold]) for fold in range(1, 6)])
    split = StratifiedKFold(5).split(labels, labels)
    theirs = np.stack([np.bincount(labels[tested]) for _, tested in split])
    assert np.array_equal(np.sort(ours, axis=0), np.sort(theirs, axis=0))
    assert np.array_equal(np.sort(ours.sum(axis=1)), np.sort(theirs.sum(axis=1)))


def test_every_image_is_tested_once_by_a_model_that_has_not_seen_it() -> None:
    data = memory_dataset(203)
    tested = []
    for fold in range(1, 5):
        part = take_part(data, CellKey("lenet5", 0, fold), RunConfig(folds=4))
        held, rows = part.rows_of("test")
        assert held is data.train
        seen = (part.train_indices, part.validation_indices, rows)
        assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(203))
        of_class = np.bincount(data.train.labels[part.validation_indices])
        left = np.bincount(data.train.labels[np.concatenate(seen[:2])])
        assert of_class.tolist() == [max(1, count // 10) for count in left]
        tested.append(rows)
    assert np.array_equal(np.sort(np.concatenate(tested)), np.arange(203))


def test_fewer_images_are_among_more_and_each_seed_draws_its_own() -> None:
    data = memory_dataset(400)

    def seen(seed: int, images: int, fold: int | None = None) -> set[int]:
        part = take_part(data, CellKey("lenet5", seed, fold, images), RunConfig(folds=4))
        rows = part.train_indices
        counts = np.bincount(data.train.labels[rows], minlength=10)
        assert (counts == min(images, 27 if fold else 36)).all()
        assert not set(rows) & set(part.validation_indices)
        return set(rows.tolist())

    assert seen(0, 5) < seen(0, 12) < seen(0, 1000)
    assert seen(0, 12) != seen(1, 12)
    assert seen(0, 12, fold=1) < seen(0, 1000, fold=1)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A request for a classifier on the features of a LeNet-5, on 200 images of CIFAR-10."""
    use_own_cache(monkeypatch, tmp_path)
    monkeypatch.setattr("bench.run.write_report", lambda config: True)
    folder = write_cifar10(tmp_path / "cifar10")
    torch.save(create_model("lenet5", num_classes=7).state_dict(), tmp_path / "lenet5.pth")
    return [
        *argv_of("--models lenet5 --dataset cifar10 --measure none --num-threads 1 --batch-size 8"),
        *argv_of(f"--data-dir {folder} --pretrained {tmp_path / 'lenet5.pth'} --train head"),
    ]


def test_a_head_of_each_fold_takes_features_that_were_computed_once(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main([*words, "--folds", "4", "--out", str(run)]) == 0
    assert "4 folds of 200 images, each tested once; the 50 images of the test" in (
        capsys.readouterr().out
    )
    records, _ = read_run(run)
    assert [record.cell for record in records] == [f"lenet5-s0-f{fold}" for fold in (1, 2, 3, 4)]
    assert [record.stages[0].found["kept"] for record in records] == [False, True, True, True]
    assert list(find_faults(run)) == []

    (entry,) = entries_of(read_source([run]))
    assert entry.record.accuracy is not None
    assert entry.record.accuracy.num_images == entry.correct.shape[1] == 200
    right = [record.accuracy.num_top1 for record in records if record.accuracy]
    assert entry.correct.sum() == sum(right) == entry.record.accuracy.num_top1
    assert entry.folds is not None
    of_folds = [int(entry.correct[0][entry.folds == fold].sum()) for fold in (1, 2, 3, 4)]
    assert of_folds == right, "each image has the answer of the model that wasn't trained on it"
    assert [row["fold"] for row in tidy_rows(read_source([run]))] == [1, 2, 3, 4]

    twice = run / "cells" / "lenet5-s0-f2"
    with np.load(twice / "predictions.npz") as arrays:
        said = dict(arrays)
    write_arrays(twice / "predictions.npz", **said | {"row": said["row"][::-1] * 0 + 3})
    assert any("don't test every image once" in fault for fault in find_faults(run))


def test_a_run_with_folds_goes_on_where_one_is_missing(words: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = [*words, *argv_of("--folds 3 --images-per-class 6 1000"), "--out", str(run)]
    assert main(asked) == 0
    kept = {path: path.read_bytes() for path in run.glob("cells/*/record.json")}
    shutil.rmtree(run / "cells" / "lenet5-s0-f2-n6")
    source = read_source([run])
    assert [entry.record.status for entry in entries_of(source)] == ["ok", "started"]
    faults = list(find_faults(run))
    assert faults == [f"{run}: lenet5, seed 0, fold 2, 6 images a class: no record"]
    assert main([*asked, "--resume"]) == 0
    assert list(find_faults(run)) == []
    more, fewer = entries_of(read_source([run]))
    assert (more.record.images_per_class, fewer.record.images_per_class) == (1000, 6)
    assert fewer.record.data.num_train == 10 * 6
    again = {path: path.read_bytes() for path in run.glob("cells/*/record.json")}
    changed = [path.parent.name for path in kept if again[path] != kept[path]]
    assert changed == ["lenet5-s0-f2-n6"]


def test_a_fold_that_failed_is_the_cause_of_its_row(tmp_path: Path) -> None:
    whole = record()
    folds = [replace(whole, fold=fold, config=whole.config | {"folds": 3}) for fold in (1, 2, 3)]
    folds[1] = replace(folds[1], status="failed", error="ValueError: no", accuracy=None)
    (entry,) = entries_of(read_source([write_run(tmp_path / "demo", folds)]))
    assert (entry.record.status, entry.record.error) == ("failed", "fold 2: ValueError: no")
    assert "top1" not in entry.numbers
    assert entry.folds is None


@pytest.mark.parametrize("workers", [None, 1])
def test_a_folder_of_classes_alone_is_folded_whole(
    workers: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_own_cache(monkeypatch, tmp_path)
    for name, count in (("ant", 4), ("bee", 7)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((40, 40, 3), 20 * number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{number}.png")
    words = argv_of(
        "--models lenet5 --image-size 32 --batch-size 2 --dataset imagefolder --epochs 1"
    )
    words += ["--data-dir", str(tmp_path / "set"), *(["--workers", "1"] if workers else [])]
    cut = open_run_data(parse(words))
    whole = open_run_data(parse([*words, "--folds", "4"]))
    assert (len(cut.train.labels), len(cut.test.labels)) == (9, 2)
    assert (len(whole.train.labels), len(whole.test.labels)) == (11, 0)
    assert open_run_data(parse(words)).checksum == cut.checksum != whole.checksum
    part = take_part(whole, CellKey("lenet5", 0, 4), RunConfig(folds=4))
    images, rows = part.rows_of("test")
    assert np.asarray(images.images[rows]).shape[1:] == (36, 36, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--folds 21", "class 'label 0' has 20 images, and each fold needs one; give 20 or less"),
        ("--folds 1", "--folds 1: must lie between 2"),
        ("--folds 4 --protocol published", "take --protocol split"),
        ("--images-per-class 0", "--images-per-class 0: must be finite and greater"),
        (
            "--images-per-class 3 --batch-size 32 --train all",
            "has 30 training images; give 30 or less",
        ),
    ],
)
def test_folds_that_can_not_be_are_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str, said: str
) -> None:
    assert main([*words, *argv_of(given), "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line

"""What a cell builds before it trains.

Oracles: the covariance of whitened patches, computed by numpy from the data set itself, and the
line that a user must get.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cell.open_run import check_same_data, list_cells
from bench.data.dataset import open_dataset
from bench.request.command_line import parse
from bench.results.record import RunRecord
from bench.results.storage import read, read_run, write
from bench.run import main
from bench.train.build import RunContext, build_model
from bench.train.evaluation import evaluate
from bench.verify import find_faults
from reports.__main__ import main as report
from tests.support.image_factory import random_images, use_own_cache, write_cifar10, write_parquet
from tests.support.processes import argv_of, run_command
from tests.support.record_factory import data_info
from tests.support.record_factory import record as make_record
from zoo import list_models
from zoo.speedrun import WHITENING_EPSILON


def context_of(data: Any, runtime: Any, *words: str) -> RunContext:
    config = dataclasses.replace(parse(["--recipe", "smoke", *words]), image_size=None)
    return RunContext(config, data, runtime, Path("none"), {})


def test_the_speedrun_network_whitens_patches_of_the_training_set(
    tiny_data: Any, runtime: Any
) -> None:
    """Filters scaled by 1 / sqrt(v + epsilon) leave the variance v / (v + epsilon)."""
    (spec,) = list_models("speedrun")
    model: Any = build_model(spec, 0, context_of(tiny_data, runtime))
    images = tiny_data.train.images[tiny_data.train_indices, 4:36, 4:36].astype(np.float64) / 255
    scaled = (images - tiny_data.mean) / tiny_data.std
    views = np.lib.stride_tricks.sliding_window_view(
        scaled, (2, 2), axis=(1, 2)
    )  # (N, 31, 31, C, 2, 2)
    patches = views.reshape(-1, 12)
    filters = model.whiten.weight.detach().numpy()[:12].reshape(12, 12).astype(np.float64)
    whitened = patches @ filters.T
    values = np.linalg.eigvalsh(patches.T @ patches / len(patches))
    covariance = whitened.T @ whitened / len(whitened)
    assert covariance == pytest.approx(np.diag(values / (values + WHITENING_EPSILON)), abs=2e-4)
    assert not model.whiten.weight.requires_grad


def test_every_process_builds_the_same_network(tiny_data: Any, runtime: Any) -> None:
    (spec,) = list_models("speedrun")
    first, second = (
        build_model(spec, 1, context_of(tiny_data, runtime)).state_dict() for _ in range(2)
    )
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize(
    ("model", "size", "line"),
    [
        (
            "alexnet_grouped",
            "32",
            "it reads 224 px; set --image-size or take alexnet_grouped_cifar",
        ),
        ("lenet5", "64", "lenet5 can't read images of 64 px: it reads 32 px; set --image-size"),
        ("tv:alexnet", "32", "tv:alexnet can't read images of 32 px: it reads 64,"),
    ],
)
def test_images_that_a_network_cannot_read_are_found_before_anything_is_written(
    model: str,
    size: str,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_own_cache(monkeypatch, tmp_path)
    folder = write_cifar10(tmp_path / "cifar10")
    words = [
        "--models",
        "lenet5_1998",
        model,
        "--image-size",
        size,
        *argv_of("--epochs 1 --dataset cifar10"),
    ]
    if size == "64":
        words.remove("lenet5_1998")
    assert main([*words, "--data-dir", str(folder), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_cells_are_listed_model_by_model(tiny_data: Any) -> None:
    cells = list_cells(
        parse(["--models", "lenet5", "mlp", "--epochs", "1", "--seeds", "3", "4"]), tiny_data
    )
    assert [(cell.model, cell.seed) for cell in cells] == [
        ("lenet5", 3),
        ("lenet5", 4),
        ("mlp", 3),
        ("mlp", 4),
    ]


def test_models_with_nearly_one_name_are_two_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_own_cache(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    folder = write_cifar10(tmp_path / "cifar10")
    source = "from torch import nn\n\ndef f(num_classes):\n"
    for path, width in ((Path("m/n.py"), 2), (Path("m-n.py"), 3)):
        path.parent.mkdir(exist_ok=True)
        layers = f"nn.Flatten(), nn.Linear(3072, {width}), nn.Linear({width}, num_classes)"
        path.write_text(f"{source}    return nn.Sequential({layers})\n")
    words = argv_of("--models m/n.py:f m-n.py:f --epochs 1 --dataset cifar10 --measure none")
    assert main([*words, "--data-dir", str(folder), "--out", str(tmp_path / "run")]) == 0
    records, _ = read_run(tmp_path / "run")
    counts = {record.model: record.num_parameters for record in records}
    # A linear layer from a to b numbers has a * b weights and b biases.
    assert counts == {
        "m/n.py:f": 3072 * 2 + 2 + 2 * 10 + 10,
        "m-n.py:f": 3072 * 3 + 3 + 3 * 10 + 10,
    }
    # What was asked for stands beside what each was trained with.
    for record in records:
        assert (record.environment["asked_lr"], record.config["lr"]) == (None, 0.05)


@pytest.mark.parametrize("finished", [True, pytest.param(False, marks=pytest.mark.ci)])
def test_a_run_goes_on_with_its_own_data_alone(
    finished: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_own_cache(monkeypatch, tmp_path)
    folders = [write_cifar10(tmp_path / name / "cifar10") for name in ("one", "other")]
    turned, labels = random_images(60, seed=7)
    write_parquet(folders[1], "test", turned, {"label": labels.tolist()})
    run = tmp_path / "run"
    words = argv_of("--models lenet5 --epochs 1 --dataset cifar10 --measure none")

    def start(folder: Path, *more: str) -> int:
        return main([*words, *more, "--data-dir", str(folder), "--out", str(run)])

    assert start(folders[0]) == 0
    record = run / "cells" / "lenet5-s0" / "record.json"
    if not finished:
        before = read(record, RunRecord)
        write(record, dataclasses.replace(before, status="interrupted", error="a signal came"))
    content = record.read_bytes()
    own = read(record, RunRecord).data.checksum
    # The other folder takes the place of the first: the request is the same to the letter.
    folders[0].rename(tmp_path / "away")
    folders[1].rename(folders[0])
    capsys.readouterr()
    assert start(folders[0], "--resume") == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    other = open_dataset("cifar10", folders[0]).checksum
    assert own != other
    assert own[:12] in line
    assert other[:12] in line
    assert record.read_bytes() == content
    folders[0].rename(folders[1])
    (tmp_path / "away").rename(folders[0])
    assert start(folders[0], "--resume") == 0


def test_auto_that_was_the_stand_in_first_does_not_go_on_with_pictures(
    tmp_path: Path, tiny_data: Any
) -> None:
    folder = tmp_path / "run"
    begun = make_record(data=data_info(checksum="a" * 64, name="synthetic"))
    write(folder / "cells" / begun.cell / "record.json", begun)
    named = dataclasses.replace(tiny_data, name="cifar100", checksum="b" * 64)
    with pytest.raises(ValueError, match=r"on synthetic \(checksum a{12}.* is cifar100 \(b{12}"):
        check_same_data(folder, named)
    classes = begun.data.class_names
    check_same_data(folder, dataclasses.replace(named, checksum="a" * 64, class_names=classes))


def test_a_cell_that_diverges_in_evaluation_is_done_and_the_page_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step an epoch: its loss is that of the first weights, and so finite."""
    use_own_cache(monkeypatch, tmp_path)
    folder = write_cifar10(tmp_path / "cifar10")
    words = argv_of(
        "--models lenet5 --epochs 2 --lr 1e30 --schedule constant --warmup 0 --batch-size 180 "
        "--dataset cifar10 --measure none --checkpoint-seconds 0.0001"
    )
    run = tmp_path / "run"
    words += ["--data-dir", str(folder), "--out", str(run)]
    assert main(words) == 1
    path = run / "cells" / "lenet5-s0" / "record.json"
    record = read(path, RunRecord)
    assert record.status == "diverged"
    assert record.error == "the loss of the validation images is not finite"
    assert [row.evaluation for row in record.epochs] == [None]
    assert not (path.parent / "checkpoints").exists()
    before = path.read_bytes()
    assert main([*words, "--resume"]) == 1
    assert path.read_bytes() == before
    done = run_command("-m", "reports", str(run))
    assert done.returncode == 0, done.stderr
    assert "lenet5: diverged" in done.stdout


@pytest.mark.parametrize(
    ("option", "splits"),
    [
        ("--protocol published", ["test", "test"]),
        ("--protocol split", ["validation", "test"]),
        # Sets of one kind of view aren't calibrated on another kind.
        ("--crops 10", ["validation", "test", "validation"]),
        ("--epochs 0 --pretrained", ["test", "validation"]),
    ],
)
def test_conformal_sets_are_calibrated_on_validation_without_a_needless_look(
    option: str, splits: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def look(*args: Any, split: str, **more: Any) -> Any:
        looks.append(split)
        return evaluate(*args, split=split, **more)

    monkeypatch.setattr("bench.train.build.evaluate", look)
    use_own_cache(monkeypatch, tmp_path)
    folder = write_cifar10(tmp_path / "cifar10")
    words = argv_of("--models lenet5 --epochs 1 --dataset cifar10 --measure none")
    words += ["--data-dir", str(folder)]
    if option.endswith("--pretrained"):
        assert main([*words, "--out", str(tmp_path / "first")]) == 0
        looks.clear()
        option += f" {tmp_path / 'first'}"
    assert main([*words, *option.split(), "--out", str(tmp_path / "run")]) == 0
    assert looks == splits
    cell = tmp_path / "run" / "cells" / "lenet5-s0"
    with np.load(cell / "scores.npz") as scores, np.load(cell / "predictions.npz") as said:
        assert "loss" in said
        assert ("set_size" in said) == ("validation" in splits)
        assert ("validation_label" in scores) == ("validation" in splits)
        test = scores["log_probabilities"].astype(np.float64)
        label = said["label"]
    losses = -test[np.arange(len(label)), label]
    kept = read(cell / "record.json", RunRecord)
    assert kept.accuracy is not None
    assert losses.mean() == pytest.approx(kept.accuracy.loss, rel=1e-3)
    assert list(find_faults(tmp_path / "run")) == []


@pytest.mark.ci
def test_a_network_that_looks_at_its_numbers_trains_uncounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `if` can't be answered without numbers; in plain torch it trains."""
    use_own_cache(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    folder = write_cifar10(tmp_path / "cifar10")
    Path("net.py").write_text(
        "from torch import nn\n\n"
        "class Looks(nn.Module):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__()\n"
        "        self.linear = nn.Linear(3072, num_classes)\n"
        "    def forward(self, images):\n"
        "        rows = images.flatten(1)\n"
        "        return self.linear(rows if rows.mean() > 0 else -rows)\n\n"
        "def looks(num_classes):\n"
        "    return Looks(num_classes)\n"
    )
    words = argv_of("--models net.py:looks mlp --epochs 1 --dataset cifar10 --pairs 3")
    words += ["--data-dir", str(folder), "--out", str(tmp_path / "run")]
    assert main([*words, "--dry-run"]) == 0
    assert main(words) == 0
    records, compared = read_run(tmp_path / "run")
    looks = next(record for record in records if record.model == "net.py:looks")
    assert (looks.status, looks.num_parameters) == ("ok", 3072 * 10 + 10)
    assert (looks.layers, looks.multiply_adds) == ((), None)
    assert compared is not None
    assert "net.py:looks" in compared.measurements
    assert list(find_faults(tmp_path / "run")) == []
    assert report([str(tmp_path / "run"), "-o", str(tmp_path / "page.html")]) == 0

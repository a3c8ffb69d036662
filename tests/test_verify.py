"""The verifier.

Oracle: a small real run that it passes (tests/data/run2), doctored in ways that it must refuse.

Every doctored copy is sealed again: checksums in the record are made to fit what is there.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.results.prediction_check import prediction_faults
from bench.results.record import Accuracy, Comparison, RunRecord
from bench.results.reliability import brier_scores, conformal_sets, image_losses
from bench.results.storage import read, read_run, write
from bench.verify import find_faults, main
from tests.support.record_factory import data_info
from tests.support.record_factory import record as make_record

GOLDENS = {1: Path(__file__).parent / "data" / "run", 2: Path(__file__).parent / "data" / "run2"}
GOLDEN = GOLDENS[2]
CELL = "lenet5-s0"
Doctor = Callable[[Any], None]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the real run."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "run"))


def test_the_real_run_passes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(find_faults(run)) == []
    assert main([str(run)]) == 0
    assert "0 faults" in capsys.readouterr().out


def test_a_folder_of_runs_stands_for_all_of_them(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = Path(shutil.copytree(run, run.parent / "torn"))
    assert main([str(run.parent)]) == 0
    (torn / "cells" / CELL / "predictions.npz").unlink()
    assert main([str(run.parent)]) == 1
    assert f"{run}: 2 records, 0 faults" in capsys.readouterr().out


def test_what_is_read_is_written_again_to_the_byte(run: Path) -> None:
    for path, kind in (
        (run / "cells" / CELL / "record.json", RunRecord),
        (run / "comparison.json", Comparison),
    ):
        before = path.read_bytes()
        write(path, read(path, kind))  # type: ignore[type-var]
        assert path.read_bytes() == before


@pytest.mark.parametrize("schema", [1, 2])
def test_a_run_of_every_schema_is_read(schema: int) -> None:
    """The golden files: later versions must still read them, and find no fault."""
    folder = GOLDENS[schema]
    records, comparison = read_run(folder)
    assert {record.schema for record in records} == {schema}
    assert list(find_faults(folder)) == []
    assert [record.model for record in records] == ["lenet5", "squeezenet1_1"]
    assert comparison is not None


def last(record: Any) -> Any:
    return record["epochs"][-1]


RECORDS: dict[str, Doctor] = {
    "more right than there are images": lambda r: r["accuracy"].update(num_top1=10_000),
    "one more right": lambda r: r["accuracy"].update(num_top1=r["accuracy"]["num_top1"] + 1),
    "one more in the five": lambda r: r["accuracy"].update(num_top5=r["accuracy"]["num_top5"] + 1),
    "fewer images, same rights": lambda r: r["accuracy"].update(
        num_images=r["accuracy"]["num_images"] - 1
    ),
    "validation called test": lambda r: r["accuracy"].update(split="validation"),
    "no accuracy": lambda r: r.update(accuracy=None),
    "an epoch dropped": lambda r: r["epochs"].pop(0),
    "an epoch added": lambda r: r["epochs"].append(
        last(r) | {"epoch": 2, "seconds": last(r)["seconds"] + 1}
    ),
    "epochs swapped": lambda r: r["epochs"].reverse(),
    "more images trained": lambda r: last(r).update(images=last(r)["images"] + 32),
    "a step more": lambda r: last(r).update(step=last(r)["step"] + 1),
    "time runs back": lambda r: last(r).update(seconds=r["epochs"][0]["seconds"] / 2),
    "another rate": lambda r: last(r).update(learning_rate=last(r)["learning_rate"] * 2),
    "fewer validation images": lambda r: last(r)["evaluation"].update(
        num_images=7, num_top1=1, num_top5=2
    ),
    "the test set at an epoch": lambda r: last(r)["evaluation"].update(r["accuracy"]),
    "faster than it was": lambda r: r.update(train_seconds=r["train_seconds"] / 2),
    "a rate of its own": lambda r: r["measurements"][0].update(
        images=r["measurements"][0]["images"] * 2
    ),
    "a rate of two ranks": lambda r: r["measurements"][0]["values"].append(
        r["measurements"][0]["values"][0]
    ),
    "no rate": lambda r: r.update(measurements=[]),
    "another seed": lambda r: r.update(seed=1),
    "another model": lambda r: r.update(model="resnet18"),
    "another spec": lambda r: r["spec"].update(name="resnet18"),
    "another batch": lambda r: r.update(batch_size=64),
    "another protocol": lambda r: r["data"].update(protocol="published"),
    "an option changed": lambda r: r["config"].update(label_smoothing=0.1),
    "another optimiser": lambda r: r["config"].update(optimizer="adamw"),
    "another peak rate": lambda r: r["config"].update(lr=r["config"]["lr"] * 2),
    "an option that isn't": lambda r: r["config"].update(luck=1),
    "another precision": lambda r: r["environment"].update(precision="bf16"),
    "another world": lambda r: r.update(world_size=2),
    "another data set": lambda r: r["data"].update(checksum="0" * 64),
    "cheaper than its layers": lambda r: r.update(multiply_adds=r["multiply_adds"] // 2),
    "smaller than its layers": lambda r: r.update(num_parameters=10**9),
    "no layers": lambda r: r.update(layers=[]),
    "no costs": lambda r: r.update(num_parameters=None),
    "no predictions": lambda r: r["checksums"].pop("predictions.npz"),
    "failed without a cause": lambda r: r.update(status="failed"),
    "a newer schema": lambda r: r.update(schema=99),
    "a search that wasn't asked for": lambda r: r.update(batch_search={"best": 32}),
    "TF32 that wasn't asked for": lambda r: r["environment"].update(tf32=True),
    "other kernels": lambda r: r["environment"].update(cudnn_benchmark=True),
    "an unknown field": lambda r: r.update(luck=1),
    "a number that isn't": lambda r: last(r).update(train_loss="small"),
}


@pytest.mark.parametrize("way", RECORDS)
def test_a_doctored_record_is_refused(run: Path, way: str) -> None:
    path = run / "cells" / CELL / "record.json"
    record = json.loads(path.read_text())
    RECORDS[way](record)
    path.write_text(json.dumps(record))
    assert list(find_faults(run))
    assert main([str(run)]) == 1


def swap(arrays: dict[str, Any]) -> None:
    arrays["predicted"] = arrays["label"].copy()


PREDICTIONS: dict[str, Doctor] = {
    "all right": swap,
    "an image less": lambda a: a.update({name: array[1:] for name, array in a.items()}),
    "surer than sure": lambda a: a.update(confidence=a["confidence"] + 1),
    "a class too many": lambda a: a.update(label=a["label"] + 5),
    "no confidence": lambda a: a.pop("confidence"),
    "other likeliest classes": lambda a: a.update(top5=np.roll(a["top5"], 1, axis=1)),
}


SCORED: dict[str, Doctor] = {
    "one less lost": lambda a: a.update(loss=np.where(np.arange(500) == 7, 0, a["loss"])),
    "nearer to the truth": lambda a: a.update(brier=a["brier"] / 2),
    "smaller sets": lambda a: a.update(set_size=a["set_size"] - 1),
    "all in their sets": lambda a: a.update(in_set=np.ones(500, dtype=bool)),
    "no losses": lambda a: a.pop("loss"),
    "other images' scores": lambda a: a.update(
        {name: np.roll(a[name], 1, axis=0) for name in ("label", "predicted", "top5")}
    ),
}


def write_scored_cell(folder: Path) -> RunRecord:
    """A cell of 500 images as a run of today leaves it: scores, and what is worked out of them."""
    draw = np.random.default_rng(0)
    whole = make_record(data=data_info(num_test=500))
    shares = draw.dirichlet(np.full(100, 0.5), size=700) + 1e-6
    scores = np.log(shares / shares.sum(axis=1, keepdims=True)).astype(np.float16)
    label = draw.integers(0, 100, 700).astype(np.int16)
    losses = image_losses(scores, label)
    sets = conformal_sets(scores[:500], label[:500], losses[500:])
    top5 = np.argsort(-scores[:500], axis=1, kind="stable")[:, :5]
    answers = {
        "label": label[:500],
        "predicted": top5[:, 0],
        "confidence": np.exp(scores[:500].max(axis=1).astype(np.float32)),
        "top5": top5,
        "loss": losses[:500],
        "brier": brier_scores(scores[:500], label[:500]),
        "set_size": sets.size,
        "in_set": sets.has_label,
    }
    np.savez_compressed(folder / "predictions.npz", allow_pickle=False, **answers)
    np.savez_compressed(
        folder / "scores.npz",
        log_probabilities=scores[:500],
        validation_log_probabilities=scores[500:],
        validation_label=label[500:],
    )
    right = top5 == label[:500, None]
    counts = Accuracy(
        split="test",
        num_images=500,
        num_top1=int(right[:, 0].sum()),
        num_top5=int(right.sum()),
        num_superclass=None,
        loss=float(losses[:500].mean()),
    )
    return replace(whole, accuracy=counts)


@pytest.mark.parametrize("way", SCORED)
def test_predictions_that_do_not_follow_from_the_scores_are_named(tmp_path: Path, way: str) -> None:
    whole = write_scored_cell(tmp_path)
    assert whole.accuracy is not None
    assert list(prediction_faults(whole, whole.accuracy, tmp_path)) == []
    with np.load(tmp_path / "predictions.npz") as kept:
        arrays = dict(kept)
    SCORED[way](arrays)
    np.savez_compressed(tmp_path / "predictions.npz", **arrays)
    assert list(prediction_faults(whole, whole.accuracy, tmp_path))
    # What is published has no scores.
    (tmp_path / "scores.npz").unlink()
    if way == "one less lost":
        assert list(prediction_faults(whole, whole.accuracy, tmp_path)) == [
            "the loss is not that of the predictions"
        ]


def test_losses_larger_than_two_bytes_hold_are_no_fault(tmp_path: Path) -> None:
    whole = write_scored_cell(tmp_path)
    assert whole.accuracy is not None
    (tmp_path / "scores.npz").unlink()
    with np.load(tmp_path / "predictions.npz") as kept:
        arrays = dict(kept)
    arrays["loss"][0] = np.finfo(np.float16).max
    np.savez_compressed(tmp_path / "predictions.npz", **arrays)
    kept_mean = float(arrays["loss"].mean(dtype=np.float64))
    for mean, fault in ((kept_mean * 30, []), (kept_mean * 0.9, ["the loss is not that"])):
        said = prediction_faults(whole, replace(whole.accuracy, loss=mean), tmp_path)
        assert [line.removesuffix(" of the predictions") for line in said] == fault


def test_scores_of_other_images_cannot_be_read(tmp_path: Path) -> None:
    whole = write_scored_cell(tmp_path)
    assert whole.accuracy is not None
    np.savez(tmp_path / "scores.npz", log_probabilities=np.zeros((499, 100), np.float16))
    (fault,) = prediction_faults(whole, whole.accuracy, tmp_path)
    assert fault.startswith("scores.npz can't be read")


@pytest.mark.parametrize("way", PREDICTIONS)
def test_doctored_predictions_are_refused_although_their_checksum_fits(run: Path, way: str) -> None:
    path, record_path = (
        run / "cells" / CELL / "predictions.npz",
        run / "cells" / CELL / "record.json",
    )
    with np.load(path) as kept:
        arrays = dict(kept)
    PREDICTIONS[way](arrays)
    np.savez_compressed(path, **arrays)
    record = json.loads(record_path.read_text())
    record["checksums"]["predictions.npz"] = hashlib.sha256(path.read_bytes()).hexdigest()
    record_path.write_text(json.dumps(record))
    assert list(find_faults(run))


def kind(comparison: Any, metric: str) -> Any:
    return next(row for row in comparison["measurements"]["lenet5"] if row["metric"] == metric)


COMPARISONS: dict[str, Doctor] = {
    "a value dropped": lambda c: c["measurements"]["lenet5"][0]["values"][0].pop(),
    "a value of nothing": lambda c: c["measurements"]["lenet5"][0]["values"][0].__setitem__(0, 0.0),
    "other images": lambda c: c["measurements"]["lenet5"][0].update(images=64),
    "two ranks of one": lambda c: c["measurements"]["lenet5"][0]["values"].append([1.0, 1.0, 1.0]),
    "a visit left out": lambda c: c["order"]["train"][0].pop(),
    "a visit twice": lambda c: c["order"]["train"][0].__setitem__(0, c["order"]["train"][0][1]),
    "a model that didn't run": lambda c: c["models"].append("resnet18"),
    "another unit": lambda c: c["measurements"]["lenet5"][0].update(unit="steps/s"),
    "another direction": lambda c: c["measurements"]["lenet5"][0].update(better="lower"),
    "a metric that isn't": lambda c: c["measurements"]["lenet5"][0].update(metric="luck"),
    "a pass that wasn't": lambda c: c["measurements"]["lenet5"][0].update(part="luck"),
    "a value more of what is measured once": lambda c: c["measurements"]["lenet5"][-1]["values"][
        0
    ].append(1.0),
    "lighter weights": lambda c: kind(c, "parameter_bytes")["values"][0].__setitem__(0, 4.0),
    "heavier gradients": lambda c: kind(c, "gradient_bytes")["values"][0].__setitem__(0, 1e12),
    "a peak above the process's": lambda c: kind(c, "peak_memory_bytes")["values"][0].__setitem__(
        0, 1e15
    ),
    "a quieter noise floor": lambda c: c["noise"]["train_images_per_second"].update(
        low=0.999, high=1.001
    ),
    "fewer false claims": lambda c: c["noise"]["train_images_per_second"].update(claims=99),
    "no noise floor": lambda c: c["noise"].clear(),
    "a noise floor of nothing": lambda c: c["noise"].update(
        luck=c["noise"]["train_images_per_second"]
    ),
    "a twin that is the model": lambda c: c["same_model_twice"][0].update(
        values=c["measurements"]["lenet5"][0]["values"]
    ),
    "a batch left out of the sweep": lambda c: c["sweeps"]["lenet5"].pop(1),
    "a sweep that took no time": lambda c: c["sweeps"]["lenet5"][0]["values"][0].__setitem__(
        0, 0.0
    ),
    "a sweep without an end": lambda c: c["sweep_ended"].clear(),
    "a peak of nothing": lambda c: c["machine"][0]["values"][0].__setitem__(0, 0.0),
    "a pass in no time": lambda c: c["conditions"]["train"].update(seconds=0.0),
    "less than no other work": lambda c: c["conditions"]["train"].update(other_cores=-1.0),
    "another launch": lambda c: c.update(launch=1),
}


@pytest.mark.parametrize("way", COMPARISONS)
def test_a_doctored_comparison_is_refused(run: Path, way: str) -> None:
    path = run / "comparison.json"
    comparison = json.loads(path.read_text())
    COMPARISONS[way](comparison)
    path.write_text(json.dumps(comparison))
    assert list(find_faults(run))


@pytest.mark.parametrize("name", ["record.json", "predictions.npz"])
def test_a_torn_or_missing_file_is_named(run: Path, name: str) -> None:
    path = run / "cells" / CELL / name
    path.write_bytes(path.read_bytes()[:-7])
    assert any(name in fault for fault in find_faults(run))
    path.unlink()
    assert any("no record" in fault or name in fault for fault in find_faults(run))


def test_the_same_cell_twice_is_refused(run: Path) -> None:
    shutil.copytree(run / "cells" / CELL, run / "cells" / "lenet5-s0-again")
    assert list(find_faults(run))


def test_what_is_no_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert main([]) == 2
    assert capsys.readouterr().err.count("\n") == 2

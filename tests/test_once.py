"""Models that are fitted once, through the command line.

Oracles: the saved weights put to use by hand, one process instead of two, and a run that was never
interrupted.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bench.data.dataset import open_dataset
from bench.data.loader import evaluation_batches
from bench.data.pixels import ModelInput
from bench.distributed.gang import SingleGang
from bench.distributed.runtime import Interrupted
from bench.predict import main as predict
from bench.results.record import Comparison, RunRecord
from bench.results.storage import read
from bench.run import main
from bench.train.codebook import learn_codebook
from bench.train.linear_solver import SupportVectors
from bench.train.once_method import OnceMethod
from bench.train.solver import KeptFeatures
from bench.verify import find_faults
from tests.support.image_factory import use_own_cache, write_cifar10
from tests.support.processes import Runs, argv_of
from zoo import create_model

CODED, WHOLE = "hog_svm@codes=8,levels=2", "hog_svm@encoding=none,classifier=ridge"


def stop(*given: Any) -> None:
    """Stand in for a stage that a signal ends."""
    raise Interrupted(15)


GROWN = "hog_forest@trees=3,leaves=9"


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A request for a model that is fitted once, on a small CIFAR-10."""
    use_own_cache(monkeypatch, tmp_path)
    monkeypatch.setattr("bench.run.write_report", lambda config: True)
    folder = write_cifar10(tmp_path / "cifar10")
    return argv_of(
        f"--dataset cifar10 --data-dir {folder} --num-threads 1 --batch-size 8 --epochs 3 "
        f"--measure none --models {CODED}"
    )


def run(words: list[str], folder: Path, code: int = 0) -> tuple[RunRecord, Path]:
    assert main([*words, "--out", str(folder)]) == code
    (cell,) = (folder / "cells").iterdir()
    assert list(find_faults(folder)) == []
    return read(cell / "record.json", RunRecord), cell


def test_a_fitted_model_is_an_ordinary_one(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, cell = run(words, tmp_path / "run")
    assert f"{CODED} is fitted once: --epochs 3 doesn't bind" in capsys.readouterr().out
    assert [stage.name for stage in record.stages] == ["codebook", "features", "fit"]
    assert record.epochs == ()
    assert record.train_seconds == pytest.approx(sum(stage.seconds for stage in record.stages))

    data = open_dataset("cifar10", tmp_path / "cifar10")
    model = create_model(CODED, num_classes=len(data.class_names))
    state = load_file(cell / "model.safetensors")
    model.load_state_dict(state)
    assert record.num_parameters == sum(tensor.numel() for tensor in state.values())
    raw = ModelInput((0.0,), (1 / 255,), False, torch.device("cpu"))
    batches = list(evaluation_batches(data.test, None, raw, dataset=data, batch_size=50))
    assert float(batches[0].images.max()) == 255
    with torch.no_grad():
        predicted = torch.cat([model(batch.images) for batch in batches]).argmax(1)
    said = np.load(cell / "predictions.npz")
    assert torch.equal(predicted, torch.from_numpy(said["top5"][:, 0]).long())

    again = [*words, *argv_of(f"--epochs 0 --pretrained {tmp_path / 'run'}")]
    kept, _ = run(again, tmp_path / "again")
    assert kept.stages == ()
    assert kept.checksums["predictions.npz"] == record.checksums["predictions.npz"]


@pytest.mark.parametrize(
    "model",
    [
        "hog_svm@encoding=fisher,gaussians=2,levels=1",
        "hog_svm@encoding=llc,codes=8,classifier=rbf,landmarks=60",
        "hog_svm@encoding=none,classifier=rbf,landmarks=60",
        "kmeans_patches@codes=8,landmarks=60",
    ],
)
def test_every_part_is_fitted(words: list[str], tmp_path: Path, model: str) -> None:
    record, cell = run([*words[:-1], model], tmp_path / "run")
    assert [stage.name for stage in record.stages] == ["codebook", "features", "fit"]
    for tensor in load_file(cell / "model.safetensors").values():
        assert tensor.float().std() > 0


@pytest.mark.parametrize("model", [CODED, GROWN, "kmeans_patches@codes=8,landmarks=60"])
def test_what_is_fitted_recognises_pictures(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    """As the run did: a file of weights is looked through before it is trusted."""
    folder = tmp_path / "run"
    _, cell = run([*words[:-1], model], folder)
    data = open_dataset("cifar10", tmp_path / "cifar10")
    window = slice(data.margin, data.margin + data.size)
    Image.fromarray(data.test.images[0][window, window]).save(tmp_path / "first.png")
    capsys.readouterr()
    assert predict([str(tmp_path / "first.png"), "--run", str(folder), "--json"]) == 0
    best = json.loads(capsys.readouterr().out)["classes"][0]["class"]
    assert best == data.class_names[np.load(cell / "predictions.npz")["top5"][0, 0]]


def test_a_batch_larger_than_the_data_is_none_of_its_business(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = ["500" if word == "8" else word for word in words]
    assert main([*many, "--dry-run", "--out", str(tmp_path / "run")]) == 0
    assert "memory format" not in capsys.readouterr().out, "it takes no steps to try one by"
    assert main([*many, "lenet5", "--dry-run", "--out", str(tmp_path / "run")]) == 2
    assert "--batch-size 500: cifar10 has 180 training images" in capsys.readouterr().err


def test_more_landmarks_than_images_are_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*words[:-1], "hog_svm@classifier=rbf", "--out", str(tmp_path / "run")]
    assert main(argv) == 2
    said = "landmarks=2000: at most 180 training images can be; give fewer"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_a_budget_nothing_is_fitted(words: list[str], tmp_path: Path) -> None:
    record, cell = run([*words, "--epochs", "0"], tmp_path / "run")
    assert record.stages == ()
    assert not (cell / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("undone", "done"),
    [("_embed_images", ["_learn_codes"]), ("_fit_classifier", ["_learn_codes", "_embed_images"])],
)
def test_a_stage_that_is_done_is_not_done_again(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undone: str,
    done: list[str],
) -> None:
    whole, _ = run(words, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(OnceMethod, undone, stop)
        run(words, tmp_path / "run", code=143)
    for stage in done:
        monkeypatch.setattr(OnceMethod, stage, stop)
    record, _ = run([*words, "--resume"], tmp_path / "run")
    assert [stage.name for stage in record.stages] == ["codebook", "features", "fit"]
    assert record.checksums["model.safetensors"] == whole.checksums["model.safetensors"]


def test_a_damaged_stage_is_done_again(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(OnceMethod, "_fit_classifier", stop)
        _, cell = run(words, tmp_path / "run", code=143)
    kept = cell / "checkpoints" / "stages" / "solver.safetensors"
    kept.write_bytes(kept.read_bytes()[:-8])
    run([*words, "--resume"], tmp_path / "run")
    assert "the stages are done again" in capsys.readouterr().out


def test_stages_of_another_version_are_done_again(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, _ = run(words, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(OnceMethod, "_fit_classifier", stop)
        patch.setattr(KeptFeatures, "state", lambda self: {"features": self.rows})
        run(words, tmp_path / "run", code=143)
    record, _ = run([*words, "--resume"], tmp_path / "run")
    said = "what was kept is of another version; the stages are done again"
    assert said in capsys.readouterr().out
    assert record.checksums["model.safetensors"] == whole.checksums["model.safetensors"]


def test_ranks_ask_nothing_of_each_other_while_they_learn(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounded differently, the one may take a round more than the other."""

    done: list[str] = []

    def do_alone(work: Callable[..., Any]) -> Callable[..., Any]:
        def work_alone(*given: Any) -> Any:
            done.append(work.__name__)
            with monkeypatch.context() as patch:
                patch.setattr(SingleGang, "gather", stop)
                return work(*given)

        return work_alone

    monkeypatch.setattr(SupportVectors, "solve", do_alone(SupportVectors.solve))
    monkeypatch.setattr("bench.train.once_method.learn_codebook", do_alone(learn_codebook))
    record, _ = run(words, tmp_path / "run")
    assert done == ["learn_codebook", "solve"]
    assert record.status == "ok", "a question to the others would have ended it"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--compile", "--compile: is of learning by steps, and hog_svm is fitted once"),
        ("--precision bf16", "--precision bf16: is of learning by steps, and hog_svm"),
        ("--train head", "--train head: is of learning by steps, and hog_svm"),
        ("--batch-size best", "--batch-size best: is of learning by steps, and hog_svm"),
        ("--lr 0.1", "--lr 0.1: is of learning by steps, and hog_svm"),
        ("--parallel tower", "--parallel tower: is of learning by steps, and hog_svm"),
        ("--protocol published", "take --protocol split"),
        ("--pretrained", "--pretrained: hog_svm has no published weights"),
        ("--pretrained .", "--pretrained"),
        ("--dropout 0.1", "--dropout 0.1"),
    ],
)
def test_what_it_has_no_use_for_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str, said: str
) -> None:
    line = [*words[:-1], "hog_svm", *argv_of(given), "--out", str(tmp_path / "run")]
    assert main(line) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert said in error


def test_options_of_steps_are_for_the_models_beside_it(words: list[str], tmp_path: Path) -> None:
    """Both are measured against each other, but for the steps that one of them doesn't take."""
    line = [*words, "lenet5", *argv_of("--lr 0.1 --epochs 1 --pairs 3 --measure-seconds 1")]
    line += argv_of("--measure train infer")
    assert main([*line, "--out", str(tmp_path / "run")]) == 0
    assert list(find_faults(tmp_path / "run")) == []
    found = read(tmp_path / "run" / "comparison.json", Comparison)
    measured = {model: {row.metric for row in rows} for model, rows in found.measurements.items()}
    assert measured[CODED] == {"infer_images_per_second"}
    assert "train_images_per_second" in measured["lenet5"]
    assert "takes no steps" in found.missing[f"{CODED}: train"]


def test_features_that_do_not_fit_into_memory_are_refused_with_their_size(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    free = type("Memory", (), {"available": 10_000_000})
    monkeypatch.setattr("bench.train.solver_choice.psutil.virtual_memory", free)
    line = [*words[:-1], "hog_svm@codes=90", "--out", str(tmp_path / "run")]
    assert main(line) == 2
    (error,) = capsys.readouterr().err.splitlines()
    # 180 images of 90 codes in 21 cells; five matrices of their products.
    assert "1,890 features of 180 images need about 0.1 GB of memory" in error
    assert not (tmp_path / "run" / "cells").exists()


def test_a_library_that_is_missing_is_named_with_the_command_that_gets_it(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("bench.train.solver_choice.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert main([*words[:-1], "hog_forest", "--out", str(tmp_path / "run")]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert "sklearn isn't installed; get it by: " in error
    assert error.endswith("-m pip install -e '.[classic]'")


@pytest.mark.distributed
@pytest.mark.ci
def test_two_processes_fit_what_one_does(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    assert runs.run("two", 2, models=[CODED, WHOLE, GROWN]) == [0, 0]
    assert runs.run("one", 1, models=[CODED, WHOLE, GROWN]) == [0]
    assert runs.outcome("two") == runs.outcome("one")

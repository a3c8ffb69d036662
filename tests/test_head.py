"""A linear classifier on frozen features, through the command line.

Oracles: scikit-learn on what the network without its last layer makes of the images, and the
published weights themselves.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from bench.data.dataset import open_dataset
from bench.data.loader import evaluation_batches
from bench.data.pixels import ModelInput
from bench.results.record import RunRecord
from bench.results.storage import read
from bench.run import main
from bench.train.feature import find_classifier
from bench.train.schedule import USUAL_PEAK
from bench.verify import find_faults
from tests.support.feature_request import feature_words
from tests.support.processes import argv_of
from zoo import create_model


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A request for a classifier on the features of a LeNet-5, on a small CIFAR-10."""
    return feature_words(tmp_path, monkeypatch)


def run(words: list[str], folder: Path) -> tuple[RunRecord, Path]:
    assert main([*words, "--out", str(folder)]) == 0
    (cell,) = (folder / "cells").iterdir()
    assert list(find_faults(folder)) == []
    return read(cell / "record.json", RunRecord), cell


def test_the_head_is_scikit_learns(words: list[str], tmp_path: Path) -> None:
    record, cell = run([*words, "--train", "head"], tmp_path / "run")
    data = open_dataset("cifar10", tmp_path / "cifar10")
    state = load_file(cell / "model.safetensors")
    model = create_model("lenet5", num_classes=len(data.class_names))
    model.load_state_dict(state)
    model.eval()
    last = find_classifier(model, torch.zeros(1, 3, 32, 32))
    name = next(name for name, module in model.named_modules() if module is last)
    given = torch.load(tmp_path / "lenet5.pth")
    for key, tensor in state.items():
        assert key.startswith(name) or torch.equal(tensor, given[key]), "all else stays frozen"

    model.set_submodule(name, nn.Identity())
    taken = ModelInput(data.mean, data.std, False, torch.device("cpu"))

    def look(images: Any, indices: Any) -> tuple[Any, Any]:
        batches = list(evaluation_batches(images, indices, taken, dataset=data, batch_size=50))
        with torch.no_grad():
            features = torch.cat([model(batch.images) for batch in batches])
        return features.double(), torch.cat([batch.labels for batch in batches])

    features, labels = look(data.train, data.train_indices)
    mean = features.mean(0)
    scale = (features - mean).square().mean().sqrt()
    strength = record.stages[1].found["strength"]
    assert isinstance(strength, float)
    reference = LogisticRegression(C=1 / (len(labels) * strength), tol=1e-9, max_iter=10_000)
    reference.fit(((features - mean) / scale).numpy(), labels.numpy())
    seen, expected = look(data.test, None)
    right = reference.predict(((seen - mean) / scale).numpy()) == expected.numpy()
    assert record.accuracy is not None
    assert record.accuracy.num_top1 == right.sum()
    assert record.epochs == ()
    assert [stage.images for stage in record.stages] == [0, len(labels)]


def test_features_are_computed_once(words: list[str], tmp_path: Path) -> None:
    first, one = run([*words, "--train", "head"], tmp_path / "first")
    # Another budget and another seed: the same frozen layers.
    again, two = run([*words, "--train", "head", "--seeds", "3"], tmp_path / "again")
    assert [first.stages[0].found["kept"], again.stages[0].found["kept"]] == [False, True]
    assert again.stages[0].seconds == first.stages[0].seconds
    assert first.checksums["predictions.npz"] == again.checksums["predictions.npz"]
    for name, tensor in load_file(one / "model.safetensors").items():
        torch.testing.assert_close(load_file(two / "model.safetensors")[name], tensor)
    other = create_model("lenet5", num_classes=7).state_dict()
    torch.save(other, tmp_path / "lenet5.pth")
    third, _ = run([*words, "--train", "head"], tmp_path / "third")
    assert third.stages[0].found["kept"] is False, "other weights have other features"


def test_all_layers_go_on_from_the_head(words: list[str], tmp_path: Path) -> None:
    record, _ = run([*words, *argv_of("--train head+all --epochs 1")], tmp_path / "run")
    assert [stage.name for stage in record.stages] == ["features", "fit"]
    assert len(record.epochs) == 1
    assert record.config["lr"] == pytest.approx(USUAL_PEAK["sgd"] / 10)
    assert record.train_seconds == pytest.approx(
        sum(stage.seconds for stage in record.stages) + record.epochs[0].seconds
    )


def test_without_a_budget_nothing_is_fitted(words: list[str], tmp_path: Path) -> None:
    record, _ = run([*words, *argv_of("--train head --epochs 0")], tmp_path / "run")
    assert record.stages == ()
    assert record.accuracy is not None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--train head --pretrained none", "give --pretrained"),
        ("--train head --lr 0.1", "--lr"),
        ("--train head --accumulate 2", "--accumulate"),
        ("--train head --compile", "--compile"),
        ("--train head --protocol published", "--protocol split"),
        ("--train heads", "head+all"),
    ],
)
def test_what_a_head_has_no_use_for_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str, said: str
) -> None:
    assert main([*words, *argv_of(given), "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("model", ["alexnet_owt_cifar", "timm:vit_tiny_patch16_224"])
def test_the_last_layer_makes_the_scores(model: str) -> None:
    with torch.device("meta"):
        built = create_model(model, num_classes=9)
        size = 224 if model.startswith("timm") else 32
        found = find_classifier(built, torch.empty(1, 3, size, size))
    assert found.out_features == 9


def test_scores_of_a_convolution_have_no_last_layer() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="take --train all"):
        find_classifier(create_model("squeezenet1_1", num_classes=9), torch.empty(1, 3, 224, 224))

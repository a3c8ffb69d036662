"""Weights that a run starts from, through the command line.

Oracles: torchvision's and timm's own models with the same random weights on the same images, and
the files themselves.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torchvision import models as torchvision_models

from bench.data.dataset import open_dataset
from bench.results.record import RunRecord
from bench.results.storage import read, write
from bench.run import main
from bench.train.checkpoint_writer import save_weights
from bench.train.pretrained import load_starting_weights, read_weights
from tests.support.image_factory import NUM_CLASSES, use_own_cache, write_cifar10
from tests.support.processes import argv_of
from zoo import create_model
from zoo.weights import describe_input, load_pretrained

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as both libraries print them


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A request that only evaluates, on a small CIFAR-10."""
    use_own_cache(monkeypatch, tmp_path)
    monkeypatch.setattr("bench.run.write_report", lambda config: True)
    folder = write_cifar10(tmp_path / "cifar10")
    return [
        *argv_of("--dataset cifar10 --data-dir"),
        str(folder),
        # A run that trains would take the memory format that is faster at the moment, in which
        # sums are rounded in another order.
        *argv_of("--image-size 32 --measure none --num-threads 1 --no-channels-last"),
        *argv_of("--epochs 0 --out"),
        str(tmp_path / "run"),
    ]


def only_cell(tmp_path: Path) -> Path:
    (cell,) = (tmp_path / "run" / "cells").iterdir()
    return cell


def answers(cell: Path) -> Any:
    with np.load(cell / "predictions.npz") as arrays:
        return arrays["top5"]


def test_a_library_model_is_evaluated_as_its_library_would(
    words: list[str], tmp_path: Path
) -> None:
    torch.manual_seed(3)
    theirs: Any = torchvision_models.get_model(
        "shufflenet_v2_x0_5", weights=None, num_classes=NUM_CLASSES
    )
    with (
        torch.no_grad()
    ):  # norms that know the images' range and scores around zero, so that images differ
        for _ in range(20):
            theirs(2 * torch.randn(32, 3, 32, 32))
        theirs.eval()
        theirs.fc.bias -= theirs(2 * torch.randn(64, 3, 32, 32)).mean(0)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}},
        tmp_path / "mine.pth",
    )
    assert (
        main(
            [
                "--models",
                "tv:shufflenet_v2_x0_5",
                "--pretrained",
                str(tmp_path / "mine.pth"),
                *words,
            ]
        )
        == 0
    )
    images = open_dataset("cifar10", tmp_path / "cifar10").test.images[:, 4:36, 4:36]
    scaled = (
        torch.from_numpy(np.ascontiguousarray(images)) / 255 - torch.tensor(MEAN)
    ) / torch.tensor(STD)
    with torch.no_grad():
        expected = theirs(scaled.permute(0, 3, 1, 2)).topk(5).indices.numpy()
    assert (answers(only_cell(tmp_path)) == expected).mean() > 0.99
    assert len(np.unique(expected[:, 0])) > 2
    kept = read(only_cell(tmp_path) / "record.json", RunRecord)
    assert kept.spec["pretrained"] == {"from": "mine.pth", "new": []}
    assert kept.data.mean == MEAN
    assert kept.train_seconds is None


def test_a_head_for_other_classes_is_new_and_named(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = timm.create_model("mobilenetv3_small_050", num_classes=7).state_dict()
    save_file(theirs, tmp_path / "timm-mobilenetv3_small_050.safetensors")
    assert (
        main(["--models", "timm:mobilenetv3_small_050", "--pretrained", str(tmp_path), *words]) == 0
    )
    ours = load_file(only_cell(tmp_path) / "model.safetensors")
    changed = [name for name, tensor in ours.items() if not torch.equal(tensor, theirs[name])]
    assert sorted(changed) == ["classifier.bias", "classifier.weight"]
    assert "new for 10 classes: classifier.weight, classifier.bias" in capsys.readouterr().out


def test_a_run_starts_where_another_ended(words: list[str], tmp_path: Path) -> None:
    first = [*words[:-1], str(tmp_path / "first")]
    first[first.index("--epochs") + 1] = "1"
    assert main(["--models", "lenet5", "--batch-size", "60", *first]) == 0
    assert (
        main(
            [
                *argv_of("--models lenet5 --batch-size 60 --pretrained"),
                str(tmp_path / "first"),
                *words,
            ]
        )
        == 0
    )
    ended, began = (tmp_path / run / "cells" / "lenet5-s0" for run in ("first", "run"))
    assert (
        read(ended / "record.json", RunRecord).accuracy
        == read(began / "record.json", RunRecord).accuracy
    )
    assert np.array_equal(answers(ended), answers(began))


def retold(folder: Path, names: tuple[str, ...], order: list[int]) -> None:
    """Let a run's cell say that its classes are these, its head's rows standing in this order."""
    record = read(folder / "record.json", RunRecord)
    write(folder / "record.json", replace(record, data=replace(record.data, class_names=names)))
    state = load_file(folder / "model.safetensors")
    for name in ("fc3.weight", "fc3.bias"):
        state[name] = state[name][order].clone()
    save_file(state, folder / "model.safetensors")


def test_classes_in_another_order_are_put_in_ours_by_name(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = [*words[:-1], str(tmp_path / "first")]
    first[first.index("--epochs") + 1] = "1"
    again = ["--models", "lenet5", "--batch-size", "60", "--pretrained", str(tmp_path / "first")]
    assert main(["--models", "lenet5", "--batch-size", "60", *first]) == 0
    ended = tmp_path / "first" / "cells" / "lenet5-s0"
    expected, names = answers(ended), read(ended / "record.json", RunRecord).data.class_names
    assert not names[0].isdigit()
    order = [3, 9, 0, 1, 2, 4, 8, 7, 6, 5]
    retold(ended, tuple(names[row] for row in order), order)
    assert main([*again, *words]) == 0
    assert np.array_equal(answers(only_cell(tmp_path)), expected)
    # Other classes, though as many: the last layer is new.
    retold(ended, tuple(f"{name}s" for name in names), order)
    assert main([*again, *words[:-1], str(tmp_path / "other")]) == 0
    assert "new for 10 classes: fc3.weight, fc3.bias" in capsys.readouterr().out
    # Numbers stand for names that nobody gave, and say nothing.
    retold(ended, tuple(map(str, range(10))), np.argsort(np.argsort(order)).tolist())
    assert main([*again, *words[:-1], str(tmp_path / "numbers")]) == 0
    said = capsys.readouterr().out
    assert "starts from first weights" in said
    assert "new for" not in said


def test_the_transform_of_the_input_is_kept_with_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs: Any = torchvision_models.googlenet(
        weights=None, init_weights=False, transform_input=True
    ).eval()
    first = create_model("tv:googlenet", num_classes=1000).eval()
    load_pretrained(first, theirs.state_dict(), num_classes=1000)
    path = tmp_path / "model.safetensors"
    save_weights(path, first.state_dict(), metadata=describe_input(first))
    second = create_model("tv:googlenet", num_classes=1000).eval()
    found = read_weights(str(path), "tv:googlenet", 0, ())
    load_starting_weights(second, found, num_classes=1000)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(second(images), theirs(images))


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a wrong request; returns its one line."""
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("model", "damage", "line"),
    [
        (
            "tv:squeezenet1_1",
            {"features.0.weight": (64, 3, 5, 5)},
            "tv:squeezenet1_1: features.0.weight is (64, 3, 5, 5) in the weights "
            "and (64, 3, 3, 3) in the model",
        ),
        (
            "squeezenet1_1",
            {"features.0.weight": None},
            "squeezenet1_1: the weights lack features.0.weight",
        ),
        ("tv:squeezenet1_1", {"neck.bias": (3,)}, "SqueezeNet has no neck.bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_anything_is_written(
    model: str,
    damage: dict[str, Any],
    line: str,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state: Any = torchvision_models.get_model("squeezenet1_1", weights=None).state_dict()
    for name, shape in damage.items():
        state.pop(name, None)
        if shape:
            state[name] = torch.zeros(shape)
    torch.save(state, tmp_path / "bad.pth")
    assert line in refused(
        ["--models", model, "--pretrained", str(tmp_path / "bad.pth"), *words], capsys
    )
    assert not (tmp_path / "run").exists()


def test_what_can_not_be_had_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weights.pth").write_bytes(b"")
    for given, line in (
        (["lenet5", "--pretrained"], "lenet5 has no published weights; give a file"),
        (
            ["lenet5", "--pretrained", str(tmp_path / "weihgts.pth")],
            "did you mean weights.pth?",
        ),
        (["lenet5", "mlp", "--pretrained", str(tmp_path / "weights.pth")], "one file for 2 models"),
        (
            ["lenet5", "--pretrained", str(tmp_path)],
            "no weights of lenet5, seed 0; looked for cells/lenet5-s0/model",
        ),
        (
            ["lenet5", "--pretrained", str(tmp_path / "weights.pth")],
            "holds no weights that can be read",
        ),
    ):
        assert line in refused(["--models", *given, *words], capsys)


@pytest.mark.parametrize(
    ("name", "library"), [("tv:squeezenet1_1", "tv"), ("timm:ghostnet_100", "timm")]
)
def test_without_a_network_one_line_says_so(
    name: str,
    library: str,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(*arguments: Any, **more: Any) -> Any:
        if more.get("pretrained") is False or "num_classes" in more:
            return created(*arguments, **more)
        raise OSError("Name or service not known\nand more")

    created = timm.create_model
    monkeypatch.setattr(timm, "create_model", unreachable)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    line = refused(["--models", name, "--pretrained", *words], capsys)
    assert (
        f"{name}: its published weights can't be fetched (OSError: Name or service not known)"
        in line
    )


@pytest.mark.parametrize("model", ["tv:squeezenet1_1", "timm:ghostnet_100"])
def test_a_user_without_a_home_is_told_before_anything_is_fetched(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME"):
        monkeypatch.delenv(variable, raising=False)

    def nameless(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", nameless)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no home folder: set HOME, or XDG_CACHE_HOME") as error:
        read_weights("hub", model, 0, ())
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())

"""Which file holds a model's weights. Oracle: the names under which people have such files."""

from pathlib import Path

import pytest

from bench.request.command_line import parse, to_flags
from bench.request.recipe import BACKBONES
from bench.results.record import CellKey
from bench.results.storage import cell_folder
from bench.results.weights_file import find_models, find_weights
from tests.support.image_factory import one_line
from tests.support.processes import argv_of

LITE, RESNET = "timm:tf_efficientnet_lite0", "tv:resnet18"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (LITE, "tf_efficientnet_lite0.safetensors"),
        (LITE, "timm-tf_efficientnet_lite0.pth"),
        # Of timm's hub: the file renamed, or the folder of a clone.
        (LITE, "tf_efficientnet_lite0.in1k.safetensors"),
        (LITE, "tf_efficientnet_lite0.in1k/model.safetensors"),
        (LITE, "tf_efficientnet_lite0/pytorch_model.bin"),
        (f"{LITE}.in1k", "tf_efficientnet_lite0.safetensors"),
        (f"{LITE}.in1k", "tf_efficientnet_lite0.in1k.safetensors"),
        (LITE, "models--timm--tf_efficientnet_lite0.in1k/snapshots/0aa007d2/model.safetensors"),
        # Of timm's and torchvision's caches.
        (LITE, "tf_efficientnet_lite0-0aa007d2.pth"),
        (RESNET, "resnet18-f37072fd.pth"),
        (RESNET, "resnet18.pt"),
        (RESNET, "resnet18.bin"),
        (RESNET, "resnet18.pth.tar"),
        (RESNET, "resnet18.ckpt"),
        ("lenet5", "lenet5.pth"),
        ("alexnet_half_cifar@activation=tanh", "alexnet_half_cifar.pth"),
        ("mine/nets.py:small", "small.pth"),
    ],
)
def test_a_file_is_found_as_people_have_it(model: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    for other in ("resnet18x.pth", "resnet181.pth", "tf_efficientnet_lite01.bin", "xlenet5.pt"):
        (tmp_path / other).touch()
    file.touch()
    assert find_weights(tmp_path, model, 0) == file
    assert find_weights(file, model, 0) == file


def test_the_whole_name_goes_before_the_librarys(tmp_path: Path) -> None:
    for name in ("resnet18-f37072fd.pth", "resnet18.bin", "resnet18.pth", "tv-resnet18.bin"):
        (tmp_path / name).touch()
    for name in ("tv-resnet18.bin", "resnet18.pth", "resnet18.bin", "resnet18-f37072fd.pth"):
        assert find_weights(tmp_path, RESNET, 0).name == name
        (tmp_path / name).unlink()


def test_several_downloads_of_one_model_are_asked_back(tmp_path: Path) -> None:
    for name in ("resnet18-f37072fd.pth", "resnet18-5c106cde.pth"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"resnet18-5c106cde\.pth, resnet18-f37") as error:
        find_weights(tmp_path, RESNET, 0)
    one_line(error)


def test_a_missing_file_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "tf_efficientnet_lite1.safetensors").touch()
    with pytest.raises(ValueError, match="no weights of timm:tf_effic") as error:
        find_weights(tmp_path, LITE, 0)
    assert "did you mean tf_efficientnet_lite1?" in one_line(error)
    with pytest.raises(
        ValueError, match=r"did you mean tf_efficientnet_lite1\.safetensors"
    ) as error:
        find_weights(tmp_path / "tf_efficientnet_lite2.safetensors", LITE, 0)
    one_line(error)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("tf_efficientnet_lite0.safetensors", LITE),
        ("timm-tf_efficientnet_lite0.pth", LITE),
        ("tf_efficientnet_lite0.in1k.safetensors", f"{LITE}.in1k"),
        ("tf_efficientnet_lite0.in1k/model.safetensors", f"{LITE}.in1k"),
        ("models--timm--tf_efficientnet_lite0.in1k/snapshots/0/model.safetensors", f"{LITE}.in1k"),
        # Torchvision's downloads bear a checksum. timm and we have a model of this name too.
        ("resnet18-f37072fd.pth", RESNET),
        ("tv-resnet18.bin", RESNET),
        ("resnet18.safetensors", "timm:resnet18"),
        ("resnet18_cifar.pt", "resnet18_cifar"),
    ],
)
def test_models_are_known_by_their_files(name: str, model: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    for other in ("README.md", "optimizer.pth", "LICENSE.txt"):
        (tmp_path / other).touch()
    file.touch()
    (found,) = find_models(tmp_path)
    assert found == model
    assert find_weights(tmp_path, found, 0) == file


def test_a_folder_without_a_models_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "optimizer.pth").touch()
    with pytest.raises(ValueError, match="name the models by --models") as error:
        find_models(tmp_path)
    one_line(error)


def test_backbones_are_those_at_hand(tmp_path: Path) -> None:
    assert parse(argv_of("--recipe backbones")).models == BACKBONES
    for name in ("resnet18-f37072fd.pth", "resnet50.safetensors"):
        (tmp_path / name).touch()
    words = ["--recipe", "backbones", "--pretrained", str(tmp_path)]
    found = parse(words)
    assert found.models == (RESNET, "timm:resnet50")
    assert parse([*words, "--models", "lenet5"]).models == ("lenet5",)
    (tmp_path / "alexnet-12345678.pth").touch()
    assert parse(to_flags(found)) == found, "a run that has begun keeps its models"


def test_a_runs_cell_of_fewer_images_or_of_a_fold_is_found_where_it_is_the_only_one(
    tmp_path: Path,
) -> None:
    few, fold = CellKey("lenet5", 0, None, 450), CellKey("lenet5", 0, 1)
    # Neither of another seed that begins alike nor of another model.
    for key in (few, CellKey("lenet5", 10, None, 450), CellKey("lenet5_1998", 0, None, 450)):
        put(cell_folder(tmp_path, key) / "model.safetensors")
    expected = cell_folder(tmp_path, few) / "model.safetensors"
    assert find_weights(tmp_path, "lenet5", 0) == expected
    put(cell_folder(tmp_path, fold) / "model.safetensors")
    with pytest.raises(ValueError, match=r"lenet5-s0-f1.* may each be lenet5's"):
        find_weights(tmp_path, "lenet5", 0)


def put(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()

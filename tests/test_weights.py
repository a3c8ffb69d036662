"""Loading weights whole or not at all. Oracles: what was saved, and torchvision's own model."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import densenet121, googlenet, squeezenet1_1

from zoo import create_model, saved_weights, weights
from zoo.external import fetch_trained_state


def copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_reads_back_what_was_saved(suffix: str, tmp_path: Path) -> None:
    state = create_model("lenet5").state_dict()
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    found = saved_weights.read(path).state
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_refuses_files_that_hold_no_weights(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    with pytest.raises(ValueError, match="no weights at"):
        saved_weights.read(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="holds no weights that can be read"):
        saved_weights.read(path)
    if suffix == ".pt":
        torch.save([1, 2], path)
        with pytest.raises(ValueError, match="no dictionary of tensors"):
            saved_weights.read(path)


def test_weights_for_other_classes_leave_the_last_layer_fresh() -> None:
    theirs = squeezenet1_1(weights=None).state_dict()
    model = create_model("squeezenet1_1", num_classes=7)
    before = copy(model.state_dict())
    assert weights.load_pretrained(model, theirs, num_classes=7) == [
        "classifier.1.weight",
        "classifier.1.bias",
    ]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name] if name.startswith("classifier") else theirs[name])


def test_the_first_parameter_that_does_not_fit_is_named_and_nothing_changes() -> None:
    model = create_model("lenet5")
    before = copy(model.state_dict())
    for damage, message in (
        (
            {"conv2.weight": torch.zeros(16, 6, 3, 3)},
            r"conv2\.weight is \(16, 6, 3, 3\) in the weights and \(16, 6, 5",
        ),
        ({"fc9.bias": torch.zeros(1)}, r"LeNet5 has no fc9\.bias"),
    ):
        with pytest.raises(ValueError, match=message):
            weights.load_pretrained(
                model, {**create_model("lenet5").state_dict(), **damage}, num_classes=100
            )
    with pytest.raises(ValueError, match=r"lack fc1\.bias"):
        weights.load(model, {name: t for name, t in before.items() if name != "fc1.bias"})
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_models_of_ours_have_no_published_weights() -> None:
    with pytest.raises(ValueError, match="lenet5 has no published weights"):
        fetch_trained_state("lenet5")


def test_torchvisions_old_names_and_missing_counters_are_understood() -> None:
    theirs = densenet121(weights=None).eval()
    state = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(?=[12]\.)", r"\1.", name): tensor
        for name, tensor in theirs.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    ours = create_model("tv:densenet121", num_classes=1000).eval()
    assert weights.load_pretrained(ours, state, num_classes=1000) == []
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours(images), theirs(images))


def test_published_googlenets_auxiliary_heads_are_dropped_and_its_scaling_kept() -> None:
    torch.manual_seed(0)
    theirs = googlenet(weights=None, init_weights=False, transform_input=True).eval()
    ours = create_model("tv:googlenet", num_classes=1000).eval()
    assert weights.load_pretrained(ours, theirs.state_dict(), num_classes=1000) == []
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours(images), theirs(images))

"""Names and the command line of the zoo.

Oracles: the catalogue, subprocesses that can't import torch, plain JSON.
"""

import json
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

from tests.support.processes import ROOT, run_command
from zoo import check_name, create_model, expand, list_models, resolve
from zoo.__main__ import main
from zoo.library import explain_shared_names, library_models

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; "


def run(code: str) -> str:
    """Run Python code in a fresh process from the root; return what it printed."""
    done = run_command("-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_names_are_unique_and_build_from_their_file() -> None:
    names = [spec.name for spec in list_models()]
    assert len(names) == len(set(names))
    for spec in list_models():
        assert (ROOT / "zoo" / f"{spec.file}.py").is_file()


def test_listing_and_checking_need_no_torch() -> None:
    code = (
        WITHOUT_TORCH
        + "import zoo; zoo.check_name('lenet5'); zoo.expand(['alexnet*']); "
        + "print(len(zoo.list_models()))"
    )
    assert int(run(code)) == len(list_models())


def test_the_list_needs_no_torch() -> None:
    listed = json.loads(run(WITHOUT_TORCH + "from zoo.__main__ import main; main(['--json'])"))
    assert [entry["name"] for entry in listed] == [spec.name for spec in list_models()]


def test_the_list_is_one_aligned_line_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(list_models())
    assert len({line.rindex(" ") for line in lines[:1]}) == 1
    assert lines[1].split()[0] == list_models()[0].name


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["lenet*"], ["lenet5", "lenet5_1998"]),
        (["--family", "lenet"], ["lenet5", "lenet5_1998"]),
        (["--tag", "transformer"], ["vit_tiny", "vit_tiny_cifar"]),
        (
            ["shufflenet*", "--max-parameters", "1.4e6"],
            [
                "shufflenet_v1",
                "shufflenet_v1_cifar",
                "shufflenet_v2_x1_0",
                "shufflenet_v2_x1_0_cifar",
            ],
        ),
    ],
)
def test_filters(
    arguments: list[str], names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == names


def test_a_family_is_also_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--family", "lightweight", "--max-parameters", "2e6", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"squeezenet", "shufflenet"} <= {entry["family"] for entry in listed}
    assert max(entry["num_parameters"] for entry in listed) <= 2e6


def test_one_model_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lenet5", "--num-classes", "10", "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["num_parameters"] == 62_006  # 456 + 2,416 + 48,120 + 10,164 + 850
    assert [
        layer["num_parameters"] for layer in described["layers"] if layer["num_parameters"]
    ] == [456, 2416, 48120, 10164, 850]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenet6"], "unknown model 'lenet6'; did you mean lenet5"),
        (["lenot*"], "no model matches 'lenot*'"),
        (["tv:resnet17"], "torchvision has no model 'resnet17'; did you mean resnet18"),
        (["timm:resnet17"], "timm has no model 'resnet17'; did you mean resnet"),
        (["tv:"], "'tv:' names no model; write tv:NAME"),
        (["keras:resnet50"], "write NAME, tv:NAME, timm:NAME or FILE.py:FUNCTION"),
        (["nowhere.py:net"], "no file 'nowhere.py'"),
        (["--family", "alexnot"], "no family 'alexnot'; did you mean alexnet?"),
        (["--tag", "heavy"], "no tag 'heavy' (there are lightweight, transformer)"),
        (
            ["mobilenetv3_small_050"],
            "unknown model 'mobilenetv3_small_050'; did you mean timm:mobilenetv3_small_050?",
        ),
        (["--max-parameters", "7"], "no model has at most 7 parameters"),
    ],
)
def test_wrong_requests_get_one_line_and_exit_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_names_of_the_libraries_are_those_that_they_list() -> None:
    assert library_models("tv") == set(torchvision.models.list_models(torchvision.models))
    assert library_models("timm") >= set(timm.list_models())


def test_a_name_that_a_library_has_too_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resnet18"]) == 0
    assert (
        "the libraries have models of this name too: tv:resnet18, timm:resnet18"
        in capsys.readouterr().out
    )
    assert explain_shared_names(["lenet5", "resnet18", "timm:resnet18"]) == (
        "resnet18: the zoo's own is meant; "
        "the libraries' of the same name are tv:NAME and timm:NAME"
    )
    assert explain_shared_names(["lenet5"]) == ""


def test_expand_keeps_the_order_and_drops_duplicates() -> None:
    assert expand(["tv:resnet18", "lenet5_1998", "lenet*", "tv:resnet18"]) == [
        "tv:resnet18",
        "lenet5_1998",
        "lenet5",
    ]
    with pytest.raises(ValueError, match="no model given"):
        expand([])


def test_foreign_models_are_described_by_counting() -> None:
    spec = resolve("tv:resnet18", num_classes=1000)
    assert (spec.num_parameters, spec.image_size, spec.total_stride, spec.at) == (
        11_689_512,
        224,
        32,
        (1000, 224),
    )
    assert spec.mean == (0.485, 0.456, 0.406)
    spec = resolve("timm:mobilenetv4_conv_small", num_classes=10)
    assert (spec.source, spec.image_size, spec.at) == ("timm", 224, (10, 224))


def test_describing_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    resolve("tv:squeezenet1_1")
    assert torch.equal(torch.get_rng_state(), before)


USER_FILE = """
import torch
image_size = 16

def net(num_classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, num_classes))

def fixed():
    return net(7)

def grey(num_classes, in_channels=3):
    return net(num_classes) if in_channels == 3 else torch.nn.Identity()

def broken(num_classes):
    return 5
"""


def test_a_users_own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(USER_FILE)
    monkeypatch.chdir(tmp_path)
    check_name("mine.py:net")
    spec = resolve("mine.py:net", num_classes=10)
    assert (spec.family, spec.image_size, spec.num_parameters, spec.multiply_adds) == (
        "user",
        16,
        7690,
        7680,
    )
    assert create_model("mine.py:net", num_classes=10)(torch.zeros(2, 3, 16, 16)).shape == (2, 10)
    assert create_model("mine.py:fixed", num_classes=10)(torch.zeros(2, 3, 16, 16)).shape == (2, 7)
    assert isinstance(create_model("mine.py:grey", in_channels=1), nn.Identity)
    for name, message in (
        ("net", "takes no 'in_channels'"),
        ("broken", "returned a int"),
        ("nat", "did you mean net"),
    ):
        with pytest.raises(ValueError, match=message):
            create_model(f"mine.py:{name}", **({"in_channels": 1} if name == "net" else {}))


def test_switches_that_a_model_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="lenet5: there is no switch 'lrn'"):
        create_model("lenet5", lrn="off")


def test_switches_behind_a_name_are_the_functions() -> None:
    """As one tower the paper's network has 58,691,044 parameters with 100 classes."""
    assert resolve("alexnet_grouped@towers=1").num_parameters == 58_691_044
    torch.manual_seed(0)
    switched = create_model("alexnet_half_cifar@activation=tanh,dropout=0", num_classes=5)
    torch.manual_seed(0)
    expected = create_model("alexnet_half_cifar", num_classes=5, activation="tanh", dropout=0)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(switched.train()(images), expected.train()(images))
    assert (
        resolve("timm:resnet18@act_layer=gelu", num_classes=5).name
        == "timm:resnet18@act_layer=gelu"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lenet6@lrn=off", "unknown model 'lenet6'; did you mean lenet5"),
        ("lenet5@lrn=off", "lenet5: there is no switch 'lrn'"),
        ("alexnet_half@activation=gelu", "activation is relu or tanh, not 'gelu'"),
        ("alexnet_half@activation", "'activation' is no switch; write NAME@SWITCH=VALUE"),
        ("alexnet_half@", "'' is no switch"),
    ],
)
def test_switches_that_can_not_be_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(name)

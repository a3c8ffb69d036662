"""Options and recipes.

Oracle: identities (what is written reads back as itself) and the lines that users must get.
"""

import dataclasses
from pathlib import Path

import pytest

from bench.request.command_line import parse, to_flags
from bench.request.config import RunConfig, differing, from_json, to_json
from bench.request.recipe import RECIPES
from reports.published import read_published
from zoo import expand, list_models

REQUESTS = [
    [],
    ["--recipe", "smoke"],
    ["--recipe", "standard", "--seeds", "5", "7"],
    ["--epochs", "3"],
    ["--recipe", "finetune"],
    ["--dataset", "mnist"],
    ["--dataset", "svhn", "--augment", "crop", "mirror"],
    ["--recipe", "tutorial", "--dataset", "mnist"],
    ["--recipe", "finetune", "--pretrained", "weights.pth", "--lr", "0.1"],
    ["--models", "tv:resnet18", "--pretrained", "--epochs", "0"],
    ["--class-weights", "--recipe", "tutorial", "--dataset", "imagefolder", "--skip-unreadable"],
    ["--models", "lenet5", "tv:resnet18", "--image-size", "64"],
    ["--models", "lenet5", "--image-size", "32"],
    ["--measure", "none", "--augment", "none"],
    ["--no-channels-last", "--compile", "--lr", "0.1", "--clip", "1", "--ema", "0.99"],
    ["--pairs", "7", "--seconds", "2.5", "--out", "runs/x", "--data-dir", "data", "--world", "2"],
]


@pytest.mark.parametrize("argv", REQUESTS, ids=" ".join)
def test_a_request_survives_its_flags_and_its_json(argv: list[str]) -> None:
    config = parse(argv)
    assert parse(to_flags(config)) == config
    assert from_json(to_json(config)) == config


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--recipe", "quik"], "did you mean quick"),
        (["--measure", "memry"], "did you mean memory"),
        (["--precision", "fp8"], "did you mean fp"),
        (["--augment", "crop", "miror"], "did you mean mirror"),
        (["--models"], "--models is empty"),
        (["--seeds"], "--seeds is empty"),
        (["--seeds", "1", "1"], "1 is given twice"),
        (["--epochs", "-1"], "--epochs -1"),
        (["--epochs", "one"], "--epochs"),
        (["--seconds", "0"], "--seconds 0"),
        (["--seconds", "nan"], "--seconds nan"),
        (["--epochs", "1", "--seconds", "1"], "two budgets"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--epoch", "1"], "--epoch"),
        (["--like", "nowhere.json"], "no such file"),
        (["--pairs", "some"], "--pairs"),
        (["--balance", "--class-weights"], "two remedies for one thing"),
        (["--skip-unreadable"], "--skip-unreadable is for image folders"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_refused_in_one_line(argv: list[str], line: str) -> None:
    with pytest.raises(ValueError, match=line) as refused:
        parse(argv)
    assert "\n" not in str(refused.value)


def test_what_is_given_changes_the_recipe_and_takes_its_budget_away() -> None:
    quick = RECIPES["quick"]()
    assert parse([]) == quick
    assert parse(["--epochs", "2"]) == dataclasses.replace(quick, epochs=2, seconds=None)


def test_models_that_are_named_run_at_their_own_size() -> None:
    assert parse([]).image_size == 32
    assert parse(["--models", "resnet18"]).image_size is None
    assert parse(["--models", "resnet18", "--image-size", "32"]).image_size == 32


def test_the_last_of_two_recipes_counts_as_for_every_option() -> None:
    assert parse(["--recipe", "quick", "--recipe", "smoke"]) == RECIPES["smoke"]()


def test_pretrained_without_a_value_means_the_published_weights() -> None:
    assert parse(["--pretrained", "--models", "tv:resnet18"]).pretrained == "hub"
    assert parse(["--models", "tv:resnet18", "--pretrained"]).pretrained == "hub"
    assert parse(["--pretrained", "mine.pth", "--models", "lenet5"]).pretrained == "mine.pth"


def test_digits_are_mirrored_only_where_that_is_asked_for() -> None:
    assert parse(["--dataset", "mnist"]).augment == ("crop",)
    assert parse(["--dataset", "svhn", "--augment", "mirror"]).augment == ("mirror",)
    assert parse(["--dataset", "fashion_mnist"]).augment == ("crop", "mirror")


def test_a_run_goes_on_only_with_the_same_options() -> None:
    first = parse(["--recipe", "smoke"])
    assert differing(first, dataclasses.replace(first, resume=True, world=4)) == []
    assert differing(first, dataclasses.replace(first, batch_size=64, lr=1.0)) == [
        "--batch-size",
        "--lr",
    ]


def test_every_option_has_help_and_every_recipe_says_what_to_expect() -> None:
    import ast
    import inspect

    import bench.request.config

    tree = ast.parse(inspect.getsource(bench.request.config))
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "RunConfig").body
    for field, text in zip(body[1::2], body[2::2], strict=True):
        assert isinstance(field, ast.AnnAssign)
        assert isinstance(text, ast.Expr), ast.unparse(field)
    assert len(body) == 1 + 2 * len(dataclasses.fields(RunConfig))
    for name, recipe in RECIPES.items():
        assert recipe().recipe == name
        assert "./launch.sh" in (recipe.__doc__ or "")


def test_the_figures_of_cifar200_are_those_published_for_the_last_epoch() -> None:
    text = " ".join((RECIPES["cifar200"].__doc__ or "").split())
    rows = [
        row
        for row in read_published()
        if row.source.startswith("chenyaofo") and "last" in row.epoch_reported
    ]
    published = {row.model: row.top1 for row in rows}
    for ours, theirs in (
        ("resnet20", "resnet20"),
        ("resnet56", "resnet56"),
        ("vgg16_bn", "vgg16_bn"),
        ("mobilenet_v2", "mobilenetv2_x1_0"),
        ("shufflenet_v2", "shufflenetv2_x1_0"),
    ):
        assert f"{ours} {published[theirs]:.1f} %" in text


def test_the_readme_names_every_recipe() -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    assert [name for name in RECIPES if f"`{name}`" not in text] == []


def test_models_of_the_recipes_are_there() -> None:
    for recipe in RECIPES.values():
        assert expand(recipe().models)
    families = {list_models(name)[0].family for name in RECIPES["survey"]().models}
    assert len(RECIPES["survey"]().models) == 12
    assert len(families) == 10

"""Options and recipes.

Oracle: identities (what is written reads back as itself) and the lines that users must get.
"""

import dataclasses
import json
import re
import string
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.request.command_line import parse, to_flags
from bench.request.config import OPTIONS, RunConfig, check, differing, from_json, to_json
from bench.request.recipe import RECIPES, choose_models
from bench.train.schedule import choose_optimizer
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
    ["--image-size", "None"],
    ["--recipe", "tutorial", "--optimizer", "None"],
    ["--data_dir=a_b", "--pairs", "auto", "--batch-size=best"],
    ["--models", *RECIPES["quick"]().models],
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
        (["--epoch", "1"], "did you mean --epochs"),
        (["--epochs"], "--epochs: expected one argument"),
        (["--compile=yes"], "--compile"),
        (["--crops", "5"], "choose from 1, 10"),
        (["--protocol", "publish"], "did you mean published"),
        (["--dropout", "2"], "--dropout 2.0: must lie between 0 and 0.99"),
        (["--seconds", "inf"], "--seconds inf"),
        (["quick"], "'quick' is unknown"),
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
    by_epochs = dataclasses.replace(quick, epochs=2, seconds=None, least_steps=None)
    assert parse(["--epochs", "2"]) == by_epochs


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


def test_two_ways_to_take_a_window_are_refused_together() -> None:
    with pytest.raises(ValueError, match="--augment crop resized: two ways"):
        parse(["--augment", "mirror", "resized", "crop"])


def test_a_run_goes_on_only_with_the_same_options() -> None:
    first = parse(["--recipe", "smoke"])
    assert differing(first, dataclasses.replace(first, resume=True, world=4)) == []
    assert differing(first, dataclasses.replace(first, batch_size=64, lr=1.0)) == [
        "--batch-size",
        "--lr",
    ]


def test_every_option_has_help_and_every_recipe_says_what_to_expect() -> None:
    for name, about in OPTIONS.items():
        assert about.help.endswith((".", "…")), name
    for name, recipe in RECIPES.items():
        assert recipe().recipe == name
        assert "./launch.sh" in (recipe.__doc__ or "")


def test_help_is_grouped_and_shows_the_defaults_of_the_recipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(["--help", "--recipe", "tutorial"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    titles = [line[:-1] for line in shown.splitlines() if line[:1].islower() and line[-1:] == ":"]
    assert titles == ["models and data", "learning", "machine", "measuring", "the run"]
    assert "(default: alexnet_half)" in " ".join(shown.split())
    assert "--best-batch" not in shown


@pytest.mark.parametrize(
    "argv",
    [
        ["--batch-size", "best"],
        ["--batch-size=best"],
        ["--batch_size", "best"],
        ["--best-batch"],
    ],
    ids=" ".join,
)
def test_the_best_batch_size_is_asked_for_in_every_form(argv: list[str]) -> None:
    assert parse(argv) == dataclasses.replace(RECIPES["quick"](), best_batch=True)


def values_of(name: str, hint: Any) -> st.SearchStrategy[Any]:
    """Values that an option allows by itself."""
    about, inner = OPTIONS[name], get_args(hint)
    words = st.text(string.ascii_letters + string.digits + "_:@=./é '-", min_size=1).filter(
        lambda word: not word.startswith("-") and word not in ("none", "None")
    )
    low, high = about.between or (1, 1000)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(int(low), int(high)),
        float: st.floats(low, high),
        str: st.sampled_from(about.choices) if about.choices else words,
        Path: words.map(Path),
    }
    if name == "crops":
        return st.sampled_from([1, 10])
    if get_origin(hint) is Literal:
        return st.sampled_from(inner)
    if get_origin(hint) is tuple:
        return st.lists(plain[inner[0]], unique=True, max_size=3).map(tuple)
    one = plain[inner[0] if inner else hint]
    if about.words and name != "batch_size":
        one |= st.sampled_from(about.words)
    return st.none() | one if NoneType in inner else one


@st.composite
def requests(draw: st.DrawFn) -> RunConfig:
    """Changes of a recipe that `check` allows."""
    recipe = RECIPES[draw(st.sampled_from(sorted(RECIPES)))]()
    hints = get_type_hints(RunConfig)
    # The recipe is drawn above, and --like names a file whose options stand for themselves.
    names = draw(st.sets(st.sampled_from(sorted(OPTIONS.keys() - {"recipe", "like"}))))
    changed = {name: draw(values_of(name, hints[name])) for name in sorted(names)}
    config = dataclasses.replace(recipe, **changed)
    # The budgets replace each other, and only one of them may be given.
    assume(config.epochs is None or config.seconds is None)
    try:
        check(config)
    except ValueError:
        assume(False)
    return config


@settings(max_examples=300, deadline=None)
@given(requests())
def test_every_request_survives_its_flags_and_its_json(config: RunConfig) -> None:
    assert parse(to_flags(config)) == config
    assert from_json(to_json(config)) == config


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


def test_the_readme_and_the_help_name_every_recipe() -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    assert [name for name in RECIPES if f"`{name}`" not in text] == []
    assert set(RECIPES) <= set(re.findall(r"\w+", OPTIONS["recipe"].help))


def test_models_of_the_recipes_are_there() -> None:
    for recipe in RECIPES.values():
        assert expand(choose_models(recipe()).models)


def test_trained_has_the_published_rules_and_rates_and_one_look_at_the_test_set() -> None:
    trained, published = RECIPES["trained"](), RECIPES["cifar200"]()
    assert set(differing(trained, published)) == {
        *("--models", "--recipe", "--image-size", "--epochs", "--protocol", "--lr", "--warmup"),
        *("--measure", "--pack"),
    }
    # Both tables have 0.1 for networks with batch normalisation.
    for name in ("resnet18", "resnet20", "mobilenet_v2", "shufflenet_v2_x1_0"):
        spec = list_models(name)[0]
        assert choose_optimizer(trained, spec.defaults).lr == published.lr
    assert len({list_models(name)[0].family for name in trained.models}) == 8


RECORD = Path(__file__).parent / "data" / "run2" / "cells" / "lenet5-s0" / "record.json"


def write_record(path: Path, **options: object) -> Path:
    """Write a record whose request has other options, and return its path."""
    record = json.loads(RECORD.read_bytes())
    record["config"].update(options)
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize(
    ("recorded", "words", "expected"),
    [
        ({"seconds": 5.0, "epochs": None}, ["--epochs", "3"], {"epochs": 3, "seconds": None}),
        ({"seconds": None, "epochs": 5}, ["--seconds", "3"], {"epochs": None, "seconds": 3.0}),
        ({"best_batch": True}, ["--batch-size", "64"], {"batch_size": 64, "best_batch": False}),
        ({"image_size": 48}, ["--models", "resnet18"], {"image_size": 48}),
    ],
    ids=["epochs", "seconds", "batch size", "image size"],
)
def test_what_is_given_changes_the_record_that_like_names(
    tmp_path: Path, recorded: dict[str, object], words: list[str], expected: dict[str, object]
) -> None:
    path = write_record(tmp_path / "record.json", **recorded)
    config = parse(["--like", str(path), *words])
    assert {name: getattr(config, name) for name in expected} == expected
    assert parse(to_flags(config)) == config


@pytest.mark.parametrize(
    "options",
    [
        {"recipe": "quik"},
        {"models": "lenet5"},
        {"models": []},
        {"models": [["lenet5"]]},
        {"models": {"lenet5": 1}},
        {"epochs": "3"},
        {"epochs": True},
        {"epochs": 3, "seconds": 3.0},
        {"epochs": None, "seconds": None},
        {"batch_size": 1.5},
        {"batch_size": 0},
        {"lr": [0.1]},
        {"precision": "fp8"},
        {"out": ["a"]},
        {"no_such_option": 1},
    ],
    ids=str,
)
def test_a_record_with_a_wrong_request_is_refused_in_one_line(
    tmp_path: Path, options: dict[str, object]
) -> None:
    right = {"seconds": None, "epochs": 1}
    path = write_record(tmp_path / "record.json", **(right | options))
    with pytest.raises(ValueError, match=f"--like {path}: ") as refused:
        parse(["--like", str(path)])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b'{"schema": 99}', b'{"schema": 2}', b"null"],
    ids=["empty", "torn", "bytes", "deep", "list", "newer", "bare", "null"],
)
def test_a_file_that_is_no_record_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"--like {path}: ") as refused:
        parse(["--like", str(path)])
    assert "\n" not in str(refused.value)


def test_like_has_a_recipe_already() -> None:
    with pytest.raises(ValueError, match="leave --recipe out"):
        parse(["--like", str(RECORD), "--recipe", "smoke"])


def test_exported_files_are_timed_only_where_that_is_asked() -> None:
    assert "deploy" not in RunConfig().measure
    assert parse(["--measure", "deploy"]).measure == ("deploy",)

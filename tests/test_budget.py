"""What a slow machine makes of a budget of seconds. Oracle: the rule, worked out by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cell import forecast
from bench.cell.budget import ALLOWED, ENOUGH, Budget, choose_budget
from bench.cell.forecast import fit_budget
from bench.cell.open_run import list_cells
from bench.distributed.watch import Watch
from bench.launch.check import complete
from bench.request.command_line import check_folder, parse, to_flags
from bench.request.config import RunConfig, to_json
from bench.request.recipe import RECIPES
from bench.results.storage import write_json

# Seconds of a step of 128 images: in 30 s the slowest takes the 50 steps that are asked for.
STEPS = {"lenet5": 0.02, "resnet18": 0.6, "mobilenet_v2": 0.3}
CONFIG = RunConfig(models=tuple(STEPS), seconds=30, least_steps=50)


def choose(slower: float, num_evaluated: int = 0) -> Budget:
    times = {model: slower * seconds / 128 for model, seconds in STEPS.items()}
    return choose_budget(times, CONFIG, num_evaluated=num_evaluated)


@pytest.mark.parametrize("num_evaluated", [0, 10**6])
def test_a_machine_that_is_fast_enough_does_what_was_asked(num_evaluated: int) -> None:
    assert choose(1.0, num_evaluated) == Budget(tuple(STEPS), 30, ())


def test_the_slowest_is_left_out_where_it_takes_too_few_steps() -> None:
    """Of the others the slowest takes 50 steps, and 70 too, in less than 30 s."""
    assert choose(1.1) == Budget(("lenet5", "mobilenet_v2"), 30, ("resnet18",))


def test_the_others_get_more_seconds_within_the_time_that_was_asked_for() -> None:
    """70 steps of 0.66 s are 46.2 s, and twice that is less than 4/3 of 90 s."""
    assert choose(2.2) == Budget(
        ("lenet5", "mobilenet_v2"), pytest.approx(ENOUGH * 50 * 0.66), ("resnet18",)
    )


def test_evaluation_takes_its_part() -> None:
    """A third of a step an image: of 120 s 92.4 are training, and 15,054 images take the rest."""
    assert choose(2.2, 15_000).left_out == ("resnet18",)
    assert choose(2.2, 15_100).left_out == ("resnet18", "mobilenet_v2")


def test_the_last_model_stays_and_is_trained_for_as_long_as_was_asked_for_all() -> None:
    assert choose(1000.0) == Budget(("lenet5",), ALLOWED * 90, ("resnet18", "mobilenet_v2"))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"lenet5": 0.02 / 128, "mlp": 1.0}
    monkeypatch.setattr(forecast, "time_image", lambda spec, context: times[spec.name])
    monkeypatch.setattr(Watch, "read_taken", lambda watch: 0.0)


WORDS = ["--models", "lenet5", "mlp", "--seconds", "30", "--least-steps", "80"]


def fit(words: list[str], data: Any, runtime: Any, out: Path) -> tuple[RunConfig, list[str]]:
    config = complete(parse([*words, "--out", str(out)]))
    fitted, cells = fit_budget(config, list_cells(config, data), data, runtime)
    return fitted, [cell.model for cell in cells]


@pytest.mark.usefixtures("slow")
def test_a_run_goes_on_as_it_was_begun(
    tiny_data: Any, runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(runtime, "say", said.append)
    fitted, models = fit([*WORDS, "--seeds", "0", "1"], tiny_data, runtime, tmp_path)
    assert models == ["lenet5"] * 2
    assert (fitted.models, fitted.left_out) == (("lenet5",), ("mlp",))
    assert "left out for it: mlp" in said[0]
    write_json(tmp_path / "config.json", to_json(fitted))
    # The command as it was given, and the one that an interrupted run names.
    for words in ([*WORDS, "--seeds", "0", "1"], to_flags(replace(fitted, out=None))):
        again, left = fit([*words, "--resume"], tiny_data, runtime, tmp_path)
        check_folder(again)
        assert replace(again, resume=False) == replace(fitted, resume=False)
        assert left == models
    assert len(said) == 1
    other = ["--models", "lenet5_1998", *WORDS[3:], "--resume", "--out", str(tmp_path)]
    with pytest.raises(ValueError, match="--models"):
        check_folder(complete(parse(other)))


@pytest.mark.usefixtures("slow")
def test_a_machine_that_others_keep_busy_is_not_a_slow_one(
    tiny_data: Any, runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "read_taken", lambda watch: 0.5)
    assert fit(WORDS, tiny_data, runtime, tmp_path)[1] == ["lenet5", "mlp"]


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("more", [["--pack"], []])
def test_nothing_is_left_out_unasked(
    more: list[str], tiny_data: Any, runtime: Any, tmp_path: Path
) -> None:
    words = [*WORDS, *more] if more else WORDS[:-2]
    fitted, models = fit(words, tiny_data, runtime, tmp_path)
    assert models == ["lenet5", "mlp"]
    assert not fitted.left_out


def test_what_may_be_left_out_are_a_recipes_own_models_in_its_own_time() -> None:
    quick = RECIPES["quick"]()
    assert parse([]).least_steps == quick.least_steps == 70
    for words in (["--models", "lenet5"], ["--seconds", "30"], ["--epochs", "2"]):
        assert parse(words).least_steps is None
    with pytest.raises(ValueError, match="--least-steps is for a budget of --seconds"):
        parse(["--epochs", "2", "--least-steps", "3"])

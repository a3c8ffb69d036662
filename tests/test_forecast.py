"""What a run says of its own length. Oracle: time divided by hand, and the models' own sizes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cell import forecast
from bench.cell.open_run import list_cells, make_context
from bench.request.command_line import parse


def say(words: list[str], data: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(runtime, "say", said.append)
    config = replace(parse([*words, "--num-threads", "1"]), out=Path("runs/none"))
    context = make_context(config, data, runtime)
    forecast.say_what_it_takes(list_cells(config, data), context)
    return said


def test_a_long_run_names_the_smaller_form(
    tiny_data: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of 224 px on images of 32, for as many epochs as make it long."""
    epochs = 2_000_000 // len(tiny_data.train_indices)
    words = ["--models", "lenet5", "alexnet_single_tower", "--epochs", str(epochs)]
    said = say(words, tiny_data, runtime, monkeypatch)
    assert said[0].startswith("training will take about ")
    assert "hours: lenet5 " in said[0]
    assert len(said) == 2
    assert "alexnet_single_tower enlarges images of 32 px to its own 224" in said[1]
    assert "alexnet_single_tower_cifar is its form for 32 px" in said[1]


@pytest.mark.parametrize("budget", [["--epochs", "1"], ["--seconds", "9000"]])
def test_a_short_run_and_one_of_stated_seconds_say_nothing(
    budget: list[str], tiny_data: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not say(["--models", "lenet5", *budget], tiny_data, runtime, monkeypatch)


def test_resnet18_can_read_small_images_too() -> None:
    config = parse(["--models", "resnet18", "--epochs", "10"])
    spec = next(iter(forecast.list_models("resnet18")))
    [line] = forecast._name_smaller(spec, config, 32)
    assert "resnet18_cifar" in line
    assert "--image-size 32" in line
    assert not list(forecast._name_smaller(spec, replace(config, image_size=32), 32))


@pytest.mark.parametrize(
    ("seconds", "text"), [(162_000, "45 hours"), (720, "12 minutes"), (30, "30 seconds")]
)
def test_times_are_said_in_words(seconds: float, text: str) -> None:
    assert forecast.describe_time(seconds) == text

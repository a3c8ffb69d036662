"""What a run has still to measure.

Oracle: comparisons that lie in its folder, as an interrupted run leaves them.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.measure.compare import find_unmeasured
from bench.request.command_line import parse
from bench.results.storage import comparison_path, write
from bench.train.build import RunContext
from tests.support.record_factory import Animal, comparison

MODELS = ("a", "b", "c", "d")


def context_of(folder: Path, *words: str) -> RunContext:
    unused: Any = None
    return RunContext(
        parse(["--models", *MODELS, "--epochs", "1", *words]), unused, unused, folder, {}
    )


def leave(folder: Path, models: str, launch: int = 0, group: int = 0) -> None:
    compared = comparison([Animal(name, "f", 10, 10, 100.0, 50) for name in models])
    write(comparison_path(folder, launch, group), replace(compared, launch=launch, group=group))


def test_an_interrupted_launch_goes_on_with_the_models_that_it_lacks(tmp_path: Path) -> None:
    context = context_of(tmp_path, "--launches", "2")
    assert find_unmeasured(context, MODELS) == (0, 0, MODELS)
    leave(tmp_path, "ab")
    assert find_unmeasured(context, MODELS) == (
        0,
        1,
        ("a", "c", "d"),
    )  # the reference is in every group
    leave(tmp_path, "acd", group=1)
    assert find_unmeasured(context, MODELS) == (1, 0, MODELS)
    leave(tmp_path, "abcd", launch=1)
    assert find_unmeasured(context, MODELS) == (0, 0, ())


def test_a_run_of_one_launch_is_measured_once(tmp_path: Path) -> None:
    leave(tmp_path, "abcd")
    assert find_unmeasured(context_of(tmp_path), MODELS) == (0, 0, ())

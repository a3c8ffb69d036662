"""The memory format in which a model trains faster.

Oracle: the same cell with that format asked for, to the bit; and the rule, on rounds of known
ratios.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.distributed.device_setting import choose_format
from bench.request.command_line import parse, to_flags
from bench.results.memory_format import (
    CHANNELS_LAST,
    FORMATS,
    NCHW,
    WHERE_FASTER,
    choose_channels_last,
    used_format,
)
from bench.results.record import FormatTrial, RunRecord
from bench.results.setting import ranking_key
from bench.results.storage import read, write
from bench.run import main
from bench.train import memory_format
from bench.train.build import RunContext
from bench.train.memory_format import try_formats
from bench.train.own_setting import as_trained
from bench.verify import find_faults
from bench.verify import main as verify
from reports.frame import row_of
from reports.runs import Cell
from tests.support.image_factory import use_own_cache, write_cifar10
from tests.support.processes import World, argv_of, small_data
from tests.support.record_factory import data_info, record
from zoo.registry import resolve

TRIAL = FormatTrial(
    channels_last=False,
    num_images=24,
    seconds={CHANNELS_LAST: (0.012, 0.012, 0.5), NCHW: (0.01, 0.01, 0.01)},
)


@pytest.mark.parametrize(
    ("ratios", "keeps"),
    [
        ([1.0, 1.0, 1.0], True),
        ([1.04, 1.04, 1.04], True),  # as much may be noise
        ([1.06, 1.07, 1.06], False),
        ([0.7, 0.7, 0.7], True),
        ([9.0, 1.0, 1.0], True),  # one step was held up
        ([1.2, 0.1, 1.2], False),
    ],
)
def test_nchw_is_taken_where_most_rounds_show_a_gain(ratios: list[float], keeps: bool) -> None:
    assert choose_channels_last({CHANNELS_LAST: ratios, NCHW: [1.0] * len(ratios)}) is keeps


def test_noise_alone_never_changes_the_format() -> None:
    """Two equal formats, rounds of 3 % noise: at most one trial in 100 is misled."""
    draw = np.random.default_rng(0)
    misled = 0
    for _ in range(300):
        seconds = {name: draw.normal(1, 0.03, 12).tolist() for name in FORMATS}
        misled += not choose_channels_last(seconds)
    assert misled <= 3


@pytest.mark.parametrize(
    ("words", "device", "chosen"),
    [
        ("", "cpu", WHERE_FASTER),
        ("--train head+all --pretrained", "cpu", True),
        ("--train head --pretrained", "cpu", True),
        ("--compile", "cpu", True),
        ("--epochs 0 --measure none", "cpu", True),
        ("--epochs 0 --measure train", "cpu", WHERE_FASTER),
        ("", "cuda", True),
        ("--channels-last", "cpu", True),
        ("--no-channels-last", "cpu", False),
        ("--no-channels-last", "cuda", False),
    ],
)
def test_it_is_left_to_the_steps_where_they_can_tell(words: str, device: str, chosen: Any) -> None:
    config = parse(["--recipe", "smoke", *words.split()])
    assert choose_format(config, torch.device(device)) == chosen
    assert parse(to_flags(config)) == config


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A request for a LeNet-5, on a small CIFAR-10."""
    use_own_cache(monkeypatch, tmp_path)
    monkeypatch.setattr("bench.run.write_report", lambda config: True)
    monkeypatch.setattr(memory_format, "ROUNDS", (1, 1))
    folder = write_cifar10(tmp_path / "cifar10")
    return [
        *argv_of("--models lenet5 --epochs 1 --num-threads 1"),
        *argv_of(f"--dataset cifar10 --batch-size 30 --measure none --data-dir {folder}"),
    ]


def records_of(run: Path) -> list[RunRecord]:
    return [read(path, RunRecord) for path in sorted(run.glob("cells/*/record.json"))]


def test_a_format_that_was_tried_gives_the_bits_of_one_that_was_asked_for(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[bool, RunRecord] = {}
    for keeps, flag in ((True, "--channels-last"), (False, "--no-channels-last")):
        for module in ("bench.train.memory_format", "bench.verify"):
            monkeypatch.setattr(f"{module}.choose_channels_last", partial(answer, keeps))
        tried, asked = tmp_path / f"tried {flag}", tmp_path / f"asked {flag}"
        assert main([*words, "--ema", "0.9", "--out", str(tried)]) == 0
        assert main([*words, "--ema", "0.9", flag, "--out", str(asked)]) == 0
        (made[keeps],), (other,) = records_of(tried), records_of(asked)
        assert made[keeps].format_trial is not None
        assert other.format_trial is None
        assert used_format(made[keeps]) == used_format(other) == keeps
        assert made[keeps].checksums == other.checksums
        losses = [[row.train_loss for row in each.epochs] for each in (made[keeps], other)]
        assert losses[0] == losses[1]
        assert list(find_faults(tried)) == []
    # Each format has bits of its own, or all this would show nothing.
    assert made[True].checksums != made[False].checksums


def answer(keeps: bool, _seconds: object) -> bool:
    return keeps


def test_a_model_is_tried_once_and_a_resume_takes_what_was_found(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def count(spec: Any, *more: Any) -> FormatTrial:
        tries.append(spec.name)
        return TRIAL

    monkeypatch.setattr(memory_format, "try_formats", count)
    words += ["--seeds", "0", "1"]
    run = tmp_path / "run"
    assert main([*words, "--out", str(run)]) == 0
    assert tries == ["lenet5"]
    first, second = records_of(run)
    assert first.format_trial == second.format_trial == TRIAL
    # As if the second seed had been interrupted, and the machine had changed its mind since.
    path = run / "cells" / second.cell / "record.json"
    write(path, replace(second, status="interrupted", error="a signal came", finished=None))
    assert main([*words, "--resume", "--out", str(run)]) == 0
    assert tries == ["lenet5"]
    again = read(path, RunRecord)
    assert again.format_trial == TRIAL
    assert again.checksums == second.checksums


def test_a_trial_draws_no_number_and_its_steps_are_those_of_the_rounds(
    tiny_data: Any, runtime: Any, tmp_path: Path
) -> None:
    config = parse(argv_of("--models lenet5 --epochs 1 --batch-size 32 --num-threads 1"))
    context = RunContext(config, tiny_data, runtime, tmp_path, {})
    before = torch.get_rng_state()
    spec = resolve("lenet5", num_classes=10)
    trial = try_formats(spec, context, record(data=data_info(image_size=32)))
    assert torch.equal(torch.get_rng_state(), before)
    assert set(trial.seconds) == set(FORMATS)
    least, most = memory_format.ROUNDS
    rounds = {len(values) for values in trial.seconds.values()}
    assert least <= min(rounds) == max(rounds) <= most
    assert trial.channels_last == choose_channels_last(trial.seconds)
    assert trial.rate(NCHW) == pytest.approx(trial.num_images / np.median(trial.seconds[NCHW]))


def test_a_network_that_is_slow_is_tried_on_few_images(
    tiny_data: Any, runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_format, "LONGEST_STEP", 0.0)
    monkeypatch.setattr(memory_format, "TRIAL_SECONDS", 0.0)
    config = parse(argv_of("--models lenet5 --epochs 1 --batch-size 32 --accumulate 3"))
    context = RunContext(config, tiny_data, runtime, tmp_path, {})
    spec = resolve("lenet5", num_classes=10)
    trial = try_formats(spec, context, record(data=data_info(image_size=32)))
    assert trial.num_images == 3 * memory_format.FEW_IMAGES
    assert [len(values) for values in trial.seconds.values()] == [memory_format.ROUNDS[0]] * 2


def left_to_the_machine(**changes: Any) -> RunRecord:
    own = record(**changes)
    return replace(
        own,
        config=own.config | {"channels_last": None},
        environment=own.environment | {"channels_last": WHERE_FASTER},
        format_trial=replace(TRIAL, channels_last=changes.get("seed", 0) == 1),
    )


def test_rows_that_differ_by_their_faster_format_alone_are_ranked_together() -> None:
    one, other = left_to_the_machine(seed=0), left_to_the_machine(seed=1)
    assert used_format(one) != used_format(other)
    assert ranking_key(one) == ranking_key(other)
    forced = [record(config=one.config | {"channels_last": value}) for value in (True, False)]
    keys = [ranking_key(each) for each in (one, *forced)]
    assert len({repr(key) for key in keys}) == 3
    rows = [row_of(Cell(each, Path()), None, run="a") for each in (one, other, *forced)]
    assert [row["channels_last"] for row in rows] == [False, True, True, False]
    assert [row["format_choice"] for row in rows] == ["tried", "tried", "fixed", "fixed"]


def test_a_comparison_takes_the_format_and_the_batch_of_the_record(
    tiny_data: Any, runtime: Any, tmp_path: Path
) -> None:
    context = RunContext(parse(["--recipe", "smoke"]), tiny_data, runtime, tmp_path, {})
    config = as_trained(replace(left_to_the_machine(), batch_size=24), context).config
    assert (config.uses_channels_last, config.batch_size) == (False, 24)


DOCTORED: dict[str, Any] = {
    "the slower one": lambda own: replace(
        own, format_trial=replace(own.format_trial, channels_last=True)
    ),
    "a round too many": lambda own: replace(
        own,
        format_trial=replace(own.format_trial, seconds={CHANNELS_LAST: (1.0,), NCHW: (0.1, 0.1)}),
    ),
    "no trial": lambda own: replace(own, format_trial=None),
    "a trial of a format that was settled": lambda own: replace(
        own, environment=own.environment | {"channels_last": True}
    ),
    "asked for and tried": lambda own: replace(own, config=own.config | {"channels_last": False}),
}


def test_verify_finds_a_format_that_the_trial_does_not_lead_to(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_format, "try_formats", lambda *given: TRIAL)
    run = tmp_path / "run"
    assert main([*words, "--out", str(run)]) == 0
    assert verify([str(run)]) == 0
    (own,) = records_of(run)
    for way, doctor in DOCTORED.items():
        write(run / "cells" / own.cell / "record.json", doctor(own))
        assert verify([str(run)]) == 1, way


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("size", "more"),
    [
        (2, "--models lenet5"),
        (1, "--models lenet5 --pack --pack-size 2"),
        (2, "--models alexnet_two_tower_cifar --parallel tower --batch-size 8"),
    ],
    ids=["ranks", "packed", "towers"],
)
@pytest.mark.ci
def test_ranks_and_packed_cells_agree_on_one_format(size: int, more: str, tmp_path: Path) -> None:
    """Each rank, cell and tower is a process of its own; the trial is one."""
    place, run = small_data(tmp_path), tmp_path / "run"
    argv = argv_of("--epochs 1 --batch-size 24 --seeds 0 1 --num-threads 1")
    argv += argv_of(f"--dataset cifar10 --measure none --out {run} {more}")
    data = {"ZOOMETRY_DATA": str(place), "XDG_CACHE_HOME": str(place / "cache")}
    assert World(tmp_path / "said", size, argv, data).wait().codes == [0] * size
    first, second = [each.format_trial for each in records_of(run)]
    assert first is not None
    assert first == second
    assert list(find_faults(run)) == []

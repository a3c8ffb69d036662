"""What one process asks of the others.

Oracle: the answers that a gang is made to give; what real processes give each other is held by
test_parallel.py and test_faults.py.
"""

import dataclasses
import signal
from typing import Any

import pytest
import torch

from bench.distributed.gang import FakeGang, SingleGang, make_gang
from bench.distributed.runtime import Interrupted, Pulse


def joined_by(runtime: Any, gang: FakeGang, **axes: FakeGang) -> Any:
    """Return the runtime of one process as a rank of a gang that isn't there."""
    return dataclasses.replace(runtime, gang=gang, **axes)


def test_a_process_by_itself_has_the_only_value_there_is() -> None:
    alone = make_gang(0, 1)
    assert alone == SingleGang()
    assert (alone.rank, alone.size, alone.meeting_port()) == (0, 1, None)
    assert alone.broadcast("own") == "own"
    assert alone.gather("own") == ["own"]
    values = torch.tensor([1.0, 2.0])
    assert alone.start_max(values)() is values
    assert alone.gather_tensors(values)[0] is values


def test_main_alone_does_what_is_done_once_and_the_others_get_its_answer(runtime: Any) -> None:
    second = joined_by(runtime, FakeGang(rank=1, answers=lambda own: [("main's", None), own]))
    assert second.on_main(pytest.fail, "was called by the second rank") == "main's"


def test_mains_failure_is_every_ranks(runtime: Any) -> None:
    failure = (None, OSError("no space"))
    second = joined_by(runtime, FakeGang(rank=1, answers=lambda own: [failure, own]))
    with pytest.raises(OSError, match="no space"):
        second.on_main(pytest.fail, "was called by the second rank")


def test_another_ranks_failure_is_raised_here(runtime: Any) -> None:
    first = joined_by(runtime, FakeGang(answers=lambda own: [own, ValueError("rank 1's")]))
    with pytest.raises(ValueError, match="rank 1's"):
        first.on_each(lambda: None)


def test_a_line_is_said_once_a_world(runtime: Any, capsys: pytest.CaptureFixture[str]) -> None:
    joined_by(runtime, FakeGang(rank=0)).say("from the first")
    joined_by(runtime, FakeGang(rank=1)).say("from the second")
    assert capsys.readouterr().out == "from the first\n"


def test_one_of_the_ranks_that_share_a_model_speaks_for_their_images(runtime: Any) -> None:
    world = FakeGang(size=4, answers=lambda own: ["a", "a", "b", "b"])
    rank = joined_by(runtime, world, model_axis=FakeGang(size=2))
    assert rank.gather_shards("a") == ["a", "b"]


def test_a_signal_to_one_rank_interrupts_all(runtime: Any) -> None:
    rank = joined_by(runtime, FakeGang(answers=lambda own: [own, signal.SIGTERM]))
    with pytest.raises(Interrupted, match="SIGTERM"):
        rank.check_signal()


def test_the_pulse_is_a_step_old_among_several_and_at_once_alone(runtime: Any) -> None:
    assert runtime.pulse(1.0) == Pulse(0, 1.0, 0)
    assert runtime.finish_pulses() is None
    rank = joined_by(runtime, FakeGang())
    assert rank.pulse(1.0) is None
    assert rank.pulse(2.0, diverged_at=7) == Pulse(0, 1.0, 0)
    assert rank.finish_pulses() == Pulse(0, 2.0, 7)
    assert rank.finish_pulses() is None

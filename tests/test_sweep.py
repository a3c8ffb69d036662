"""Growing batches. Oracle.

Machines whose seconds are a formula, so that the best batch is known.
"""

from typing import Any

import pytest
import torch

from bench.train.batch_size import Outcome, attempt_within_memory, time_growing_batches


def alone(outcome: Outcome) -> list[Outcome]:
    return [outcome]


def test_it_stops_once_two_doublings_are_no_faster() -> None:
    found = time_growing_batches(
        lambda size: 0.01 + 0.001 * max(0, size - 16), most=4096, gather=alone
    )
    # images a second: 100, 200, … 1,600 at 16, then 32 / 0.026 = 1,231 and 64 / 0.058 = 1,103
    assert list(found.seconds) == [1, 2, 4, 8, 16, 32, 64]
    assert found.best_size == 16
    assert found.ended == "no faster at 64"


def test_running_out_of_memory_ends_it_and_keeps_what_was_found() -> None:
    found = time_growing_batches(
        lambda size: "out of memory at 8" if size == 8 else 1.0, most=4096, gather=alone
    )
    assert list(found.seconds) == [1, 2, 4]
    assert (found.best_size, found.ended) == (4, "out of memory at 8")


def test_one_rank_out_of_memory_ends_it_for_all_and_the_slowest_counts() -> None:
    found = time_growing_batches(lambda size: 1.0, most=4, gather=lambda own: [own, 2.0])
    assert found.seconds == {1: [2.0], 2: [2.0], 4: [2.0]}
    assert found.ended == "4 is the most that is tried"
    stopped = time_growing_batches(
        lambda size: 1.0, most=4, gather=lambda own: [own, "out of memory at 1"]
    )
    assert stopped.seconds == {}


def test_out_of_memory_is_an_outcome_and_other_failures_are_failures(runtime: Any) -> None:
    def fail(error: Exception) -> Any:
        def action(size: int) -> float:
            raise error

        return attempt_within_memory(action, 1.0, runtime)

    words = (
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"
    )
    for error in (torch.OutOfMemoryError("full"), MemoryError(), RuntimeError(words)):
        assert fail(error)(8) == "out of memory at 8"
    with pytest.raises(RuntimeError, match="no such layer"):
        fail(RuntimeError("no such layer"))(8)


def test_what_cannot_fit_is_not_tried(runtime: Any) -> None:
    attempt = attempt_within_memory(lambda size: pytest.fail("was tried"), 1e15, runtime)
    assert str(attempt(1)).startswith("out of memory at 1: ")

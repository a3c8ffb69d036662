"""What else the machine did.

Oracle: counters that are set, and a process that the test keeps busy.
"""

import subprocess
import sys
import time

import pytest

from bench.distributed.watch import (
    Counters,
    conditions_between,
    read_counters,
    sum_of_same_cores,
)


def counters(at: float, busy: float, **changes: float | None) -> Counters:
    given = {"own": 0.0, "stolen": 0.0, "stopped": None, "heat": None} | changes
    return Counters(at=at, busy=busy, **given)  # type: ignore[arg-type]


def test_what_others_took_is_all_less_the_runs_own_processes() -> None:
    found = conditions_between(counters(100, 50), counters(110, 67), own=[6.0, 5.0])
    assert found["seconds"] == 10
    assert found["other_cores"] == pytest.approx((17 - 11) / 10)
    assert found["stolen_cores"] == 0


def test_what_the_machine_does_not_tell_is_absent_and_not_zero() -> None:
    found = conditions_between(counters(0, 0), counters(1, 1), own=[1.0])
    assert not {"stopped_seconds", "heat_events"} & set(found)
    known = conditions_between(
        counters(0, 0, stopped=1.0, heat=3), counters(1, 1, stopped=1.5, heat=3), own=[1.0]
    )
    assert known["stopped_seconds"] == pytest.approx(0.5)
    assert known["heat_events"] == 0


def test_counters_only_grow() -> None:
    before = read_counters()
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    after = read_counters()
    assert after.own > before.own
    assert after.busy >= before.busy
    assert after.at > before.at


def test_another_machines_ranks_and_other_cores_are_not_in_these_counters() -> None:
    both, one = frozenset({0, 1}), frozenset({2})
    taken = [("a", both, 6.0), ("a", both, 5.0), ("b", both, 9.0), ("a", one, 9.0)]
    assert sum_of_same_cores(taken) == [6.0, 5.0]


def test_a_worker_that_lives_is_the_runs_own() -> None:
    """Oracle: the processor time that the worker itself tells."""
    source = (
        "import time\n"
        "while time.process_time() < 0.3: pass\n"
        "print(time.process_time(), flush=True)\n"
        "input()\n"
    )
    before = read_counters()
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        told = float(worker.stdout.readline())
        living = read_counters()
        worker.communicate("\n")
    ended = read_counters()
    # A process's counters have ticks of 10 ms.
    assert living.own - before.own >= told - 0.03
    assert ended.own - before.own >= told - 0.03

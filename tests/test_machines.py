"""Two launchers as two machines, in network namespaces that the test makes.

Oracle: one run whose world is both.

Slow: `./launch.sh test -m slow tests/test_machines.py`; the namespaces need root. Without it both
launchers meet on the loopback, which shows everything but the choice of the network interface.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.results.record import RunRecord
from bench.results.storage import read
from tests.support.processes import LONG, OURS, Launch

pytestmark = [pytest.mark.slow, pytest.mark.distributed]

PORT = "29517"


@pytest.fixture
def machines() -> Iterator[tuple[list[tuple[str, ...]], str]]:
    """Prefixes of commands on two machines, and the address of the first."""
    names = [f"zoometry-{letter}-{os.getpid()}" for letter in "ab"]
    cables = [f"zm{letter}{os.getpid() % 10**6}" for letter in "ab"]
    try:
        try:
            make(names, cables)
        except (OSError, subprocess.CalledProcessError):
            yield [(), ()], "127.0.0.1"
        else:
            yield [("ip", "netns", "exec", name) for name in names], "10.77.0.1"
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def make(names: list[str], cables: list[str]) -> None:
    """Make two namespaces and a cable between them."""
    ip("netns", "add", names[0])
    ip("netns", "add", names[1])
    ip(
        "link",
        "add",
        cables[0],
        "netns",
        names[0],
        "type",
        "veth",
        "peer",
        "name",
        cables[1],
        "netns",
        names[1],
    )
    for number, (name, cable) in enumerate(zip(names, cables, strict=True), start=1):
        ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", cable)
        ip("-n", name, "link", "set", cable, "up")
        ip("-n", name, "link", "set", "lo", "up")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def launch(
    place: Path, machines: tuple[list[tuple[str, ...]], str], rank: int, *words: str
) -> Launch:
    prefixes, address = machines
    return Launch(
        place,
        *words,
        command=(*prefixes[rank], *OURS),
        NPROC="1",
        NNODES="2",
        NODE_RANK=str(rank),
        MASTER_ADDR=address,
        MASTER_PORT=PORT,
    )


def test_two_machines_train_as_one_world(
    tmp_path: Path, machines: tuple[list[tuple[str, ...]], str]
) -> None:
    words = ("--models", "lenet5", "--epochs", "2")
    both = [launch(tmp_path, machines, rank, *words) for rank in (0, 1)]
    ends = [one.end(120) for one in both]
    assert [code for code, _, _ in ends] == [0, 0], ends
    found = read(tmp_path / "run" / "cells" / "lenet5-s0" / "record.json", RunRecord)
    assert (found.status, found.world_size) == ("ok", 2)
    assert "report:" in ends[0][1]


def test_a_worker_that_dies_on_one_machine_ends_both(
    tmp_path: Path, machines: tuple[list[tuple[str, ...]], str]
) -> None:
    both = [launch(tmp_path, machines, rank, *LONG, "--timeout", "5") for rank in (0, 1)]
    both[0].wait_for("epoch 2")
    ranks = {
        process.environ()["RANK"]: process
        for process in both[0].workers()
        if "RANK" in process.environ()
    }
    ranks["1"].kill()
    (first, _, said), (second, _, also_said) = (one.end(30) for one in both)
    assert (first, second) == (1, 1)
    assert "rank 1 of 2 no longer answers" in said
    assert "rank 1 died of SIGKILL" in also_said
    assert "NNODES=2 NODE_RANK=1" in also_said


def test_a_machine_that_stays_alone_says_so(
    tmp_path: Path, machines: tuple[list[tuple[str, ...]], str]
) -> None:
    alone = launch(tmp_path, machines, 0, *LONG, "--timeout", "3")
    code, _, err = alone.end(60)
    assert code == 1
    assert "the 2 machines have not met within 3 s (--timeout)" in err
    assert len(err.splitlines()) == 1, err
    assert not (tmp_path / "run").exists()

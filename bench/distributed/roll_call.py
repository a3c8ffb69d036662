"""Who still answers when a rank has failed: a roll call through the store that the ranks met at.

A rank that dies or stops leaves the others in a collective call, which fails at once or when its
time is up, with gloo's or NCCL's own words. Each rank that sees a failure writes into the store
what failed, and looks who else does.
"""

import contextlib
import datetime
import json
import os
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch.distributed as dist

from bench.distributed.process import World, abandon
from bench.results.record import Status

# What gloo says in an error that has no type of its own.
WORDS = (
    "gloo",
    "pair closure",
    "closed by peer",
    "reset by peer",
    "Broken pipe",
    "Timed out waiting",
)
KEEPER = 0  # the rank beside which the store is kept
ARRIVAL = 60.0  # seconds that ranks at least get to start
SOON = 10.0  # seconds in which the others are heard if they failed alike
LATER = 10.0  # seconds in which the others are heard if a collective call failed


@dataclass(frozen=True)
class Fault:
    """What failed in one rank.

    `status` is what a cell's record would say; `collective`: in a call to other ranks.
    """

    status: Status
    cause: str
    collective: bool = False


class WorldBroken(Exception):  # noqa: N818 - an event, not an error
    """The ranks can't go on together.

    `fault`: what one of them failed of, if known; `speaks`: this one tells of it.
    """

    def __init__(self, cause: str, fault: Fault | None, *, speaks: bool) -> None:
        super().__init__(cause)
        self.fault = fault
        self.speaks = speaks


class Roll:
    """The ranks of a world, each of which can be asked whether it is there."""

    def __init__(self, world: World, timeout: float) -> None:
        self.world = world
        self.timeout = timeout
        self.num_calls = self.answered = 0
        self.attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        patience = datetime.timedelta(seconds=max(timeout, ARRIVAL))
        store = cast(Any, dist).TCPStore  # a name that torch's own types leave out
        self.store = store(address, port, is_master=False, timeout=patience)

    def meet(self) -> None:
        """Wait until all ranks have come: they may start slower than they answer.

        WorldBroken names the others.
        """
        end = time.monotonic() + max(self.timeout, ARRIVAL)
        self.store.set(f"zoometry/here/{self.attempt}/{self.world.rank}", "")
        missing = []
        for rank in range(self.world.size):
            left = datetime.timedelta(seconds=max(0.01, end - time.monotonic()))
            try:
                self.store.wait([f"zoometry/here/{self.attempt}/{rank}"], left)
            except dist.DistStoreError:
                missing.append(rank)
        if missing:
            ranks = " and ".join(map(str, missing))
            waited = max(self.timeout, ARRIVAL)
            cause = (
                f"rank {ranks} of {self.world.size} has not come within {waited:g} s (--timeout)"
            )
            raise WorldBroken(
                cause,
                None,
                speaks=self.world.rank == min(set(range(self.world.size)) - set(missing)),
            )

    def call(self, fault: Fault) -> None:
        """Tell the others of a failure here and hear of theirs; returns if all failed alike and can go on together.

        Raises WorldBroken otherwise.
        """
        self.num_calls += 1
        heard: dict[int, Fault] = {self.world.rank: fault}
        # In a thread of its own: a store whose keeper is stopped answers nothing, not even that the
        # time is up.
        asking = threading.Thread(target=self._hear, args=(fault, heard), daemon=True)
        asking.start()
        asking.join(_patience(fault) + 1)
        faults, everyone = dict(heard), range(self.world.size)
        silent = (
            [rank for rank in everyone if rank not in faults]
            if self.answered == self.num_calls
            else [KEEPER]
        )
        if not silent and not any(one.collective for one in faults.values()):
            return
        first = next((one for _, one in sorted(faults.items()) if not one.collective), None)
        cause = first.cause if first else _who(silent, self.world.size, self.timeout)
        raise WorldBroken(cause, first, speaks=self.world.rank == min(faults))

    def _hear(self, own: Fault, heard: dict[int, Fault]) -> None:
        """Write what failed here and read what failed elsewhere.

        `answered` says in the end that the store is there.
        """
        end = time.monotonic() + _patience(own)
        with contextlib.suppress(RuntimeError):  # the store died with its keeper
            self.store.set(self._key(self.world.rank), json.dumps(asdict(own)))
            for rank in range(self.world.size):
                left = datetime.timedelta(seconds=max(0.01, end - time.monotonic()))
                with contextlib.suppress(dist.DistStoreError):
                    self.store.wait([self._key(rank)], left)
                    heard[rank] = Fault(**json.loads(self.store.get(self._key(rank))))
            self.answered = self.num_calls

    def _key(self, rank: int) -> str:
        return f"zoometry/fault/{self.attempt}/{self.num_calls}/{rank}"


def is_collective(error: BaseException) -> bool:
    """Whether a failure is that of a call to other ranks."""
    words = str(error)
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(one in words for one in WORDS)
    )


def cause_of(error: BaseException) -> str:
    """The first line of an exception, with its type."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:500]


def _patience(fault: Fault) -> float:
    return LATER if fault.collective else SOON


def _who(silent: list[int], size: int, timeout: float) -> str:
    """Name the ranks that aren't there any more."""
    if not silent:
        return f"the ranks lost each other: a connection broke, or a call took more than {timeout:g} s (--timeout)"
    ranks, answers = ("rank", "answers") if len(silent) == 1 else ("ranks", "answer")
    names = " and ".join(map(str, silent))
    return f"{ranks} {names} of {size} no longer {answers}: dead, or silent for {timeout:g} s (--timeout)"


def meet(world: World, timeout: float) -> Roll | None:
    """Wait for the other ranks where a launcher keeps a store: by the time that they join, none is late.

    Where rank 0 keeps it there is none yet.
    """
    if world.size == 1 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    try:
        roll = Roll(world, timeout)
        roll.meet()
    except WorldBroken as broken:
        abandon(str(broken), how="are all machines started?", aloud=broken.speaks)
    return roll

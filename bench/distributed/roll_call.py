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

from bench.distributed.process import World, abandon_world
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
# Seconds after --timeout until NCCL ends a process: enough for a step, the roll call, and leaving.
NCCL_GRACE = 60.0


@dataclass(frozen=True)
class Fault:
    """What failed in one rank.

    `status` is what a cell's record would say; `collective`: in a call to other ranks.
    """

    status: Status
    cause: str
    collective: bool = False

    @property
    def patience(self) -> float:
        """Return the seconds in which the other ranks are heard."""
        return LATER if self.collective else SOON


class WorldBroken(Exception):  # noqa: N818 - an event, not an error
    """The ranks can't go on together.

    `fault`: what one of them failed of, if known; `speaks`: this one tells of it.
    """

    def __init__(self, cause: str, fault: Fault | None, *, speaks: bool) -> None:
        super().__init__(cause)
        self.fault = fault
        self.speaks = speaks


class RollCall:
    """The ranks of a world, each of which can be asked whether it is there."""

    def __init__(self, world: World, timeout: float) -> None:
        self.world = world
        self.timeout = timeout
        self.num_calls = self.answered = 0
        # torchrun's own restarts go on with the same store, in which the last attempt's keys stand.
        self.attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        patience = datetime.timedelta(seconds=max(timeout, ARRIVAL))
        store = cast(Any, dist).TCPStore  # a name that torch's own types leave out
        self.store = store(address, port, is_master=False, timeout=patience)

    def await_arrival(self) -> None:
        """Wait until all ranks have come: they may start slower than they answer.

        WorldBroken names the others.
        """
        patience = max(self.timeout, ARRIVAL)
        end = time.monotonic() + patience
        self.store.set(f"zoometry/here/{self.attempt}/{self.world.rank}", "")
        missing = []
        for rank in range(self.world.size):
            try:
                self.store.wait([f"zoometry/here/{self.attempt}/{rank}"], _time_left(end))
            except dist.DistStoreError:
                missing.append(rank)
        if not missing:
            return
        ranks = " and ".join(map(str, missing))
        first_here = min(set(range(self.world.size)) - set(missing))
        raise WorldBroken(
            f"rank {ranks} of {self.world.size} has not come within {patience:g} s (--timeout)",
            None,
            speaks=self.world.rank == first_here,
        )

    def compare_faults(self, fault: Fault) -> None:
        """Tell the others of a failure here and hear of theirs.

        Returns if all failed alike and can go on together; raises WorldBroken otherwise.
        """
        self.num_calls += 1
        heard: dict[int, Fault] = {self.world.rank: fault}
        # In a thread of its own: a store whose keeper is stopped answers nothing, not even that the
        # time is up.
        asking = threading.Thread(target=self._hear_faults, args=(fault, heard), daemon=True)
        asking.start()
        asking.join(fault.patience + 1)
        faults = dict(heard)  # the thread may go on
        silent = [rank for rank in range(self.world.size) if rank not in faults]
        if self.answered < self.num_calls:
            silent = [KEEPER]  # whoever else is missing can't be told without the store
        if not silent and not any(one.collective for one in faults.values()):
            return
        # A failed collective call is what the others see of the rank that failed by itself.
        causes = [faults[rank] for rank in sorted(faults) if not faults[rank].collective]
        first = causes[0] if causes else None
        cause = first.cause if first else _describe_silence(silent, self.world.size, self.timeout)
        raise WorldBroken(cause, first, speaks=self.world.rank == min(faults))

    def _hear_faults(self, own: Fault, heard: dict[int, Fault]) -> None:
        """Write what failed here and read what failed elsewhere, into `heard`.

        `answered` says in the end that the store is there.
        """
        end = time.monotonic() + own.patience
        prefix = f"zoometry/fault/{self.attempt}/{self.num_calls}"
        with contextlib.suppress(RuntimeError):  # the store died with its keeper
            self.store.set(f"{prefix}/{self.world.rank}", json.dumps(asdict(own)))
            for rank in range(self.world.size):
                with contextlib.suppress(dist.DistStoreError):
                    self.store.wait([f"{prefix}/{rank}"], _time_left(end))
                    heard[rank] = Fault(**json.loads(self.store.get(f"{prefix}/{rank}")))
            self.answered = self.num_calls
            # The keeper's end is the store's: a rank that still reads would take it for a death.
            self.store.set(f"{prefix}/{self.world.rank}/has-heard", "")
            for rank in heard if self.world.rank == KEEPER else ():
                with contextlib.suppress(dist.DistStoreError):
                    self.store.wait([f"{prefix}/{rank}/has-heard"], _time_left(end))


def await_ranks(world: World, timeout: float) -> RollCall | None:
    """Wait for the other ranks where a launcher keeps a store, so that none is late as they join.

    None where rank 0 keeps the store, since then there is none yet.
    """
    if world.size == 1 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    try:
        roll = RollCall(world, timeout)
        roll.await_arrival()
    except WorldBroken as broken:
        abandon_world(str(broken), how="are all machines started?", aloud=broken.speaks)
    return roll


def open_roll_call(world: World, timeout: float) -> RollCall | None:
    """Open the roll of a world whose ranks have joined; a process by itself has nobody to call."""
    return RollCall(world, timeout) if world.size > 1 else None


def patience_of_groups(timeout: float, *, nccl: bool) -> datetime.timedelta:
    """Return the time after which a call within a group of torch's gives up.

    gloo raises an error then. NCCL's watchdog ends the process by SIGABRT without a word, so it
    comes last: by then a rank that waits on the CPU has called the roll. It wasn't run on GPUs.
    """
    return datetime.timedelta(seconds=timeout + NCCL_GRACE if nccl else timeout)


def is_collective(error: BaseException) -> bool:
    """Return whether a failure is that of a call to other ranks."""
    if isinstance(error, dist.DistError):
        return True
    # gloo raises plain RuntimeErrors, which only their words tell from any other.
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)


def _time_left(end: float) -> datetime.timedelta:
    """Return the time until `end` on the monotonic clock, or enough to read a key that is there."""
    return datetime.timedelta(seconds=max(0.01, end - time.monotonic()))


def _describe_silence(silent: list[int], size: int, timeout: float) -> str:
    """Name the ranks that aren't there any more."""
    if not silent:
        return (
            "the ranks lost each other: a connection broke, "
            f"or a call took more than {timeout:g} s (--timeout)"
        )
    ranks, answers = ("rank", "answers") if len(silent) == 1 else ("ranks", "answer")
    names = " and ".join(map(str, silent))
    return (
        f"{ranks} {names} of {size} no longer {answers}: "
        f"dead, or silent for {timeout:g} s (--timeout)"
    )

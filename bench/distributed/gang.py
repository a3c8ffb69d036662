"""A gang: the processes that a collective call goes to, with this one's place among them.

`ProcessGang` calls torch.distributed. `SingleGang` is a process by itself, so that nothing above
has to ask how many there are, and `FakeGang` lets a test pretend to be one rank of several. The
idea is fairseq2's (src/fairseq2/gang.py).
"""

import datetime
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import torch
import torch.distributed as dist

T = TypeVar("T")
Pending = Callable[[], torch.Tensor]  # waits for a reduction that is under way; returns its result


class Gang(Protocol):
    """What is asked of a gang.

    A method is a collective call unless it says otherwise: all ranks make it, in one order.
    """

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def group(self) -> Any:
        """torch.distributed's process group; None for all processes, or for one by itself."""

    @property
    def delay(self) -> int:
        """Reductions that may be under way at once before the first one is read."""

    def broadcast(self, value: T) -> T:
        """Return the first rank's value on every rank; it is pickled."""

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks on every rank, in the order of ranks; they are pickled."""

    def unasked(self, value: T, *, otherwise: T) -> T:
        """Return `value` where there is nobody to ask, else `otherwise`; no collective call."""

    def start_max(self, values: torch.Tensor) -> Pending:
        """Start to reduce a tensor to each element's maximum over the ranks, in place."""

    def broadcast_tensor(self, tensor: torch.Tensor) -> None:
        """Overwrite a tensor with the first rank's."""

    def gather_tensors(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Return the ranks' tensors of one shape, in the order of ranks."""

    def meeting_port(self) -> int | None:
        """Return a free port of the first rank's machine, for fresh processes of all ranks to meet.

        None for a process by itself: its fresh process meets nobody.
        """


@dataclass(frozen=True)
class SingleGang:
    """A process by itself: it has the only value there is, and waits for nobody."""

    rank: int = 0
    size: int = 1
    group: Any = None
    delay: int = 0

    def broadcast(self, value: T) -> T:
        return value

    def gather(self, value: T) -> list[T]:
        return [value]

    def unasked(self, value: T, *, otherwise: T) -> T:
        return value

    def start_max(self, values: torch.Tensor) -> Pending:
        return lambda: values

    def broadcast_tensor(self, tensor: torch.Tensor) -> None:
        pass

    def gather_tensors(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        return self.gather(tensor)

    def meeting_port(self) -> int | None:
        return None


@dataclass(frozen=True)
class FakeGang(SingleGang):
    """One rank of a gang whose other ranks aren't there, for tests.

    `answers` gives what the ranks say where this one says a value; as it stands they echo it. What
    the first rank broadcasts is the first of the answers. Reductions are read one step late, as
    they are among processes, and have this rank's values.
    """

    size: int = 2
    delay: int = 1
    answers: Callable[[Any], list[Any]] | None = None

    def broadcast(self, value: T) -> T:
        return self.gather(value)[0]

    def gather(self, value: T) -> list[T]:
        return [value] * self.size if self.answers is None else self.answers(value)

    def unasked(self, value: T, *, otherwise: T) -> T:
        return otherwise


@dataclass(frozen=True)
class ProcessGang:
    """Processes that torch.distributed joins; `group` is theirs, None for all of the world."""

    rank: int
    size: int
    group: Any = None
    # A step that waited for its own reduction would wait for the slowest rank twice.
    delay: int = 1

    def broadcast(self, value: T) -> T:
        box = [value]
        dist.broadcast_object_list(box, group_src=0, group=self.group)
        return box[0]

    def gather(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def unasked(self, value: T, *, otherwise: T) -> T:
        return otherwise

    def start_max(self, values: torch.Tensor) -> Pending:
        work = dist.all_reduce(values, dist.ReduceOp.MAX, group=self.group, async_op=True)

        def finish() -> torch.Tensor:
            work.wait()
            return values

        return finish

    def broadcast_tensor(self, tensor: torch.Tensor) -> None:
        dist.broadcast(tensor, group_src=0, group=self.group)

    def gather_tensors(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        tensors = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(tensors, tensor, group=self.group)
        return tensors

    def meeting_port(self) -> int | None:
        with socket.socket() as probe:
            probe.bind(("", 0))
            return self.broadcast(cast(int, probe.getsockname()[1]))


def make_gang(rank: int, size: int, group: Any = None) -> Gang:
    """Return the gang of `size` processes in which this one is the `rank`-th."""
    return SingleGang() if size == 1 else ProcessGang(rank, size, group)


def join_ranks(rank: int, size: int, timeout: float) -> Gang:
    """Return the gang of all ranks, joined by a group of its own on the CPU.

    `timeout` is the seconds after which a rank that waits for another gives up.
    """
    if size == 1:
        return SingleGang()
    patience = datetime.timedelta(seconds=timeout)
    return ProcessGang(rank, size, dist.new_group(backend="gloo", timeout=patience))

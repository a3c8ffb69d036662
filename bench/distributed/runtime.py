"""The only file that knows processes: accelerate, ranks, threads, devices, clocks, collectives, signals.

Everything else asks a Runtime and would read the same on one CPU and on many GPUs.
"""

import contextlib
import datetime
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TypeVar, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import nn

from bench.distributed.parallel import (
    clip_parts,
    data_parallel,
    find_axes,
    function_of,
    synchronised_norms,
)
from bench.distributed.process import World, is_orphan, num_cores, world_of
from bench.distributed.roll_call import Fault, Roll, WorldBroken, cause_of, is_collective, meet
from bench.request.config import PARALLEL, RunConfig
from bench.results.record import Status
from zoo.layer import with_products

T = TypeVar("T")
TWICE_SECONDS = 3.0  # launchers repeat a signal at once: only a later one is a second one
ORPHAN_SECONDS = 4  # the most that is spent on a checkpoint when the launcher was killed outright


class Interrupted(Exception):  # noqa: N818 - an event, not an error
    """A signal asked the run to end; `signum` says which."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Pulse(NamedTuple):
    """What the ranks agree on once a step.

    The highest signal, the longest time, the step that diverged (0: none).
    """

    signum: int
    seconds: float
    diverged_at: int


@dataclass
class Runtime:
    """This process in its world of two axes.

    The data axis shares the images, the model axis the model.
    """

    accelerator: Accelerator
    world: World
    num_threads: int
    precision: str
    parallel: str
    data_rank: int
    data_size: int
    model_rank: int = 0
    model_size: int = 1
    data_group: Any = None
    model_group: Any = None
    cpu_group: Any = None
    signum: int = 0
    log: Path | None = None
    _signalled: float = 0.0
    _parent: int = field(default_factory=os.getppid)
    _roll: Roll | None = None
    _lock: Any = None
    _pending: list[tuple[Any, torch.Tensor]] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def start(cls, config: RunConfig) -> Iterator["Runtime"]:
        """Join the world, set threads and device, and take signals; leave the world in the end, whatever happened.

        Raises ValueError for a precision that the device doesn't have.
        """
        world = world_of()
        num_threads = config.num_threads or max(1, num_cores() // world.local_size)
        torch.set_num_threads(num_threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.tf32
        torch.backends.cudnn.benchmark = config.cudnn_benchmark
        roll = meet(world, config.timeout)
        accelerator = join(config)
        check_precision(config.precision, accelerator.device)
        axes = find_axes(
            accelerator.process_index,
            accelerator.num_processes,
            model_size=PARALLEL[config.parallel],
            device=accelerator.device,
        )
        runtime = cls(accelerator, world, num_threads, config.precision, config.parallel, **axes)
        if runtime.world_size > 1:
            runtime.cpu_group = dist.new_group(
                backend="gloo", timeout=datetime.timedelta(seconds=config.timeout)
            )
            runtime._roll = roll or Roll(world, config.timeout)
        try:
            with runtime._signals():
                yield runtime
        finally:
            if runtime._lock is not None:
                runtime._lock.close()
            if dist.is_initialized():
                dist.destroy_process_group()

    @property
    def world_size(self) -> int:
        return self.data_size * self.model_size

    @property
    def stands_for_machine(self) -> bool:
        """Whether this process reads what its machine has once."""
        return self.world.local_rank == 0

    @property
    def device(self) -> torch.device:
        return cast(torch.device, self.accelerator.device)

    @property
    def backend(self) -> str:
        """The collectives' backend, or `none` for a single process."""
        return dist.get_backend() if dist.is_initialized() else "none"

    def say(self, line: str) -> None:
        """Print a line once a world, and keep it in the run's log."""
        if not self.accelerator.is_main_process:
            return
        print(line, flush=True)
        self.note(line)

    def note(self, text: str) -> None:
        """Keep a text in the run's log alone, once a world."""
        if self.log and self.accelerator.is_main_process:
            # A full disk is found where it matters: a log's line isn't worth a run.
            with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    @property
    def draws(self) -> bool:
        """Whether this process draws a progress bar: one a world, and only in a terminal."""
        return bool(self.accelerator.is_main_process) and sys.stdout.isatty()

    def on_main(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in one process; every rank gets its result, or its exception."""
        if self.world_size == 1:
            return function(*args)
        outcome: Any = None
        if self.accelerator.is_main_process:
            try:
                outcome = (function(*args), None)
            except Exception as error:
                outcome = (None, error)
        result, failure = self.broadcast(outcome)
        if failure is not None:
            raise failure
        return cast(T, result)

    def alone(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the first process and tell nobody, since the world is broken."""
        if self.accelerator.is_main_process:
            function(*args)

    def roll_call(self, error: Exception, status: Status = "failed") -> None:
        """Hear who has failed beside this rank.

        Raises WorldBroken unless all have, and can go on together.
        """
        if self._roll is not None:
            self._roll.call(Fault(status, cause_of(error), is_collective(error)))

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Let no failure out that other ranks don't share: it becomes WorldBroken."""
        try:
            yield
        except (Interrupted, WorldBroken):
            raise
        except Exception as error:
            self.roll_call(error)
            raise

    def broadcast(self, value: T) -> T:
        """Give every rank the first one's value."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.cpu_group)
        return box[0]

    def meeting_port(self) -> int | None:
        """A free port of the first rank's machine, where fresh processes of all ranks can meet.

        None for one alone.
        """
        if self.world_size == 1:
            return None
        with socket.socket() as probe:
            probe.bind(("", 0))
            return self.broadcast(cast(int, probe.getsockname()[1]))

    def gather(self, value: T) -> list[T]:
        """Give every rank the values of all, in the order of ranks."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.cpu_group)
        return values

    def gather_shards(self, value: T) -> list[T]:
        """Give every rank the values of those that see different images, in the order of their shares."""
        return self.gather(value)[:: self.model_size]

    def on_each(self, function: Callable[[], object]) -> None:
        """Call a function in every process.

        Where it fails in one, every rank gets the first failure.
        """
        failure = None
        try:
            function()
        except Exception as error:
            failure = error
        for failed in self.gather(failure):
            if failed is not None:
                raise failed

    def pulse(self, seconds: float, *, diverged_at: int = 0) -> Pulse:
        """Agree on signal, time and loss once a step.

        The answer is a step old, so that no step waits for it.
        """
        own = torch.tensor([self.signum, seconds, diverged_at], dtype=torch.float64)
        if self.world_size == 1:
            return _as_pulse(own)
        self._pending.append(
            (dist.all_reduce(own, dist.ReduceOp.MAX, group=self.cpu_group, async_op=True), own)
        )
        if len(self._pending) < 2:
            return Pulse(0, 0.0, 0)
        work, agreed = self._pending.pop(0)
        work.wait()
        return _as_pulse(agreed)

    def settle(self) -> Pulse:
        """Take in the pulse that is still under way, so that the next loop starts with none."""
        agreed = Pulse(0, 0.0, 0)
        while self._pending:
            work, values = self._pending.pop(0)
            work.wait()
            agreed = _as_pulse(values)
        return agreed

    def check_signal(self) -> None:
        """Raise Interrupted on every rank if any of them has got a signal. A collective call."""
        signum = max(self.gather(self.signum))
        if signum:
            raise Interrupted(signum)

    def place(self, model: nn.Module, ways: Mapping[str, str]) -> nn.Module:
        """Put a model where it is trained: this rank's part of it, if ranks share it.

        `ways` is its spec's `parallelise`. ValueError for a model that can't be shared so.
        """
        if self.device.type == "cpu":
            with_products(model)
        if self.parallel == "data":
            return model.to(self.device)
        share = function_of(ways[self.parallel])
        if self.model_size == 1:
            return share(model)
        return share(
            model.to(self.device),
            group=self.model_group,
            rank=self.model_rank,
            size=self.model_size,
        )

    def wrap(self, model: nn.Module, *, exact: bool = False) -> nn.Module:
        """Make the model average its gradients over the data axis (`exact`: add them in the order of ranks).

        Buffers stay local: `share_buffers` evens them.
        """
        if self.data_size == 1:
            return model
        return data_parallel(model, self.data_group, in_rank_order=exact)

    def share_norms(self, model: nn.Module) -> nn.Module:
        """Let batch normalisation see the whole world's micro-batch instead of this rank's."""
        return model if self.data_size == 1 else synchronised_norms(model, self.data_group)

    def share_buffers(self, model: nn.Module) -> None:
        """Give every rank the first one's running statistics, as DDP would at each forward pass."""
        if self.data_size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, group_src=0, group=self.data_group)

    def clip(self, model: nn.Module, limit: float) -> None:
        """Scale the gradients so that the norm of the whole model's is at most `limit`, whoever holds its parts."""
        if self.model_size == 1:
            nn.utils.clip_grad_norm_(model.parameters(), limit)
            return
        clip_parts(model, limit, group=self.model_group, rank=self.model_rank, size=self.model_size)

    def whole_state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """The weights of a model under its own names, put together where ranks share it.

        A collective call.
        """
        return cast(Any, model).whole_state() if self.model_size > 1 else model.state_dict()

    def seed(self, number: int) -> None:
        """Seed torch: what is drawn next is a function of this number alone."""
        torch.manual_seed(number)

    def synchronize(self) -> None:
        """Wait until the device has done all that it was given; a CPU has nothing under way."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def claim(self, folder: Path) -> None:
        """Make the run's folder and hold its lock, which dies with this process.

        ValueError if it is held.
        """
        self.on_main(self._claim_here, folder)
        self.log = folder / "log.txt"

    def _claim_here(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / ".lock").open("w")
        except OSError as error:
            raise ValueError(f"--out {folder}: can't be written ({error.strerror})") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"--out {folder}: another process is running in it") from error

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let a signal set a flag that is read once a step.

        A second one ends the process at once.
        """

        def note(signum: int, _frame: FrameType | None) -> None:
            if self.signum and time.monotonic() - self._signalled > TWICE_SECONDS:
                os._exit(128 + signum)
            self.signum, self._signalled = signum, time.monotonic()
            if is_orphan(self._parent):
                signal.alarm(ORPHAN_SECONDS)

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _as_pulse(values: torch.Tensor) -> Pulse:
    signum, seconds, diverged_at = values.tolist()
    return Pulse(int(signum), seconds, int(diverged_at))


def join(config: RunConfig) -> Accelerator:
    """Start accelerate with every setting stated.

    Without GPUs torchrun's ranks need to be told of the CPU.
    """
    if not torch.cuda.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    patience = InitProcessGroupKwargs(timeout=datetime.timedelta(seconds=config.timeout))
    return Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision={"fp32": "no"}.get(config.precision, config.precision),
        kwargs_handlers=[patience],
        device_placement=False,
        log_with=list(config.track) or None,
        project_dir=str(config.out),
    )


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that the device hasn't, with those that it has."""
    if precision == "fp16" and device.type != "cuda":
        raise ValueError("--precision fp16: this device has no fp16 training; choose fp32 or bf16")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError("--precision bf16: this GPU has no bf16; choose fp32 or fp16")

"""This process for everything above: accelerate, ranks, threads, device, collectives, signals.

Everything else asks a Runtime and would read the same on one CPU and on many GPUs.
"""

import contextlib
import datetime
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TextIO, TypeVar, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import nn

from bench.distributed import parallel
from bench.distributed.device_setting import check_precision, choose_format, choose_kernels
from bench.distributed.gang import Gang, Pending, SingleGang, join_ranks
from bench.distributed.hardware import num_cores
from bench.distributed.process import World, is_orphan, read_world
from bench.distributed.roll_call import (
    Fault,
    RollCall,
    WorldBroken,
    await_ranks,
    is_collective,
    open_roll_call,
    patience_of_groups,
)
from bench.distributed.watch import Watch
from bench.request.config import FAST, PARALLEL, TORCH, RunConfig
from bench.results.memory_format import WHERE_FASTER
from bench.results.record import Status
from bench.results.storage import lock_folder
from zoo.cause import cause_of
from zoo.kernel import use_fast_kernels
from zoo.terminal import show, visible

T = TypeVar("T")
NUM_TOWERS = 2  # of the AlexNets that one process can spread over its devices
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

    The data axis shares the images, the model axis the model. `gang` is all of the world, joined by
    a group of its own on the CPU, so that what is said there doesn't wait for a GPU's work.
    """

    accelerator: Accelerator
    world: World
    num_threads: int
    precision: str
    parallel: str
    kernels: str = TORCH  # of training
    infer_kernels: str = TORCH
    channels_last: bool | str = True  # or WHERE_FASTER
    gang: Gang = field(default_factory=SingleGang)
    data_axis: Gang = field(default_factory=SingleGang)
    model_axis: Gang = field(default_factory=SingleGang)
    # Beside `device`: those that hold parts of a model (--parallel devices).
    other_devices: set[torch.device] = field(default_factory=set)
    signum: int = 0
    log: Path | None = None
    _signalled: float = 0.0
    _parent: int = field(default_factory=os.getppid)
    _roll: RollCall | None = None
    _lock: TextIO | None = None
    _pulses: list[Pending] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def start(cls, config: RunConfig) -> Iterator["Runtime"]:
        """Join the world, set threads and device, and take signals; leave the world in the end.

        Raises ValueError for a precision that the device doesn't have.
        """
        world = read_world()
        num_threads = config.num_threads or max(1, num_cores() // world.local_size)
        torch.set_num_threads(num_threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.tf32
        torch.backends.cudnn.benchmark = config.cudnn_benchmark
        # Before accelerate joins them: its own wait would end without saying who is late.
        roll = await_ranks(world, config.timeout)
        accelerator = start_accelerator(config)
        check_precision(config.precision, accelerator.device, allow_emulated=config.allow_emulated)
        kernels = choose_kernels(config.kernels, accelerator.device)
        rank, size = accelerator.process_index, accelerator.num_processes
        axes = parallel.find_axes(
            rank, size, model_size=PARALLEL[config.parallel], patience=_group_patience(config)
        )
        runtime = cls(accelerator, world, num_threads, config.precision, config.parallel)
        runtime.kernels, runtime.infer_kernels = kernels
        runtime.channels_last = choose_format(config, runtime.device)
        runtime.data_axis, runtime.model_axis = axes
        runtime.gang = join_ranks(rank, size, config.timeout)
        runtime._roll = roll or open_roll_call(world, config.timeout)
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
        return self.gang.size

    @property
    def data_rank(self) -> int:
        return self.data_axis.rank

    @property
    def data_size(self) -> int:
        return self.data_axis.size

    @property
    def model_rank(self) -> int:
        return self.model_axis.rank

    @property
    def model_size(self) -> int:
        return self.model_axis.size

    @property
    def stands_for_machine(self) -> bool:
        """Return whether this process reads what its machine has once."""
        return self.world.local_rank == 0

    @property
    def tries_formats(self) -> bool:
        """Return whether each model gets the memory format in which its own steps are faster."""
        return self.channels_last == WHERE_FASTER

    @property
    def device(self) -> torch.device:
        return cast(torch.device, self.accelerator.device)

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """Return every device that this process computes on."""
        return (self.device, *self.other_devices)

    @property
    def num_gpus(self) -> int:
        """Return how many GPUs the world computes on: one a process, or one a tower."""
        if self.parallel == "devices":
            return min(NUM_TOWERS, torch.cuda.device_count())
        return self.gang.size

    @property
    def backend(self) -> str:
        """Return the collectives' backend, or `none` for a single process."""
        return dist.get_backend() if dist.is_initialized() else "none"

    def settings_in_force(self) -> dict[str, str | int | bool]:
        """Return the options of speed by name as they are, which may not be what was asked for."""
        return {
            "num_threads": self.num_threads,
            "precision": self.precision,
            "kernels": self.kernels,
            "infer_kernels": self.infer_kernels,
            "channels_last": self.channels_last,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
        }

    def say(self, line: str) -> None:
        """Print a line once a world, and keep it in the run's log."""
        if self.gang.rank == 0:
            show(line)
            self.note(line)

    def note(self, text: str) -> None:
        """Keep a text in the run's log alone, once a world."""
        if self.log and self.gang.rank == 0:
            # A full disk is found where it matters: a log's line isn't worth a run.
            with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%H:%M:%S')} {visible(text)}\n")

    @property
    def draws_bar(self) -> bool:
        """Return whether this process draws a progress bar: one a world, and only in a terminal."""
        return self.gang.rank == 0 and sys.stdout.isatty()

    def on_main(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in one process; every rank gets its result, or its exception."""
        outcome: Any = None
        if self.gang.rank == 0:
            try:
                outcome = (function(*args), None)
            except Exception as error:
                outcome = (None, error)
        result, failure = self.gang.broadcast(outcome)
        if failure is not None:
            raise failure
        return cast(T, result)

    def on_main_alone(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the first process and tell nobody, since the world is broken."""
        if self.gang.rank == 0:
            function(*args)

    def on_each(self, function: Callable[[], object]) -> None:
        """Call a function in every process.

        Where it fails in one, every rank gets the first failure.
        """
        failure = None
        try:
            function()
        except Exception as error:
            failure = error
        for failed in self.gang.gather(failure):
            if failed is not None:
                raise failed

    def roll_call(self, error: Exception, status: Status = "failed") -> None:
        """Hear who has failed beside this rank.

        Raises WorldBroken unless all have, and can go on together.
        """
        if self._roll is not None:
            self._roll.compare_faults(Fault(status, cause_of(error), is_collective(error)))

    @contextlib.contextmanager
    def failing_together(self) -> Iterator[None]:
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
        return self.gang.broadcast(value)

    def gather(self, value: T) -> list[T]:
        """Give every rank the values of all, in the order of ranks."""
        return self.gang.gather(value)

    def gather_shards(self, value: T) -> list[T]:
        """Give every rank the values of those that see different images, by their data rank."""
        return self.gather(value)[:: self.model_size]

    def meeting_port(self) -> int | None:
        """Find a port where fresh processes of all ranks can meet; None for one alone."""
        return self.gang.meeting_port()

    def pulse(self, seconds: float, *, diverged_at: int = 0) -> Pulse | None:
        """Agree on signal, time and loss once a step.

        Among several ranks the answer is a step old, so that no step waits for it: there is none
        at the first step of a loop.
        """
        own = torch.tensor([self.signum, seconds, diverged_at], dtype=torch.float64)
        self._pulses.append(self.gang.start_max(own))
        if len(self._pulses) <= self.gang.delay:
            return None
        return self._next_pulse()

    def finish_pulses(self) -> Pulse | None:
        """Take in what is still under way, so that the next loop starts with nothing.

        Returns the last pulse, if there is one.
        """
        agreed = None
        while self._pulses:
            agreed = self._next_pulse()
        return agreed

    def _next_pulse(self) -> Pulse:
        finish = self._pulses.pop(0)
        signum, seconds, diverged_at = finish().tolist()
        return Pulse(int(signum), seconds, int(diverged_at))

    def check_signal(self) -> None:
        """Raise Interrupted on every rank if any of them has got a signal. A collective call."""
        signum = max(self.gather(self.signum))
        if signum:
            raise Interrupted(signum)

    def check_own_signal(self) -> None:
        """Raise Interrupted for a signal that this process may heed without asking the others."""
        signum = self.gang.unasked(self.signum, otherwise=0)
        if signum:
            raise Interrupted(signum)

    def place_model(self, model: nn.Module, ways: Mapping[str, str]) -> nn.Module:
        """Put a model where it is trained: this rank's part of it, if ranks share it.

        `ways` is its spec's `parallelise`. ValueError for a model that can't be shared so.
        """
        if self.kernels == FAST:
            use_fast_kernels(model)
        if self.parallel == "data":
            return model.to(self.device)
        shared = parallel.share_model(model, ways[self.parallel], self.model_axis, self.device)
        # accelerate's `cuda` is a parameter's `cuda:0`.
        home = torch.empty(0, device=self.device).device
        self.other_devices |= {parameter.device for parameter in shared.parameters()} - {home}
        return shared

    def wrap_model(
        self, model: nn.Module, *, exact: bool = False, leaves_some: bool = False
    ) -> nn.Module:
        """Make the model average its gradients over the data axis at each backward pass.

        With `exact` it adds them in the order of ranks. `leaves_some`: a backward pass may leave
        some parameters without a gradient. Buffers stay local: `share_buffers` gives every rank the
        first one's.
        """
        return parallel.average_gradients(
            model, self.data_axis, in_rank_order=exact, leaves_some=leaves_some
        )

    def share_norms(self, model: nn.Module) -> nn.Module:
        """Let batch normalisation see the whole world's micro-batch instead of this rank's."""
        return parallel.share_norms(model, self.data_axis)

    def share_buffers(self, model: nn.Module) -> None:
        """Give every rank the first one's running statistics, as DDP would at each forward pass."""
        parallel.share_buffers(model, self.data_axis)

    def clip_gradients(self, model: nn.Module, limit: float) -> None:
        """Scale the gradients so that the whole model's norm is at most `limit`."""
        parallel.clip_gradients(model, limit, self.model_axis)

    def whole_state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Return a model's weights under its own names, put together where ranks share it.

        A collective call.
        """
        return parallel.whole_state(model)

    def seed_torch(self, number: int) -> None:
        """Seed torch: what is drawn next is a function of this number alone."""
        torch.manual_seed(number)

    def synchronize(self) -> None:
        """Wait until the devices have done all they were given; a CPU has nothing under way."""
        for device in self.devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)

    def release_memory(self) -> None:
        """Give back what torch keeps of a GPU's memory for later, for other processes to use.

        Written by torch's documents, not run: no GPU was there.
        """
        if self.device.type == "cuda":
            gc.collect()  # a module's hooks make circles, which hold its weights
            torch.cuda.empty_cache()

    def watch(self) -> Watch:
        """Begin to watch what else this machine does."""
        return Watch(self)

    def gpu_uuid(self) -> str:
        """Return this process's GPU as the driver names it, empty without one.

        Written by NVML's and torch's documents, not run: no GPU was there.
        """
        if self.device.type != "cuda":
            return ""
        return f"GPU-{torch.cuda.get_device_properties(self.device).uuid}"

    def claim_folder(self, folder: Path) -> None:
        """Make the run's folder and hold its lock, which dies with this process.

        ValueError if it is held.
        """

        # A closure, since the lock is an open file: it can't be sent to the other ranks.
        def hold_lock() -> None:
            self._lock = lock_folder(folder)

        self.on_main(hold_lock)
        self.log = folder / "log.txt"

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let a signal set a flag that is read once a step.

        A second one ends the process at once.
        """

        def note(signum: int, _frame: FrameType | None) -> None:
            if self.signum and time.monotonic() - self._signalled > TWICE_SECONDS:
                os._exit(128 + signum)
            self.signum, self._signalled = signum, time.monotonic()
            # Nobody is left to wait for this process: SIGALRM ends it, checkpoint or not.
            if is_orphan(self._parent):
                signal.alarm(ORPHAN_SECONDS)

        before_int = signal.signal(signal.SIGINT, note)
        before_term = signal.signal(signal.SIGTERM, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before_int)
            signal.signal(signal.SIGTERM, before_term)


def start_accelerator(config: RunConfig) -> Accelerator:
    """Start accelerate with every setting stated."""
    if not torch.cuda.is_available():
        # Accelerate looks for torchrun's ranks on a CPU only where this is set.
        os.environ["ACCELERATE_USE_CPU"] = "true"
    patience = InitProcessGroupKwargs(timeout=_group_patience(config))
    return Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision={"fp32": "no"}.get(config.precision, config.precision),
        kwargs_handlers=[patience],
        # Models go through `place_model`, which may hold only a part of one here.
        device_placement=False,
        log_with=list(config.track) or None,
        project_dir=str(config.out),
    )


def _group_patience(config: RunConfig) -> datetime.timedelta:
    return patience_of_groups(config.timeout, nccl=torch.cuda.is_available())

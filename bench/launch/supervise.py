"""Keep a run going: start its world, pass signals on, say why a world broke, and start another one.

A death by lack of memory is told from a person's kill by the kernel's own count of processes killed
out of memory. Restarts are made here rather than by torchrun's elastic agent: the agent knows
neither single processes, nor memory, nor which exit was deliberate, and it starts the same command
again, which would be refused without --resume.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import psutil

from bench.distributed.process import (
    BROKEN,
    EXIT_FILE,
    FAILURES_FILE,
    GIVEN_UP,
    LAUNCHER,
    adopt_orphans,
    count_oom_kills,
    die_with_parent,
    name_signal,
)
from bench.launch.cell_fate import (
    describe_progress,
    give_up_cell,
    has_begun,
    list_failures,
    list_new_failures,
)
from bench.request.command_line import how_to_resume
from bench.request.config import RunConfig
from zoo.terminal import visible

RUN = Path(__file__).parents[1] / "run.py"
STARTER = "bench.distributed.start_accelerate"  # the module that starts the workers
# Signals by which a process dies of its own fault: a restart at the same place would crash again.
CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT})
POLL_SECONDS = 0.2
REPEAT_SECONDS = 1.0  # a signal repeated sooner was sent to all processes at once
STRAGGLER_SECONDS = 3.0  # for the ranks of a broken world to leave by themselves
LEAVE_SECONDS = 30.0  # for workers to leave whose launcher has died


@dataclass(frozen=True)
class End:
    """How a world ended.

    `code` is the exit code that its workers left, None if the world broke; `cause` is what a worker
    said of that. `deaths` maps a rank to the signal that it died of. `oom_kills` is the number of
    processes that the kernel killed out of memory, None if it doesn't count them. `never_met` says
    that the machines didn't reach each other, `uses_nccl` that its ranks talk from GPU to GPU.
    """

    code: int | None
    cause: str
    deaths: Mapping[int, int]
    oom_kills: int | None
    never_met: bool
    uses_nccl: bool = False

    @property
    def is_aborted(self) -> bool:
        """Return whether ranks ended as NCCL ends them, when a call to other ranks has failed."""
        return self.uses_nccl and set(self.deaths.values()) == {signal.SIGABRT}


@dataclass
class Signals:
    """The signals that a person or a scheduler has sent, passed on to the workers as they come."""

    received: list[int] = field(default_factory=list)
    first: float = 0.0  # when the first came, by the monotonic clock

    def listen(self) -> None:
        """Take SIGINT and SIGTERM from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)

    def _take(self, signum: int, _frame: FrameType | None) -> None:
        arrival = time.monotonic()
        if not self.received:
            self.first = arrival
        self.received.append(signum)
        # Whoever asks twice doesn't want to wait for a checkpoint.
        insists = arrival - self.first > REPEAT_SECONDS
        signal_workers(signal.SIGKILL if insists else signum)


def supervise(
    config: RunConfig,
    command: Callable[[RunConfig], Sequence[str]],
    variables: Mapping[str, str],
    *,
    machines: int = 1,
    nccl: bool = False,
) -> int:
    """Run a request to its end, in as many worlds as it takes, and return its exit code.

    `command` makes the words that start a world; `nccl` says that its ranks talk from GPU to GPU.
    The code is 0, 1, 2, 130 or 143.
    """
    adopt_orphans()
    signals = Signals()
    signals.listen()
    failures_before = list_failures(config)
    restarts = config.restarts
    progress = ""
    while True:
        # Of several machines none may give up a cell: the others would still run it.
        alone = machines == 1
        given_up = list_new_failures(config, failures_before) if alone else set()
        world_variables = {**variables, GIVEN_UP: ",".join(sorted(given_up))}
        end = replace(run_world(command(config), world_variables, signals), uses_nccl=nccl)
        if end.code is not None:
            return end.code
        if signals.received:
            return 128 + signals.received[0]

        cause = _describe_cause(end, config, machines)
        previous, progress = progress, describe_progress(config)
        is_stuck = progress != "" and progress == previous
        if alone and _give_up(config, end, cause, is_stuck):
            _say(f"{cause}; the next cell goes on in a new world")
        elif alone and list_new_failures(config, failures_before) - given_up:
            _say(f"{cause}; the cell is given up, the next one goes on in a new world")
        elif restarts and has_begun(config):
            restarts -= 1
            _say(f"{cause}; going on from the last checkpoint, {restarts} restarts are left")
        else:
            _say(f"{cause}; {how_to_resume(config)}" if has_begun(config) else cause)
            return 1
        config = replace(config, resume=True)


def run_world(words: Sequence[str], variables: Mapping[str, str], signals: Signals) -> End:
    """Run the launcher in a session of its own until it and every process below it are gone."""
    kills_before = count_oom_kills()
    bystanders = frozenset(_list_descendants())
    with tempfile.TemporaryDirectory(prefix="zoometry-") as folder:
        exit_file = Path(folder) / "exit"
        failures_file = Path(folder) / "failures.json"
        files = {EXIT_FILE: str(exit_file), FAILURES_FILE: str(failures_file)}
        # torch's C++ logs of lost connections, a page for every death. Who asks for them gets them.
        quiet = {"TORCH_CPP_LOG_LEVEL": "FATAL"}
        launcher = subprocess.Popen(
            words,
            env={**quiet, **variables, **files, LAUNCHER: str(os.getpid())},
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        # A signal that came before there was a launcher reached nobody.
        if signals.received:
            signal_workers(signals.received[-1])
        had_to_kill = _wait_for(launcher, exit_file)
        is_broken = _read_exit(exit_file)[0] == BROKEN
        _clear_away(STRAGGLER_SECONDS if is_broken else LEAVE_SECONDS, bystanders)
        code, cause = _read_exit(exit_file)
        deaths, never_met = _read_failures(failures_file)
    kills_after = count_oom_kills()
    oom_kills = None
    if kills_before is not None and kills_after is not None:
        oom_kills = kills_after - kills_before

    if code is None and launcher.returncode == 0:
        code = 0
    if launcher.returncode < 0 and not signals.received and not cause:
        # Its workers left deliberately, with a code, but nobody had asked them to.
        code = None
        cause = f"accelerate's launcher died of {name_signal(-launcher.returncode)}"
    if code == BROKEN:
        code = None
    # Where we killed the workers, their deaths are no cause.
    return End(code, cause, {} if had_to_kill else deaths, oom_kills, never_met)


def _read_exit(exit_file: Path) -> tuple[int | None, str]:
    """Return the exit code and the cause that a worker left; None and nothing if none did."""
    if not exit_file.exists():
        return None, ""
    code, _, cause = exit_file.read_text(encoding="utf-8").partition(" ")
    # The file is empty for a moment while a worker writes it.
    return (int(code) if code else None), cause


def _read_failures(failures_file: Path) -> tuple[dict[int, int], bool]:
    """Return the signal that each rank died of, and whether the machines never met."""
    if not failures_file.exists():
        return {}, False
    report = json.loads(failures_file.read_bytes())
    signals = {int(rank): -code for rank, code in report["exit_codes"].items() if code < 0}
    # torchrun ends the other ranks by SIGTERM, so that is no cause of anything.
    deaths = {rank: signum for rank, signum in signals.items() if signum != signal.SIGTERM}
    return deaths, report["never_met"]


def _wait_for(launcher: subprocess.Popen[bytes], exit_file: Path) -> bool:
    """Wait for the launcher, and return whether workers of a broken world had to be killed.

    A stopped process heeds no signal but SIGKILL.
    """
    deadline = None
    had_to_kill = False
    while launcher.poll() is None:
        time.sleep(POLL_SECONDS)
        if deadline is None and _read_exit(exit_file)[0] == BROKEN:
            deadline = time.monotonic() + STRAGGLER_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            for process in _list_workers():
                _send(process, signal.SIGKILL)
                had_to_kill = True
    return had_to_kill


def _clear_away(seconds: float, bystanders: frozenset[psutil.Process]) -> None:
    """Give what the launcher left behind some seconds to leave, then kill it.

    `bystanders` were there before the launcher, and stay.
    """
    left_behind = [process for process in _list_descendants() if process not in bystanders]
    _, alive = psutil.wait_procs(left_behind, timeout=seconds)
    for process in alive:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=seconds)


def signal_workers(signum: int) -> None:
    """Signal the processes that run bench/run.py; before there are any, the launcher above them.

    accelerate is passed over: it ends at SIGTERM and leaves its child running, without telling it.
    """
    for process in _list_workers() or psutil.Process().children():
        _send(process, signum)


def _send(process: psutil.Process, signum: int) -> None:
    """Signal a process, unless it has ended since it was listed."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signum)


def _list_workers() -> list[psutil.Process]:
    workers = []
    for process in _list_descendants():
        try:
            words = process.cmdline()
        except psutil.Error:  # gone meanwhile
            continue
        # The launcher's own command names bench/run.py too.
        if str(RUN) in words and STARTER not in words:
            workers.append(process)
    return workers


def _list_descendants() -> list[psutil.Process]:
    return list(psutil.Process().children(recursive=True))


def _describe_cause(end: End, config: RunConfig, machines: int) -> str:
    """Say in one clause why a world broke; what the kernel did explains what a rank saw."""
    if end.never_met:
        return (
            f"the {machines} machines have not met within {config.timeout:g} s (--timeout): "
            "is each of them started, and can it reach MASTER_ADDR:MASTER_PORT?"
        )
    # Of a call that NCCL gave up the roll call knows more, where there was one.
    if not end.deaths or (end.is_aborted and end.cause):
        return end.cause or "a process of the run failed, as it says above"
    ranks = " and ".join(map(str, end.deaths))
    if end.is_aborted:
        return f"rank {ranks} died of SIGABRT, by which NCCL ends a call that isn't answered"
    signum = next(iter(end.deaths.values()))
    if signum == signal.SIGKILL and end.oom_kills:
        return f"rank {ranks} ran out of memory and was killed by the kernel"
    return f"rank {ranks} died of {name_signal(signum)}"


def _give_up(config: RunConfig, end: End, cause: str, is_stuck: bool) -> bool:
    """Record that a cell ran out of memory or crashed, and return whether there was one.

    Where the kernel doesn't count, a cell that is killed twice at the same checkpoint (`is_stuck`)
    ran out of memory. So has one crashed that is aborted twice where NCCL may have done it: the
    first time the fault may be another rank's, or the network's.
    """
    signals = set(end.deaths.values())
    by_count = bool(end.oom_kills)
    by_repetition = end.oom_kills is None and is_stuck
    if signal.SIGKILL in signals and (by_count or by_repetition):
        return give_up_cell(config, "oom", cause)
    has_crashed = is_stuck if end.is_aborted else bool(signals & CRASHES)
    return has_crashed and give_up_cell(config, "failed", cause)


def _say(line: str) -> None:
    sys.stderr.write(f"zoometry: {visible(line)}\n")

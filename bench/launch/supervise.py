"""Keeps a run going: starts its world, hands signals on, says why a world broke, and starts another where that helps.

A death is told from a person's kill by the kernel's own count of processes killed for want of
memory. Restarts are made here rather than by torchrun's elastic agent: that one knows neither a
single process, nor memory, nor which exit was in order, and it starts the same command again, which
would be refused without --resume.
"""

import os
import re
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
    GIVEN_UP,
    LAUNCHER,
    adopt_orphans,
    count_oom_kills,
    die_with_parent,
    name_signal,
)
from bench.launch.relay import Relay, deaths
from bench.request.command_line import how_to_resume
from bench.request.config import RunConfig
from bench.results.record import RunRecord, now
from bench.results.storage import read_run, write

RUN = Path(__file__).parents[1] / "run.py"
CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT})
APART = re.compile(
    "DistStoreError|DistNetworkError|Rendezvous[A-Z]"
)  # of torchrun, where no worker was started
POLL_SECONDS = 0.2
TWICE_SECONDS = 1.0  # a signal that comes again sooner was sent to all processes at once
STRAGGLER_SECONDS = 3.0  # what the ranks of a broken world get to leave by themselves
LEAVE_SECONDS = 30.0  # what workers get to leave whose launcher has died


@dataclass(frozen=True)
class End:
    """How a world ended. `code` is what its workers left in order, None if it broke; `deaths`: rank to signal.

    `words` are the launcher's own where nothing else explains the end.
    """

    code: int | None
    cause: str
    deaths: Mapping[int, int]
    oom_kills: int | None
    words: str = ""


@dataclass
class Signals:
    """What a person or a scheduler has sent; it is handed on to the workers as it comes."""

    received: list[int] = field(default_factory=list)
    first: float = 0.0

    def listen(self) -> None:
        """Take SIGINT and SIGTERM from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)

    def _take(self, signum: int, _frame: FrameType | None) -> None:
        again = bool(self.received) and time.monotonic() - self.first > TWICE_SECONDS
        self.first = self.first if self.received else time.monotonic()
        self.received.append(signum)
        signal_workers(signal.SIGKILL if again else signum)


def supervise(
    config: RunConfig,
    command: Callable[[RunConfig], Sequence[str]],
    variables: Mapping[str, str],
    *,
    machines: int = 1,
) -> int:
    """Run a request to its end, in as many worlds as it takes, and return its exit code.

    0, 1, 2, 130 or 143.
    """
    adopt_orphans()
    signals = Signals()
    signals.listen()
    before = _failures(config)
    restarts, place = config.restarts, ""
    while True:
        gone = ",".join(_new_failures(config, before)) if machines == 1 else ""
        end = run_world(command(config), {**variables, GIVEN_UP: gone}, signals)
        if end.code is not None:
            return end.code
        if signals.received:
            return 128 + signals.received[0]
        cause = _apart(end, config, machines) or _cause(end)
        same_place, place = place != "" and place == _place(config), _place(config)
        if machines == 1 and _give_up(config, end, cause, same_place):
            _say(f"{cause}; the next cell goes on in a new world")
        elif machines == 1 and _new_failures(config, before).keys() - set(gone.split(",")):
            _say(f"{cause}; the cell is given up, the next one goes on in a new world")
        elif restarts and _has_begun(config):
            restarts -= 1
            _say(f"{cause}; going on from the last checkpoint, {restarts} restarts are left")
        else:
            sys.stderr.write("" if _apart(end, config, machines) else end.words)
            _say(f"{cause}; {how_to_resume(config)}" if _has_begun(config) else cause)
            return 1
        config = replace(config, resume=True)


def run_world(words: Sequence[str], variables: Mapping[str, str], signals: Signals) -> End:
    """Run the launcher in a session of its own until it and all below it are gone."""
    oom_kills, others = count_oom_kills(), frozenset(_children())
    with tempfile.TemporaryDirectory(prefix="zoometry-") as folder:
        note = Path(folder) / "exit"
        launcher = subprocess.Popen(
            words,
            env={**variables, EXIT_FILE: str(note), LAUNCHER: str(os.getpid())},
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        assert launcher.stderr is not None
        relay = Relay(launcher.stderr)
        hanging = _wait(launcher, note)
        _clear_away(STRAGGLER_SECONDS if _read(note)[0] == BROKEN else LEAVE_SECONDS, others)
        said = relay.finish()
        code, cause = _read(note)
    counted = count_oom_kills()
    killed = None if oom_kills is None or counted is None else counted - oom_kills
    if code is None and launcher.returncode == 0:
        code = 0
    if (
        launcher.returncode < 0 and not signals.received and not cause
    ):  # its workers left in order, but nobody asked for it
        code, cause = None, f"accelerate's launcher died of {name_signal(-launcher.returncode)}"
    # torchrun ends the other ranks by SIGTERM: no cause of anything.
    died = (
        {}
        if hanging
        else {rank: number for rank, number in deaths(said).items() if number != signal.SIGTERM}
    )
    unexplained = not (died or cause or relay.num_passed)
    return End(None if code == BROKEN else code, cause, died, killed, said if unexplained else "")


def _read(note: Path) -> tuple[int | None, str]:
    """The code and the cause that a worker left."""
    code, _, cause = (
        note.read_text(encoding="utf-8").partition(" ") if note.exists() else ("", "", "")
    )
    return (int(code) if code else None), cause


def _wait(launcher: subprocess.Popen[bytes], note: Path) -> bool:
    """Wait for the launcher; where the world broke, end what is left of it: a stopped process heeds no other signal.

    Says whether anything was.
    """
    end, hanging = None, False
    while launcher.poll() is None:
        time.sleep(POLL_SECONDS)
        if end is None and _read(note)[0] == BROKEN:
            end = time.monotonic() + STRAGGLER_SECONDS
        if end is not None and time.monotonic() > end:
            for process in _workers():
                process.kill()
                hanging = True
    return hanging


def _clear_away(seconds: float, others: frozenset[psutil.Process]) -> None:
    """Wait for what the launcher left behind.

    End what is still there then, but not what was there before it.
    """
    _, alive = psutil.wait_procs(
        [process for process in _children() if process not in others], timeout=seconds
    )
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=seconds)


def signal_workers(signum: int) -> None:
    """Signal the processes that run bench/run.py; before there are any, the launcher above them.

    accelerate ends at SIGTERM and leaves its child running without a word, so it is passed over.
    """
    for process in _workers() or psutil.Process().children():
        if process.is_running():
            process.send_signal(signum)


def _workers() -> list[psutil.Process]:
    return [process for process in _children() if _runs(process)]


def _children() -> list[psutil.Process]:
    """All processes below this one."""
    return list(psutil.Process().children(recursive=True))


def _runs(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return str(RUN) in words and "accelerate.commands.launch" not in words


def _cause(end: End) -> str:
    """Why a world broke, in one clause; what the kernel did explains what a rank saw."""
    if not end.deaths:
        return end.cause or "a process of the run failed, as it says above"
    ranks = " and ".join(map(str, end.deaths))
    signum = next(iter(end.deaths.values()))
    if signum == signal.SIGKILL and end.oom_kills:
        return f"rank {ranks} was killed by the kernel for want of memory"
    return f"rank {ranks} died of {name_signal(signum)}"


def _apart(end: End, config: RunConfig, machines: int) -> str:
    """Say that the machines have not met, if that is what the launcher's words mean.

    Else nothing.
    """
    if machines == 1 or not APART.search(end.words):
        return ""
    return (
        f"the {machines} machines have not met within {config.timeout:g} s (--timeout): "
        "is each of them started, and can it reach MASTER_ADDR:MASTER_PORT?"
    )


def _give_up(config: RunConfig, end: End, cause: str, same_place: bool) -> bool:
    """Write down a cell that ran out of memory or crashed, and say whether there was one.

    Where the kernel doesn't count, a cell that is killed twice at the same checkpoint ran out of
    memory.
    """
    numbers = set(end.deaths.values())
    memory = signal.SIGKILL in numbers and (end.oom_kills or (end.oom_kills is None and same_place))
    under_way = [
        record for record in _records(config) if record.status in ("started", "interrupted")
    ]
    if len(under_way) != 1 or not (memory or numbers & CRASHES):
        return False
    record = replace(
        under_way[0], status="oom" if memory else "failed", error=cause, finished=now()
    )
    write(_cell(config, record) / "record.json", record)
    return True


def _place(config: RunConfig) -> str:
    """How far the run has come: the cells under way and their newest checkpoints.

    Empty if there are none.
    """
    under_way = [
        record for record in _records(config) if record.status in ("started", "interrupted")
    ]
    steps = [
        sorted(path.name for path in (_cell(config, one) / "checkpoints").glob("step_*"))
        for one in under_way
    ]
    return " ".join(
        f"{one.cell}:{','.join(names)}" for one, names in zip(under_way, steps, strict=True)
    )


def _failures(config: RunConfig) -> dict[str, str]:
    """When the cells that failed or ran out of memory began, by name."""
    return {one.cell: one.created for one in _records(config) if one.status in ("failed", "oom")}


def _new_failures(config: RunConfig, before: Mapping[str, str]) -> dict[str, str]:
    """The failures of this launch: the cells that the next world must not run again."""
    return {
        name: created for name, created in _failures(config).items() if before.get(name) != created
    }


def _records(config: RunConfig) -> list[RunRecord]:
    return read_run(config.out)[0] if config.out else []


def _cell(config: RunConfig, record: RunRecord) -> Path:
    assert config.out is not None, "the request was completed"
    return config.out / "cells" / record.cell


def _has_begun(config: RunConfig) -> bool:
    return config.out is not None and (config.out / "config.json").exists()


def _say(line: str) -> None:
    sys.stderr.write(f"zoometry: {line}\n")

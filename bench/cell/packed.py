"""Cells of a run side by side, each in a fresh process with its own threads: `--pack`.

Accuracy runs of small models don't fill a machine. Processes are forked from a server that has
imported torch and nothing more, so that a cell starts at once; its numbers are those that it has
alone with as many threads.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from typing import NamedTuple

from bench.cell.display import Display
from bench.cell.open_run import Cell, open_alone
from bench.cell.record_writer import find_record, give_up_cell
from bench.cell.run_cell import run_cell
from bench.distributed.hardware import count_places, num_gpus
from bench.distributed.process import LAUNCHED, SERVER, count_oom_kills, name_signal
from bench.distributed.runtime import Interrupted
from bench.request.config import RunConfig
from bench.results.record import RunRecord, Status
from bench.train.build import RunContext

LOOK_EVERY = 0.2  # seconds between looks at whether a signal came


class Given(NamedTuple):
    """What a cell's process is told: its place among all cells, and among those that run at once.

    The latter are counted here, since its process sees one GPU only.
    """

    number: int
    num_cells: int
    place: int
    num_places: int


@dataclass(frozen=True)
class PackedCell:
    """A cell under way, and how many processes the kernel had killed for memory when it began.

    `number` is its place among the cells, `place` among those that run at once.
    """

    number: int
    cell: Cell
    process: ForkServerProcess
    place: int
    oom_kills: int


@dataclass(frozen=True)
class PackedExecutor:
    """Runs as many cells at once as the machine has room for, each in a process of its own."""

    context: RunContext

    def run(self, cells: Sequence[Cell]) -> list[RunRecord]:
        """Run the cells; a signal is handed to those under way, and raised when they have ended."""
        display = Display(self.context.runtime, len(cells))
        records: dict[int, RunRecord] = {}
        waiting = deque(enumerate(cells))
        config = self.context.config
        num_places = count_places(config.pack_size, config.num_threads)
        free = set(range(num_places))
        running: list[PackedCell] = []
        while waiting or running:
            while waiting and free:
                number, cell = waiting.popleft()
                given = Given(number, len(cells), free.pop(), num_places)
                running.append(self._start(cell, given))
            # Returns at once when a process ends, and often enough to hear of a signal.
            connection.wait([packed.process.sentinel for packed in running], LOOK_EVERY)
            ended = [packed for packed in running if packed.process.exitcode is not None]
            for packed in ended:
                running.remove(packed)
                free.add(packed.place)
                records[packed.number] = self._collect_record(packed, display)
            self._heed_signals([*running, *ended])
        return [records[number] for number in range(len(cells))]

    def _start(self, cell: Cell, given: Given) -> PackedCell:
        variables = variables_of_place(given.place, os.environ)
        process = SERVER.Process(target=_work, args=(variables, self.context.config, cell, given))
        process.start()
        return PackedCell(given.number, cell, process, given.place, count_oom_kills() or 0)

    def _heed_signals(self, started: Sequence[PackedCell]) -> None:
        """Hand a signal on to every cell, wait for them, and raise it.

        It came to this process or, where one was signalled by itself, to a cell's.
        """
        # A shell's convention: 128 and the signal's number.
        codes = [packed.process.exitcode for packed in started]
        came = [number for number in (signal.SIGINT, signal.SIGTERM) if 128 + number in codes]
        signum = self.context.runtime.signum or (came[0] if came else 0)
        if not signum:
            return
        for packed in started:
            if packed.process.is_alive():
                os.kill(packed.process.ident or 0, signum)
        # A cell may hang, and nobody would end it.
        deadline = time.monotonic() + self.context.config.timeout
        for packed in started:
            packed.process.join(max(0.0, deadline - time.monotonic()))
            packed.process.kill()
            packed.process.join()
        raise Interrupted(signum)

    def _collect_record(self, packed: PackedCell, display: Display) -> RunRecord:
        """Read the record that a cell's process left, or write a row with why it left none."""
        record = find_record(packed.cell, self.context)
        # A cell that is "started" still has ended without a word.
        if record is not None and record.status != "started":
            return record
        code = packed.process.exitcode or 0
        status: Status = "failed"
        cause = f"its process ended with exit code {code}"
        if code < 0:
            cause = f"its process was killed by {name_signal(-code)}"
        if code == -signal.SIGKILL and (count_oom_kills() or 0) > packed.oom_kills:
            status, cause = "oom", "the kernel killed its process: out of memory"
        record = give_up_cell(packed.cell, self.context, status, cause)
        display.show_end(record)
        return record


def variables_of_place(place: int, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the process at a place: its GPU is dealt round.

    It wasn't run on a machine with GPUs.
    """
    own = {name: value for name, value in variables.items() if name not in LAUNCHED}
    num_devices = num_gpus()
    if num_devices:
        listed = variables.get("CUDA_VISIBLE_DEVICES")
        names = listed.split(",") if listed else [str(i) for i in range(num_devices)]
        names = names[:num_devices]  # CUDA passes over what follows a name that isn't there
        own["CUDA_VISIBLE_DEVICES"] = names[place % len(names)]
    return own


def _work(variables: Mapping[str, str], config: RunConfig, cell: Cell, given: Given) -> None:
    """Run one cell in this process; the exit code says whether a signal ended it."""
    _end_with_parent()
    os.setsid()  # a terminal's Ctrl-C goes to the run alone, which hands it on once
    os.environ.clear()  # the server's
    os.environ.update(variables)
    # One thread, where none is asked for: the other cells have the other cores.
    with open_alone(config, num_threads=1, cells_at_once=given.num_places) as context:
        context.runtime.log = context.folder / "log.txt"
        try:
            display = Display(context.runtime, given.num_cells, given.number, names_cells=True)
            run_cell(cell, context, display)
        except Interrupted as stop:
            sys.exit(128 + stop.signum)


def _end_with_parent() -> None:
    """End this process when the run does, however it ended.

    To the kernel its parent is the server that it was forked from, which outlives the run.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()

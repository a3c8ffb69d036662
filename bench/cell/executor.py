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
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess

from bench.cell.display import Display
from bench.cell.run_cell import Cell
from bench.distributed.process import (
    LAUNCHED,
    RELAUNCH,
    SERVER,
    count_oom_kills,
    name_signal,
    num_cores,
    num_gpus,
)
from bench.request.config import RunConfig
from bench.results.record import RunRecord
from bench.train.build import RunContext

LOOK_EVERY = 0.2  # seconds between looks at whether a signal came


@dataclass(frozen=True)
class Packed:
    """A cell under way, and how many processes the kernel had killed for memory when it began."""

    number: int
    cell: "Cell"
    process: ForkServerProcess
    place: int
    oom_kills: int


def num_places(config: RunConfig) -> int:
    """How many cells run at once: a process a core, or a number a GPU."""
    if num_gpus():
        return num_gpus() * (config.pack_size or 1)
    return config.pack_size or max(1, num_cores() // (config.num_threads or 1))


def run_cells(
    cells: Sequence["Cell"], context: "RunContext", display: "Display"
) -> list[RunRecord]:
    """Run the cells, one after another or packed, or keep them where this launch only measures.

    Returns their records in the order of the cells. Raises Interrupted when a signal came and every
    cell has written its checkpoint.
    """
    from bench.cell.run_cell import keep_cell, run_cell

    if RELAUNCH in os.environ:
        return [keep_cell(cell, context, display) for cell in cells]
    if not context.config.pack:
        return [run_cell(cell, context, display) for cell in cells]
    records: dict[int, RunRecord] = {}
    waiting, free = deque(range(len(cells))), set(range(num_places(context.config)))
    running: list[Packed] = []
    while waiting or running:
        while waiting and free:
            running.append(_start(waiting.popleft(), cells, free.pop(), context))
        connection.wait([packed.process.sentinel for packed in running], LOOK_EVERY)
        ended = [packed for packed in running if packed.process.exitcode is not None]
        for packed in ended:
            running.remove(packed)
            free.add(packed.place)
            records[packed.number] = _outcome(packed, context, display)
        _heed_signals([*running, *ended], context)
    return [records[number] for number in range(len(cells))]


def _start(number: int, cells: Sequence["Cell"], place: int, context: "RunContext") -> Packed:
    shown = (number, len(cells))
    process = SERVER.Process(
        target=_work, args=(dict(os.environ), context.config, cells[number], shown, place)
    )
    process.start()
    return Packed(number, cells[number], process, place, count_oom_kills() or 0)


def _heed_signals(started: Sequence[Packed], context: "RunContext") -> None:
    """Where a signal came, to this process or to a cell's, hand it to every cell, wait for them, and raise it."""
    from bench.distributed.runtime import Interrupted

    codes = [packed.process.exitcode for packed in started]
    came = [number for number in (signal.SIGINT, signal.SIGTERM) if 128 + number in codes]
    signum = context.runtime.signum or (came[0] if came else 0)
    if not signum:
        return
    for packed in started:
        if packed.process.is_alive():
            os.kill(packed.process.ident or 0, signum)
    for packed in started:
        packed.process.join()
    raise Interrupted(signum)


def _outcome(packed: Packed, context: "RunContext", display: "Display") -> RunRecord:
    """The record that a cell's process left; of one that died, a row with its cause."""
    from bench.cell.run_cell import find_record, give_up

    code = packed.process.exitcode or 0
    record = find_record(packed.cell, context)
    if record is not None and record.status != "started":
        return record
    if code == -signal.SIGKILL and (count_oom_kills() or 0) > packed.oom_kills:
        record = give_up(
            packed.cell, context, "oom", "the kernel killed its process for want of memory"
        )
    else:
        cause = (
            f"was killed by {name_signal(-code)}" if code < 0 else f"ended with exit code {code}"
        )
        record = give_up(packed.cell, context, "failed", f"its process {cause}")
    display.end(record)
    return record


def _work(
    variables: Mapping[str, str],
    config: RunConfig,
    cell: "Cell",
    shown: tuple[int, int],
    place: int,
) -> None:
    """Run one cell; the exit code says whether a signal ended it.

    `shown` is its number and that of all cells.
    """
    _end_with_parent()
    os.setsid()  # a terminal's Ctrl-C goes to the run alone, which hands it on once
    os.environ.clear()  # the server's
    os.environ.update({name: value for name, value in variables.items() if name not in LAUNCHED})
    _take_gpu(place)
    from bench.cell.display import Display
    from bench.cell.run_cell import run_cell
    from bench.data.dataset import open_dataset
    from bench.distributed.runtime import Interrupted, Runtime
    from bench.environment import describe_run
    from bench.train.build import RunContext

    assert config.out is not None
    data = open_dataset(
        config.dataset,
        config.data_dir,
        protocol=config.protocol,
        image_size=config.image_size,
        skip_unreadable=config.skip_unreadable,
        workers=config.workers,
    )
    with Runtime.start(replace(config, num_threads=config.num_threads or 1)) as runtime:
        runtime.log = config.out / "log.txt"
        environment = describe_run(config, runtime) | {"cells_at_once": num_places(config)}
        context = RunContext(config, data, runtime, config.out, environment)
        try:
            run_cell(cell, context, Display(runtime, shown[1], shown[0], packed=True))
        except Interrupted as stop:
            sys.exit(128 + stop.signum)


def _take_gpu(place: int) -> None:
    """See one GPU alone: places are dealt round. It wasn't run on a machine with GPUs."""
    if num_gpus():
        listed = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = listed.split(",") if listed else [str(i) for i in range(num_gpus())]
        os.environ["CUDA_VISIBLE_DEVICES"] = names[place % len(names)]


def _end_with_parent() -> None:
    """End this process when the run does, however it ended: the server between them outlives it."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()

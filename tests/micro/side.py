"""A side of a benchmark in a process of its own, with the environment that it is started in."""

import contextlib
import multiprocessing as mp
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection

from bench.data.dataset import Dataset, open_dataset

Side = Callable[..., AbstractContextManager[Callable[[], None]]]


def open_images() -> Dataset:
    """CIFAR-100 where it is at hand, else the stand-in, whose images are of the same size."""
    return open_dataset("cifar100" if os.environ.get("ZOOMETRY_DATA") else "synthetic", None)


@contextmanager
def apart(
    side: Side, *args: object, environment: Mapping[str, str]
) -> Iterator[Callable[[], None]]:
    """Make a side in a fresh process with these variables; yield what has it take its steps."""
    ours, theirs = mp.get_context("spawn").Pipe()
    before = dict(os.environ)
    os.environ.update(environment)  # torch reads some of them once, long before a target runs
    process = mp.get_context("spawn").Process(target=_serve, args=(theirs, side, args))
    process.start()
    os.environ.clear()
    os.environ.update(before)
    theirs.close()
    ours.recv()

    def steps() -> None:
        ours.send("steps")
        ours.recv()

    try:
        yield steps
    finally:
        ours.close()
        process.join()


def _serve(pipe: Connection, side: Side, args: tuple[object, ...]) -> None:
    with side(*args) as steps, contextlib.suppress(EOFError):
        while True:
            pipe.send("ready")
            pipe.recv()
            steps()

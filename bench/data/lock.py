"""A lock that stands beside a folder, and dies with its holder. Nobody waits for it without an end.

Whoever holds it shows that it gets on, by the lock file's time: decoding a set may take hours, and
a process that hangs or was stopped would be waited for as long. No torch.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

BEAT_SECONDS = 0.25
POLL_SECONDS = 0.05


@contextmanager
def locked(
    folder: Path, kind: int, say: Callable[[str], None], *, timeout: float
) -> Iterator[None]:
    """Hold a lock (fcntl.LOCK_SH or LOCK_EX) that stands beside a folder.

    That another process holds it is said. ValueError if that one doesn't get on for `timeout`
    seconds.
    """
    with folder.with_name(f".{folder.name}.lock").open("a+") as file:
        _wait_for(file, kind, folder, say=say, timeout=timeout)
        if kind == fcntl.LOCK_EX:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        ended = threading.Event()
        beat = threading.Thread(target=_beat, args=(file.fileno(), ended), daemon=True)
        beat.start()
        try:
            yield
        finally:
            ended.set()
            beat.join()


def _wait_for(
    file: TextIO, kind: int, folder: Path, *, say: Callable[[str], None], timeout: float
) -> None:
    last_beat = 0
    deadline = 0.0
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        if not deadline:
            say(f"waiting for another process that is filling {folder}")
        beat = os.fstat(file.fileno()).st_mtime_ns
        if beat != last_beat:
            last_beat = beat
            # Two beats at least, however soon somebody gives up.
            deadline = time.monotonic() + max(timeout, 3 * BEAT_SECONDS)
        if time.monotonic() > deadline:
            file.seek(0)
            raise ValueError(
                f"process {file.read() or 'unknown'} holds {folder} and has made no progress for "
                f"{timeout:g} s: end it, and start again"
            )
        time.sleep(POLL_SECONDS)


def _beat(handle: int, ended: threading.Event) -> None:
    """Touch the lock file for as long as other threads of this process do something."""
    before = 0.0
    while not ended.wait(BEAT_SECONDS):
        busy = time.process_time() - time.thread_time()
        if busy > before:
            os.utime(handle)
        before = busy

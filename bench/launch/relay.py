"""What accelerate's launcher writes to standard error: the workers' lines are passed on, its own are kept.

For every process that dies the launcher writes a traceback of itself and a table. The table alone
says of which signal a worker died, so it is read here; the user gets one line instead.
"""

import contextlib
import re
import sys
import threading
from typing import IO

# Lines of torch's own logs, from Python and from C++.
LOG = re.compile(
    rb"[WEI]\d{4} [\d:.]+ \d+ \S*torch/distributed/\S+\.py:\d+\] |(\[rank\d+\]:)?\[[WEI]\d{4} [\d:.]+ \S+\.cpp:\d+\] "
)
TRACEBACK = b"Traceback (most recent call last):"
WITHIN = (b'  File "<frozen ', b"    ")  # lines of a traceback that don't say yet whose it is
DEATH = re.compile(
    r"rank\s+: (\d+) \(local_rank: \d+\)\s+exitcode\s+: -(\d+) "
)  # of torchrun's table
ALONE = re.compile(
    r"died with <Signals\.\w+: (\d+)>"
)  # of subprocess, which starts a single process


class Relay:
    """Reads a launcher's standard error in a thread, line by line."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.kept: list[bytes] = []
        self.num_passed = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def finish(self, seconds: float = 5.0) -> str:
        """Wait until all is read, and return the launcher's own words."""
        self.thread.join(seconds)
        if not self.thread.is_alive():
            self.stream.close()
        return b"".join(self.kept).decode(errors="replace")

    def _run(self) -> None:
        opened: list[bytes] = []  # a traceback that hasn't said yet whose it is
        for line in self.stream:
            if opened:
                opened.append(line)
                if not line.startswith(WITHIN):
                    own = b"accelerate" in line
                    (self.kept.extend if own else self._pass_on)(opened)
                    opened = []
                    if own:  # it is the launcher's last
                        self.kept.extend(self.stream)
            elif line.startswith(TRACEBACK):
                opened.append(line)
            elif LOG.match(line):
                self.kept.append(line)
            else:
                self._pass_on([line])
        self._pass_on(opened)

    def _pass_on(self, lines: list[bytes]) -> None:
        self.num_passed += len(lines)
        # Where nobody reads any more the workers must still be able to write.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.buffer.write(b"".join(lines))
            sys.stderr.buffer.flush()


def deaths(words: str) -> dict[int, int]:
    """Which ranks died of which signal, by a launcher's own words; a single process is rank 0."""
    alone = ALONE.search(words)
    if alone:
        return {0: int(alone[1])}
    return {int(rank): int(signum) for rank, signum in DEATH.findall(words)}

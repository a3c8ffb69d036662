"""How far a long look at images has come, on a terminal's last line. No torch."""

import sys
import time

SHOW_EVERY = 0.2  # seconds


class Progress:
    """Counts images on standard error, where that is a terminal; says nothing elsewhere.

    Nor where answers appear on the terminal meanwhile, with `answers_show`.
    """

    def __init__(self, what: str, total: int, *, answers_show: bool = False) -> None:
        self.what, self.total = what, total
        self.shown = 0.0
        self.speaks = sys.stderr.isatty() and not (answers_show and sys.stdout.isatty())

    def show(self, done: int) -> None:
        """Say how many are done; the last one clears the line."""
        now = time.perf_counter()
        if not self.speaks or (done < self.total and now - self.shown < SHOW_EVERY):
            return
        self.shown = now
        line = f"{self.what}: {done:,} of {self.total:,}" if done < self.total else ""
        sys.stderr.write(f"\r\033[K{line}")
        sys.stderr.flush()

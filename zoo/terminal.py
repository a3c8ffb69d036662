"""Output to a person: what it can't show costs characters or lines, never the program."""

import os
import sys
import unicodedata
from typing import Any, TextIO

# Control characters and those that turn or hide text, ends of lines that aren't ASCII's, halves
# of characters (a file's name that isn't UTF-8).
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """Return a text with its control characters spelled out: a terminal would obey them."""
    return "".join(map(_spell_out, text))


def _spell_out(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in HIDDEN:
        return character
    return character.encode("unicode_escape").decode("ascii")


def show(line: str) -> None:
    """Write a line to standard output at once."""
    print(visible(line), flush=True)


def refuse(error: Exception | str) -> int:
    """Write one line on a wrong request to standard error, and return its exit code, 2."""
    sys.stderr.write(f"zoometry: {visible(str(error))}\n")
    return 2


def tolerate_output() -> None:
    """Make standard output and error of this process take anything and never fail.

    Call it once, where a command begins. A character that an encoding lacks is spelled out; where
    the reader is gone or the disk is full, the rest is lost.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _open_nothing(number, name)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, _Tolerant(stream))


def _open_nothing(number: int, name: str) -> None:
    """Open the null device for a stream that this process was started without.

    Otherwise the next file that is opened gets its number, and whatever a child prints.
    """
    null = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(null, null == number)
    setattr(sys, name, os.fdopen(null, "r" if name == "stdin" else "w", encoding="utf-8"))


class _Tolerant:
    """A text stream that says nothing more once it couldn't be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._silence()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._silence()

    def _silence(self) -> None:
        # What is still in the buffer must go somewhere when Python ends, and children inherit this.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

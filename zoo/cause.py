"""What an exception says, in one line; the exception that stands for a fault of users' code."""

LONGEST = 500  # characters: some libraries put a whole shape or file into a message


class UserCodeError(Exception):
    """A user's code failed; the message is one line, with the file's name and the cause."""


def cause_of(error: BaseException) -> str:
    """Return an exception's type and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:LONGEST]


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type where it says nothing."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__

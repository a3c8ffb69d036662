"""What an exception says, in one line."""

LONGEST = 500  # characters: some libraries put a whole shape or file into a message


def cause_of(error: BaseException) -> str:
    """Return an exception's type and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:LONGEST]


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type where it says nothing."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__

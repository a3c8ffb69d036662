"""The parser of a command's words, whose help is the command's own docstring. No torch."""

import argparse


def make_parser(command: str, document: str | None) -> argparse.ArgumentParser:
    """Return a parser for `python -m COMMAND`, described by a module's docstring.

    Its first paragraph stands above the options, all else below them.
    """
    description, _, rest = (document or "").partition("\n\n")
    return argparse.ArgumentParser(
        prog=f"python -m {command}",
        description=description,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

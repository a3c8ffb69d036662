"""Libraries that only some users have: imported where they are needed, or how to get them."""

import importlib
import sys
from typing import Any


def need(library: str, extra: str) -> Any:
    """Import a library of one of pyproject's extras; ValueError with the command that gets it."""
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise ValueError(
            f"{library} isn't installed; get it by: {sys.executable} -m pip install -e '.[{extra}]'"
        ) from error

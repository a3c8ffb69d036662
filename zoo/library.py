"""The names of torchvision's and timm's models, read off their sources. No torch.

Importing the libraries to ask them takes seconds, and a request has to be refused, or a wrong name
corrected, before anything that slow is loaded.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

LIBRARIES = {"tv": "torchvision", "timm": "timm"}
# Both libraries register a model by a decorator on the function of its name, which other
# decorators may follow. Neither ships a list of names that could be read without importing it.
REGISTERED = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


@cache
def library_models(prefix: str) -> frozenset[str]:
    """Return the models that a library (`tv` or `timm`) registers; none if it isn't installed."""
    found = find_spec(LIBRARIES[prefix])
    if found is None:
        return frozenset()
    names: set[str] = set()
    for place in found.submodule_search_locations or ():
        for path in (Path(place) / "models").glob("*.py"):
            names.update(REGISTERED.findall(path.read_text(encoding="utf-8")))
    return frozenset(names)


def find_namesakes(name: str) -> list[str]:
    """Return the models of the libraries that bear a name: `tv:resnet18`, `timm:resnet18`."""
    return [f"{prefix}:{name}" for prefix in LIBRARIES if name in library_models(prefix)]


def explain_shared_names(names: Sequence[str]) -> str:
    """Say which model is meant by names that are ours and a library's too.

    Return one line, empty where no name is shared.
    """
    shared = []
    prefixes: dict[str, None] = {}  # an ordered set
    for name in names:
        if ":" in name:
            continue
        namesakes = find_namesakes(name)
        if namesakes:
            shared.append(name)
        for namesake in namesakes:
            prefixes[namesake.partition(":")[0]] = None
    if not shared:
        return ""
    theirs = " and ".join(f"{prefix}:NAME" for prefix in prefixes)
    ours = ", ".join(dict.fromkeys(shared))
    return f"{ours}: the zoo's own is meant; the libraries' of the same name are {theirs}"

"""Which names torchvision and timm have, read off their sources: importing them takes seconds.

No torch.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

LIBRARIES = {"tv": "torchvision", "timm": "timm"}
REGISTERED = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


@cache
def library_models(prefix: str) -> frozenset[str]:
    """The models that a library (`tv` or `timm`) registers; none where it isn't installed."""
    found = find_spec(LIBRARIES[prefix])
    places = found.submodule_search_locations if found else None
    files = [path for place in places or () for path in (Path(place) / "models").glob("*.py")]
    return frozenset(
        name for path in files for name in REGISTERED.findall(path.read_text(encoding="utf-8"))
    )


def namesakes(name: str) -> list[str]:
    """The models of other libraries that bear a name: `tv:resnet18`, `timm:resnet18`."""
    return [f"{prefix}:{name}" for prefix in LIBRARIES if name in library_models(prefix)]


def twins(names: Sequence[str]) -> str:
    """Say of names that are ours and a library's too which is meant; empty where there is none."""
    found = {name: namesakes(name) for name in names if ":" not in name}
    shared = {name: others for name, others in found.items() if others}
    if not shared:
        return ""
    others = dict.fromkeys(other.partition(":")[0] for found in shared.values() for other in found)
    theirs = " and ".join(f"{prefix}:NAME" for prefix in others)
    return (
        f"{', '.join(shared)}: the zoo's own is meant; the libraries' of the same name are {theirs}"
    )

"""Which file holds a model's weights: in a folder as people have them, or in a run. No torch."""

import glob
import re
from collections.abc import Iterator
from pathlib import Path

from bench.results.record import CellKey, plain_name
from bench.results.storage import cell_folder, requested_models
from zoo.library import library_models
from zoo.registry import list_models
from zoo.suggest import did_you_mean

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".pth.tar", ".ckpt")
# Downloads of torchvision and timm bear the start of their checksum: `resnet18-f37072fd.pth`.
CHECKSUM = r"-[0-9a-f]{8,64}"
# timm's tag of how they were trained: `resnet50.a1_in1k.safetensors`, or the hub's folder of it.
TAG = r"\.[a-z]\w*"
HUB_PREFIX = "models--timm--"  # of a model in the cache of the hub's client, in snapshots/COMMIT
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # of a model's own folder


def find_weights(place: Path, model: str, seed: int) -> Path:
    """Find a model's weights: the file itself, one for the model in a folder, or the cell of a run.

    In a folder a file is named after the model, with or without its library, or with what the
    libraries add to a download; in this order. ValueError if none is there, or several alike.
    """
    if place.is_file():
        return place
    if not place.is_dir():
        hint = did_you_mean(place.name, _names_in(place.absolute().parent))
        raise ValueError(f"--pretrained {place}: no such file or folder" + (hint and f"; {hint}"))
    for candidates in _list_candidates(place, model, seed):
        found = [path for path in candidates if path.is_file()]
        if len(found) > 1:
            names = ", ".join(str(path.relative_to(place)) for path in found)
            raise ValueError(
                f"--pretrained {place}: {names} may each be {model}'s; give one of them by its name"
            )
        if found:
            return found[0]
    cell = cell_folder(place, CellKey(model, seed)).relative_to(place)
    names = " or ".join(_names_of(model))
    hint = did_you_mean(_names_of(model)[-1], [Path(name).stem for name in _names_in(place)])
    raise ValueError(
        f"--pretrained {place}: no weights of {model}, seed {seed}; looked for "
        f"{cell}/model.safetensors, and {names} with {', '.join(SUFFIXES)}" + (hint and f"; {hint}")
    )


def _list_candidates(place: Path, model: str, seed: int) -> Iterator[list[Path]]:
    """List what may be the weights, what is surest first; of one list only one may be there."""
    cell = cell_folder(place, CellKey(model, seed))
    yield [cell / "model.safetensors"]
    # Of a run with --folds or --images-per-class.
    yield sorted(place.glob(f"cells/{glob.escape(cell.name)}-*/model.safetensors"))
    for name in _names_of(model):
        for suffix in SUFFIXES:
            yield [place / (name + suffix)]
    own = _names_of(model)[-1]
    for addition in (CHECKSUM, f"{TAG}(?:{CHECKSUM})?"):
        file = re.compile(re.escape(own) + addition + r"\.(?:safetensors|pth|pt|bin)")
        yield [place / name for name in _names_in(place) if file.fullmatch(name)]
    folder = re.compile(f"(?:{HUB_PREFIX})?{re.escape(own)}(?:{TAG})?")
    named: list[Path] = []
    for name in _names_in(place):
        if folder.fullmatch(name):
            named += [place / name, *(place / name).glob("snapshots/*")]
    for file_name in HUB_FILES:
        yield [path / file_name for path in named]


def find_models(place: Path) -> list[str]:
    """Return the models whose weights are in a folder, or in a run, by their files' names.

    Of a name that several know timm's model is meant, but torchvision's where the file bears its
    checksum; else ours. ValueError if there are none.
    """
    found: dict[str, None] = {}  # an ordered set
    for model in requested_models(place):
        if list(place.glob(f"cells/{plain_name(model)}*/model.safetensors")):
            found[model] = None
    for name in _names_in(place):
        known = _model_of(place, name)
        if known is not None:
            found[known] = None
    if not found:
        raise ValueError(
            f"--pretrained {place}: no file there is called as a model is "
            "(tf_efficientnet_lite0.safetensors, resnet18-f37072fd.pth); name the models by "
            "--models"
        )
    return list(found)


def _model_of(place: Path, name: str) -> str | None:
    """Return the model whose weights a file or a folder holds, None if its name says nothing."""
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    if not suffix and not (place / name).is_dir():
        return None
    stem = name.removesuffix(suffix).removeprefix(HUB_PREFIX)
    own = re.sub(CHECKSUM + "$", "", stem)
    libraries = ("timm", "tv") if own == stem else ("tv", "timm")
    before, dash, after = own.partition("-")
    named = [f"{before}:{after}"] if dash and before in libraries else []
    for model in (*named, *(f"{library}:{own}" for library in libraries), own):
        if _is_known(model) and _holds_weights(place, model, place / name):
            return model
    return None


def _is_known(model: str) -> bool:
    library, _, own = model.rpartition(":")
    if library == "timm":
        return own.partition(".")[0] in library_models(library)
    if library == "tv":
        return own in library_models(library)
    return bool(list_models(own))


def _holds_weights(place: Path, model: str, path: Path) -> bool:
    """Return whether a model's weights are found at this path, or in this folder."""
    try:
        weights = find_weights(place, model, seed=0)
    except ValueError:
        return False
    return weights == path or path in weights.parents


def _names_of(model: str) -> tuple[str, ...]:
    """Return what files call a model: its whole name, then without library, switches and tag."""
    library, _, own = model.rpartition(":")
    bare, _, _ = own.partition("@")
    untagged = bare.partition(".")[0] if library == "timm" else bare
    return tuple(dict.fromkeys(plain_name(name) for name in (model, own, bare, untagged)))


def _names_in(folder: Path) -> list[str]:
    """List the names in a folder, sorted; none where it can't be read."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []

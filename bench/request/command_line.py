"""From the command line's words to a request, and back. No torch."""

import contextlib
import dataclasses
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import OmitArgPrefixes

from bench.request.config import DIGITS, RunConfig, check, differing, flag_of, from_json
from bench.request.recipe import get_recipe
from bench.results.record import RunRecord
from bench.results.storage import read, read_run


def parse(argv: Sequence[str]) -> RunConfig:
    """Read a command line on top of its recipe's settings.

    ValueError with one line where it is wrong.
    """
    argv = with_value(argv, "--pretrained", "hub")
    given = {
        name
        for name in ("models", "image_size", "epochs", "seconds")
        if option(argv, flag_of(name)) is not None
    }
    if {"epochs", "seconds"} <= given:
        raise ValueError("--epochs and --seconds are two budgets: give one of them")
    argv = best_as_flag(argv)
    recipe = get_recipe(option(argv, "--recipe") or RunConfig.recipe)
    default = _like(argv) or _without(
        _for_digits(recipe, option(argv, "--dataset") or recipe.dataset), given
    )
    config = _without_none(_parse_flags(argv, default))
    check(config)
    return config


def _for_digits(recipe: RunConfig, dataset: str) -> RunConfig:
    """A recipe for a data set: digits aren't mirrored, since a mirrored 2 is none."""
    kept = tuple(name for name in recipe.augment if name != "mirror" or dataset not in DIGITS)
    return dataclasses.replace(recipe, augment=kept)


def to_flags(config: RunConfig) -> list[str]:
    """Write the command line that gives this configuration: its recipe and what differs from it."""
    recipe = _for_digits(dataclasses.replace(get_recipe(config.recipe), recipe=""), config.dataset)
    base = _without(
        recipe,
        [
            name
            for name in ("models", "epochs", "seconds")
            if getattr(config, name) not in (None, getattr(recipe, name))
        ],
    )
    flags: list[str] = []
    for item in dataclasses.fields(RunConfig):
        value = getattr(config, item.name)
        if value == getattr(base, item.name) or value is None or item.name == "like":
            continue
        if isinstance(value, bool):
            flags.append(
                flag_of(item.name) if value else flag_of(item.name).replace("--", "--no-", 1)
            )
        else:
            words = [str(word) for word in value] if isinstance(value, tuple) else [str(value)]
            flags += [flag_of(item.name), *(words or ["none"])]
    return flags


def _without(recipe: RunConfig, given: Collection[str]) -> RunConfig:
    """A recipe less the settings that don't outlive what is given.

    The other budget, and the size of its own models.
    """
    dropped = {"image_size"} if "models" in given else set()
    dropped |= {"seconds"} if "epochs" in given else {"epochs"} if "seconds" in given else set()
    nothing: dict[str, Any] = dict.fromkeys(dropped)
    return dataclasses.replace(recipe, **nothing)


def _like(argv: Sequence[str]) -> RunConfig | None:
    """The configuration of the record that --like names."""
    path = option(argv, "--like")
    if path is None:
        return None
    if not Path(path).is_file():
        raise ValueError(f"--like {path}: there is no such file")
    config = from_json(dict(read(Path(path), RunRecord).config))
    return dataclasses.replace(config, out=None, resume=False, world=None, dry_run=False)


def _parse_flags(argv: Sequence[str], default: RunConfig) -> RunConfig:
    """Let tyro read the flags; its boxed message becomes one line."""
    message = io.StringIO()
    try:
        # Only failures are caught: --help writes to standard output and exits with 0.
        with contextlib.redirect_stderr(message):
            return tyro.cli(
                RunConfig,
                args=list(argv),
                default=default,
                prog="run.py",
                config=(OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        raise ValueError(one_line(message.getvalue())) from stop


def _without_none(config: RunConfig) -> RunConfig:
    """`--measure none` and `--augment none` mean an empty list."""
    empty: dict[str, Any] = {
        name: () for name in ("measure", "augment", "track") if getattr(config, name) == ("none",)
    }
    return dataclasses.replace(config, **empty)


def complain(error: Exception | str, *, aloud: bool = True) -> int:
    """Say in one line on standard error that the request was wrong.

    Returns the exit code for it, 2.
    """
    if aloud:
        sys.stderr.write(f"zoometry: {error}\n")
    return 2


def option(argv: Sequence[str], flag: str) -> str | None:
    """The value of an option that must be known before the others can be read, the last where it is given twice."""
    found = None
    for i, word in enumerate(argv):
        if word.startswith(flag + "="):
            found = word.split("=", 1)[1]
        if word == flag:
            found = argv[i + 1] if i + 1 < len(argv) else ""
    return found


def with_value(argv: Sequence[str], flag: str, value: str) -> list[str]:
    """The command line with a value behind a flag that was given without one."""
    words: list[str] = []
    for word, after in zip(argv, [*argv, "--"][1:], strict=True):
        words += [word, value] if word == flag and after.startswith("--") else [word]
    return words


def best_as_flag(argv: Sequence[str]) -> list[str]:
    """`--batch-size best` as the option that it stands for."""
    words = list(argv)
    for i, word in enumerate(words):
        if word == "--batch-size=best":
            words[i] = "--best-batch"
        if word == "--batch-size" and words[i + 1 : i + 2] == ["best"]:
            words[i : i + 2] = ["--best-batch"]
    return words


def one_line(box: str) -> str:
    """The message of a box drawn around it: its lines up to the first rule."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [line.strip("│ ").rstrip() for line in plain.splitlines()[1:]]
    kept: list[str] = []
    for line in lines:
        if line.startswith(("────", "╰")) and kept:
            break
        kept.append(line)
    return " ".join(" ".join(kept).split()) or "the options can't be read"


def check_folder(config: RunConfig) -> None:
    """Refuse a folder that holds another run or other files, or that can't be written."""
    folder = _folder(config)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder}: is a file")
    place = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"--out {folder}: {place} can't be written")
    if (folder / "config.json").exists():
        _check_same_run(config, folder)
    elif folder.exists() and any(p.name != ".lock" for p in folder.iterdir()):
        raise ValueError(f"--out {folder}: holds other files; name a new folder")


def _check_same_run(config: RunConfig, folder: Path) -> None:
    if not config.resume:
        raise ValueError(
            f"--out {folder}: holds a run already; go on with it by --resume, or name another folder"
        )
    different = differing(read_request(folder), config)
    if different:
        raise ValueError(
            f"--resume {folder}: {', '.join(different)} differ from the run's; give them as they were"
        )


def read_request(folder: Path) -> RunConfig:
    """The request that a run's folder was made for.

    ValueError with one line where it can't be read.
    """
    try:
        return from_json(json.loads((folder / "config.json").read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{folder / 'config.json'}: can't be read ({error})") from error


def how_to_resume(config: RunConfig) -> str:
    """Say what an interrupted run has finished, and the command that goes on with it."""
    folder = _folder(config)
    finished = sum(record.status in ("ok", "diverged") for record in read_run(folder)[0])
    flags = to_flags(dataclasses.replace(config, resume=True, world=None))
    machines = (
        ("NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT") if "NNODES" in os.environ else ()
    )
    world = "".join(
        f"{name}={os.environ[name]} " for name in ("NPROC", *machines) if os.environ.get(name)
    )
    return (
        f"interrupted: {finished} of {len(config.models) * len(config.seeds)} cells are finished and kept; "
        f"go on with: {world}{shlex.join(['./launch.sh', *flags])}"
    )


def _folder(config: RunConfig) -> Path:
    if config.out is None:
        raise ValueError("the run has no folder: complete the request first")
    return config.out

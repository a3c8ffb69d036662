"""Turn the command line's words into a request and back, and hold a run's folder to its request.

No torch.
"""

import argparse
import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import Field
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from bench.request.config import (
    DIGITS,
    GROUPS,
    HUB,
    OPTIONS,
    RunConfig,
    check,
    differing,
    from_json,
)
from bench.request.option import flag_of
from bench.request.recipe import choose_models, get_recipe
from bench.results.record import RunRecord
from bench.results.storage import read, read_run
from zoo.library import explain_shared_names
from zoo.suggest import unknown
from zoo.terminal import refuse

MACHINE_VARIABLES = ("NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


def parse(argv: Sequence[str]) -> RunConfig:
    """Read a command line as changes to its recipe, or to the record that --like names.

    `--help` prints the recipe's defaults and exits with 0. ValueError with one line for a command
    line that is wrong.
    """
    given = _read_flags(argv)
    asked_for_help = given.pop("help", False)
    if given.get("batch_size") == "best":
        del given["batch_size"]
        given["best_batch"] = True
    for name in ("measure", "augment", "track"):
        if given.get(name) == ["none"]:
            given[name] = []

    recipe = get_recipe(given.get("recipe", RunConfig.recipe))
    like = given.pop("like", None)
    if like is not None:
        if "recipe" in given:
            raise ValueError("--like has the recipe of its record: leave --recipe out")
        default = _without_replaced_budget(_read_like(like), given)
    else:
        default = _for_digits(recipe, given.get("dataset", recipe.dataset))
        default = _without_replaced(default, given)
    if asked_for_help:
        _make_parser(default).print_help()
        sys.exit(0)
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    config = dataclasses.replace(default, **values)
    if "models" not in given:
        config = choose_models(config)
    check(config)
    return config


def to_flags(config: RunConfig) -> list[str]:
    """Return the command line that gives this configuration: its recipe, and what differs."""
    recipe = _for_digits(get_recipe(config.recipe), config.dataset)
    changed = [
        name
        for name in ("models", "epochs", "seconds", "batch_size")
        if getattr(config, name) not in (None, getattr(recipe, name))
    ]
    base = _without_replaced(recipe, changed)
    # The recipe is always named, so that the command stays right when the default recipe changes.
    flags = ["--recipe", config.recipe]
    for name in OPTIONS:
        value = getattr(config, name)
        if name not in ("recipe", "like") and value != getattr(base, name):
            flags += _flag_with_value(name, value)
    return flags


def _flag_with_value(name: str, value: object) -> list[str]:
    """Return an option as words of the command line; an empty list is written as none."""
    flag = flag_of(name)
    if isinstance(value, bool):
        return [flag if value else "--no-" + flag.removeprefix("--")]
    if isinstance(value, tuple):
        return [flag, *([str(item) for item in value] or ["none"])]
    # A value that begins with a dash would be taken for a flag if it stood by itself.
    return [f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)]


def _for_digits(recipe: RunConfig, dataset: str) -> RunConfig:
    """Return a recipe for a data set: digits aren't mirrored, since a mirrored 2 is no digit."""
    if dataset not in DIGITS:
        return recipe
    kept = tuple(name for name in recipe.augment if name != "mirror")
    return dataclasses.replace(recipe, augment=kept)


def _without_replaced(recipe: RunConfig, given: Collection[str]) -> RunConfig:
    """Return a recipe without the settings that the given options replace.

    A recipe's image size goes with the recipe's models, and so does what a slow machine may leave
    out of them; one budget replaces the other.
    """
    if "models" in given:
        recipe = dataclasses.replace(recipe, image_size=None, least_steps=None)
    return _without_replaced_budget(recipe, given)


def _without_replaced_budget(config: RunConfig, given: Collection[str]) -> RunConfig:
    """Return a request without the budget, what belongs to it, and the search, if replaced."""
    replaced: dict[str, Any] = {}
    if "epochs" in given:
        replaced |= {"seconds": None, "least_steps": None}
    elif "seconds" in given:
        replaced |= {"epochs": None, "least_steps": None}
    if "batch_size" in given:
        replaced["best_batch"] = False
    return dataclasses.replace(config, **replaced)


def _read_like(path: Path) -> RunConfig:
    """Return the configuration of a record, without what belonged to its own run alone."""
    if not path.is_file():
        raise ValueError(f"--like {path}: there is no such file")
    try:
        config = from_json(dict(read(path, RunRecord).config))
        get_recipe(config.recipe)
        check(config)
    except OSError as error:
        raise ValueError(f"--like {path}: can't be read ({error.strerror})") from error
    except ValueError as error:
        message = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"--like {path}: {message}") from error
    own: dict[str, Any] = {
        "out": None,
        "resume": False,
        "world": None,
        "dry_run": False,
        "like": None,
        "left_out": (),
    }
    return dataclasses.replace(config, **own)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ValueErrors, for the one line that `report_error` writes."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message.removeprefix("argument "))


def _read_flags(argv: Sequence[str]) -> dict[str, Any]:
    """Return the options that a command line gives, by name; ValueError for an unknown one."""
    words = []
    for word in argv:
        # --batch_size is accepted as --batch-size; a value behind = stays as it is.
        flag, equals, value = word.partition("=")
        is_flag = word.startswith("--")
        words.append(flag.replace("_", "-") + equals + value if is_flag else word)
    # Known ones only, because argparse's own refusal doesn't say what was meant.
    given, left = _make_parser(None).parse_known_args(words)
    if left:
        allowed = [flag_of(name) for name, about in OPTIONS.items() if not about.hidden]
        raise ValueError(unknown("option", left[0].partition("=")[0], allowed))
    return vars(given)


def _make_parser(default: RunConfig | None) -> argparse.ArgumentParser:
    """Make the parser of all options; its help shows the values of `default` where there is one."""
    parser = _Parser(
        prog="run.py",
        description=RunConfig.__doc__,
        usage="%(prog)s [OPTIONS]",
        allow_abbrev=False,  # or a new option would change what an old command means
        add_help=False,
        # Only what is given is in the result: whatever isn't comes from the recipe.
        argument_default=argparse.SUPPRESS,
    )
    hints = get_type_hints(RunConfig)
    for group in GROUPS:
        section = parser.add_argument_group(group.__doc__)
        for field in dataclasses.fields(group):
            shown = None if default is None else getattr(default, field.name)
            section.add_argument(
                flag_of(field.name), **_how_to_read(field, hints[field.name], shown)
            )
    # Not argparse's own: the recipe, whose defaults the help shows, may stand behind it.
    section.add_argument("-h", "--help", action="store_true", help="Show this help and exit.")
    return parser


def _how_to_read(field: "Field[Any]", hint: Any, shown: object) -> dict[str, Any]:
    """Return argparse's settings for an option; `shown` is the default that its help names."""
    about = OPTIONS[field.name]
    help_text = about.help
    if shown is not None and shown != ():
        help_text += f" (default: {_as_text(shown)})"
    settings: dict[str, Any] = {"help": help_text.replace("%", "%%")}
    if about.hidden:
        settings["help"] = argparse.SUPPRESS
    if hint in (bool, bool | None):
        return settings | {"action": argparse.BooleanOptionalAction}
    settings |= {"metavar": about.metavar, "type": _make_reader(hint, about.words)}
    if get_origin(hint) is tuple:
        settings["nargs"] = "*"
    if field.name == "pretrained":  # the one option whose value may be left out
        settings |= {"nargs": "?", "const": HUB}
    return settings


def _as_text(value: object) -> str:
    """Return an option's value as a user would write it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _make_reader(hint: Any, words: Collection[str]) -> Callable[[str], object]:
    """Return what turns a word into a value: by int for `int | None` or `tuple[int, ...]`, say.

    `words` are kept as they are, and None is written as itself where the type allows it.
    """
    inner = get_args(hint) or (hint,)
    kind = str if get_origin(hint) is Literal else inner[0]
    meanings = {int: "a whole number", float: "a number"}

    def read_word(word: str) -> object:
        if word == "None" and NoneType in inner:
            return None
        if word in words:
            return word
        try:
            return kind(word)
        except ValueError:
            allowed = " or ".join([meanings[kind], *words])
            raise argparse.ArgumentTypeError(f"{word!r} is not {allowed}") from None

    return read_word


def report_error(error: Exception | str, *, aloud: bool = True) -> int:
    """Write one line on a wrong request to standard error, and return its exit code, 2."""
    return refuse(error) if aloud else 2


def check_folder(config: RunConfig) -> None:
    """Refuse a folder that holds another run or other files, or that can't be written."""
    folder = _folder(config)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder}: is a file")
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"--out {folder}: {nearest} can't be written")
    if (folder / "config.json").exists():
        if not config.resume:
            raise ValueError(
                f"--out {folder}: holds a run already; continue it with --resume, "
                "or name another folder"
            )
        different = differing(read_request(folder), config)
        if different:
            raise ValueError(
                f"--resume {folder}: {', '.join(different)} differ from the run's; "
                "give them as they were"
            )
    # The lock is taken before the folder is written to, so it may be there by itself.
    elif folder.exists() and any(path.name != ".lock" for path in folder.iterdir()):
        raise ValueError(f"--out {folder}: holds other files; name a new folder")


def read_request(folder: Path) -> RunConfig:
    """Return the request that a run's folder was made for; ValueError if it can't be read."""
    path = folder / "config.json"
    try:
        return from_json(dict(json.loads(path.read_bytes())))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: can't be read ({error})") from error


def explain_names(config: RunConfig) -> str:
    """Say in a line which model is meant by names that are ours and a library's; "" for none."""
    # Of the models of a recipe it is known which are meant; a person may have meant a library's.
    by_recipe = {*config.models, *config.left_out} == set(get_recipe(config.recipe).models)
    return "" if by_recipe else explain_shared_names(config.models)


def how_to_resume(config: RunConfig) -> str:
    """Say what an interrupted run has finished, and the command that continues it."""
    records = read_run(_folder(config))[0]
    num_finished = sum(record.status in ("ok", "diverged") for record in records)
    num_cells = len(config.cell_keys)
    # Of several machines each says its own command.
    names = ["NPROC", *(MACHINE_VARIABLES if "NNODES" in os.environ else ())]
    variables = [f"{name}={os.environ[name]}" for name in names if os.environ.get(name)]
    flags = to_flags(dataclasses.replace(config, resume=True, world=None))
    command = " ".join([*variables, shlex.join(["./launch.sh", *flags])])
    return (
        f"interrupted: {num_finished} of {num_cells} cells are finished and kept; "
        f"go on with: {command}"
    )


def _folder(config: RunConfig) -> Path:
    if config.out is None:
        raise ValueError("the run has no folder: complete the request first")
    return config.out

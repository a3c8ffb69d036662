"""Switches behind a model's name: `NAME@SWITCH=VALUE,SWITCH=VALUE`, read and checked. No torch."""

import contextlib
import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from zoo.suggest import did_you_mean

DECIDED = ("num_classes", "in_chans")  # by the data set and by in_channels
PLAIN_KINDS = (bool, int, float, str)  # those that can be written behind a name
IN_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def split_switches(name: str) -> tuple[str, dict[str, bool | int | float | str]]:
    """Split `NAME@SWITCH=VALUE,SWITCH=VALUE` into the name and its switches, if any.

    Raise ValueError for a switch without a name or a value, one that is given twice, and one that
    the data set decides.
    """
    # A colon stands before the name alone: an @ in the path of FILE.py is no switch.
    head, colon, tail = name.rpartition(":")
    base, at, rest = tail.partition("@")
    switches: dict[str, bool | int | float | str] = {}
    if not at:
        return name, switches
    for one in rest.split(","):
        switch, _, value = one.partition("=")
        if not switch.isidentifier() or not value:
            raise ValueError(
                f"{name!r}: {one!r} is no switch; write NAME@SWITCH=VALUE,SWITCH=VALUE"
            )
        if switch in switches:
            raise ValueError(f"{name!r}: {switch} is given twice; give it once")
        if switch == "num_classes":
            raise ValueError(f"{name!r}: the data set says how many classes; leave {switch} out")
        switches[switch] = _parse_value(value)
    if switches.get("in_channels", 3) not in (1, 3):
        raise ValueError(f"{name!r}: in_channels is 1 for grey images or 3, nothing else")
    return head + colon + base, switches


def _parse_value(text: str) -> bool | int | float | str:
    """Return a switch's value: true, false, a number, else the text itself."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):  # int first: "2" is a number of towers, "0.5" a rate
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def check_switches(build: Callable[..., object], switches: Mapping[str, object]) -> None:
    """Raise ValueError for a switch that `build` lacks, or a value that it can't have.

    Whoever knows the model's name says it. A `build` that takes any switch hands them on, and who
    takes them checks them.
    """
    parameters = inspect.signature(build).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    kinds = get_type_hints(build)
    known = {switch: kinds[switch] for switch in parameters if switch != "num_classes"}
    check_against(known, switches)


def check_against(kinds: Mapping[str, object], switches: Mapping[str, object]) -> None:
    """Raise ValueError for a switch that isn't among `kinds`, or that has a value of another kind.

    It says what is allowed. Our own whole numbers are counts and our other numbers are rates.
    """
    for switch, value in switches.items():
        if switch not in kinds:
            hint = did_you_mean(switch, kinds, num_names=1) or f"it has {', '.join(kinds)}"
            raise ValueError(f"there is no switch {switch!r}; {hint}")
        kind = kinds[switch]
        check_value(switch, value, kind)
        if kind is int and isinstance(value, int) and value < 1:
            raise ValueError(f"{switch} is at least 1, not {value}")
        # Written so that it refuses "nan", too.
        if kind is float and isinstance(value, int | float) and not 0 <= value <= 1:
            raise ValueError(f"{switch} is from 0 to 1, not {value}")


def check_value(switch: str, value: object, kind: object) -> None:
    """Raise ValueError unless a value is of a switch's kind; it says what is allowed."""
    if not _is_of_kind(value, kind):
        raise ValueError(f"{switch} is {_describe_kind(kind)}, not {value!r}")


def check_library_switches(
    model: object, switches: Mapping[str, object], build: Callable[[], object]
) -> None:
    """Raise ValueError for a switch that a built model's class, a library's, can't have meant.

    A value must be of the kind that the class says it takes. Where the class takes any word, as
    torchvision's MobileNet v3 does, one that it doesn't name must have changed the model; `build`
    builds it without switches.
    """
    parameters = inspect.signature(type(model)).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for switch, value in switches.items():
        parameter = parameters.get(switch)
        if parameter is not None:
            _check_by_parameter(parameter, value)
        elif takes_any and str(model) == str(build()):
            raise ValueError(f"there is no switch {switch!r}, or {value} changes nothing")


def _check_by_parameter(parameter: inspect.Parameter, value: object) -> None:
    """Raise ValueError for a value of another kind than a parameter's annotation or default."""
    kind, default = parameter.annotation, parameter.default
    # Some libraries say more by a default than by its annotation.
    if not isinstance(value, PLAIN_KINDS) or type(value) is type(default):
        return
    if kind in (Any, parameter.empty) or isinstance(kind, str | TypeVar):
        # Of what has no annotation the default tells; a default of None tells nothing.
        kind = type(default) if isinstance(default, PLAIN_KINDS) else type(value)
    check_value(parameter.name, value, kind)


def list_plain_switches(model_class: type) -> list[str]:
    """Return the switches of a library's class that one word or number can set."""
    found = []
    for switch, parameter in inspect.signature(model_class).parameters.items():
        is_plain = isinstance(parameter.default, PLAIN_KINDS)
        if switch not in DECIDED and (is_plain or parameter.annotation in PLAIN_KINDS):
            found.append(switch)
    return found


def _is_of_kind(value: object, kind: object) -> bool:
    origin = get_origin(kind)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(kind))
    if origin in (Union, UnionType):
        return any(_is_of_kind(value, one) for one in get_args(kind))
    if kind in (bool, int, str, NoneType):
        return type(value) is kind  # not isinstance: true is no number
    if kind is float:
        return type(value) in (int, float)
    # Lists and the like, which only a caller in Python can give.
    return not isinstance(value, PLAIN_KINDS)


def _describe_kind(kind: object) -> str:
    """Say in words what a switch of a kind can be."""
    if get_origin(kind) is Literal:
        return " or ".join(str(value) for value in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_describe_kind(one) for one in get_args(kind) if one is not NoneType)
    if isinstance(kind, type) and kind in IN_WORDS:
        return IN_WORDS[kind]
    return "a value that only a caller in Python can give"

"""Models of users' files, `FILE.py:FUNCTION`: their code is run so that a fault is theirs alone."""

import contextlib
import inspect
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo.cause import UserCodeError, cause_of
from zoo.neighbour import import_file
from zoo.suggest import did_you_mean

USER_IMAGE_SIZE = 32  # pixels, of a user's network that doesn't say
# What a file may set for every network of the process, to be set back.
TORCH_DEFAULTS: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
)


def build_user_model(name: str, *, num_classes: int, **switches: Any) -> nn.Module:
    """Call FUNCTION of FILE.py with `num_classes` and what else it takes.

    Raise ValueError for a switch that the function lacks, and where it returns no module;
    UserCodeError where its code fails.
    """
    function = _find_function(name)
    arguments = _accepted(name, function, {"num_classes": num_classes, **switches})
    with running_user_code(name):
        model = function(**arguments)
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name} returned a {type(model).__name__}, not a torch.nn.Module")
    return model


def describe_user_file(name: str) -> dict[str, Any]:
    """Say what a user's function or, failing that, its file says of itself: `image_size`."""
    function = _find_function(name)
    file, _, _ = name.rpartition(":")
    of_file = getattr(_load_file(file), "image_size", USER_IMAGE_SIZE)
    size = getattr(function, "image_size", of_file)
    return {"family": "user", "file": file, "source": "file", "image_size": int(size)}


def _find_function(name: str) -> Callable[..., Any]:
    file, _, rest = name.rpartition(":")
    module = _load_file(file)
    function = getattr(module, rest, None)
    if not callable(function):
        callables = [key for key, value in vars(module).items() if callable(value)]
        hint = did_you_mean(rest, [key for key in callables if not key.startswith("_")])
        raise ValueError(f"{file} has no function {rest!r}" + (f"; {hint}" if hint else ""))
    checked: Callable[..., Any] = function
    return checked


def _load_file(file: str) -> Any:
    with running_user_code(file):
        return import_file(Path(file).resolve())


@contextlib.contextmanager
def running_user_code(name: str) -> Iterator[None]:
    """Run a user's code as if it were alone: raise UserCodeError for whatever it raises.

    It sees no arguments of ours, what it prints goes to standard error, and what it changes for
    the whole process is set back.
    """
    complaint = io.StringIO()
    with _setting_back():
        sys.argv = [name]
        try:
            with contextlib.redirect_stdout(sys.stderr), contextlib.redirect_stderr(complaint):
                yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # Also SystemExit, by which argparse refuses words: it says why in its last line.
            said = complaint.getvalue().strip().rpartition("\n")[2]
            why = f" ({said})" if isinstance(error, SystemExit) and said else ""
            raise UserCodeError(f"{name}: {cause_of(error)}{why}") from error
        finally:
            sys.stderr.write(complaint.getvalue())


@contextlib.contextmanager
def _setting_back() -> Iterator[None]:
    """Set back what is the whole process's: folder, environment, arguments, torch's defaults."""
    folder, variables, arguments, path = Path.cwd(), dict(os.environ), sys.argv, list(sys.path)
    defaults = [(get, set_back, get()) for get, set_back in TORCH_DEFAULTS]
    try:
        yield
    finally:
        os.chdir(folder)
        sys.argv = arguments
        # What the file added to the path stays, at its end, where it hides nothing.
        sys.path[:] = path + [place for place in sys.path if place not in path]
        if dict(os.environ) != variables:
            os.environ.clear()
            os.environ.update(variables)
        for get, set_back, before in defaults:
            if get() != before:
                set_back(before)


def _accepted(name: str, function: Callable[..., Any], switches: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that a user's function takes; only `num_classes` is dropped in silence.

    Raise ValueError for any other that it lacks.
    """
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return switches
    taken = {parameter.name for parameter in parameters}
    refused = [key for key in switches if key not in taken and key != "num_classes"]
    if refused:
        names = ", ".join(sorted(taken)) or "nothing"
        raise ValueError(f"{name} takes no {refused[0]!r}; it takes {names}")
    return {key: value for key, value in switches.items() if key in taken}

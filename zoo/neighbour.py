"""Import a user's file so that it sees the modules beside it, and no other file's.

A folder of a user is a package with a name of its own, `zoo_user_...`, and `import layers` in one
of its files imports that package's `layers`. So two folders may each have a `layers.py`, and
neither hides a library's or Python's own module.
"""

import builtins
import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

PREFIX = "zoo_user_"


def import_file(path: Path) -> ModuleType:
    """Import a user's file once, by its absolute path. Raise whatever the file raises."""
    package = _open_package(path.parent)
    name = f"{package}.{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Before it runs: dataclasses look their own module up while the file is executed.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _open_package(folder: Path) -> str:
    """Make a folder a package, and return its name."""
    # With what isn't a letter or digit in hexadecimal: unlike folders have unlike names.
    name = PREFIX + re.sub(r"[\W_]", lambda found: f"_{ord(found[0]):x}_", str(folder))
    if name not in sys.modules:
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    return name


class _Finder:
    """Finds what stands in a user's folder, to be run by `_Loader`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(PREFIX):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            assert spec.origin is not None
            spec.loader = _Loader(name, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    """Runs a file whose `import` statements, at its top and in its functions, see its neighbours.

    Python takes a module's `import` from the module's own `__builtins__`.
    """

    def exec_module(self, module: ModuleType) -> None:
        package, _, _ = module.__name__.partition(".")
        own = vars(builtins) | {"__import__": _Importer(package)}
        vars(module)["__builtins__"] = own
        super().exec_module(module)


class _Importer:
    """The `__import__` of the files of one folder."""

    def __init__(self, package: str) -> None:
        self.package = package
        (folder,) = sys.modules[package].__path__
        self.folder = Path(folder)

    def __call__(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - as __import__ calls it
        locals: Mapping[str, object] | None = None,  # noqa: A002 - as __import__ calls it
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        top, _, _ = name.partition(".")
        if level or not self._is_neighbour(top):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = builtins.__import__(f"{self.package}.{name}", globals, locals, fromlist or ())
        # Without a list of names, `import a.b` gives the outermost package: here that is ours.
        return module if fromlist else sys.modules[f"{self.package}.{top}"]

    def _is_neighbour(self, name: str) -> bool:
        file, folder = self.folder / f"{name}.py", self.folder / name
        return (file.is_file() or folder.is_dir()) and not _is_library(name)


def _is_library(name: str) -> bool:
    """Return whether a module is Python's own or installed: no file of a user hides one."""
    if name in sys.stdlib_module_names:
        return True
    # Not by the current folder, which another user's file may stand in.
    installed = [place for place in sys.path if place.endswith("-packages")]
    return PathFinder.find_spec(name, installed) is not None

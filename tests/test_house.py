"""The house's rules.

Oracle: the arrows of ARCHITECTURE.md, and the names of Python's own modules.
"""

import ast
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("zoo", "bench", "reports")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).glob("**/*.py"))

# What a package of ours may import of ours, besides itself. A folder of bench stands on those
# named; no arrow runs up.
ARROWS = {
    "zoo": (),
    "bench/results": ("zoo",),
    "bench/request": ("bench.results", "zoo"),
    "bench/distributed": ("bench.request", "bench.results", "zoo"),
    "bench/data": ("bench.distributed", "bench.request", "bench.results", "zoo"),
    "bench/train": ("bench.data", "bench.distributed", "bench.request", "bench.results", "zoo"),
    "bench/cell": (
        "bench.train",
        "bench.data",
        "bench.distributed",
        "bench.request",
        "bench.results",
        "bench.environment",
        "zoo",
    ),
    "bench/deploy": (
        "bench.train",
        "bench.data",
        "bench.distributed",
        "bench.request",
        "bench.results",
        "zoo",
    ),
    "bench/measure": (
        "bench.deploy",
        "bench.train",
        "bench.data",
        "bench.distributed",
        "bench.request",
        "bench.results",
        "zoo",
    ),
    "bench/launch": ("bench.data", "bench.distributed", "bench.request", "bench.results", "zoo"),
    "bench/studies": ("bench", "zoo"),
    "bench/export.py": ("bench.deploy", "zoo"),
    "bench/predict.py": ("bench.data.picture", "bench.data.class_folder", "bench.deploy", "zoo"),
    "bench/environment.py": ("bench.distributed", "bench.request", "zoo"),
    "bench/verify.py": ("bench.train.schedule", "bench.request", "bench.results", "zoo"),
    "bench/publish.py": ("bench.verify", "bench.request", "bench.results"),
    "bench/serve.py": ("bench.deploy", "bench.request", "zoo"),
    "bench/run.py": ("bench", "zoo"),
    "bench/__init__.py": (),
    "reports": ("bench.results", "zoo.terminal"),
}
MOST_IMPORTS = 15  # of our own modules, in one file
# Libraries that only these files may import.
KEPT = {
    "accelerate": {"bench/distributed/"},
    "torch.distributed": {"bench/distributed/", "zoo/tower.py"},
    "torchvision.models": {"zoo/external.py"},
    "timm.models": {"zoo/external.py"},
    "plotly": {"reports/"},
    "jinja2": {"reports/"},
}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or within a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    room = next(one for one in ARROWS if name == one or name.startswith(one + "/"))
    own = room.removesuffix(".py").replace("/", ".")
    for module in imports(path):
        if module.split(".")[0] in PACKAGES and module not in PACKAGES:
            allowed = (own, *ARROWS[room])
            assert any(module == one or module.startswith(one + ".") for one in allowed), (
                f"{name} imports {module}"
            )
        for library, places in KEPT.items():
            if module == library or module.startswith(library + "."):
                assert any(name.startswith(place) for place in places), f"{name} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_distributed_knows_ranks(path: Path) -> None:
    """A test of a rank elsewhere is a fault.

    `zoo/tower.py` holds the exchange between ranks itself.
    """
    if "distributed" in path.parts or path.name == "tower.py":
        return
    text = path.read_text(encoding="utf-8")
    assert "is_main_process" not in text
    assert "rank == 0" not in text


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_imports_more_than_a_few_of_ours(path: Path) -> None:
    """`bench/run.py` is the whole run on one screen, so it may name what it runs."""
    modules = {
        node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    }
    own = {module for module in modules if module and module.split(".")[0] in PACKAGES}
    assert len(own) <= MOST_IMPORTS, sorted(own)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_stands_on_the_map(path: Path) -> None:
    if path.name == "__init__.py":
        return
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert f"`{path.relative_to(ROOT)}`" in page


def test_no_module_is_named_like_one_of_python_or_of_a_library() -> None:
    """`python bench/run.py` puts bench/ on the module path, so its files would hide theirs."""
    taken = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions())
    own = {*PACKAGES}
    assert not {path.stem for path in FILES if path.stem not in ("__init__", "__main__")} & (
        taken - own
    )


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["-m", "zoo"], ["torch", "numpy", "pandas"]),
        (["-c", "import zoo, zoo.registry"], ["torch", "numpy"]),
        (["-m", "bench.run", "--help"], ["torch", "accelerate", "pandas", "plotly"]),
        (["-m", "bench.launch", "--models", "nobody"], ["torch", "accelerate", "pandas"]),
        (["-c", "import reports.page"], ["torch"]),
        (
            ["-c", "import bench.verify, bench.results.record, bench.results.verdict"],
            ["torch", "pandas"],
        ),
    ],
    ids=lambda value: " ".join(value[1:]),
)
def test_what_should_start_fast_imports_nothing_heavy(words: list[str], heavy: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = {
        line.rpartition("|")[2].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    assert len(loaded) > 20
    assert not loaded & set(heavy)


def test_the_generated_tables_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.readme", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

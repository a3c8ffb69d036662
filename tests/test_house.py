"""The house's rules. Oracle: the arrows of ARCHITECTURE.md, and the names of Python's own modules."""

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

# What a package of ours may import of ours.
ARROWS = {
    "zoo": ("zoo",),
    "bench": ("bench", "zoo"),
    "reports": ("reports", "bench.results.record", "bench.results.verdict"),
}
# Libraries that only these files may import.
KEPT = {
    "accelerate": {"bench/distributed/runtime.py", "bench/entry.py"},
    "torch.distributed": {
        "bench/distributed/runtime.py",
        "bench/distributed/parallel.py",
        "bench/distributed/roll_call.py",
        "zoo/tower.py",
    },
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
    allowed = ARROWS[path.relative_to(ROOT).parts[0]]
    for module in imports(path):
        if module.split(".")[0] in PACKAGES and module not in PACKAGES:
            assert any(module == one or module.startswith(one + ".") for one in allowed), f"{name} imports {module}"
        for library, places in KEPT.items():
            if module == library or module.startswith(library + "."):
                assert any(name.startswith(place) for place in places), f"{name} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_runtime_knows_ranks(path: Path) -> None:
    """A test of a rank elsewhere is a fault; `zoo/tower.py` holds the exchange between ranks itself."""
    if path.name in ("runtime.py", "world.py", "launch.py", "tower.py"):
        return
    text = path.read_text(encoding="utf-8")
    assert "is_main_process" not in text
    assert "rank == 0" not in text


@pytest.mark.parametrize("module", ["bench.entry", "bench.distributed.parallel"])
def test_what_runtime_is_made_of_is_imported_by_it_alone(module: str) -> None:
    importers = [str(path.relative_to(ROOT)) for path in FILES if module in imports(path)]
    assert importers == ["bench/distributed/runtime.py"]


def test_no_module_is_named_like_one_of_python_or_of_a_library() -> None:
    """`python bench/run.py` puts bench/ on the module path, so its files would hide theirs."""
    taken = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions())
    own = {*PACKAGES}
    assert not {path.stem for path in FILES if path.stem not in ("__init__", "__main__")} & (taken - own)


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["-m", "zoo"], ["torch", "numpy", "pandas"]),
        (["-c", "import zoo, zoo.registry"], ["torch", "numpy"]),
        (["-m", "bench.run", "--help"], ["torch", "accelerate", "pandas", "plotly"]),
        (["-m", "bench.launch", "--models", "nobody"], ["torch", "accelerate", "pandas"]),
        (["-c", "import reports.page"], ["torch"]),
        (["-c", "import bench.verify, bench.results.record, bench.results.verdict"], ["torch", "pandas"]),
    ],
    ids=lambda value: " ".join(value[1:]),
)
def test_what_should_start_fast_imports_nothing_heavy(words: list[str], heavy: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert len(loaded) > 20
    assert not loaded & set(heavy)


def test_the_readmes_tables_are_those_of_the_registry() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.readme", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

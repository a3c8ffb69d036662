"""The patches that docs/how-to.md shows.

Oracle: git, which applies them to the code as it is.
"""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8")
PATCHES = re.findall(r"^```diff\n(--- a/.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(3))
def test_every_patch_of_the_document_applies(number: int, tmp_path: Path) -> None:
    assert len(PATCHES) == 3
    paths = re.findall(r"^\+\+\+ b/(.*)$", PATCHES[number], re.MULTILINE)
    assert len(paths) >= 2
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    # Outside a repository: a checkout without its history will do.
    command = ["git", "apply", "-"]
    done = subprocess.run(
        command, input=PATCHES[number], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / path).read_bytes() != (ROOT / path).read_bytes() for path in paths)

"""Three hundred damages to a checkpoint.

Oracle: the bytes that were written; each file of JSON, what it says.

A damage that is passed over would reach a model; here every one must be found before a tensor is
read.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.distributed.runtime import Runtime
from bench.request.command_line import parse
from bench.train import checkpoint
from bench.train.build import build_learner
from bench.train.trainer import Learner, Progress
from tests.support.saved import save_checkpoint

NUM_DAMAGES = 300
PAGE = 4096
Draw = np.random.Generator


@pytest.fixture
def place(runtime: Runtime, tmp_path: Path) -> Path:
    """A checkpoint with all its files, of several pages each, beside an older one."""
    for step in (1, 2):
        save_checkpoint(
            tmp_path / "checkpoints",
            learner(runtime, seed=step),
            Progress(step=step, images=32 * step),
        )
    return tmp_path / "checkpoints" / "step_2"


def learner(runtime: Runtime, seed: int) -> Learner:
    torch.manual_seed(seed)
    config = parse(["--recipe", "smoke", "--ema", "0.9"])
    one = build_learner(nn.Linear(64, 64), config=config, peak=0.1, seed=0, runtime=runtime)
    one.bare.weight.grad = torch.randn_like(one.bare.weight)
    one.optimizer.step()
    return one


def truncate(path: Path, draw: Draw) -> None:
    path.write_bytes(path.read_bytes()[: int(draw.integers(path.stat().st_size))])


def flip_a_bit(path: Path, draw: Draw) -> None:
    content = bytearray(path.read_bytes())
    content[int(draw.integers(len(content)))] ^= 1 << int(draw.integers(8))
    path.write_bytes(content)


def zero_a_page(path: Path, draw: Draw) -> None:
    content = bytearray(path.read_bytes())
    start = int(draw.integers(0, len(content), dtype=np.int64)) // PAGE * PAGE
    content[start : start + PAGE] = bytes(len(content[start : start + PAGE]))
    path.write_bytes(content)


def append(path: Path, draw: Draw) -> None:
    path.write_bytes(path.read_bytes() + draw.bytes(int(draw.integers(1, 9))))


def delete(path: Path, _: Draw) -> None:
    path.unlink()


def swap_with_another(path: Path, draw: Draw) -> None:
    other = draw.choice([one for one in sorted(path.parent.iterdir()) if one != path])
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def swap_with_the_one_before(path: Path, _: Draw) -> None:
    shutil.copy(path.parent.parent / "step_1" / path.name, path)


DAMAGES: tuple[Callable[[Path, Draw], None], ...] = (
    truncate,
    flip_a_bit,
    flip_a_bit,
    zero_a_page,
    append,
    delete,
    swap_with_another,
    swap_with_the_one_before,
)


def said(files: dict[str, bytes]) -> dict[str, Any]:
    """What the files of a checkpoint say: JSON by its values, where it still is JSON."""
    return {
        name: _parsed(content) if name.endswith(".json") else content
        for name, content in files.items()
    }


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content


def read_all(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(place.iterdir())}


def test_three_hundred_damages_are_found_before_a_tensor_is_read(
    place: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_all(place)
    draw = np.random.default_rng(20261122)
    found = 0
    while found < NUM_DAMAGES:
        name = str(draw.choice(sorted(whole)))
        damage = DAMAGES[int(draw.integers(len(DAMAGES)))]
        damage(place / name, draw)
        damaged = read_all(place)
        # What says the same is no damage: zeros over zeros, or a blank behind JSON.
        if said(damaged) != said(whole):
            with pytest.raises(ValueError, match=r"model|optimizer|ema|manifest") as error:
                checkpoint.verify(place)
            changed = [one for one in whole if damaged.get(one) != whole[one]]
            assert any(one in str(error.value) for one in changed), (
                damage.__name__,
                name,
                str(error.value),
            )
            found += 1
            if found % 30 == 0:
                _restores_the_one_before(place, runtime, monkeypatch)
        for one, content in whole.items():
            (place / one).write_bytes(content)


def _restores_the_one_before(
    place: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may be loaded from the damaged folder, neither as a whole nor in part."""
    load = checkpoint.load_file

    def guarded(path: Path) -> dict[str, torch.Tensor]:
        assert place not in Path(path).parents, path
        return load(path)

    def guarded_torch(path: Path, **options: Any) -> Any:
        assert place not in path.parents, path
        return load_with_torch(path, **options)

    load_with_torch = torch.load
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "load_file", guarded)
        patch.setattr(torch, "load", guarded_torch)
        progress = checkpoint.restore(place.parent, learner(runtime, seed=3))
    assert progress is not None
    assert progress.step == 1
    (place.parent / f"damaged_{place.name}").rename(place)

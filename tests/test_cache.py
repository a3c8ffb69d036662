"""The cache of decoded sets against what was written into it.

Damage, change, races, kills, and nowhere to write.
"""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data import cache, set_build
from bench.data import reader as decoder
from bench.data.dataset import open_dataset
from tests.support.image_factory import TEST, one_line, write_parquet

pytestmark = pytest.mark.usefixtures("own_cache")


def test_second_start_decodes_nothing(cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_dataset("cifar10", cifar10)
    monkeypatch.setattr(set_build, "decode", pytest.fail)
    again = open_dataset("cifar10", cifar10)
    assert (again.checksum, again.mean, again.class_names) == (
        first.checksum,
        first.mean,
        first.class_names,
    )
    assert np.array_equal(again.train.images, first.train.images)


def test_the_same_files_by_another_spelling_are_the_same_set(
    cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_dataset("cifar10", cifar10)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(set_build, "decode", pytest.fail)
    for spelling in (
        Path("data/cifar10"),
        Path("data"),
        tmp_path / "link",
        tmp_path / "data" / ".." / "data",
    ):
        assert open_dataset("cifar10", spelling, say=pytest.fail).checksum == first.checksum


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def decoded_folder() -> Path:
    (folder,) = (path for path in (cache.user_cache() / "decoded").iterdir() if path.is_dir())
    return folder


@pytest.mark.parametrize(
    "name", ["train_images.npy", "test_images.npy", "train_labels.npy", "manifest.json"]
)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damaged_cache_is_built_anew_and_said(cifar10: Path, name: str, damage: str) -> None:
    before = open_dataset("cifar10", cifar10)
    pixels = before.train.images.copy()
    del before
    path = decoded_folder() / name
    if damage == "flip":
        flip(path, -20)
    elif damage == "truncate":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.unlink()
    said: list[str] = []
    after = open_dataset("cifar10", cifar10, say=said.append)
    assert np.array_equal(after.train.images, pixels)
    assert any("building it anew" in line for line in said)


def test_changed_source_is_decoded_again(cifar10: Path) -> None:
    before = open_dataset("cifar10", cifar10).checksum
    images = 255 - TEST[0]
    write_parquet(cifar10, "test", images, {"label": TEST[1]})
    assert open_dataset("cifar10", cifar10).checksum != before
    assert len([path for path in decoded_folder().parent.iterdir() if path.is_dir()]) == 1


def test_ranks_that_start_at_once_decode_once(
    cifar10: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    decode = decoder.decode

    def slow(*arguments: Any) -> Any:
        calls.append(arguments)
        time.sleep(0.2)
        return decode(*arguments)

    monkeypatch.setattr(set_build, "decode", slow)
    threads = [threading.Thread(target=open_dataset, args=("cifar10", cifar10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def hold(folder: Path, working: str) -> subprocess.Popen[str]:
    """Start a process that holds a folder's lock and does this meanwhile."""
    code = (
        "import fcntl, sys, time\nfrom pathlib import Path\nfrom bench.data.lock import locked\n"
        "with locked(Path(sys.argv[1]), fcntl.LOCK_EX, print, timeout=60):\n"
        f"    print('held', flush=True)\n    {working}\n"
    )
    held = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert held.stdout is not None
    assert held.stdout.readline() == "held\n"
    return held


def test_another_process_is_waited_for_as_long_as_it_works(cifar10: Path) -> None:
    expected = open_dataset("cifar10", cifar10).checksum
    said: list[str] = []
    work = "end = time.monotonic() + 2.5\n    while time.monotonic() < end: pass"
    with hold(decoded_folder(), work):
        # Longer than the time-out, which counts from the last sign of work.
        found = open_dataset("cifar10", cifar10, timeout=1, say=said.append)
    assert found.checksum == expected
    assert said == [f"waiting for another process that is filling {decoded_folder()}"]


@pytest.mark.ci
@pytest.mark.parametrize("stopped", [True, False])
def test_a_process_that_does_not_get_on_is_named(cifar10: Path, stopped: bool) -> None:
    open_dataset("cifar10", cifar10)
    with hold(decoded_folder(), "time.sleep(600)") as held:
        if stopped:
            held.send_signal(signal.SIGSTOP)
        with pytest.raises(ValueError, match=f"process {held.pid} holds .* for 1 s") as error:
            open_dataset("cifar10", cifar10, timeout=1)
        held.kill()
    one_line(error)


def test_killed_builder_leaves_nothing_that_is_taken_for_a_set(
    cifar10: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(folder: Path, part: str, *_: Any) -> None:
        (folder / f"{part}_images.npy").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(set_build, "write_set", killed)
        with pytest.raises(KeyboardInterrupt):
            open_dataset("cifar10", cifar10)
    root = cache.user_cache() / "decoded"
    assert not [path for path in root.iterdir() if path.is_dir()]
    (lock,) = root.iterdir()
    left = root / lock.name.replace(
        ".lock", ".99999.part"
    )  # what a SIGKILL leaves, which runs no clean-up
    left.mkdir()
    assert len(open_dataset("cifar10", cifar10).train.labels) == 200
    assert not left.exists()


def test_unwritable_cache_goes_to_a_temporary_folder_and_says_so(
    cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    said: list[str] = []
    open_dataset("cifar10", cifar10, say=said.append)
    assert any("can't be written" in line and str(tmp_path / "temporary") in line for line in said)


def test_full_disk_is_one_line(cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(set_build, "write_set", full)
    with pytest.raises(ValueError, match="No space left on device") as error:
        open_dataset("cifar10", cifar10)
    assert "XDG_CACHE_HOME" in one_line(error)

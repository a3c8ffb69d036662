"""Data sets from files. Oracles: torchvision's own reading of an archive, numpy's mean and deviation, hashlib's sums,
the images that the test itself wrote, and the figures published with CIFAR-100.
"""

import hashlib
import os
import threading
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_factory import NUM_CLASSES, random_images, write_batch, write_parquet
from torchvision import datasets

from bench import cache, data, source
from bench import decode as decoder
from bench.data import check_dataset, open_dataset

TRAIN, TEST = random_images(200, 1), random_images(50, 2)
REAL = os.environ.get("ZOOMETRY_DATA")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ZOOMETRY_DATA", raising=False)
    monkeypatch.setattr(data, "CHECKSUMS", {})


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    """A folder with CIFAR-10 in the hub's layout, the rows in an order of their own."""
    order = np.random.default_rng(3).permutation(len(TRAIN[0]))
    folder = tmp_path / "data" / "cifar10"
    write_parquet(folder, "train", TRAIN[0][order], {"label": TRAIN[1][order]})
    write_parquet(folder, "test", TEST[0], {"label": TEST[1]})
    return folder


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same images as the official archive's five batches, with torchvision's sums swapped for theirs."""
    base = tmp_path / "archive" / "cifar-10-batches-py"
    sums = [
        [f"data_batch_{i + 1}", write_batch(base / f"data_batch_{i + 1}", TRAIN[0][i::5], {"labels": TRAIN[1][i::5]})]
        for i in range(5)
    ]
    tests = [["test_batch", write_batch(base / "test_batch", TEST[0], {"labels": TEST[1]})]]
    names = [f"label {i}" for i in range(NUM_CLASSES)]
    meta = write_batch(base / "batches.meta", TEST[0], {"label_names": names})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", sums)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", tests)
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": meta})
    return base.parent


def coarse_cifar100(folder: Path, coarse: Any) -> Path:
    """Write CIFAR-100's layout, ten classes of it."""
    write_parquet(folder, "train", TRAIN[0], {"fine_label": TRAIN[1], "coarse_label": coarse})
    write_parquet(folder, "test", TEST[0], {"fine_label": TEST[1], "coarse_label": TEST[1] % 2})
    return folder


def one_line(error: pytest.ExceptionInfo[ValueError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_rows_are_ordered_by_the_sha256_of_their_pixels(cifar10: Path) -> None:
    found = open_dataset("cifar10", cifar10)
    centre = found.train.images[:, 4:36, 4:36]
    sums = [hashlib.sha256(image.tobytes()).hexdigest() for image in centre]
    assert sums == sorted(sums)
    label_of = {image.tobytes(): label for image, label in zip(*TRAIN, strict=True)}
    assert [label_of[np.ascontiguousarray(image).tobytes()] for image in centre] == found.train.labels.tolist()


def test_every_image_is_stored_inside_a_margin_of_zeros(cifar10: Path) -> None:
    found = open_dataset("cifar10", cifar10)
    assert found.test.images.shape == (50, 40, 40, 3)
    assert isinstance(found.test.images, np.memmap)
    assert found.test.images.sum(dtype=np.int64) == TEST[0].sum(dtype=np.int64)
    assert found.test.images[:, 4:36, 4:36].sum(dtype=np.int64) == TEST[0].sum(dtype=np.int64)


def test_archive_and_parquet_give_the_same_set(cifar10: Path, archive: Path) -> None:
    hub, official = open_dataset("cifar10", cifar10), open_dataset("cifar10", archive)
    assert (hub.source, official.source) == ("parquet", "archive")
    assert hub.checksum == official.checksum
    assert hub.class_names == official.class_names == tuple(f"label {i}" for i in range(NUM_CLASSES))
    assert np.array_equal(hub.train.images, official.train.images)
    assert np.array_equal(hub.validation_indices, official.validation_indices)
    theirs = datasets.CIFAR10(archive, train=True).data
    ours = official.train.images[:, 4:36, 4:36].reshape(200, -1)
    assert np.array_equal(np.unique(ours, axis=0), np.unique(theirs.reshape(200, -1), axis=0))


def test_packed_archive_is_checked_and_unpacked(archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import tarfile

    packed = tmp_path / "packed" / "cifar-10-python.tar.gz"
    packed.parent.mkdir()
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(archive / "cifar-10-batches-py", "cifar-10-batches-py")
    with pytest.raises(ValueError, match=r"cifar-10-python.tar.gz: md5 .* expected c58f") as error:
        open_dataset("cifar10", packed.parent)
    one_line(error)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(packed.read_bytes()).hexdigest())
    assert open_dataset("cifar10", packed.parent).checksum == open_dataset("cifar10", archive).checksum
    assert list(packed.parent.iterdir()) == [packed]


def test_altered_batch_is_refused_with_both_sums(archive: Path) -> None:
    batch = archive / "cifar-10-batches-py" / "data_batch_3"
    content = bytearray(batch.read_bytes())
    expected = hashlib.md5(content).hexdigest()
    content[1000] ^= 1
    batch.write_bytes(content)
    with pytest.raises(ValueError, match="data_batch_3") as error:
        open_dataset("cifar10", archive)
    assert expected in one_line(error)
    assert hashlib.md5(content).hexdigest() in one_line(error)


def test_validation_is_a_tenth_of_each_class_and_apart_from_training(cifar10: Path) -> None:
    found = open_dataset("cifar10", cifar10)
    assert sorted([*found.train_indices, *found.validation_indices]) == list(range(200))
    assert np.bincount(found.train.labels[found.validation_indices]).tolist() == [2] * NUM_CLASSES


def test_published_protocol_trains_on_everything(cifar10: Path) -> None:
    found = open_dataset("cifar10", cifar10, protocol="published")
    assert found.train_indices.tolist() == list(range(200))
    assert len(found.validation_indices) == 0


def test_mean_and_deviation_are_numpys(cifar10: Path) -> None:
    found = open_dataset("cifar10", cifar10)
    scaled = TRAIN[0].astype(np.float64).reshape(-1, 3) / 255
    assert found.mean == pytest.approx(scaled.mean(0), abs=1e-12)
    assert found.std == pytest.approx(scaled.std(0), abs=1e-12)


def test_superclasses_come_from_the_coarse_labels(tmp_path: Path) -> None:
    found = open_dataset("cifar100", coarse_cifar100(tmp_path / "c", TRAIN[1] % 2))
    assert found.superclass_of == (0, 1) * 5
    assert found.superclass_names == ("coarse_label 0", "coarse_label 1")
    assert found.class_names[3] == "fine_label 3"


def test_class_in_two_superclasses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two superclasses") as error:
        open_dataset("cifar100", coarse_cifar100(tmp_path / "c", np.arange(200) % 3))
    one_line(error)


def test_data_is_found_in_the_folder_its_parent_the_variable_and_the_cache(
    cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = open_dataset("cifar10", cifar10).checksum
    assert open_dataset("cifar10", cifar10.parent).checksum == expected
    monkeypatch.setenv("ZOOMETRY_DATA", str(cifar10.parent))
    assert open_dataset("cifar10", None).checksum == expected
    monkeypatch.delenv("ZOOMETRY_DATA")
    (tmp_path / "cache" / "zoometry" / "cifar10").symlink_to(cifar10)
    assert open_dataset("cifar10", None).checksum == expected


def test_parquet_of_another_set_is_not_taken(cifar10: Path) -> None:
    with pytest.raises(ValueError, match="'cifar100' not found in") as error:
        check_dataset("cifar100", cifar10)
    assert str(cifar10) in one_line(error)
    assert "cifar-100-python.tar.gz" in one_line(error)


def test_truncated_parquet_is_named(cifar10: Path) -> None:
    path = cifar10 / "test-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"test-00000-of-00001.parquet: truncated") as error:
        open_dataset("cifar10", cifar10)
    one_line(error)


def test_altered_parquet_is_refused_with_both_sums(
    cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = np.argsort([hashlib.sha256(image.tobytes()).digest() for image in TRAIN[0]])
    total = hashlib.sha256(str(TRAIN[0].shape).encode() + TRAIN[0][order].tobytes() + TRAIN[1][order].tobytes())
    monkeypatch.setattr(data, "CHECKSUMS", {("cifar10", "train"): total.hexdigest()})
    open_dataset("cifar10", cifar10)
    images = TRAIN[0].copy()
    images[17, 3, 3, 1] ^= 1
    write_parquet(tmp_path / "altered", "train", images, {"label": TRAIN[1]})
    write_parquet(tmp_path / "altered", "test", TEST[0], {"label": TEST[1]})
    with pytest.raises(ValueError, match=r"train-00000-of-00001.parquet: .* checksum") as error:
        open_dataset("cifar10", tmp_path / "altered")
    assert total.hexdigest() in one_line(error)


def test_unreadable_row_is_named(cifar10: Path, tmp_path: Path) -> None:
    path = cifar10 / "test-00000-of-00001.parquet"
    content = path.read_bytes()
    at = content.index(b"IDAT") + 20
    path.write_bytes(content[:at] + b"\0" * 40 + content[at + 40 :])
    with pytest.raises(ValueError, match=r"test-00000-of-00001.parquet: (row 0|damaged)") as error:
        open_dataset("cifar10", cifar10)
    one_line(error)


def test_second_start_decodes_nothing(cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_dataset("cifar10", cifar10)
    monkeypatch.setattr(data, "decode", None)
    again = open_dataset("cifar10", cifar10)
    assert (again.checksum, again.mean, again.class_names) == (first.checksum, first.mean, first.class_names)
    assert np.array_equal(again.train.images, first.train.images)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def decoded_folder() -> Path:
    (folder,) = (path for path in (cache.user_cache() / "decoded").iterdir() if path.is_dir())
    return folder


@pytest.mark.parametrize("name", ["train_images.npy", "test_images.npy", "train_labels.npy", "manifest.json"])
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


def test_ranks_that_start_at_once_decode_once(cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    decode = decoder.decode

    def slow(*arguments: Any) -> Any:
        calls.append(arguments)
        time.sleep(0.2)
        return decode(*arguments)

    monkeypatch.setattr(data, "decode", slow)
    threads = [threading.Thread(target=open_dataset, args=("cifar10", cifar10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_killed_builder_leaves_nothing_that_is_taken_for_a_set(cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(folder: Path, part: str, one: Any) -> None:
        (folder / f"{part}_images.npy").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(data, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            open_dataset("cifar10", cifar10)
    left = cache.user_cache() / "decoded" / ".cifar10-000000000000.1.part"
    assert not [path for path in left.parent.iterdir() if path.is_dir()]
    assert len(open_dataset("cifar10", cifar10).train.labels) == 200


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

    monkeypatch.setattr(data, "_write", full)
    with pytest.raises(ValueError, match="No space left on device") as error:
        open_dataset("cifar10", cifar10)
    assert "XDG_CACHE_HOME" in one_line(error)


def test_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean cifar100") as error:
        check_dataset("cifar1000", None)
    one_line(error)


@pytest.mark.parametrize("name", ["auto", "cifar100"])
def test_folder_that_does_not_exist_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--data-dir .*nowhere: no such folder") as error:
        check_dataset(name, tmp_path / "nowhere")
    one_line(error)


def refuse(*_: Any, **__: Any) -> Any:
    raise urllib.error.URLError("Name or service not known")


def hang(*_: Any, **__: Any) -> Any:
    time.sleep(3)
    raise urllib.error.URLError("too late")


@pytest.mark.parametrize(("answer", "reason"), [(refuse, "not known"), (hang, "no answer within")])
def test_auto_takes_the_stand_in_aloud_when_nothing_can_be_fetched(
    answer: Callable[..., Any], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.urlopen", answer)
    monkeypatch.setattr(source, "START_SECONDS", 0.5)
    said: list[str] = []
    chosen = data._choose("auto", tmp_path, said.append)
    assert chosen.name == "synthetic"
    assert any(reason in line for line in said)
    assert any("stand-in" in line for line in said)
    assert any(str(tmp_path) in line for line in said)
    said.clear()
    monkeypatch.setattr("urllib.request.urlopen", pytest.fail)
    assert data._choose("auto", tmp_path, said.append).name == "synthetic"
    assert any("not trying again" in line for line in said)


def test_named_set_is_never_fetched_or_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", pytest.fail)
    with pytest.raises(ValueError, match="not found in"):
        open_dataset("cifar100", tmp_path)


def test_download_is_taken_where_it_starts(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = cache.user_cache() / "cifar10"

    def served(opened: Any) -> None:
        (archive / "cifar-10-batches-py").rename(Path(opened.root) / "cifar-10-batches-py")

    monkeypatch.setattr(datasets.CIFAR10, "download", served)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: (tmp_path / "page").open("rb"))
    (tmp_path / "page").write_text("here")
    found = source.fetch("cifar10", data.silent)
    assert found is not None
    assert found.folder == fetched


@pytest.mark.skipif(not REAL, reason="ZOOMETRY_DATA doesn't name a folder with the real CIFAR-100")
def test_real_cifar100_has_the_published_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = open_dataset("cifar100", Path(str(REAL)))
    assert not found.stand_in
    assert np.round(found.mean, 4).tolist() == [0.5071, 0.4865, 0.4409]
    assert np.round(found.std, 4).tolist() == [0.2673, 0.2564, 0.2762]
    assert np.bincount(found.train.labels).tolist() == [500] * 100
    assert np.bincount(found.test.labels).tolist() == [100] * 100
    assert np.bincount(found.train.labels[found.validation_indices]).tolist() == [50] * 100
    assert np.bincount(found.superclass_of).tolist() == [5] * 20
    assert found.superclass_names[found.superclass_of[found.class_names.index("wolf")]] == "large_carnivores"

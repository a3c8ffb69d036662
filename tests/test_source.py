"""Finding, fetching and reading official archives.

Oracles: torchvision's own reading, hashlib's md5, the images that the test itself wrote, and the
sums that torchvision publishes for MNIST.
"""

import gzip
import hashlib
import lzma
import os
import tarfile
import time
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torchvision import datasets

from bench.data import archive as archives
from bench.data import cache, download
from bench.data import dataset as data
from bench.data.dataset import check_dataset, open_dataset
from bench.data.source import ARCHIVES
from tests.support.image_factory import (
    NUM_CLASSES,
    TEST,
    TRAIN,
    one_line,
    random_images,
    write_batch,
)

pytestmark = pytest.mark.usefixtures("own_cache")

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
REAL = os.environ.get("ZOOMETRY_DATA")


TAR_MODES: dict[str, Any] = {"tar": "w:", "tar.xz": "w:xz", "tar.bz2": "w:bz2", "tgz": "w:gz"}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same images as the official archive's batches, with torchvision's sums swapped."""
    base = tmp_path / "archive" / "cifar-10-batches-py"
    sums = [
        [
            f"data_batch_{i + 1}",
            write_batch(base / f"data_batch_{i + 1}", TRAIN[0][i::5], {"labels": TRAIN[1][i::5]}),
        ]
        for i in range(5)
    ]
    tests = [["test_batch", write_batch(base / "test_batch", TEST[0], {"labels": TEST[1]})]]
    names = [f"label {i}" for i in range(NUM_CLASSES)]
    meta = write_batch(base / "batches.meta", TEST[0], {"label_names": names})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", sums)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", tests)
    monkeypatch.setattr(
        datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": meta}
    )
    return base.parent


def test_archive_and_parquet_give_the_same_set(cifar10: Path, archive: Path) -> None:
    hub, official = open_dataset("cifar10", cifar10), open_dataset("cifar10", archive)
    assert (hub.source, official.source) == ("parquet", "archive")
    assert hub.checksum == official.checksum
    assert (
        hub.class_names == official.class_names == tuple(f"label {i}" for i in range(NUM_CLASSES))
    )
    assert np.array_equal(hub.train.images, official.train.images)
    assert np.array_equal(hub.validation_indices, official.validation_indices)
    theirs = datasets.CIFAR10(archive, train=True).data
    ours = official.train.images[:, 4:36, 4:36].reshape(200, -1)
    assert np.array_equal(np.unique(ours, axis=0), np.unique(theirs.reshape(200, -1), axis=0))


def test_coarse_labels_and_names_come_from_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "cifar-100-python"
    for part, (images, labels) in (("train", TRAIN), ("test", TEST)):
        md5 = write_batch(
            base / part, images, {"fine_labels": labels.tolist(), "coarse_labels": labels % 5}
        )
        monkeypatch.setattr(datasets.CIFAR100, f"{part}_list", [[part, md5]])
    names = {"fine_label_names": list("abcdefghij"), "coarse_label_names": list("vwxyz")}
    meta = {
        "filename": "meta",
        "key": "fine_label_names",
        "md5": write_batch(base / "meta", TEST[0], names),
    }
    monkeypatch.setattr(datasets.CIFAR100, "meta", meta)
    found = open_dataset("cifar100", base)
    assert found.source == "archive"
    assert found.class_names == tuple("abcdefghij")
    assert found.superclass_names == tuple("vwxyz")
    assert found.superclass_of == (0, 1, 2, 3, 4) * 2


def test_packed_archive_is_checked_and_unpacked(archive: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed" / "cifar-10-python.tar.gz"
    packed.parent.mkdir()
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(archive / "cifar-10-batches-py", "cifar-10-batches-py")
    # The files inside are the published ones, whatever packed them: the sum of the tar file isn't.
    assert (
        open_dataset("cifar10", packed.parent).checksum == open_dataset("cifar10", archive).checksum
    )
    assert list(packed.parent.iterdir()) == [packed]
    batch = archive / "cifar-10-batches-py" / "data_batch_2"
    batch.write_bytes(batch.read_bytes()[:-1] + b"?")
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(archive / "cifar-10-batches-py", "cifar-10-batches-py")
    with pytest.raises(
        ValueError, match=r"cifar-10-python.tar.gz: data_batch_2: md5 .* expected"
    ) as error:
        open_dataset("cifar10", packed.parent)
    one_line(error)


@pytest.mark.parametrize("kind", [*TAR_MODES, "zip"])
@pytest.mark.parametrize("inside", ["cifar-10-batches-py", "somewhere/else", "."])
def test_an_archive_is_known_by_its_files_however_they_were_packed(
    kind: str, inside: str, archive: Path, tmp_path: Path
) -> None:
    folder, to = archive / "cifar-10-batches-py", tmp_path / "packed"
    to.mkdir()
    packed = to / f"cifar-10-python.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archived:
            for path in folder.iterdir():
                archived.write(path, f"{inside}/{path.name}")
    else:
        with tarfile.open(packed, TAR_MODES[kind]) as tar:
            tar.add(folder, inside)
    assert open_dataset("cifar10", to).checksum == open_dataset("cifar10", archive).checksum


@pytest.mark.parametrize("damage", ["cut", "empty", "page", "lacking"])
def test_damaged_packing_is_one_line(archive: Path, damage: str, tmp_path: Path) -> None:
    packed = tmp_path / "packed" / "cifar-10-python.tar.gz"
    packed.parent.mkdir()
    with tarfile.open(packed, "w:gz") as tar:
        name = "cifar-10-batches-py/test_batch" if damage == "lacking" else "cifar-10-batches-py"
        tar.add(archive / name, name)
    whole = packed.read_bytes()
    content = {"cut": whole[:-2000], "empty": b"", "page": b"<html>", "lacking": whole}
    packed.write_bytes(content[damage])
    with pytest.raises(
        ValueError, match=r"cifar-10-python.tar.gz: can't be unpacked .*fetch it again"
    ) as error:
        open_dataset("cifar10", packed.parent)
    one_line(error)


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
    monkeypatch.setattr(download, "START_SECONDS", 0.5)
    said: list[str] = []
    chosen = data._choose_source("auto", tmp_path, said.append)
    assert chosen.name == "synthetic"
    assert any(reason in line for line in said)
    assert any("stand-in" in line for line in said)
    assert any(str(tmp_path) in line for line in said)
    said.clear()
    monkeypatch.setattr("urllib.request.urlopen", pytest.fail)
    assert data._choose_source("auto", tmp_path, said.append).name == "synthetic"
    assert any("not trying again" in line for line in said)


def test_named_set_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    said: list[str] = []
    with pytest.raises(ValueError, match=r"'svhn' not found in .*train_32x32.mat") as error:
        open_dataset("svhn", None, say=said.append)
    one_line(error)
    assert any("not known" in line for line in said)
    monkeypatch.setattr("urllib.request.urlopen", pytest.fail)
    with pytest.raises(ValueError, match="not found in"):
        open_dataset("cifar100", tmp_path)


def test_half_a_set_is_named_by_what_it_lacks(tmp_path: Path) -> None:
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"'mnist' in .* lacks train-images-idx3-ubyte, train-labels-idx1-ubyte "
    ) as error:
        check_dataset("mnist", tmp_path)
    one_line(error)


def test_download_is_taken_where_it_starts(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = cache.user_cache() / "cifar10"

    def served(opened: Any) -> None:
        (archive / "cifar-10-batches-py").rename(Path(opened.root) / "cifar-10-batches-py")

    monkeypatch.setattr(datasets.CIFAR10, "download", served)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: (tmp_path / "page").open("rb"))
    (tmp_path / "page").write_text("here")
    found = download.fetch_archive("cifar10", data.say_nothing)
    assert found is not None
    assert found.folder.parent == fetched


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write an array as MNIST's format has it.

    A magic number, the lengths (big-endian), the bytes; gzipped.
    """
    header = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header + values.tobytes()))


@pytest.fixture(params=[name for name, one in ARCHIVES.items() if one.layout == "idx"])
def mnist(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Path]:
    """A small set in MNIST's files, with torchvision's sums swapped for theirs."""
    folder, name = tmp_path / "idx", str(request.param)
    kind = getattr(datasets, ARCHIVES[name].torchvision_class)
    for part, n in (("train", 60), ("t10k", 20)):
        images, labels = random_images(n, n, size=28, channels=1)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images[..., 0])
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    sums = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in folder.iterdir()]
    monkeypatch.setattr(kind, "resources", sums)
    inside = {path.stem: gzip.decompress(path.read_bytes()) for path in folder.iterdir()}
    monkeypatch.setitem(
        archives.UNPACKED_MD5,
        name,
        {file: hashlib.md5(content).hexdigest() for file, content in inside.items()},
    )
    return name, folder


def test_mnist_is_read_packed_and_unpacked(mnist: tuple[str, Path], tmp_path: Path) -> None:
    name, folder = mnist
    found = open_dataset(name, folder)
    images, labels = random_images(60, 60, size=28, channels=1)
    order = np.argsort([hashlib.sha256(image.tobytes()).digest() for image in images])
    assert np.array_equal(found.train.images[:, 4:32, 4:32], images[order])
    assert np.array_equal(found.train.labels, labels[order])
    assert (found.size, len(found.class_names), len(found.mean)) == (28, 10, 1)
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    for path in folder.iterdir():
        (unpacked / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert open_dataset(name, unpacked).checksum == found.checksum


def test_mnist_that_was_packed_again_is_the_same_set(mnist: tuple[str, Path]) -> None:
    """As Debian's dataset-fashion-mnist is: gzip's header holds a time and a name."""
    name, folder = mnist
    found = open_dataset(name, folder).checksum
    for path in folder.iterdir():
        content = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(content, compresslevel=1, mtime=7))
    assert open_dataset(name, folder).checksum == found


@pytest.mark.parametrize("name_of", ["train-images.idx3-ubyte", "train-images-idx3-ubyte.xz"])
def test_mnist_under_other_names_and_packings(mnist: tuple[str, Path], name_of: str) -> None:
    """As Kaggle has it, and packed by something else than gzip."""
    name, folder = mnist
    found = open_dataset(name, folder).checksum
    for path in list(folder.iterdir()):
        content = gzip.decompress(path.read_bytes())
        path.unlink()
        if name_of.endswith(".xz"):
            path.with_suffix(".xz").write_bytes(lzma.compress(content))
        else:
            path.with_name(path.stem.replace("-idx", ".idx")).write_bytes(content)
    assert open_dataset(name, folder).checksum == found
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_with_other_content_is_refused(mnist: tuple[str, Path], packed: bool) -> None:
    name, folder = mnist
    for path in list(folder.iterdir()):
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[-1] ^= 1
        path.write_bytes(gzip.compress(content))
        if not packed:
            path.unlink()
            path.with_suffix("").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte.* \(unpacked\): md5 .* expected"
    ) as error:
        open_dataset(name, folder)
    one_line(error)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist isn't installed")
def test_fashion_mnist_as_debian_ships_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.data.source.INSTALLED", DEBIAN.parent)
    found = open_dataset("fashion_mnist", None)
    assert np.bincount(found.train.labels).tolist() == [6000] * 10
    assert np.bincount(found.test.labels).tolist() == [1000] * 10
    # The mean and deviation that most programs for Fashion-MNIST state.
    assert np.round([*found.mean, *found.std], 4).tolist() == [0.286, 0.353]


def test_altered_mnist_is_refused_with_its_name(mnist: tuple[str, Path]) -> None:
    name, folder = mnist
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte.gz: md5 .* expected") as error:
        open_dataset(name, folder)
    one_line(error)


@pytest.mark.skipif(not REAL, reason="ZOOMETRY_DATA doesn't name a folder with MNIST's test files")
def test_real_mnist_images_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST's real test files (md5 by torchvision's list), used again for training."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    sums = dict(datasets.MNIST.resources)
    for kind in ("images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"):
        for part in ("train", "t10k"):
            (folder / f"{part}-{kind}").symlink_to(Path(str(REAL)) / "mnist_t10k" / f"t10k-{kind}")
        sums[f"train-{kind}"] = sums[f"t10k-{kind}"]
    monkeypatch.setattr(datasets.MNIST, "resources", list(sums.items()))
    found = open_dataset("mnist", folder)
    assert np.bincount(found.test.labels).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]


def test_svhn_is_read_with_ten_as_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    sums = {}
    for part in ("train", "test"):
        path = tmp_path / f"{part}_32x32.mat"
        savemat(
            path,
            {"X": TRAIN[0].transpose(1, 2, 3, 0), "y": (TRAIN[1] + (TRAIN[1] == 0) * 10)[:, None]},
        )
        sums[part] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", sums)
    found = open_dataset("svhn", tmp_path)
    order = np.argsort([hashlib.sha256(image.tobytes()).digest() for image in TRAIN[0]])
    assert np.array_equal(found.test.images[:, 4:36, 4:36], TRAIN[0][order])
    assert np.array_equal(found.test.labels, TRAIN[1][order])
    (tmp_path / "packed").mkdir()
    for path in tmp_path.glob("*.mat"):
        (tmp_path / "packed" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert open_dataset("svhn", tmp_path / "packed").checksum == found.checksum
    (tmp_path / "test_32x32.mat").write_bytes(b"MATLAB")
    with pytest.raises(ValueError, match=r"test_32x32.mat: md5 .* expected") as error:
        open_dataset("svhn", tmp_path)
    one_line(error)


def test_broken_download_is_said_and_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(opened: Any) -> None:
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(datasets.CIFAR100, "download", broken)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: (tmp_path / "page").open("rb"))
    (tmp_path / "page").write_text("here")
    said: list[str] = []
    assert data._choose_source("auto", None, said.append).name == "synthetic"
    assert any("corrupted" in line for line in said)

"""Batches, the sampler and the device's gather.

Oracles: torchvision's transforms on single images (crop, flip, normalise, resize, grey); set
arithmetic over any size, batch, world and stopping point; the CPU's gather.
"""

import gc
import weakref
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional

from bench.data.dataset import Dataset, ImageSet
from bench.data.loader import Batch, Loader, evaluation_batches
from bench.data.pixels import Cut, Pixels, Upload, count_uploaded_bytes
from bench.data.sampling import Draws
from tests.support.image_factory import memory_dataset, model_input

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
DATASET = memory_dataset(100)


def make_loader(dataset: Dataset = DATASET, **changes: Any) -> Loader:
    options: dict[str, Any] = {
        "batch_size": 20,
        "seed": 5,
        "channels_last": False,
        "device": CPU,
        "mean": dataset.mean,
        "std": dataset.std,
    }
    taken, rest = model_input(options | changes)
    return Loader(dataset, taken, **rest)


def windows(loader: Loader, epoch: int) -> tuple[NDArray[Any], ...]:
    """The draws (dy, dx, mirror) for every stored image, in the order of storage."""
    return loader.cut(Draws(loader.seed, epoch), np.arange(len(loader.labels)))[1:]


def evaluated(
    dataset: Dataset, images: ImageSet, indices: Any = None, **changes: Any
) -> list[Batch]:
    options: dict[str, Any] = {
        "batch_size": 7,
        "channels_last": False,
        "device": CPU,
        "mean": dataset.mean,
        "std": dataset.std,
    }
    taken, rest = model_input(options | changes)
    return list(evaluation_batches(images, indices, taken, dataset=dataset, **rest))


def numbered(n: int) -> Dataset:
    """A set of n one-pixel images whose label is their row, all of them for training."""
    images = ImageSet(np.zeros((n, 1, 1, 1), np.uint8), np.arange(n))
    return replace(
        DATASET,
        size=1,
        margin=0,
        train=images,
        test=images,
        train_indices=np.arange(n),
        mean=(0.5,),
        std=(0.5,),
    )


def by_torchvision(
    image: np.ndarray[Any, Any], top: int, left: int, mirror: bool, dataset: Dataset
) -> torch.Tensor:
    """Do to one stored image what the loader should have done."""
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    tensor = functional.crop(tensor, top, left, dataset.size, dataset.size)
    tensor = functional.horizontal_flip(tensor) if mirror else tensor
    tensor = functional.to_dtype(tensor, torch.float32, scale=True)
    normalised: torch.Tensor = functional.normalize(tensor, list(dataset.mean), list(dataset.std))
    return normalised


@pytest.mark.parametrize("channels_last", [False, True])
def test_batches_are_torchvisions_crop_flip_and_normalise(channels_last: bool) -> None:
    loader = make_loader(channels_last=channels_last)
    dy, dx, mirror = windows(loader, 3)
    seen = 0
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for batch in loader.epoch(3):
        assert batch.images.is_contiguous(memory_format=layout)
        for image, label in zip(batch.images, batch.labels, strict=True):
            matches = [
                row
                for row in DATASET.train_indices[
                    DATASET.train.labels[DATASET.train_indices] == label.item()
                ]
                if torch.allclose(
                    by_torchvision(
                        DATASET.train.images[row], dy[row], dx[row], mirror[row], DATASET
                    ),
                    image,
                    atol=1e-5,
                )
            ]
            assert len(matches) == 1
            seen += 1
    assert seen == 80


def test_crops_and_mirrors_are_drawn_evenly() -> None:
    loader = make_loader(memory_dataset(20_000, size=2))
    dy, dx, mirror = windows(loader, 0)
    for draws, limit in ((dy, 9), (dx, 9), (mirror.astype(int), 2)):
        counts = np.bincount(draws, minlength=limit)
        assert len(counts) == limit
        assert abs(counts / 20_000 - 1 / limit).max() < 5 * np.sqrt(1 / limit / 20_000)
    assert abs(np.corrcoef([dy, dx, mirror])[np.triu_indices(3, 1)]).max() < 5 / np.sqrt(20_000)


def test_draws_change_with_epoch_and_seed_only() -> None:
    first = windows(make_loader(), 1)
    again = windows(make_loader(batch_size=10), 1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], windows(make_loader(), 2)[0])
    assert not np.array_equal(first[0], windows(make_loader(seed=6), 1)[0])


def test_without_augmentation_the_centre_window_comes() -> None:
    batch = next(make_loader(augment=()).epoch(0))
    centres = functional.normalize(
        torch.from_numpy(DATASET.train.images[:, 4:36, 4:36]).permute(0, 3, 1, 2) / 255,
        DATASET.mean,
        DATASET.std,
    )
    nearest = (batch.images[:, None] - centres).abs().amax((2, 3, 4)).amin(1)
    assert nearest.max() < 1e-5


@given(
    n=st.integers(1, 300),
    local=st.integers(1, 20),
    world=st.integers(1, 5),
    epoch=st.integers(0, 5),
    stop=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_world_sees_each_image_once_and_any_tail_is_the_same_tail(
    n: int, local: int, world: int, epoch: int, stop: st.DataObject
) -> None:
    dataset, size = numbered(n), local * world
    if n < size:
        with pytest.raises(ValueError, match=f"more than the {n} training images"):
            make_loader(dataset, batch_size=size, data_size=world, in_channels=1)
        return
    ranks = [
        make_loader(dataset, batch_size=size, data_rank=rank, data_size=world, in_channels=1)
        for rank in range(world)
    ]
    steps = list(zip(*(rank.epoch(epoch) for rank in ranks), strict=True))
    assert len(steps) == ranks[0].steps_per_epoch == n // size
    seen = torch.cat([batch.labels for step in steps for batch in step])
    assert len(seen) == len(set(seen.tolist())) == n // size * size
    alone = torch.cat(
        [
            batch.labels
            for batch in make_loader(dataset, batch_size=size, in_channels=1).epoch(epoch)
        ]
    )
    assert torch.equal(seen, alone)
    start = stop.draw(st.integers(0, n // size))
    tail = [batch.labels for batch in ranks[-1].epoch(epoch, start=start)]
    assert len(tail) == n // size - start
    assert all(torch.equal(a, step[-1].labels) for a, step in zip(tail, steps[start:], strict=True))


@given(
    n=st.integers(12, 120),
    worlds=st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4),
    stop=st.data(),
    balanced=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_an_epoch_that_goes_through_several_worlds_is_the_epoch_of_one(
    n: int, worlds: list[int], stop: st.DataObject, balanced: bool
) -> None:
    dataset = numbered(n)
    dataset = (
        replace(dataset, train=ImageSet(dataset.train.images, np.arange(n) % 5))
        if balanced
        else dataset
    )
    whole = make_loader(dataset, batch_size=12, in_channels=1, balanced=balanced)
    start, seen = 0, []
    for number, world in enumerate(worlds):
        last = number == len(worlds) - 1
        end = (
            whole.steps_per_epoch if last else stop.draw(st.integers(start, whole.steps_per_epoch))
        )
        ranks = [
            make_loader(
                dataset,
                batch_size=12,
                in_channels=1,
                balanced=balanced,
                data_rank=rank,
                data_size=world,
            )
            for rank in range(world)
        ]
        tails = zip(*(rank.epoch(2, start=start) for rank in ranks), strict=True)
        seen += [torch.cat([part.labels for part in step]) for step in islice(tails, end - start)]
        start = end
    expected = [batch.labels for batch in whole.epoch(2)]
    assert len(seen) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


def test_two_ranks_hold_the_images_of_one() -> None:
    alone = list(make_loader().epoch(1))
    both = zip(
        *(make_loader(data_rank=rank, data_size=2).epoch(1) for rank in range(2)), strict=True
    )
    for whole, parts in zip(alone, both, strict=True):
        assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
        assert torch.equal(whole.labels, torch.cat([part.labels for part in parts]))


def test_order_changes_with_the_epoch() -> None:
    loader = make_loader(numbered(90), in_channels=1)
    first, second = (torch.cat([batch.labels for batch in loader.epoch(epoch)]) for epoch in (0, 1))
    assert not torch.equal(first, second)
    assert not torch.equal(first, first.sort().values)


@given(n=st.integers(0, 200), world=st.integers(1, 6), batch=st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_evaluation_sees_every_image_once_over_the_ranks(n: int, world: int, batch: int) -> None:
    dataset = numbered(n)
    seen = [
        label
        for rank in range(world)
        for part in evaluated(
            dataset, dataset.test, batch_size=batch, data_rank=rank, data_size=world, in_channels=1
        )
        for label in part.labels.tolist()
    ]
    assert seen == list(range(n))


def test_evaluation_takes_the_rows_that_it_is_given() -> None:
    rows = DATASET.validation_indices
    batches = evaluated(DATASET, DATASET.train, rows)
    images = torch.cat([batch.images for batch in batches])
    expected = [by_torchvision(DATASET.train.images[row], 4, 4, False, DATASET) for row in rows]
    assert torch.allclose(images, torch.stack(expected), atol=1e-5)
    assert (
        torch.cat([batch.labels for batch in batches]).tolist()
        == DATASET.train.labels[rows].tolist()
    )


@pytest.mark.parametrize("size", [16, 48])
def test_other_sizes_are_torchvisions_resize(size: int) -> None:
    plain, resized = (
        evaluated(DATASET, DATASET.test, image_size=side)[0].images for side in (None, size)
    )
    assert torch.allclose(
        functional.resize(plain, [size, size], antialias=True), resized, atol=1e-5
    )


def test_grey_images_are_spread_over_the_channels() -> None:
    grey = memory_dataset(50, channels=1)
    one = evaluated(grey, grey.test, in_channels=1)[0].images
    three = evaluated(grey, grey.test, in_channels=3)[0].images
    assert torch.equal(one.expand(-1, 3, -1, -1), three)
    named = evaluated(grey, grey.test, in_channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))[
        0
    ].images
    raw = one * grey.std[0] + grey.mean[0]
    expected = functional.normalize(raw.repeat(1, 3, 1, 1), [0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    assert torch.allclose(named, expected, atol=1e-5)


def test_colour_becomes_grey_as_in_torchvision() -> None:
    raw = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    colour = evaluated(DATASET, DATASET.test, **raw)[0].images
    grey = evaluated(DATASET, DATASET.test, in_channels=1, **raw)[0].images
    assert torch.allclose(
        functional.rgb_to_grayscale(colour), grey, atol=1e-3
    )  # theirs rounds the weights


def test_gather_on_a_device_is_the_gather_of_the_cpu() -> None:
    rng = np.random.default_rng(0)
    rows, (dy, dx), mirror = (
        rng.integers(0, 100, 30),
        rng.integers(0, 9, (2, 30)),
        rng.integers(0, 2, 30) > 0,
    )
    images = DATASET.train.images
    assert isinstance(images, np.ndarray)
    pixels, cut = Pixels(images, 32, CPU, often=True), Cut(rows, dy, dx, mirror)
    here = pixels.gather(cut)
    pixels.uploaded = Upload(images, torch.from_numpy(images))
    assert torch.equal(here, pixels.gather(cut))


def test_a_set_lies_once_on_a_device_for_all_who_gather_from_it() -> None:
    """`meta` stands for a GPU. The oracle is the identity of storages, and Python's own weakref."""
    elsewhere = torch.device("meta")
    loaders = [make_loader(device=elsewhere) for _ in range(3)]
    other = make_loader(memory_dataset(100), device=elsewhere)
    pixels = [loader.pixels for loader in (*loaders, other)]
    uploads = [one.uploaded for one in pixels if isinstance(one, Pixels) and one.uploaded]
    assert [one.tensor is uploads[0].tensor for one in uploads] == [True, True, True, False]
    taken = count_uploaded_bytes(DATASET.train.images, elsewhere)
    assert taken == uploads[0].tensor.nbytes == 100 * 40 * 40 * 3
    assert count_uploaded_bytes(DATASET.train.images, CPU) == 0
    gone = weakref.ref(uploads[0].tensor)
    del loaders, other, pixels, uploads
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 21, "data_size": 2}, "21 can't be shared by 2 ranks"),
        ({"batch_size": 0}, "a batch of 0"),
        ({"batch_size": 91}, "91 is more than the 90 training images"),
        ({"in_channels": 2}, "3 channels can't be turned into 2"),
        ({"mean": (0.5, 0.5)}, "don't fit images of 3 channels"),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make_loader(**changes)
    assert "\n" not in str(error.value)


def test_ten_crops_are_torchvisions() -> None:
    batch = next(iter(evaluated(DATASET, DATASET.test, crops=10)))
    stored = torch.from_numpy(np.asarray(DATASET.test.images[:7])).permute(0, 3, 1, 2) / 255
    theirs = functional.ten_crop(
        stored, [DATASET.size]
    )  # the centre last, the mirrored ones cut from a mirrored image
    order = [theirs[i] for i in (4, 0, 1, 2, 3, 9, 6, 5, 8, 7)]
    expected = functional.normalize(torch.cat(order), list(DATASET.mean), list(DATASET.std))
    torch.testing.assert_close(batch.images, expected, rtol=1e-5, atol=1e-5)
    assert len(batch.labels) == 7

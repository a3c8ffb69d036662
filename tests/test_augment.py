"""Augmentations of whole batches, each sample with a draw of its own.

Oracles: torchvision.transforms.v2 on the single images, the papers' definitions worked out pixel by
pixel, and numpy's covariance.
"""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torchvision.transforms.v2 import InterpolationMode, TrivialAugmentWide, functional

from bench.data.augment import (
    augment_images,
    draw_colour_noise,
    find_colour_axes,
    mask_boxes,
    mix_images,
    resize_boxes,
)
from bench.data.dataset import class_counts, class_weights, open_dataset
from bench.data.loader import Loader
from bench.data.sampling import Boxes, Draws, Purpose, clip_squares
from bench.data.trivial_augment import OPERATIONS, apply_trivial, rotate
from bench.request.config import AUGMENTATIONS
from tests.support.image_factory import memory_dataset, model_input, random_images

pytestmark = pytest.mark.usefixtures("one_thread")

REAL = os.environ.get("ZOOMETRY_DATA")
DRAWS = Draws(seed=3, epoch=2)
MANY = np.arange(20_000)
SIZE = 32


def smooth_images(n: int, channels: int = 3) -> torch.Tensor:
    """Make images (n, C, 32, 32) uint8 with large areas, as in photographs, and all values."""
    coarse = torch.from_numpy(random_images(n, 0, size=6, channels=channels)[0]).permute(0, 3, 1, 2)
    fine: torch.Tensor = functional.resize(
        coarse, [SIZE, SIZE], interpolation=InterpolationMode.BICUBIC
    )
    return fine


def normal_images(n: int) -> torch.Tensor:
    return torch.randn(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def agree(ours: torch.Tensor, theirs: torch.Tensor, share: float = 0.99) -> bool:
    """Whether nearly all pixels are equal: a rounding at a half may fall to the other side."""
    return ours.shape == theirs.shape and (ours == theirs).float().mean().item() >= share


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(OPERATIONS))
def test_trivial_is_torchvisions_at_every_level(name: str, channels: int) -> None:
    make_levels, signed = TrivialAugmentWide._AUGMENTATION_SPACE[name]
    theirs_levels = make_levels(31, SIZE, SIZE)
    images = smooth_images(62, channels)
    level, sign = np.tile(np.arange(31), 2), np.repeat([1, -1], 31)
    kind = np.full(62, list(OPERATIONS).index(name))
    ours = apply_trivial(images, kind, level, sign)
    reference = TrivialAugmentWide()
    for row in range(62):
        magnitude = (
            0.0
            if theirs_levels is None
            else float(theirs_levels[level[row]]) * (sign[row] if signed else 1)
        )
        theirs = reference._apply_image_or_video_transform(
            images[row],
            name,
            magnitude,
            interpolation=InterpolationMode.NEAREST,
            fill={torch.Tensor: None},
        )
        assert agree(ours[row], theirs, 0.98), (level[row], sign[row])
        if name not in ("ShearX", "ShearY", "Rotate"):
            assert (ours[row].int() - theirs.int()).abs().max() <= 1


def test_trivial_has_torchvisions_operations_and_draws_them_evenly() -> None:
    assert list(OPERATIONS) == list(TrivialAugmentWide._AUGMENTATION_SPACE)
    loader = make_loader(augment=("trivial",), batch_size=90)
    plain = next(make_loader(augment=(), batch_size=90).epoch(0)).images
    done = next(loader.epoch(0)).images
    same = (plain == done).flatten(1).all(1).float().mean().item()
    assert 0.0 < same < 0.4  # identity, and levels that change nothing


def test_rotation_is_torchvisions_with_an_angle_for_each_image() -> None:
    images, angles = smooth_images(12), np.linspace(-15, 15, 12)
    ours = rotate(images, angles, mode="bilinear")
    for row, angle in enumerate(angles):
        theirs = functional.rotate(
            images[row], float(angle), interpolation=InterpolationMode.BILINEAR
        )
        assert agree(ours[row], theirs)


def test_cutout_blanks_a_square_of_a_quarter_of_the_side() -> None:
    boxes = DRAWS.cutout_boxes(MANY, SIZE)
    whole = (boxes.bottom - boxes.top == 8) & (boxes.right - boxes.left == 8)
    assert boxes.area.max() == 64
    assert boxes.area.min() == 16  # a corner: half of each side sticks out
    assert whole.mean() == pytest.approx((25 / 32) ** 2, abs=0.02)  # centres from 4 to 28
    assert min(boxes.top.min(), boxes.left.min()) == 0
    assert max(boxes.bottom.max(), boxes.right.max()) == SIZE


def test_erasing_has_the_papers_areas_and_ratios() -> None:
    boxes = DRAWS.erasing_boxes(MANY, 224)
    height, width = boxes.bottom - boxes.top, boxes.right - boxes.left
    erased = boxes.area > 0
    assert erased.mean() == pytest.approx(0.5, abs=0.02)
    share = boxes.area[erased] / 224**2
    assert 0.018 < share.min() < 0.03
    assert 0.31 < share.max() < 0.335
    ratio = (height / np.maximum(width, 1))[erased]
    assert 0.28 < ratio.min() < 0.35
    assert 2.9 < ratio.max() < 3.5
    assert np.median(np.log(ratio)) == pytest.approx(
        0, abs=0.05
    )  # 0.3 and 3.3 are nearly reciprocal
    assert max(boxes.bottom.max(), boxes.right.max()) <= 224
    assert min(boxes.top.min(), boxes.left.min()) == 0


def test_resized_boxes_have_the_papers_areas_and_ratios_and_lie_anywhere() -> None:
    boxes = DRAWS.resized_boxes(MANY, 256)
    height, width = boxes.bottom - boxes.top, boxes.right - boxes.left
    share, ratio = boxes.area / 256**2, height / width
    assert min(boxes.top.min(), boxes.left.min()) == 0
    assert max(boxes.bottom.max(), boxes.right.max()) == 256
    assert 0.075 < share.min() < 0.1
    assert share.max() > 0.95
    assert 0.74 < ratio.min() < 0.76
    assert 1.32 < ratio.max() < 1.35
    assert abs(np.log(ratio).mean()) < 0.02  # as often high as wide
    # What misfits is drawn again, so that large areas are rarer than small ones.
    assert 0.4 < share.mean() < 0.54


def test_a_resized_box_is_torchvisions_resized_crop() -> None:
    pixels = torch.randint(0, 256, (2, 40, 40, 3), generator=torch.manual_seed(0)).byte()
    boxes = Boxes(*(np.array(side) for side in ([3, 0], [5, 10], [20, 40], [33, 37])))
    found = resize_boxes(pixels, boxes, 24)
    assert found.shape == (2, 24, 24, 3)
    for number, (top, left, bottom, right) in enumerate(((3, 5, 20, 33), (0, 10, 40, 37))):
        image = pixels[number].permute(2, 0, 1).float()
        place = (top, left, bottom - top, right - left)
        expected = functional.resized_crop(image, *place, [24, 24], antialias=True)
        assert (found[number].permute(2, 0, 1) - expected).abs().max() <= 0.5


@pytest.mark.parametrize("name", ["cutout", "erasing"])
def test_blanked_images_are_torchvisions_erase(name: str) -> None:
    images, samples = normal_images(40), np.arange(40)
    ours = augment_images(images.clone(), (name,), DRAWS, samples)
    boxes = (
        DRAWS.cutout_boxes(samples, SIZE)
        if name == "cutout"
        else DRAWS.erasing_boxes(samples, SIZE)
    )
    for row in range(40):
        top, left = int(boxes.top[row]), int(boxes.left[row])
        height, width = int(boxes.bottom[row]) - top, int(boxes.right[row]) - left
        theirs = functional.erase(images[row], top, left, height, width, torch.zeros(3, 1, 1))
        assert torch.equal(ours[row], theirs)


def test_mixup_is_the_weighted_sum_of_image_and_partner() -> None:
    images, others = normal_images(50), normal_images(50).flip(0)
    mixed, weight = mix_images(images, others, ("mixup",), DRAWS, np.arange(50))
    for row in range(50):
        share = float(weight[row])
        assert torch.allclose(
            mixed[row], share * images[row] + (1 - share) * others[row], atol=1e-5
        )
    _, weights = mix_images(
        torch.zeros(20_000, 1, 1, 1), torch.zeros(20_000, 1, 1, 1), ("mixup",), DRAWS, MANY
    )
    assert np.histogram(weights, 10, (0, 1))[0] == pytest.approx(np.full(10, 2_000), rel=0.1)


def test_cutmix_takes_one_box_of_the_partner_and_weighs_by_what_is_left() -> None:
    images, others = torch.ones(60, 3, SIZE, SIZE), torch.zeros(60, 3, SIZE, SIZE)
    mixed, weight = mix_images(images, others, ("cutmix",), DRAWS, np.arange(60))
    assert torch.allclose(mixed.mean((1, 2, 3)), weight, atol=1e-6)
    for image in mixed[:, 0]:
        rows, columns = (
            (image == 0).any(1).nonzero().flatten(),
            (image == 0).any(0).nonzero().flatten(),
        )
        if len(rows):
            assert not image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].any()


def test_mixup_and_cutmix_take_turns() -> None:
    images, others = torch.ones(2_000, 1, 8, 8), torch.zeros(2_000, 1, 8, 8)
    mixed, weight = mix_images(images, others, ("mixup", "cutmix"), DRAWS, np.arange(2_000))
    assert torch.allclose(mixed.mean((1, 2, 3)), weight, atol=1e-6)
    between = ((mixed > 0) & (mixed < 1)).flatten(1).any(1).float().mean().item()
    assert between == pytest.approx(0.5, abs=0.04)


def test_boxes_mark_their_pixels() -> None:
    boxes = Boxes(*(np.array(edge) for edge in ([1, 0], [2, 0], [3, 0], [5, 0])))
    mask = mask_boxes(boxes, torch.zeros(2, 3, 6, 6))
    expected = torch.zeros(2, 1, 6, 6, dtype=torch.bool)
    expected[0, 0, 1:3, 2:5] = True
    assert torch.equal(mask, expected)
    clipped = clip_squares(np.array([0, 5]), np.array([5, 3]), np.array([4, 4]), 6)
    assert clipped.area.tolist() == [2 * 3, 3 * 4]


def test_colour_axes_are_numpys_covariance() -> None:
    images, _ = random_images(50, 5)
    images[..., 1] = images[..., 0] // 2 + images[..., 1] // 4
    rows = np.arange(3, 50)
    axes = find_colour_axes(images, rows)
    covariance = np.cov(images[rows].reshape(-1, 3).T / 255, bias=True)
    assert axes @ axes.T == pytest.approx(covariance, abs=1e-5)
    lengths = (axes**2).sum(0)
    assert axes.T @ axes == pytest.approx(np.diag(lengths), abs=1e-6)


def test_colour_axes_are_those_of_the_images_without_their_margin() -> None:
    """The zeros around a stored image are no colours of it."""
    dataset = memory_dataset(60)
    loader = make_loader(dataset, augment=("pca",))
    inside = dataset.train.images[dataset.train_indices][:, 4:36, 4:36]
    covariance = np.cov(inside.reshape(-1, 3).T / 255, bias=True)
    assert loader.axes is not None
    assert loader.axes @ loader.axes.T == pytest.approx(covariance, abs=1e-5)


@pytest.mark.skipif(not REAL, reason="ZOOMETRY_DATA doesn't name a folder with the real CIFAR-100")
@pytest.mark.ci
def test_colour_axes_of_the_real_cifar100() -> None:
    """Oracle: numpy's covariance of the 45,000 training images, taken from the hub's own files."""
    loader = make_loader(open_dataset("cifar100", Path(str(REAL))), augment=("pca",))
    assert loader.axes is not None
    lengths = np.sqrt((loader.axes**2).sum(0))
    assert lengths == pytest.approx([0.067, 0.147, 0.433], abs=5e-4)


def test_colour_noise_has_a_tenth_of_the_colours_deviation() -> None:
    axes = find_colour_axes(random_images(20, 5)[0], np.arange(20))
    noise = draw_colour_noise(axes, DRAWS, MANY).numpy().astype(np.float64)
    assert noise.mean(0) == pytest.approx(np.zeros(3), abs=1e-3)
    assert np.cov(noise.T) == pytest.approx(0.01 * axes @ axes.T, abs=3e-5)


def test_normal_draws_are_normal() -> None:
    values = DRAWS.normal(Purpose.COLOUR, MANY, 2)
    assert stats.kstest(values[:, 0], "norm").pvalue > 1e-3
    assert abs((values[:, 0] * values[:, 1]).mean()) < 5 / math.sqrt(len(MANY))


DATASET = memory_dataset(100)


def make_loader(dataset: Any = DATASET, **changes: Any) -> Loader:
    options: dict[str, Any] = {
        "batch_size": 30,
        "seed": 5,
        "channels_last": True,
        "device": torch.device("cpu"),
        "mean": dataset.mean,
        "std": dataset.std,
    }
    taken, rest = model_input(options | changes)
    return Loader(dataset, taken, **rest)


@pytest.mark.parametrize("name", [*AUGMENTATIONS, "all"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_augmentation_is_the_same_on_any_world_and_after_a_resume(
    name: str, channels: int
) -> None:
    dataset = memory_dataset(100, channels=channels)
    every = tuple(one for one in AUGMENTATIONS if one != "crop")  # which resized takes the place of
    options: dict[str, Any] = {"augment": every if name == "all" else (name,)}
    alone = list(make_loader(dataset, **options).epoch(1))
    both = [
        list(make_loader(dataset, data_rank=rank, data_size=2, **options).epoch(1))
        for rank in range(2)
    ]
    resumed = list(make_loader(dataset, **options).epoch(1, start=2))
    for whole, parts in zip(alone, zip(*both, strict=True), strict=True):
        assert torch.allclose(whole.images, torch.cat([part.images for part in parts]), atol=1e-6)
        assert torch.equal(whole.labels, torch.cat([part.labels for part in parts]))
    assert torch.equal(resumed[0].images, alone[2].images)
    assert alone[0].images.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(alone[0].images, next(make_loader(dataset, **options).epoch(2)).images)
    plain = next(make_loader(dataset, augment=()).epoch(1))
    assert torch.equal(plain.labels, alone[0].labels)
    assert not torch.equal(plain.images, alone[0].images)
    assert (alone[0].mixed is not None) == (name in ("mixup", "cutmix", "all"))


def test_mixed_batches_hold_the_partners_labels() -> None:
    """A set whose images are all of one value, their label.

    An image's mean tells both labels and the weight.
    """
    dataset = memory_dataset(200)
    dataset.train.images[:] = (dataset.train.labels * 20)[:, None, None, None]
    batch = next(make_loader(dataset, augment=("mixup",), mean=(0.0,), std=(1 / 255,)).epoch(0))
    assert batch.mixed
    others, weight = batch.mixed
    expected = 20 * (weight * batch.labels + (1 - weight) * others)
    assert torch.allclose(batch.images.mean((1, 2, 3)), expected, atol=1e-3)
    assert len(set(others.tolist())) > 5


def test_pca_adds_one_colour_to_all_pixels_of_an_image() -> None:
    plain, noisy = (next(make_loader(augment=names).epoch(0)).images for names in ((), ("pca",)))
    added = (noisy - plain) * 0.25
    assert torch.allclose(added, added[:, :, :1, :1].expand_as(added), atol=1e-5)
    assert added[:, :, 0, 0].std(0).min() > 0


def unbalanced(counts: list[int]) -> Any:
    n = sum(counts)
    dataset = memory_dataset(n, size=4)
    labels: NDArray[np.int64] = np.repeat(np.arange(len(counts)), counts)
    train = replace(dataset.train, labels=labels)
    return replace(dataset, train=train, train_indices=np.arange(n), class_names=("a", "b", "c"))


def test_balanced_epochs_hold_each_class_equally_often() -> None:
    dataset = unbalanced([100, 10, 40])
    loader = make_loader(dataset, balanced=True)
    samples = Draws(5, 0).balanced_order(dataset.train_indices, dataset.train.labels)
    assert len(samples) == len(set(samples.tolist())) == 150
    assert np.bincount(dataset.train.labels[samples % 150]).tolist() == [50, 50, 50]
    assert (
        np.bincount(samples[dataset.train.labels[samples % 150] == 1] % 150)[100:110].tolist()
        == [5] * 10
    )
    seen = torch.cat([batch.labels for batch in loader.epoch(0)])
    assert np.bincount(seen.numpy()).tolist() == [50, 50, 50]


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_partners_are_balanced_as_images_are(mix: str) -> None:
    """Each class's share of the partners is a third, within five standard deviations."""
    dataset = unbalanced([100, 10, 40])
    loader = make_loader(dataset, balanced=True, augment=(mix,))
    counts = np.zeros(3, np.int64)
    for epoch in range(40):
        for batch in loader.epoch(epoch):
            assert batch.mixed
            counts += np.bincount(batch.mixed[0].numpy(), minlength=3)
    n = counts.sum()
    assert counts / n == pytest.approx(np.full(3, 1 / 3), abs=5 * math.sqrt(2 / 9 / n))


def test_repeated_images_have_other_draws() -> None:
    dataset = unbalanced([100, 1, 49])
    loader = make_loader(dataset, balanced=True, mean=(0.0,), std=(1.0,))
    images = torch.cat([batch.images[batch.labels == 1] for batch in loader.epoch(0)])
    assert len(images) == 50
    assert len({image.numpy().tobytes() for image in images}) > 20


def test_class_weights_even_out_the_classes() -> None:
    dataset = unbalanced([100, 10, 40])
    assert class_counts(dataset).tolist() == [100, 10, 40]
    assert class_weights(dataset) * [100, 10, 40] == pytest.approx(np.full(3, 50), rel=1e-6)

"""Stored pixels to what a model takes.

Windows gathered as whole batches, then scaled, normalised and laid out.
"""

import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from bench.data.folder import FolderImages
from bench.distributed.process import die_with_parent

UPLOAD_LIMIT = 4 * 2**30  # bytes of a stored set that may lie on a GPU beside the model
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and torchvision turn colour into grey


@dataclass(frozen=True)
class ModelInput:
    """What a model takes: (B, in_channels, image_size, image_size) float32 on a device; None is the stored size.

    `mean` and `std` are of the set's channels (or one for all), on the scale 0 to 1.
    """

    mean: Sequence[float]
    std: Sequence[float]
    channels_last: bool
    device: torch.device
    image_size: int | None = None
    in_channels: int = 3


class Cut(NamedTuple):
    """What is taken of stored images.

    For each of `rows` the window at (dy, dx), mirrored where `mirror`; all (B,).
    """

    rows: NDArray[np.int64]
    dy: NDArray[np.int64]
    dx: NDArray[np.int64]
    mirror: NDArray[np.bool_]


class Pixels:
    """A stored set as windows that can be gathered: from the mapped file, or from a copy on the device.

    A set that is gathered often goes to a GPU once, if it isn't larger than UPLOAD_LIMIT.
    """

    def __init__(
        self, images: NDArray[np.uint8], size: int, device: torch.device, *, often: bool
    ) -> None:
        self.size = size
        self.device = device
        self.moves = images.shape[1] - size + 1
        self.windows = _windows(images, size)
        upload = often and device.type != "cpu" and images.nbytes <= UPLOAD_LIMIT
        self.uploaded = torch.from_numpy(images).to(device) if upload else None

    def take(self, cuts: Iterable["Cut"]) -> Iterator[torch.Tensor]:
        """Gather cut after cut: (B, S, S, C) uint8 on the device."""
        batches = (self.gather(cut) for cut in cuts)
        return batches if self.uploaded is not None else to_device(batches, self.device)

    def gather(self, cut: "Cut") -> torch.Tensor:
        """Take one window of each row.

        (B, S, S, C) uint8, from the uploaded set or from the mapped file.
        """
        if self.uploaded is not None:
            return self._gather_there(self.uploaded, *cut)
        batch = self.windows[cut.rows, cut.dy, cut.dx]
        turned = np.flatnonzero(cut.mirror)
        if len(turned):
            batch[turned] = torch.from_numpy(batch[turned]).flip(2).numpy()
        return torch.from_numpy(batch)

    def _gather_there(
        self,
        stored: torch.Tensor,
        rows: NDArray[np.int64],
        dy: NDArray[np.int64],
        dx: NDArray[np.int64],
        mirror: NDArray[np.bool_],
    ) -> torch.Tensor:
        """Do the same in torch. The tests run it on the CPU; it wasn't run on a GPU."""
        n, _, _, channels = stored.shape
        strides = stored.stride()
        view = stored.as_strided(
            (n, self.moves, self.moves, self.size, self.size, channels),
            (*strides[:3], *strides[1:]),
        )
        row, down, across = torch.from_numpy(np.stack([rows, dy, dx])).to(self.device)
        batch = view[row, down, across]
        turned = torch.from_numpy(mirror).to(self.device)
        return torch.where(turned[:, None, None, None], batch.flip(2), batch)


def to_device(batches: Iterable[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Give the batches on the device; to a GPU each is copied while the step before it computes."""
    return iter(batches) if device.type == "cpu" else _copied_ahead(batches, device)


def _copied_ahead(batches: Iterable[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Copy from pinned memory on a stream of its own, a batch ahead. It wasn't run on a GPU."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ahead: tuple[torch.Tensor, torch.cuda.Event] | None = None
    for batch in batches:
        before = ahead
        with torch.cuda.stream(stream):
            ahead = batch.pin_memory().to(device, non_blocking=True), stream.record_event()
        if before is not None:
            yield _arrived(*before)
    if ahead is not None:
        yield _arrived(*ahead)


def _arrived(batch: torch.Tensor, copied: torch.cuda.Event) -> torch.Tensor:
    """Let this stream wait for a copy, and the allocator know that it reads it."""
    stream = torch.cuda.current_stream(batch.device)
    stream.wait_event(copied)
    batch.record_stream(stream)
    return batch


def _windows(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """View all windows of a padded set (N, P, P, C) as (N, P - S + 1, P - S + 1, S, S, C), without a copy."""
    n, padded, _, channels = images.shape
    moves = padded - size + 1
    by_image, by_row, by_column, by_channel = images.strides
    return as_strided(
        images,
        (n, moves, moves, size, size, channels),
        (by_image, by_row, by_column, by_row, by_column, by_channel),
        writeable=False,
    )


class Finish:
    """Turns gathered uint8 windows of `size` px and `channels` into what a model takes.

    ValueError where these channels can't become the model's.
    """

    def __init__(self, taken: ModelInput, *, size: int, channels: int) -> None:
        mean, std, in_channels = taken.mean, taken.std, taken.in_channels
        if channels != in_channels and 1 not in (channels, in_channels):
            raise ValueError(
                f"images of {channels} channels can't be turned into {in_channels}: allowed are 1 and 3"
            )
        channels = max(
            channels, in_channels
        )  # grey is spread before normalising, colour made grey behind it
        if len(mean) != len(std) or len(mean) not in (1, channels):
            raise ValueError(
                f"mean {tuple(mean)} and std {tuple(std)} don't fit images of {channels} channels"
            )
        self.image_size = taken.image_size if taken.image_size != size else None
        self.channels, self.in_channels = channels, in_channels
        self.channels_last = taken.channels_last
        # One long row a line of pixels: a multiply along 3 channels would be five times as slow.
        per_channel = torch.tensor([mean, std], dtype=torch.float64).expand(2, channels)
        self.scale = (1 / (255 * per_channel[1])).float().repeat(size * size).to(taken.device)
        self.std = per_channel[1].float().to(taken.device)
        self.shift = (-per_channel[0] / per_channel[1]).float().repeat(size * size).to(taken.device)

    def __call__(self, pixels: torch.Tensor, colour: torch.Tensor | None = None) -> torch.Tensor:
        """Finish (B, S, S, C) uint8: (B, in_channels, image_size, image_size) float32, channels-last if asked.

        `colour` (B, C), on the scale 0 to 1, is added to every pixel of an image.
        """
        pixels = pixels.expand(*pixels.shape[:3], self.channels)
        flat = pixels.flatten(1).float()
        torch.addcmul(self.shift, flat, self.scale, out=flat)
        images = flat.view(pixels.shape).permute(0, 3, 1, 2)
        if colour is not None:
            images += (colour.to(images.device) / self.std)[:, :, None, None]
        if self.in_channels < self.channels:
            weights = torch.tensor(LUMINANCE, device=images.device)
            images = (images * weights[:, None, None]).sum(1, keepdim=True)
        if self.image_size:
            images = functional.interpolate(
                images, self.image_size, mode="bilinear", antialias=True
            )
        return images.contiguous(
            memory_format=torch.channels_last if self.channels_last else torch.contiguous_format
        )


AHEAD = 2  # batches that each worker holds ready


class Stream:
    """A folder's images as windows that are cut out of them as they are decoded.

    How many workers do it is theirs.
    """

    def __init__(self, images: FolderImages, size: int, device: torch.device) -> None:
        self.images = images
        self.size = size
        self.device = device

    def take(self, cuts: Iterable[Cut]) -> Iterator[torch.Tensor]:
        """Decode and cut, batch after batch in this order: (B, S, S, C) uint8 on the device."""
        decoded: DataLoader[NDArray[np.uint8]] = DataLoader(
            _Windows(self.images, list(cuts), self.size),
            batch_size=None,
            num_workers=self.images.num_workers,
            prefetch_factor=AHEAD,
            worker_init_fn=_heed_parent,
            generator=torch.Generator(),
        )
        return to_device(decoded, self.device)


class _Windows(Dataset[NDArray[np.uint8]]):
    """What each cut takes of the images."""

    def __init__(self, images: FolderImages, cuts: Sequence[Cut], size: int) -> None:
        self.images = images
        self.cuts = cuts
        self.size = size

    def __len__(self) -> int:
        return len(self.cuts)

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        batch = np.empty((len(self.cuts[number].rows), self.size, self.size, 3), np.uint8)
        for i, (row, dy, dx, mirror) in enumerate(zip(*self.cuts[number], strict=True)):
            window = self.images.decode(row)[dy : dy + self.size, dx : dx + self.size]
            batch[i] = window[:, ::-1] if mirror else window
        return batch


def _heed_parent(_: int) -> None:
    """Leave signals to the process that trains, which ends its workers; die with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()

"""Stored pixels to what a model takes: windows gathered as whole batches, then normalised."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch.nn import functional

UPLOAD_LIMIT = 4 * 2**30  # bytes of a stored set that may lie on a GPU beside the model
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and torchvision turn colour into grey


@dataclass(frozen=True)
class ModelInput:
    """What a model takes: (B, in_channels, image_size, image_size) float32 on a device.

    `image_size` None is the stored size. `mean` and `std` are of the set's channels (or one for
    all), on the scale 0 to 1.
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


@dataclass(frozen=True, eq=False)
class Upload:
    """A stored set's copy on a device, with the array that it was copied from."""

    images: NDArray[np.uint8]
    tensor: torch.Tensor


# By the array's identity and the device: each is there for as long as somebody gathers from it. It
# holds its array, so that no other array can come to have that identity meanwhile.
_uploads: WeakValueDictionary[tuple[int, torch.device], Upload] = WeakValueDictionary()


def upload(images: NDArray[np.uint8], device: torch.device) -> Upload:
    """Copy a stored set to a device, once for all who gather from it there."""
    key = id(images), device
    found = _uploads.get(key)
    if found is None:
        found = _uploads[key] = Upload(images, torch.from_numpy(images).to(device))
    return found


def count_uploaded_bytes(images: object, device: torch.device) -> int:
    """Count the bytes of a set that lie on the device while it is gathered often from there."""
    if device.type == "cpu" or not isinstance(images, np.ndarray):
        return 0
    return images.nbytes if images.nbytes <= UPLOAD_LIMIT else 0


class Pixels:
    """A stored set (N, P, P, C) uint8 as windows of `size` px that can be gathered.

    From the mapped file, or from a copy on the device: a set that is gathered `often` goes to a GPU
    once, if it isn't larger than UPLOAD_LIMIT.
    """

    def __init__(
        self, images: NDArray[np.uint8], size: int, device: torch.device, *, often: bool
    ) -> None:
        self.size = size
        self.device = device
        # A view (N, P - S + 1, P - S + 1, S, S, C) without a copy: one index takes a whole batch.
        windows = sliding_window_view(images, (size, size), axis=(1, 2))
        self.windows: NDArray[np.uint8] = windows.transpose(0, 1, 2, 4, 5, 3)
        is_uploaded = often and count_uploaded_bytes(images, device) > 0
        self.uploaded = upload(images, device) if is_uploaded else None

    def take(self, cuts: Iterable[Cut]) -> Iterator[torch.Tensor]:
        """Gather cut after cut: (B, S, S, C) uint8 on the device."""
        batches = (self.gather(cut) for cut in cuts)
        if self.uploaded is not None:
            return batches
        return to_device(batches, self.device)

    def gather(self, cut: Cut) -> torch.Tensor:
        """Take one window of each row.

        (B, S, S, C) uint8, from the uploaded set or from the mapped file.
        """
        if self.uploaded is not None:
            return self._gather_on_device(self.uploaded.tensor, cut)
        batch = self.windows[cut.rows, cut.dy, cut.dx]
        mirrored = np.flatnonzero(cut.mirror)
        if len(mirrored):
            # By torch: numpy's copy of a reversed view takes five times as long.
            batch[mirrored] = torch.from_numpy(batch[mirrored]).flip(2).numpy()
        return torch.from_numpy(batch)

    def _gather_on_device(self, stored: torch.Tensor, cut: Cut) -> torch.Tensor:
        """Do the same in torch. The tests run it on the CPU; it wasn't run on a GPU."""
        windows = stored.unfold(1, self.size, 1).unfold(2, self.size, 1)
        windows = windows.permute(0, 1, 2, 4, 5, 3)
        place = np.stack([cut.rows, cut.dy, cut.dx])
        rows, dy, dx = torch.from_numpy(place).to(self.device)
        batch = windows[rows, dy, dx]
        mirrored = torch.from_numpy(cut.mirror).to(self.device)
        return torch.where(mirrored[:, None, None, None], batch.flip(2), batch)


def to_device(batches: Iterable[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Give the batches on the device; to a GPU each is copied while the step before it computes."""
    if device.type == "cpu":
        return iter(batches)
    return _copy_ahead(batches, device)


def _copy_ahead(batches: Iterable[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Copy from pinned memory on a stream of its own, a batch ahead. It wasn't run on a GPU."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ahead: tuple[torch.Tensor, torch.cuda.Event] | None = None
    for batch in batches:
        before = ahead
        with torch.cuda.stream(stream):
            copy = batch.pin_memory().to(device, non_blocking=True)
            ahead = copy, stream.record_event()
        if before is not None:
            yield _await_copy(*before)
    if ahead is not None:
        yield _await_copy(*ahead)


def _await_copy(batch: torch.Tensor, copied: torch.cuda.Event) -> torch.Tensor:
    """Let the current stream wait for a copy, and the allocator know that it reads it."""
    stream = torch.cuda.current_stream(batch.device)
    stream.wait_event(copied)
    # Without this the allocator may give the memory to the copying stream while it is still read.
    batch.record_stream(stream)
    return batch


class Finish:
    """Turns gathered uint8 windows of `size` px and `channels` into what a model takes.

    ValueError where these channels can't become the model's.
    """

    def __init__(self, taken: ModelInput, *, size: int, channels: int) -> None:
        mean, std, in_channels = taken.mean, taken.std, taken.in_channels
        if channels != in_channels and 1 not in (channels, in_channels):
            raise ValueError(
                f"images of {channels} channels can't be turned into {in_channels}: "
                "allowed are 1 and 3"
            )
        # Grey images are expanded before normalising, colour images reduced to grey after it.
        channels = max(channels, in_channels)
        if len(mean) != len(std) or len(mean) not in (1, channels):
            raise ValueError(
                f"mean {tuple(mean)} and std {tuple(std)} don't fit images of {channels} channels"
            )
        self.image_size = taken.image_size if taken.image_size != size else None
        self.channels, self.in_channels = channels, in_channels
        self.channels_last = taken.channels_last
        # One long row a line of pixels: a multiply along 3 channels would be five times as slow.
        per_channel = torch.tensor([mean, std], dtype=torch.float64).expand(2, channels)
        scale = 1 / (255 * per_channel[1])
        shift = -per_channel[0] / per_channel[1]
        num_pixels = size * size
        self.scale = scale.float().repeat(num_pixels).to(taken.device)
        self.shift = shift.float().repeat(num_pixels).to(taken.device)
        self.std = per_channel[1].float().to(taken.device)

    def __call__(self, pixels: torch.Tensor, colour: torch.Tensor | None = None) -> torch.Tensor:
        """Finish (B, S, S, C) uint8: (B, in_channels, image_size, image_size) float32.

        Channels-last if asked. `colour` (B, C), on the scale 0 to 1, is added to every pixel of an
        image.
        """
        pixels = pixels.expand(*pixels.shape[:3], self.channels)
        flat = pixels.flatten(1).float()
        # (value / 255 - mean) / std as one multiply-add, in place.
        torch.addcmul(self.shift, flat, self.scale, out=flat)
        images = flat.view(pixels.shape).permute(0, 3, 1, 2)
        if colour is not None:
            # On the scale after normalising, where the mean is off already.
            shift = colour.to(images.device) / self.std
            images += shift[:, :, None, None]
        if self.in_channels < self.channels:
            weights = torch.tensor(LUMINANCE, device=images.device)
            images = (images * weights[:, None, None]).sum(1, keepdim=True)
        if self.image_size:
            images = functional.interpolate(
                images, self.image_size, mode="bilinear", antialias=True
            )
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return images.contiguous(memory_format=layout)

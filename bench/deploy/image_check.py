"""Whether two forms of a model answer alike, over a whole test set and on whole photographs."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.dataset import Dataset, ImageSet, say_nothing
from bench.data.folder import find_folder
from bench.data.picture import decode_picture, fit_square
from bench.data.run_data import open_run_data
from bench.data.subset import take_part
from bench.deploy.progress import Progress
from bench.request.config import RunConfig, from_json
from bench.results.record import RunRecord

Pixels = NDArray[np.uint8]
Score = Callable[[Pixels], NDArray[np.float32]]  # (N, H, W, channels) to (N, classes)

BATCH = 100
NUM_PHOTOGRAPHS = 64
LEAST_AGREEING = 0.9999  # of the predictions, between a network and an exported file
MOST_APART = 1e-4  # of the scores


@dataclass(frozen=True)
class Agreement:
    """How two forms of a model answered the same images.

    `expected` and `found` are the classes that they said, `label` the true ones (N,); `apart` is
    the largest difference of any score.
    """

    expected: NDArray[np.int64]
    found: NDArray[np.int64]
    label: NDArray[np.int64]
    apart: float

    @property
    def share(self) -> float:
        """Return the share of images of which both say the same."""
        return float((self.expected == self.found).mean())

    @property
    def top1(self) -> float:
        """Return the accuracy of the second form, in percent."""
        return float(100 * (self.found == self.label).mean())

    @property
    def holds(self) -> bool:
        """Return whether the second form may stand for the first."""
        return self.share >= LEAST_AGREEING and self.apart <= MOST_APART


def open_data_of(record: RunRecord, data_dir: Path | None = None) -> Dataset:
    """Open the data that a record's model was trained on; `data_dir` is another place of them.

    ValueError where it isn't there, or other images are there now.
    """
    config = _restore_request(record, data_dir)
    data = open_run_data(config)
    if data.checksum != record.data.checksum:
        raise ValueError(
            f"{data.name}: these images aren't those that {record.model} was trained on (checksum "
            f"{data.checksum:.12}, in the record {record.data.checksum:.12}); give --data-dir"
        )
    return take_part(data, record.key, config)


def _restore_request(record: RunRecord, data_dir: Path | None) -> RunConfig:
    # `auto` of a run was one set or the other. Its batch need not fit here.
    config = replace(from_json(dict(record.config)), dataset=record.data.name, epochs=0)
    return config if data_dir is None else replace(config, data_dir=data_dir)


def find_photographs(record: RunRecord, data_dir: Path | None = None) -> list[Path]:
    """Find the files of a folder's test images; none of another data set, which has no files."""
    if record.data.name != "imagefolder":
        return []
    config = _restore_request(record, data_dir)
    folder = find_folder(config.data_dir, config.image_size, say_nothing)
    return [folder.folder / path for path, _ in folder.test]


def take_squares(data: Dataset, images: ImageSet, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return stored images (n, short_side, short_side, channels), without a border of zeros."""
    border = (data.size + 2 * data.margin - data.short_side) // 2
    window = slice(border, border + data.short_side)
    return np.ascontiguousarray(images.images[rows][:, window, window])


def compare(
    expect: Score, find: Score, data: Dataset, check: Callable[[], None] = lambda: None
) -> Agreement:
    """Compare two forms of a model over the whole test set; `check` may raise between batches."""
    images, tested = data.rows_of("test")
    label = images.labels[tested]
    progress = Progress("checking test images", len(label))
    expected, found, apart = [], [], 0.0
    for start in range(0, len(label), BATCH):
        check()
        rows = tested[start : start + BATCH]
        squares = take_squares(data, images, rows)
        theirs, ours = expect(squares), find(squares)
        expected.append(theirs.argmax(axis=1))
        found.append(ours.argmax(axis=1))
        apart = max(apart, float(np.abs(theirs - ours).max()))
        progress.show(start + len(rows))
    return Agreement(np.concatenate(expected), np.concatenate(found), label, apart)


def compare_pictures(
    expect: Score, find: Score, pictures: Iterable[Pixels], side: int
) -> Agreement:
    """Compare two forms of a model on whole pictures (H, W, channels), which the second resizes."""
    expected, found, apart = [], [], 0.0
    for picture in pictures:
        theirs = expect(fit_square(picture, side, picture.shape[-1])[None])
        ours = find(picture[None])
        expected.append(int(theirs.argmax()))
        found.append(int(ours.argmax()))
        apart = max(apart, float(np.abs(theirs - ours).max()))
    return Agreement(np.array(expected), np.array(found), np.zeros(len(found), np.int64), apart)


def read_photographs(files: Sequence[Path]) -> Iterator[Pixels]:
    """Yield some of these files as they are, without those that can't be read."""
    for row in _spread(len(files)):
        # What a damaged file makes Pillow raise; the run may have left it out.
        with contextlib.suppress(Exception):
            yield np.array(decode_picture(files[row]))


def enlarge_squares(data: Dataset) -> Iterator[Pixels]:
    """Yield some test images as larger pictures that aren't square."""
    draw = np.random.default_rng(0)
    images, tested = data.rows_of("test")
    for square in take_squares(data, images, tested[_spread(len(tested))]):
        height, width = (int(len(square) * factor) for factor in draw.uniform(1.2, 5, 2))
        grey = square.shape[-1] == 1
        image = Image.fromarray(square[..., 0] if grey else square)
        large = np.array(image.resize((width, height), Image.Resampling.BICUBIC))
        yield large[..., None] if grey else large


def _spread(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, NUM_PHOTOGRAPHS).astype(np.int64))

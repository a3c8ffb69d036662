"""Where a study trains its variants: each is an ordinary run, done once and then read.

A study asks for `lab.train(NAME, config)`; what is there already is kept, as `--resume` does.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.cell.executor import choose_executor, prepare_executor
from bench.cell.open_run import claim_run, list_cells
from bench.data.run_data import open_run_data
from bench.distributed.runtime import Runtime
from bench.launch.check import check_request, complete
from bench.request.config import RunConfig, check
from bench.results.array_file import read_arrays
from bench.results.image_interval import (
    correct_estimate,
    mean_difference,
    top1_difference,
    top1_estimate,
)
from bench.results.interval import Estimate
from bench.results.record import RunRecord
from bench.results.storage import cell_folder
from bench.train.pretrained import check_pretrained


class Gain(NamedTuple):
    """Points of top-1 between two variants with their interval, and the p of no difference."""

    points: Estimate
    p: float


@dataclass(frozen=True)
class Trained:
    """One variant's cells: a record a seed (or a model), and the folder of each."""

    name: str
    records: tuple[RunRecord, ...]
    folders: tuple[Path, ...]

    @cached_property
    def said(self) -> dict[str, NDArray[np.int64]]:
        """Return `label` and `predicted` of the test images, (seeds, n) each."""
        rows = [
            read_arrays(one / "predictions.npz", ("label", "predicted")) for one in self.folders
        ]
        return {key: np.stack([row[key] for row in rows]) for key in ("label", "predicted")}

    @property
    def right(self) -> NDArray[np.bool_]:
        """Return which test images each seed's model got right, (seeds, n)."""
        right: NDArray[np.bool_] = self.said["label"] == self.said["predicted"]
        return right

    def join(self, other: "Trained") -> "Trained":
        """Return the cells of both as one variant."""
        return Trained(self.name, self.records + other.records, self.folders + other.folders)

    @property
    def accuracy(self) -> Estimate:
        """Return the mean top-1 on the test images in percent, with its interval."""
        return top1_estimate([record.accuracy for record in self.records if record.accuracy])

    @property
    def has_diverged(self) -> bool:
        """Return whether a seed's loss ran away, so that there is no accuracy."""
        return any(record.status == "diverged" for record in self.records)

    def images_of(self, classes: Sequence[int]) -> NDArray[np.bool_]:
        """Return which test images are of these classes, (n,)."""
        return np.isin(self.said["label"][0], classes)

    def accuracy_on(self, images: NDArray[np.bool_]) -> Estimate:
        """Return the mean top-1 in percent on some of the test images, with its interval."""
        return correct_estimate(self.right[:, images])

    def gain_over(self, other: "Trained", images: NDArray[np.bool_] | None = None) -> Gain:
        """Return the points of top-1 that this is above another, seed by seed and image by image.

        Both must have the same seeds, whose order of images and augmentations are then the same;
        ValueError where they don't.
        `images` (n,) are the test images that count, or all.
        """
        if [one.seed for one in self.records] != [one.seed for one in other.records]:
            raise ValueError(f"{self.name} and {other.name} aren't of the same seeds")
        ours, theirs = self.right, other.right
        if images is not None:
            ours, theirs = ours[:, images], theirs[:, images]
        if len(ours) == 1:
            return Gain(*top1_difference(ours, theirs))
        points = 100 * (ours.astype(np.float64) - theirs)
        (value, low, high), p = mean_difference(points, np.zeros_like(points[:1]))
        # Of two or three seeds Student's limits may lie where no difference can.
        return Gain(Estimate(value, max(low, -100), min(high, 100)), p)


@dataclass
class Lab:
    """A study's folder, what it may spend, and where it finds data."""

    folder: Path
    quick: bool
    data_dir: Path | None = None
    num_threads: int | None = None
    say: Callable[[str], None] = print
    trained: dict[str, Trained] = field(default_factory=dict)

    def train(self, name: str, config: RunConfig, *, may_diverge: bool = False) -> Trained:
        """Train one variant, or go on with it, or read what is there.

        Raises ValueError for a request that is wrong or differs from what the folder holds, and
        for a cell that failed, or diverged where that is no answer; Interrupted when a signal came.
        """
        config = self.finish_request(name, config)
        check(config)
        check_request(config, world_size=1, say=self.say)
        data = open_run_data(config, say=self.say)
        prepare_executor(config)
        self.say(f"{self.folder.name}: {name}")
        with Runtime.start(config) as runtime:
            cells = list_cells(config, data)
            check_pretrained(config, data.class_names)
            context = claim_run(config, data, runtime)
            records = choose_executor(context).run(cells)
        folder = self.folder / name
        for record in records:
            if record.status == "ok" or (record.status == "diverged" and may_diverge):
                continue
            mend = "put it right"
            if record.status == "diverged":  # the same steps would end alike
                mend = f"on another machine it may not; for that delete {folder}"
            raise ValueError(
                f"{folder}: {record.cell} is {record.status} ({record.error}); {mend} "
                "and give the command again"
            )
        folders = tuple(cell_folder(folder, one.key) for one in records)
        self.trained[name] = Trained(name, tuple(records), folders)
        return self.trained[name]

    def finish_request(self, name: str, config: RunConfig) -> RunConfig:
        """Return a variant's whole request: where it is kept, and what the command line says."""
        return dataclasses.replace(
            complete(config),
            out=self.folder / name,
            resume=True,
            measure=(),
            data_dir=config.data_dir or self.data_dir,
            num_threads=self.num_threads,
        )

    def train_all(self, variants: Iterable[tuple[str, RunConfig]]) -> dict[str, Trained]:
        """Train variants one after another."""
        return {name: self.train(name, config) for name, config in variants}

"""Checkpoints that a test waits for."""

from contextlib import closing
from pathlib import Path

from bench.train.checkpoint_writer import CheckpointWriter
from bench.train.trainer import Learner, Progress


def save_checkpoint(folder: Path, learner: Learner, progress: Progress) -> None:
    """Save a checkpoint and wait until it is on the disk."""
    with closing(CheckpointWriter(folder, learner)) as writer:
        writer.save(progress)
        writer.finish()

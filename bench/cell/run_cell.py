"""`run_cell`: one model with one seed, from its spec to its record, in whatever process."""

import shutil
import traceback
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from torch import nn

from bench.cell.display import Display, open_trackers
from bench.cell.open_run import Cell
from bench.cell.record_writer import RecordWriter, begin_record, find_record, is_done, write_outcome
from bench.distributed.runtime import Interrupted
from bench.request.config import NONE
from bench.results.record import RunRecord, make_measurement, now
from bench.train.build import Assessor, RunContext, build_model
from bench.train.method import LearningMethod
from bench.train.method_choice import start_method
from bench.train.own_setting import settle
from bench.train.pretrained import load_starting_weights, read_weights
from bench.train.trainer import Diverged
from zoo.cost import count_parameters, try_layer_costs
from zoo.spec import ModelSpec, total_multiply_adds


@dataclass(frozen=True)
class Training:
    """A cell under way: its model's spec, its own settings within the run's, and its record."""

    spec: ModelSpec
    context: RunContext
    writer: RecordWriter

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the cell's checkpoints."""
        return self.writer.folder / "checkpoints"


class ModelError(Exception):
    """The code of a user's model failed before it was built here."""


def run_cell(cell: Cell, context: RunContext, display: Display) -> RunRecord:
    """Train and evaluate a cell, writing its record anew at every epoch.

    A failure is a record with its cause. Raises Interrupted, after a checkpoint and a record that
    says so; WorldBroken where the ranks can't go on together; OSError where nothing can be written
    any more.
    """
    runtime = context.runtime
    before = runtime.on_main(find_record, cell, context)
    if before is not None and is_done(before):
        display.show_kept(before)
        return before
    context = context.of_cell(cell.key)
    writer = RecordWriter(begin_record(cell, context), cell, context)
    # What an interrupted start has found out: this one goes on with it.
    known = ("stages", "epochs", "batch_search", "format_trial")
    writer.update(**{name: getattr(before, name) for name in known if before})
    try:
        # It failed when the cells were listed; here it becomes a row like any other failure.
        if isinstance(cell.spec, str):
            raise ModelError(cell.spec)
        _train(cell, cell.spec, context, writer, display)
        writer.update(status="ok", finished=now())
    except Interrupted:
        writer.update(status="interrupted", error="a signal came; --resume goes on")
        raise
    except Diverged as error:
        writer.update(status="diverged", error=str(error), finished=now())
        # Nothing goes on from here.
        runtime.on_main(shutil.rmtree, writer.folder / "checkpoints", True)
    except ModelError as error:
        writer.update(status="failed", error=str(error), finished=now())
    except Exception as error:
        # A record has one line; who mends the model wants all of them.
        runtime.note("".join(traceback.format_exception(error)))
        writer.fail(error)
    display.show_end(writer.record)
    return writer.record


def _train(
    cell: Cell, spec: ModelSpec, context: RunContext, writer: RecordWriter, display: Display
) -> None:
    """Build, fit, evaluate; every step's outcome goes into the record."""
    context = settle(spec, context, writer.record, writer.update)
    training = Training(spec, context, writer)
    with closing(_start_method(cell, training)) as method:
        method.restore(writer.record.stages)
        _learn(method, training, display)
    context.runtime.on_main(shutil.rmtree, training.checkpoints, True)


def _learn(method: LearningMethod, training: Training, display: Display) -> None:
    """Fit from where the method is, evaluating every epoch, and conclude."""
    context, writer, progress = training.context, training.writer, method.progress
    assessor = Assessor(method.assess, context.config)
    # Epochs behind the checkpoint are trained again, to the same bits.
    kept_epochs = writer.record.epochs[: progress.epoch]
    writer.update(resumed_from=progress.step or None, stages=method.stages, epochs=kept_epochs)
    if context.config.epochs == 0:
        # A model that isn't trained is only worth evaluating where its weights are somebody's.
        if context.config.pretrained != NONE:
            _conclude(method, assessor, training)
        return
    try:
        # The run may have been interrupted between an epoch and its evaluation.
        _assess_epoch(method, assessor, training)
        with (
            display.show_cell(writer.record.key) as moved,
            open_trackers(writer.record, context) as track,
        ):
            method.begin()
            writer.update(stages=method.stages)
            watch = context.runtime.watch()
            for row in method.fit(moved):
                # Beside other cells of this run everybody is disturbed.
                if not context.config.cells_share_machine:
                    row = replace(row, taken_cores=watch.read_taken())
                writer.update(epochs=(*writer.record.epochs, row))
                _assess_epoch(method, assessor, training)
                display.show_epoch(writer.record.epochs[-1])
                track(writer.record)
                watch.restart()
            _conclude(method, assessor, training)
            track(writer.record)
    except Interrupted:
        # A method may save where it is interrupted; in an evaluation nobody has.
        method.save()
        raise


def _start_method(cell: Cell, training: Training) -> LearningMethod:
    """Build the model, write down what it costs, and make it ready to learn."""
    spec, context, writer = training.spec, training.context, training.writer
    config = context.config
    model = build_model(spec, cell.seed, context)
    if config.pretrained != NONE:
        start = _load_weights(model, cell, context)
        writer.update(spec=writer.record.spec | {"pretrained": start})
    # Counted before ranks share the model: the costs are the whole model's.
    image_size = writer.record.data.image_size
    layers = try_layer_costs(model, image_size=image_size, in_channels=spec.in_channels)
    writer.update(
        layers=tuple(layers),
        num_parameters=count_parameters(model),
        multiply_adds=total_multiply_adds(layers),
    )
    method = start_method(model, spec, cell.seed, context, training.checkpoints)
    writer.update(num_local_parameters=count_parameters(method.bare))
    return method


def _load_weights(model: nn.Module, cell: Cell, context: RunContext) -> JsonValue:
    """Start from the weights that were asked for, read by one process; returns what stays new."""
    given, class_names = context.config.pretrained, context.data.class_names
    num_classes = len(class_names)
    state = context.runtime.on_main(read_weights, given, cell.model, cell.seed, class_names)
    found = load_starting_weights(model, state, num_classes=num_classes)
    new = f"; new for {num_classes} classes: {', '.join(found.new)}" if found.new else ""
    context.runtime.say(f"{cell.key}: starts from {found.origin} weights{new}")
    return {"from": found.origin, "new": list(found.new)}


def _assess_epoch(method: LearningMethod, assessor: Assessor, training: Training) -> None:
    """Evaluate the epoch that the record ends with, unless that was done before an interruption."""
    writer, runtime = training.writer, training.context.runtime
    runtime.check_signal()
    rows = writer.record.epochs
    if rows and rows[-1].evaluation is None:
        # Each rank has kept running statistics of its own images.
        runtime.share_buffers(method.evaluated)
        row = replace(rows[-1], train_evaluation=assessor.assess_train())
        row = replace(row, evaluation=assessor.assess_epoch())
        writer.update(epochs=(*rows[:-1], row))
    errors = [100 - row.evaluation.top1 for row in writer.record.epochs if row.evaluation]
    method.heed(errors)


def _conclude(method: LearningMethod, assessor: Assessor, training: Training) -> None:
    """Read the test set once, and keep what the model said of it."""
    context, runtime = training.context, training.context.runtime
    model, progress, stages = method.evaluated, method.progress, method.stages
    found = assessor.assess_end()
    state = runtime.whole_state(model)
    folder = training.writer.folder
    checksums = runtime.on_main(write_outcome, folder, model, state, found, context.data)
    changes: dict[str, Any] = {"accuracy": found.accuracy, "checksums": checksums}
    images = progress.images + sum(stage.images for stage in stages)
    if images:
        seconds = progress.seconds + sum(stage.seconds for stage in stages)
        rate = make_measurement(
            "fit_images_per_second",
            [(own,) for own in runtime.gather(seconds)],
            images=images,
        )
        changes["train_seconds"] = seconds
        # Beside other cells a rate says nothing.
        changes["measurements"] = () if context.config.cells_share_machine else (rate,)
    training.writer.update(**changes)

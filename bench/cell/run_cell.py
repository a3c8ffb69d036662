"""`run_cell`: one model with one seed, from its spec to its record, in whatever process."""

import shutil
import traceback
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from torch import nn

from bench.cell.display import Display, tracked
from bench.cell.record_writer import Keeper, data_info, keep_outcome, spec_as_json
from bench.data.dataset import Dataset, class_weights, describe_classes
from bench.distributed.process import cells_given_up
from bench.distributed.runtime import Interrupted, Runtime
from bench.environment import describe_run
from bench.request.command_line import check_folder
from bench.request.config import NONE, RunConfig, to_json
from bench.request.recipe import get_recipe
from bench.results.record import RunRecord, Status, cell_name, make_measurement, now
from bench.results.storage import read, write, write_json
from bench.train import checkpoint
from bench.train.build import (
    RunContext,
    assess,
    build_loader,
    build_model,
    get_dropout_rates,
    prepare_learner,
)
from bench.train.optimizer import check_optimizer
from bench.train.pretrained import load_starting_weights, read_weights
from bench.train.schedule import choose_optimizer, drop_peak
from bench.train.trainer import Diverged, Hooks, Learner, Progress, fit
from zoo.cause import cause_of
from zoo.cost import count_parameters, layer_costs
from zoo.fit import check_image_size
from zoo.library import explain_shared_names
from zoo.registry import resolve
from zoo.regularise import build_regularised
from zoo.spec import ModelSpec

FINISHED = frozenset({"ok", "diverged"})


@dataclass(frozen=True)
class Cell:
    """One model with one seed. `spec` is a string, the cause, where the model's own code failed."""

    model: str
    seed: int
    spec: ModelSpec | str


def list_cells(config: RunConfig, data: Dataset) -> list[Cell]:
    """List the cells of a run, model by model.

    ValueError for a name that a library lacks, an unknown optimiser, images that a network is too
    large for, or one without the dropout or stochastic depth that is asked for.
    """
    check_optimizer(config.optimizer)
    specs = {model: _resolve(model, len(data.class_names)) for model in config.models}
    for spec in specs.values():
        # A user's own network that can't read them is a row: its code may not run without numbers.
        if (
            isinstance(spec, ModelSpec)
            and spec.source != "file"
            and config.image_size not in (None, spec.image_size)
        ):
            check_image_size(
                spec.name, config.image_size or spec.image_size, in_channels=spec.in_channels
            )
        if isinstance(spec, ModelSpec) and set(get_dropout_rates(config).values()) != {None}:
            build_regularised(spec, len(data.class_names), **get_dropout_rates(config))
    return [Cell(model, seed, spec) for model, spec in specs.items() for seed in config.seeds]


def _resolve(model: str, num_classes: int) -> ModelSpec | str:
    """The spec of a model.

    The cause where the user's own code fails to build it: that is a row, not a refusal.
    """
    try:
        return resolve(model, num_classes=num_classes)
    except ValueError:
        raise
    except Exception as error:
        return cause_of(error)


def claim_run(config: RunConfig, data: Dataset, runtime: Runtime) -> RunContext:
    """Take the run's folder for this world and write down what is asked for.

    ValueError if another process has it, or if not all machines hold the same data.
    """
    folder = config.out
    assert folder is not None, "the request was completed"
    held = runtime.gather(f"{data.name} {data.checksum[:12]}")
    if len(set(held)) > 1:
        raise ValueError(
            f"the machines don't hold the same data: {', '.join(held)}; name it by --dataset"
        )
    runtime.claim_folder(folder)
    runtime.on_main(_write_request, config, folder)
    sizes, names = describe_classes(data), explain_shared_names(_asked_for(config))
    runtime.say(
        f"{data.name}: {len(data.train_indices):,} training images of {len(data.class_names)} classes, {sizes}"
    )
    if names:
        runtime.say(names)
    environment = describe_run(config, runtime) | {"images_a_class": sizes}
    return RunContext(config, data, runtime, folder, environment)


def _asked_for(config: RunConfig) -> tuple[str, ...]:
    """The models that a person named; a recipe knows which it means."""
    return () if config.models == get_recipe(config.recipe).models else config.models


def _write_request(config: RunConfig, folder: Path) -> None:
    """Write down what is asked for, unless another run has come into the folder since it was checked."""
    check_folder(config)
    try:
        write_json(folder / "config.json", to_json(config))
    except OSError as error:
        raise ValueError(f"--out {folder}: can't be written ({error.strerror})") from error


def run_cell(cell: Cell, context: RunContext, display: Display) -> RunRecord:
    """Train and evaluate a cell, writing its record anew at every epoch; a failure is a record with its cause.

    Raises Interrupted, after a checkpoint and a record that says so; WorldBroken where the ranks
    can't go on together; OSError where nothing can be written any more.
    """
    runtime = context.runtime
    folder = _place(cell, context)
    before = runtime.on_main(find_record, cell, context)
    if before is not None and (before.status in FINISHED or before.cell in cells_given_up()):
        display.kept(before)
        return before
    keep = Keeper(_begin(cell, context), folder / "record.json", runtime)
    keep.update(
        epochs=before.epochs if before else (), batch_search=before.batch_search if before else {}
    )
    try:
        if isinstance(cell.spec, str):
            raise _ModelError(cell.spec)
        _train(cell, cell.spec, context, folder, keep, display)
        keep.update(status="ok", finished=now())
    except Interrupted:
        keep.update(status="interrupted", error="a signal came; --resume goes on")
        raise
    except Diverged as error:
        keep.update(status="diverged", error=str(error), finished=now())
    except _ModelError as error:
        keep.update(status="failed", error=str(error), finished=now())
    except Exception as error:
        runtime.note("".join(traceback.format_exception(error)))
        keep.fail(error)
    display.end(keep.record)
    return keep.record


def keep_cell(cell: Cell, context: RunContext, display: Display) -> RunRecord:
    """The record of a cell as an earlier start left it, whatever it says.

    A later launch only measures.
    """
    record: RunRecord = context.runtime.on_main(
        read, _place(cell, context) / "record.json", RunRecord
    )
    display.kept(record)
    return record


class _ModelError(Exception):
    """The code of a user's model failed before it was built here."""


def find_record(cell: Cell, context: RunContext) -> RunRecord | None:
    """Read the record that another process or an earlier start of this run left, if there is one."""
    path = _place(cell, context) / "record.json"
    return read(path, RunRecord) if path.exists() else None


def give_up(cell: Cell, context: RunContext, status: Status, cause: str) -> RunRecord:
    """Write down that a cell's process died: a row with its cause."""
    record = replace(
        find_record(cell, context) or _begin(cell, context),
        status=status,
        error=cause,
        finished=now(),
    )
    write(_place(cell, context) / "record.json", record)
    return record


def _place(cell: Cell, context: RunContext) -> Path:
    return context.folder / "cells" / cell_name(cell.model, cell.seed)


def _begin(cell: Cell, context: RunContext) -> RunRecord:
    """The record of a cell that has started: a run that is killed is still a row."""
    config, spec = context.config, cell.spec
    known: dict[str, Any] = {"name": cell.model} if isinstance(spec, str) else spec_as_json(spec)
    size = config.image_size or known.get("image_size") or context.data.size
    return RunRecord(
        run=context.folder.name,
        model=cell.model,
        seed=cell.seed,
        status="started",
        config=to_json(choose_optimizer(config, known.get("defaults", {}))),
        spec=known,
        environment=dict(context.environment),
        data=data_info(context.data, size, known),
        world_size=context.runtime.world_size,
        batch_size=config.batch_size,
        created=now(),
    )


def _train(
    cell: Cell, spec: ModelSpec, context: RunContext, folder: Path, keep: Keeper, display: Display
) -> None:
    """Build, fit, evaluate; every step's outcome goes into the record."""
    context = replace(context, config=choose_optimizer(context.config, spec.defaults))
    if context.config.best_batch:
        from bench.train.batch_size import (
            with_best_batch_size,
        )  # imported here: it builds a model as a cell does

        context, found = with_best_batch_size(spec, context, keep.record)
        keep.update(**found)
    config, runtime = context.config, context.runtime
    assert config.lr is not None, "it was settled"
    model = build_model(spec, cell.seed, context)
    if config.pretrained != NONE:
        keep.update(spec=keep.record.spec | {"pretrained": _load_weights(model, cell, context)})
    size = keep.record.data.image_size
    layers = layer_costs(model, image_size=size, in_channels=spec.in_channels)
    keep.update(
        layers=tuple(layers),
        num_parameters=count_parameters(model),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
    )
    learner = prepare_learner(
        model,
        spec,
        config=config,
        peak=config.lr,
        seed=cell.seed,
        runtime=runtime,
        class_weights=class_weights(context.data).tolist() if config.class_weights else None,
    )
    keep.update(num_local_parameters=count_parameters(learner.bare))
    progress = checkpoint.restore(folder / "checkpoints", learner) or Progress()
    keep.update(resumed_from=progress.step or None, epochs=keep.record.epochs[: progress.epoch])
    if config.epochs == 0:
        if config.pretrained != NONE:
            _conclude(learner, spec, progress, context, folder, keep)
        return
    batches = build_loader(spec, cell.seed, context)
    save = partial(checkpoint.save, folder / "checkpoints", learner)
    try:
        _assess_epoch(learner, spec, context, keep)
        with (
            display.cell(cell.model, cell.seed) as moved,
            tracked(keep.record, context.folder, runtime) as track,
        ):
            for row in fit(learner, batches, progress, Hooks(save, moved)):
                keep.update(epochs=(*keep.record.epochs, row))
                _assess_epoch(learner, spec, context, keep)
                display.epoch(cell.model, keep.record.epochs[-1])
                track(keep.record)
            _conclude(learner, spec, progress, context, folder, keep)
            track(keep.record)
    except Interrupted:
        save(progress)
        raise
    runtime.on_main(shutil.rmtree, folder / "checkpoints", True)


def _assess_epoch(learner: Learner, spec: ModelSpec, context: RunContext, keep: Keeper) -> None:
    """Evaluate the epoch that the record ends with, unless that was done before an interruption."""
    context.runtime.check_signal()
    rows = keep.record.epochs
    if rows and rows[-1].evaluation is None:
        context.runtime.share_buffers(learner.evaluated)
        accuracy, _ = assess(learner.evaluated, spec, context, final=False)
        keep.update(epochs=(*rows[:-1], replace(rows[-1], evaluation=accuracy)))
    errors = [100 - row.evaluation.top1 for row in keep.record.epochs if row.evaluation]
    assert learner.config.lr is not None, "it was settled"
    learner.peak = drop_peak(learner.config, learner.config.lr, errors)


def _conclude(
    learner: Learner,
    spec: ModelSpec,
    progress: Progress,
    context: RunContext,
    folder: Path,
    keep: Keeper,
) -> None:
    """Read the test set once, and keep what the model said of it."""
    runtime = context.runtime
    accuracy, predictions = assess(learner.evaluated, spec, context, final=True)
    state = runtime.whole_state(learner.evaluated)
    checksums = runtime.on_main(keep_outcome, folder, state, predictions, context.data)
    rate = make_measurement(
        "fit_images_per_second",
        [(seconds,) for seconds in runtime.gather(progress.seconds)],
        images=progress.images,
    )
    rates = () if context.config.pack else (rate,)  # beside other cells it says nothing
    trained: dict[str, Any] = (
        {"measurements": rates, "train_seconds": progress.seconds} if progress.images else {}
    )
    keep.update(accuracy=accuracy, checksums=checksums, **trained)


def _load_weights(model: nn.Module, cell: Cell, context: RunContext) -> JsonValue:
    """Start from the weights that were asked for, read by one process; says what stays new."""
    given, num_classes = context.config.pretrained, len(context.data.class_names)
    state = context.runtime.on_main(read_weights, given, cell.model, cell.seed)
    found = load_starting_weights(model, state, given=given, num_classes=num_classes)
    new = f"; new for {num_classes} classes: {', '.join(found.new)}" if found.new else ""
    context.runtime.say(f"{cell.model}, seed {cell.seed}: starts from {found.origin} weights{new}")
    return {"from": found.origin, "new": list(found.new)}

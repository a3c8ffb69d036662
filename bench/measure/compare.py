"""Measures the models of a run against each other, and the first one of them against itself.

Models that don't fit into memory together are measured in groups that share their first one. With
`--launches N` all of it is done in N fresh processes, one after another; each writes comparisons of
its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from bench.distributed.runtime import Interrupted, Runtime
from bench.measure.machine import (
    conditions,
    gpu_is_slowed,
    joules_per_image,
    machine_peaks,
    open_meter,
    read_counters,
)
from bench.measure.memory import Need, fit_together, measure_memory, need_of, room_for
from bench.measure.turns import Turns, take_turns
from bench.measure.visit import (
    PASSES,
    SWEEP_SHARE,
    Pass,
    Subject,
    build_subject,
    first_step,
    sweep,
    wake,
)
from bench.measure.visit import measurements as sweep_measurements
from bench.results.metric import METRICS
from bench.results.record import (
    Comparison,
    Measurement,
    NoiseFloor,
    RunRecord,
    make_measurement,
    now,
)
from bench.results.storage import comparison_path, read, write
from bench.results.verdict import is_timed, noise_floor
from bench.train.batch_size import with_batch_size
from bench.train.build import RunContext, build_loader, build_model, prepare_learner
from bench.train.schedule import choose_optimizer
from zoo.cause import cause_of
from zoo.spec import ModelSpec

T = TypeVar("T")
AGAIN = " (again)"  # behind the reference's name where it is measured a second time, as its own opponent


def compare_models(
    specs: Mapping[str, ModelSpec], records: Sequence[RunRecord], context: RunContext
) -> None:
    """Measure every model that has a finished cell, once a launch, and write the comparisons.

    Written ones are kept.
    """
    ok = {record.model: record for record in reversed(records) if record.status == "ok"}
    specs = {model: spec for model, spec in specs.items() if model in ok}
    if not context.config.measure or not specs:
        return
    runtime = context.runtime
    needs = {model: need_of(ok[model], context.config, runtime) for model in specs}
    launch, group, left = runtime.on_main(_unmeasured, context, tuple(specs))
    if not left:
        return
    groups = runtime.broadcast(
        fit_together({model: needs[model] for model in left}, room_for(runtime))
    )
    for number, models in enumerate(groups, start=group):
        own = {model: specs[model] for model in models}
        contexts = {model: with_batch_size(ok[model].batch_size, context) for model in own}
        runtime.say(
            f"measuring {len(own)} models in turn"
            + _which(launch, number, context, group + len(groups))
        )
        compared = _Contest(own, contexts, context, needs).compare(launch, number)
        runtime.on_main(write, comparison_path(context.folder, launch, number), compared)
    if launch + 1 < context.config.launches:
        runtime.say(
            f"launch {launch + 1} of {context.config.launches} is measured; --resume does the next one"
        )


def _unmeasured(context: RunContext, models: tuple[str, ...]) -> tuple[int, int, tuple[str, ...]]:
    """The first launch that lacks models, the number of its next group, and those models behind the reference.

    An interrupted launch goes on with what it lacks: how many models fit together may have changed
    since.
    """
    for launch in range(context.config.launches):
        group, left = 0, models
        while (path := comparison_path(context.folder, launch, group)).exists():
            done = read(path, Comparison).models
            group, left = group + 1, tuple(model for model in left if model not in done)
        if left:
            return launch, group, tuple(dict.fromkeys((models[0], *left)))
    return 0, 0, ()


def _which(launch: int, group: int, context: RunContext, num_groups: int) -> str:
    words = [f"group {group + 1} of {num_groups}"] if num_groups > 1 else []
    words += (
        [f"launch {launch + 1} of {context.config.launches}"] if context.config.launches > 1 else []
    )
    return f" ({', '.join(words)})" if words else ""


@dataclass
class _Contest:
    """Models that are measured together, each at its own batch, and what is found."""

    specs: Mapping[str, ModelSpec]
    contexts: Mapping[str, RunContext]
    context: RunContext
    needs: Mapping[str, Need]
    subjects: dict[str, Subject] = field(default_factory=dict)
    once: dict[str, list[Measurement]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    conditions: dict[str, dict[str, float]] = field(default_factory=dict)
    sweeps: dict[str, tuple[Measurement, ...]] = field(default_factory=dict)
    sweep_ended: dict[str, str] = field(default_factory=dict)

    def compare(self, launch: int, group: int) -> Comparison:
        """Do every pass that was asked for."""
        config, runtime = self.context.config, self.context.runtime
        self._build()
        wanted = {name: PASSES[name] for name in PASSES if name in config.measure and self.subjects}
        turns = {
            name: self._watched(name, partial(self._one_pass, which))
            for name, which in wanted.items()
        }
        measured = {name: self._measurements(name, turns) for name in self.subjects}
        reference = next(iter(self.subjects), next(iter(self.specs)))
        again = measured.pop(reference + AGAIN, ())
        self.subjects.pop(reference + AGAIN, None)
        if "sweep" in config.measure:
            self._watched("sweep", self._sweep)
        if "energy" in config.measure:
            self._energy()
        self.subjects.clear()  # memory is measured in processes of their own: give this one's back first
        machine = machine_peaks(runtime) if "machine" in config.measure else ()
        if "memory" in config.measure and launch == 0:
            runtime.say("measuring memory, each model in a fresh process")
            new = [model for model in measured if not (group and model == reference)]
            fresh = [(self.specs[model], self.contexts[model]) for model in new]
            for model, rows in measure_memory(fresh, self.missing).items():
                self.once.setdefault(model, []).extend(rows)
        return Comparison(
            run=self.context.folder.name,
            models=tuple(self.specs),
            reference=reference,
            launch=launch,
            group=group,
            order={name: tuple(turn.order) for name, turn in turns.items()},
            ended_by={name: turn.ended_by for name, turn in turns.items()},
            measurements={
                name: (*rows, *self.once.get(name, ())) for name, rows in measured.items()
            },
            same_model_twice=again,
            noise=_noise(again, measured.get(reference, ())),
            conditions=self.conditions,
            machine=machine,
            sweeps=self.sweeps,
            sweep_ended=self.sweep_ended,
            missing=self.missing,
            environment=dict(self.context.environment),
            world_size=runtime.world_size,
            batch_size=self.contexts[reference].config.batch_size,
            created=now(),
        )

    def _build(self) -> None:
        """Build every model, the first of them twice.

        One that fails to build or to step is missing, with its cause.
        """
        runtime = self.context.runtime
        wake(runtime, self.context.config)
        for model, spec in self.specs.items():
            cause, took, longer, subject = "", 0.0, 0.0, None
            try:
                subject, took, longer = first_step(
                    partial(build, spec, self.contexts[model]), runtime
                )
            except Interrupted:
                raise
            except Exception as error:
                cause = cause_of(error)
            causes = [other for other in runtime.gather(cause) if other]
            if subject is None or causes:
                self.missing[model] = causes[0]
                continue
            self.subjects[model] = subject
            self.once[model] = [single("first_step_seconds", took, runtime)]
            if self.context.config.compile:
                self.once[model].append(single("compile_seconds", longer, runtime))
        if self.subjects:
            reference = next(iter(self.subjects))
            self.subjects[reference + AGAIN] = build(
                self.specs[reference], self.contexts[reference]
            )

    def _watched(self, name: str, action: Callable[[], T]) -> T:
        """Do something and note what else the machine did meanwhile."""
        before = read_counters()
        result = action()
        after = read_counters()
        found = conditions(before, after, self.context.runtime.gather(after.own - before.own))
        slowed = gpu_is_slowed() if self.context.runtime.device.type == "cuda" else None
        self.conditions[name] = found | ({} if slowed is None else {"gpu_slowed": float(slowed)})
        return result

    def _one_pass(self, which: Pass) -> Turns:
        config, runtime = self.context.config, self.context.runtime
        return take_turns(
            {name: which.visit(subject, runtime) for name, subject in self.subjects.items()},
            rounds=None if config.pairs == "auto" else config.pairs,
            seconds=which.share * config.measure_seconds * (len(self.subjects) - 1),
            seed=config.seeds[0],
            agree=runtime.broadcast,
            check=runtime.check_signal,
        )

    def _measurements(self, name: str, turns: Mapping[str, Turns]) -> tuple[Measurement, ...]:
        """A contestant's measurements, with the raw values of every rank."""
        rows, batch_size = [], self.contexts[name.removesuffix(AGAIN)].config.batch_size
        for part, taken in turns.items():
            shared = self.context.runtime.gather((taken.values[name], taken.warmup[name]))
            for metric in taken.values[name]:
                row = make_measurement(
                    metric,
                    [values[metric] for values, _ in shared],
                    warmup=[warmup[metric] for _, warmup in shared],
                    images=batch_size if METRICS[metric].per_batch else None,
                    part=part,
                )
                rows.append(row)
        return tuple(rows)

    def _sweep(self) -> None:
        config = self.context.config
        for model, subject in self.subjects.items():
            found = sweep(
                subject,
                self.context.runtime,
                seconds=SWEEP_SHARE * config.measure_seconds,
                bytes_an_image=self.needs[model].forward,
                seed=config.seeds[0],
            )
            self.sweeps[model], self.sweep_ended[model] = (
                sweep_measurements(found.seconds),
                found.ended,
            )

    def _energy(self) -> None:
        runtime = self.context.runtime
        meter = open_meter(runtime)
        causes = [
            other for other in runtime.gather(meter if isinstance(meter, str) else "") if other
        ]
        if isinstance(meter, str) or causes:
            self.missing["energy_joules_per_image"] = causes[0]
            return
        for model, subject in self.subjects.items():
            values = [(value,) for value in joules_per_image(subject, meter, runtime)]
            self.once[model].append(make_measurement("energy_joules_per_image", values))


def build(spec: ModelSpec, context: RunContext) -> Subject:
    """Build a model as a cell does, with fresh weights.

    How fast it is doesn't depend on what it has learnt.
    """
    config, seed = choose_optimizer(context.config, spec.defaults), context.config.seeds[0]
    assert config.lr is not None, "it was settled"
    learner = prepare_learner(
        build_model(spec, seed, context),
        spec,
        config=config,
        peak=config.lr,
        seed=seed,
        runtime=context.runtime,
    )
    return build_subject(spec.name, learner, build_loader(spec, seed, context))


def single(metric: str, value: float, runtime: Runtime) -> Measurement:
    """A measurement that each rank makes once."""
    return make_measurement(metric, [(own,) for own in runtime.gather(value)])


def _noise(again: Sequence[Measurement], own: Sequence[Measurement]) -> dict[str, NoiseFloor]:
    """What measuring the reference twice says of the harness, by metric."""
    first = {row.metric: row for row in own}
    return {twin.metric: noise_floor(twin, first[twin.metric]) for twin in again if is_timed(twin)}

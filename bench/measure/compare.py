"""Measure the models of a run against each other, and the first one of them against itself.

Models that don't fit into memory together are measured in groups that share their first one. With
`--launches N` all of it is done in N fresh processes, one after another; each writes comparisons of
its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from bench.measure.deployed import deploy_model
from bench.measure.machine import gpu_is_slowed, measure_peaks
from bench.measure.memory import Need, estimate_need, fit_together, measure_memory, room_for_models
from bench.measure.once import ONCE
from bench.measure.subject import Subject, build_subject, try_to_build, warm_up_torch
from bench.measure.sweep import sweep_measurements, time_inference
from bench.measure.turns import Turns, take_turns
from bench.measure.visit import VISITS
from bench.results.metric import (
    CHOICES,
    DEPLOY,
    ENERGY,
    METRICS,
    TRAIN,
    Measure,
    Taken,
    list_metrics,
)
from bench.results.record import (
    Comparison,
    Measurement,
    RunRecord,
    make_measurement,
    now,
)
from bench.results.storage import comparison_path, read, write
from bench.results.verdict import DISTURBANCE, is_timed, noise_floor
from bench.train.build import RunContext
from bench.train.own_setting import as_trained
from zoo.spec import ModelSpec

T = TypeVar("T")
# Behind the reference's name where it is measured a second time, as its own opponent.
AGAIN = " (again)"
OF_STEPS = (TRAIN, ENERGY)  # what takes training steps


def compare_models(
    specs: Mapping[str, ModelSpec], records: Sequence[RunRecord], context: RunContext
) -> None:
    """Measure every model of which a record is ok, once a launch, and write the comparisons.

    Those that are there are kept.
    """
    ok = {record.model: record for record in reversed(records) if record.status == "ok"}
    specs = {model: spec for model, spec in specs.items() if model in ok}
    config, runtime = context.config, context.runtime
    if not config.measure or not specs:
        return
    needs = {model: estimate_need(ok[model], config, runtime) for model in specs}
    launch, first_group, left = runtime.on_main(find_unmeasured, context, tuple(specs))
    if not left:
        return
    room = room_for_models(runtime, context.data)
    groups = runtime.broadcast(fit_together({model: needs[model] for model in left}, room))
    num_groups = first_group + len(groups)
    for group, models in enumerate(groups, start=first_group):
        which = []
        if num_groups > 1:
            which.append(f"group {group + 1} of {num_groups}")
        if config.launches > 1:
            which.append(f"launch {launch + 1} of {config.launches}")
        place = f" ({', '.join(which)})" if which else ""
        runtime.say(f"measuring {len(models)} models in turn{place}")
        contest = _Contest(
            specs={model: specs[model] for model in models},
            contexts={model: as_trained(ok[model], context) for model in models},
            context=context,
            needs=needs,
        )
        comparison = contest.compare(launch, group)
        runtime.on_main(write, comparison_path(context.folder, launch, group), comparison)
    if launch + 1 < config.launches:
        runtime.say(
            f"launch {launch + 1} of {config.launches} is measured; --resume does the next one"
        )


def find_unmeasured(
    context: RunContext, models: tuple[str, ...]
) -> tuple[int, int, tuple[str, ...]]:
    """Return the first launch that lacks models, its next group's number, and those models.

    The reference comes before them, since every group has it. An interrupted launch goes on with
    what it lacks: how many models fit together may have changed since.
    """
    for launch in range(context.config.launches):
        group = 0
        left = models
        path = comparison_path(context.folder, launch, group)
        while path.exists():
            done = read(path, Comparison).models
            left = tuple(model for model in left if model not in done)
            group += 1
            path = comparison_path(context.folder, launch, group)
        if left:
            return launch, group, tuple(dict.fromkeys((models[0], *left)))
    return 0, 0, ()


@dataclass
class _Contest:
    """Models that are measured together, each as it was trained, and what is found."""

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
        """Do everything that was asked for, what is timed before what isn't."""
        runtime = self.context.runtime
        self._build()
        turns = {}
        for measure in self._asked("in turn"):
            subjects = self._prepare(measure)
            if subjects:
                action = partial(self._take_turns, measure, subjects)
                turns[measure.name] = self._watch(measure, action)
        measured = {name: self._measurements(name, turns) for name in self.subjects}
        reference = next(iter(self.subjects), next(iter(self.specs)))
        again = measured.pop(reference + AGAIN, ())
        self.subjects.pop(reference + AGAIN, None)
        for measure in self._asked("at growing batches"):
            self._watch(measure, partial(self._sweep, measure))
        for measure in self._asked("once"):
            self._measure_once(measure)
        # Memory is measured in processes of their own: give this one's back first.
        self.subjects.clear()
        machine = measure_peaks(runtime) if self._asked("of the machine") else ()
        # The run's first model was measured with the first group.
        first = next(iter(self.specs))
        fresh = [model for model in measured if not (group and model == first)]
        if self._asked("in a fresh process") and launch == 0:
            runtime.say("measuring memory, each model in a fresh process")
            runtime.release_memory()
            prepared = [(self.specs[model], self.contexts[model]) for model in fresh]
            for model, rows in measure_memory(prepared, self.missing).items():
                self.once.setdefault(model, []).extend(rows)
        own = {row.metric: row for row in measured.get(reference, ())}
        noise = {row.metric: noise_floor(row, own[row.metric]) for row in again if is_timed(row)}
        measurements = {
            model: (*rows, *self.once.get(model, ())) for model, rows in measured.items()
        }
        return Comparison(
            run=self.context.folder.name,
            models=tuple(self.specs),
            reference=reference,
            launch=launch,
            group=group,
            order={part: tuple(taken.order) for part, taken in turns.items()},
            ended_by={part: taken.ended_by for part, taken in turns.items()},
            measurements=measurements,
            same_model_twice=again,
            noise=noise,
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

    def _asked(self, taken: Taken) -> list[Measure]:
        """Return the choices of --measure that are taken in one way."""
        config = self.context.config
        asked = [measure for measure in CHOICES if measure.name in config.measure]
        if not config.takes_steps and TRAIN in asked:
            asked.remove(TRAIN)
            self.missing[TRAIN.name] = f"--train {config.train} takes no steps"
        return [measure for measure in asked if measure.taken == taken]

    def _contestants(self, measure: Measure) -> dict[str, Subject]:
        """Return the subjects that can be measured so: steps are taken only of what takes any."""
        if measure not in OF_STEPS:
            return self.subjects
        able = {name: subject for name, subject in self.subjects.items() if subject.learner}
        for name in self.subjects.keys() - able.keys():
            model = name.removesuffix(AGAIN)
            self.missing[f"{model}: {measure.name}"] = "it is fitted once, and takes no steps"
        return able

    def _build(self) -> None:
        """Build every model, the first of them twice.

        One that fails to build or to step is missing, with its cause.
        """
        runtime = self.context.runtime
        warm_up_torch(runtime, self.context.config)
        for model, spec in self.specs.items():
            built = try_to_build(spec, self.contexts[model])
            failures = runtime.gather(built if isinstance(built, str) else "")
            causes = [cause for cause in failures if cause]
            # A model that one rank lacks no rank can measure.
            if isinstance(built, str) or causes:
                self.missing[model] = causes[0]
                continue
            self.subjects[model], seconds = built
            self._add_once(model, seconds)
        if self.subjects:
            reference = next(iter(self.subjects))
            twin = build_subject(self.specs[reference], self.contexts[reference])
            self.subjects[reference + AGAIN] = twin

    def _add_once(self, model: str, values: Mapping[str, float]) -> None:
        """Keep what every rank measured once of a model, by metric."""
        for metric, value in values.items():
            ranks = [(own,) for own in self.context.runtime.gather(value)]
            self.once.setdefault(model, []).append(make_measurement(metric, ranks))

    def _watch(self, measure: Measure, action: Callable[[], T]) -> T:
        """Do something, and keep what else the machine did meanwhile."""
        runtime = self.context.runtime
        watch = runtime.watch()
        result = action()
        found = watch.read()
        uuid = runtime.gpu_uuid()
        told = runtime.gather(gpu_is_slowed(uuid) if uuid else None)
        known = [slowed for slowed in told if slowed is not None]
        if known:
            found["gpu_slowed"] = float(any(known))
        self.conditions[measure.name] = found
        return result

    def _prepare(self, measure: Measure) -> Mapping[str, Subject]:
        """Return the contestants of a measure, which for `deploy` are those that have a file."""
        if measure is not DEPLOY:
            return self._contestants(measure)
        ready = {}
        for name, subject in self.subjects.items():
            model = name.removesuffix(AGAIN)
            twin = self.subjects[model].deployed
            found = deploy_model(self.specs[model], self.contexts[model], twin)
            if isinstance(found, str):
                self.missing[f"{model}: {measure.name}"] = found
                continue
            subject.deployed = found
            ready[name] = subject
            if name == model:
                self._add_once(model, found.facts)
            for title, cause in found.missing.items():
                self.missing[f"{model}: {measure.name} by {title}"] = cause
        return ready

    def _take_turns(self, measure: Measure, subjects: Mapping[str, Subject]) -> Turns:
        config, runtime = self.context.config, self.context.runtime
        make_visit = VISITS[measure.name]
        # The reference's twin has no time of its own: --measure-seconds are a model's.
        num_models = len({name.removesuffix(AGAIN) for name in subjects})
        return take_turns(
            {name: make_visit(subject, runtime) for name, subject in subjects.items()},
            rounds=None if config.pairs == "auto" else config.pairs,
            seconds=measure.share * config.measure_seconds * num_models,
            seed=config.seeds[0],
            agree=runtime.broadcast,
            check=runtime.check_signal,
            watch=runtime.watch().read_taken,
        )

    def _measurements(self, name: str, turns: Mapping[str, Turns]) -> tuple[Measurement, ...]:
        """Return a contestant's measurements, with the raw values of every rank."""
        rows = []
        batch_size = self.contexts[name.removesuffix(AGAIN)].config.batch_size
        for part, taken in turns.items():
            if name not in taken.values:
                continue
            own = (taken.values[name], taken.warmup[name], taken.set_aside.get(name))
            ranks = self.context.runtime.gather(own)
            for metric in taken.values[name]:
                row = make_measurement(
                    metric,
                    [values[metric] for values, _, _ in ranks],
                    warmup=[warmup[metric] for _, warmup, _ in ranks],
                    set_aside=[aside[metric] for _, _, aside in ranks if aside],
                    disturbed=taken.disturbed,
                    images=batch_size if METRICS[metric].per_batch else None,
                    part=part,
                )
                rows.append(row)
        return tuple(rows)

    def _sweep(self, measure: Measure) -> None:
        config = self.context.config
        watch = self.context.runtime.watch()
        for model, subject in self.subjects.items():
            watch.restart()
            times = time_inference(
                subject,
                self.context.runtime,
                seconds=measure.share * config.measure_seconds,
                bytes_an_image=self.needs[model].forward,
                seed=config.seeds[0],
            )
            taken = watch.read_taken()
            disturbed = taken if taken > DISTURBANCE else 0.0
            self.sweeps[model] = sweep_measurements(times.seconds, disturbed)
            self.sweep_ended[model] = times.ended

    def _measure_once(self, measure: Measure) -> None:
        """Measure every model by itself, or say why this machine can't."""
        try:
            measure_subject = ONCE[measure.name](self.context.runtime)
            failure = ""
        except ValueError as error:
            failure = str(error)
        causes = [cause for cause in self.context.runtime.gather(failure) if cause]
        if causes:
            for metric in list_metrics(measure):
                self.missing[metric.name] = causes[0]
            return
        for model, subject in self._contestants(measure).items():
            self._add_once(model, measure_subject(subject))

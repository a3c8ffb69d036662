"""Measures the models of a run against each other, and the first one against itself."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.cell import Bench, Cell, build_loader, build_model, memory_request, now
from bench.measure import METRICS, PASSES, Pass, Subject, build_subject, train_visit
from bench.memory import peak_memory_bytes
from bench.optimizer import peak_rate
from bench.pairing import Turns, take_turns
from bench.record import Comparison, Measurement, RunRecord, write
from bench.runtime import Interrupted
from bench.trainer import build_learner
from zoo.spec import ModelSpec

AGAIN = " (again)"  # behind the reference's name where it is measured a second time, as its own opponent


def compare_cells(cells: Sequence[Cell], records: Sequence[RunRecord], bench: Bench) -> None:
    """Measure every model that has a finished cell, once, and write the comparison; a written one is kept."""
    path = bench.folder / "comparison.json"
    ok = {record.model for record in records if record.status == "ok"}
    specs = {c.model: c.spec for c in cells if isinstance(c.spec, ModelSpec) and c.model in ok}
    if not bench.config.measure or not specs or bench.runtime.on_main(path.exists):
        return
    bench.runtime.say(f"measuring {len(specs)} models in turn")
    bench.runtime.on_main(write, path, _compare(specs, bench))


def _compare(specs: Mapping[str, ModelSpec], bench: Bench) -> Comparison:
    config, runtime = bench.config, bench.runtime
    missing: dict[str, str] = {}
    subjects = _build_all(specs, bench, missing)
    turns = {name: _one_pass(PASSES[name], subjects, bench) for name in PASSES if name in config.measure and subjects}
    measured = {name: _measurements(name, list(turns.values()), bench) for name in subjects}
    reference = next(iter(subjects), next(iter(specs)))
    again = measured.pop(reference + AGAIN, ())
    subjects.clear()  # memory is measured in processes of their own: give this one's back first
    if "memory" in config.measure:
        runtime.say("measuring memory, each model in a fresh process")
        for model, memory in _memory([specs[model] for model in measured], bench, missing).items():
            measured[model] += (memory,)
    return Comparison(
        run=bench.folder.name, models=tuple(specs), reference=reference,
        order={name: tuple(turn.order) for name, turn in turns.items()},
        ended_by={name: turn.ended_by for name, turn in turns.items()},
        measurements=measured, same_model_twice=again, missing=missing, environment=dict(bench.environment),
        world_size=runtime.world_size, batch_size=config.batch_size, created=now(),
    )  # fmt: skip


def _build_all(specs: Mapping[str, ModelSpec], bench: Bench, missing: dict[str, str]) -> dict[str, Subject]:
    """Build every model and the first of them twice; one that fails to build or to step is missing, with its cause."""
    subjects: dict[str, Subject] = {}
    for model, spec in specs.items():
        try:
            subject = _build(spec, bench)
            train_visit(subject, bench.runtime)()
        except Interrupted:
            raise
        except Exception as error:
            missing[model] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        subjects[model] = subject
    if subjects:
        reference = next(iter(subjects))
        subjects[reference + AGAIN] = _build(specs[reference], bench)
    return subjects


def _build(spec: ModelSpec, bench: Bench) -> Subject:
    """Build a model as a cell does, with fresh weights: how fast it is doesn't depend on what it has learnt."""
    config, seed = bench.config, bench.config.seeds[0]
    peak = peak_rate(config, dict(spec.defaults))
    model = build_model(spec, seed, bench)
    learner = build_learner(model, config=config, peak=peak, seed=seed, runtime=bench.runtime)
    return build_subject(spec.name, learner, build_loader(spec, seed, bench))


def _one_pass(which: Pass, subjects: Mapping[str, Subject], bench: Bench) -> Turns:
    config, num_models = bench.config, len(subjects) - 1
    return take_turns(
        {name: which.visit(subject, bench.runtime) for name, subject in subjects.items()},
        rounds=None if config.pairs == "auto" else config.pairs,
        seconds=which.share * config.measure_seconds * num_models,
        seed=config.seeds[0],
        agree=bench.runtime.broadcast,
        check=bench.runtime.check_signal,
    )


def _measurements(name: str, passes: Sequence[Turns], bench: Bench) -> tuple[Measurement, ...]:
    """A contestant's measurements, with the raw values of every rank."""
    rows = []
    for turns in passes:
        shared = bench.runtime.gather((turns.values[name], turns.warmup[name]))
        for metric in turns.values[name]:
            kind = METRICS[metric]
            row = Measurement(
                metric=metric, unit=kind.unit, better=kind.better, merge=kind.merge,
                values=tuple(tuple(values[metric]) for values, _ in shared),
                warmup=tuple(tuple(warmup[metric]) for _, warmup in shared),
                images=bench.config.batch_size if kind.per_batch else None,
            )  # fmt: skip
            rows.append(row)
    return tuple(rows)


def _memory(specs: Sequence[ModelSpec], bench: Bench, missing: dict[str, str]) -> dict[str, Measurement]:
    """The peak memory of training, in a fresh process for every model and rank; a cause where it can't be had."""
    bench.runtime.check_signal()
    kind = METRICS["peak_memory_bytes"]
    # Two at once where there is one rank: what one is given doesn't change the other's peak, and most of it is imports.
    with ThreadPoolExecutor(2 if bench.runtime.world_size == 1 else 1) as pool:
        own = list(pool.map(peak_memory_bytes, [memory_request(spec, bench) for spec in specs]))
    found = {}
    for spec, outcomes in zip(specs, zip(*bench.runtime.gather(own), strict=True), strict=True):
        causes = [outcome for outcome in outcomes if isinstance(outcome, str)]
        if causes:
            missing[f"{spec.name} peak_memory_bytes"] = causes[0]
            continue
        values = tuple((float(outcome),) for outcome in outcomes)
        found[spec.name] = Measurement(
            metric="peak_memory_bytes", unit=kind.unit, better=kind.better, merge=kind.merge, values=values
        )
    return found

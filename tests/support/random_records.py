"""Random sets of records for the page's tests.

Ties, one model, many, only failures, odd and hostile names.
"""

import random
from dataclasses import replace
from pathlib import Path

from bench.results.record import Comparison, Measurement, RunRecord
from reports.runs import Cell, Run, Source
from tests.support.record_factory import (
    Animal,
    amount,
    comparison,
    data_info,
    environment,
    failed,
    record,
)

HOSTILE = (
    "</script><script>window.ran=1</script>",
    "<img src=x onerror=window.ran=1>",
    "{{ 7 * 7 }}",
    "a'b\"c`d",
    "a/b:c@d",
    "=1+1",
    "\u202egnp.exe",
    "\ufb00\u6f22\u5b57",
    "<b>bold</b>",
    "x" * 200,
    "javascript:window.ran=1",
    "&lt;i&gt;",
    "__proto__",
    "constructor",
)
FAMILIES = ("lenet", "resnet", "vgg", "<i>family</i>", "")


def random_source(number: int, *, most: int = 24) -> Source:
    """The source of a page, drawn from its number: every run of the tests sees the same sets."""
    draw = random.Random(number)
    runs = tuple(
        _run(draw, f"run {i}" if draw.random() < 0.8 else draw.choice(HOSTILE), most)
        for i in range(draw.choice((1, 1, 2)))
    )
    return Source(_apart(runs), ())


def _apart(runs: tuple[Run, ...]) -> tuple[Run, ...]:
    return tuple(
        replace(run, name=f"{run.name} ({i})" if i else run.name) for i, run in enumerate(runs)
    )


def _run(draw: random.Random, name: str, most: int) -> Run:
    shape = draw.choice(("usual", "usual", "usual", "one", "ties", "failures"))
    animals = _animals(draw, 1 if shape == "one" else draw.randint(2, most), ties=shape == "ties")
    records = [
        cell for animal in animals for cell in _cells(draw, animal, name, fail=shape == "failures")
    ]
    cells = tuple(Cell(each, Path("none")) for each in records)
    compared = _comparison(draw, animals, name) if draw.random() < 0.8 else None
    return Run(name, Path("none"), cells, compared)


def _animals(draw: random.Random, count: int, *, ties: bool) -> list[Animal]:
    names = list(
        dict.fromkeys(
            draw.choice(HOSTILE) if draw.random() < 0.2 else f"model_{i}" for i in range(count)
        )
    )
    same = draw.uniform(1, 99)
    return [
        Animal(
            name,
            draw.choice(FAMILIES),
            draw.choice((0, 1, draw.randint(1, 10**9))),
            draw.randint(1, 10**10),
            draw.choice((50.0, draw.uniform(0.5, 1e5))),
            same if ties else draw.choice((0.0, 100.0, draw.uniform(0, 100))),
        )
        for name in names
    ]


def _cells(draw: random.Random, animal: Animal, run: str, *, fail: bool) -> list[RunRecord]:
    data = data_info(
        protocol=draw.choice(("split",) * 9 + ("published",)), stand_in=draw.random() < 0.1
    )
    machine = environment(machine=draw.choice(("one",) * 9 + ("two",)))
    found = []
    for seed in range(draw.randint(1, 3)):
        if fail or draw.random() < 0.1:
            status = draw.choice(("failed", "oom", "diverged", "interrupted", "started"))
            found.append(
                failed(
                    animal,
                    status,
                    draw.choice(HOSTILE),
                    seed=seed,
                    run=run,
                    data=data,
                    environment=machine,
                )
            )
        else:
            count = draw.choice((0, 1, 4))
            found.append(
                record(animal, seed, run=run, num_epochs=count, data=data, environment=machine)
            )
    return found


def _comparison(draw: random.Random, animals: list[Animal], run: str) -> Comparison:
    whole = comparison(animals, run=run, rounds=draw.choice((1, 3, 20)))
    kept: dict[str, tuple[Measurement, ...]] = {}
    for name, measurements in whole.measurements.items():
        some = [m for m in measurements if draw.random() < 0.9]
        if draw.random() < 0.1:
            some = [m for m in some if m.metric != "peak_memory_bytes"] + [
                amount("peak_memory_bytes", "bytes", (0.0,))
            ]
        kept[name] = tuple(some)
    if draw.random() < 0.2:
        kept.pop(animals[-1].name)
    return replace(whole, measurements=kept, models=tuple(kept))

"""One study from its start to its finding on disk."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.environment import describe_machine
from bench.request.config import RunConfig
from bench.results.finding import Finding, write_finding
from bench.results.record import now
from bench.studies.catalogue import Study
from bench.studies.lab import Lab
from zoo.terminal import show


def do_study(
    study: Study, root: Path, *, quick: bool, change: Callable[[RunConfig], RunConfig]
) -> Finding:
    """Do a study in its folder below `root` and write its finding there.

    Raises what `Lab.train` raises.
    """
    folder = root / (f"{study.name}-quick" if quick else study.name)
    lab = Lab(folder, quick=quick, change=change, say=show)
    start = time.perf_counter()
    finding = study.load()(lab)
    finding = replace(
        finding,
        study=study.name,
        question=study.question,
        quick=quick,
        runs=tuple(lab.trained),
        seconds=time.perf_counter() - start,
        environment=describe_machine(),
        created=now(),
    )
    write_finding(folder, finding)
    return finding

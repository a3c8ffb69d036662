"""One study from its start to its finding on disk."""

import time

from bench.environment import describe_machine
from bench.results.finding import FILE, Finding, read_finding, write_finding
from bench.results.record import now
from bench.studies.catalogue import Study
from bench.studies.lab import Lab


def do_study(study: Study, lab: Lab) -> Finding:
    """Do a study in its lab and write its finding there. Raises what `Lab.train` raises."""
    start = time.perf_counter() - _read_seconds(lab)
    answer = study.load()(lab)
    finding = Finding(
        study=study.name,
        question=study.question,
        answer=answer,
        quick=lab.quick,
        runs=tuple(lab.trained),
        seconds=time.perf_counter() - start,
        environment=describe_machine(),
        created=now(),
    )
    write_finding(lab.folder, finding)
    return finding


def _read_seconds(lab: Lab) -> float:
    """Return what an earlier answer took; 0 where there is none that can be read."""
    try:
        return read_finding(lab.folder / FILE).seconds
    except ValueError:
        return 0.0

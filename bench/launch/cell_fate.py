"""Tell from a run's records how far its cells have come, and record that one is given up."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from bench.request.config import RunConfig
from bench.results.record import RunRecord, now
from bench.results.storage import cell_folder, read_run, write


def give_up_cell(config: RunConfig, status: Literal["oom", "failed"], cause: str) -> bool:
    """Record that the cell under way won't be finished, and return whether there was one."""
    under_way = _list_under_way(config)
    # Of several cells side by side (--pack) nobody can say which one it was.
    if len(under_way) != 1:
        return False
    record = replace(under_way[0], status=status, error=cause, finished=now())
    write(_cell_folder(config, record) / "record.json", record)
    return True


def describe_progress(config: RunConfig) -> str:
    """Return the cells under way and their checkpoints as text, to compare; empty without any."""
    places = []
    for record in _list_under_way(config):
        steps = (_cell_folder(config, record) / "checkpoints").glob("step_*")
        names = sorted(path.name for path in steps)
        places.append(f"{record.cell}:{','.join(names)}")
    return " ".join(places)


def _list_under_way(config: RunConfig) -> list[RunRecord]:
    unfinished = ("started", "interrupted")
    return [record for record in _read_records(config) if record.status in unfinished]


def list_failures(config: RunConfig) -> set[tuple[str, str]]:
    """Return the cells that failed or ran out of memory: their names, and when they began."""
    failed = [record for record in _read_records(config) if record.status in ("failed", "oom")]
    return {(record.cell, record.created) for record in failed}


def list_new_failures(config: RunConfig, before: set[tuple[str, str]]) -> set[str]:
    """Return the cells that failed since this launch: the next world must not run them again."""
    return {name for name, _ in list_failures(config) - before}


def _read_records(config: RunConfig) -> list[RunRecord]:
    try:
        return read_run(config.out)[0] if config.out else []
    except ValueError:  # the workers name a damaged record, and end
        return []


def _cell_folder(config: RunConfig, record: RunRecord) -> Path:
    assert config.out is not None, "the request was completed"
    return cell_folder(config.out, record.key)


def has_begun(config: RunConfig) -> bool:
    """Return whether the workers have taken the run's folder, so that the run can be resumed."""
    return config.out is not None and (config.out / "config.json").exists()

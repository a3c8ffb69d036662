"""Worlds of processes for tests: each runs `bench.run` as a launcher's worker does, within a second.

The processes are forked from a server that has imported torch and nothing more, so that none pays for its imports.
"""

import multiprocessing
import os
import socket
import sys
from collections.abc import Mapping, Sequence

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["bench.compare"])
PATIENCE = 120  # seconds


def run_world(size: int, argv: Sequence[str], **variables: str) -> list[int]:
    """Run a request on `size` processes of this machine; returns their exit codes. The report isn't written."""
    ranks = [FORKS.Process(target=_work, args=(list(argv), variables | place)) for place in _places(size)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(PATIENCE)
    late = [rank for rank in ranks if rank.exitcode is None]
    for rank in late:
        rank.kill()
    assert not late, f"{len(late)} of {size} processes were still running after {PATIENCE} s"
    return [rank.exitcode or 0 for rank in ranks]


def _places(size: int) -> list[dict[str, str]]:
    """What a launcher tells each worker; a single one is told nothing."""
    if size == 1:
        return [{}]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "GLOO_SOCKET_IFNAME": "lo",
              "ACCELERATE_USE_CPU": "true", "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}  # fmt: skip
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


def _work(argv: Sequence[str], variables: Mapping[str, str]) -> None:
    os.environ.update(variables)
    from bench import run

    run.write_report = lambda config: True
    sys.exit(run.main(argv))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

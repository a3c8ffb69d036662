"""Forks the ranks of a run from a process that has imported everything, and harms them on the way.

A world costs a second so, not ten. A harm is {"place": …, "count": n, "act": …}: at the n-th time
that a rank comes by a place, it kills or stops itself, finds the disk full or its folder read-only.

    Nursery(folder).world(["--models", "lenet5", …], harms={1: {"place": "step", "count": 3, "act": "kill"}})
"""

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Harm = Mapping[str, Any]
SMALL_DISK = (
    5000  # bytes a file: too few for a record and for tensors, enough for what the tests print
)
PATIENCE = 1.0  # seconds that survivors wait for each other in a roll call: all are on this machine
CAPABILITIES_3 = 0x20080522  # the version of capget's structures
OVERRIDES = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


@dataclass(frozen=True)
class Outcome:
    """How the ranks of a world ended.

    Exit codes (minus the signal), what they wrote, seconds since the harm.
    """

    codes: list[int]
    texts: list[str]
    seconds: float


class Nursery:
    """A process that forks worlds on request; it ends with its `with` block."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nursery"],
            cwd=ROOT,
            env={**os.environ, **variables},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def world(
        self,
        words: list[str],
        harms: Mapping[int, Harm] | None = None,
        *,
        size: int = 2,
        limit: float = 60,
    ) -> Outcome:
        """Run `bench/run.py WORDS` in a world of some ranks, which has `limit` seconds."""
        request = {
            "words": words,
            "harms": harms or {},
            "size": size,
            "limit": limit,
            "folder": str(self.folder),
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Outcome(**json.loads(self.process.stdout.readline()))


def serve() -> None:
    """Import what a run needs, then fork a world for every line of standard input."""
    import bench.cell.plan

    import bench.cell.display
    import bench.cell.run_cell
    import bench.distributed.roll_call
    import bench.measure.compare
    import bench.run

    bench.distributed.roll_call.LATER = PATIENCE
    for line in sys.stdin:
        answer = _fork_world(json.loads(line))
        print(json.dumps(answer), flush=True)


def _fork_world(request: dict[str, Any]) -> dict[str, Any]:
    folder, size = Path(request["folder"]), request["size"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    marks = [folder / f"harmed-{rank}" for rank in range(size)]
    for mark in marks:
        mark.unlink(missing_ok=True)
    ranks = []
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            _be_rank(rank, port, request, marks[rank])
        ranks.append(pid)
    codes, seconds = _wait(ranks, marks, request["limit"])
    texts = [(folder / f"said-{rank}").read_text() for rank in range(size)]
    return {"codes": codes, "texts": texts, "seconds": seconds}


def _wait(ranks: list[int], marks: list[Path], limit: float) -> tuple[list[int], float]:
    """Wait for all ranks but those that are stopped, which are ended then.

    All of them at the time limit.
    """
    codes: dict[int, int] = {}
    began = time.monotonic()
    harmed = None
    while len(codes) < len(ranks):
        time.sleep(0.02)
        if harmed is None and any(mark.exists() for mark in marks):
            harmed = time.monotonic()
        stopped = [pid for pid in ranks if pid not in codes and _state(pid) == "T"]
        late = time.monotonic() - began > limit
        if late or (stopped and len(stopped) + len(codes) == len(ranks)):
            for pid in set(ranks) - set(codes):
                os.kill(pid, signal.SIGKILL)
        for pid in set(ranks) - set(codes):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = os.waitstatus_to_exitcode(status)
    return [codes[pid] for pid in ranks], time.monotonic() - (harmed or began)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _be_rank(rank: int, port: int, request: dict[str, Any], mark: Path) -> None:
    """Become a rank: its environment, its output, its harm; ends the process."""
    size = str(request["size"])
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": size,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "ACCELERATE_USE_CPU": "true",
    }
    said = os.open(Path(request["folder"]) / f"said-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    from bench.run import main

    _keep_optimizer()
    harm = request["harms"].get(str(rank))
    if harm:
        _plan(harm, mark)
    code = 1
    try:
        code = main(request["words"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _keep_optimizer() -> None:
    """Write the optimiser's state beside the final weights: checkpoints go when a cell is done."""
    from bench.cell import run_cell as cell
    from bench.train import checkpoint

    conclude = cell._conclude

    def wrapped(
        learner: Any, spec: Any, progress: Any, context: Any, folder: Path, keep: Any
    ) -> None:
        state = checkpoint._split_state(learner.optimizer)[0]
        context.runtime.on_main(checkpoint.save_weights, folder / "optimizer.safetensors", state)
        conclude(learner, spec, progress, context, folder, keep)

    cell._conclude = wrapped


def _plan(harm: Harm, mark: Path) -> None:
    """Wrap the function at the harm's place, so that its n-th call does the harm before or after its own work."""
    from bench.cell import record_writer as keeper
    from bench.distributed.runtime import Runtime
    from bench.train import build, checkpoint

    owner, name, after = {
        "step": (Runtime, "pulse", True),
        "evaluate": (build, "evaluate", False),
        "save": (checkpoint, "save", False),
        "tensors": (checkpoint, "_write_tensors", True),
        "rename": (checkpoint, "write_json", True),
        "record": (keeper, "write", False),
        "restore": (checkpoint, "restore", True),
    }[harm["place"]]
    function, calls = getattr(owner, name), []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        due = len(calls) == harm["count"]
        if due and not after:
            _do(harm["act"], mark, args)
        result = function(*args, **kwargs)
        if due and after:
            _do(harm["act"], mark, args)
        return result

    setattr(owner, name, wrapped)


def _do(act: str, mark: Path, args: tuple[Any, ...]) -> None:
    mark.touch()
    acts: dict[str, Callable[[], None]] = {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        "full": lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (SMALL_DISK, resource.RLIM_INFINITY)
        ),
        "read-only": lambda: _make_read_only(args[0]),
    }
    acts[act]()


def _make_read_only(folder: Path) -> None:
    """Take away the right to write into a folder; root must give up its privilege first."""
    folder.chmod(0o555)
    library = ctypes.CDLL(None)
    header, sets = (ctypes.c_uint32 * 2)(CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
    library.capget(header, sets)
    sets[0] &= ~OVERRIDES
    library.capset(header, sets)


if __name__ == "__main__":
    serve()

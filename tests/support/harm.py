"""What is done to a rank on its way: killed, stopped, out of disk, or its folder made read-only.

A harm is {"place": ..., "count": n, "act": ...}: at the n-th time that the rank comes by a place of
the product, it does that to itself. `mark` is a file that says that it has happened.
"""

import ctypes
import os
import resource
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Harm = Mapping[str, Any]
# Bytes a file: too few for a record and for tensors, enough for what the tests print.
SMALL_DISK = 5000
CAPABILITIES_3 = 0x20080522  # the version of capget's structures
OVERRIDES = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


def keep_optimizer() -> None:
    """Write the optimiser's state beside the final weights: checkpoints go when a cell is done."""
    import torch

    from bench.cell import run_cell as cell
    from bench.train.checkpoint_writer import save_weights

    conclude = cell._conclude

    def wrapped(method: Any, assessor: Any, training: Any) -> None:
        learner = method.learner
        tensors = {
            f"{i}.{key}": value
            for i, row in learner.optimizer.state_dict()["state"].items()
            for key, value in row.items()
            if torch.is_tensor(value)
        }
        path = training.writer.folder / "optimizer.safetensors"
        learner.runtime.on_main(save_weights, path, tensors)
        conclude(method, assessor, training)

    cell._conclude = wrapped


def prepare_harm(harm: Harm, mark: Path) -> None:
    """Wrap the function at the harm's place: its n-th call does the harm before or after."""
    from bench.cell import record_writer
    from bench.distributed.runtime import Runtime
    from bench.results import sealed_folder
    from bench.train import build, checkpoint, checkpoint_writer
    from bench.train.checkpoint_writer import CheckpointWriter

    owner, name, after = {
        "step": (Runtime, "pulse", True),
        "evaluate": (build, "evaluate", False),
        "save": (CheckpointWriter, "save", False),
        "tensors": (checkpoint_writer, "_write_tensors", True),
        "rename": (sealed_folder, "write_json", True),
        "record": (record_writer, "write", False),
        "restore": (checkpoint, "restore", True),
    }[harm["place"]]
    function, calls = getattr(owner, name), []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if owner is sealed_folder and not args[0].parent.name.startswith(".step_"):
            return function(*args, **kwargs)  # a decoded data set is sealed in the same way
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
        "read-only": lambda: _make_read_only(args[0].folder),
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

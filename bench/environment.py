"""Everything that a number may depend on: machine, libraries, commit, threads.

python -m bench.environment      prints what holds without a run, as JSON

No torch until a device is asked about.
"""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from pydantic import JsonValue

from bench.distributed.hardware import find_bf16_unit, num_cores, read_cpu
from bench.distributed.process import LARGE_PAGES
from bench.distributed.variable import read_recorded
from bench.request.command_line import to_flags
from bench.request.config import RunConfig
from zoo.terminal import tolerate_output

if TYPE_CHECKING:
    from bench.distributed.runtime import Runtime

LIBRARIES = ("torch", "torchvision", "timm", "accelerate", "numpy", "pandas", "plotly")
# Of a processor's many flags those by which its kernels for matrices and convolutions are chosen.
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_tile", "neon", "sve")
GIT_SECONDS = 10


def describe_machine() -> dict[str, JsonValue]:
    """Describe the machine and what is installed on it, without a run."""
    cpu, flags = read_cpu()
    found: dict[str, JsonValue] = {
        "machine": f"{cpu}, {num_cores()} cores",
        "cpu": cpu,
        "cpu_flags": " ".join(flag for flag in FLAGS if flag in flags),
        "num_cores": num_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
    }
    for name in LIBRARIES:
        found[name] = _find_version(name)
    found["git_commit"] = _ask_git("rev-parse", "HEAD")
    # A record says that its code isn't the commit's, not how it differs.
    changes = _ask_git("status", "--porcelain", "--untracked-files=no")
    found["git_dirty"] = changes not in ("", None)
    found["load_average"] = os.getloadavg()[0]
    return found


def describe_run(config: RunConfig, runtime: "Runtime") -> dict[str, JsonValue]:
    """Describe the machine and how this run uses it, with the command that repeats it."""
    # Imported here: who checks a run's records reads this module without torch.
    import torch

    found = describe_machine()
    if runtime.device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(runtime.device)
        found["num_gpus"] = runtime.num_gpus
        found["cuda"] = torch.version.cuda
        found["machine"] = f"{runtime.num_gpus} x {found['gpu']}"
    # A record's config has what its model was trained with, which may be its own.
    found["asked_optimizer"], found["asked_lr"] = config.optimizer, config.lr
    found["device"] = runtime.device.type
    found["world_size"] = runtime.world_size
    found["local_processes"] = runtime.world.local_size
    found["backend"] = runtime.backend
    found |= runtime.settings_in_force()
    found["large_pages"] = os.environ.get(LARGE_PAGES) == "1"
    if config.precision == "bf16" and runtime.device.type == "cpu":
        found["bf16_unit"] = find_bf16_unit()
    found["variables"] = dict(read_recorded())
    found["deterministic"] = torch.are_deterministic_algorithms_enabled()
    found["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    found["command"] = command_line(config, world_size=runtime.world_size)
    return found


def command_line(config: RunConfig, *, world_size: int, extra: Sequence[str] = ()) -> str:
    """Return the command that repeats this run, without its folder."""
    flags = to_flags(replace(config, out=None, resume=False, world=None))
    prefix = f"NPROC={world_size} " if world_size > 1 else ""
    return prefix + shlex.join(["./launch.sh", *flags, *extra])


def _find_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _ask_git(*words: str) -> str | None:
    """Return what git says of the folder that this code lies in; None outside a checkout."""
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    tolerate_output()
    json.dump(describe_machine(), sys.stdout, indent=1)
    print()

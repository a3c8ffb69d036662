"""Everything that a number may depend on: machine, libraries, commit, threads. No torch until a device is asked of.

python -m bench.environment
"""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from pydantic import JsonValue

from bench.distributed.process import LARGE_PAGES, num_cores
from bench.request.command_line import to_flags
from bench.request.config import RunConfig

if TYPE_CHECKING:
    from bench.distributed.runtime import Runtime

LIBRARIES = ("torch", "torchvision", "timm", "accelerate", "numpy", "pandas", "plotly")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_tile", "neon", "sve")


def describe_machine() -> dict[str, JsonValue]:
    """Describe the machine and what is installed on it, without a run."""
    cpu, flags = _cpu()
    return {
        "machine": f"{cpu}, {num_cores()} cores",
        "cpu": cpu,
        "cpu_flags": " ".join(flag for flag in FLAGS if flag in flags),
        "num_cores": num_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": _git("status", "--porcelain", "--untracked-files=no") not in ("", None),
        "load_average": os.getloadavg()[0],
    }


def describe_run(config: RunConfig, runtime: "Runtime") -> dict[str, JsonValue]:
    """Describe the machine and how this run uses it, with the command that repeats it."""
    import torch

    found = describe_machine()
    if runtime.device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(runtime.device)
        found["num_gpus"] = runtime.world_size
        found["cuda"] = torch.version.cuda
        found["machine"] = f"{runtime.world_size} x {found['gpu']}"
    return found | {
        "device": runtime.device.type,
        "world_size": runtime.world_size,
        "local_processes": runtime.world.local_size,
        "backend": runtime.backend,
        **runtime.settings_in_force(),
        "large_pages": os.environ.get(LARGE_PAGES) == "1",
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "command": command_line(config, world_size=runtime.world_size),
    }


def command_line(config: RunConfig, *, world_size: int, extra: Sequence[str] = ()) -> str:
    """The command that repeats this run, without its folder."""
    from dataclasses import replace

    flags = to_flags(replace(config, out=None, resume=False, world=None))
    prefix = f"NPROC={world_size} " if world_size > 1 else ""
    return prefix + shlex.join(["./launch.sh", *flags, *extra])


def _cpu() -> tuple[str, frozenset[str]]:
    """The processor's name and flags, as Linux tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    pairs = [line.split(":", 1) for line in lines if ":" in line]
    known = {key.strip(): value.strip() for key, value in reversed(pairs)}
    flags = known.get("flags", known.get("Features", ""))
    return known.get("model name", platform.machine()), frozenset(flags.split())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(*words: str) -> str | None:
    """What git says of the folder that this code lies in; None outside a checkout."""
    folder = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    json.dump(describe_machine(), sys.stdout, indent=1)
    print()

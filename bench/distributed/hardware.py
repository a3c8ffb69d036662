"""What of this machine's hardware a process may use, before torch is imported: cores and GPUs."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ASK_SECONDS = 60  # for the driver's tool, which waits for a GPU that is hung


def num_cores() -> int:
    """Count the cores that this process may use: its affinity's, at most a cgroup's quota."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return allowed
    if quota == "max":
        return allowed
    # Both in microseconds: the time on all cores that the group gets in a period.
    return max(1, min(allowed, round(int(quota) / int(period))))


def num_gpus(environment: Mapping[str, str] = os.environ) -> int:
    """Count the CUDA devices that a worker will see."""
    if environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
        return 0
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return len(_list_devices())
    names = [name.strip() for name in visible.split(",")]
    # Where none is asked for the driver needn't be.
    return 0 if names[0] in ("", "-1") else count_visible(names, _list_devices())


def count_visible(names: Sequence[str], devices: Sequence[str]) -> int:
    """Count the devices that CUDA_VISIBLE_DEVICES leaves, by CUDA's own rules.

    `devices` are the UUIDs of those that are there, by their number. CUDA takes numbers and
    beginnings of UUIDs; from the first that names none on it takes no more, and of a list that
    names one twice it takes none.
    """
    found: list[str] = []
    for name in names:
        if name.isdigit():
            device = devices[int(name)] if int(name) < len(devices) else None
        else:
            matching = [uuid for uuid in devices if name and uuid.startswith(name)]
            device = matching[0] if len(matching) == 1 else None
        # A part of a GPU (MIG) is listed by the driver's tool only to who may use it.
        if device is None and name.startswith("MIG-") and devices:
            device = name
        if device is None:
            break
        if device in found:
            return 0
        found.append(device)
    return len(found)


def _list_devices() -> list[str]:
    """List this machine's GPUs by UUID.

    The driver's own tool is asked, since torch would take seconds to say it.
    """
    if not shutil.which("nvidia-smi"):
        return []
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=ASK_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    # GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0a1b…)
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [line.rpartition("UUID: ")[2].rstrip(")") for line in lines]

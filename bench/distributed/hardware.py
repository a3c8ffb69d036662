"""What of this machine's hardware a process may use, before torch is imported."""

import os
import platform
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

EMULATED = "emulated"
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


def count_places(pack_size: int | None, num_threads: int | None) -> int:
    """Count the cells that `--pack` runs at once: a process a core, or a number a GPU."""
    if num_gpus():
        return num_gpus() * (pack_size or 1)
    return pack_size or max(1, num_cores() // (num_threads or 1))


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


def read_cpu() -> tuple[str, frozenset[str]]:
    """Read the processor's name and flags, as Linux tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    known: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        # The first processor speaks for all.
        if colon:
            known.setdefault(key.strip(), value.strip())
    # x86 has flags, ARM features; ARM gives no name.
    flags = known.get("flags", known.get("Features", ""))
    return known.get("model name", platform.machine()), frozenset(flags.split())


def find_bf16_unit(
    environment: Mapping[str, str] = os.environ, flags: Collection[str] | None = None
) -> str:
    """Return by which instructions this processor multiplies bf16, or `EMULATED`.

    `flags` are those of `read_cpu` where none are given.
    """
    if flags is None:
        flags = read_cpu()[1]
    limits = [environment.get(name, "") for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")]
    limit = next(filter(None, limits), "DEFAULT").upper()
    # SSE41, AVX, AVX2_VNNI, AVX512_CORE: a limit with bf16 in it names it, or a later instruction.
    is_unlimited = limit in ("ALL", "DEFAULT")
    if "amx_bf16" in flags and (is_unlimited or "AMX" in limit):
        return "amx_bf16"
    has_vectors = is_unlimited or any(unit in limit for unit in ("AMX", "BF16", "FP16", "AVX10"))
    if "avx512_bf16" in flags and has_vectors:
        return "avx512_bf16"
    return "bf16" if "bf16" in flags else EMULATED  # ARM's name

"""Environment variables that other programs read: which ones are removed, and which are recorded.

No torch. A run is what its request says: a variable that would change it behind the request's back
is removed before accelerate and torch look, and one that may change its speed, or its last bits, is
in every record.
"""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

ROOT = Path(__file__).parents[2]

# What the request states, or what this project has nothing to do with.
OVERRULED = (
    # accelerate 1.15 reads some eighty: gradient accumulation, precision, torch.compile, loaders,
    # DeepSpeed. The others are of the ways of sharing a model that it offers.
    "ACCELERATE_",
    "FP8_OVERRIDE_",
    "FSDP_",
    "MEGATRON_LM_",
    "PARALLELISM_CONFIG_",
    # Defaults for options of torchrun, by which accelerate starts several processes.
    "PET_",
    # A place among MPI's processes, which accelerate would rather believe than torchrun's. Slurm
    # sets some of them for whatever srun starts.
    "MPI_LOCAL",
    "MV2_COMM_",
    "OMPI_COMM_",
    "PMI_",
    # --tf32, --precision: libraries would round the factors of products whatever torch says.
    "DNNL_DEFAULT_FPMATH_MODE",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    # --compile
    "TORCHDYNAMO_DISABLE",
    "TORCHDYNAMO_SUPPRESS_ERRORS",
    "TORCH_COMPILE_DISABLE",
    "TORCH_COMPILE_OVERRIDE_BACKENDS",
)
# The device, which a person chooses, and accelerate's own words.
HONOURED = frozenset({"ACCELERATE_LOG_LEVEL", "ACCELERATE_USE_CPU"})
# Of processors' libraries, allocators, CUDA's libraries and collectives.
RECORDED = (
    "ATEN_",
    "BLIS_",
    "CUBLAS",
    "CUDA_DEVICE_",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING",
    "CUDA_VISIBLE_DEVICES",
    "CUDNN_",
    "DNNL_",
    "GLOO_",
    "GOMP_",
    "KMP_",
    "LD_PRELOAD",
    "MALLOC_",
    "MKL_",
    "NCCL_",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "PYTORCH_",
    "THP_",
    "TORCH",
)
# Names end in these where they say a place on this machine or a process's place in a world.
UNRECORDED = ("_CACHE", "_DIR", "_FILE", "_HOME", "_PATH", "_ROOT")
ELASTIC = "TORCHELASTIC_"  # of a process that torchrun started: which one of which attempt


def prepare_environment(environment: MutableMapping[str, str] = os.environ) -> None:
    """Remove what would change a run, and let processes started from here find this project.

    In them the current folder isn't on Python's path, where a file `numpy.py` would hide numpy.
    """
    for name in list(environment):
        if name.startswith(OVERRULED) and name not in HONOURED:
            del environment[name]
    # What a child's standard output can't encode is spelled out, as it is in this process.
    encoding = environment.get("PYTHONIOENCODING", "").partition(":")[0]
    environment["PYTHONIOENCODING"] = f"{encoding}:backslashreplace"
    environment["PYTHONSAFEPATH"] = "1"
    # An empty entry is the current folder; PYTHONPATH=$PYTHONPATH:/more leaves one.
    entries = environment.get("PYTHONPATH", "").split(os.pathsep)
    others = [entry for entry in entries if entry not in ("", str(ROOT))]
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *others])


def leave_world_above(environment: MutableMapping[str, str] = os.environ) -> None:
    """Forget that a launcher above this one counts its attempts: this one makes its own world."""
    for name in list(environment):
        if name.startswith(ELASTIC):
            del environment[name]


def read_recorded(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables on which a run's speed or last bits may depend, by name."""
    found = {}
    for name in sorted(environment):
        is_place = name.startswith(ELASTIC) or name.endswith(UNRECORDED)
        if name.startswith(RECORDED) and not is_place:
            found[name] = environment[name]
    return found

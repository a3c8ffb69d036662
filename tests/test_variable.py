"""What of the environment reaches a run.

Oracle: what accelerate itself reads there, and a run in a clean environment.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import accelerate
import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from bench.distributed.variable import (
    ROOT,
    leave_world_above,
    prepare_environment,
    read_recorded,
)
from bench.launch.__main__ import make_command, read_layout
from bench.request.command_line import parse
from tests.support.processes import argv_of, small_data, variables

# What changes a result if it is let through, by the program that reads it.
HOSTILE = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "64",
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_USE_MEGATRON_LM": "true",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "true",
    "ACCELERATE_TORCH_DEVICE": "meta",
    "ACCELERATE_DOWNCAST_BF16": "true",
    "FSDP_VERSION": "2",
    "FSDP_OFFLOAD_PARAMS": "true",
    "MEGATRON_LM_TP_DEGREE": "2",
    "PARALLELISM_CONFIG_TP_SIZE": "2",
    "PET_MAX_RESTARTS": "3",
    "PET_NNODES": "2",
    "PMI_SIZE": "2",
    "PMI_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "MV2_COMM_WORLD_SIZE": "2",
    "MPI_LOCALNRANKS": "2",
    "MPI_LOCALRANKID": "1",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "NVIDIA_TF32_OVERRIDE": "0",
    "TORCH_COMPILE_DISABLE": "1",
}


# A place in the world, the device, and where files are.
HARMLESS = {
    "ACCELERATE_LOG_LEVEL",
    "ACCELERATE_USE_CPU",
    "FORK_LAUNCHED",
    "HF_HOME",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "NODE_RANK",
    "NPROC",
    "PYTHONIOENCODING",
    "PYTHONPATH",
    "PYTHONSAFEPATH",
    "RANK",
    "WORLD_SIZE",
    "XDG_CACHE_HOME",
}
# Of trackers, of kinds of devices that this project doesn't use, and of accelerate's own tests.
OTHERS = {
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_SECRET_ACCESS_KEY",
    "CLEARML_PROJECT",
    "CLEARML_TASK",
    "DEEPSPEED_USE_HPU",
    "FOO",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_NESTED_RUN",
    "MLFLOW_RUN_ID",
    "MLFLOW_TAGS",
    "PJRT_DEVICE",
    "PT_HPU_LAZY_MODE",
    "PYTEST_XDIST_WORKER",
    "PYTORCH_ENABLE_MPS_FALLBACK",
    "RUN_SLOW",
    "TPU_NAME",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS",
    "USE_TORCH_XLA",
    "XLA_DOWNCAST_BF16",
    "XLA_USE_BF16",
}


def test_no_setting_of_another_programs_is_left_and_a_device_is() -> None:
    kept = {"ACCELERATE_USE_CPU": "true", "HOME": "/", "RANK": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment = HOSTILE | kept
    prepare_environment(environment)
    added = {
        "PYTHONIOENCODING": ":backslashreplace",
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",
    }
    assert environment == kept | added


def test_every_variable_that_accelerate_reads_is_known() -> None:
    """Oracle: the names in accelerate's own source; a release with a new kind fails here."""
    folder = Path(accelerate.__file__).parent
    pattern = re.compile(r'(?:environ(?:\.get)?[\[(]|parse_flag_from_env\()"([A-Z][A-Z0-9_]+)"')
    read: set[str] = set()
    for path in folder.rglob("*.py"):
        read.update(pattern.findall(path.read_text(encoding="utf-8")))
    environment = dict.fromkeys(read, "1")
    prepare_environment(environment)
    assert environment.keys() <= HARMLESS | OTHERS


def test_an_attempt_of_a_launcher_above_is_no_restart() -> None:
    environment = {"TORCHELASTIC_RESTART_COUNT": "1", "HOME": "/"}
    leave_world_above(environment)
    assert environment == {"HOME": "/"}


def test_what_may_change_speed_or_bits_is_recorded_without_places_on_this_machine() -> None:
    environment = {
        "MKL_CBWR": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OMP_NUM_THREADS": "2",
        "LD_PRELOAD": "libjemalloc.so",
        "TORCHINDUCTOR_MAX_AUTOTUNE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    private = {"TORCH_HOME": "/home/me", "TORCHELASTIC_RUN_ID": "x", "HOME": "/", "HF_TOKEN": "x"}
    assert read_recorded(environment | private) == environment


@pytest.mark.parametrize("nproc", ["1", "2"])
@pytest.mark.parametrize("kind", ["DEEPSPEED", "FSDP", "MULTI_GPU", "MEGATRON_LM"])
def test_the_users_configuration_file_of_accelerate_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nproc: str, kind: str
) -> None:
    theirs = tmp_path / "default_config.yaml"
    theirs.write_text(
        f"compute_environment: LOCAL_MACHINE\ndistributed_type: {kind}\nmixed_precision: bf16\n"
        "num_processes: 4\ngpu_ids: '2,3'\nuse_cpu: false\ndebug: true\n"
        "deepspeed_config: {zero_stage: 3, gradient_accumulation_steps: 8}\n"
        "fsdp_config: {fsdp_version: 2, fsdp_offload_params: true}\n"
        "dynamo_config: {dynamo_backend: INDUCTOR}\nenable_cpu_affinity: true\n"
    )
    layout = read_layout({"NPROC": nproc, "CUDA_VISIBLE_DEVICES": ""})
    # As on a machine with GPUs, where accelerate reads the file for one process too.
    layout = type(layout)(**(vars(layout) | {"gpus": True}))
    words = make_command(parse(["--models", "lenet5", "--epochs", "1"]), layout)
    words = words[words.index("bench.distributed.start_accelerate") + 1 :]

    def settle() -> dict[str, Any]:
        arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(words))
        return dict(vars(arguments))

    for module in ("accelerate.commands.launch", "accelerate.commands.config.config_args"):
        monkeypatch.setattr(f"{module}.default_config_file", str(theirs))
    with_theirs = settle()
    for module in ("accelerate.commands.launch", "accelerate.commands.config.config_args"):
        monkeypatch.setattr(f"{module}.default_config_file", str(tmp_path / "none.yaml"))
    assert with_theirs == settle()
    assert with_theirs["mixed_precision"] == "no"
    assert with_theirs["multi_gpu"] == (nproc == "2")
    assert not with_theirs["use_deepspeed"]
    assert not with_theirs["use_fsdp"]
    assert with_theirs["gpu_ids"] == "all"


LAUNCHERS = {
    "ours": [sys.executable, "-m", "bench.launch"],
    "by hand": [sys.executable, *argv_of("-m accelerate.commands.launch"), "bench/run.py"],
}


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_hostile_environment_trains_the_same_weights(
    small_place: Path, tmp_path: Path, launcher: str
) -> None:
    hostile = dict(HOSTILE)
    if launcher == "by hand":
        # What accelerate's own command takes as its user's wish, before our code begins.
        hostile = {k: v for k, v in hostile.items() if not k.startswith(("PET_", "MPI_"))}
    theirs = tmp_path / "accelerate" / "default_config.yaml"
    theirs.parent.mkdir()
    theirs.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\nmixed_precision: bf16\n"
        "num_processes: 1\nuse_cpu: true\ndebug: false\n"
        "dynamo_config: {dynamo_backend: INDUCTOR}\n"
    )
    checksums = []
    for name, more in (("clean", {}), ("hostile", hostile | {"HF_HOME": str(tmp_path)})):
        run = tmp_path / name
        words = argv_of("--models lenet5 --epochs 1 --batch-size 24 --num-threads 1")
        words += argv_of("--dataset cifar10 --measure none --channels-last --out")
        done = subprocess.run(
            [*LAUNCHERS[launcher], *words, str(run)],
            cwd=ROOT,
            env=variables(small_place, CUDA_VISIBLE_DEVICES="", **more),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        record = json.loads((run / "cells" / "lenet5-s0" / "record.json").read_text())
        assert record["environment"]["world_size"] == 1
        checksums.append(record["checksums"]["model.safetensors"])
    assert checksums[0] == checksums[1]


@pytest.fixture
def small_place(tmp_path: Path) -> Path:
    return small_data(tmp_path / "place")

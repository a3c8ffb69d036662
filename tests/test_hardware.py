"""Which instructions bf16 is multiplied by.

Oracle: Linux's names of the flags, and oneDNN's table of ISAs (its documentation of
ONEDNN_MAX_CPU_ISA).
"""

import pytest
import torch

from bench.distributed import device_setting
from bench.distributed.device_setting import check_precision
from bench.distributed.hardware import EMULATED, find_bf16_unit
from bench.request.command_line import parse

SAPPHIRE_RAPIDS = {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile"}
COOPER_LAKE = {"avx2", "avx512f", "avx512_bf16"}
SKYLAKE = {"avx2", "avx512f"}


@pytest.mark.parametrize(
    ("flags", "limit", "expected"),
    [
        (SAPPHIRE_RAPIDS, "", "amx_bf16"),
        (SAPPHIRE_RAPIDS, "DEFAULT", "amx_bf16"),
        (SAPPHIRE_RAPIDS, "AVX512_CORE_AMX", "amx_bf16"),
        (SAPPHIRE_RAPIDS, "AVX512_CORE_FP16", "avx512_bf16"),
        (SAPPHIRE_RAPIDS, "AVX512_CORE_BF16", "avx512_bf16"),
        (SAPPHIRE_RAPIDS, "avx512_core_bf16", "avx512_bf16"),
        (SAPPHIRE_RAPIDS, "AVX512_CORE_VNNI", EMULATED),
        (SAPPHIRE_RAPIDS, "AVX512_CORE", EMULATED),
        (SAPPHIRE_RAPIDS, "AVX2", EMULATED),
        (SAPPHIRE_RAPIDS, "SSE41", EMULATED),
        (COOPER_LAKE, "", "avx512_bf16"),
        (COOPER_LAKE, "AVX512_CORE_AMX", "avx512_bf16"),
        (SKYLAKE, "", EMULATED),
        (SKYLAKE, "ALL", EMULATED),
        ({"asimd", "bf16"}, "", "bf16"),
    ],
)
def test_bf16_is_known_by_flags_and_limits(flags: set[str], limit: str, expected: str) -> None:
    assert find_bf16_unit({"ONEDNN_MAX_CPU_ISA": limit}, flags) == expected
    assert find_bf16_unit({"DNNL_MAX_CPU_ISA": limit}, flags) == expected


def test_emulated_bf16_is_refused_unless_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(device_setting, "find_bf16_unit", lambda: EMULATED)
    with pytest.raises(ValueError, match=r"neither AVX512-BF16 nor AMX.*--allow-emulated"):
        check_precision("bf16", cpu)
    check_precision("bf16", cpu, allow_emulated=True)
    check_precision("fp32", cpu)
    monkeypatch.setattr(device_setting, "find_bf16_unit", lambda: "avx512_bf16")
    check_precision("bf16", cpu)


@pytest.mark.parametrize("major", [7, 8])
def test_a_gpu_that_emulates_bf16_is_refused(monkeypatch: pytest.MonkeyPatch, major: int) -> None:
    """As T4 and V100 (7.x) do; torch's own count of what is native begins at 8."""
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation: including_emulation or major > 7,
    )
    gpu = torch.device("cuda")
    check_precision("bf16", gpu, allow_emulated=True)
    if major == 8:
        check_precision("bf16", gpu)
    else:
        with pytest.raises(ValueError, match="would emulate it"):
            check_precision("bf16", gpu)


def test_the_option_is_on_the_command_line() -> None:
    assert parse(["--precision", "bf16", "--allow-emulated"]).allow_emulated
    assert not parse(["--precision", "bf16"]).allow_emulated

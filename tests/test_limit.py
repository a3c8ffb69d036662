"""Limits as people write them. Oracle: limits by hand."""

import pytest

from bench.results.limit import Limit, parse_limits
from reports.candidates import BY_COLUMN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latency_ms_p95<=5", [("latency_ms_p95", "<=", 5)]),
        ("latency_ms_p95 <= 5 ms", [("latency_ms_p95", "<=", 5)]),
        ("latency_ms_p50<0.01s", [("latency_ms_p50", "<=", 10)]),
        ("peak_memory_bytes<=200MB", [("peak_memory_bytes", "<=", 2e8)]),
        ("peak_memory_bytes<=200 mib", [("peak_memory_bytes", "<=", 200 * 2**20)]),
        ("peak_memory_bytes<=1.5e9", [("peak_memory_bytes", "<=", 1.5e9)]),
        ("top1>=70 %, num_parameters<=5M", [("top1", ">=", 70), ("num_parameters", "<=", 5e6)]),
        ("train_seconds≤2min,", [("train_seconds", "<=", 120)]),
        ("infer_images_per_second>1000 images/s", [("infer_images_per_second", ">=", 1000)]),
        ("nll<=-1", [("nll", "<=", -1)]),
        ("", []),
    ],
)
def test_limits_are_read(text: str, expected: list[tuple[str, str, float]]) -> None:
    found = parse_limits(text, BY_COLUMN)
    assert found == tuple(Limit(*each) for each in expected)
    # What is written of them is read again.
    again = parse_limits(", ".join(limit.text for limit in found), BY_COLUMN)
    assert again == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latency_p95<=5", "did you mean latency_ms_p95"),
        ("peak memory<=5MB", "did you mean peak_memory_bytes"),
        ("zzz<=5", "choose from top1, "),
        ("latency_ms_p95<=5 MB", "MB is no unit of latency_ms_p95; it takes ms, s, us"),
        ("nll<=5 ms", "it takes a plain number"),
        ("top1>=70 points", "it takes %"),
        ("top1", "write COLUMN<=NUMBER"),
        ("top1=5", "write COLUMN<=NUMBER"),
        ("top1<=five", "write COLUMN<=NUMBER"),
        ("top1<=5.5.5", "5.5.5 is no number"),
        ("top1<=1e999", "too large"),
        ("<=5", "write COLUMN<=NUMBER"),
    ],
)
def test_what_is_no_limit_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_limits(text, BY_COLUMN)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)

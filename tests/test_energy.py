"""Energy. Oracle: counters that the test sets, as RAPL shows them, one of them running over."""

from pathlib import Path

import pytest

from bench.measure.once import Rapl


def package(root: Path, name: str, energy: int, most: int = 999_999) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder


def test_packages_are_added_up_and_a_counter_that_runs_over_goes_on(tmp_path: Path) -> None:
    first, second = (
        package(tmp_path, "intel-rapl:0", 100_000),
        package(tmp_path, "intel-rapl:1", 900_000),
    )
    package(tmp_path, "intel-rapl:0:0", 0)  # a part of the first package, counted in it already
    meter = Rapl(tmp_path)
    assert meter.joules() == 0
    (first / "energy_uj").write_text("600000\n")
    (second / "energy_uj").write_text("100000\n")
    assert meter.joules() == pytest.approx(0.5 + 0.2)
    assert meter.joules() == pytest.approx(0.7)


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no RAPL counters"):
        Rapl(tmp_path)
    (tmp_path / "intel-rapl:0").mkdir()
    with pytest.raises(ValueError, match="can't be read"):
        Rapl(tmp_path)

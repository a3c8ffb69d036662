"""Energy. Oracle: counters that the test sets, as RAPL shows them, one of them running over."""

from pathlib import Path

import pytest

from bench.measure.once import Rapl


def package(
    root: Path, name: str, energy: int, most: int = 999_999, *, kind: str = "package-0"
) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "name").write_text(f"{kind}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder


def test_packages_are_added_up_and_a_counter_that_runs_over_goes_on(tmp_path: Path) -> None:
    first, second = (
        package(tmp_path, "intel-rapl:0", 100_000),
        package(tmp_path, "intel-rapl:1", 900_000, kind="package-1"),
    )
    # A part of the first package, counted in it already.
    package(tmp_path, "intel-rapl:0:0", 0, kind="core")
    meter = Rapl(tmp_path)
    assert meter.joules() == 0
    (first / "energy_uj").write_text("600000\n")
    (second / "energy_uj").write_text("100000\n")
    assert meter.joules() == pytest.approx(0.5 + 0.2)
    assert meter.joules() == pytest.approx(0.7)


def test_the_whole_machine_is_not_added_to_the_packages_that_it_holds(tmp_path: Path) -> None:
    dies = [
        package(tmp_path, "intel-rapl:0", 0, 99_999_999, kind="package-0-die-0"),
        package(tmp_path, "intel-rapl:1", 0, 99_999_999, kind="package-0-die-1"),
    ]
    whole = package(tmp_path, "intel-rapl:2", 0, 99_999_999, kind="psys")
    meter = Rapl(tmp_path)
    for die in dies:
        (die / "energy_uj").write_text("5000000\n")
    (whole / "energy_uj").write_text("15000000\n")
    assert meter.joules() == pytest.approx(10)


def test_a_machine_that_counts_only_as_a_whole_says_so(tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", 0, kind="psys")
    with pytest.raises(ValueError, match="no counter of a processor package"):
        Rapl(tmp_path)


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no RAPL counters"):
        Rapl(tmp_path)
    (tmp_path / "intel-rapl:0").mkdir()
    with pytest.raises(ValueError, match="can't be read"):
        Rapl(tmp_path)

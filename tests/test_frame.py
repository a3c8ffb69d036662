"""The tidy CSV. Oracles.

The contract's list of columns, and figures computed here from the raw values in records.
"""

import re
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.frame import COLUMNS
from reports.runs import read_source
from reports.spreadsheet import write_csv
from reports.tidy import tidy_frame
from tests.support.record_factory import (
    ZOO,
    Animal,
    comparison,
    failed,
    predictions,
    record,
    write_run,
)

CONTRACT = re.split(
    ", ",
    "run, model, family, seed, status, dataset, stand_in, protocol, top1, top5, superclass_top1, "
    "num_parameters, multiply_adds, train_images_per_second, train_step_images_per_second, "
    "loader_images_per_second, fit_images_per_second, infer_images_per_second, latency_ms_p50, "
    "latency_ms_p99, peak_memory_bytes, world_size, "
    "num_threads, batch_size, precision, channels_last, train_seconds, epochs",
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("runs") / "a"
    cells = [record(animal, seed) for animal in ZOO[:2] for seed in (0, 1)]
    write_run(
        folder, [*cells, failed(ZOO[2], "oom", "OutOfMemoryError: 2 GiB")], comparison(ZOO[:2])
    )
    write_csv(read_source([folder]), folder / "x.csv")
    return pd.read_csv(folder / "x.csv")


def test_every_column_of_the_contract_is_there_in_its_order(table: pd.DataFrame) -> None:
    assert list(table.columns)[: len(CONTRACT)] == CONTRACT
    assert list(table.columns) == list(COLUMNS)


def test_one_row_a_record(table: pd.DataFrame) -> None:
    assert list(zip(table["model"], table["seed"], strict=True)) == [
        (ZOO[0].name, 0),
        (ZOO[0].name, 1),
        (ZOO[1].name, 0),
        (ZOO[1].name, 1),
        (ZOO[2].name, 0),
    ]
    assert list(table["status"]) == ["ok"] * 4 + ["oom"]


def test_accuracies_are_percent_of_the_counts(table: pd.DataFrame) -> None:
    counts = [record(animal, seed).accuracy for animal in ZOO[:2] for seed in (0, 1)]
    assert [100 * a.num_top1 / a.num_images for a in counts if a] == list(table["top1"][:4])
    assert [
        100 * a.num_superclass / a.num_images for a in counts if a and a.num_superclass
    ] == list(table["superclass_top1"][:4])


@pytest.mark.parametrize("metric", ["train", "train_step", "loader", "infer"])
def test_rates_are_images_over_the_median_second(table: pd.DataFrame, metric: str) -> None:
    name = f"{metric}_images_per_second"
    compared = comparison(ZOO[:2]).measurements[ZOO[1].name]
    (found,) = (m for m in compared if m.metric == name)
    expected = (found.images or 0) / statistics.median(found.values[0])
    assert table[name][2] == table[name][3] == pytest.approx(expected, rel=1e-12)


def test_a_rate_of_several_ranks_is_that_of_the_slowest(tmp_path: Path) -> None:
    compared = comparison(ZOO[:1])
    (first, *rest) = compared.measurements[ZOO[0].name]
    two = type(first)(
        metric=first.metric,
        unit=first.unit,
        better="higher",
        merge="slowest",
        images=256,
        values=((1.0,) * 9, (2.0,) * 9),
    )
    write_run(
        tmp_path / "a",
        [record(ZOO[0])],
        comparison(ZOO[:1], measurements={ZOO[0].name: (two, *rest)}),
    )
    assert tidy_frame(read_source([tmp_path / "a"]))[first.metric][0] == 128


def test_latency_percentiles_are_raw_values_at_their_rank(table: pd.DataFrame) -> None:
    (latency,) = (
        m for m in comparison(ZOO[:2]).measurements[ZOO[0].name] if m.metric == "latency_ms"
    )
    ordered = sorted(latency.values[0])
    assert table["latency_ms_p50"][0] == ordered[29]  # 60 values: 30 don't exceed it
    assert table["latency_ms_p99"][0] == ordered[59]


def test_fit_is_of_the_record_itself(table: pd.DataFrame) -> None:
    (fit,) = record(ZOO[0], 1).measurements
    assert table["fit_images_per_second"][1] == pytest.approx(
        45_000 / statistics.median(fit.values[0]), rel=1e-12
    )


def test_reliability_is_of_the_predictions_and_log_loss_of_the_record(table: pd.DataFrame) -> None:
    whole = record(ZOO[0], 0)
    said = predictions(whole)
    assert whole.accuracy is not None
    row = table.loc[0]
    assert row["nll"] == whole.accuracy.loss
    assert row["brier"] == pytest.approx(said["brier"].mean(), rel=1e-6)
    assert row["set_size_90"] == pytest.approx(said["set_size"].mean())
    assert row["set_coverage_90"] == pytest.approx(100 * said["in_set"].mean())
    sure = np.argsort(-said["confidence"], kind="stable")[:8_000]
    assert row["top1_at_80_coverage"] == pytest.approx(
        100 * (said["label"] == said["predicted"])[sure].mean(), abs=0.02
    )
    assert 0 <= row["ece"] <= 100


def test_runs_from_before_the_scores_have_log_loss_and_what_confidence_says() -> None:
    golden = Path(__file__).parent / "data" / "run2"
    row = tidy_frame(read_source([golden])).iloc[0]
    assert row[["nll", "ece", "top1_at_80_coverage"]].notna().all()
    assert row[["brier", "set_size_90", "set_coverage_90"]].isna().all()


def test_what_was_not_measured_is_empty(table: pd.DataFrame) -> None:
    empty = [
        "top1",
        "train_images_per_second",
        "latency_ms_p50",
        "peak_memory_bytes",
        "train_seconds",
        "epochs",
    ]
    assert table.loc[4, empty].isna().all()
    assert table.loc[4, "error"] == "OutOfMemoryError: 2 GiB"


def test_a_run_without_a_comparison_has_no_rates(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [record(ZOO[0])])
    row = tidy_frame(read_source([tmp_path / "a"])).iloc[0]
    assert row[["train_images_per_second", "infer_images_per_second"]].isna().all()
    assert row["top1"] > 0


def test_numbers_survive_the_file_to_the_bit(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [record(ZOO[0])], comparison(ZOO[:1]))
    source = read_source([tmp_path / "a"])
    write_csv(source, tmp_path / "x.csv")
    row = pd.read_csv(tmp_path / "x.csv").iloc[0]
    whole = tidy_frame(source).iloc[0]
    assert row["train_images_per_second"] == whole["train_images_per_second"]
    assert row["train_seconds"] == whole["train_seconds"]


def test_names_with_commas_and_quotes_stay_one_field(tmp_path: Path) -> None:
    hostile = Animal('a,"b"\nc', "x;y", 1, 1, 10.0, 10.0)
    write_run(tmp_path / "a", [record(hostile)], comparison([hostile]))
    write_csv(read_source([tmp_path / "a"]), tmp_path / "x.csv")
    assert list(pd.read_csv(tmp_path / "x.csv")["model"]) == ['a,"b"\nc']


def test_a_csv_that_can_not_be_written_is_refused_in_a_line(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [record(ZOO[0])])
    with pytest.raises(ValueError, match="can't be written"):
        write_csv(read_source([tmp_path / "a"]), tmp_path / "none" / "x.csv")

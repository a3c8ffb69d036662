"""`python -m reports`: what it writes, prints and refuses.

Oracles: counts and names that stand in the records, HTML read by the standard library's parser,
hashes by hashlib.
"""

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.results.record import SCHEMA
from reports.__main__ import main
from reports.page import build_page
from reports.runs import read_source
from tests.support.record_factory import (
    ZOO,
    Animal,
    comparison,
    data_info,
    environment,
    failed,
    record,
    write_demo,
    write_run,
)
from tests.support.unpacked import unpack_text
from zoo.suggest import did_you_mean


class Page(HTMLParser):
    """The text of a page, its tags, and the payload that its script unpacks."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.inside = ""
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside = tag
            self.scripts.append((dict(attrs) | {"tag": tag}, ""))

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        else:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    @property
    def payload(self) -> dict[str, Any]:
        packed = next(
            text for attributes, text in self.scripts if attributes.get("id") == "payload"
        )
        found: dict[str, Any] = json.loads(unpack_text(packed))
        return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="module")
def page(demo: Path) -> Page:
    return Page(build_page(read_source([demo])))


def page_of(*folders: Path) -> Page:
    return Page(build_page(read_source(folders)))


def run(arguments: Sequence[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_writes_the_page_beside_the_run_and_prints_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "a", [record(ZOO[0])], comparison(ZOO[:1]))
    code, out, err = run([folder], capsys)
    assert (code, err) == (0, "")
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert f"report: {folder / 'report.html'}" in out


def test_the_terminal_table_fits_100_columns_and_names_every_model(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run([demo, "-o", demo / "x.html"], capsys)
    assert all(len(line) <= 100 for line in out.splitlines() if not line.startswith("report:"))
    for animal in ZOO:
        assert any(
            animal.name[:6] in line and animal.name[-6:] in line for line in out.splitlines()
        )
    assert "vgg16_bn: out of memory: OutOfMemoryError" in out


def test_it_starts_as_a_command_of_its_own(demo: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "reports",
        str(demo),
        "-o",
        str(tmp_path / "x.html"),
        "--csv",
        str(tmp_path / "x.csv"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert done.stderr == ""
    assert (tmp_path / "x.html").stat().st_size < 2_500_000
    assert len((tmp_path / "x.csv").read_text(encoding="utf-8").splitlines()) == 1 + 8 * 3 + 1


def test_the_same_records_give_the_same_bytes(demo: Path) -> None:
    assert build_page(read_source([demo])) == build_page(read_source([demo]))


def test_the_table_stands_in_the_page_without_its_script(page: Page) -> None:
    rows = [attributes for tag, attributes in page.tags if tag == "tr" and "data-i" in attributes]
    assert len(rows) == len(ZOO) + 1
    for animal in ZOO:
        assert animal.name in page.words


def test_the_page_needs_nothing_but_itself(page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)


def test_the_policy_names_the_hash_of_each_script_and_style(page: Page) -> None:
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a) or ""
    run_or_read = [(a, text) for a, text in page.scripts if a.get("type") != "text/plain"]
    assert {a["tag"] for a, _ in run_or_read} == {"script", "style"}
    for _, text in run_or_read:
        assert (
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            in policy
        )
    packed = next(text for a, text in page.scripts if a.get("id") == "plotly")
    plotly = hashlib.sha256(unpack_text(packed).encode()).digest()
    assert (
        f"'sha256-{base64.b64encode(plotly).decode()}'"
        in policy.split("script-src")[1].split(";")[0]
    )
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.replace("style-src-attr 'unsafe-inline'", "")


def test_plotly_is_carried_once(page: Page) -> None:
    assert sum(len(text) > 1_000_000 for _, text in page.scripts) == 1


def test_failures_stay_as_rows_with_their_cause(page: Page) -> None:
    assert "out of memory: OutOfMemoryError: tried to allocate 2.00 GiB" in page.words
    assert "Without a result: vgg16_bn (out of memory)" in page.words


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("failed", "failed"),
        ("oom", "out of memory"),
        ("diverged", "diverged"),
        ("interrupted", "interrupted"),
        ("started", "still running"),
    ],
)
def test_every_ending_is_said(status: str, said: str, tmp_path: Path) -> None:
    write_run(tmp_path / "a", [record(ZOO[0]), failed(ZOO[1], status, "because")])
    assert f"{said}: because" in page_of(tmp_path / "a").words


def test_nothing_but_failures_is_a_page_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "a", [failed(animal) for animal in ZOO[:3]])
    code, out, _ = run([folder], capsys)
    assert code == 0
    assert "no finished model" in out


def test_a_stand_in_is_shouted_at_the_head_and_in_every_part(tmp_path: Path) -> None:
    words = page_of(write_demo(tmp_path / "a", seeds=(0,), stand_in=True)).words
    assert words.index("Stand-in data.") < words.index("Most accurate")
    assert "Ranking stand-in data" in words
    assert "Charts stand-in data" in words


def test_real_data_is_not_called_a_stand_in(page: Page) -> None:
    assert "tand-in data." not in page.words


def test_the_head_says_data_machine_noise_time_and_command(page: Page) -> None:
    for said in (
        "45,000 training",
        "AMD EPYC 9R14, 2 cores",
        "lenet5 against itself: 1.0",
        "2026-11-22 01:02 UTC",
        "./launch.sh --recipe quick",
    ):
        assert said in page.words


def test_what_may_not_be_ranked_together_is_not(tmp_path: Path) -> None:
    mixed = [
        record(ZOO[0]),
        record(ZOO[1], data=data_info(protocol="published")),
        record(ZOO[2], batch_size=64),
    ]
    found = page_of(write_run(tmp_path / "a", mixed))
    assert "Group 2: protocol published, batch 128" in found.words
    assert {row["places"]["top1"] for row in found.payload["rows"]} == {"1"}


def test_two_machines_are_two_groups_and_the_panel_marks_what_differs(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", [record(ZOO[0], run="a")])
    second = write_run(
        tmp_path / "b",
        [record(ZOO[0], run="b", environment=environment(machine="Other, 64 cores"))],
    )
    found = page_of(first, second)
    assert "Group 2: machine Other, 64 cores" in found.words
    assert "machine differs" in found.words


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, [record(ZOO[0], run="same")]) for name in ("a", "b")]
    assert [row["run"] for row in page_of(*folders).payload["rows"]] == ["same", "same (2)"]


def test_a_folder_of_runs_is_read_as_all_of_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, [record(ZOO[0], run=name)])
    assert len(page_of(tmp_path).payload["rows"]) == 2


HOSTILE = "</script><img src=x onerror=alert(1)><b>&amp;\"'`{{7*7}}"


def test_a_hostile_name_is_text_everywhere(tmp_path: Path) -> None:
    nasty = Animal(HOSTILE, HOSTILE, 10, 10, 100.0, 20.0)
    folder = write_run(
        tmp_path / "a",
        [record(nasty, run=HOSTILE), failed(ZOO[0], error=HOSTILE)],
        comparison([nasty]),
    )
    found = page_of(folder)
    assert not [tag for tag, _ in found.tags if tag in ("img", "b") and tag == "img"]
    assert all("onerror" not in attributes for _, attributes in found.tags)
    assert HOSTILE in "".join(found.text)


def test_torn_newer_and_foreign_files_are_named_counted_and_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "a", [record(animal) for animal in ZOO[:4]], comparison(ZOO[:4]))
    torn, newer, foreign = (
        folder / "cells" / f"{animal.name}-s0" / "record.json" for animal in ZOO[:3]
    )
    torn.write_bytes(torn.read_bytes()[:300])
    newer.write_text(
        newer.read_text(encoding="utf-8").replace(f'"schema": {SCHEMA}', '"schema": 99'),
        encoding="utf-8",
    )
    foreign.write_text('{"hello": "world"}', encoding="utf-8")
    code, out, _ = run([folder], capsys)
    words = page_of(folder).words
    assert code == 0
    assert "3 files skipped" in words
    assert "schema 99 is newer than this version reads" in words
    assert out.count("skipped a/cells/") == 3


def test_a_torn_comparison_leaves_the_accuracies(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [record(ZOO[0])], comparison(ZOO[:1]))
    (folder / "comparison.json").write_text("{", encoding="utf-8")
    found = page_of(folder)
    assert "1 file skipped" in found.words
    assert "top1" in found.payload["rows"][0]["values"]


def test_torn_predictions_cost_only_what_needs_them(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [record(animal) for animal in ZOO[:2]], comparison(ZOO[:2]))
    (folder / "cells" / f"{ZOO[0].name}-s0" / "predictions.npz").write_bytes(b"PK\x03\x04 torn")
    assert page_of(folder).payload["pairs"]["top1"] == {}


@pytest.mark.parametrize("place", ["none", "empty"])
def test_a_folder_without_records_is_refused_in_one_line(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    code, out, err = run([tmp_path / place], capsys)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert str(tmp_path / place) in err


def test_a_run_of_nothing_but_torn_records_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "a", [record(ZOO[0])])
    next((folder / "cells").glob("*/record.json")).write_text("{", encoding="utf-8")
    code, _, err = run([folder], capsys)
    assert code == 2
    assert "not JSON" in err


def test_an_output_that_can_not_be_written_is_refused_in_one_line(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run([demo, "-o", "/proc/none/x.html"], capsys)
    assert code == 2
    assert re.fullmatch(r"reports: /proc/none/x\.html: can't be written \(.+\)\n", err)


def test_a_baseline_that_is_not_there_is_refused_with_the_nearest(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run([demo, "--baseline", "lenet"], capsys)
    assert code == 2
    assert "did you mean lenet5" in err


@pytest.mark.parametrize("name", ["lenet", "vgg", "res", "nobody"])
def test_the_hint_is_that_of_every_other_unknown_name(
    name: str, demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reports may not import the zoo, so they hold the cutoff a second time."""
    _, _, err = run([demo, "--baseline", name], capsys)
    models = {cell.record.model for _, cell in read_source([demo]).cells}
    hint = did_you_mean(name, sorted(models))
    assert ("did you mean" in err) == bool(hint)
    assert hint in err


def test_a_baseline_that_is_there_starts_chosen(demo: Path) -> None:
    found = Page(build_page(read_source([demo]), "lenet5")).payload
    assert found["rows"][found["baseline"]]["model"] == "lenet5"


def test_a_model_many_times_as_fast_is_never_within_the_noise(tmp_path: Path) -> None:
    """Eight models are 28 pairs.

    Ten rounds are one too few for a verdict (2 / 2^10 * 28 > 0.05), eleven are enough.
    """
    pages = []
    for rounds in (10, 12, 4):
        run = write_run(
            tmp_path / str(rounds), [record(animal) for animal in ZOO], comparison(rounds=rounds)
        )
        pages.append(Page(build_page(read_source([run]))).words)
    assert "(in too few rounds to prove it)" in pages[0]
    assert "within the noise" not in pages[0]
    assert "too few rounds to prove" not in pages[1]
    assert "(in too few rounds for an interval)" in pages[2]  # of 4 no interval of 95 % is known
    assert "not measured in the same rounds" not in pages[2]


@pytest.mark.parametrize("status", ["ok", "diverged", "failed"])
@pytest.mark.parametrize("is_compared", [False, True])
def test_epochs_without_any_evaluation_make_a_page(
    tmp_path: Path, status: str, is_compared: bool
) -> None:
    """None is kept whose loss isn't finite, and a short run makes none before its end."""
    records = []
    for animal in ZOO[:2]:
        trained = record(animal)
        epochs = tuple(replace(row, evaluation=None) for row in trained.epochs)
        accuracy = trained.accuracy if status == "ok" else None
        records.append(replace(trained, status=status, epochs=epochs, accuracy=accuracy))
    compared = comparison(ZOO[:2]) if is_compared else None
    run = write_run(tmp_path / "run", records, compared)
    assert main([str(run), "--csv", str(tmp_path / "table.csv")]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert all(each.model in page for each in records)

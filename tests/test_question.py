"""What to take, on the command line. Oracles: records whose best model is known, and words."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from reports.__main__ import main
from reports.chart.tradeoff import draw_tradeoffs
from reports.choice_text import Question, answer, chance_text
from reports.page import build_page
from reports.question import read_question
from reports.ranking import entries_of, groups_of
from reports.runs import read_source
from reports.view import build_view
from tests.support.record_factory import ZOO, comparison, data_info, record, write_run


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("choice") / "demo"
    records = [record(animal, seed) for animal in ZOO for seed in (0, 1)]
    return write_run(folder, records, comparison(rounds=20))


def said_by(folder: Path, choose: str = "", prefer: str | None = None) -> str:
    source = read_source([folder])
    question = read_question(source, choose, prefer, None)
    (group,) = groups_of(entries_of(source))
    return " ".join(each.striptags() for each in answer(group, question).sentences)


def run(words: Sequence[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_last_words_and_the_first_sentence_say_what_to_take(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run([demo, "-o", demo / "x.html"], capsys)
    said = said_by(demo)
    assert code == 0
    assert said.startswith("Take resnet18_cifar: ")
    assert "likely to be the best of 8 in top-1; runner-up resnet18 (" in said
    table = out.partition("\nreport: ")[0]
    assert " ".join(table.split()).endswith(" ".join(said.split()))
    assert all(len(line) <= 100 for line in table.splitlines())
    page = (demo / "x.html").read_text(encoding="utf-8")
    assert page.index("Take <b>resnet18_cifar</b>: ") < page.index("Most accurate")


def test_limits_change_what_is_taken_and_are_said_to_bind(demo: Path) -> None:
    said = said_by(demo, "num_parameters<=5M, train_images_per_second>=150")
    assert said.startswith("Take lenet5: over 99 % likely")
    assert "within the limits" in said
    # ResNet-18 at 32 px is too large and too slow; at 224 px it is only too large.
    assert "Parameters at most 5.00 M binds: without it take resnet18, " in said
    assert "parameters 11.2 M instead of 69.7 k" in said


def test_another_preference_chooses_by_it(demo: Path) -> None:
    said = said_by(demo, "top1>=20", "train_images_per_second")
    assert said.startswith("Take lenet5: over 99 % likely to be the best of 8 in training")
    assert "times as much" in said
    assert said_by(demo, "", "num_parameters").startswith("Take lenet5: the best of 8 in parame")


def test_the_dearer_of_two_is_on_the_front_as_surely_as_it_is_the_better(tmp_path: Path) -> None:
    """Nothing is in doubt of a number of parameters: the cheaper one is on the front whatever."""
    cheap, dear = (animal._replace(top1=35.0) for animal in ZOO[-2:])
    folder = write_run(tmp_path / "pair", [record(cheap), record(dear)])
    view = build_view(read_source([folder]))
    (figure,) = (each for each in draw_tradeoffs(view) if each.key == "tradeoff-num_parameters")
    (group,) = view.groups
    choice = answer(group, Question()).choice
    assert choice is not None
    chances = dict(zip((entry.model for entry in group.entries), choice.chances, strict=True))
    chance = chance_text(float(chances[dear.name]))
    assert chance not in ("over 99 %", "under 1 %")
    said = figure.caption.replace("\u200b", "")
    assert f"{cheap.name} (over 99 %)" in said
    assert f"{dear.name} ({chance})" in said
    hovered = [text for trace in figure.traces for text in trace.get("hovertext", ())]
    assert any(text.endswith(f": {chance} likely to be on the front") for text in hovered)


def test_none_within_the_limits_names_the_nearest(demo: Path) -> None:
    said = said_by(demo, "latency_ms_p50<=0.1 ms")
    assert said.startswith("No model keeps the limits. The nearest: lenet5 misses latency p50 at")


def test_one_seed_is_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [record(animal) for animal in ZOO])
    assert "With one seed each, this covers images and rounds only." in said_by(folder)
    assert "With one seed" not in said_by(
        write_run(tmp_path / "more", [record(animal, seed) for animal in ZOO for seed in (0, 1)])
    )


def test_one_model_is_no_choice(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [record(ZOO[0])])
    assert (
        said_by(folder) == "Only lenet5 has a figure in top-1: there is nothing to choose between."
    )


def test_rows_under_different_rules_are_never_chosen_between(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = data_info(protocol="published")
    records = [record(animal) for animal in ZOO[:3]]
    records += [record(animal, data=published) for animal in ZOO[5:]]
    folder = write_run(tmp_path / "run", records)
    _, out, _ = run([folder], capsys)
    assert "2 groups are not ranked together" in out
    assert "Group 1: Take lenet5: " in out
    assert "Group 2: Take resnet18_cifar: " in out
    page = build_page(read_source([folder]))
    assert "Group 1: Take <b>lenet5</b>" in page
    assert "Group 2: Take <b>resnet18_cifar</b>" in page


def test_a_price_makes_money_of_training(demo: Path) -> None:
    source = read_source([demo])
    question = read_question(source, "train_cost<=1", None, 3600.0)
    (group,) = groups_of(entries_of(source))
    said = " ".join(each.striptags() for each in answer(group, question).sentences)
    # A second costs 1: nobody trained within one.
    assert said.startswith("No model keeps the limits. The nearest: ")
    cheap = answer(group, Question(price=3600.0)).sentences[0].striptags()
    seconds = {entry.model: entry.numbers["train_seconds"].value for entry in group.entries}
    theirs, own = (f"{seconds[name]:,.0f}" for name in ("resnet18", "resnet18_cifar"))
    assert f"cost of training {theirs} instead of {own}" in cheap


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["--choose", "latency_p59<=5"], "latency_p59: no such column; did you mean latency_ms_p"),
        (["--choose", "latency_ms_p95<=5 MB"], "MB is no unit of latency_ms_p95; it takes ms, s"),
        (["--prefer", "top"], "top: no such column; did you mean top5 or top1?"),
        (["--prefer", "epochs"], "epochs: no such column"),
        (
            ["--choose", "energy_joules_per_image<=1"],
            "not measured in these runs; --measure energy",
        ),
        (["--prefer", "infer_best_images_per_second"], "--measure sweep gives it"),
        (["--choose", "train_cost<=1"], "--price, and a run that trains gives it"),
        (["--price", "-1"], "--price -1.0: must be 0 or more"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    demo: Path, words: list[str], refused: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run([demo, *words], capsys)
    assert (code, out) == (2, "")
    assert refused in err
    assert len(err.splitlines()) == 1

"""What every study answers, from made-up records: nothing is trained.

Oracle: accuracies that are made up, so that who is better, worse, as good or diverged is known.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.request.config import RunConfig, check
from bench.results.finding import Answer, find_findings
from bench.results.interval import Estimate
from bench.results.record import Accuracy, Epoch, RunRecord
from bench.studies import __main__ as command
from bench.studies.catalogue import CATALOGUE, STUDIES, Study
from bench.studies.explain import say_difference
from bench.studies.image_set import use_cifar
from bench.studies.lab import Lab, Trained
from bench.studies.wording import say_gains, say_verdicts
from tests.support.record_factory import data_info, record
from zoo.registry import create_empty

NUM_TEST, NUM_CLASSES = 300, 10
TRAINED = [study for study in CATALOGUE if study.name not in ("explain", "same_model_twice")]
# The percent that a variant's cell has right, by the variant's name and the seed.
Truth = Callable[[str, int], float]


def all_alike(name: str, seed: int) -> float:
    return 50.0


def by_name(name: str, seed: int) -> float:
    return 20.0 + sum(map(ord, name)) % 60 + seed


def all_wrong(name: str, seed: int) -> float:
    return 0.0


def all_right(name: str, seed: int) -> float:
    return 100.0


@dataclass
class MadeUpLab(Lab):
    """A lab that checks a request, builds its models without numbers, and makes records up."""

    truth: Truth = all_alike
    diverging: Callable[[str], bool] = lambda name: False
    asked: dict[str, RunConfig] = field(default_factory=dict)

    def train(self, name: str, config: RunConfig, *, may_diverge: bool = False) -> Trained:
        config = self.finish_request(name, config)
        check(config)
        for model in config.models:
            create_empty(model, num_classes=NUM_CLASSES)
        self.asked[name] = config
        diverged = may_diverge and self.diverging(name)
        keys = config.cell_keys
        records = tuple(
            make_record(key.model, key.seed, config, self.truth(name, key.seed), diverged)
            for key in keys
        )
        folders = tuple(self.folder / name / key.name for key in keys)
        label = np.arange(NUM_TEST) % NUM_CLASSES
        # Whoever is right more often is right on the same images, and on more.
        order = np.random.default_rng(0).permutation(NUM_TEST)
        for key, folder in zip(keys, folders, strict=True):
            is_right = order < self.truth(name, key.seed) / 100 * NUM_TEST
            folder.mkdir(parents=True)
            predicted = np.where(is_right, label, -1)
            np.savez(folder / "predictions.npz", label=label, predicted=predicted)
        self.trained[name] = Trained(name, records, folders)
        return self.trained[name]


def make_record(model: str, seed: int, config: RunConfig, top1: float, diverged: bool) -> RunRecord:
    names = tuple(f"class {number}" for number in range(NUM_CLASSES))
    data = data_info(class_names=names, superclass_names=(), superclass_of=(), num_test=NUM_TEST)
    made = record(seed=seed, model=model, data=data, batch_size=config.batch_size)
    if diverged:
        return replace(made, status="diverged", error="the loss is nan", accuracy=None, epochs=())
    rows = tuple(
        make_epoch(number, top1 * (number + 1) / (config.epochs or 1), train=config.assess_train)
        for number in range(config.epochs or 0)
    )
    return replace(made, accuracy=count_right(top1, "test", NUM_TEST), epochs=rows)


def make_epoch(number: int, top1: float, *, train: bool) -> Epoch:
    return Epoch(
        epoch=number,
        step=10 * (number + 1),
        images=500 * (number + 1),
        seconds=2.0 * (number + 1),
        train_loss=1.0,
        learning_rate=0.1,
        evaluation=count_right(top1, "validation", 100),
        train_evaluation=count_right(min(100, 1.5 * top1), "train", 1000) if train else None,
    )


def count_right(top1: float, split: Any, n: int) -> Accuracy:
    right = round(n * top1 / 100)
    return Accuracy(
        split=split, num_images=n, num_top1=right, num_top5=n, num_superclass=None, loss=1.0
    )


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "data" / "flowers5").mkdir(parents=True)
    return tmp_path / "data"


def answer_of(study: Study, data_dir: Path, *, quick: bool = True, **more: Any) -> Answer:
    lab = MadeUpLab(data_dir.parent / study.name, quick, data_dir, say=lambda line: None, **more)
    return study.load()(lab)


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "whole"])
@pytest.mark.parametrize("truth", [all_alike, by_name, all_wrong, all_right])
@pytest.mark.parametrize("study", TRAINED, ids=lambda study: study.name)
def test_every_study_answers_whatever_comes_out(
    study: Study, truth: Truth, quick: bool, data_dir: Path
) -> None:
    answer = answer_of(study, data_dir, quick=quick, truth=truth)
    text = " ".join((*answer.sentences, answer.setting))
    assert "nan" not in text
    assert "one seed, no interval" not in text
    assert all(sentence.endswith(".") for sentence in answer.sentences)
    assert answer.plots
    if truth is all_alike:
        assert "proven better" not in text
        assert "proven worse" not in text
    seeds = {True: 1, False: 3}[quick]
    if study.name in ("transfer", "flowers", "classical") and quick:
        assert answer.plots[0].caption.startswith("Intervals cover the test images; there is one")
    elif not quick and study.name not in ("relu_tanh", "overfitting"):
        assert f"{seeds} seeds" in answer.plots[0].caption


@pytest.mark.parametrize("name", ["optimisers", "relu_tanh"])
def test_a_rate_at_which_a_seed_diverges_is_passed_over(name: str, data_dir: Path) -> None:
    """Though its other seeds learn as much as any."""
    lab = MadeUpLab(data_dir.parent / "s", True, data_dir, truth=all_right)
    rates = {"optimisers": ("Adam 0.001, other", "SGD 0.03, other"), "relu_tanh": ("relu-0.005",)}
    lab.diverging = lambda variant: variant.startswith(rates[name])
    answer = " ".join(STUDIES[name].load()(lab).sentences)
    if name == "relu_tanh":
        assert "at a rate of 0.01, tanh" in answer
    else:
        assert "Adam 0.01 of 0.001 and 0.01" in answer
        assert "SGD 0.3 of 0.03 and 0.3" in answer


@pytest.mark.parametrize(
    ("name", "grid"), [("optimisers", "0.01 and 0.1"), ("flowers", "0.001 and 0.003")]
)
def test_an_optimiser_that_always_diverges_is_said_and_left_out(
    name: str, grid: str, data_dir: Path
) -> None:
    answer = answer_of(
        STUDIES[name], data_dir, diverging=lambda variant: variant.startswith("AdaGrad")
    )
    said = " ".join(answer.sentences)
    assert f"AdaGrad diverged at each of {grid}" in said
    assert said.count("AdaGrad") == 1


@pytest.mark.parametrize("name", ["optimisers", "flowers"])
def test_optimisers_that_all_diverge_end_the_study_in_words(name: str, data_dir: Path) -> None:
    with pytest.raises(ValueError, match=r"^nothing to compare: SGD diverged at each of 0.03 and"):
        answer_of(STUDIES[name], data_dir, diverging=lambda variant: True)


def test_where_tanh_never_arrives_the_ratio_has_a_bound(data_dir: Path) -> None:
    def slow_tanh(name: str, seed: int) -> float:
        return 100 if name.startswith("relu") else 10

    said = answer_of(STUDIES["relu_tanh"], data_dir, truth=slow_tanh).sentences[0]
    # ReLU has 75 % of 1.5 times its share after half of its 20 epochs of ten steps.
    assert "in 200 steps; one that didn't needs more than 2.0 times the steps" in said


def test_half_of_alexnet_is_half_in_its_hidden_units_too(data_dir: Path) -> None:
    lab = MadeUpLab(data_dir.parent / "s", True, data_dir)
    STUDIES["alexnet_parts"].load()(lab)
    assert lab.asked["whole"].models == ("alexnet_grouped_cifar@hidden=512",)
    assert lab.asked["half"].models == ("alexnet_half_cifar@lrn=code,hidden=256",)


def test_few_images_are_trained_on_for_more_epochs(data_dir: Path) -> None:
    lab = MadeUpLab(data_dir.parent / "s", True, data_dir)
    STUDIES["transfer"].load()(lab)
    few, many = (lab.asked[f"ImageNet, whole, {count} 0.003"].epochs for count in (5, 25))
    assert few == 5 * (many or 0)
    assert {lab.asked[f"ImageNet, frozen, {count}"].epochs for count in (5, 25)} == {1}


def test_each_way_is_judged_at_its_own_best_rate(data_dir: Path) -> None:
    """With few images the larger rate is better, with more the smaller; frozen ones have none."""

    def truth(name: str, seed: int) -> float:
        return {"ImageNet, whole, 5 0.03": 70, "ImageNet, whole, 25 0.003": 80}.get(name, 30)

    answer = answer_of(STUDIES["transfer"], data_dir, truth=truth)
    said = answer.sentences[0]
    assert said.startswith("ImageNet, whole against ImageNet, frozen: +40.0 points (")
    assert "proven better, with 5 images of a class; +50.0 points (" in said
    assert "; ImageNet, whole 0.03 and 0.003." in answer.setting


def test_a_way_that_diverges_at_each_rate_ends_the_study_in_words(data_dir: Path) -> None:
    with pytest.raises(ValueError, match=r"^from scratch, 5 diverged at each of 0.003 and 0.03"):
        answer_of(STUDIES["transfer"], data_dir, diverging=lambda name: "scratch" in name)


def test_quick_forms_take_few_images_wherever_they_are_from(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.studies.image_set.find_source", lambda name, place: name)
    assert use_cifar(data_dir, quick=True) == {"dataset": "cifar10", "images_per_class": (450,)}
    assert use_cifar(data_dir, quick=False) == {"dataset": "cifar100"}


def test_verdicts_are_adjusted_for_their_number() -> None:
    """Holm 1979: of p = 0.01, 0.02, 0.04 the first two of four pass 0.05 / 4 and not 0.05 / 3."""
    points = [Estimate(value, 0, 0) for value in (1.0, -1.0, 1.0, 1.0)]
    p = (0.01, 0.02, 0.04, 0.9)
    said = ["proven better", "undecided", "undecided", "undecided"]
    gains = dict(enumerate(zip(points, p, strict=True)))
    assert list(say_verdicts(gains).values()) == said
    assert say_verdicts({"one": (points[1], 0.02)}) == {"one": "proven worse"}
    assert say_gains({"one": (points[1], 0.02)}) == {
        "one": "-1.0 points (+0.0 to +0.0), proven worse"
    }
    # Alone the first would be proven, as its interval shows; of two, p = 0.03 counts as 0.06.
    both = {"one": (Estimate(-3, -5.7, -0.4), 0.03), "other": (Estimate(2, -0.1, 4), 0.04)}
    assert say_gains(both) == {
        "one": "-3.0 points (-5.7 to -0.4), undecided as one of 2",
        "other": "+2.0 points (-0.1 to +4.0), undecided",
    }


def test_too_few_wrong_answers_are_said_instead_of_compared() -> None:
    some = {"right": Estimate(40, 30, 50)}
    *_, said = say_difference(some, some)
    assert said == "Fewer than 3 answers are of the other kind: there is nothing to compare."
    both = some | {"wrong": Estimate(10, 5, 15)}
    assert list(say_difference(both, both))[-1].endswith("against wrong ones, proven more.")


def test_a_study_that_is_refused_does_not_keep_the_others_from_their_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = answer_of(STUDIES["flowers"], make_flowers(tmp_path))

    def load(study: Study) -> Callable[[Lab], Answer]:
        def refuse(lab: Lab) -> Answer:
            raise ValueError("no folder of flowers")

        return refuse if study.name == "relu_tanh" else lambda lab: done

    monkeypatch.setattr(Study, "load", load)
    out = tmp_path / "studies"
    assert command.main(["relu_tanh", "flowers", "--out", str(out)]) == 2
    assert "relu_tanh: no folder of flowers" in capsys.readouterr().err
    assert [path.parent.name for path in find_findings([out])] == ["flowers"]
    assert (out / "studies.html").exists()


def make_flowers(folder: Path) -> Path:
    (folder / "data" / "flowers5").mkdir(parents=True)
    return folder / "data"


def test_a_full_disk_is_one_line_and_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(lab: Lab) -> Answer:
        raise OSError(28, "No space left on device", "a/record.json")

    monkeypatch.setattr(Study, "load", lambda study: fill)
    assert command.main(["relu_tanh", "--out", str(tmp_path)]) == 1
    assert "a/record.json: No space left on device; what is trained" in capsys.readouterr().err

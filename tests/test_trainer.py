"""Training and evaluation.

Oracle: a plain PyTorch loop over the same batches, to the bit; counts by numpy.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from bench.data.loader import Batch
from bench.distributed.gang import FakeGang
from bench.distributed.runtime import Interrupted, Runtime
from bench.request.command_line import parse
from bench.request.config import RunConfig
from bench.train import checkpoint
from bench.train.build import build_learner
from bench.train.evaluation import evaluate
from bench.train.schedule import learning_rate_at
from bench.train.step import reaches_all
from bench.train.trainer import Diverged, Hooks, Learner, Progress, _Losses, fit
from tests.support.saved import save_checkpoint

CONFIG = dataclasses.replace(
    parse(["--recipe", "smoke", "--epochs", "3"]), batch_size=8, weight_decay=0.0
)
STEPS = 5
SEED = 11


class FakeBatches:
    """Five batches of noise an epoch, the same in every epoch."""

    steps_per_epoch = STEPS

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(1)
        self.batches = [
            Batch(
                torch.randn(8, 3, 8, 8, generator=draw), torch.randint(0, 4, (8,), generator=draw)
            )
            for _ in range(STEPS)
        ]

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        yield from self.batches[start:]


def network(*, dropout: float = 0.0, norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Flatten(),
    ]
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(216, 4))


def learner(runtime: Runtime, model: nn.Module, **changes: Any) -> Learner:
    return build_learner(model, config=with_(**changes), peak=0.1, seed=SEED, runtime=runtime)


def with_(**changes: Any) -> RunConfig:
    return dataclasses.replace(CONFIG, **changes)


def train(
    one: Learner, progress: Progress | None = None, save: Any = lambda progress: None
) -> list[Any]:
    hooks = Hooks(save=save, after_step=lambda share, trained: None)
    return list(fit(one, FakeBatches(), progress or Progress(), hooks))


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_is_the_plain_loop_to_the_bit(runtime: Runtime) -> None:
    ours = learner(runtime, network(norm=True))
    rows = train(ours)

    plain = network(norm=True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=True)
    losses = []
    for step in range(3 * STEPS):
        batch = FakeBatches().batches[step % STEPS]
        optimizer.param_groups[0]["lr"] = learning_rate_at(CONFIG, 0.1, step / (3 * STEPS))
        plain.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(plain(batch.images), batch.labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert same(state(ours.bare), state(plain))
    assert [row.train_loss for row in rows] == pytest.approx(
        np.reshape(losses, (3, STEPS)).mean(axis=1), rel=1e-12
    )
    assert [(row.epoch, row.step, row.images) for row in rows] == [
        (0, 5, 40),
        (1, 10, 80),
        (2, 15, 120),
    ]


def test_weighted_classes_count_as_in_torchs_weighted_sum(runtime: Runtime) -> None:
    weights = [0.5, 1.0, 4.0, 0.0]
    one = build_learner(
        network(), config=with_(lr=0.0), peak=0.0, seed=SEED, runtime=runtime, class_weights=weights
    )
    batch = FakeBatches().batches[0]
    expected = (
        F.cross_entropy(
            one.bare(batch.images), batch.labels, weight=torch.tensor(weights), reduction="sum"
        )
        / 8
    )
    torch.testing.assert_close(one.step(batch, step=0, rate=0.0).mean(), expected.detach())


def test_mixed_labels_are_torchs_loss_of_soft_targets(runtime: Runtime) -> None:
    batch = FakeBatches().batches[0]
    others, weight = batch.labels.roll(1), torch.linspace(0, 1, 8)
    soft = weight[:, None] * F.one_hot(batch.labels, 4) + (1 - weight)[:, None] * F.one_hot(
        others, 4
    )
    one = learner(runtime, network(), accumulate=2, label_smoothing=0.1)
    expected = F.cross_entropy(one.bare(batch.images), soft, label_smoothing=0.1)
    loss = one.step(Batch(batch.images, batch.labels, (others, weight)), step=0, rate=0.1)
    assert loss.shape == (2,)
    torch.testing.assert_close(loss.mean(), expected.detach())


def test_accumulated_gradients_are_those_of_the_whole_batch(runtime: Runtime) -> None:
    batch = FakeBatches().batches[0]
    gradients = []
    for parts in (1, 4):
        one = learner(runtime, network().double(), accumulate=parts)
        one.optimizer.step = lambda: None  # type: ignore[method-assign,assignment]
        one.optimizer.zero_grad = lambda set_to_none: None  # type: ignore[method-assign,assignment]
        one.step(Batch(batch.images.double(), batch.labels), step=0, rate=0.1)
        gradients.append([p.grad for p in one.bare.parameters()])
    for whole, summed in zip(*gradients, strict=True):
        torch.testing.assert_close(summed, whole, rtol=1e-12, atol=1e-12)


def test_a_step_in_parts_is_the_step_of_the_whole_batch_in_float64(runtime: Runtime) -> None:
    """Weights after one step within 1e-13.

    What is left is the order of sums (float64 has 1e-16 a sum).
    """
    batch = FakeBatches().batches[0]
    states = []
    for parts in (1, 2, 4, 8):
        one = learner(runtime, network().double(), accumulate=parts)
        one.step(Batch(batch.images.double(), batch.labels), step=0, rate=0.1)
        states.append(state(one.bare))
    for name, whole in states[0].items():
        assert not torch.equal(whole, network().double().state_dict()[name])
        for other in states[1:]:
            torch.testing.assert_close(other[name], whole, rtol=1e-13, atol=1e-13)


def test_running_statistics_follow_the_first_micro_batch(runtime: Runtime) -> None:
    batch = FakeBatches().batches[0]
    one, plain = learner(runtime, network(norm=True), accumulate=2), network(norm=True)
    plain = plain.to(memory_format=torch.channels_last).train()
    one.step(batch, step=0, rate=0.0)
    plain(batch.images[:4])
    for name, buffer in plain.named_buffers():
        assert torch.equal(one.bare.get_buffer(name), buffer)


@given(parts=st.lists(st.floats(0, 100, width=32), min_size=1, max_size=60), cut=st.integers(0, 60))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_sum_of_losses_depends_on_no_order(
    runtime: Runtime, parts: list[float], cut: int
) -> None:
    """Over two ranks and in one row: the same bits, and the exact sum within a grain each."""
    sums = []
    for rows in ([parts], [parts[:cut], parts[cut:]], [parts[::-1]]):
        total = 0.0
        for row in filter(None, rows):
            losses = _Losses(Progress(loss_sum=total), torch.device("cpu"))
            losses.add(torch.tensor(row))
            total = losses.sum_over_ranks(runtime)
        sums.append(total)
    assert sums[0] == sums[1] == sums[2] == pytest.approx(math.fsum(parts), abs=len(parts) / 2**32)


def test_clipping_bounds_the_gradients_norm(runtime: Runtime) -> None:
    one = learner(runtime, network(), clip=1e-3, momentum=0.0)
    before = state(one.bare)
    one.step(FakeBatches().batches[0], step=0, rate=1.0)
    moved = torch.sqrt(sum(((one.bare.state_dict()[k] - before[k]) ** 2).sum() for k in before))  # type: ignore[arg-type]
    assert float(moved) == pytest.approx(1e-3, rel=1e-3)


def test_the_averaged_weights_follow_their_closed_form(runtime: Runtime) -> None:
    one = learner(runtime, network(), ema=0.75)
    average = None
    for step in range(3):
        one.step(FakeBatches().batches[step], step=step, rate=0.1)
        weight = one.bare.state_dict()["5.weight"].clone()
        average = weight if average is None else 0.75 * average + 0.25 * weight
    torch.testing.assert_close(one.evaluated.state_dict()["5.weight"], average)


@pytest.mark.parametrize("stop", [2, 5, 7, 14])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "nmuon"])
def test_a_resumed_run_ends_as_the_undisturbed_one_to_the_bit(
    runtime: Runtime, tmp_path: Any, stop: int, optimizer: str
) -> None:
    whole = learner(runtime, network(dropout=0.5, norm=True), optimizer=optimizer, ema=0.9)
    rows = train(whole)

    first = learner(runtime, network(dropout=0.5, norm=True), optimizer=optimizer, ema=0.9)
    hooks = Hooks(
        lambda p: save_checkpoint(tmp_path, first, p),
        lambda share, p: _signal_at(runtime, p.step, stop - 1),
    )
    with pytest.raises(Interrupted):
        list(fit(first, FakeBatches(), Progress(), hooks))
    runtime.signum = 0

    second = learner(runtime, network(dropout=0.5, norm=True), optimizer=optimizer, ema=0.9)
    restored = checkpoint.restore(tmp_path, second)
    assert restored is not None
    assert restored.step == stop
    rest = train(second, restored)
    assert same(state(second.bare), state(whole.bare))
    assert same(state(second.evaluated), state(whole.evaluated))
    assert [row.train_loss for row in rest] == [row.train_loss for row in rows][-len(rest) :]


def _signal_at(runtime: Runtime, step: int, stop: int) -> None:
    """A signal that comes while step `stop` + 1 runs."""
    if step >= stop:
        runtime.signum = 15


def test_a_loss_that_is_not_finite_is_named_by_its_step(runtime: Runtime) -> None:
    one = learner(runtime, network())
    batches = FakeBatches()
    batches.batches[3].images[0, 0, 0, 0] = float("nan")
    with pytest.raises(Diverged, match="at step 4"):
        list(fit(one, batches, Progress(), Hooks(lambda p: None, lambda share, p: None)))


def test_a_budget_of_seconds_ends_training_within_a_step_of_it(runtime: Runtime) -> None:
    rows = train(learner(runtime, network(), epochs=None, seconds=0.5))
    assert rows[-1].seconds >= 0.5
    assert rows[-2].seconds < 0.5
    assert rows[-1].step == sum(1 for _ in range(rows[-1].step))


class Fixed(nn.Module):
    """A model whose scores are known: image i is the number of its row in a table."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scores[images[:, 0, 0, 0].long()]


def test_evaluation_counts_as_numpy_does(runtime: Runtime) -> None:
    draw = np.random.default_rng(3)
    n, classes, superclass_of = 57, 10, [i // 2 for i in range(10)]
    scores = draw.normal(size=(n, classes))
    labels = draw.integers(0, classes, n)

    def batches() -> Iterator[Batch]:
        for start in range(0, n, 20):
            rows = torch.arange(start, min(n, start + 20))
            yield Batch(
                rows.float()[:, None, None, None].expand(-1, 1, 2, 2),
                torch.from_numpy(labels)[rows],
            )

    counts, said = evaluate(
        Fixed(torch.from_numpy(scores)),
        batches(),
        split="test",
        num_images=n,
        superclass_of=superclass_of,
        runtime=runtime,
    )
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    order = np.argsort(-scores, axis=1)
    supers = probabilities.reshape(n, 5, 2).sum(axis=2)
    assert counts.num_top1 == (order[:, 0] == labels).sum()
    assert counts.num_top5 == (order[:, :5] == labels[:, None]).any(axis=1).sum()
    assert counts.num_superclass == (supers.argmax(axis=1) == labels // 2).sum()
    assert counts.loss == pytest.approx(
        -np.log(probabilities[np.arange(n), labels]).mean(), rel=1e-5
    )
    np.testing.assert_array_equal(said.label, labels)
    np.testing.assert_array_equal(said.top5, order[:, :5])
    np.testing.assert_allclose(said.confidence, probabilities.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(said.log_probabilities, np.log(probabilities), rtol=2.0**-10)


def test_the_views_of_an_image_are_averaged_as_probabilities(runtime: Runtime) -> None:
    draw = np.random.default_rng(4)
    scores, labels = 3 * draw.normal(size=(2 * 30, 10)), draw.integers(0, 10, 30)
    images = torch.arange(60).float()[:, None, None, None].expand(-1, 1, 2, 2)
    counts, said = evaluate(
        Fixed(torch.from_numpy(scores)),
        iter([Batch(images, torch.from_numpy(labels))]),
        split="test",
        num_images=30,
        superclass_of=(),
        runtime=runtime,
    )
    probabilities = (
        (np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)).reshape(2, 30, 10).mean(axis=0)
    )
    np.testing.assert_array_equal(said.predicted, probabilities.argmax(axis=1))
    np.testing.assert_allclose(said.confidence, probabilities.max(axis=1), rtol=1e-5)
    assert counts.loss == pytest.approx(
        -np.log(probabilities[np.arange(30), labels]).mean(), rel=1e-5
    )


def test_classes_beyond_two_bytes_keep_their_numbers(runtime: Runtime) -> None:
    labels = torch.tensor([0, 32_767, 32_768, 39_999])
    scores = F.one_hot(labels, 40_000).float()
    images = torch.arange(4).float()[:, None, None, None].expand(-1, 1, 2, 2)
    counts, said = evaluate(
        Fixed(scores),
        iter([Batch(images, labels)]),
        split="test",
        num_images=4,
        superclass_of=(),
        runtime=runtime,
    )
    assert said.label.tolist() == said.predicted.tolist() == labels.tolist()
    assert counts.num_top1 == 4


def test_evaluation_asserts_that_every_image_was_seen(runtime: Runtime) -> None:
    batches = iter([Batch(torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.long))])
    with pytest.raises(AssertionError, match="3 images of 4"):
        evaluate(
            Fixed(torch.randn(4, 10)),
            batches,
            split="test",
            num_images=4,
            superclass_of=(),
            runtime=runtime,
        )


def test_a_view_that_is_all_but_sure_of_another_class_has_a_finite_loss(runtime: Runtime) -> None:
    """Class 0 of scores (0, 150, 0, …): its loss is 150, which float64 says too."""
    scores = torch.zeros(2, 10)
    scores[:, 1] = 150.0
    images = torch.arange(2).float()[:, None, None, None].expand(-1, 1, 2, 2)
    counts, said = evaluate(
        Fixed(scores),
        iter([Batch(images, torch.tensor([0]))]),
        split="test",
        num_images=1,
        superclass_of=(),
        runtime=runtime,
    )
    assert counts.loss == pytest.approx(150.0, rel=1e-6)
    assert said.confidence[0] == pytest.approx(1.0)


def test_a_rank_without_images_evaluates_with_the_others(runtime: Runtime) -> None:
    """Three ranks, two images: the first rank's share, floor(2 / 3) of them, is none."""
    scores = torch.tensor([[1.0, 3.0, 0.0], [2.0, 0.0, 0.5]])
    labels = torch.tensor([1, 2])
    shares = []
    for rows in ([], [0], [1]):
        heard: list[Any] = []
        runtime.gang = FakeGang(size=3, answers=lambda own, heard=heard: heard.append(own))
        batches = [
            Batch(torch.full((1, 1, 2, 2), float(row)), labels[row : row + 1]) for row in rows
        ]
        with pytest.raises(TypeError):  # nobody answers yet
            evaluate_two(Fixed(scores), iter(batches), runtime)
        shares += heard
    runtime.gang = FakeGang(size=3, answers=lambda own: shares)
    counts, said = evaluate_two(Fixed(scores), iter([]), runtime)
    assert said.label.tolist() == [1, 2]
    assert said.predicted.tolist() == [1, 0]
    assert counts.num_top1 == 1
    assert counts.loss == pytest.approx(F.cross_entropy(scores, labels).item(), rel=1e-6)


def evaluate_two(model: nn.Module, batches: Iterator[Batch], runtime: Runtime) -> Any:
    return evaluate(
        model, batches, split="validation", num_images=2, superclass_of=(), runtime=runtime
    )


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_an_evaluation_whose_loss_is_not_finite_has_diverged(
    runtime: Runtime, score: float
) -> None:
    batch = Batch(torch.zeros(2, 1, 2, 2), torch.tensor([0, 1]))
    with pytest.raises(Diverged, match="the loss of the validation images is not finite"):
        evaluate_two(Fixed(torch.tensor([[1.0, score]])), iter([batch]), runtime)


class Clock:
    """A clock that only training moves: each step takes a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        step = Learner.step

        def timed(learner: Learner, *args: Any, **options: Any) -> torch.Tensor:
            self.now += 1.0
            return step(learner, *args, **options)

        monkeypatch.setattr(Learner, "step", timed)
        monkeypatch.setattr("bench.train.trainer.time.perf_counter", lambda: self.now)


def rates_of(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rates of the steps of three epochs of five steps, a second each."""
    rates: list[float] = []
    Clock(monkeypatch)
    hooks = Hooks(lambda p: None, lambda share, p: rates.append(p.rate))
    one = learner(runtime, network(), epochs=None, seconds=15.0, schedule="cosine", warmup=0.0)
    list(fit(one, FakeBatches(), Progress(), hooks))
    return rates


def test_rates_of_several_processes_follow_the_formula_a_step_late(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cosine(seconds: int) -> float:
        return 0.1 * (1 + math.cos(math.pi * seconds / 15)) / 2

    with monkeypatch.context() as patch:
        alone = rates_of(runtime, patch)
    assert alone == pytest.approx([cosine(second) for second in range(15)])
    runtime.gang = FakeGang()
    # What is agreed on at an epoch's start is exact; from its second step on it is a step old.
    known = [5 * epoch + max(0, step - 1) for epoch in range(3) for step in range(STEPS)]
    with monkeypatch.context() as patch:
        assert rates_of(runtime, patch) == pytest.approx([cosine(second) for second in known])


def test_a_cell_after_one_that_diverged_reads_no_pulse_of_it(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.gang = FakeGang()
    with monkeypatch.context() as patch:
        expected = rates_of(runtime, patch)
    runtime.pulse(7.0, diverged_at=3)
    with monkeypatch.context() as patch:
        assert rates_of(runtime, patch) == expected


def test_a_loss_seen_to_diverge_at_an_epochs_last_step_is_not_forgotten(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look at the last step is told to the others by a pulse that nobody reads."""
    monkeypatch.setattr("bench.train.trainer.CHECK_EVERY", STEPS)
    runtime.gang = FakeGang()
    batches = FakeBatches()
    batches.batches[3].images[0, 0, 0, 0] = math.nan
    with pytest.raises(Diverged, match="at step 4"):
        list(fit(learner(runtime, network()), batches, Progress(), Hooks(ignore, ignore)))


def test_epochs_of_one_step_have_checkpoints_among_several_processes(runtime: Runtime) -> None:
    runtime.gang = FakeGang()
    batches = FakeBatches()
    batches.batches = batches.batches[:1]
    batches.steps_per_epoch = 1  # type: ignore[misc]
    saved: list[int] = []
    one = learner(runtime, network(), checkpoint_seconds=1e-9)
    list(fit(one, batches, Progress(), Hooks(lambda p: saved.append(p.step), ignore)))
    assert saved == [2, 3]


def ignore(*_: Any) -> None:
    """A hook that does nothing."""


def test_a_trial_tells_whether_a_pass_reaches_all_and_changes_nothing() -> None:
    whole = network(norm=True)
    before = state(whole)
    shape = (3, 8, 8)
    assert reaches_all(whole, shape, config=CONFIG, device=torch.device("cpu"))
    assert same(state(whole), before)
    assert all(parameter.grad is None for parameter in whole.parameters())
    whole.register_module("aside", nn.Linear(2, 2))
    whole.forward = lambda images: nn.Sequential(*list(whole)[:6])(images)  # type: ignore[method-assign]
    assert not reaches_all(whole, shape, config=CONFIG, device=torch.device("cpu"))

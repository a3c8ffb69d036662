"""How much sooner a network of ReLUs learns than one of tanh (Krizhevsky et al. 2012, figure 1)."""

import math

from bench.request.config import RunConfig
from bench.results.finding import Answer, Plot, Series, point_at
from bench.results.interval import Estimate, ratio_estimate
from bench.results.record import RunRecord
from bench.studies.image_set import use_ten_classes
from bench.studies.lab import Lab, Trained
from bench.studies.wording import join_names, say_count, say_estimate

ERROR = 25.0  # percent of the training images
ACTIVATIONS = ("relu", "tanh")


def relu_tanh(lab: Lab) -> Answer:
    """How many times the steps of ReLU does tanh need to 25 % training error?

    The four-layer CNN without regularisation, each activation at the best rate of a grid, as the
    paper chose it, on CIFAR-10 or 5,000 images of CIFAR-100; the quick form takes 500 images, which
    are learnt in fewer steps.
    """
    rates = (0.005, 0.01, 0.02, 0.04) if lab.quick else (0.003, 0.01, 0.03, 0.1)
    steps: dict[str, dict[float, list[float]]] = {name: {} for name in ACTIVATIONS}
    curves = {}
    for activation in ACTIVATIONS:
        for rate in rates:
            request = _request(activation, rate, lab)
            trained = lab.train(f"{activation}-{rate:g}", request, may_diverge=True)
            curves[activation, rate] = trained
            steps[activation][rate] = [steps_to(record, ERROR) for record in trained.records]
    best = {}
    for name in ACTIVATIONS:
        # A rate with which a seed's loss runs away isn't one to train at.
        stable = [rate for rate in rates if not curves[name, rate].has_diverged]
        if not stable:
            raise ValueError(f"{name} diverged at each rate of {join_names(map(str, rates))}")
        best[name] = min(stable, key=lambda rate: sum(steps[name][rate]))
    relu, tanh = (steps[name][best[name]] for name in ACTIVATIONS)
    sample = curves["relu", best["relu"]].records[0]
    answer = (
        _say_ratio(tanh, relu, curves["tanh", best["tanh"]].records[0].epochs[-1].step),
        f"Steps of each seed: ReLU {_list(relu)} at a rate of {best['relu']:g}, "
        f"tanh {_list(tanh)} at {best['tanh']:g}.",
    )
    return Answer(
        sentences=answer,
        setting=(
            f"cuda_convnet without LRN, {sample.data.num_train:,} training images of "
            f"{sample.data.name} ({join_names(sample.data.class_names)}), batches of "
            f"{sample.batch_size}, momentum 0.9, constant rate from {join_names(map(str, rates))}, "
            f"{say_count(len(relu), 'seed')}; training error of all training images after each "
            "epoch."
        ),
        beside=("Krizhevsky et al. 2012, figure 1: about six times, on CIFAR-10.",),
        plots=(_draw([curves[name, best[name]] for name in ACTIVATIONS]),),
    )


def _request(activation: str, rate: float, lab: Lab) -> RunConfig:
    longest = {"relu": 30, "tanh": 150}[activation]
    return RunConfig(
        models=(f"cuda_convnet@lrn=false,activation={activation}",),
        **use_ten_classes(lab.data_dir),
        images_per_class=(50,) if lab.quick else (),
        # All images learn where nothing has to be chosen by the others.
        protocol="split" if lab.quick else "published",
        epochs=20 if lab.quick else longest,
        seeds=(0, 1, 2),
        batch_size=25 if lab.quick else 128,
        optimizer="momentum",
        lr=rate,
        schedule="constant",
        warmup=0.0,
        weight_decay=0.0,
        augment=(),
        assess_train=True,
        pack=True,
    )


def steps_to(record: RunRecord, error: float) -> float:
    """Return after how many steps the training error was down to `error` percent.

    Between two epochs by a straight line; infinite where it never was.
    """
    step_before, error_before = 0, 100.0
    for row in record.epochs:
        assert row.train_evaluation is not None, "the study asks for it"
        now = 100 - row.train_evaluation.top1
        if now <= error:
            share = (error_before - error) / (error_before - now)
            return step_before + share * (row.step - step_before)
        step_before, error_before = row.step, now
    return math.inf


def _say_ratio(tanh: list[float], relu: list[float], longest: int) -> str:
    if all(map(math.isfinite, tanh + relu)):
        times = say_estimate(ratio_estimate(tanh, relu), "times", digits=2)
        return f"tanh needs {times} the steps of ReLU to {ERROR:g} % training error."
    if all(map(math.isfinite, relu)):
        return (
            f"Not every seed of tanh came to {ERROR:g} % training error in {longest:,} steps; one "
            f"that didn't needs more than {longest / max(relu):.1f} times the steps of ReLU."
        )
    return f"Not every seed of ReLU came to {ERROR:g} % training error, so there is no ratio."


def _list(steps: list[float]) -> str:
    return join_names("never" if math.isinf(one) else f"{one:,.0f}" for one in steps)


def _draw(variants: list[Trained]) -> Plot:
    series = []
    for variant in variants:
        points = []
        for rows in zip(*(record.epochs for record in variant.records), strict=True):
            errors = [100 - row.train_evaluation.top1 for row in rows if row.train_evaluation]
            spread = Estimate(sum(errors) / len(errors), min(errors), max(errors))
            points.append(point_at(rows[0].step, spread))
        series.append(Series(name=variant.name, points=tuple(points)))
    return Plot(
        title="Training error by steps",
        caption="Means over seeds; the bars are their least and greatest.",
        kind="lines",
        x="Steps",
        y="Training error (%)",
        series=tuple(series),
    )

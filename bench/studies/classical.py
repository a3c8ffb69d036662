"""Networks beside the pipelines that they replaced: at equal training time, and with more."""

from collections.abc import Iterator
from dataclasses import replace

from bench.request.config import RunConfig
from bench.request.recipe import quick
from bench.results.finding import Answer, Plot, Series, point_at
from bench.studies.image_set import use_cifar
from bench.studies.lab import Lab, Trained
from bench.studies.wording import (
    join_names,
    say_count,
    say_estimate,
    say_gains,
    say_seeds,
)

PIPELINES = ("hog_svm", "lbp_svm", "sift_svm", "kmeans_patches")
NETWORKS = ("lenet5", "resnet20")
BESIDE = (
    "CIFAR-10, LuoXubo/PRML2023: raw pixels and a linear SVM 29.05 %, HOG and a linear SVM "
    "49.99 %, HOG and an RBF SVM 62.27 %.",
    "CIFAR-10, Coates, Lee, Ng 2011: k-means patches and a linear SVM 79.6 %.",
    "Fashion-MNIST, its own table: HOG and an SVM 92.6 %, a perceptron of three layers "
    "90.0 %, two convolutions 87.6 to 93.2 % (recipe fashion_mnist has ours).",
)


def classical(lab: Lab) -> Answer:
    """How far do networks get in the time that the best pipeline takes, and how far with more?

    Pipelines fit once; their training time is the networks' budget, and then networks are trained
    for many epochs. The quick form has ten classes.
    """
    pipelines = {
        name: lab.train(name, replace(_request(lab), models=(name,), epochs=1))
        for name in PIPELINES
    }
    best = max(pipelines, key=lambda name: _validation_of(pipelines[name]))
    seconds = round(seconds_of(pipelines[best]), 1)
    answer = [
        f"{best} is the best pipeline on validation: "
        f"{say_estimate(pipelines[best].accuracy, '%')} top-1 in the test after {seconds:g} s of "
        "training."
    ]
    epochs = 10 if lab.quick else 60
    requests = {name: replace(_request(lab), models=(name,)) for name in NETWORKS}
    networks = {
        "in that time": {
            name: lab.train(f"{name} in time", replace(request, seconds=seconds))
            for name, request in requests.items()
        },
        f"after {epochs} epochs": {
            name: lab.train(f"{name} at best", replace(request, epochs=epochs))
            for name, request in requests.items()
        },
    }
    answer += _say_leads(networks, best, pipelines[best])
    record = pipelines[best].records[0]
    return Answer(
        sentences=tuple(answer),
        setting=(
            f"{record.data.num_train:,} training images of {len(record.data.class_names)} classes "
            f"of {record.data.name}; pipelines {join_names(PIPELINES)}; "
            f"{say_count(len(pipelines[best].records), 'seed')}; networks at their catalogue's "
            "rates; verdicts are adjusted for four comparisons."
        ),
        beside=BESIDE,
        plots=(_draw({"pipeline": pipelines} | networks),),
    )


def _say_leads(
    networks: dict[str, dict[str, Trained]], best: str, pipeline: Trained
) -> Iterator[str]:
    """Say how far each network is above the best pipeline, by how long it was trained."""
    trained = {(name, how): one for how, own in networks.items() for name, one in own.items()}
    leads = say_gains({key: one.gain_over(pipeline) for key, one in trained.items()})
    for (name, how), lead in leads.items():
        took = seconds_of(trained[name, how])
        yield f"{name} {how} ({took:.0f} s) against {best}: {lead}."


def _validation_of(trained: Trained) -> float:
    """Return the mean top-1 on validation in percent: the test chooses nothing."""
    found = [record.validation_top1 or 0.0 for record in trained.records]
    return sum(found) / len(found)


def seconds_of(trained: Trained) -> float:
    """Return the mean training time in seconds."""
    took = [record.train_seconds or 0.0 for record in trained.records]
    return sum(took) / len(took)


def _draw(found: dict[str, dict[str, Trained]]) -> Plot:
    num_seeds = len(next(iter(found["pipeline"].values())).records)
    return Plot(
        title="Test top-1",
        caption=say_seeds(num_seeds),
        kind="dots",
        x="Top-1 (%)",
        y="Model",
        series=tuple(
            Series(
                name=how,
                points=tuple(point_at(name, one.accuracy) for name, one in trained.items()),
            )
            for how, trained in found.items()
        ),
    )


def _request(lab: Lab) -> RunConfig:
    # What is fitted once refuses options of steps that differ from its recipe's.
    return replace(
        quick(),
        **use_cifar(lab.data_dir, quick=lab.quick),
        seconds=None,
        least_steps=None,
        seeds=(0,) if lab.quick else (0, 1, 2),
    )

"""Records, comparisons and run folders for tests.

Made from a seed, shaped like a real run, without training.
"""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.results.record import (
    Accuracy,
    Comparison,
    DataInfo,
    Epoch,
    Measurement,
    RunRecord,
)
from bench.results.storage import write, write_json
from zoo.registry import list_models
from zoo.spec import LayerCost

WHEN = "2026-11-22T01:02:03+00:00"


class Animal(NamedTuple):
    """A model's rough truth: what its fake records scatter around."""

    name: str
    family: str
    num_parameters: int
    multiply_adds: int
    images_per_second: float
    top1: float  # percent


ZOO = (
    Animal("lenet5", "lenet", 69_656, 658_840, 8_000, 31),
    Animal("alexnet_grouped_cifar", "alexnet", 2_472_266, 45_000_000, 900, 22),
    Animal("alexnet_single_tower_cifar", "alexnet", 3_600_000, 58_000_000, 700, 24),
    Animal("squeezenet1_1_cifar", "squeezenet", 773_796, 62_000_000, 1_900, 12),
    Animal("mobilenet_v2_cifar", "mobilenet", 2_351_972, 88_000_000, 700, 14),
    Animal("shufflenet_v2_x1_0_cifar", "shufflenet", 1_356_104, 45_000_000, 1_000, 13),
    Animal("resnet18_cifar", "resnet", 11_220_132, 556_000_000, 110, 36),
    Animal("resnet18", "resnet", 11_227_812, 37_000_000, 520, 35),
)


PAPERS = {each.name: each for each in list_models()}


def draws(*key: object) -> np.random.Generator:
    """A generator that depends on nothing but its key."""
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def data_info(**changes: Any) -> DataInfo:
    """The real CIFAR-100, as far as a record says it, with names that are made up."""
    info = DataInfo(
        name="cifar100",
        stand_in=False,
        source="parquet",
        checksum="sha256:12ab",
        protocol="split",
        image_size=32,
        num_train=45_000,
        num_validation=5_000,
        num_test=10_000,
        class_names=tuple(f"class {i}" for i in range(100)),
        superclass_names=tuple(f"group {i}" for i in range(20)),
        superclass_of=tuple(i // 5 for i in range(100)),
        mean=(0.507, 0.487, 0.441),
        std=(0.267, 0.256, 0.276),
    )
    return replace(info, **changes)


def accuracy(top1: float, *, split: str = "test", n: int = 10_000) -> Accuracy:
    """Counts of an evaluation with about `top1` percent right."""
    right = round(n * top1 / 100)
    return Accuracy(
        split="validation" if split == "validation" else "test",
        num_images=n,
        num_top1=right,
        num_top5=min(n, round(right * 1.8)),
        num_superclass=min(n, round(right * 1.3)),
        loss=4.6 * (1 - top1 / 100),
    )


def environment(**changes: Any) -> dict[str, Any]:
    """What a record says of the machine."""
    return {
        "cpu": "AMD EPYC 9R14",
        "cpu_flags": ["avx2", "avx512f"],
        "num_cores": 2,
        "num_threads": 2,
        "machine": "AMD EPYC 9R14, 2 cores",
        "gpu": None,
        "num_gpus": 0,
        "memory_bytes": 8 * 2**30,
        "platform": "Linux-6.1",
        "python": "3.11.7",
        "torch": "2.14.1",
        "torchvision": "0.29.1",
        "timm": "1.0.20",
        "accelerate": "1.15.0",
        "cuda": None,
        "git_commit": "0123456789abcdef0123",
        "git_dirty": False,
        "load_average": 0.4,
        "backend": "cpu",
        "world_size": 1,
        "precision": "fp32",
        "tf32": False,
        "deterministic": False,
        "command": "./launch.sh --recipe quick",
    } | changes


def epochs(animal: Animal, seed: int, count: int) -> tuple[Epoch, ...]:
    """A curve that rises to the animal's accuracy, with some noise."""
    noise = draws("epochs", animal.name, seed)
    rows = []
    for i in range(1, count + 1):
        share = 1 - float(np.exp(-3 * i / count))
        reached = min(100.0, max(1.0, animal.top1 * share + float(noise.normal(0, 0.4))))
        rows.append(
            Epoch(
                epoch=i - 1,
                step=352 * i,
                images=45_000 * i,
                seconds=45_000 * i / animal.images_per_second,
                train_loss=4.6 - 3 * share + float(noise.normal(0, 0.02)),
                learning_rate=0.05 * (1 - i / (count + 1)),
                evaluation=accuracy(reached, split="validation", n=5_000),
            )
        )
    return tuple(rows)


def layers(animal: Animal) -> tuple[LayerCost, ...]:
    """Three layers that share the model's costs."""
    rest = animal.num_parameters // 2
    return (
        LayerCost(
            name="conv1",
            kind="Conv2d",
            output_shape=(6, 28, 28),
            num_parameters=animal.num_parameters - rest,
            multiply_adds=animal.multiply_adds // 3,
            activation_bytes=18_816,
        ),
        LayerCost(
            name="relu",
            kind="ReLU",
            output_shape=(6, 28, 28),
            num_parameters=0,
            multiply_adds=0,
            activation_bytes=18_816,
        ),
        LayerCost(
            name="fc",
            kind="Linear",
            output_shape=(100,),
            num_parameters=rest,
            multiply_adds=animal.multiply_adds - animal.multiply_adds // 3,
            activation_bytes=400,
        ),
    )


def spec(animal: Animal) -> dict[str, Any]:
    """A ModelSpec as JSON, with year and paper as the catalogue has them."""
    known = PAPERS.get(animal.name)
    return {
        "name": animal.name,
        "family": animal.family,
        "source": "zoo",
        "year": known.year if known else None,
        "paper": known.paper if known else "",
        "image_size": 32,
        "in_channels": 3,
        "stem": "stride 1, no pooling",
        "total_stride": 8,
        "num_parameters": animal.num_parameters,
        "multiply_adds": animal.multiply_adds,
        "at": [100, 32],
        "tags": ["small"],
        "defaults": {"lr": 0.05},
        "notes": "",
    }


def rate(
    metric: str, images_per_second: float, key: object, *, rounds: int = 60, images: int = 128
) -> Measurement:
    """Seconds of `images` images in each round.

    The rounds' noise is shared by all models, as on a real machine.
    """
    shared = draws("rounds", metric).lognormal(0, 0.05, size=rounds)
    own = draws("own", metric, key).lognormal(0, 0.01, size=rounds)
    values = images / images_per_second * shared * own
    return Measurement(
        metric=metric,
        unit="images/s",
        better="higher",
        merge="slowest",
        values=(tuple(map(float, values)),),
        warmup=((float(values[0]) * 3,),),
        images=images,
    )


def amount(metric: str, unit: str, values: Sequence[float]) -> Measurement:
    """Raw values where less is better."""
    return Measurement(
        metric=metric, unit=unit, better="lower", merge="largest", values=(tuple(values),)
    )


def measurements(
    animal: Animal, key: object = None, *, rounds: int = 60
) -> tuple[Measurement, ...]:
    """One measurement of every metric that a comparison holds."""
    key = key or animal.name
    r = animal.images_per_second
    latency = 1_500 / r * draws("latency", key).lognormal(0, 0.1, size=rounds)
    return (
        rate("train_images_per_second", r, key, rounds=rounds),
        rate("train_step_images_per_second", r * 1.05, key, rounds=rounds),
        rate("loader_images_per_second", 150_000, key, rounds=rounds),
        rate("infer_images_per_second", r * 3.2, key, rounds=rounds, images=256),
        amount("latency_ms", "ms", tuple(map(float, latency))),
        amount("peak_memory_bytes", "bytes", (16.0 * animal.num_parameters + 3e7,)),
    )


def record(
    animal: Animal = ZOO[0],
    seed: int = 0,
    *,
    run: str = "demo",
    num_epochs: int = 5,
    **changes: Any,
) -> RunRecord:
    """A finished cell; `changes` replace fields."""
    trained = epochs(animal, seed, num_epochs)
    top1 = min(
        100.0, max(0.0, animal.top1 + float(draws("top1", animal.name, seed).normal(0, 0.25)))
    )
    train_seconds = trained[-1].seconds if trained else None
    whole = RunRecord(
        run=run,
        model=animal.name,
        seed=seed,
        status="ok",
        config={
            "models": [animal.name],
            "image_size": None,
            "precision": "fp32",
            "channels_last": True,
            "batch_size": 128,
            "recipe": "quick",
        },
        spec=spec(animal),
        layers=layers(animal),
        environment=environment(),
        data=data_info(),
        epochs=trained,
        accuracy=accuracy(top1) if trained else None,
        measurements=(
            rate(
                "fit_images_per_second",
                animal.images_per_second * 0.97,
                seed,
                rounds=num_epochs,
                images=45_000,
            ),
        )
        if trained
        else (),
        world_size=1,
        batch_size=128,
        num_parameters=animal.num_parameters,
        num_local_parameters=animal.num_parameters,
        multiply_adds=animal.multiply_adds,
        train_seconds=train_seconds,
        created=WHEN,
        finished=WHEN,
    )
    return replace(whole, **changes)


def failed(
    animal: Animal, status: str = "failed", error: str = "RuntimeError: broke", **changes: Any
) -> RunRecord:
    """A cell that ended early."""
    return record(animal, num_epochs=0, status=status, error=error, finished=None, **changes)


def comparison(
    animals: Sequence[Animal] = ZOO, *, run: str = "demo", rounds: int = 60, **changes: Any
) -> Comparison:
    """All models measured against each other, and the first one against itself."""
    names = tuple(animal.name for animal in animals)
    again = [m for m in measurements(animals[0], "again", rounds=rounds) if m.images is not None]
    whole = Comparison(
        run=run,
        models=names,
        reference=names[0],
        order={"train": ((*names, f"{names[0]} (again)"),) * 2},
        ended_by={"train": "interval"},
        measurements={animal.name: measurements(animal, rounds=rounds) for animal in animals},
        same_model_twice=tuple(again),
        environment=environment(),
        world_size=1,
        batch_size=128,
        created=WHEN,
    )
    return replace(whole, **changes)


def predictions(whole: RunRecord) -> dict[str, NDArray[Any]]:
    """A class and a confidence for every test image, with as many right as the record says."""
    assert whole.accuracy is not None
    n, noise = whole.accuracy.num_images, draws("predictions", whole.model, whole.seed)
    label = np.arange(n) % len(whole.data.class_names)
    ease = draws("ease").normal(size=n) + noise.normal(0, 0.7, size=n)
    right = np.zeros(n, dtype=bool)
    right[np.argsort(-ease)[: whole.accuracy.num_top1]] = True
    other = (label + noise.integers(1, len(whole.data.class_names), size=n)) % len(
        whole.data.class_names
    )
    confidence = np.clip(noise.beta(4, 3, size=n) + 0.2 * right, 0.01, 1).astype(np.float32)
    said = {"label": label, "predicted": np.where(right, label, other), "confidence": confidence}
    left = (1 - confidence) * draws("scores", whole.model, whole.seed).beta(2, 2, size=n)
    likelihood = np.where(right, confidence, np.maximum(left, 1e-6))
    squares = (1 - likelihood) ** 2 + np.where(right, 0, confidence**2)
    set_size = np.where(likelihood < 0.2, 5, 2) - (confidence > 0.9)
    return said | {
        "loss": -np.log(likelihood).astype(np.float32),
        "brier": squares.astype(np.float32),
        "set_size": set_size.astype(np.int32),
        "in_set": likelihood > np.quantile(likelihood, 0.1),
    }


def write_run(
    folder: Path,
    records: Sequence[RunRecord],
    compared: Comparison | None = None,
    *,
    with_predictions: bool = True,
) -> Path:
    """Write a run's folder as bench does."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", {"models": list(dict.fromkeys(r.model for r in records))})
    for each in records:
        cell = folder / "cells" / each.cell
        cell.mkdir(parents=True, exist_ok=True)
        write(cell / "record.json", each)
        if with_predictions and each.accuracy is not None:
            np.savez_compressed(cell / "predictions.npz", allow_pickle=False, **predictions(each))
    if compared is not None:
        write(folder / "comparison.json", compared)
    return folder


def write_demo(
    folder: Path, *, seeds: Sequence[int] = (0, 1, 2), stand_in: bool = False, run: str = "demo"
) -> Path:
    """A run as a user has it: eight models with seeds, and one that ran out of memory."""
    data = data_info(name="synthetic", stand_in=True) if stand_in else data_info()
    records = [record(animal, seed, run=run, data=data) for animal in ZOO for seed in seeds]
    giant = Animal("vgg16_bn", "vgg", 34_000_000, 314_000_000, 100, 50)
    records.append(
        failed(giant, "oom", "OutOfMemoryError: tried to allocate 2.00 GiB", run=run, data=data)
    )
    return write_run(folder, records, comparison(run=run))

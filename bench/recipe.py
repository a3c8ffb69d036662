"""Named settings. A recipe is a function whose docstring says what it is for, how long it takes and what to expect."""

from collections.abc import Callable

from bench.config import RunConfig, unknown

CIFAR_FORMS = ("lenet5", "alexnet_grouped_cifar", "alexnet_single_tower_cifar", "alexnet_owt_cifar")
PLAIN_STEMS = ("squeezenet1_1", "mobilenet_v2", "shufflenet_v2_x1_0", "resnet18")


def quick() -> RunConfig:
    """Compare eight models of five families at 32 px, each with the same training time.

        ./launch.sh

    On 2 CPU cores at most 8 minutes: 8 x 27 s of training (216 s), evaluation (60 s), measuring in turn at most
    8 x 10 s and warm-up (100 s), memory in fresh processes (30 s), start and report (20 s). Expect about 20 % top-1
    from LeNet-5 and more than 3 % from the others: how fast each learns, not what it can reach.
    """
    return RunConfig(
        recipe="quick", models=CIFAR_FORMS + PLAIN_STEMS, image_size=32, seconds=27, warmup=0.3, measure_seconds=10
    )


def smoke() -> RunConfig:
    """Run every stage on two models, for tests.

        ./launch.sh --recipe smoke

    Under a minute on 2 CPU cores. Expect nothing of the accuracy.
    """
    return RunConfig(
        recipe="smoke", models=("lenet5", "squeezenet1_1"), image_size=32, seconds=2, pairs=4, measure_seconds=2
    )


def standard() -> RunConfig:
    """Train CIFAR forms for 30 epochs with three seeds, for a GPU.

        ./launch.sh --recipe standard

    Written for one GPU or more; it has not been run on one, so no time and no accuracy is promised.
    """
    models = (
        "lenet5", "alexnet_grouped_cifar", "alexnet_single_tower_cifar", "alexnet_owt_cifar",
        "squeezenet1_1_cifar", "mobilenet_v2_cifar", "shufflenet_v2_x1_0_cifar", "resnet18_cifar",
    )  # fmt: skip
    return RunConfig(recipe="standard", models=models, epochs=30, seeds=(0, 1, 2), label_smoothing=0.1)


RECIPES: dict[str, Callable[[], RunConfig]] = {f.__name__: f for f in (quick, smoke, standard)}


def get_recipe(name: str) -> RunConfig:
    """Return a recipe's settings; ValueError with the nearest names for an unknown one."""
    if name not in RECIPES:
        raise ValueError(unknown("--recipe", name, RECIPES))
    return RECIPES[name]()

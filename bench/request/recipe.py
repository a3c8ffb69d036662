"""Named settings. A recipe's docstring says what it is for, how long it takes, what to expect.

A new recipe is a function here and its name in RECIPES.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from bench.request.config import RunConfig
from bench.results.weights_file import find_models
from zoo.suggest import unknown

# Made or changed for images of 32 px.
CIFAR_FORMS = ("lenet5", "alexnet_grouped_cifar", "alexnet_single_tower_cifar", "alexnet_owt_cifar")
# With the stems of their 224 px form, which leave little of 32 px.
PLAIN_STEMS = ("squeezenet1_1", "mobilenet_v2", "shufflenet_v2_x1_0", "resnet18")
BACKBONES = tuple(f"timm:tf_efficientnet_lite{number}" for number in range(3))
TRAINED_EPOCHS = 12


def quick() -> RunConfig:
    """Compare eight models of six families at 32 px, each with the same training time.

        ./launch.sh

    At most 8 minutes on 2 CPU cores: 8 x 30 s of training (240 s), trial steps before it (20 s),
    evaluation (60 s), at most 8 x 8 s of interleaved measurements and their warm-up (85 s), memory
    in fresh processes (40 s), start and report (25 s). Expect about 20 % top-1 from LeNet-5 and 3
    to 10 % from the others: how fast each one learns, not what it can reach.

    Fewer than 70 steps leave a network at chance. Where a few steps of each say that the slowest
    would take fewer in its 30 s, all get the seconds, the same for each, in which it takes 98, and
    the slowest are left out until training and evaluation take at most 8 x 40 s. The run, its
    records and its page say so. A machine that other processes keep busy changes nothing of this.
    """
    return RunConfig(
        recipe="quick",
        models=CIFAR_FORMS + PLAIN_STEMS,
        image_size=32,
        seconds=30,
        least_steps=70,
        warmup=0.3,
        measure_seconds=8,
        measure=("train", "infer", "latency", "memory", "machine"),
    )


def smoke() -> RunConfig:
    """Run every stage on two models, as a test.

        ./launch.sh --recipe smoke

    Under a minute on 2 CPU cores. The accuracy means nothing.
    """
    return RunConfig(
        recipe="smoke",
        models=("lenet5", "squeezenet1_1"),
        image_size=32,
        seconds=2,
        pairs=4,
        measure_seconds=2,
    )


def standard() -> RunConfig:
    """Train eight models adapted to 32 px for 30 epochs with three seeds, on a GPU.

        ./launch.sh --recipe standard

    Written for one or more GPUs, but not yet run on one: no time and no accuracy is promised.
    """
    models = (
        "lenet5",
        "alexnet_grouped_cifar",
        "alexnet_single_tower_cifar",
        "alexnet_owt_cifar",
        "squeezenet1_1_cifar",
        "mobilenet_v2_cifar",
        "shufflenet_v2_x1_0_cifar",
        "resnet18_cifar",
    )
    return RunConfig(
        recipe="standard", models=models, epochs=30, seeds=(0, 1, 2), label_smoothing=0.1
    )


def tutorial() -> RunConfig:
    """Train as the course's tutorial does: Adam at 0.001, mirrored images of 224 px, no decay.

        ./launch.sh --recipe tutorial --dataset imagefolder --data-dir flower_photos

    15 epochs on the five kinds of flowers. Of `alexnet_half` the tutorial reports about 67 % top-1,
    from a laptop without a GPU; with `--lr 2e-4` it comes to 74.9 % here (LAB.md). `--dry-run`
    estimates the minutes on your machine.
    """
    return RunConfig(
        recipe="tutorial",
        models=("alexnet_half",),
        image_size=224,
        epochs=15,
        batch_size=32,
        optimizer="adam",
        lr=1e-3,
        weight_decay=0.0,
        schedule="constant",
        warmup=0.0,
        augment=("mirror",),
    )


def cifar200() -> RunConfig:
    """Train for 200 epochs by the rules of published CIFAR-100 tables, to compare with them.

        ./launch.sh --recipe cifar200 --models resnet20

    SGD 0.1, half a cosine to zero, batch 128, weight decay 5e-4, crop and mirror, all 50,000
    images, the test set at every epoch. Published by chenyaofo/pytorch-cifar-models for the same
    networks (batch 256, last epoch, one run): resnet20 68.5 %, resnet56 72.4 %, vgg16_bn 73.7 %,
    mobilenet_v2 73.8 %, shufflenet_v2 71.4 %; of resnet18 by weiaicunzai/pytorch-cifar100 (steps
    instead of a cosine, best epoch): 75.6 %. None of these figures is ours. Meant for a GPU: on a
    CPU it takes days, as `--dry-run` estimates.
    """
    models = (
        "resnet20",
        "resnet56",
        "resnet18_cifar",
        "vgg16_bn_cifar",
        "mobilenet_v2_cifar",
        "shufflenet_v2_x1_0_cifar",
    )
    return RunConfig(
        recipe="cifar200",
        models=models,
        epochs=200,
        protocol="published",
        lr=0.1,
        schedule="cosine",
        warmup=0.0,
    )


def trained() -> RunConfig:
    """Train ten models of eight families at 32 px by the rules of published tables, in an evening.

        ./launch.sh --recipe trained --dataset cifar100 --out runs/trained --resume

    The settings of `cifar200` with 12 epochs in the place of 200: half a cosine to zero after a
    warm-up of one epoch, batch 128, weight decay 5e-4, crop and mirror. But the test set is read
    once, and each model has the catalogue's rate: 0.1 for ResNets, MobileNetV2 and ShuffleNetV2, as
    both published tables have it; for networks without batch normalisation, of which no table has a
    rate at this batch, the catalogue's own, which come from earlier trials on CIFAR-100 (LAB.md).
    Nothing was tuned for these twelve epochs. Three networks keep the stem of their 224 px form,
    since 12 epochs of their 32 px form take more than 40 minutes on 2 cores; SqueezeNet has both.
    Cells run side by side, a core each, so that speed isn't measured. Smallest first;
    `--seeds 0 1 2` repeats what is quick. docs/trained.md has the figures that are there.
    """
    models = (
        "lenet5",
        "squeezenet1_1",
        "alexnet_half_cifar",
        "cuda_convnet",
        "shufflenet_v2_x1_0",
        "convnet",
        "mobilenet_v2",
        "resnet18",
        "squeezenet1_1_cifar",
        "resnet20",
    )
    return dataclasses.replace(
        cifar200(),
        recipe="trained",
        models=models,
        image_size=32,
        epochs=TRAINED_EPOCHS,
        protocol="split",
        lr=None,  # each model's own
        warmup=1 / TRAINED_EPOCHS,
        measure=(),
        pack=True,
    )


def speedrun() -> RunConfig:
    """Learn as much as two minutes allow, with the network and ideas of airbench.

        ./launch.sh --recipe speedrun

    A whitening first layer, few wide blocks, Muon, label smoothing 0.2, and a learning rate that
    rises and falls once. Three minutes in all on 2 CPU cores. Jordan (2024, arXiv 2404.00498)
    reports 94 % on CIFAR-10 after 9.9 epochs, 3.8 s on one A100: with lookahead over SGD where this
    recipe has Muon, and with cropped and mirrored test images and alternating mirrors, which it
    leaves out. On a GPU give --epochs 10.
    """
    return RunConfig(recipe="speedrun", models=("speedrun",), seconds=120, label_smoothing=0.2)


def cpu30() -> RunConfig:
    """Learn as much as half an hour on two CPU cores allows, with a network made for them.

        ./launch.sh --recipe cpu30 --dataset cifar100 --out runs/cpu30 --resume

    Smoothed labels, and Muon whose rate rises and falls once; the test set is read once, by a plain
    forward pass. 30 minutes of training and two of evaluation and measuring. On two cores of an AMD
    EPYC with AVX2 one seed reached 62.0 % (61.0 to 62.9) after 14.1 epochs: `results/cpu30`.
    """
    return RunConfig(recipe="cpu30", models=("speedrun_cpu",), seconds=1800, label_smoothing=0.1)


def finetune() -> RunConfig:
    """Fine-tune published ImageNet weights with a low learning rate, each model at its own size.

        ./launch.sh --recipe finetune --dataset imagefolder --data-dir flower_photos

    Needs the hub or its cache, or `--pretrained DIR` with tv-resnet18.pth and
    tv-mobilenet_v3_small.pth. `--dry-run` estimates the minutes on your machine. No accuracy is
    promised: the weights couldn't be downloaded where this recipe was written.
    """
    return RunConfig(
        recipe="finetune",
        models=("tv:resnet18", "tv:mobilenet_v3_small"),
        pretrained="hub",
        epochs=5,
        batch_size=32,
        lr=0.01,
        weight_decay=1e-4,
        schedule="cosine",
        warmup=0.1,
    )


def backbones() -> RunConfig:
    """Compare pretrained networks as features for a linear classifier, each at its own size.

        ./launch.sh --recipe backbones --pretrained DIR --dataset imagefolder --data-dir flowers
        ./launch.sh --recipe backbones … --train head+all --epochs 2

    The networks are those whose weights are in DIR; EfficientNet-Lite 0, 1 and 2 where published
    weights are asked for (`--pretrained` alone); or what `--models` names. Each network's features
    are computed once and kept, so that the classifier is fitted again in seconds. LAB.md has the
    figures on 3,670 photographs of five kinds of flowers.
    """
    return RunConfig(
        recipe="backbones",
        pretrained="hub",
        train="head",
        epochs=1,
        batch_size=32,
        weight_decay=1e-4,
        schedule="cosine",
        warmup=0.1,
    )


def fashion_mnist() -> RunConfig:
    """Compare networks with the pipelines that they replaced, on Fashion-MNIST's 70,000 images.

        apt install dataset-fashion-mnist
        ./launch.sh --recipe fashion_mnist --out runs/fashion_mnist

    LeNet-5 as published and as used today and a multi-layer perceptron for ten epochs; three kinds
    of features with support vectors, and HOG with a random forest, fitted once. Images are neither
    mirrored nor moved. The data set's own table (zalandoresearch/fashion-mnist on GitHub, submitted
    figures) has 90.0 % for a perceptron of three layers, 87.6 to 93.2 % for two convolutions, and
    92.6 % for HOG with an SVM. Ours, of one seed, are in docs/classical.md. About 15 minutes of
    training on 2 CPU cores, by `--dry-run`'s estimate. The forest needs the extra `classic`.
    """
    return RunConfig(
        recipe="fashion_mnist",
        models=("lenet5_1998", "lenet5", "mlp", "hog_svm", "lbp_svm", "sift_svm", "hog_forest"),
        dataset="fashion_mnist",
        image_size=32,
        epochs=10,
        augment=(),
        measure_seconds=8,
    )


def paper() -> RunConfig:
    """Train AlexNet as the paper did: 90 epochs, a tenth of the learning rate at each plateau.

        ./launch.sh --recipe paper --dataset imagefolder --data-dir IMAGENET
        NPROC=2 ./launch.sh --recipe paper --parallel tower …

    Krizhevsky et al. (2012), section 5: windows of 224 px from images of 256 px, mirrored, with
    colour noise along the principal components, and ten crops of each test image. The paper took
    five to six days on two GPUs and reached 62.5 % top-1 on ILSVRC-2010. We have not run it in
    full; LAB.md has two epochs of its 32 px form on CIFAR-100.
    """
    return RunConfig(
        recipe="paper",
        models=("alexnet_two_tower",),
        epochs=90,
        batch_size=128,
        optimizer="momentum",  # as the paper writes its update, without Nesterov's look ahead
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="plateau",  # the paper lowered the rate by hand; this does it by its rule
        warmup=0.0,
        augment=("crop", "mirror", "pca"),
        crops=10,
    )


def paper_cifar() -> RunConfig:
    """Train the 32 px form of the paper's network by the paper's recipe.

        ./launch.sh --recipe paper_cifar --dataset cifar100

    The windows are those of padded images. LAB.md has the first two epochs of a run.
    """
    return dataclasses.replace(paper(), recipe="paper_cifar", models=("alexnet_two_tower_cifar",))


def imagenet() -> RunConfig:
    """Train ResNet-50 on ImageNet as most tables have it: 90 epochs, 0.1, 0.01 and 0.001.

        ./launch.sh --recipe imagenet --data-dir IMAGENET --workers 16 --precision bf16

    Boxes of 8 to 100 % of an image resized to 224 px, mirrored; SGD with momentum 0.9, weight decay
    1e-4, a tenth of the rate after each 30 epochs (He et al. 2016); top-1 and top-5. Any folder in
    ImageNet's layout will do, `train/CLASS` and `val/CLASS`; worker processes decode it as training
    goes. Meant for a GPU or several (NPROC=N shares the batch of 256). A GPU needs room for the
    activations of its share of the batch, which `--dry-run` estimates (`--accumulate 2` takes
    half of it at a time), and as many processor cores for --workers as keep it fed: the report's
    loader column beside its training step says whether they do. It wasn't run in full, so neither
    time nor accuracy is promised.
    """
    return RunConfig(
        recipe="imagenet",
        models=("resnet50",),
        dataset="imagefolder",
        epochs=90,
        batch_size=256,
        optimizer="momentum",
        lr=0.1,
        weight_decay=1e-4,
        schedule="steps",
        warmup=0.0,
        augment=("resized", "mirror"),
        workers=4,
    )


RECIPES: dict[str, Callable[[], RunConfig]] = {
    "quick": quick,
    "smoke": smoke,
    "standard": standard,
    "tutorial": tutorial,
    "cifar200": cifar200,
    "trained": trained,
    "speedrun": speedrun,
    "cpu30": cpu30,
    "finetune": finetune,
    "backbones": backbones,
    "paper": paper,
    "paper_cifar": paper_cifar,
    "imagenet": imagenet,
    "fashion_mnist": fashion_mnist,
}


def get_recipe(name: str) -> RunConfig:
    """Return a recipe's settings; ValueError with the nearest names if it is unknown."""
    if name not in RECIPES:
        raise ValueError(unknown("--recipe", name, RECIPES))
    return RECIPES[name]()


def choose_models(config: RunConfig) -> RunConfig:
    """Return a request whose recipe leaves its models open with those whose weights are at hand."""
    if config.models or config.recipe != "backbones":
        return config
    place = Path(config.pretrained)
    at_hand = tuple(find_models(place)) if place.is_dir() else BACKBONES
    return dataclasses.replace(config, models=at_hand)

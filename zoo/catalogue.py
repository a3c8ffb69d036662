"""Every model of the zoo, as data: a family a block, a model a row. No torch.

A row: name, image size, total stride, parameters, multiply-adds (both with 100 classes, at that image size), stem, and
what else is known. The learning rates are for batches of 128 with SGD, Nesterov momentum and a one-cycle schedule.
"""

from collections.abc import Mapping
from typing import Any, Literal

from zoo.spec import AS_PUBLISHED, ModelSpec


class Family:
    """What the models of one family share; called, it makes a row of the catalogue."""

    def __init__(self, name: str, year: int, paper: str, *, file: str, tags: tuple[str, ...] = (),
                 source: Literal["zoo", "torchvision", "timm"] = "zoo",
                 parallelise: Mapping[str, str] | None = None) -> None:  # fmt: skip
        self.shared: dict[str, Any] = {"family": name, "year": year, "paper": paper, "file": file, "source": source,
                                       "parallelise": parallelise or {}}  # fmt: skip
        self.tags = tags

    def __call__(self, name: str, image_size: int, total_stride: int, num_parameters: int, multiply_adds: int,
                 stem: str = AS_PUBLISHED, *, lr: float | None = None, tags: tuple[str, ...] = (),
                 **known: Any) -> ModelSpec:  # fmt: skip
        """Make the spec of one model."""
        return ModelSpec(name=name, image_size=image_size, total_stride=total_stride, num_parameters=num_parameters,
                         multiply_adds=multiply_adds, at=(100, image_size), stem=stem, tags=self.tags + tags,
                         defaults={} if lr is None else {"lr": lr}, **self.shared | known)  # fmt: skip


TOWERS = {"tower": "zoo.tower:tower_of_mesh", "owt": "zoo.tower:one_weird_trick"}
TWO_TOWERS = {**TOWERS, "devices": "zoo.two_tower:place"}
TRICK = {"owt": TOWERS["owt"]}
KRIZHEVSKY = "Krizhevsky et al., ImageNet classification with deep CNNs"

lenet = Family("lenet", 1998, "LeCun et al., Gradient-based learning applied to document recognition", file="lenet")
alexnet = Family("alexnet", 2012, KRIZHEVSKY, file="alexnet", parallelise=TOWERS)
two_tower = Family("alexnet", 2012, KRIZHEVSKY, file="two_tower", parallelise=TWO_TOWERS)
one_tower = Family("alexnet", 2012, KRIZHEVSKY, file="alexnet", parallelise=TRICK)
owt = Family("alexnet", 2014, "Krizhevsky, One weird trick, arXiv 1404.5997", file="alexnet", parallelise=TRICK)
squeezenet = Family("squeezenet", 2016, "Iandola et al., arXiv 1602.07360", file="lightweight", source="torchvision")
mobilenet = Family("mobilenet", 2018, "Sandler et al., arXiv 1801.04381", file="lightweight", source="torchvision")
shufflenet = Family("shufflenet", 2018, "Ma et al., arXiv 1807.11164", file="lightweight", source="torchvision")
resnet = Family("resnet", 2015, "He et al., arXiv 1512.03385", file="resnet", source="torchvision")

AT_32 = "conv1 with border 5, pooling with border 1, fc6 reads 1x1"
HE = "He initialisation, since the paper's sits at chance for long; init='paper' is a switch"
OURS_NOT_TV = "torchvision calls this network alexnet"

# fmt: off
CATALOGUE: tuple[ModelSpec, ...] = (
    lenet("lenet5", 32, 4, 69_656, 659_280, "3 channels, ReLU, max pooling", lr=0.1),

    two_tower("alexnet_two_tower", 224, 32, 57_277_924, 720_720_416, lr=0.01),
    two_tower("alexnet_two_tower_cifar", 32, 32, 20_577_764, 33_343_488, AT_32, lr=0.05, notes=HE),
    alexnet("alexnet_grouped", 224, 32, 57_277_924, 720_720_416, lr=0.01),
    alexnet("alexnet_grouped_cifar", 32, 32, 20_577_764, 33_343_488, AT_32, lr=0.05, notes=HE),
    one_tower("alexnet_single_tower", 224, 32, 58_691_044, 1_131_569_696, "no groups, no LRN", lr=0.02),
    one_tower("alexnet_single_tower_cifar", 32, 32, 21_990_884, 42_682_368, AT_32, lr=0.03, notes=HE),
    one_tower("alexnet_single_tower_narrow", 224, 32, 27_024_868, 1_099_907_616, "no groups, no LRN", lr=0.02),
    one_tower("alexnet_single_tower_narrow_cifar", 32, 32, 8_674_788, 29_370_368, AT_32, lr=0.03),
    one_tower("alexnet_half", 224, 32, 14_786_340, 309_348_624, "no groups, no LRN", lr=0.02),
    one_tower("alexnet_half_cifar", 32, 32, 5_611_300, 11_330_560, AT_32, lr=0.03, notes=HE),
    owt("alexnet_owt", 224, 32, 57_413_540, 710_502_080, lr=0.02, notes=OURS_NOT_TV),
    owt("alexnet_owt_cifar", 32, 32, 20_713_380, 33_189_888, AT_32, lr=0.03, notes=HE),

    resnet("resnet18", 224, 32, 11_227_812, 1_813_612_544, lr=0.05),
    resnet("resnet18_cifar", 32, 8, 11_220_132, 555_468_800, "conv1 3x3 of stride 1, no max pooling", lr=0.05),

    squeezenet("squeezenet1_1", 224, 16, 773_796, 271_276_736, lr=0.02),
    squeezenet("squeezenet1_1_cifar", 32, 8, 773_796, 24_248_320, "conv1 of stride 1, border 1", lr=0.02),
    mobilenet("mobilenet_v2", 224, 32, 2_351_972, 299_622_272, lr=0.05),
    mobilenet("mobilenet_v2_cifar", 32, 8, 2_351_972, 88_091_648, "conv1 and blocks of 24 maps of stride 1", lr=0.05),
    shufflenet("shufflenet_v2_x1_0", 224, 32, 1_356_104, 143_986_392, lr=0.05),
    shufflenet("shufflenet_v2_x1_0_cifar", 32, 8, 1_356_104, 45_094_272, "conv1 of stride 1, no max pooling", lr=0.05),
)
# fmt: on

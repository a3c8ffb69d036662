"""Every model of the zoo, as data: a family a block, a model a row. No torch.

A row: name, image size, total stride, parameters, multiply-adds (both with 100 classes, at that
image size), stem, and what else is known. The learning rates are for batches of 128 with SGD,
Nesterov momentum and a one-cycle schedule.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from zoo.spec import AS_PUBLISHED, ModelSpec


class Family:
    """What the models of one family share; called, it makes a row of the catalogue."""

    def __init__(
        self,
        name: str,
        year: int,
        paper: str,
        *,
        file: str,
        tags: tuple[str, ...] = (),
        source: Literal["zoo", "torchvision", "timm"] = "zoo",
        parallelise: Mapping[str, str] | None = None,
        lr: float | None = None,
        optimizer: str | None = None,
    ) -> None:
        self.shared: dict[str, Any] = {
            "family": name,
            "year": year,
            "paper": paper,
            "file": file,
            "source": source,
            "parallelise": parallelise or {},
        }
        self.tags, self.lr, self.optimizer = tags, lr, optimizer

    def __call__(
        self,
        name: str,
        image_size: int,
        total_stride: int,
        num_parameters: int,
        multiply_adds: int,
        stem: str = AS_PUBLISHED,
        *,
        lr: float | None = None,
        tags: tuple[str, ...] = (),
        **known: Any,
    ) -> ModelSpec:
        """Make the spec of one model."""
        own = {"optimizer": self.optimizer, "lr": self.lr if lr is None else lr}
        defaults = {key: value for key, value in own.items() if value is not None}
        return ModelSpec(
            name=name,
            image_size=image_size,
            total_stride=total_stride,
            num_parameters=num_parameters,
            multiply_adds=multiply_adds,
            at=(100, image_size),
            stem=stem,
            tags=self.tags + tags,
            defaults=defaults,
            **self.shared | known,
        )


TOWERS = {"tower": "zoo.tower:tower_of_mesh", "owt": "zoo.tower:one_weird_trick"}
TWO_TOWERS = {**TOWERS, "devices": "zoo.two_tower:place"}
TRICK = {"owt": TOWERS["owt"]}
KRIZHEVSKY = "Krizhevsky et al., ImageNet classification with deep CNNs"

lenet = Family(
    "lenet",
    1998,
    "LeCun et al., Gradient-based learning applied to document recognition",
    file="lenet",
)
alexnet = Family("alexnet", 2012, KRIZHEVSKY, file="alexnet", parallelise=TOWERS)
two_tower = Family("alexnet", 2012, KRIZHEVSKY, file="two_tower", parallelise=TWO_TOWERS)
one_tower = Family("alexnet", 2012, KRIZHEVSKY, file="alexnet", parallelise=TRICK)
owt = Family(
    "alexnet",
    2014,
    "Krizhevsky, One weird trick, arXiv 1404.5997",
    file="alexnet",
    parallelise=TRICK,
)
classic = partial(Family, file="classic")
mlp = classic(
    "mlp",
    1986,
    "Rumelhart, Hinton, Williams, Learning representations by back-propagating errors",
    lr=0.05,
)
convnet = classic(
    "convnet",
    1989,
    "LeCun et al., Backpropagation applied to handwritten zip code recognition",
    lr=0.05,
)
cuda = classic("cuda_convnet", 2012, "Krizhevsky, cuda-convnet, layers-18pct", lr=0.05)
nin = classic("nin", 2013, "Lin, Chen, Yan, arXiv 1312.4400", lr=0.02)
all_cnn = classic("all_cnn", 2014, "Springenberg et al., arXiv 1412.6806", lr=0.02)
vgg = Family("vgg", 2014, "Simonyan, Zisserman, arXiv 1409.1556", file="vgg", source="torchvision")
googlenet = Family(
    "googlenet",
    2014,
    "Szegedy et al., arXiv 1409.4842",
    file="inception",
    source="torchvision",
    lr=0.05,
)
inception = Family(
    "inception",
    2015,
    "Szegedy et al., arXiv 1512.00567",
    file="inception",
    source="torchvision",
    lr=0.05,
)
xception = Family(
    "xception", 2016, "Chollet, arXiv 1610.02357", file="inception", source="timm", lr=0.05
)
nasnet = Family(
    "nasnet", 2017, "Zoph et al., arXiv 1707.07012", file="inception", source="timm", lr=0.05
)
resnet = Family("resnet", 2015, "He et al., arXiv 1512.03385", file="resnet", lr=0.1)
preact = Family("preact_resnet", 2016, "He et al., arXiv 1603.05027", file="resnet", lr=0.1)
wide = Family("wide_resnet", 2016, "Zagoruyko, Komodakis, arXiv 1605.07146", file="resnet", lr=0.1)
resnext = Family(
    "resnext", 2016, "Xie et al., arXiv 1611.05431", file="resnet", source="torchvision", lr=0.1
)
se_resnet = Family(
    "se_resnet", 2017, "Hu et al., arXiv 1709.01507", file="resnet", source="timm", lr=0.1
)
densenet = Family(
    "densenet",
    2016,
    "Huang et al., arXiv 1608.06993",
    file="densenet",
    source="torchvision",
    lr=0.1,
)
light = partial(Family, file="lightweight", tags=("lightweight",))
squeezenet = light(
    "squeezenet",
    2016,
    "Iandola et al., arXiv 1602.07360",
    source="torchvision",
    optimizer="adamw",
    lr=1e-3,
)
mobilenet_v1 = light("mobilenet", 2017, "Howard et al., arXiv 1704.04861", source="timm", lr=0.1)
mobilenet_v2 = light(
    "mobilenet", 2018, "Sandler et al., arXiv 1801.04381", source="torchvision", lr=0.1
)
mobilenet_v3 = light(
    "mobilenet", 2019, "Howard et al., arXiv 1905.02244", source="torchvision", lr=0.1
)
mobilenet_v4 = light("mobilenet", 2024, "Qin et al., arXiv 2404.10518", source="timm", lr=0.1)
shufflenet_v1 = light("shufflenet", 2017, "Zhang et al., arXiv 1707.01083", lr=0.1)
shufflenet_v2 = light(
    "shufflenet", 2018, "Ma et al., arXiv 1807.11164", source="torchvision", lr=0.1
)
mnasnet = light("mnasnet", 2018, "Tan et al., arXiv 1807.11626", source="torchvision", lr=0.1)
efficientnet = light(
    "efficientnet", 2019, "Tan, Le, arXiv 1905.11946", source="torchvision", lr=0.1
)
ghostnet = light("ghostnet", 2019, "Han et al., arXiv 1911.11907", source="timm", lr=0.1)
vit = Family(
    "vit",
    2020,
    "Dosovitskiy et al., arXiv 2010.11929",
    file="vit",
    source="timm",
    tags=("transformer",),
    lr=0.02,
)
speedrun = Family(
    "speedrun", 2024, "Jordan, arXiv 2404.00498", file="speedrun", optimizer="nmuon", lr=0.08
)

AT_32 = "conv1 with border 5, pooling with border 1, fc6 reads 1x1"
SMALL_STEM = "conv1 3x3 of stride 1, no max pooling"
VGG_AT_32 = "hidden layers of 512 units on maps of 1x1"
HE = (
    "centred He initialisation, since the paper's sits at chance for long; init='paper' is a switch"
)
OURS_NOT_TV = "torchvision calls this network alexnet"

# fmt: off
CATALOGUE: tuple[ModelSpec, ...] = (
    lenet("lenet5", 32, 4, 69_656, 659_280, "3 channels, ReLU, max pooling", lr=0.05),
    lenet("lenet5_1998", 32, 4, 60_000, 415_680, lr=0.05, in_channels=1, notes="C3 is computed dense"),

    two_tower("alexnet_two_tower", 224, 32, 57_277_924, 720_720_416, lr=0.01),
    two_tower("alexnet_two_tower_cifar", 32, 32, 20_577_764, 33_343_488, AT_32, lr=0.03, notes=HE),
    alexnet("alexnet_grouped", 224, 32, 57_277_924, 720_720_416, lr=0.01),
    alexnet("alexnet_grouped_cifar", 32, 32, 20_577_764, 33_343_488, AT_32, lr=0.03, notes=HE),
    one_tower("alexnet_single_tower", 224, 32, 58_691_044, 1_131_569_696, "no groups, no LRN", lr=0.02),
    one_tower("alexnet_single_tower_cifar", 32, 32, 21_990_884, 42_682_368, AT_32, lr=0.03, notes=HE),
    one_tower("alexnet_single_tower_narrow", 224, 32, 27_024_868, 1_099_907_616, "no groups, no LRN", lr=0.02),
    one_tower("alexnet_single_tower_narrow_cifar", 32, 32, 8_674_788, 29_370_368, AT_32, lr=0.03),
    one_tower("alexnet_half", 224, 32, 14_786_340, 309_348_624, "no groups, no LRN", lr=0.02),
    one_tower("alexnet_half_cifar", 32, 32, 5_611_300, 11_330_560, AT_32, lr=0.03, notes=HE),
    owt("alexnet_owt", 224, 32, 57_413_540, 710_502_080, lr=0.02, notes=OURS_NOT_TV),
    owt("alexnet_owt_cifar", 32, 32, 20_713_380, 33_189_888, AT_32, lr=0.03, notes=HE),

    mlp("mlp", 32, 1, 1_730_404, 1_729_536),
    convnet("convnet", 32, 4, 2_168_356, 7_751_680),
    cuda("cuda_convnet", 32, 8, 181_828, 12_390_400),
    nin("nin", 32, 4, 984_356, 223_592_448),
    all_cnn("all_cnn", 32, 4, 1_387_108, 282_279_936),

    vgg("vgg11", 224, 32, 129_176_036, 7_605_403_648, lr=0.01),
    vgg("vgg11_cifar", 32, 32, 9_797_092, 153_339_904, VGG_AT_32, lr=0.01),
    vgg("vgg11_bn", 224, 32, 129_181_540, 7_605_403_648, lr=0.05),
    vgg("vgg11_bn_cifar", 32, 32, 9_802_596, 153_339_904, VGG_AT_32, lr=0.05),
    vgg("vgg13", 224, 32, 129_360_548, 11_304_779_776, lr=0.01),
    vgg("vgg13_cifar", 32, 32, 9_981_604, 228_837_376, VGG_AT_32, lr=0.01),
    vgg("vgg13_bn", 224, 32, 129_366_436, 11_304_779_776, lr=0.05),
    vgg("vgg13_bn_cifar", 32, 32, 9_987_492, 228_837_376, VGG_AT_32, lr=0.05),
    vgg("vgg16", 224, 32, 134_670_244, 15_466_577_920, lr=0.01),
    vgg("vgg16_cifar", 32, 32, 15_291_300, 313_772_032, VGG_AT_32, lr=0.01),
    vgg("vgg16_bn", 224, 32, 134_678_692, 15_466_577_920, lr=0.05),
    vgg("vgg16_bn_cifar", 32, 32, 15_299_748, 313_772_032, VGG_AT_32, lr=0.05),
    vgg("vgg19", 224, 32, 139_979_940, 19_628_376_064, lr=0.01),
    vgg("vgg19_cifar", 32, 32, 20_600_996, 398_706_688, VGG_AT_32, lr=0.01),
    vgg("vgg19_bn", 224, 32, 139_990_948, 19_628_376_064, lr=0.05),
    vgg("vgg19_bn_cifar", 32, 32, 20_612_004, 398_706_688, VGG_AT_32, lr=0.05),

    googlenet("googlenet", 224, 32, 5_702_404, 1_497_454_592),
    googlenet("googlenet_cifar", 32, 8, 5_694_724, 452_268_032, "conv1 3x3 of stride 1, one max pooling less"),
    inception("inception_v3", 299, 32, 21_990_468, 5_711_372_896),
    inception("inception_v3_cifar", 32, 8, 21_990_468, 513_581_440, "conv1 of stride 1, one max pooling less"),
    xception("xception", 299, 32, 21_011_852, 8_355_560_296),
    xception("xception_cifar", 32, 8, 21_011_852, 1_061_852_560, "conv1 and block1 of stride 1"),
    nasnet("nasnet_a_mobile", 224, 32, 4_338_678, 562_688_416),
    nasnet("nasnet_a_mobile_cifar", 32, 16, 4_338_678, 46_052_864, "conv0 of stride 1, border 1"),

    resnet("resnet20", 32, 4, 275_572, 40_556_800),
    resnet("resnet32", 32, 4, 470_004, 68_868_352),
    resnet("resnet44", 32, 4, 664_436, 97_179_904),
    resnet("resnet56", 32, 4, 858_868, 125_491_456),
    resnet("resnet110", 32, 4, 1_733_812, 252_893_440),
    resnet("resnet18", 224, 32, 11_227_812, 1_813_612_544, source="torchvision"),
    resnet("resnet18_cifar", 32, 8, 11_220_132, 555_468_800, SMALL_STEM, source="torchvision"),
    resnet("resnet34", 224, 32, 21_335_972, 3_663_300_608, source="torchvision"),
    resnet("resnet34_cifar", 32, 8, 21_328_292, 1_159_448_576, SMALL_STEM, source="torchvision"),
    resnet("resnet50", 224, 32, 23_712_932, 4_087_341_056, source="torchvision"),
    resnet("resnet50_cifar", 32, 8, 23_705_252, 1_298_014_208, SMALL_STEM, source="torchvision"),
    preact("preact_resnet18", 32, 8, 11_218_340, 555_468_800, "3x3 of stride 1, no max pooling"),
    wide("wide_resnet16_4", 32, 4, 2_772_020, 392_635_392),
    wide("wide_resnet28_10", 32, 4, 36_536_884, 5_243_386_368),
    resnext("resnext50_32x4d", 224, 32, 23_184_804, 4_228_636_672),
    resnext("resnext50_32x4d_cifar", 32, 8, 23_177_124, 1_344_151_552, SMALL_STEM),
    se_resnet("se_resnet18", 224, 32, 11_317_924, 1_813_700_608),
    se_resnet("se_resnet18_cifar", 32, 8, 11_310_244, 555_556_864, SMALL_STEM),
    se_resnet("se_resnet50", 224, 32, 26_243_924, 4_089_856_000),
    se_resnet("se_resnet50_cifar", 32, 8, 26_236_244, 1_300_529_152, SMALL_STEM),
    densenet("densenet121", 224, 32, 7_056_356, 2_833_240_064),
    densenet("densenet121_cifar", 32, 8, 7_048_676, 888_442_880, SMALL_STEM),
    densenet("densenet_bc_100_12", 32, 4, 800_032, 287_960_472),

    squeezenet("squeezenet1_0", 224, 16, 786_724, 741_049_376),
    squeezenet("squeezenet1_0_cifar", 32, 8, 786_724, 65_077_248, "conv1 of stride 1, border 3"),
    squeezenet("squeezenet1_1", 224, 16, 773_796, 271_276_736),
    squeezenet("squeezenet1_1_cifar", 32, 8, 773_796, 24_248_320, "conv1 of stride 1, border 1"),
    mobilenet_v1("mobilenet_v1", 224, 32, 3_309_476, 567_818_752),
    mobilenet_v1("mobilenet_v1_cifar", 32, 8, 3_309_476, 175_648_768, "conv1 and blocks of 128 maps of stride 1"),
    mobilenet_v2("mobilenet_v2", 224, 32, 2_351_972, 299_622_272),
    mobilenet_v2("mobilenet_v2_cifar", 32, 8, 2_351_972, 88_091_648, "conv1 and blocks of 24 maps of stride 1"),
    mobilenet_v3("mobilenet_v3_small", 224, 32, 1_620_356, 55_588_800),
    mobilenet_v3("mobilenet_v3_small_cifar", 32, 8, 1_620_356, 17_599_488, "conv1 and first block of stride 1"),
    mobilenet_v4("mobilenet_v4_conv_small", 224, 32, 2_621_124, 184_853_568),
    mobilenet_v4("mobilenet_v4_conv_small_cifar", 32, 8, 2_621_124, 58_619_904, "first two convolutions of stride 1"),
    shufflenet_v1("shufflenet_v1", 224, 32, 1_000_828, 136_596_672),
    shufflenet_v1("shufflenet_v1_cifar", 32, 8, 1_000_828, 42_676_992, "conv1 of stride 1, no max pooling"),
    shufflenet_v2("shufflenet_v2_x1_0", 224, 32, 1_356_104, 143_986_392),
    shufflenet_v2("shufflenet_v2_x1_0_cifar", 32, 8, 1_356_104, 45_094_272, "conv1 of stride 1, no max pooling"),
    mnasnet("mnasnet1_0", 224, 32, 3_230_412, 313_263_872),
    mnasnet("mnasnet1_0_cifar", 32, 8, 3_230_412, 94_905_344, "conv1 and first stage of stride 1"),
    efficientnet("efficientnet_b0", 224, 32, 4_135_648, 384_662_752),
    efficientnet("efficientnet_b0_cifar", 32, 8, 4_135_648, 116_282_368, "conv1 and blocks of 24 maps of stride 1"),
    ghostnet("ghostnet", 224, 32, 4_029_608, 139_998_512),
    ghostnet("ghostnet_cifar", 32, 8, 4_029_608, 43_237_952, "conv1 and first strided block of stride 1"),

    vit("vit_tiny", 224, 16, 5_543_716, 1_074_678_528),
    vit("vit_tiny_cifar", 32, 4, 5_380_132, 345_656_064, "patches of 4 px instead of 16"),
    speedrun("speedrun", 32, 24, 1_995_832, 118_170_400),
)
# fmt: on

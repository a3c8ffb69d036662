"""Every model of the zoo, as data: a family a line, its models a row each below it. No torch.

A row of `Family.row`: name, image size in pixels, total stride, parameters, multiply-adds (both
with 100 classes, at that image size), and what else is known. `Family.small` is a row of a form
for 32 px. The learning rates are for batches of 128 with SGD, Nesterov momentum and a one-cycle
schedule.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from zoo.spec import AS_PUBLISHED, ONCE, ModelSpec, Source

SMALL_IMAGE_SIZE = 32  # pixels, of CIFAR


@dataclass(frozen=True)
class Family:
    """What the models of one family share, and how a row of the catalogue is made of it.

    `file` is the module under `zoo` that builds them; `stem` and `small_stem` say in words what
    fits the published form and the form for 32 px to their images; `lr` and `optimizer` are the
    defaults of a training; `known` is what else its specs say.
    """

    name: str
    year: int
    paper: str
    file: str
    source: Source = "zoo"
    lr: float | None = None
    optimizer: str | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    parallelise: Mapping[str, str] = field(default_factory=dict)
    stem: str = AS_PUBLISHED
    small_stem: str = AS_PUBLISHED

    def row(
        self,
        name: str,
        image_size: int,
        total_stride: int,
        num_parameters: int,
        multiply_adds: int,
        *,
        lr: float | None = None,
        **known: Any,
    ) -> ModelSpec:
        """Return the spec of one model; what is `known` of it overrides what the family says."""
        defaults: dict[str, float | int | str] = {}  # only what is known: None isn't a default
        if self.optimizer is not None:
            defaults["optimizer"] = self.optimizer
        rate = self.lr if lr is None else lr
        if rate is not None:
            defaults["lr"] = rate
        shared: dict[str, Any] = {
            "source": self.source,
            "stem": self.stem,
            "parallelise": self.parallelise,
            **self.known,
        }
        return ModelSpec(
            name=name,
            family=self.name,
            file=self.file,
            year=self.year,
            paper=self.paper,
            image_size=image_size,
            total_stride=total_stride,
            num_parameters=num_parameters,
            multiply_adds=multiply_adds,
            at=(100, image_size),  # for which tests/test_zoo.py counts every row again
            tags=self.tags,
            defaults=defaults,
            **{**shared, **known},
        )

    def small(
        self, name: str, total_stride: int, num_parameters: int, multiply_adds: int, **known: Any
    ) -> ModelSpec:
        """Return the spec of a form for 32 px, with the family's `small_stem`."""
        known = {"stem": self.small_stem, **known}
        return self.row(
            name, SMALL_IMAGE_SIZE, total_stride, num_parameters, multiply_adds, **known
        )


# LeNet-5: zoo/lenet.py
LECUN = "LeCun et al., Gradient-based learning applied to document recognition"
lenet = Family("lenet", 1998, LECUN, "lenet", lr=0.05)
DENSE_C3 = "C3 is computed dense; at a rate of 0.05 its squashing units stick at their limits"
LENET = (
    lenet.row("lenet5", 32, 4, 69_656, 659_280, stem="3 channels, ReLU, max pooling"),
    lenet.row("lenet5_1998", 32, 4, 60_000, 415_680, in_channels=1, lr=0.01, notes=DENSE_C3),
)

# AlexNet: zoo/two_tower.py for the towers as modules of their own, else zoo/alexnet.py. What can
# be shared by several processes or devices names the function that does so.
TOWERS = {"tower": "zoo.tower:tower_of_mesh", "owt": "zoo.tower:one_weird_trick"}
TWO_TOWERS = {**TOWERS, "devices": "zoo.two_tower:place"}
TRICK = {"owt": TOWERS["owt"]}
KRIZHEVSKY = "Krizhevsky et al., ImageNet classification with deep CNNs"
WEIRD_TRICK = "Krizhevsky, One weird trick, arXiv 1404.5997"
AT_32 = "conv1 with border 5, pooling with border 1, fc6 reads 1x1"
HE = (
    "centred He initialisation, since the paper's sits at chance for long; init='paper' is a switch"
)
OURS_NOT_TV = "torchvision calls this network alexnet"
the_paper = partial(Family, "alexnet", 2012, KRIZHEVSKY, small_stem=AT_32)
two_tower = the_paper("two_tower", parallelise=TWO_TOWERS)
alexnet = the_paper("alexnet", parallelise=TOWERS)
one_tower = the_paper("alexnet", parallelise=TRICK, stem="no groups, no LRN")
owt = Family("alexnet", 2014, WEIRD_TRICK, "alexnet", parallelise=TRICK, small_stem=AT_32)
ALEXNET = (
    two_tower.row("alexnet_two_tower", 224, 32, 57_277_924, 720_720_416, lr=0.01),
    two_tower.small("alexnet_two_tower_cifar", 32, 20_577_764, 33_343_488, lr=0.03, notes=HE),
    alexnet.row("alexnet_grouped", 224, 32, 57_277_924, 720_720_416, lr=0.01),
    alexnet.small("alexnet_grouped_cifar", 32, 20_577_764, 33_343_488, lr=0.03, notes=HE),
    one_tower.row("alexnet_single_tower", 224, 32, 58_691_044, 1_131_569_696, lr=0.02),
    one_tower.small("alexnet_single_tower_cifar", 32, 21_990_884, 42_682_368, lr=0.03, notes=HE),
    one_tower.row("alexnet_single_tower_narrow", 224, 32, 27_024_868, 1_099_907_616, lr=0.02),
    one_tower.small("alexnet_single_tower_narrow_cifar", 32, 8_674_788, 29_370_368, lr=0.03),
    one_tower.row("alexnet_half", 224, 32, 14_786_340, 309_348_624, lr=0.02),
    one_tower.small("alexnet_half_cifar", 32, 5_611_300, 11_330_560, lr=0.03, notes=HE),
    owt.row("alexnet_owt", 224, 32, 57_413_540, 710_502_080, lr=0.02, notes=OURS_NOT_TV),
    owt.small("alexnet_owt_cifar", 32, 20_713_380, 33_189_888, lr=0.03, notes=HE),
)

# Plain networks from before residual connections: zoo/plain.py
RUMELHART = "Rumelhart, Hinton, Williams, Learning representations by back-propagating errors"
ZIP_CODES = "LeCun et al., Backpropagation applied to handwritten zip code recognition"
CUDA_CONVNET = "Krizhevsky, cuda-convnet, layers-18pct"
mlp = Family("mlp", 1986, RUMELHART, "plain", lr=0.05)
convnet = Family("convnet", 1989, ZIP_CODES, "plain", lr=0.05)
cuda = Family("cuda_convnet", 2012, CUDA_CONVNET, "plain", lr=0.05)
nin = Family("nin", 2013, "Lin, Chen, Yan, arXiv 1312.4400", "plain", lr=0.02)
all_cnn = Family("all_cnn", 2014, "Springenberg et al., arXiv 1412.6806", "plain", lr=0.02)
CLASSIC = (
    mlp.row("mlp", 32, 1, 1_730_404, 1_729_536),
    convnet.row("convnet", 32, 4, 2_168_356, 7_751_680),
    cuda.row("cuda_convnet", 32, 8, 181_828, 12_390_400),
    nin.row("nin", 32, 4, 984_356, 223_592_448),
    all_cnn.row("all_cnn", 32, 4, 1_387_108, 282_279_936),
)

# VGG: zoo/vgg.py. A learning rate of 0.01 without batch normalisation, 0.05 with it.
VGG_PAPER = "Simonyan, Zisserman, arXiv 1409.1556"
VGG_AT_32 = "hidden layers of 512 units on maps of 1x1"
vgg = Family("vgg", 2014, VGG_PAPER, "vgg", "torchvision", small_stem=VGG_AT_32)
VGG = (
    vgg.row("vgg11", 224, 32, 129_176_036, 7_605_403_648, lr=0.01),
    vgg.small("vgg11_cifar", 32, 9_797_092, 153_339_904, lr=0.01),
    vgg.row("vgg11_bn", 224, 32, 129_181_540, 7_605_403_648, lr=0.05),
    vgg.small("vgg11_bn_cifar", 32, 9_802_596, 153_339_904, lr=0.05),
    vgg.row("vgg13", 224, 32, 129_360_548, 11_304_779_776, lr=0.01),
    vgg.small("vgg13_cifar", 32, 9_981_604, 228_837_376, lr=0.01),
    vgg.row("vgg13_bn", 224, 32, 129_366_436, 11_304_779_776, lr=0.05),
    vgg.small("vgg13_bn_cifar", 32, 9_987_492, 228_837_376, lr=0.05),
    vgg.row("vgg16", 224, 32, 134_670_244, 15_466_577_920, lr=0.01),
    vgg.small("vgg16_cifar", 32, 15_291_300, 313_772_032, lr=0.01),
    vgg.row("vgg16_bn", 224, 32, 134_678_692, 15_466_577_920, lr=0.05),
    vgg.small("vgg16_bn_cifar", 32, 15_299_748, 313_772_032, lr=0.05),
    vgg.row("vgg19", 224, 32, 139_979_940, 19_628_376_064, lr=0.01),
    vgg.small("vgg19_cifar", 32, 20_600_996, 398_706_688, lr=0.01),
    vgg.row("vgg19_bn", 224, 32, 139_990_948, 19_628_376_064, lr=0.05),
    vgg.small("vgg19_bn_cifar", 32, 20_612_004, 398_706_688, lr=0.05),
)

# Networks of parallel branches: zoo/inception.py
branches = partial(Family, file="inception", lr=0.05)
googlenet = branches(
    "googlenet",
    2014,
    "Szegedy et al., arXiv 1409.4842",
    source="torchvision",
    small_stem="conv1 3x3 of stride 1, one max pooling less",
)
inception = branches(
    "inception",
    2015,
    "Szegedy et al., arXiv 1512.00567",
    source="torchvision",
    small_stem="conv1 of stride 1, one max pooling less",
)
xception = branches(
    "xception",
    2016,
    "Chollet, arXiv 1610.02357",
    source="timm",
    small_stem="conv1 and block1 of stride 1",
)
nasnet = branches(
    "nasnet",
    2017,
    "Zoph et al., arXiv 1707.07012",
    source="timm",
    small_stem="conv0 of stride 1, border 1",
)
INCEPTION = (
    googlenet.row("googlenet", 224, 32, 5_702_404, 1_497_454_592),
    googlenet.small("googlenet_cifar", 8, 5_694_724, 452_268_032),
    inception.row("inception_v3", 299, 32, 21_990_468, 5_711_372_896),
    inception.small("inception_v3_cifar", 8, 21_990_468, 513_581_440),
    xception.row("xception", 299, 32, 21_011_852, 8_355_560_296),
    xception.small("xception_cifar", 8, 21_011_852, 1_061_852_560),
    nasnet.row("nasnet_a_mobile", 224, 32, 4_338_678, 562_688_416),
    nasnet.small("nasnet_a_mobile_cifar", 16, 4_338_678, 46_052_864),
)

# Residual networks: zoo/resnet.py; densely connected ones: zoo/densenet.py
SMALL_STEM = "conv1 3x3 of stride 1, no max pooling"
PREACT_STEM = "3x3 of stride 1, no max pooling"
residual = partial(Family, file="resnet", lr=0.1, small_stem=SMALL_STEM)
resnet = residual("resnet", 2015, "He et al., arXiv 1512.03385")
preact = residual("preact_resnet", 2016, "He et al., arXiv 1603.05027")
wide = residual("wide_resnet", 2016, "Zagoruyko, Komodakis, arXiv 1605.07146")
resnext = residual("resnext", 2016, "Xie et al., arXiv 1611.05431", source="torchvision")
se_resnet = residual("se_resnet", 2017, "Hu et al., arXiv 1709.01507", source="timm")
densenet = residual(
    "densenet", 2016, "Huang et al., arXiv 1608.06993", file="densenet", source="torchvision"
)
RESIDUAL = (
    resnet.row("resnet20", 32, 4, 275_572, 40_556_800),
    resnet.row("resnet32", 32, 4, 470_004, 68_868_352),
    resnet.row("resnet44", 32, 4, 664_436, 97_179_904),
    resnet.row("resnet56", 32, 4, 858_868, 125_491_456),
    resnet.row("resnet110", 32, 4, 1_733_812, 252_893_440),
    resnet.row("resnet18", 224, 32, 11_227_812, 1_813_612_544, source="torchvision"),
    resnet.small("resnet18_cifar", 8, 11_220_132, 555_468_800, source="torchvision"),
    resnet.row("resnet34", 224, 32, 21_335_972, 3_663_300_608, source="torchvision"),
    resnet.small("resnet34_cifar", 8, 21_328_292, 1_159_448_576, source="torchvision"),
    resnet.row("resnet50", 224, 32, 23_712_932, 4_087_341_056, source="torchvision"),
    resnet.small("resnet50_cifar", 8, 23_705_252, 1_298_014_208, source="torchvision"),
    preact.row("preact_resnet18", 32, 8, 11_218_340, 555_468_800, stem=PREACT_STEM),
    wide.row("wide_resnet16_4", 32, 4, 2_772_020, 392_635_392),
    wide.row("wide_resnet28_10", 32, 4, 36_536_884, 5_243_386_368),
    resnext.row("resnext50_32x4d", 224, 32, 23_184_804, 4_228_636_672),
    resnext.small("resnext50_32x4d_cifar", 8, 23_177_124, 1_344_151_552),
    se_resnet.row("se_resnet18", 224, 32, 11_317_924, 1_813_700_608),
    se_resnet.small("se_resnet18_cifar", 8, 11_310_244, 555_556_864),
    se_resnet.row("se_resnet50", 224, 32, 26_243_924, 4_089_856_000),
    se_resnet.small("se_resnet50_cifar", 8, 26_236_244, 1_300_529_152),
    densenet.row("densenet121", 224, 32, 7_056_356, 2_833_240_064),
    densenet.small("densenet121_cifar", 8, 7_048_676, 888_442_880),
    densenet.row("densenet_bc_100_12", 32, 4, 800_032, 287_960_472),
)

# Networks for small machines: zoo/lightweight.py. A form for 32 px drops the strides of its first
# layers, which would leave a single pixel of so small an image.
BORDER_3, BORDER_1 = "conv1 of stride 1, border 3", "conv1 of stride 1, border 1"
NO_POOL = "conv1 of stride 1, no max pooling"
MAPS_OF_24 = "conv1 and blocks of 24 maps of stride 1"
MAPS_OF_128 = "conv1 and blocks of 128 maps of stride 1"
FIRST_BLOCK = "conv1 and first block of stride 1"
FIRST_STAGE = "conv1 and first stage of stride 1"
FIRST_STRIDED = "conv1 and first strided block of stride 1"
TWO_CONVOLUTIONS = "first two convolutions of stride 1"
light = partial(Family, file="lightweight", tags=("lightweight",), lr=0.1)
light_tv = partial(light, source="torchvision")
light_timm = partial(light, source="timm")
squeezenet = light_tv(
    "squeezenet", 2016, "Iandola et al., arXiv 1602.07360", optimizer="adamw", lr=1e-3
)
mobilenet_v1 = light_timm(
    "mobilenet", 2017, "Howard et al., arXiv 1704.04861", small_stem=MAPS_OF_128
)
mobilenet_v2 = light_tv(
    "mobilenet", 2018, "Sandler et al., arXiv 1801.04381", small_stem=MAPS_OF_24
)
mobilenet_v3 = light_tv(
    "mobilenet", 2019, "Howard et al., arXiv 1905.02244", small_stem=FIRST_BLOCK
)
mobilenet_v4 = light_timm(
    "mobilenet", 2024, "Qin et al., arXiv 2404.10518", small_stem=TWO_CONVOLUTIONS
)
shufflenet_v1 = light("shufflenet", 2017, "Zhang et al., arXiv 1707.01083", small_stem=NO_POOL)
shufflenet_v2 = light_tv("shufflenet", 2018, "Ma et al., arXiv 1807.11164", small_stem=NO_POOL)
mnasnet = light_tv("mnasnet", 2018, "Tan et al., arXiv 1807.11626", small_stem=FIRST_STAGE)
efficientnet = light_tv("efficientnet", 2019, "Tan, Le, arXiv 1905.11946", small_stem=MAPS_OF_24)
ghostnet = light_timm("ghostnet", 2019, "Han et al., arXiv 1911.11907", small_stem=FIRST_STRIDED)
LIGHTWEIGHT = (
    squeezenet.row("squeezenet1_0", 224, 16, 786_724, 741_049_376),
    squeezenet.small("squeezenet1_0_cifar", 8, 786_724, 65_077_248, stem=BORDER_3),
    squeezenet.row("squeezenet1_1", 224, 16, 773_796, 271_276_736),
    squeezenet.small("squeezenet1_1_cifar", 8, 773_796, 24_248_320, stem=BORDER_1),
    mobilenet_v1.row("mobilenet_v1", 224, 32, 3_309_476, 567_818_752),
    mobilenet_v1.small("mobilenet_v1_cifar", 8, 3_309_476, 175_648_768),
    mobilenet_v2.row("mobilenet_v2", 224, 32, 2_351_972, 299_622_272),
    mobilenet_v2.small("mobilenet_v2_cifar", 8, 2_351_972, 88_091_648),
    mobilenet_v3.row("mobilenet_v3_small", 224, 32, 1_620_356, 55_588_800),
    mobilenet_v3.small("mobilenet_v3_small_cifar", 8, 1_620_356, 17_599_488),
    mobilenet_v4.row("mobilenet_v4_conv_small", 224, 32, 2_621_124, 184_853_568),
    mobilenet_v4.small("mobilenet_v4_conv_small_cifar", 8, 2_621_124, 58_619_904),
    shufflenet_v1.row("shufflenet_v1", 224, 32, 1_000_828, 136_596_672),
    shufflenet_v1.small("shufflenet_v1_cifar", 8, 1_000_828, 42_676_992),
    shufflenet_v2.row("shufflenet_v2_x1_0", 224, 32, 1_356_104, 143_986_392),
    shufflenet_v2.small("shufflenet_v2_x1_0_cifar", 8, 1_356_104, 45_094_272),
    mnasnet.row("mnasnet1_0", 224, 32, 3_230_412, 313_263_872),
    mnasnet.small("mnasnet1_0_cifar", 8, 3_230_412, 94_905_344),
    efficientnet.row("efficientnet_b0", 224, 32, 4_135_648, 384_662_752),
    efficientnet.small("efficientnet_b0_cifar", 8, 4_135_648, 116_282_368),
    ghostnet.row("ghostnet", 224, 32, 4_029_608, 139_998_512),
    ghostnet.small("ghostnet_cifar", 8, 4_029_608, 43_237_952),
)

# A vision transformer and a network for short budgets: zoo/vit.py, zoo/speedrun.py
vit = Family(
    "vit",
    2020,
    "Dosovitskiy et al., arXiv 2010.11929",
    "vit",
    "timm",
    lr=0.02,
    tags=("transformer",),
    small_stem="patches of 4 px instead of 16",
)
speedrun = Family(
    "speedrun", 2024, "Jordan, arXiv 2404.00498", "speedrun", optimizer="nmuon", lr=0.08
)
speedrun_cpu = Family(
    "speedrun",
    2026,
    "ours, after Jordan, arXiv 2404.00498",
    "speedrun",
    optimizer="nmuon",
    lr=0.02,
)
OTHERS = (
    vit.row("vit_tiny", 224, 16, 5_543_716, 1_074_678_528),
    vit.small("vit_tiny_cifar", 4, 5_380_132, 345_656_064),
    speedrun.row("speedrun", 32, 24, 1_995_832, 118_170_400),
    speedrun_cpu.row("speedrun_cpu", 32, 8, 1_083_364, 33_049_344),
)

# Models from before networks learnt their features: zoo/classical.py. They are fitted once, and
# take pixels as they are stored, from 0 to 255. Their counts are of what is fitted: products with
# codes and weights; gradients and histograms are no multiply-adds of layers.
RAW = {"mean": (0.0,), "std": (1 / 255,), "learner": ONCE}
DALAL = "Dalal, Triggs, Histograms of oriented gradients for human detection"
BREIMAN = "Breiman, Random forests"
OJALA = "Ojala, Pietikäinen, Mäenpää, Multiresolution grey-scale … local binary patterns"
LOWE = "Lowe, Distinctive image features from scale-invariant keypoints"
COATES = "Coates, Lee, Ng, An analysis of single-layer networks in unsupervised feature learning"
fitted = partial(Family, file="classical", known=RAW)
hog = fitted("hog", 2005, DALAL, stem="blocks of 8 px, 2 px apart")
forest = fitted("forest", 2001, BREIMAN, stem="7x7 blocks of 8 px")
lbp = fitted("lbp", 2002, OJALA, stem="histograms of 8 px, 2 px apart")
sift = fitted("sift", 2004, LOWE, stem="descriptors of 15 px, 2 px apart")
patches = fitted("patches", 2011, COATES, stem="whitened patches of 6 px")
CLASSICAL = (
    hog.row("hog_svm", 32, 2, 427_300, 1_636_800),
    forest.row("hog_forest", 32, 1, 44_236_400, 0),
    lbp.row("lbp_svm", 32, 1, 431_900, 2_414_200),
    sift.row("sift_svm", 32, 1, 445_700, 4_826_400),
    patches.row("kmeans_patches", 32, 1, 824_672, 269_588_512),
)

CATALOGUE: tuple[ModelSpec, ...] = (
    *LENET,
    *ALEXNET,
    *CLASSIC,
    *VGG,
    *INCEPTION,
    *RESIDUAL,
    *LIGHTWEIGHT,
    *OTHERS,
    *CLASSICAL,
)

"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998): the form people use today, and as published."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LeNet5(nn.Module):
    """The form people use today: full connections, ReLU, max pooling, linear output; 32x32 in."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 6, 5)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)  # 32 px: 28, 14, 10, 5
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, 32, 32) images to (N, num_classes) scores."""
        x = self.pool1(F.relu(self.conv1(images)))
        x = self.pool2(F.relu(self.conv2(x)))
        x = F.relu(self.fc1(x.flatten(1)))
        x = F.relu(self.fc2(x))
        scores: Tensor = self.fc3(x)
        return scores


def lenet5(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """Build LeNet-5 with ReLU and max pooling."""
    return LeNet5(num_classes, in_channels)


NUM_S2_MAPS = 6
# Table I: which maps of S2 each of the 16 maps of C3 reads.
C3_READS = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (4, 5, 0),
    (5, 0, 1),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (3, 4, 5, 0),
    (4, 5, 0, 1),
    (5, 0, 1, 2),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)
BOUND = 2.4  # appendix A: weights are uniform within 2.4 over the number of inputs


def squash(x: Tensor) -> Tensor:
    """Apply appendix A's 1.7159 tanh(2/3 x), which maps 1 to 1."""
    return 1.7159 * torch.tanh(2 / 3 * x)


class Subsampling(nn.Module):
    """The mean of 2x2 pixels, times one trainable number a map, plus another."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2)
        self.weight = nn.Parameter(torch.ones(maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, maps, H, W) to (N, maps, H / 2, W / 2)."""
        return squash(self.weight * self.pool(x) + self.bias)


class PartialConv2d(nn.Module):
    """A 5x5 convolution with the kernels of table I only; the others are zeros that don't learn."""

    def __init__(self) -> None:
        super().__init__()
        num_inputs = []  # of the map that each kernel belongs to
        places = []  # of each kernel among all 16 x 6
        for map_number, reads in enumerate(C3_READS):
            for source in reads:
                num_inputs.append(25.0 * len(reads))
                places.append(NUM_S2_MAPS * map_number + source)
        # Worked out on the CPU whatever the default device, so that the bounds are the same.
        bounds = (BOUND / torch.tensor(num_inputs, device="cpu")).view(-1, 1, 1)
        draws = 2 * torch.rand(len(places), 5, 5) - 1
        self.weight = nn.Parameter(draws * bounds.to(torch.get_default_device()))
        self.bias = nn.Parameter(torch.zeros(len(C3_READS)))
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 6, H, W) to (N, 16, H - 4, W - 4)."""
        num_maps = len(C3_READS)
        zeros = self.weight.new_zeros(num_maps * NUM_S2_MAPS, 5, 5)
        kernels = zeros.index_copy(0, self.get_buffer("places"), self.weight)
        return F.conv2d(x, kernels.view(num_maps, NUM_S2_MAPS, 5, 5), self.bias)


class RadialBasis(nn.Module):
    """Minus the squared distance of 84 values to each class's code of +1 and -1 (section II).

    The published codes are drawings of the ASCII characters; here they are drawn at random, for any
    number of classes.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        # A generator of its own: the codes belong to the network, whatever its seed.
        generator = torch.Generator(device="cpu").manual_seed(1998)
        bits = torch.randint(2, (num_classes, 84), generator=generator, device="cpu")
        codes = 2.0 * bits - 1
        self.register_buffer("codes", codes.to(torch.get_default_device()))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 84) to (N, num_classes)."""
        differences = x.unsqueeze(1) - self.get_buffer("codes")
        return -differences.square().sum(2)


class LeNet5As1998(nn.Module):
    """LeNet-5 as published: 60,000 trainable parameters."""

    def __init__(self, num_classes: int, in_channels: int, output: str) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(in_channels, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = PartialConv2d()
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)  # of the 5x5 pixels that are left: a full connection
        self.f6 = nn.Linear(120, 84)
        self.output = RadialBasis(num_classes) if output == "rbf" else nn.Linear(84, num_classes)
        for layer in (self.c1, self.c5, self.f6):
            bound = BOUND / layer.weight[0].numel()
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, 32, 32) images to (N, num_classes) scores."""
        x = self.s2(squash(self.c1(images)))
        x = self.s4(squash(self.c3(x)))
        x = squash(self.c5(x)).flatten(1)
        scores: Tensor = self.output(squash(self.f6(x)))
        return scores


def lenet5_1998(
    *, num_classes: int = 100, in_channels: int = 1, output: Literal["rbf", "softmax"] = "rbf"
) -> nn.Module:
    """Build LeNet-5 as published, with radial basis functions or a linear layer at its end.

    `output="softmax"` is the linear layer.
    """
    return LeNet5As1998(num_classes, in_channels, output)

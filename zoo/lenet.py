"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998): the form people use today, and as published."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LeNet5(nn.Module):
    """The form people use today: full connections, ReLU, max pooling, linear output; 32x32 in."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1, self.pool1 = nn.Conv2d(in_channels, 6, 5), nn.MaxPool2d(2)
        self.conv2, self.pool2 = nn.Conv2d(6, 16, 5), nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, 32, 32) images to (N, num_classes) scores."""
        x = self.pool1(F.relu(self.conv1(images)))
        x = self.pool2(F.relu(self.conv2(x)))
        x = F.relu(self.fc1(x.flatten(1)))
        scores: Tensor = self.fc3(F.relu(self.fc2(x)))
        return scores


def lenet5(*, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """LeNet-5 with ReLU and max pooling."""
    return LeNet5(num_classes, in_channels)


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


def squash(x: Tensor) -> Tensor:
    """Appendix A: 1.7159 tanh(2/3 x), which maps 1 to 1."""
    return 1.7159 * torch.tanh(2 / 3 * x)


class Subsampling(nn.Module):
    """The mean of 2x2 pixels, times one trainable number a map, plus another."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2)
        self.weight, self.bias = (
            nn.Parameter(torch.ones(maps, 1, 1)),
            nn.Parameter(torch.zeros(maps, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, maps, H, W) to (N, maps, H / 2, W / 2)."""
        return squash(self.weight * self.pool(x) + self.bias)


class PartialConv2d(nn.Module):
    """A 5x5 convolution with the kernels of table I only; the others are zeros that don't learn."""

    def __init__(self) -> None:
        super().__init__()
        num_kernels = sum(map(len, C3_READS))
        fan_in = torch.tensor(
            [25.0 * len(reads) for reads in C3_READS for _ in reads], device="cpu"
        )
        scale = (2.4 / fan_in).view(-1, 1, 1)
        self.weight = nn.Parameter(
            (2 * torch.rand(num_kernels, 5, 5) - 1) * scale.to(torch.get_default_device())
        )
        self.bias = nn.Parameter(torch.zeros(len(C3_READS)))
        places = [6 * to + source for to, reads in enumerate(C3_READS) for source in reads]
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 6, H, W) to (N, 16, H - 4, W - 4)."""
        places = self.get_buffer("places")
        weight = self.weight.new_zeros(16 * 6, 5, 5).index_copy(0, places, self.weight)
        return F.conv2d(x, weight.view(16, 6, 5, 5), self.bias)


class RadialBasis(nn.Module):
    """Minus the squared distance of 84 values to each class's code of +1 and -1 (section II, output layer).

    The published codes are drawings of the ASCII characters; here they are drawn at random, for any
    number of classes.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        generator = torch.Generator(device="cpu").manual_seed(1998)
        codes = 2.0 * torch.randint(2, (num_classes, 84), generator=generator, device="cpu") - 1
        self.register_buffer("codes", codes.to(torch.get_default_device()))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 84) to (N, num_classes)."""
        return -(x.unsqueeze(1) - self.get_buffer("codes")).square().sum(2)


class LeNet5As1998(nn.Module):
    """LeNet-5 as published: 60,000 trainable parameters."""

    def __init__(self, num_classes: int, in_channels: int, output: str) -> None:
        super().__init__()
        self.c1, self.s2 = nn.Conv2d(in_channels, 6, 5), Subsampling(6)
        self.c3, self.s4 = PartialConv2d(), Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = RadialBasis(num_classes) if output == "rbf" else nn.Linear(84, num_classes)
        for layer in (
            self.c1,
            self.c5,
            self.f6,
        ):  # appendix A: uniform within 2.4 over the number of inputs
            bound = 2.4 / layer.weight[0].numel()
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
    """LeNet-5 as published, with radial basis functions or a linear layer (softmax) at its end."""
    return LeNet5As1998(num_classes, in_channels, output)

"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998)."""

from torch import Tensor, nn
from torch.nn import functional as F


class LeNet5(nn.Module):
    """The form people use today: full connections, ReLU, max pooling, linear output; 32x32 in."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool1, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2)
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

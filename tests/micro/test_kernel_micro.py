"""A training step with `zoo.fast` beside the same module in plain torch, both in one run.

    ./launch.sh micro tests/micro/test_kernel_micro.py

Networks made for 224 px, at 32 px (aims against the better of torch's two memory formats: resnet18
3.0 times on AVX2 and 2.0 on AVX-512, mobilenet_v2 2.0 and 1.3, shufflenet_v2_x1_0 1.3), and forms
for 32 px, of which only the maps of 2x2 px gain (aim: 1.0). Each side is a process of its own. What
other processors have is nearly shown by ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2
MKL_ENABLE_INSTRUCTIONS=AVX2. pytest-benchmark prints a table a group; compare the rows of one
table only.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import zoo
from tests.micro.side import apart

pytestmark = pytest.mark.micro

BATCH = 128
STEPS = 2
NAMES = (
    "resnet18",
    "mobilenet_v2",
    "shufflenet_v2_x1_0",
    "alexnet_grouped_cifar",
    "alexnet_owt_cifar",
    "vgg11_bn_cifar",
)
FORMATS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}
SIDES = {
    "fast": ("NCHW", True),
    "fast, channels-last": ("channels-last", True),
    "torch": ("NCHW", False),
    "torch, channels-last": ("channels-last", False),
}


@contextmanager
def training(name: str, layout: str, is_fast: bool) -> Iterator[Callable[[], None]]:
    """Steps on one batch of noise that is already there."""
    model = zoo.create_model(name, num_classes=100).to(memory_format=FORMATS[layout])
    if is_fast:
        zoo.fast(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    images = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=FORMATS[layout])
    labels = torch.randint(100, (BATCH,))

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()

    yield steps


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", SIDES)
def test_step(benchmark: Any, name: str, side: str) -> None:
    benchmark.group = f"{name}: {STEPS} steps of {BATCH} at 32 px"
    with apart(training, name, *SIDES[side], environment={}) as steps:
        benchmark.pedantic(steps, rounds=5, warmup_rounds=1)
    assert benchmark.stats.stats.rounds == 5

"""`zoo.fast`, and whose convolutions a run has (`--kernels`).

Oracle: the types of a model's modules.
"""

from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from bench.data.loader import Batch
from bench.distributed.device_setting import choose_kernels
from bench.distributed.runtime import Runtime
from bench.request.command_line import parse
from bench.results.setting import ranking_key
from bench.train.evaluation import evaluate
from reports.page import build_page
from reports.runs import read_source
from tests.support.record_factory import environment, record, write_run
from zoo.kernel import library_kernels
from zoo.layer import PointwiseConv2d
from zoo.small_map import SmallMapConv2d


def test_what_is_not_plain_is_left_alone() -> None:
    class Own(nn.Conv2d):
        pass

    hooked, watched = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
    hooked.register_forward_pre_hook(lambda *_: None)
    watched.register_full_backward_hook(lambda *_: None)
    left = [
        Own(4, 4, 3, padding=1),
        hooked,
        watched,
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, padding=1)),
        nn.LazyConv2d(4, 3, padding=1),
        nn.Conv1d(4, 4, 3, padding=1),
    ]
    kinds = [type(module) for module in left]
    model = nn.Sequential(*left, nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1))
    names = list(model.state_dict())
    assert zoo.fast(model) is model
    assert [type(module) for module in model] == [*kinds, SmallMapConv2d, PointwiseConv2d]
    assert list(model.state_dict()) == names


def test_the_librarys_kernels_for_a_while() -> None:
    model = zoo.fast(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)))
    with library_kernels(model):
        assert [type(module) for module in model] == [nn.Conv2d, nn.Conv2d]
    assert [type(module) for module in model] == [SmallMapConv2d, PointwiseConv2d]


class Told(nn.Module):
    """A network that notes, at every forward pass, whose convolution it has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 10, 3, padding=1)
        self.kinds: list[type[nn.Module]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.kinds.append(type(self.conv))
        scores: torch.Tensor = self.conv(images).mean((2, 3))
        return scores


def test_an_evaluation_takes_the_librarys(runtime: Runtime) -> None:
    """So that its loss is one, however many images a rank holds at once."""
    model = zoo.fast(Told())
    evaluate(
        model,
        iter([Batch(torch.rand(20, 3, 2, 2), torch.arange(20) % 10)]),
        split="test",
        num_images=20,
        superclass_of=(),
        runtime=runtime,
    )
    model(torch.rand(20, 3, 2, 2))
    assert model.kinds == [nn.Conv2d, SmallMapConv2d]


@pytest.mark.parametrize(
    ("flags", "training", "inference"),
    [((), "fast", "torch"), (("fast",), "fast", "fast"), (("torch",), "torch", "torch")],
)
def test_the_option_says_whose_kernels(
    flags: tuple[str, ...], training: str, inference: str
) -> None:
    option = ("--kernels", *flags) if flags else ()
    with Runtime.start(parse(["--recipe", "smoke", *option])) as runtime:
        placed = runtime.place_model(zoo.create_model("shufflenet_v2_x1_0"), {})
        in_force = runtime.settings_in_force()
    kinds = {type(module) for module in placed.modules()}
    assert ({SmallMapConv2d, PointwiseConv2d} <= kinds) == (training == "fast")
    assert (in_force["kernels"], in_force["infer_kernels"]) == (training, inference)


def test_a_gpu_has_the_librarys_kernels_and_is_told_of_no_others() -> None:
    gpu = torch.device("cuda")
    assert choose_kernels(None, gpu) == choose_kernels("torch", gpu) == ("torch", "torch")
    with pytest.raises(ValueError, match="nothing to do on a GPU"):
        choose_kernels("fast", gpu)


def test_an_unknown_kernel_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="--kernels"):
        parse(["--recipe", "smoke", "--kernels", "fasr"])


def test_rows_that_differ_in_kernels_are_ranked_apart() -> None:
    chosen = [
        {},  # from before there was a choice
        {"kernels": "fast", "infer_kernels": "torch"},
        {"kernels": "fast", "infer_kernels": "fast"},
        {"kernels": "torch", "infer_kernels": "torch"},
    ]
    on_cpu = [record(environment=environment(device="cpu", **kernels)) for kernels in chosen]
    assert len({repr(ranking_key(each)) for each in on_cpu}) == len(chosen)


def test_the_page_s_rules_name_whose_kernels(tmp_path: Path) -> None:
    kernels = {"kernels": "fast", "infer_kernels": "torch"}
    run = write_run(tmp_path / "run", [record(environment=environment(**kernels))])
    page = build_page(read_source([run]))
    assert "kernels: fast in training, torch in inference" in page


def test_a_gpus_old_records_had_the_librarys_kernels_too() -> None:
    old = record(environment=environment(device="cuda"))
    new = record(environment=environment(device="cuda", kernels="torch", infer_kernels="torch"))
    assert ranking_key(old) == ranking_key(new)

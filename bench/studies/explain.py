"""Where a network looks when it is right and when it is wrong."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.folder import FolderImages
from bench.data.run_data import open_run_data
from bench.deploy.cell_choice import TrainedCell
from bench.deploy.explain import explain as draw_heat
from bench.deploy.torch_predictor import TorchPredictor
from bench.request.recipe import backbones
from bench.results.finding import Answer, Picture, Plot, Series, point_at
from bench.results.image_interval import independent_difference, mean_estimate
from bench.results.interval import Estimate
from bench.studies.image_set import find_pretrained, use_flowers
from bench.studies.lab import Lab, Trained
from bench.studies.wording import say_estimate, say_proof
from zoo.extra import need

MODEL = "timm:tf_efficientnet_lite0"
FEWEST = 3  # answers of a kind, for a mean of them
NUM_SHOWN = 4  # pictures of each kind on the page
SHOWN_SIDE = 160  # pixels of each of a picture's three parts


class Look(NamedTuple):
    """A test image with what the network said of it, and where each method says that it looked."""

    pixels: NDArray[np.uint8]
    label: int
    answer: int
    grad_cam: NDArray[np.float32]
    occlusion: NDArray[np.float32]


def explain(lab: Lab) -> Answer:
    """Does a network look elsewhere when it is wrong?

    A classifier on ImageNet's features of five kinds of flowers: how much of Grad-CAM's heat lies
    in the middle quarter of the picture, and how far occlusion agrees with it. The quick form has
    96 px instead of 224 and fewer images.
    """
    need("captum", "explain")  # before minutes of training
    config = replace(
        backbones(),
        **use_flowers(lab.data_dir),
        models=(MODEL,),
        image_size=96 if lab.quick else 224,
        pretrained=find_pretrained(lab.data_dir),
    )
    trained = lab.train("head", config)
    images = open_run_data(lab.finish_request("head", config)).test.images
    looks = look_at_answers(trained, images, most=12 if lab.quick else 100)
    compared = {kind: some for kind, some in looks.items() if len(some) >= FEWEST}
    middle = {
        kind: mean_of([100 * share_in_middle(look.grad_cam) for look in some])
        for kind, some in compared.items()
    }
    agreed = {
        kind: mean_of([agreement(look.grad_cam, look.occlusion) for look in some])
        for kind, some in compared.items()
    }
    return Answer(
        sentences=tuple(say_difference(middle, agreed)),
        setting=(
            f"A linear classifier on frozen features of {MODEL} at {config.image_size} px; the "
            f"first {len(looks['right'])} test photographs that it gets right and the first "
            f"{len(looks['wrong'])} that it doesn't. Each picture: the photograph, Grad-CAM, "
            "occlusion, both of the class that it answered; brighter places speak for it."
        ),
        plots=(plot_middle(middle),),
        pictures=tuple(draw_pictures(looks, trained.records[0].data.class_names)),
    )


def say_difference(middle: Mapping[str, Estimate], agreed: Mapping[str, Estimate]) -> Iterator[str]:
    """Say what sets right answers apart from wrong ones, where there are enough of both."""
    for kind in middle:
        yield (
            f"Where the answer is {kind}, the middle quarter of a picture holds "
            f"{say_estimate(middle[kind], '%')} of Grad-CAM's heat, and occlusion agrees with it "
            f"by a correlation of {say_estimate(agreed[kind], 'over the pixels', digits=2)}."
        )
    if len(middle) < 2:
        yield f"Fewer than {FEWEST} answers are of the other kind: there is nothing to compare."
        return
    more = independent_difference(middle["right"], middle["wrong"])
    yield (
        f"So right answers have {say_estimate(more, 'points', signed=True)} of the heat there "
        f"against wrong ones, {say_proof(more, 'proven more', 'proven less')}."
    )


def plot_middle(middle: Mapping[str, Estimate]) -> Plot:
    """Return the figure: the share of heat in the middle, of right and of wrong answers."""
    points = tuple(point_at(kind, own) for kind, own in middle.items())
    return Plot(
        title="Share of Grad-CAM's heat in the middle quarter",
        caption="An even heat has 25 % there.",
        kind="dots",
        x="Heat in the middle (%)",
        y="Answer",
        series=(Series(name="Grad-CAM", points=points),),
    )


def draw_pictures(looks: Mapping[str, Sequence[Look]], names: Sequence[str]) -> Iterator[Picture]:
    """Draw the first few of each kind."""
    for kind, some in looks.items():
        for look in some[:NUM_SHOWN]:
            caption = f"{kind}: {names[look.label]}, called {names[look.answer]}"
            yield Picture(png=paste(look), caption=caption)


def look_at_answers(
    trained: Trained, images: NDArray[np.uint8] | FolderImages, *, most: int
) -> dict[str, list[Look]]:
    """Explain the first answers that are right, and the first that are wrong, so many of each."""
    predictor = TorchPredictor(TrainedCell(trained.folders[0], trained.records[0]))
    label, answer = (trained.said[name][0] for name in ("label", "predicted"))
    right = trained.right[0]
    chosen = {"right": np.flatnonzero(right)[:most], "wrong": np.flatnonzero(~right)[:most]}
    return {
        kind: [look_at(predictor, images[np.array([row])], label[row], answer[row]) for row in rows]
        for kind, rows in chosen.items()
    }


def mean_of(values: Sequence[float]) -> Estimate:
    """Return the mean of one number an image, with its interval."""
    return mean_estimate(np.array([values]))


def look_at(predictor: TorchPredictor, stored: NDArray[np.uint8], label: int, answer: int) -> Look:
    """Explain the answer to one stored image (1, P, P, C)."""
    prepared = predictor.prepare(stored)[0]
    grad_cam = draw_heat(predictor.network, prepared, int(answer))
    occlusion = draw_heat(predictor.network, prepared, int(answer), way="occlusion")
    return Look(stored[0], int(label), int(answer), grad_cam, occlusion)


def share_in_middle(heat: NDArray[np.float32]) -> float:
    """Return the share of a map's heat in the middle quarter of its area; of none, a quarter."""
    height, width = heat.shape
    inner = heat[height // 4 : height - height // 4, width // 4 : width - width // 4]
    total = float(heat.sum())
    return float(inner.sum()) / total if total else inner.size / heat.size


def agreement(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the correlation of two maps over their pixels; 0 where one is the same everywhere."""
    if not a.std() or not b.std():
        return 0.0
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def paste(look: Look) -> str:
    """Return the photograph beside its two maps, laid over it, as a PNG in base64."""
    size = (SHOWN_SIDE, SHOWN_SIDE)
    photograph = Image.fromarray(look.pixels).resize(size, Image.Resampling.BILINEAR)
    strip = Image.new("RGB", (3 * SHOWN_SIDE, SHOWN_SIDE))
    strip.paste(photograph, (0, 0))
    for place, heat in enumerate((look.grad_cam, look.occlusion), start=1):
        light = Image.fromarray((255 * (0.25 + 0.75 * heat)).astype(np.uint8))
        dark = Image.new("RGB", size)
        mask = light.resize(size, Image.Resampling.BILINEAR)
        strip.paste(Image.composite(photograph, dark, mask), (place * SHOWN_SIDE, 0))
    file = io.BytesIO()
    strip.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()

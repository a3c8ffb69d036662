"""Where a classifier looks: heat maps of what speaks for a class. Needs the extra `explain`.

Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) reads a network's last maps; occlusion (Zeiler,
Fergus 2013, arXiv 1311.2901, section 4.2) covers a patch at a time and needs nothing but scores:
it serves models without maps, and whatever else answers images, such as an ONNX file.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from zoo.extra import need
from zoo.two_tower import TwoTower, to_grouped

Way = Literal["grad_cam", "occlusion"]
# From (N, C, H, W) float32 images, as the model takes them, to (N, classes) scores.
Scorer = Callable[[Tensor], Tensor | NDArray[np.floating[Any]]]
NUM_PATCHES = 8  # a side of the image is as long as so many patches
PATCHES_AT_ONCE = 32  # bounds the memory of occlusion, not its result


def explain(
    model: nn.Module | Scorer,
    image: Tensor,
    target: int | None = None,
    *,
    way: Way | None = None,
) -> NDArray[np.float32]:
    """Return how much each pixel speaks for a class: (H, W) float32 from 0 to 1.

    `image` (C, H, W) float32 is what the model takes. `target` is the class, by default the one
    that the model answers; `way` is by default Grad-CAM for a network whose answer rests on maps,
    else occlusion. The most telling place has 1; nothing but 0 says that no place speaks for the
    class. ValueError without captum, and for Grad-CAM of a model without maps.
    """
    need("captum", "explain")
    images = image[None]
    layer = None
    if isinstance(model, nn.Module):
        # A tower's maps are half of what the class is read from; the grouped form has them all.
        model = to_grouped(model) if isinstance(model, TwoTower) else model
        model = model.eval()
        if way != "occlusion":
            layer = find_map_layer(model, images)
    if way == "grad_cam" and layer is None:
        raise ValueError("Grad-CAM: no layer gives maps larger than 1x1; take occlusion")
    if target is None:
        target = int(_score(model, images).argmax())
    if layer is None:
        heat = _occlude(model, images, target)
    else:
        assert isinstance(model, nn.Module)
        heat = _grad_cam(model, layer, images, target)
    heat = heat.clamp(min=0)
    heat = heat / heat.max().clamp(min=torch.finfo(torch.float32).tiny)
    result: NDArray[np.float32] = heat.float().cpu().numpy()
    return result


def explain_scores(
    score: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    square: NDArray[np.uint8],
    target: int,
) -> NDArray[np.float32]:
    """Return how much each pixel of a square (S, S, channels) speaks for a class: (S, S), 0 to 1.

    `score` maps squares (N, S, S, channels) to scores (N, classes). What covers a patch is as light
    as the square is on average.
    """
    pixels = torch.from_numpy(square).permute(2, 0, 1).float()
    mean = pixels.mean((1, 2), keepdim=True)

    def score_centred(images: Tensor) -> NDArray[np.float32]:
        squares = (images + mean).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
        return score(np.ascontiguousarray(squares.numpy()))

    return explain(score_centred, pixels - mean, target)


def find_map_layer(model: nn.Module, images: Tensor) -> nn.Module | None:
    """Return the last layer that gives maps larger than 1x1, found by a trial pass.

    None where there is none, or where tokens follow the maps, as in a transformer: then the maps
    are of patches that no layer has compared yet.
    """
    last: nn.Module | None = None

    def see(layer: nn.Module, _: Any, output: object) -> None:
        nonlocal last
        if not isinstance(output, Tensor):
            return
        if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            last = layer
        elif output.ndim == 3 and output.shape[1] > 1:
            last = None

    hooks = [layer.register_forward_hook(see) for layer in model.modules()]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return last


def _grad_cam(model: nn.Module, layer: nn.Module, images: Tensor, target: int) -> Tensor:
    from captum.attr import LayerGradCam

    heat = LayerGradCam(model, layer).attribute(images, target, relu_attributions=True)
    side = images.shape[2:]
    sharp = functional.interpolate(heat, tuple(side), mode="bilinear", align_corners=False)
    return sharp[0, 0].detach()


def _occlude(model: Scorer, images: Tensor, target: int) -> Tensor:
    """Return how far the class's score falls where a patch of the mean colour covers a pixel."""
    from captum.attr import Occlusion

    _, channels, height, width = images.shape
    patch = max(1, height // NUM_PATCHES), max(1, width // NUM_PATCHES)
    step = max(1, patch[0] // 2), max(1, patch[1] // 2)
    heat: Tensor = Occlusion(lambda covered: _score(model, covered)).attribute(
        images,
        sliding_window_shapes=(channels, *patch),
        strides=(channels, *step),
        baselines=0,  # the mean colour, for images that were normalised
        target=target,
        perturbations_per_eval=PATCHES_AT_ONCE,
    )
    return heat[0].mean(0)


def _score(model: Scorer, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.as_tensor(model(images))

"""A picture from somebody else, as bytes: decoded within bounds, or refused. No torch."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.picture import open_picture, to_rgb
from zoo.cause import first_line

MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000  # a phone's largest photograph; decoding one takes some 400 MB

# Pillow only warns of a picture that is larger than this by less than a factor of two.
warnings.simplefilter("error", Image.DecompressionBombWarning)


def decode_upload(content: bytes) -> NDArray[np.uint8]:
    """Return a picture's pixels (H, W, 3), upright; of a moving one, the first frame.

    ValueError says why it can't be read. Nothing is decoded of a picture with too many pixels.
    """
    if not content:
        raise ValueError("the picture is empty")
    if len(content) > MAX_BYTES:
        raise ValueError(f"the picture has over {MAX_BYTES // 1_000_000} MB")
    try:
        image = open_picture(io.BytesIO(content))
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(
                f"{width} x {height} pixels are more than {MAX_PIXELS // 1_000_000} million"
            )
        return np.asarray(to_rgb(image))
    except Exception as error:
        # A damaged file makes Pillow raise whatever its decoders come across.
        raise ValueError(f"the picture can't be read: {first_line(error)}") from error

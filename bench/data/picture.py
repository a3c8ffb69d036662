"""One image file to a square of 8-bit RGB, whatever its mode.

By Pillow's own decoders of the usual formats alone: others start programs (EPS starts Ghostscript),
and some open files that a picture names.
"""

import os
import stat
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
GROUND = (255, 255, 255, 255)  # white: what is seen through transparent pixels
# Modes whose values are of 8 bits a channel, or of one, so that Pillow turns them into RGB rightly.
PLAIN_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LA", "PA", "RGBA", "RGBa")
DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
# What turns a picture upright, by EXIF's number of its orientation (1 is upright).
TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LONGEST = 8  # times the short side: what lies further out is cut off before the picture is resized


def decode_square(path: Path, side: int) -> NDArray[np.uint8]:
    """Decode one image file to (side, side, 3), upright.

    Short side resized to `side` (bilinear, antialiased), centre taken, as torchvision's Resize and
    CenterCrop do. Raises whatever a damaged file makes Pillow raise; ValueError for what isn't a
    regular file, or has a mode whose range nobody knows.
    """
    return np.asarray(take_centre(_open_rgb(path), side))


def decode_picture(path: Path) -> NDArray[np.uint8]:
    """Decode one image file to (H, W, 3), upright. Raises as `decode_square`."""
    return np.asarray(_cut_ends(_open_rgb(path)))


def read_picture(file: IO[bytes]) -> NDArray[np.uint8]:
    """Decode an image file's content to (H, W, 3), upright. Raises as `decode_square`."""
    return np.asarray(_cut_ends(to_rgb(open_picture(file))))


def fit_square(pixels: NDArray[np.uint8], side: int, channels: int) -> NDArray[np.uint8]:
    """Return a picture (H, W, 1 or 3) as `decode_square` would: (side, side, channels), 1 or 3."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    wanted = image.convert("L" if channels == 1 else "RGB")
    return np.array(take_centre(wanted, side)).reshape(side, side, channels)


def take_centre(image: Image.Image, side: int) -> Image.Image:
    """Return the middle of a picture as a square: its short side resized, its ends cut off."""
    image = _cut_ends(image)
    width, height = image.size
    short = min(width, height)
    size = side * width // short, side * height // short
    image = image.resize(size, Image.Resampling.BILINEAR)
    left = round((image.width - side) / 2)
    top = round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def _open_rgb(path: Path) -> Image.Image:
    with open_regular(path) as file:
        return to_rgb(open_picture(file))


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to read its bytes; ValueError for anything that isn't a file."""
    # Without waiting: opening a pipe waits for whoever writes into it.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError("not a regular file")
    return file


def open_picture(file: IO[bytes]) -> Image.Image:
    """Open a picture of one of FORMATS, of which Pillow reads no more than the head yet."""
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(f"not a whole picture of {', '.join(FORMATS)}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an opened picture as 8-bit RGB: upright, over GROUND, deeper values scaled.

    ValueError names a mode whose range of values isn't known.
    """
    # Whole, because PNG and TIFF may say behind their pixels how they are turned.
    image.load()
    orientation = image.getexif().get(Base.Orientation)
    if image.mode in DEEP_MODES or (image.mode == "I" and image.format == "PPM"):
        image = _scale_deep(image)
    elif image.mode not in PLAIN_MODES:
        raise ValueError(
            f"mode {image.mode} of {image.format} says nothing of its range: "
            "save it with 8 or 16 bits a channel"
        )
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, GROUND)
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    image = image.convert("RGB")
    if orientation in TO_UPRIGHT:
        image = image.transpose(TO_UPRIGHT[orientation])
    return image


def _scale_deep(image: Image.Image) -> Image.Image:
    """Return grey values of 9 to 16 bits as their upper 8, as Pillow reads colours of 16 bits."""
    values = np.asarray(image).astype(np.uint16)
    num_bits = 16
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        num_bits = tags[Base.BitsPerSample][0]
        if tags.get(Base.PhotometricInterpretation) == 0:
            # White is 0: Pillow turns 8 bits round, and leaves 16 as they are.
            values = 2**num_bits - 1 - values
    grey = Image.fromarray((values >> (num_bits - 8)).astype(np.uint8))
    hidden = image.info.get("transparency")
    if hidden is None:
        return grey
    opaque = Image.fromarray(np.where(np.asarray(image) == hidden, 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, opaque))


def _cut_ends(image: Image.Image) -> Image.Image:
    """Cut a picture to LONGEST times its short side, about its centre.

    Resizing a strip of 60,000 x 1 px as a whole would take gigabytes, for a square of its middle.
    """
    width, height = image.size
    most = LONGEST * min(width, height)
    if max(width, height) <= most:
        return image
    # An even number goes, so that the centre stays where it is.
    across = max(0, width - most) // 2
    down = max(0, height - most) // 2
    return image.crop((across, down, width - across, height - down))

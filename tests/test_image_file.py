"""One image file of every mode.

Oracles: the same picture in 8 bits a channel, Pillow's own transposition by EXIF, and Pillow's
resize of the centre square alone.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bench.data.picture import decode_square

SIDE = 24
GREY = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
GREY_RGB = np.repeat(GREY[..., None], 3, axis=2)


def decoded(
    place: Path, image: Image.Image, name: str = "x.png", **options: object
) -> NDArray[np.uint8]:
    image.save(place / name, **options)
    return decode_square(place / name, SIDE)


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
@pytest.mark.parametrize("factor", [256, 257])  # the two ways to widen 8 bits to 16
def test_sixteen_bits_are_their_eight_bit_twin(name: str, factor: int, tmp_path: Path) -> None:
    deep = Image.fromarray(GREY.astype(np.uint16) * factor)
    assert np.array_equal(decoded(tmp_path, deep, name), GREY_RGB)


def test_sixteen_bits_whose_white_is_zero_are_turned_round(tmp_path: Path) -> None:
    deep = Image.fromarray(65535 - GREY.astype(np.uint16) * 257)
    assert np.array_equal(decoded(tmp_path, deep, "x.tif", tiffinfo={262: 0}), GREY_RGB)


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "CMYK"])
def test_plain_modes_are_pillows_own_conversion(name: str, mode: str, tmp_path: Path) -> None:
    if mode == "CMYK" and name == "x.png":
        name = "x.jpg"
    image = Image.fromarray(COLOUR).convert(mode)
    image.save(tmp_path / name)
    with Image.open(tmp_path / name) as opened:
        expected = np.asarray(opened.convert("RGB"))
    assert np.array_equal(decode_square(tmp_path / name, SIDE), expected)


def over_white(colour: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.float64]:
    share = alpha[..., None] / 255
    return np.asarray(colour * share + 255 * (1 - share))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(mode: str, tmp_path: Path) -> None:
    alpha = GREY.T.copy()
    image = Image.fromarray(COLOUR).convert(mode)
    colour = np.asarray(image.convert("RGB"))
    image.putalpha(Image.fromarray(alpha))
    found = decoded(tmp_path, image)
    assert np.abs(found - over_white(colour, alpha)).max() <= 1


@pytest.mark.parametrize("mode", ["P", "L", "I;16"])
def test_a_transparent_value_is_white(mode: str, tmp_path: Path) -> None:
    if mode == "I;16":
        image, key = Image.fromarray(GREY.astype(np.uint16) * 257), int(GREY[3, 3]) * 257
        expected = GREY_RGB.copy()
    else:
        image = Image.fromarray(GREY).convert(mode)
        key = int(np.asarray(image)[3, 3])
        expected = np.array(image.convert("RGB"))
    expected[np.asarray(image) == key] = 255
    assert np.array_equal(decoded(tmp_path, image, transparency=key), expected)


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_a_mode_without_a_known_range_is_refused_by_name(mode: str, tmp_path: Path) -> None:
    image = Image.new(mode, (SIDE, SIDE))
    with pytest.raises(ValueError, match=f"mode {mode} of TIFF") as error:
        decoded(tmp_path, image, "x.tif")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_as_pillow_does(
    orientation: int, name: str, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOUR).save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert np.array_equal(decode_square(tmp_path / name, SIDE), expected)


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1), (3, 5_001)])
def test_a_strip_costs_what_its_centre_costs(shape: tuple[int, int], tmp_path: Path) -> None:
    height, width = shape
    values = np.random.default_rng(2).integers(0, 256, (*shape, 3), np.uint8)
    image = Image.fromarray(values)
    short = min(shape)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    expected = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    found = decoded(tmp_path, image).astype(int)
    assert np.abs(found - np.asarray(expected)).max() <= 2


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"", b"GIF"]
)
def test_what_is_none_of_the_formats_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ValueError, match="not a whole picture of PNG, JPEG"):
        decode_square(tmp_path / "x.png", SIDE)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    for path in (tmp_path / "x.png", Path("/dev/zero")):
        with pytest.raises(ValueError, match="not a regular file"):
            decode_square(path, SIDE)

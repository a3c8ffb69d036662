"""What tells pictures apart cheaply: the low frequencies of their thumbnails. numpy, no torch.

A shift changes only the phases of a Fourier transform, so that the magnitudes find candidates
among all pairs by one product of matrices, and the phases then say which shift fits best. A mirror
image has its frequencies at mirrored places, which one product of two halves covers.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 32  # pixels of a thumbnail
RADIUS = 8.0  # of the frequencies that are kept, in waves a side
COARSE_RADIUS = 6.0  # of those whose magnitudes find candidates
# Spectra of photographs fall with the frequency: without these powers of it only the largest waves
# would count.
COARSE_POWER = 0.7
FINE_POWER = 1.0
REACH = 3  # pixels of a thumbnail by which a double may be shifted each way
ZOOM = 1.12  # of copies that are cut closer
MOST_PLAIN = 8  # between the least and the largest value of a picture of one colour
GREY = np.array([0.299, 0.587, 0.114], np.float32)
CHUNK = 4096  # thumbnails that are transformed at a time

Floats = NDArray[np.float32]
Waves = NDArray[np.complex64]


@dataclass(frozen=True)
class Signatures:
    """The signatures of N pictures, a row each.

    `even` and `odd` are unit vectors together: the product of two pictures' even parts plus that of
    their odd parts is how alike their magnitudes are, and minus it, how alike one is to the other's
    mirror image. `waves` (N, F), and `mirrored` those of the mirror images, are unit vectors too;
    `num_waves` (N,) says of how many a picture is made up: 1 of a single one, F where all are as
    strong. A picture of one colour is like no other.
    """

    even: Floats
    odd: Floats
    waves: Waves
    mirrored: Waves
    num_waves: Floats

    def take(self, rows: slice) -> "Signatures":
        """Return the signatures of some of the pictures."""
        return Signatures(
            self.even[rows],
            self.odd[rows],
            self.waves[rows],
            self.mirrored[rows],
            self.num_waves[rows],
        )


def _list_frequencies() -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """List half of the frequencies but 0, in waves a side down and across, and their radii.

    Those of the other half are their conjugates.
    """
    most = int(RADIUS)
    down, across = np.meshgrid(np.arange(-most, most + 1), np.arange(most + 1), indexing="ij")
    radii = np.hypot(down, across)
    kept = ((across > 0) | (down > 0)) & (radii <= RADIUS)
    return down[kept], across[kept], radii[kept].astype(np.float32)


DOWN, ACROSS, RADII = _list_frequencies()
PLACES = {where: number for number, where in enumerate(zip(DOWN, ACROSS, strict=True))}
SHIFTS = list(product(range(-REACH, REACH + 1), repeat=2))  # down and across


def _list_turns() -> Floats:
    """List by what a shift turns each wave, (2 F, shifts): real part, minus the imaginary one."""
    angles = [DOWN * down + ACROSS * across for down, across in SHIFTS]
    phases = np.exp(2j * np.pi / SIDE * np.array(angles).T)
    parts = np.stack([phases.real, -phases.imag], axis=1)
    return parts.reshape(-1, len(SHIFTS)).astype(np.float32)


TURNS = _list_turns()


def sign(thumbnails: NDArray[np.uint8], *, closer: bool = False) -> Signatures:
    """Compute the signatures of thumbnails (N, SIDE, SIDE, 3), or of their middles (`zoom`)."""
    spectra = np.empty((len(thumbnails), len(RADII)), np.complex64)
    for start in range(0, len(thumbnails), CHUNK):
        chunk = slice(start, start + CHUNK)
        spectra[chunk] = _transform(thumbnails[chunk], closer)
    coarse = RADII <= COARSE_RADIUS
    sizes = np.sqrt(np.abs(spectra[:, coarse])) * RADII[coarse] ** COARSE_POWER
    sizes -= sizes.mean(axis=1, keepdims=True)
    even, odd = _split_by_mirror(_to_unit(sizes), coarse)
    waves = _to_unit(spectra * RADII**FINE_POWER)
    # As of how many independent numbers a mean is made: the inverse sum of the squared shares.
    shares = waves.real**2 + waves.imag**2
    num_waves = 1 / np.maximum((shares**2).sum(axis=1), 1e-6)
    return Signatures(even, odd, waves, _mirror(waves), num_waves)


def _transform(thumbnails: NDArray[np.uint8], closer: bool) -> Waves:
    """Return the kept frequencies (n, F) of thumbnails, 0 of those of one colour."""
    grey = thumbnails.astype(np.float32) @ GREY
    if closer:
        grey = ZOOMING @ grey @ ZOOMING.T
    # What a shift brings in at one side and takes away at the other counts little.
    ramp = np.sin(np.pi * (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE)
    window = np.outer(ramp, ramp)
    grey -= ((grey * window).sum(axis=(1, 2)) / window.sum())[:, None, None]
    grey *= window
    grey[is_plain(thumbnails)] = 0
    # So few frequencies are sooner had by products than by a fast transform.
    places = -2j * np.pi / SIDE * np.arange(SIDE)
    rows = np.exp(np.outer(np.unique(DOWN), places)).astype(np.complex64)
    columns = np.exp(np.outer(places, np.unique(ACROSS))).astype(np.complex64)
    spectra = rows @ (grey.astype(np.complex64) @ columns)
    return np.asarray(spectra[:, DOWN - DOWN.min(), ACROSS])


def _list_zooming() -> Floats:
    """List what each pixel of a line becomes in its middle: a mean of two, (SIDE, SIDE)."""
    places = (np.arange(SIDE) - (SIDE - 1) / 2) / ZOOM + (SIDE - 1) / 2
    left = np.floor(places).astype(int)
    weights = np.zeros((SIDE, SIDE), np.float32)
    weights[np.arange(SIDE), left] = 1 - (places - left)
    weights[np.arange(SIDE), left + 1] = places - left
    return weights


ZOOMING = _list_zooming()


def zoom(pictures: Floats) -> Floats:
    """Return the middles of pictures (n, SIDE, SIDE, 3), 1 / ZOOM of each side, at full size."""
    planes = pictures.transpose(0, 3, 1, 2)
    closer = (ZOOMING @ planes @ ZOOMING.T).transpose(0, 2, 3, 1)
    return np.asarray(closer, np.float32)


def is_plain(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which thumbnails are of one colour, (N,)."""
    pixels = thumbnails.reshape(len(thumbnails), -1, 3)
    return np.asarray((np.ptp(pixels, axis=1) <= MOST_PLAIN).all(axis=1))


def _to_unit(rows: NDArray[Any]) -> NDArray[Any]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-6))


def _split_by_mirror(sizes: Floats, coarse: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return what a mirror leaves as it is of magnitudes (N, C), and what it turns round."""
    down, across = DOWN[coarse], ACROSS[coarse]
    place = {where: number for number, where in enumerate(zip(down, across, strict=True))}
    alone = np.flatnonzero((down == 0) | (across == 0))
    upper = np.flatnonzero((down > 0) & (across > 0))
    lower = np.array([place[-down[number], across[number]] for number in upper])
    scale = np.float32(0.5**0.5)
    sums = scale * (sizes[:, upper] + sizes[:, lower])
    differences = scale * (sizes[:, upper] - sizes[:, lower])
    return np.concatenate([sizes[:, alone], sums], axis=1), differences


def _mirror(waves: Waves) -> Waves:
    """Return the waves of the mirror images."""
    partner = [PLACES.get((-down, across), PLACES[down, across]) for down, across in PLACES]
    # A wave that doesn't run across is its own mirror image, the others are conjugates.
    turned = np.where(ACROSS > 0, np.conj(waves[:, partner]), waves)
    phases = np.exp(-2j * np.pi / SIDE * ACROSS * (SIDE - 1))
    return np.asarray(turned * phases, np.complex64)


def align(a: Waves, b: Waves) -> tuple[Floats, NDArray[np.intp]]:
    """Return how alike rows of `a` are to those of `b` at their best shift, and which of SHIFTS.

    1 for the same picture. Moving a picture of `b` by the shift makes it that of `a`.
    """
    products = np.conj(b)
    products *= a
    # The real part of each product turned by the shift's phase, as one product of real matrices.
    likeness = products.view(np.float32) @ TURNS
    best = likeness.argmax(axis=1)
    return likeness[np.arange(len(a)), best], best

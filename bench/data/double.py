"""Doubles: pairs of pictures that show the same, as they are, shifted, mirrored or cut closer.

All pairs go through one product of matrices in blocks (`signature.py`); what may be a double is
shifted into place and compared in colour. numpy, no torch.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.signature import SHIFTS, SIDE, Signatures, align, sign, zoom

# By planted doubles and by pairs that were looked at (LAB.md).
CANDIDATE = 0.72  # likeness of magnitudes
LEAST_LIKENESS = 0.65  # of pictures in place
LEAST_EVIDENCE = 6.0  # standard errors
COLOUR_WEIGHT = 4.0  # standard errors for each deviation in colour
MOST_CANDIDATES = 64  # of a picture: each frame of a film is like thousands
QUERIES, TARGETS = 128, 4096  # rows and columns of a block, so that it stays in the cache
PAIRS_AT_ONCE = 16_384


class Doubles(NamedTuple):
    """Pairs of pictures that show the same, by their numbers, `first` < `second`.

    `evidence` is how much speaks for each pair, in standard errors. `exact`: to the pixel.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    evidence: NDArray[np.float32]
    exact: NDArray[np.bool_]

    def take(self, kept: Any) -> "Doubles":
        """Return some of the pairs."""
        return Doubles(*(column[kept] for column in self))


class Side(NamedTuple):
    """Pictures on one side of a comparison, or their middles, with numbers from `begin` on."""

    thumbnails: NDArray[np.uint8]
    signatures: Signatures
    closer: bool = False
    begin: int = 0

    def take(self, rows: slice) -> "Side":
        """Return some of the pictures, which keep their numbers."""
        begin = self.begin + (rows.start or 0)
        return Side(self.thumbnails[rows], self.signatures.take(rows), self.closer, begin)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return these pictures, (n, SIDE, SIDE, 3)."""
        pictures = self.thumbnails[rows].astype(np.float32)
        return zoom(pictures) if self.closer else pictures


def make_doubles(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    mirrored: bool = False,
    evidence: NDArray[np.float32] | float = np.inf,
    exact: bool = False,
) -> Doubles:
    """Make pairs of which some facts are the same for all."""
    shape = first.shape
    return Doubles(
        first,
        second,
        np.full(shape, mirrored),
        np.broadcast_to(np.asarray(evidence, np.float32), shape),
        np.full(shape, exact),
    )


def join_doubles(parts: Sequence[Doubles]) -> Doubles:
    """Put pairs one behind the other."""
    none = np.empty(0, np.int64)
    return Doubles(*map(np.concatenate, zip(make_doubles(none, none), *parts, strict=True)))


def find_doubles(thumbnails: NDArray[np.uint8], same: NDArray[np.int64], num_test: int) -> Doubles:
    """Find doubles among thumbnails (N, SIDE, SIDE, 3), of which the first are the test set's.

    Pictures are equal to the pixel whose numbers `same` (N,) are.
    """
    near = find_near(thumbnails, num_test)
    near = near._replace(exact=same[near.first] == same[near.second])
    return join_doubles([pair_equals(same, num_test), near])


def pair_equals(same: NDArray[np.int64], num_test: int) -> Doubles:
    """Pair each picture with the next equal one, and with the first equal one of the other part."""
    order = np.argsort(same, kind="stable")
    is_next = same[order[1:]] == same[order[:-1]]
    chained = order[:-1][is_next], order[1:][is_next]
    of_test, of_train = same[:num_test], same[num_test:]
    shared, test_rows, train_rows = np.intersect1d(of_test, of_train, return_indices=True)
    first_test = np.full(int(same.max(initial=-1)) + 1, -1)
    first_train = first_test.copy()
    first_test[shared], first_train[shared] = test_rows, num_test + train_rows
    in_test = np.flatnonzero(np.isin(of_test, shared))
    in_train = num_test + np.flatnonzero(np.isin(of_train, shared))
    pairs = [chained, (in_test, first_train[same[in_test]]), (first_test[same[in_train]], in_train)]
    return join_doubles([make_doubles(*pair, exact=True) for pair in pairs])


def find_near(thumbnails: NDArray[np.uint8], num_test: int) -> Doubles:
    """Find the pairs that are nearly the same; across the parts, those too of which one is cut."""
    whole = Side(thumbnails, sign(thumbnails))
    found = [_search(whole, whole)]
    if 0 < num_test < len(thumbnails):
        closer = Side(thumbnails, sign(thumbnails, closer=True), closer=True)
        test, train = slice(0, num_test), slice(num_test, None)
        found.append(_search(closer.take(test), whole.take(train)))
        found.append(_search(whole.take(test), closer.take(train)))
    return join_doubles(found)


def _search(queries: Side, targets: Side) -> Doubles:
    """Find the doubles of pictures among those of another side that have higher numbers."""
    starts = range(0, len(queries.thumbnails), QUERIES)
    # Threads, since numpy computes without the interpreter's lock.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return join_doubles(
            list(pool.map(lambda start: _search_block(queries, targets, start), starts))
        )


def _search_block(queries: Side, targets: Side, start: int) -> Doubles:
    """Find the doubles of a block of pictures."""
    candidates = join_doubles(list(_find_candidates(queries, targets, start)))
    candidates = candidates.take(_likeliest(candidates))
    found = []
    for begin in range(0, len(candidates.first), PAIRS_AT_ONCE):
        some = candidates.take(slice(begin, begin + PAIRS_AT_ONCE))
        found.append(_compare(queries, targets, some))
    return join_doubles(found)


def _find_candidates(queries: Side, targets: Side, start: int) -> Iterator[Doubles]:
    """Yield pairs whose magnitudes are alike, which their `evidence` says here."""
    own, other = queries.signatures, targets.signatures
    block = slice(start, start + QUERIES)
    first_of_block = queries.begin + start
    # Pictures before the block were its queries' partners in blocks before.
    for begin in range(max(0, first_of_block - targets.begin), len(other.even), TARGETS):
        rows = slice(begin, begin + TARGETS)
        even = own.even[block] @ other.even[rows].T
        odd = own.odd[block] @ other.odd[rows].T
        for mirrored, likeness in ((False, even + odd), (True, even - odd)):
            places = np.flatnonzero(likeness > CANDIDATE)
            query, target = np.divmod(places, likeness.shape[1])
            first, second = first_of_block + query, targets.begin + begin + target
            apart = first < second
            yield make_doubles(
                first[apart],
                second[apart],
                mirrored=mirrored,
                evidence=likeness.ravel()[places[apart]],
            )


def _likeliest(candidates: Doubles) -> NDArray[np.int64]:
    """Return which candidates are among the likeliest MOST_CANDIDATES of their first picture."""
    order = np.lexsort((-candidates.evidence, candidates.first))
    _, begins, counts = np.unique(candidates.first[order], return_index=True, return_counts=True)
    places = np.arange(len(order)) - np.repeat(begins, counts)
    return np.asarray(order[places < MOST_CANDIDATES])


def _compare(queries: Side, targets: Side, pairs: Doubles) -> Doubles:
    """Return those of some candidates that are doubles."""
    first, second = pairs.first - queries.begin, pairs.second - targets.begin
    own, other = queries.signatures, targets.signatures
    waves = np.where(pairs.mirrored[:, None], own.mirrored[first], own.waves[first])
    likeness, shift = align(waves, other.waves[second])
    num_waves = np.minimum(own.num_waves[first], other.num_waves[second])
    # Fisher's transform of a correlation over so many numbers has a standard error of 1.
    evidence = np.arctanh(np.minimum(likeness, 0.999)) * np.sqrt(num_waves)
    kept = np.flatnonzero((likeness > LEAST_LIKENESS) & (evidence > LEAST_EVIDENCE))
    a, b = queries.read(first[kept]), targets.read(second[kept])
    turned = pairs.mirrored[kept]
    a[turned] = a[turned][:, :, ::-1]
    left = evidence[kept] - COLOUR_WEIGHT * _compare_colours(a, b, shift[kept])
    return pairs.take(kept)._replace(evidence=left).take(left > LEAST_EVIDENCE)


def _compare_colours(
    a: NDArray[np.float32], b: NDArray[np.float32], shift: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return how far pictures in place are apart, in standard deviations of their values."""
    apart = np.zeros(len(shift), np.float32)
    for number in np.unique(shift):
        down, across = SHIFTS[number]
        rows = np.flatnonzero(shift == number)
        shared = _overlap(down, across), _overlap(-down, -across)
        own, other = (
            _standardise(x[rows][:, y, z]) for x, (y, z) in zip((a, b), shared, strict=True)
        )
        apart[rows] = np.sqrt(((own - other) ** 2).mean(axis=(1, 2, 3)))
    return apart


def _overlap(down: int, across: int) -> tuple[slice, slice]:
    """Return the rows and columns of a picture that another one, moved by so much, covers."""
    return tuple(slice(max(0, by), SIDE + min(0, by)) for by in (down, across))  # type: ignore


def _standardise(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return pictures without their brightness and contrast, which a copy may have changed."""
    centred = pictures - pictures.mean(axis=(1, 2, 3), keepdims=True)
    return np.asarray(centred / (centred.std(axis=(1, 2, 3), keepdims=True) + 1))

"""Near copies: the same image, compressed again or scaled. Their noise is alike, as that of no two exposures is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from threadpoolctl import threadpool_limits

SIDE = 24
"""blocks a side of which the noise is compared; smaller images are not compared"""
ALIKE = 0.8
"""correlation of the noise from which on two images are one. In 18,000 cutouts of the SDSS at 128 pixels that of
different objects was 0.66 at most; that of an image and its copy at JPEG quality 75 was 0.99 or more in 99 %"""
SMOOTH = 0.4
"""if a quarter of all pairs are more alike than this, the images have no noise, and it can't be told"""
CLIP, STEPS = 3.0, 42
"""of what is left of block means without the median of 5 x 5 blocks: the largest value, in units of the median one, and
how many steps of a signature, int8, make one unit"""
TABLES, BUCKET = 12, 64
"""random divisions of the images, and how many images are together in a part of one, on average"""
MOST = 2048
"""images that are compared at once"""
PAIRS = 2000
"""from which it is told whether the images have noise"""


class Signatures:
    """The noise of each image of a set, and which of them are near copies of others.

    Images are compared where their signatures fall on the same sides of random planes (Charikar 2002,
    doi:10.1145/509907.509965), so the work grows as the number of images does.
    """

    def __init__(self, objects: int) -> None:
        self._noise = np.zeros((objects, SIDE * SIDE), np.int8)

    @np.errstate(over="ignore", invalid="ignore")
    def add(self, rows: np.ndarray | list[int], pixels: np.ndarray) -> None:
        """The pixels [image, y, x, band] of the images in some rows."""
        from scipy.ndimage import median_filter

        if min(pixels.shape[1:3]) < SIDE or not len(rows):
            return
        means = _block_means(pixels)
        left = means - median_filter(means, (1, 5, 5))
        unit = np.median(np.abs(left), axis=(1, 2), keepdims=True)
        left = np.divide(left, unit, out=np.zeros_like(left), where=unit > 0).clip(-CLIP, CLIP)
        even = STEPS * (left - left.mean((1, 2), keepdims=True))
        self._noise[rows] = np.rint(even).clip(-127, 127).reshape(len(means), -1)

    def groups(self) -> np.ndarray:
        """A number for each image, int64 [object], the same for near copies: the row of the first of them."""
        alone = np.arange(len(self._noise), dtype=np.int64)
        rows = np.flatnonzero(self._noise.any(1))
        noise = self._noise[rows]
        if len(rows) < 2 or _smooth(noise):
            return alone
        with threadpool_limits(1, "blas"):  # whose threads only wait for each other in products this small
            pairs = np.concatenate([np.zeros((2, 0), np.int64), *_alike(noise)], axis=1)
        return _joined(alone, rows[pairs])


def _block_means(pixels: np.ndarray) -> np.ndarray:
    """Sums over bands, means over SIDE x SIDE blocks, float32 [image, block row, block column]."""
    grey = pixels[..., 0].astype(np.float32)
    for band in range(1, pixels.shape[3]):
        grey += pixels[..., band]
    for axis in (1, 2):
        edges = np.linspace(0, grey.shape[axis], SIDE + 1).astype(int)
        shape = [1, 1, 1]
        shape[axis] = SIDE
        grey = np.add.reduceat(grey, edges[:-1], axis)
        grey /= np.diff(edges).reshape(shape)
    return np.nan_to_num(grey, nan=0, posinf=0, neginf=0)


def _smooth(noise: np.ndarray) -> bool:
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, len(noise), (2, PAIRS))
    apart = left != right
    x, y = (_unit(noise[some[apart]]) for some in (left, right))
    return bool(np.quantile((x * y).sum(1), 0.75) > SMOOTH)


def _alike(noise: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs of images that are alike, int64 [2, pair]; a pair may come more than once."""
    rng = np.random.default_rng(0)
    bits = max(0, int(np.log2(len(noise) / BUCKET)))
    planes = rng.standard_normal((noise.shape[1], TABLES * bits), dtype=np.float32)
    codes = np.zeros((len(noise), TABLES if bits else 1), np.int64)
    for begin in range(0, len(noise), MOST):
        side = noise[begin : begin + MOST].astype(np.float32) @ planes > 0
        codes[begin : begin + MOST] = side.reshape(len(side), -1, bits) @ (1 << np.arange(bits)) if bits else 0
    for code in codes.T:
        order = np.argsort(code, kind="stable")
        ends = np.flatnonzero(np.diff(code[order], append=-1)) + 1
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            for first in range(begin, end - 1, MOST - 1):  # one is in two parts, and links many copies in both
                some = order[first : min(first + MOST, end)]
                x = _unit(noise[some])
                pairs = np.stack(np.nonzero(np.triu(x @ x.T > ALIKE, 1)))
                yield some[pairs if pairs.shape[1] <= len(some) else _fewest(len(some), pairs)]


def _fewest(images: int, pairs: np.ndarray) -> np.ndarray:
    """Pairs that keep together what these do, one for each image: there may be millions among copies of one image."""
    every = np.arange(images)
    return np.stack([_joined(every, pairs), every])


def _unit(noise: np.ndarray) -> np.ndarray:
    x = noise.astype(np.float32)
    return x / np.sqrt(np.einsum("ij,ij->i", x, x))[:, None]


def _joined(groups: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Groups in which the two of each pair are together: the smallest row of each."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(len(groups), len(groups)))
    component = connected_components(links, directed=False)[1]
    first = np.full(component.max() + 1, len(groups), np.int64)
    np.minimum.at(first, component, groups)
    return first[component]

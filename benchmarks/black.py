"""How black good cutouts are: pixels, and whole 8 x 8 blocks, of real images (docs/decisions/0016).

python benchmarks/black.py FILE.parquet ...      # of each, at most 6,000 images
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np

from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode

BLOCK = 8


def main(paths: list[str]) -> None:
    """Print shares of images with more than 5 % black, by each way of counting."""
    images = itertools.chain.from_iterable(itertools.islice(read_cutouts(Path(p)).images(), 6000) for p in paths)
    shares: dict[str, list[float]] = {"pixels": [], **{f"blocks of at most {level}": [] for level in (0, 2, 4)}}
    for name, data, _ in images:
        brightest = decode(data, name).max(2)
        rows, columns = (side // BLOCK for side in brightest.shape)
        blocks = brightest[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK).max((1, 3))
        shares["pixels"].append(float((brightest == 0).mean()))
        for level in (0, 2, 4):
            shares[f"blocks of at most {level}"].append(float((blocks <= level).mean()))
    for what, some in shares.items():
        values = 100 * np.array(some)
        over = values > 5
        print(f"{what}: {over.sum()} of {len(values)} images ({100 * over.mean():.2f} %) have more than 5 %", end="; ")
        print(f"99th percentile {np.percentile(values, 99):.1f} %, most {values.max():.1f} %")


if __name__ == "__main__":
    main(sys.argv[1:])

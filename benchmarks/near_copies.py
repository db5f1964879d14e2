"""How many images that were saved again are recognised, and how many different ones are taken for one?

    python benchmarks/near_copies.py CUTOUTS.parquet

Some cutouts are compressed again, or scaled and scaled back, and put beside all. It takes a minute for 18,000.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.data.near_copies import Signatures

SIDES = (128, 64, 48, 32)
COPIES = 1000


def saved(kind: str, quality: int) -> Callable[[Image.Image], Image.Image]:
    def save(image: Image.Image) -> Image.Image:
        out = io.BytesIO()
        image.save(out, kind, quality=quality)
        return Image.open(io.BytesIO(out.getvalue())).convert("RGB")

    return save


def scaled(image: Image.Image) -> Image.Image:
    side = image.size[0]
    return image.resize((3 * side // 4,) * 2, Image.Resampling.BICUBIC).resize((side, side), Image.Resampling.BICUBIC)


CHANGES = {
    "JPEG 90": saved("JPEG", 90),
    "JPEG 75": saved("JPEG", 75),
    "JPEG 50": saved("JPEG", 50),
    "scaled": scaled,
    "WebP 80": saved("WEBP", 80),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cutouts", type=Path)
    cutouts = read_cutouts(parser.parse_args().cutouts, need_labels=False)
    whole = np.stack([decode(data, name) for name, data, _ in cutouts.images()])
    print(f"| px | images | seconds | wrongly together | {' | '.join(CHANGES)} |")
    print("|---" * (4 + len(CHANGES)) + "|")
    for side in SIDES:
        if side <= whole.shape[1]:
            at = (whole.shape[1] - side) // 2
            row(whole[:, at : at + side, at : at + side])


def row(pixels: np.ndarray) -> None:
    """One line: the images alone, then with copies of some beside them."""
    count, begun = len(pixels), time.process_time()
    noise = Signatures(count + COPIES * len(CHANGES))
    noise.add(np.arange(count), pixels)
    wrong = int((noise.groups()[:count] != np.arange(count)).sum())
    seconds = time.process_time() - begun
    of = np.random.default_rng(0).choice(count, min(COPIES, count), replace=False)
    places = [count + COPIES * number + np.arange(len(of)) for number in range(len(CHANGES))]
    for rows, change in zip(places, CHANGES.values(), strict=True):
        noise.add(rows, np.stack([np.asarray(change(Image.fromarray(pixels[each]))) for each in of]))
    groups = noise.groups()
    found = [f"{np.mean(groups[rows] == of):.1%}" for rows in places]
    print(f"| {pixels.shape[1]} | {count} | {seconds:.1f} | {wrong} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()

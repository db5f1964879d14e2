"""What tells images of another kind from those of the training's kind: the AUROC of several scores (docs/bundle.md).

python benchmarks/outliers.py BUNDLE DATA.parquet TEST.parquet MOCK.parquet [--seed N]

DATA is what the bundle was trained on, TEST other objects of the same survey, MOCK what `skythaw data mock` made. The
scores are fitted on the cell's training images; the first is the one of bundles, as `References` computes it, of all
training images (a bundle keeps some of them). Every column is one kind of image that the classifier was not made
for, told from the images of validation; the last columns are the means over the kinds, against validation and against
TEST. Each kind but the mock survey is made of the images of validation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

import skythaw
from skythaw.bundle.export.pick_references import fit_space, rows_of
from skythaw.bundle.references import RESIDUAL, K, References
from skythaw.data.cutouts import Cutouts, read_cutouts
from skythaw.data.decode import decode

WORDS = "the spectra were reduced with the standard pipeline and fitted by templates of stars, galaxies and quasars "
Score = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bundle", "data", "test", "mock"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    classifier, cutouts = skythaw.load(given.bundle, device="cpu"), read_cutouts(given.data)
    cell = classifier.about.cell
    train, held = rows_of(cell, cutouts)
    side, crop = classifier.about.expected.side, cell.pixels.crop
    validation = images(cutouts, held)
    rng = np.random.default_rng(given.seed)
    sets = {"train": images(cutouts, train), "validation": validation, "test": images(read_cutouts(given.test))}
    sets |= {name: np.stack(some) for name, some in strangers(validation, side, crop, rng).items()}
    sets["mock survey"] = images(read_cutouts(given.mock))
    seen = {name: classifier.outputs(some) for name, some in sets.items()}
    kinds = [name for name in sets if name not in ("train", "validation", "test")]
    label = np.searchsorted(np.array(cutouts.classes), cutouts.labels[train].astype(str))
    print(f"{cell.backbone}, depth {cell.depth}: {len(train)} training, {len(validation)} validation images")
    print("| score | " + " | ".join(kinds) + " | mean | mean, test |\n|---|" + "---|" * (len(kinds) + 2))
    space = fit_space(seen["train"].features, seen["validation"].features)
    chosen = {f"of bundles: PCA 64 + {RESIDUAL:g} x residual, k = {K}": References(space).distances}
    for name, score in (chosen | scores(seen["train"].features, label)).items():
        values = {part: score(each.features) for part, each in seen.items()}
        show(name, values, kinds)
    p = {part: each.p for part, each in seen.items()}
    show("1 - largest probability", {part: 1 - each.max(1) for part, each in p.items()}, kinds)


def show(name: str, values: dict[str, np.ndarray], kinds: list[str]) -> None:
    """One line of the table."""
    found = {part: [auroc(values[part], values[kind]) for kind in kinds] for part in ("validation", "test")}
    cells = [f"{value:.3f}" for value in (*found["validation"], *(np.mean(each) for each in found.values()))]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """The chance that an outlier has the larger score."""
    truth = np.repeat([0, 1], [len(inside), len(outside)])
    return float(roc_auc_score(truth, np.concatenate([inside, outside])))


def images(cutouts: Cutouts, rows: np.ndarray | None = None) -> np.ndarray:
    """Decoded images [object, y, x, band]."""
    wanted = set(range(len(cutouts)) if rows is None else rows.tolist())
    found = {row: decode(data, name) for row, (name, data, _) in enumerate(cutouts.images()) if row in wanted}
    return np.stack([found[row] for row in (sorted(found) if rows is None else rows.tolist())])


def strangers(stack: np.ndarray, side: int, crop: int, rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Images of other kinds, each [y, x, band] of `crop` pixels or more."""
    top = (side - crop) // 2
    cut = stack[:, top : top + crop, top : top + crop]
    sky = np.median(stack[:, :8, :8], axis=(1, 2))
    spread = np.minimum(stack[:, :8, :8].std((1, 2)), 12)
    shape = (crop, crop, 3)
    return {
        "half the scale": [np.asarray(Image.fromarray(x).resize((side // 2,) * 2, Image.Resampling.BOX)) for x in stack]
        if side // 2 >= crop
        else [],
        "twice the scale": [np.asarray(Image.fromarray(x).resize((2 * side,) * 2)) for x in stack],
        "blue for red": list(cut[..., ::-1]),
        "negative": list(255 - cut),
        "off centre": list(stack[:, :crop, :crop]),
        "blurred": [np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(2))) for x in cut],
        "blank sky": [
            np.clip(rng.normal(mean, std + 0.5, shape), 0, 255).astype(np.uint8)
            for mean, std in zip(sky, spread, strict=True)
        ],
        "noise": list(rng.integers(0, 256, (len(stack), *shape), np.uint8)),
        "text": [page(crop, rng) for _ in stack],
    }


def page(side: int, rng: np.random.Generator) -> np.ndarray:
    """A piece of a printed page."""
    image = Image.new("RGB", (side, side), "white")
    draw, start = ImageDraw.Draw(image), int(rng.integers(len(WORDS)))
    text = WORDS[start:] + 9 * WORDS
    for line in range(side // 11 + 1):
        draw.text((-int(rng.integers(6)), 11 * line - 3), text[40 * line : 40 * line + 40], fill="black")
    return np.asarray(image)


def scores(train: np.ndarray, label: np.ndarray) -> dict[str, Score]:
    """Functions from features to scores, larger for outliers, by name."""
    found: dict[str, Score] = {}
    for k in (1, 5, 10, 50):
        found[f"kNN, {train.shape[1]} dimensions, k = {k}"] = nearest(train, unit, k)
    found["kNN, not normalised, k = 5"] = nearest(train, lambda x: x, 5)
    for dims in (16, 32, 64):
        inside, beside = axes(unit(train), dims)
        found[f"kNN, PCA {dims}, k = 5"] = nearest(train, lambda x, f=inside: f(unit(x)), 5)
        found[f"kNN, PCA {dims} + residual, k = 5"] = nearest(train, lambda x, f=beside: f(unit(x)), 5)
    inside, beside = axes(unit(train), 64)
    for k in (1, 10):
        found[f"kNN, PCA 64 + residual, k = {k}"] = nearest(train, lambda x, f=beside: f(unit(x)), k)
    scale = beside(unit(train)).std(0)
    found["kNN, PCA 64 + residual, each axis at unit variance, k = 5"] = nearest(
        train, lambda x: beside(unit(x)) / scale, 5
    )
    found["residual of PCA 64 alone"] = lambda x: beside(unit(x))[:, -1]
    found[f"Mahalanobis, {train.shape[1]} dimensions"] = mahalanobis(train, label, lambda x: x)
    found["Mahalanobis, normalised, PCA 64"] = mahalanobis(train, label, lambda x: inside(unit(x)))
    found["Mahalanobis, normalised, PCA 64 + residual"] = mahalanobis(train, label, lambda x: beside(unit(x)))
    return found


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def axes(train: np.ndarray, dims: int) -> tuple[Score, Score]:
    """Places on the first principal components; and those with the length of what they leave out."""
    mean = train.mean(0)
    basis = np.linalg.svd(train - mean, full_matrices=False)[2][:dims].T

    def inside(x: np.ndarray) -> np.ndarray:
        return (x - mean) @ basis

    def beside(x: np.ndarray) -> np.ndarray:
        place = inside(x)
        rest = np.linalg.norm(x - mean - place @ basis.T, axis=1)
        return np.column_stack([place, rest])

    return inside, beside


def nearest(train: np.ndarray, place: Score, k: int) -> Score:
    """Sun et al. (2022): the distance to the k-th nearest training image."""
    known = place(train)

    def score(x: np.ndarray) -> np.ndarray:
        at = place(x)
        squares = (at**2).sum(1)[:, None] - 2 * at @ known.T + (known**2).sum(1)
        return np.sqrt(np.maximum(np.partition(squares, k - 1, axis=1)[:, k - 1], 0))

    return score


def mahalanobis(train: np.ndarray, label: np.ndarray, place: Score) -> Score:
    """Lee et al. (2018): to the nearest class, with one covariance for all (Ledoit-Wolf)."""
    known = place(train)
    means = np.stack([known[label == each].mean(0) for each in np.unique(label)])
    inverse = LedoitWolf(assume_centered=True).fit(known - means[label]).precision_

    def score(x: np.ndarray) -> np.ndarray:
        off = place(x)[:, None] - means
        return np.einsum("nci,ij,ncj->nc", off, inverse, off, optimize=True).min(1)

    return score


if __name__ == "__main__":
    main()

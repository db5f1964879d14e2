"""Compare mock and real cutouts, measured in the same way from their JPEGs. See docs/mock.md.

python docs/scripts/mock_vs_real.py --real sdss_dr16_balanced.parquet --objects 1200 --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from scipy.stats import ks_2samp
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import recall_score
from sklearn.model_selection import cross_val_predict

from skythaw.data.sources.mock.mock_survey import make_mock
from skythaw.data.sources.mock.populations import CLASSES

mpl.use("Agg")
import matplotlib.pyplot as plt

SIZE = 64
FEATURES = {
    "brightness": "mean of R, G, B within 4 px of the centre, background taken off",
    "ln R/B": "logarithm of the ratio of red and blue within 3 px of the centre",
    "ln R/G": "logarithm of the ratio of red and green within 3 px of the centre",
    "radius": "second moment of the light within 10 px of the centre, px",
    "background": "median of R, G, B over the cutout",
    "noise": "median absolute deviation from the background, times 1.48",
    "sources": "share of the pixels more than 30 above the background",
}


def read(path: Path, objects: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The central `SIZE` pixels, the labels, and the bytes of the images of a file, or of some of them."""
    rows = pq.read_table(path, columns=["image", "label"]).to_pylist()
    if objects is not None and objects < len(rows):
        rows = [rows[i] for i in np.random.default_rng(0).choice(len(rows), objects, replace=False)]
    files = [row["image"]["bytes"] for row in rows]
    images = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    edges = [(len(image) - SIZE) // 2 for image in images]
    cut = np.stack([image[e : e + SIZE, e : e + SIZE] for image, e in zip(images, edges, strict=True)])
    return cut, np.array([row["label"] for row in rows]), np.array([len(file) for file in files])


def measure(images: np.ndarray) -> dict[str, np.ndarray]:
    """The `FEATURES` of images ``[object, y, x, RGB]``."""
    values = images.astype(float)
    background = np.median(values, axis=(1, 2))
    above = values - background[:, None, None]
    y, x = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    r = np.hypot(x, y)
    red, green, blue = (values[:, r < 3].mean(axis=1) + 5).T
    light = np.clip(above.mean(axis=-1), 0, None) * (r < 10)
    return {
        "brightness": above[:, r < 4].mean(axis=(1, 2)),
        "ln R/B": np.log(red / blue),
        "ln R/G": np.log(red / green),
        "radius": np.sqrt((light * r**2).sum(axis=(1, 2)) / np.maximum(light.sum(axis=(1, 2)), 1e-9)),
        "background": background.mean(axis=1),
        "noise": 1.4826 * np.median(np.abs(above), axis=(1, 2, 3)),
        "sources": (above.mean(axis=-1) > 30).mean(axis=(1, 2)),
    }


def difficulty(features: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """Accuracy and recalls of a random forest on the central features, five-fold cross-validated."""
    columns = np.stack([features[name] for name in ("brightness", "ln R/B", "ln R/G", "radius")], axis=1)
    guessed = cross_val_predict(RandomForestClassifier(300, min_samples_leaf=5, random_state=0), columns, labels, cv=5)
    recalls = recall_score(labels, guessed, labels=list(CLASSES), average=None)
    return {"accuracy": float(np.mean(guessed == labels)), **dict(zip(CLASSES, map(float, recalls), strict=True))}


def compare(mocks: list[tuple], real: tuple) -> None:
    """Print medians and Kolmogorov-Smirnov distances per class and feature: mean and spread over the mocks."""
    of_real, of_mocks = measure(real[0]), [measure(mock[0]) for mock in mocks]
    print("| class | what | real | mock | KS distance |\n|---|---|---|---|---|")
    for label in CLASSES:
        for name in FEATURES:
            a = of_real[name][real[1] == label]
            b = [features[name][mock[1] == label] for features, mock in zip(of_mocks, mocks, strict=True)]
            middle = [np.median(each) for each in b]
            distance = [ks_2samp(a, each).statistic for each in b]
            print(f"| {label} | {name} | {np.median(a):.3g} | {_spread(middle)} | {_spread(distance)} |")
    print("\n| random forest | accuracy | GALAXY | QSO | STAR |\n|---|---|---|---|---|")
    scores = [difficulty(features, mock[1]) for features, mock in zip(of_mocks, mocks, strict=True)]
    print("| real |" + "".join(f" {value:.2f} |" for value in difficulty(of_real, real[1]).values()))
    print("| mock |" + "".join(f" {_spread([score[key] for score in scores])} |" for key in scores[0]))


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3g} ± {np.std(values, ddof=1):.1g}" if len(values) > 1 else f"{values[0]:.3g}"


def distributions(mock: tuple, real: tuple, out: Path) -> None:
    """Draw the distributions of four features per class, mock over real."""
    of_mock, of_real = measure(mock[0]), measure(real[0])
    shown = ("brightness", "ln R/B", "radius", "noise")
    figure, axes = plt.subplots(len(CLASSES), len(shown), figsize=(11, 6.5), layout="constrained", sharex="col")
    for row, label in zip(axes, CLASSES, strict=True):
        for axis, name in zip(row, shown, strict=True):
            a, b = of_real[name][real[1] == label], of_mock[name][mock[1] == label]
            bins = np.linspace(*np.percentile(np.concatenate([of_real[name], of_mock[name]]), [0.5, 99.5]), 31)
            axis.hist(a, bins, density=True, color="0.75", label="real")
            axis.hist(b, bins, density=True, histtype="step", color="tab:red", linewidth=1.5, label="mock")
            axis.set_yticks([])
            if label == CLASSES[-1]:
                axis.set_xlabel(name)
        row[0].set_ylabel(label)
    axes[0, 0].legend(frameon=False)
    figure.savefig(out, dpi=80)
    plt.close(figure)


def sheet(sets: list[tuple[str, np.ndarray, np.ndarray]], out: Path, columns: int = 8, rows: int = 2) -> None:
    """Draw cutouts of each class in `rows` rows of `columns`, the sets side by side."""
    figure = plt.figure(figsize=(len(sets) * columns, len(CLASSES) * (rows + 0.25)))
    grid = figure.subfigures(len(CLASSES), len(sets), squeeze=False)
    for number, label in enumerate(CLASSES):
        for part, (title, images, labels) in zip(grid[number], sets, strict=True):
            part.suptitle(f"{title} {label}", x=0.01, y=0.99, ha="left")
            axes = part.subplots(rows, columns, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
            part.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=0.9)
            for axis, image in zip(axes.flat, images[labels == label], strict=False):
                axis.imshow(image, interpolation="nearest")
            for axis in axes.flat:
                axis.set_axis_off()
    figure.savefig(out, dpi=100 if len(sets) == 1 else 80)
    plt.close(figure)


def main() -> None:
    """Read the arguments, make the mocks, print the table, draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--real", type=Path, help="Parquet file of real cutouts; without it only mock_sheet.png is drawn"
    )
    parser.add_argument("--objects", type=int, default=1200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder of the pictures to keep")
    parser.add_argument("--pair", type=Path, help="also draw mock and real side by side to this PNG")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    mocks = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            start = time.perf_counter()
            mocks.append(read(make_mock(Path(folder) / f"{seed}.parquet", arguments.objects, seed, SIZE)))
            print(f"seed {seed}: {arguments.objects} mock objects in {time.perf_counter() - start:.0f} s")
    sheet([("mock", mocks[0][0], mocks[0][1])], arguments.out / "mock_sheet.png")
    if arguments.real is None:
        return
    real = read(arguments.real, 3000)
    compare(mocks, real)
    distributions(mocks[0], real, arguments.out / "mock_distributions.png")
    if arguments.pair is not None:
        sheet([("mock", mocks[0][0], mocks[0][1]), ("real", real[0], real[1])], arguments.pair)


if __name__ == "__main__":
    main()

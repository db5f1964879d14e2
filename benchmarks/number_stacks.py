"""Which model of the numbers should stand beside the image: one of two, one of three, or all of them in the stack?

    python benchmarks/number_stacks.py TRAIN TEST --cache FOLDER [--sizes 300 1500] [--seeds 3]
    python benchmarks/number_stacks.py PHOTOMETRY --cache FOLDER

TRAIN and TEST are cutouts of different sky in skythaw's Parquet form: numbers are measured, TEST is only scored.
PHOTOMETRY are cutouts with modelMag_u to _z: five folds by field. The image half is logistic regression on frozen
features of EfficientNet-Lite0 (crop of 32 pixels, at 96). What a study chooses on validation is chosen here by the log
loss of training objects out of fold. Gains are in points of macro-F1, paired, with 95 % intervals over fields.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from number_scores import FITS, PHOTOMETRY, numbers, targets_of
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold

from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import locate
from skythaw.data.cutouts import Cutouts, read_cutouts
from skythaw.data.network_input import batch_input, normalise
from skythaw.data.pixel_store import open_store
from skythaw.data.split import nested_order
from skythaw.data.split_groups import groups
from skythaw.spec import Numbers, Pixels, WeightsChoice
from skythaw.stats.bootstrap import drawn, scores_of
from skythaw.tuning.folds import folds_of
from skythaw.tuning.fusion import LEAST, NETWORK_FOLDS, fit_stack, log_loss_of

STRENGTH = 3e-3
"""inverse strength of the restraint of the image half"""
NUMBER_FOLDS = 5
STACKS = {
    "both, all three in the stack": ("image", "boosting", "linear", "forest"),
    "both, boosting and linear in the stack": ("image", "boosting", "linear"),
}
BEFORE = "both, before: the better of two"
Said = dict[str, np.ndarray]
"""by what is judged: log-probabilities [object class]"""
Predict = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path, nargs="?")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 1500])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.test is None:
        photometry(given.train, given.cache)
        return
    for size in given.sizes:
        print(f"\nmeasured numbers, {size} training images, {given.seeds} seeds")
        measured(given, size)


def measured(given: argparse.Namespace, size: int) -> None:
    train, test = (read_cutouts(path) for path in (given.train, given.test))
    values, test_values = (numbers(each, Numbers(measured=True), given.cache) for each in (train, test))
    seen, targets, field = (
        features(test, np.arange(len(test)), given.cache),
        targets_of(train),
        groups(train, "field", 0),
    )
    found = []
    for seed in range(given.seeds):
        rows = nested_order(train.labels.astype(str), seed)[:size]
        learned = (features(train, rows, given.cache), values[rows], targets[rows], field[rows])
        found.append(judge(learned, (seen, test_values), seed))
    show(found, targets_of(test), groups(test, "field", 0))


def photometry(path: Path, cache: Path) -> None:
    cutouts = read_cutouts(path)
    targets, field = targets_of(cutouts), groups(cutouts, "field", 0)
    values, seen = (
        numbers(cutouts, Numbers(columns=PHOTOMETRY), cache),
        features(cutouts, np.arange(len(cutouts)), cache),
    )
    whole: Said = defaultdict(lambda: np.zeros((len(targets), len(cutouts.classes))))
    for rest, fold in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(seen, targets, field):
        learned = (seen[rest], values[rest], targets[rest], field[rest])
        for name, log_p in judge(learned, (seen[fold], values[fold]), 0).items():
            whole[name][fold] = log_p
    print("photometry, five folds by field")
    show([whole], targets, field)


def judge(
    learned: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], asked: tuple[np.ndarray, np.ndarray], seed: int
) -> Said:
    """What each half, and each way to combine them, says of other objects.

    `learned` are features, numbers, targets and groups of the training objects, `asked` features and numbers of others.
    """
    seen, values, targets, group = learned
    fits: dict[str, Callable[[np.ndarray, np.ndarray], Predict]] = {"image": fit_image}
    for name, fit in FITS.items():
        fits[name] = lambda x, y, fit=fit: fit(x, y, int(targets.max()) + 1, seed).log_probabilities
    held, said = {}, {}
    for name, fit in fits.items():
        x, z = (seen, asked[0]) if name == "image" else (values, asked[1])
        held[name] = out_of_fold(fit, x, targets, group, NETWORK_FOLDS if name == "image" else NUMBER_FOLDS)
        said[name] = fit(x, targets)(z)
    for words, among in (("two", ("boosting", "linear")), ("three", tuple(FITS))):
        best = min(among, key=lambda name: log_loss_of(held[name], targets))
        said[f"numbers, the best of {words}"] = said[best]
        name = BEFORE if words == "two" else "both, now: the best of three"
        said[name] = stacked(("image", best), held, said, targets)
    return said | {name: stacked(parts, held, said, targets) for name, parts in STACKS.items()}


def stacked(parts: Sequence[str], held: Said, said: Said, targets: np.ndarray) -> np.ndarray:
    stack = fit_stack(tuple(held[name] for name in parts), targets)  # type: ignore[arg-type]
    return stack.log_probabilities(tuple(said[name] for name in parts))  # type: ignore[arg-type]


def fit_image(x: np.ndarray, y: np.ndarray) -> Predict:
    mean, scale = x.mean(0), x.std(0) + 1e-6
    model = LogisticRegression(C=STRENGTH, max_iter=500, tol=1e-3).fit((x - mean) / scale, y)
    return lambda z: np.log(np.maximum(model.predict_proba((z - mean) / scale), np.exp(LEAST)))


def out_of_fold(
    fit: Callable[[np.ndarray, np.ndarray], Predict], x: np.ndarray, y: np.ndarray, group: np.ndarray, count: int
) -> np.ndarray:
    folds = folds_of(y, group, count)
    assert folds is not None
    found = np.zeros((len(y), int(y.max()) + 1))
    for rest, fold in folds:
        found[fold] = fit(x[rest], y[rest])(x[fold])
    return found


def features(cutouts: Cutouts, rows: np.ndarray, cache: Path) -> np.ndarray:
    """float32 [object feature]; kept in the cache folder"""
    file = cache / f"features-{cutouts.sha256[:16]}.npz"
    kept = np.load(file) if file.exists() else {"rows": np.zeros(0, int), "x": np.zeros((0, 1280), np.float32)}
    known = dict(zip(kept["rows"].tolist(), kept["x"], strict=True))
    if wanted := [row for row in rows.tolist() if row not in known]:
        chosen = backbone("efficientnet_lite0")
        network, store = build(chosen, locate(chosen, WeightsChoice())), open_store(cutouts, cache)
        for some in np.array_split(np.array(wanted), -(-len(wanted) // 64)):
            x = batch_input(store.pixels, some, Pixels(crop=32, size=96), bands=store.bands)
            with torch.inference_mode():
                last = network(normalise(x, network.preprocessing.mean, network.preprocessing.std)).mean((2, 3))
            known.update(zip(some.tolist(), last.numpy(), strict=True))
        np.savez(file, rows=np.array(list(known)), x=np.stack(list(known.values())))
    return np.stack([known[row] for row in rows.tolist()])


def show(several: Sequence[Mapping[str, np.ndarray]], targets: np.ndarray, field: np.ndarray) -> None:
    """A table: means over the seeds."""
    group = np.unique(field, return_inverse=True)[1]
    draws = np.concatenate([np.ones((1, group.max() + 1)), drawn(int(group.max()) + 1, 2000, 0)])
    classes = [str(i) for i in range(int(targets.max()) + 1)]

    def in_draws(log_p: np.ndarray) -> np.ndarray:
        counts = np.zeros((len(draws[0]), len(classes), len(classes)))
        np.add.at(counts, (group, targets, log_p.argmax(1)), 1)
        return scores_of(np.tensordot(draws, counts, 1), classes)["macro_f1"]

    scores = {name: np.mean([in_draws(said[name]) for said in several], axis=0) for name in several[0]}
    print("| judged by | macro-F1 | each seed | gain over both before | log loss |\n|---|---|---|---|---|")
    for name, values in scores.items():
        gain = 100 * (values - scores[BEFORE])
        low, high = np.quantile(gain[1:], (0.025, 0.975))
        each = ", ".join(f"{f1_score(targets, said[name].argmax(1), average='macro'):.3f}" for said in several)
        loss = np.mean([log_loss_of(said[name], targets) for said in several])
        print(
            f"| {name} | {values[0]:.4f} | {each} | {gain[0]:+.1f} ({low:+.1f}, {high:+.1f}) | {loss:.3f} |", flush=True
        )


if __name__ == "__main__":
    main()

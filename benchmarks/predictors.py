"""Do cheap numbers, had before any depth is trained, put the depths in the order in which the exact study puts them?

    python benchmarks/predictors.py STUDY.toml RUN [--cache FOLDER]

RUN holds the finished study (one network, one training size, several seeds). Each predictor is computed for every depth
on the training and validation images of a seed, never on test; printed are its values, its seconds, its rank
correlation (Spearman) with the mean test macro-F1 over all seeds, and the regret of following it, in points: how far
the depth it likes best is behind the best one. "depth itself" is what every predictor has to beat.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import BayesianRidge
from torch.nn.functional import cross_entropy

from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network import build
from skythaw.machine.numerics import numerics
from skythaw.spec import Cell, Study
from skythaw.study.cell_sets import PARTS, CellSets, load_sets
from skythaw.study.ledger import Ledger
from skythaw.study.plan import make_plan
from skythaw.study.run_cell import solve_probe
from skythaw.tuning.frozen.crossing import compute, crossing
from skythaw.tuning.linear_probe import solve, start_from
from skythaw.tuning.locations import Locations
from skythaw.tuning.scores import quick_scores
from skythaw.tuning.thawed_network import ThawedNetwork, assemble
from skythaw.tuning.training_loop import predict

STEPS = 8
"""of the loss drop, and batches of the gradients"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "skythaw")
    parser.add_argument("--seeds", type=int, default=1, help="how many of the study's seeds")
    parser.add_argument("--only", nargs="+", choices=PREDICTORS, default=PREDICTORS, metavar="NAME")
    args = parser.parse_args()
    study = Study.load(args.study)
    plan = make_plan(study, args.cache, download=True)
    exact = exact_scores(args.run)
    depths = sorted(exact)
    truth = np.array([np.mean(exact[depth]) for depth in depths])
    print(f"depths {depths}; test macro-F1 over {len(exact[depths[0]])} seeds {np.round(truth, 4).tolist()}")
    tell("depth itself", [np.array(depths, float)], 0.0, truth)
    for name in args.only:
        start = time.perf_counter()
        values = []
        for seed in sorted({p.cell.seed for p in plan.cells})[: args.seeds]:
            planned = sorted((p for p in plan.cells if p.cell.seed == seed), key=lambda p: p.cell.depth)
            locations = Locations(
                study.data.path, study.data.test_path, planned[0].weights, args.cache, args.run, "cpu", False
            )
            with numerics(1, seed, "cpu") as device:
                sets = load_sets(planned[0].cell, locations, device, PARTS[:2])
                values.append(np.array(PREDICTORS[name]([p.cell for p in planned], locations, sets)))
        tell(name, values, (time.perf_counter() - start) / args.seeds, truth)


def tell(name: str, values: list[np.ndarray], seconds: float, truth: np.ndarray) -> None:
    """Print how well a predictor did, mean over seeds, and its values of the first."""
    correlation = np.mean([spearmanr(each, truth).statistic for each in values])
    regret = np.mean([truth.max() - truth[int(each.argmax())] for each in values])
    shown = " ".join(f"{value:.4g}" for value in values[0])
    print(f"{name:26} rank correlation {correlation:+.2f}, regret {100 * regret:.2f}, {seconds:5.1f} s: {shown}")


def exact_scores(run: Path) -> dict[int, list[float]]:
    """Test macro-F1 of every seed by depth."""
    found = defaultdict(list)
    with Ledger.read(run) as ledger:
        for entry in ledger.entries():
            assert entry.result, "the study is not finished"
            found[entry.cell.depth].append(entry.result.scores["test"]["macro_f1"])
    return found


def features(cell: Cell, locations: Locations, sets: CellSets) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What crosses the cut, averaged over the image; the image itself where nothing is frozen."""
    model = assemble(build(backbone_of(cell), locations.weights), cell, len(sets.classes))
    found = {}
    for part, images in sets.images.items():
        rows = []
        for chosen in np.array_split(np.arange(len(images)), max(1, len(images) // 64)):
            still = np.zeros(len(chosen), dtype=np.int64)
            values = (images.batch(chosen),) if model.whole else compute(model, images, chosen, still)
            rows.append(torch.cat([v.float().mean((2, 3)) if v.ndim == 4 else v for v in values], 1))
        found[part] = torch.cat(rows).numpy(), images.targets
    return found


def logme(cell: Cell, locations: Locations, sets: CellSets) -> float:
    """Log evidence of a linear model of each class on the features (You et al., arXiv 2102.11005), an object."""
    x, y = features(cell, locations, sets)["train"]
    flat = {"alpha_1": 0, "alpha_2": 0, "lambda_1": 0, "lambda_2": 0}
    fits = [BayesianRidge(compute_score=True, fit_intercept=False, **flat).fit(x, y == c) for c in np.unique(y)]
    return float(np.mean([fit.scores_[-1] for fit in fits])) / len(x)


def h_score(cell: Cell, locations: Locations, sets: CellSets) -> float:
    """Shrinkage H-score: variance between classes over all variance (Ibrahim et al., arXiv 2110.06893)."""
    x, y = features(cell, locations, sets)["train"]
    x = x - x.mean(0)
    covariance, shrinkage = ledoit_wolf(x, assume_centered=True)
    means = np.stack([x[y == c].mean(0) for c in np.unique(y)])
    weights = np.bincount(y) / len(y)
    between = (means.T * weights) @ means
    return float((1 - shrinkage) * np.trace(np.linalg.solve(covariance + 1e-9 * np.eye(len(covariance)), between)))


def linear_probe(cell: Cell, locations: Locations, sets: CellSets) -> float:
    """Validation macro-F1 of a head solved exactly on the features at the cut."""
    found = features(cell, locations, sets)
    return solve(found["train"], found["validation"], cell.recipe).score


def relative_gradient(cells: list[Cell], locations: Locations, sets: CellSets) -> list[float]:
    """Gradient over weights, mean over the trained blocks, the head solved (Lee et al., arXiv 2210.11466).

    One pass at the largest depth gives the blocks of every other.
    """
    model, cell = solved(cells[-1], locations, sets)
    block_of, blocks = model.network.block_of(), len(model.network.blocks)
    ratios = defaultdict(list)
    for chosen in batches(sets.images["train"], cell):
        model.zero_grad()
        loss(model, sets.images["train"], chosen).backward()
        for name, parameter in model.network.features.named_parameters():
            if parameter.grad is not None:
                ratio = parameter.grad.norm() / (parameter.detach().norm() + 1e-12)
                ratios[block_of[name]].append(float(ratio))
    by_block = {block: float(np.mean(some)) for block, some in ratios.items()}
    print("  by block:", " ".join(f"{by_block.get(block, 0):.3f}" for block in range(blocks)))
    return [float(np.mean([by_block[b] for b in by_block if b >= blocks - c.depth] or [0.0])) for c in cells]


def loss_drop(cell: Cell, locations: Locations, sets: CellSets) -> float:
    """How far a few steps bring the log loss on validation down, the head solved."""
    model, cell = solved(cell, locations, sets)
    training, validation = sets.images["train"], sets.images["validation"]
    before = quick_scores(predict(model, validation, cell.recipe), validation.targets)["log_loss"]
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=float(cell.recipe.lr) / 3, fused=True
    )
    for chosen in batches(training, cell):
        optimizer.zero_grad()
        loss(model, training, chosen).backward()
        optimizer.step()
    return before - quick_scores(predict(model, validation, cell.recipe), validation.targets)["log_loss"]


def solved(cell: Cell, locations: Locations, sets: CellSets) -> tuple[ThawedNetwork, Cell]:
    """The model of a cell with its head solved exactly."""
    model = assemble(build(backbone_of(cell), locations.weights), cell, len(sets.classes)).to(
        memory_format=torch.channels_last
    )
    start_from(model, solve_probe(model, sets, cell))
    model.tune(model.thaw.blocks)
    return model, cell


def batches(images: object, cell: Cell) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.choice(len(images), cell.recipe.batch, replace=False) for _ in range(STEPS)]


def loss(model: ThawedNetwork, images: object, chosen: np.ndarray) -> torch.Tensor:
    logits = model.from_values(crossing(model, images, chosen))
    return cross_entropy(logits, torch.from_numpy(images.targets[chosen]))


def each(
    predictor: Callable[[Cell, Locations, CellSets], float],
) -> Callable[[list[Cell], Locations, CellSets], list[float]]:
    """A predictor of one depth for all of them."""
    return lambda cells, locations, sets: [predictor(cell, locations, sets) for cell in cells]


PREDICTORS: dict[str, Callable[[list[Cell], Locations, CellSets], list[float]]] = {
    "LogME at the cut": each(logme),
    "H-score at the cut": each(h_score),
    "linear probe at the cut": each(linear_probe),
    "relative gradient": relative_gradient,
    "loss drop in 8 steps": each(loss_drop),
}

if __name__ == "__main__":
    main()

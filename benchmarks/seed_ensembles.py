"""Is the mean of a study's seeds, as one classifier, better than one of them?

    python benchmarks/seed_ensembles.py RUN [RUN ...]

RUN are finished run folders with two or more seeds. For each depth: the mean test macro-F1 of a single seed, that of
the mean of their probabilities (each tempered on validation first, as a bundle does), and the paired gain with its 95 %
interval over fields. Where a depth has several settings (rates, lengths), all are averaged: nothing is chosen.
Two more ways of taking the mean stand beside it: untempered, and of logits.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.calibration import fit_temperature, tempered
from skythaw.stats.scored_sample import Sample, read_sample
from skythaw.study.ledger import Ledger

Mean = Callable[[Sequence[np.ndarray]], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    names = (
        "run | depth | settings | one seed | mean of seeds | gain, points (95 %) | untempered | of logits | log loss"
    )
    print(f"| {names} |\n{'|---' * 9}|")
    for run in parser.parse_args().runs:
        compare(run)


def compare(run: Path) -> None:
    """Print the rows of a run."""
    depths: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    with Ledger.read(run) as ledger:
        for entry in ledger.entries():
            if entry.result:
                depths[entry.cell.depth][entry.cell.model_copy(update={"seed": 0}).key].append(entry.key)
                classes = entry.result.classes
    for depth, settings in sorted(depths.items()):
        groups = [keys for keys in settings.values() if len(keys) > 1]
        keys = [key for group in groups for key in group]
        parts = {part: read_sample(run, part, classes, keys) for part in ("validation", "test")}
        if groups and all(parts.values()):
            print(row(run, depth, groups, parts["validation"], parts["test"]), flush=True)  # type: ignore[arg-type]


def row(run: Path, depth: int, groups: list[list[str]], validation: Sample, test: Sample) -> str:
    single = [scores(test, [test.log_probabilities(key) for key in group]) for group in groups]
    calm = [[tempered(test.log_probabilities(key), temperature(validation, key)) for key in group] for group in groups]
    means: dict[str, Mean] = {"tempered": of_probabilities, "untempered": of_probabilities, "logits": of_logits}
    raw = [[test.log_probabilities(key) for key in group] for group in groups]
    found = {
        name: scores(test, [mean(each) for each in (raw if name == "untempered" else calm)])
        for name, mean in means.items()
    }
    alone = np.mean([each["macro_f1"].mean(0) for each in single], axis=0)
    loss = np.mean([-each[np.arange(len(test)), test.true].mean() for group in calm for each in group])
    together = np.mean([-of_probabilities(each)[np.arange(len(test)), test.true].mean() for each in calm])
    gains = {name: 100 * (each["macro_f1"].mean(0) - alone) for name, each in found.items()}
    low, high = np.quantile(gains["tempered"][1:], (0.025, 0.975))
    return (
        f"| {run.name} | {depth} | {len(groups)} | {alone[0]:.4f} | {found['tempered']['macro_f1'].mean(0)[0]:.4f} | "
        f"{gains['tempered'][0]:+.2f} ({low:+.2f}, {high:+.2f}) | {gains['untempered'][0]:+.2f} | "
        f"{gains['logits'][0]:+.2f} | {loss:.3f}, {together:.3f} |"
    )


def temperature(validation: Sample, key: str) -> float:
    return fit_temperature(validation.log_probabilities(key), validation.true)


def of_probabilities(several: Sequence[np.ndarray]) -> np.ndarray:
    return np.logaddexp.reduce(several) - np.log(len(several))


def of_logits(several: Sequence[np.ndarray]) -> np.ndarray:
    return tempered(np.mean(several, axis=0), 1.0)


def scores(test: Sample, several: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Of classifiers on the same draws of the sky."""
    rows = np.arange(len(test))
    said = {str(i): each.argmax(1) for i, each in enumerate(several)}
    loss = {str(i): -each[rows, test.true] for i, each in enumerate(several)}
    return Bootstrap(replace(test, said=said, loss=loss)).scores(list(said))


if __name__ == "__main__":
    main()

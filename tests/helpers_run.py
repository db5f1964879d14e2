"""A run folder as a study leaves it, its predictions drawn instead of trained: how good each depth is, is known."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import log_softmax

from skythaw.report.page.page_sections import make_page, wanted_images
from skythaw.report.report_facts import report_facts
from skythaw.spec import Cell, Recipe
from skythaw.stats.cell_predictions import Predictions, predictions_path, save_predictions
from skythaw.stats.object_table import objects_path
from skythaw.stats.scored_sample import Sample
from skythaw.study.ledger import Ledger
from skythaw.tuning.scores import all_scores
from test_ledger import result
from test_spec import cell

CLASSES = ("GALAXY", "QSO", "STAR")


@dataclass(frozen=True)
class World:
    """What is true of a made-up study."""

    skills: Mapping[str, Mapping[int, float]]
    """by backbone and depth: 0 is guessing, 3 nearly perfect"""
    objects: int = 300
    groups: int = 60
    seeds: tuple[int, ...] = (0, 1, 2)
    sizes: tuple[int, ...] = (1000,)
    rates: tuple[float, ...] = (1e-3,)
    strategies: tuple[str, ...] = ("top",)
    blocks: int = 10
    seed_spread: float = 0.05
    alarm: str | None = None
    boldness: float = 1.5
    """how extreme probabilities are"""
    short: tuple[int, ...] = ()
    """depths whose training is not finished"""
    luck: Mapping[str, float] = field(default_factory=dict)
    """by backbone, how much better it is on validation than on other objects"""


def make_run(folder: Path, world: World) -> Path:
    """Write ledger, predictions and objects."""
    rng = np.random.default_rng(1)
    true = {part: rng.permutation(np.arange(n) % 3) for part, n in (("validation", 150), ("test", world.objects))}
    ids = {part: [f"{part[0]}{i:05d}" for i in range(len(some))] for part, some in true.items()}
    magnitude = {part: rng.uniform(15, 22, len(some)) for part, some in true.items()}
    cells = [
        cell(backbone=b, depth=d, train_size=n, seed=s, recipe=Recipe(lr=lr), strategy=strategy)
        for b, depths in world.skills.items()
        for strategy in world.strategies
        for n in world.sizes
        for d in depths
        for lr in world.rates
        for s in world.seeds
    ]
    grid = {"backbone": list(world.skills), "depth": [], "lr": list(world.rates)}
    study = {"grid": grid, "data": {"split": {"by": "field", "seed": 0}, "crop": 32}, "sha256": {"data": "0" * 64}}
    with Ledger.create(folder, study, [(c, 1.0) for c in cells]) as ledger, ledger.runner() as runner:
        ledger.note("name", "made-up")
        ledger.note("classes", CLASSES)
        ledger.note("objects", {"train": 2000, "validation": 150, "test": world.objects})
        ledger.note("balance", {part: dict.fromkeys(CLASSES, len(some) // 3) for part, some in true.items()})
        for c in cells:
            ledger.claim(c.key, runner)
            skill = world.skills[c.backbone][c.depth] + 0.3 * np.log10(c.train_size / 1000) - 50 * (c.recipe.lr - 1e-3)
            own = chance_of(c)
            skill += world.seed_spread * own.normal()
            skills = {"validation": skill + world.luck.get(c.backbone, 0.0), "test": skill}
            log_p = {part: _guesses(own, true[part], magnitude[part], skills[part], world.boldness) for part in true}
            p = {part: np.exp(each) for part, each in log_p.items()}
            save_predictions(folder, c, Predictions(CLASSES, ids, true, log_p))
            ledger.add(c.key, _result(c, p, true, world))
    group = {part: np.arange(len(some)) * world.groups // len(some) for part, some in true.items()}
    table = {
        "object_id": [*ids["validation"], *ids["test"]],
        "part": [part for part in true for _ in true[part]],
        "group": np.concatenate([group[part] for part in true]),
        "psfMag_r": np.concatenate([magnitude[part] for part in true]),
    }
    pq.write_table(pa.table(table), objects_path(folder))
    return folder


def forget(run: Path, wanted: Callable[[Cell], bool]) -> None:
    """Make some cells of a finished run such that failed."""
    with Ledger.read(run) as ledger:
        keys = [entry.key for entry in ledger.entries() if wanted(entry.cell)]
    with closing(sqlite3.connect(run / "ledger.sqlite")) as database, database:
        for key in keys:
            database.execute(
                "UPDATE cells SET state = 'failed', result = NULL, sha256 = NULL, error = 'lost' WHERE key = ?", (key,)
            )
            predictions_path(run, key).unlink(missing_ok=True)


def chance_of(one):
    """A random generator for each cell, which stays as it is when the schema of cells changes."""
    with patch("skythaw.spec.cell.CELL_SCHEMA", 4):
        return np.random.default_rng(int(Cell.model_validate(one.model_dump()).key[:8], 16))


def _guesses(rng, true, magnitude, skill, boldness):
    """Log-probabilities; faint objects are harder."""
    logits = rng.normal(size=(len(true), 3))
    logits[np.arange(len(true)), true] += skill * (1 + 0.15 * (18.5 - magnitude))
    return log_softmax(boldness * logits, axis=1).astype(np.float32)


def _result(c, p, true, world):
    scores = {part: all_scores(p[part], true[part], CLASSES) for part in p} | {
        "train": all_scores(p["validation"], true["validation"], CLASSES)
    }
    rise = np.linspace(0.5, 1.0, 5)
    curves = [
        {"epoch": i + 1, "train_loss": 1.2 - share, "train_accuracy": share, "accuracy": share, "log_loss": 2 - share}
        | {"macro_f1": share * scores["validation"]["macro_f1"]}
        for i, share in enumerate(rise.tolist())
    ]
    probe = {"strength": 0.01, "scores": scores} if c.depth == 0 else None
    changes = {
        "scores": scores,
        "classes": CLASSES,
        "curves": curves,
        "probe": probe,
        "peak_epoch": 5,
        "peak_score": scores["validation"]["macro_f1"],
        "gap": 0.02 * c.depth / world.blocks,
        "lr": c.recipe.lr,
        "blocks": world.blocks,
        "tpr": (1 + c.depth) / (1 + world.blocks),
        "tlr": (1 + c.depth) / (1 + world.blocks),
        "tfr": c.depth / world.blocks,
        "parameters": 10**6 + int(hashlib.sha256(c.backbone.encode()).hexdigest()[:6], 16),
        "alarms": [world.alarm] if world.alarm and c.depth in (3, 8) else [],
        "latency": 2.0,
        "not_converged": ("best at the end: epoch 5 of 5",) if c.depth in world.short else (),
    }
    return result(c.key).model_copy(update=changes)


SEVEN = ("resnet50", "densenet121", "vgg16", "xception", "efficientnet_b2", "mobilenetv2", "nasnet_mobile")


@cache
def study_page():
    """The page of a study of seven networks, five depths and two training sizes."""
    from helpers_page import png

    skills = {
        name: {d: 1.0 + 0.1 * i + 0.12 * min(d, 6 + i % 3) for d in (0, 2, 5, 8, 10)} for i, name in enumerate(SEVEN)
    }
    world = World(skills, objects=600, groups=150, sizes=(300, 1000), alarm="collapsed on test: 99 % are called STAR")
    with tempfile.TemporaryDirectory() as folder, Ledger.read(make_run(Path(folder), world)) as ledger:
        facts = report_facts(ledger)
    images = {object_id: png(i) for i, object_id in enumerate(wanted_images(facts))}
    return make_page(facts, images, "0.1", date(2026, 1, 1))


def sample_of(true, said, group=None, classes=("A", "B"), losses=None):
    """Scored objects without a run folder."""
    said = {key: np.asarray(values) for key, values in said.items()}
    return Sample(
        run=Path(),
        part="test",
        classes=classes,
        ids=tuple(map(str, range(len(true)))),
        true=np.asarray(true),
        group=np.arange(len(true)) if group is None else np.asarray(group),
        grouped=group is not None,
        numbers={},
        said=said,
        loss=losses or {key: np.zeros(len(true)) for key in said},
        missing=(),
    )

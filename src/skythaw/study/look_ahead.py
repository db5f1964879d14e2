"""Facts about networks that the cache lacks are found by a worker: it has torch, and the driver need not load it."""

from __future__ import annotations

import sys
from pathlib import Path

from skythaw.backbones.network_facts import FOLDER
from skythaw.engines.engine import open_engine
from skythaw.spec import Study
from skythaw.study.plan import make_plan


def look_ahead(study: Study, cache: Path, engine: str) -> None:
    """Fill the cache folder with the facts about a study's networks, if it has none of a network yet.

    What can't be found is looked for again by the driver's own plan, which says what is wrong. A network of
    another library's name (``timm:NAME``) is left to the driver, which has to load timm for it anyway.
    """
    names = [name for name in study.grid.backbone if ":" not in name]
    if "torch" not in sys.modules and not all(any((cache / FOLDER).glob(f"{name}-*")) for name in names):
        with open_engine(engine, 1) as worker:
            list(worker.map(_find_facts, [(study, cache)]))


def _find_facts(task: tuple[Study, Path]) -> None:
    study, cache = task
    make_plan(study, cache, budget=0, device="cpu")

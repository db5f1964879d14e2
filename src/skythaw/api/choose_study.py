"""What `tune` and `study init` have in common: from images as they come to the study that fits the budget."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skythaw.api.first_look import TriedInput, first_candidates, look, study_of
from skythaw.api.gather_images import GatheredImages, as_given, gather_images, require_enough
from skythaw.api.networks_here import networks_here
from skythaw.api.study_ladder import GOOD, LEAST, FittingStudy, richest_study, study_on
from skythaw.api.study_text import study_text
from skythaw.api.table_columns import table_columns
from skythaw.api.time_budget import TimeBudget
from skythaw.api.tune_folder import TuneFolder
from skythaw.data.inspect import inspect
from skythaw.data.overlaps import first_form
from skythaw.errors import DataError, SkythawError, SpecError
from skythaw.machine.device import device_kind
from skythaw.machine.processor import cores
from skythaw.spec import Study
from skythaw.study.open_study import RunSettings, Watcher

ENDING = 15.0, 0.06
"""seconds, and share of the budget, that are kept for the report and the classifier"""
HOPE = 2.0
"""The poorest study is tried even if it is expected to take so many times what is left: it may be quicker."""
STARTING = 8.0
"""seconds until the first worker is there"""


@dataclass(frozen=True)
class TuneRequest:
    """What a user asks `tune` for."""

    images: Path
    out: Path
    labels: Path | None = None
    table: Path | None = None
    backbone: tuple[str, ...] = ()
    weights: Mapping[str, Path | str] | None = None
    skip_broken: bool = False
    cache: Path = Path()

    @property
    def told(self) -> dict[str, Any]:
        """What makes it another request, JSON-able."""
        paths = {n: None if p is None else str(p.absolute()) for n, p in self._paths.items()}
        weights = {name: str(file) for name, file in (self.weights or {}).items()}
        return {**paths, "backbone": list(self.backbone), "weights": weights, "skip_broken": self.skip_broken}

    @property
    def _paths(self) -> dict[str, Path | None]:
        return {"images": self.images, "labels": self.labels, "table": self.table}

    def settings(self, out: Path) -> RunSettings:
        """Where and how its cells run."""
        workers = 1 if device_kind("auto") != "cpu" else max(1, cores())
        return RunSettings(out=out, cache=self.cache, workers=workers)


def choose_study(request: TuneRequest, budget: TimeBudget, watcher: Watcher) -> Study:
    """Read the images, say what they are, choose network, crop, size, depths and rates, and write the study file.

    A study file that is there is taken as it is: a user may have changed it.

    Raises
    ------
    SkythawError
        The images, labels, tables or weights can't be used, or the budget is too small for one training.
    """
    folder = TuneFolder(request.out)
    if folder.study.is_file():
        return Study.load(folder.study)
    networks = networks_here(request.backbone, request.weights)
    new = not any(each.exists() for each in (folder.cutouts, folder.run, folder.classifier))
    folder.keep(request.told, budget.used)  # first of all: after a kill it is known whose the folder is
    watcher.step(f"reading {request.images}")
    try:
        with as_given(folder.cutouts, request.images):
            gathered = gather_images(
                request.images,
                request.labels,
                folder.cutouts,
                skip_broken=request.skip_broken,
                progress=watcher.decoding,
            )
            require_enough(gathered.cutouts, request.images)
            base = _base(request, gathered, networks, watcher)
            form = first_form(gathered.cutouts)
            if form is None:
                raise DataError(f"{request.images}: no image can be read")
            candidates = first_candidates(list(networks), min(form.size))
            fitting, tried = _fitting(request, base, candidates, budget, watcher)
    except SkythawError:
        if new and not folder.look.exists():  # nothing was tried: nothing stays in the way of other images or tables
            folder.discard_images()
        raise
    watcher.noted(fitting.told)
    folder.plan(study_text(fitting.study, head=_head(request, budget, tried), folder=folder.path))
    return Study.load(folder.study)


def _base(
    request: TuneRequest, gathered: GatheredImages, networks: Mapping[str, str | None], watcher: Watcher
) -> dict[str, Any]:
    """The content of the study file but for what is to be chosen."""
    found = inspect(gathered.path)
    for text in _found(found, gathered):
        watcher.noted(text)
    for text in [*gathered.notes, *found["warnings"]]:
        watcher.warned(text)
    if found["broken"] and not request.skip_broken:
        named = ", ".join(f"{b['object_id']} ({b['reason']})" for b in found["broken"][:3])
        raise DataError(
            f"{request.images}: {len(found['broken'])} images can't be read: {named}; leave them out with --skip-broken"
        )
    data: dict[str, Any] = {"path": str(gathered.path.absolute()), "skip_broken": request.skip_broken}
    if found["stretch"]:
        data["stretch"] = (
            {k: v for k, v in found["stretch"].items() if v is not None}
            if isinstance(found["stretch"], dict)
            else found["stretch"]
        )
    base: dict[str, Any] = {
        "name": re.sub(r"[^\w.-]+", "-", request.images.stem).strip("-") or "study",
        "data": data,
        "weights": {name: file for name, file in networks.items() if file},
    }
    if request.table is not None:
        columns, said = table_columns(base, request.table, request.cache)
        for text in said:
            watcher.noted(text)
        data |= {"table": str(request.table.absolute()), "columns": columns}
        base["grid"] = {"inputs": ["images", "table", "both"]}
    return base


def _found(found: Mapping[str, Any], gathered: GatheredImages) -> list[str]:
    classes = ", ".join(f"{number} {name}" for name, number in found["classes"].items())
    sizes = ", ".join(size for size in found["image_sizes"])
    bands = "differing bands" if found["bands"] is None else f"bands {', '.join(found['bands'])}"
    kinds = " and ".join(found["kinds"])
    what = f"{kinds}, {sizes} pixels, {bands}"
    return [f"found {found['objects']} images of {len(found['classes'])} classes ({classes}); {what}"]


def busy() -> float:
    """How many times longer work takes because others use this machine: 1 where they do not, 2.5 at most."""
    try:
        return min(2.5, max(1.0, os.getloadavg()[0] / cores()))
    except (AttributeError, OSError):  # a system that does not tell
        return 1.0


def ending_of(budget: TimeBudget) -> float:
    """Seconds of a budget that are kept for the report and the classifier: more, where others use this machine too."""
    return ENDING[0] * busy() + ENDING[1] * budget.seconds


def _fitting(
    request: TuneRequest, base: dict[str, Any], candidates: Sequence[TriedInput], budget: TimeBudget, watcher: Watcher
) -> tuple[FittingStudy, Sequence[TriedInput]]:
    """The richest study of the best candidate that fits into what is left of the budget."""
    folder, setting = TuneFolder(request.out), request.settings(request.out / "look")
    workers = setting.workers or 1
    ending = ending_of(budget)
    quick = study_on(study_of(base, candidates[0]), LEAST, request.cache, workers)
    if quick.seconds + STARTING > HOPE * (budget.left - ending):
        raise _too_small(quick.seconds, budget, request)
    tried = list(candidates[:1])
    if budget.left - ending > 2 * quick.seconds + STARTING:
        affordable = _affordable(base, candidates, request, 0.7 * (budget.left - ending))
        tried = look(base, candidates, affordable, replace(setting, out=folder.look), budget, watcher)
        watcher.noted(f"chosen: {tried[0].named}")
    else:
        watcher.noted(f"taken, for there is no time to try others: {tried[0].named}")
    for each in tried:
        found = richest_study(study_of(base, each), budget.left - ending, request.cache, workers)
        if found is not None:
            return found, tried
    least = study_on(study_of(base, tried[0]), LEAST, request.cache, workers)
    if least.seconds > HOPE * (budget.left - ending):
        raise _too_small(least.seconds, budget, request)
    return least, tried


def _affordable(
    base: dict[str, Any], candidates: Sequence[TriedInput], request: TuneRequest, seconds: float
) -> list[TriedInput]:
    """The candidates of which a good study fits into the time, by what is known of this machine; at least one."""
    workers = request.settings(request.out).workers or 1
    fits: dict[tuple[str, int], bool] = {}
    for each in candidates:
        if (key := (each.backbone, each.size)) not in fits:
            good = study_on(study_of(base, each), GOOD, request.cache, workers)
            fits[key] = good.seconds <= seconds
    found = [each for each in candidates if fits[each.backbone, each.size]]
    first = candidates[0]
    return found or [each for each in candidates if (each.backbone, each.size) == (first.backbone, first.size)]


def _too_small(seconds: float, budget: TimeBudget, request: TuneRequest) -> SpecError:
    needed = (budget.used + seconds + STARTING + ENDING[0]) / (1 - ENDING[1]) * 1.1
    minutes = max(1, -(-round(needed) // 60))
    return SpecError(
        f"a budget of {budget.seconds:g} s is too small for one training here: {request.images} takes about "
        f"{minutes} min on this machine, so say --budget {minutes}m"
    )


def _head(request: TuneRequest, budget: TimeBudget, tried: Sequence[TriedInput]) -> str:
    lines = [
        f"Made by skythaw for {request.images} and a budget of {budget.seconds / 60:g} min.",
        "Change what you like, and run",
        f"    skythaw study search {request.out / 'study.toml'} --out another-folder",
    ]
    judged = [each for each in tried if each.trained is not None or each.frozen is not None]
    if len(judged) > 1:
        lines += [
            "",
            "Tried first, on some of the images (log loss on validation: frozen, and after a short training):",
        ]
        for each in judged[:12]:
            losses = ["-" if loss is None else f"{loss:.3f}" for loss in (each.frozen, each.trained)]
            lines.append(f"    {each.named}: {', '.join(losses)}")
    return "\n".join(lines)

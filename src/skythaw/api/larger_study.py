"""Time that is left when the study of `tune` is finished: the richest larger study that fits is searched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from skythaw.api.choose_study import TuneRequest, ending_of
from skythaw.api.study_ladder import LADDER, FittingStudy, Rung, study_on
from skythaw.api.study_text import study_text
from skythaw.api.time_budget import TimeBudget, stopping_after
from skythaw.api.tune_folder import TuneFolder
from skythaw.errors import SkythawError
from skythaw.machine.files import replacing
from skythaw.spec import IMAGES, Study
from skythaw.study.convergence import not_converged
from skythaw.study.depth_search import search
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import Watcher


def search_larger(request: TuneRequest, clock: TimeBudget, watcher: Watcher) -> None:
    """Search larger studies, as long as one fits into what is left, and put each in the place of the one before.

    One that was begun is gone on with. Network, crop and size stay as they were chosen.
    """
    folder = TuneFolder(request.out)
    while folder.larger_study.is_file() or _begin(request, folder, clock, watcher):
        watcher.step("searching a larger study")
        try:
            with stopping_after(clock.left - ending_of(clock)):
                search(Study.load(folder.larger_study), request.settings(folder.larger_run), watcher)
        except SkythawError as error:  # there is an answer already
            watcher.warned(f"the larger study can't be run, so the answer is that of the smaller one: {error}")
            return
        folder.larger_is_done()


def _begin(request: TuneRequest, folder: TuneFolder, clock: TimeBudget, watcher: Watcher) -> bool:
    """Write the file of the largest study that fits; False where there is none."""
    workers = request.settings(folder.run).workers or 1
    found = larger_study(folder, clock.left - ending_of(clock), request.cache, workers)
    if found is None:
        return False
    watcher.noted(f"time is left; {found.told}")
    head = "Made by skythaw tune, which had time left after a smaller study."
    with replacing(folder.larger_study) as file:
        file.write(study_text(found.study, head=head, folder=folder.path).encode())
    return True


def larger_study(folder: TuneFolder, seconds: float, cache: Path, workers: int) -> FittingStudy | None:
    """The richest study that is richer than the one that was run, and fits into so many seconds; None without one.

    Parameters
    ----------
    folder
        of `tune`, whose study is finished
    seconds
        that there are
    cache
        the cache folder, which knows how fast this machine is
    workers
        cells at a time
    """
    study = Study.load(folder.study)
    studies = (study_on(study, rung, cache, workers) for rung in richer_rungs(folder, cache))
    return next((each for each in studies if each.seconds <= seconds), None)


def richer_rungs(folder: TuneFolder, cache: Path) -> tuple[Rung, ...]:
    """What is richer than the study that was run, the richest first.

    Nothing where a user has changed what a rung decides. Nothing that trains longer, and is else the same, where every
    training was finished before its most steps.
    """
    study = Study.load(folder.study)
    grid, recipe = study.grid, study.recipe
    own = Rung(grid.depth, len(grid.seed), recipe.max_steps, recipe.lr)
    if own not in LADDER or study_on(study, own, cache, 1).study.describe() != study.describe():
        return ()
    longer = grid.train_size != ("all",) or _cut_short(folder.run)
    return tuple(r for r in LADDER[: LADDER.index(own)] if longer or replace(r, max_steps=own.max_steps) != own)


def _cut_short(run: Path) -> bool:
    """Whether a training of a run was not finished when it ended."""
    with Ledger.read(run) as ledger:
        done = [(e.cell, e.result) for e in ledger.entries() if e.result]
    return any(not_converged(result) for cell, result in done if cell.inputs == IMAGES)

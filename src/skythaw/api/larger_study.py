"""Time that is left when the study of `tune` is finished: the richest larger study that fits is searched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from skythaw.api.choose_study import TuneRequest, ending_of
from skythaw.api.study_ladder import LADDER, Rung, richest_study
from skythaw.api.study_text import study_text
from skythaw.api.time_budget import TimeBudget, TimeIsUp, stopping_after
from skythaw.api.tune_folder import TuneFolder, any_done_in
from skythaw.errors import OutputError, SkythawError
from skythaw.spec import Study
from skythaw.study.convergence import not_converged
from skythaw.study.depth_search import search
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import Watcher
from skythaw.tuning.training_pace import NOT_LONG_ENOUGH

HEAD = "Made by skythaw tune, which had time left after a smaller study."


def search_larger(request: TuneRequest, study: Study, clock: TimeBudget, watcher: Watcher) -> Study | None:
    """Search the richest larger study that fits into what is left, and put it in the place of the one that is finished.

    One that was begun is gone on with. Network, crop and size stay as they were chosen.

    Returns
    -------
    Study or None
        the larger study, whose report is to be written; None where there is none, or it could not be finished: then
        all is as before, and the user was told why
    """
    folder = TuneFolder(request.out)
    if not folder.may_grow or (clock.left <= ending_of(clock) and not folder.larger_begun):
        return None
    try:
        with stopping_after(clock.left - ending_of(clock)):
            larger = _under_way(folder) or _begin(request, folder, study, clock, watcher)
            if larger is None:
                return None
            watcher.step("searching a larger study")
            search(larger, request.settings(folder.larger_run), watcher)
        if failed := _failed(folder.larger_run):
            watcher.warned(f"{failed} trainings of the larger study failed, so the answer is that of the smaller one")
            return None
        if not folder.may_grow:
            watcher.warned(f"{folder.study} was changed meanwhile, so the answer is that of the smaller study")
            return None
        folder.larger_is_done()
    except TimeIsUp:
        watcher.noted(
            "the budget is used up before the larger study is finished: the answer is that of the smaller one"
        )
    except OutputError:  # a full disk: what is done is kept, and the same call goes on
        raise
    except SkythawError as error:  # there is an answer already
        watcher.warned(f"the larger study can't be run, so the answer is that of the smaller one: {error}")
        if not any_done_in(folder.larger_run):
            folder.discard_larger()
    else:
        return larger
    return None


def _under_way(folder: TuneFolder) -> Study | None:
    return Study.load(folder.larger_study) if folder.larger_begun else None


def _begin(request: TuneRequest, folder: TuneFolder, study: Study, clock: TimeBudget, watcher: Watcher) -> Study | None:
    """Write the file of the largest study that fits; None where there is none."""
    seconds, workers = clock.left - ending_of(clock), request.settings(folder.run).workers or 1
    found = richest_study(study, seconds, request.cache, workers, richer_rungs(study, folder.run))
    if found is None:
        return None
    watcher.noted(f"time is left; {found.told}")
    folder.begin_larger(study_text(found.study, head=HEAD, folder=folder.path))
    return Study.load(folder.larger_study)


def richer_rungs(study: Study, run: Path) -> tuple[Rung, ...]:
    """What is richer than a study that was run, the richest first.

    Nothing that trains longer, and is else the same, where every training was finished before its most steps.
    """
    grid, recipe = study.grid, study.recipe
    here = grid.depth, len(grid.seed), recipe.max_steps, recipe.lr
    own = next((r for r in LADDER if (r.depths, r.seeds, r.max_steps, r.lr) == here), None)
    if own is None:
        return ()
    longer = grid.train_size != ("all",) or _cut_short(run)
    return tuple(r for r in LADDER[: LADDER.index(own)] if longer or replace(r, max_steps=own.max_steps) != own)


def _cut_short(run: Path) -> bool:
    """Whether a training of a run still gained at its most steps."""
    with Ledger.read(run) as ledger:
        results = [entry.result for entry in ledger.entries() if entry.result]
    return any(NOT_LONG_ENOUGH in reason for result in results for reason in not_converged(result))


def _failed(run: Path) -> int:
    with Ledger.read(run) as ledger:
        return sum(entry.state == "failed" for entry in ledger.entries())

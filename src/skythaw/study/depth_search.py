"""The best depth for less than a whole study costs: what is surely worse is dropped, and what can't be told is trained.

A search has three rounds. In the *trial* every setting is trained once for a short while, on all of its images: where
rates are tried, that is the best of its trials, which the study needs anyway. The settings that are left are trained
as the study would: with the *first seed*, and then with *all seeds*. Only in these two are objects of the test set
scored, and validation alone decides. Which settings are dropped: `search_standing.py`. A study of images and numbers
is searched on images alone, and the numbers are joined to what is left in the end.

The frozen network is never dropped. It costs next to nothing, its best head is solved and not trained, which a trial
does not show, and the report says of every other depth how much better it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace

from skythaw.errors import DataError
from skythaw.spec import IMAGES, Study
from skythaw.study.cell_result import Result
from skythaw.study.competing_settings import ContestKey, Contests, TrialSetting, contests
from skythaw.study.convergence import together
from skythaw.study.execute import execute, run_trials, settle_rates, to_the_end
from skythaw.study.number_cells import run_number_cells
from skythaw.study.open_study import OpenStudy, RunSettings, Watcher
from skythaw.study.plan import PlannedCell, plan_trials
from skythaw.study.rate_trials import SettledRate, given_rate, setting_of, trial_of
from skythaw.study.run_study import opened
from skythaw.study.search_standing import CHANCE, LEVEL, MARGIN, ROUNDS, RoundScores, SearchRound, Standing, fates

LEFT = ("goes on", "best on validation", "as good as can be told")
"""fates of a setting that is not dropped"""


def search(study: Study, setting: RunSettings, watcher: Watcher | None = None) -> list[Standing]:
    """Search for the best depth of each backbone, strategy and training size of a study, and train it.

    Stop it at any time; the same call goes on.

    Returns
    -------
    list of Standing
        of every setting in every round it was in; also kept in the ledger, as ``search``

    Raises
    ------
    SkythawError
        The study can't be run, the folder holds something else, or every setting of a contest failed.
    """
    rules = {"level": LEVEL, "chance": CHANCE, "margin": MARGIN}
    with opened(study, setting, watcher or Watcher(), rules) as run:
        run_number_cells(run)
        going = contests([p for p in run.plan.cells if p.cell.inputs == IMAGES], list(study.grid.axes))
        in_full = _in_full(going, run)
        standings: list[Standing] = []
        for stage in ROUNDS:
            if stage == "first seed" and len(study.grid.seed) == 1:
                continue  # that is all seeds
            competing = {c: some for c, some in going.items() if stage == "all seeds" or c not in in_full}
            for contest, tried in _run(stage, competing, run).items():
                found = _judge(contest, tried, stage, run)
                standings += found
                left = {each.setting for each in found if each.fate in LEFT}
                going[contest] = [each for each in going[contest] if each.name in left]
            run.ledger.note("search", [asdict(each) for each in standings])
        _run_both(going, run)
    return standings


def _run_both(left: Contests, run: OpenStudy) -> None:
    """The cells of images and numbers together, where their images alone are not surely worse."""
    on_images = {p.cell.key for some in left.values() for each in some for p in each.cells}
    cells = [p for p in run.plan.cells if p.cell.inputs != IMAGES and p.cell.on_images_alone.key in on_images]
    if cells:
        execute(run, plan_trials(run.plan, cells, run.setting.cache, run.setting.cache_size, trial=False))


def _in_full(contests: Contests, run: OpenStudy) -> list[ContestKey]:
    """The contests that are as cheap in full as the least that a search of them costs: they have no trials.

    Costs depend on how much of the frozen part is kept, so what was decided once holds for the folder.
    """
    kept = run.ledger.remark("in_full")
    found = [c for c, some in contests.items() if _as_cheap(some, run)] if kept is None else [tuple(c) for c in kept]
    run.ledger.note("in_full", found)
    for backbone, strategy, size in found:
        run.watcher.noted(
            f"{backbone}, {strategy}, {size:,} images: every depth is trained in full, without trials: the whole study "
            "costs no more than a search"
        )
    return found


def _as_cheap(settings: Sequence[TrialSetting], run: OpenStudy) -> bool:
    """Whether all cells cost no more than the trials and the cells of the cheapest setting (rates cost both alike)."""
    trials = [_trial(each, given_rate(each.first.cell)) for each in settings if each.first.cell.recipe.lr != "auto"]
    priced = plan_trials(run.plan, _once(trials), run.setting.cache, run.setting.cache_size, trial=True)
    least = min((each.cost for each in settings if not each.frozen), default=0.0)
    least += sum(each.cost for each in settings if each.frozen)
    return len(settings) > 1 and sum(each.cost for each in settings) <= sum(p.cost for p in priced.cells) + least


def _trial(setting: TrialSetting, rate: SettledRate) -> PlannedCell:
    return replace(setting.first, cell=trial_of(setting.first.cell, rate.lr))


def _once(cells: Iterable[PlannedCell]) -> list[PlannedCell]:
    """Each cell once: settings that differ in the length of their training have the same trial."""
    return list({p.cell.key: p for p in cells}.values())


def _run(stage: SearchRound, contests: Contests, run: OpenStudy) -> Contests:
    """Run one round; the settings with the cells that they have in it."""
    every = [each for some in contests.values() for each in some]
    cells: dict[str, tuple[PlannedCell, ...]]
    if stage == "trial":
        rates = settle_rates(run, [each.first for each in every])
        trials = {each.first.cell.key: _trial(each, rates[setting_of(each.first.cell)]) for each in every}
        run_trials(run, _once(trials.values()), "trial")
        cells = {key: (trial,) for key, trial in trials.items()}
    else:
        cells = {each.first.cell.key: each.cells if stage == "all seeds" else each.cells[:1] for each in every}
        wanted = [p for some in cells.values() for p in some]
        plan = plan_trials(run.plan, wanted, run.setting.cache, run.setting.cache_size, trial=False)
        to_the_end(run, wanted, lambda: execute(run, plan))
    return {c: [replace(each, cells=cells[each.first.cell.key]) for each in some] for c, some in contests.items()}


def _judge(contest: ContestKey, tried: list[TrialSetting], stage: SearchRound, run: OpenStudy) -> list[Standing]:
    """How the settings of a contest did in a round. What can't be scored in a trial goes on; else it has failed."""
    results = {entry.key: entry.result for entry in run.entries() if entry.result}
    whole = [each for each in tried if all(p.cell.key in results for p in each.cells)]
    lost = "goes on" if stage == "trial" else "failed"
    found = {each.name: _standing(contest, each, stage, lost) for each in tried}
    if not whole:
        if stage == "trial":
            return list(found.values())
        backbone, strategy, size = contest
        raise DataError(
            f"every cell of {backbone}, {strategy}, {size} images failed; why: skythaw study status {run.setting.out}"
        )
    scores = RoundScores.read(run, [[p.cell.key for p in each.cells] for each in whole])
    spared = [_spared(each, stage, results) for each in whole]
    behind = scores.behind(scores.best(stage))
    for i, (each, fate) in enumerate(zip(whole, fates(scores, stage, spared), strict=True)):
        found[each.name] = replace(
            found[each.name],
            log_loss=float(scores.log_loss[i, 0]),
            macro_f1=float(scores.macro_f1[i, 0]),
            behind=behind[i][0],
            behind_f1=behind[i][1],
            fate=fate,
        )
    return list(found.values())


def _spared(setting: TrialSetting, stage: SearchRound, results: Mapping[str, Result]) -> bool:
    """Whether a setting may not be called worse: its training is not finished, or it is the frozen network."""
    unfinished = stage != "trial" and together([results[p.cell.key] for p in setting.cells])
    return bool(unfinished) or (setting.frozen and stage != "all seeds")


def _standing(contest: ContestKey, setting: TrialSetting, stage: SearchRound, fate: str) -> Standing:
    backbone, strategy, size = contest
    return Standing(
        backbone=backbone,
        strategy=strategy,
        train_size=size,
        setting=setting.name,
        depth=setting.first.cell.depth,
        round=stage,
        rung=ROUNDS.index(stage),
        images=setting.first.cell.train_size,
        seeds=len(setting.cells),
        log_loss=None,
        macro_f1=None,
        behind=None,
        behind_f1=None,
        fate=fate,
    )

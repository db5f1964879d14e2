"""`init_study`: the study file that `tune` would run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from skythaw.api.budget_bar import BudgetWatcher, budget_bar
from skythaw.api.choose_study import choose_study
from skythaw.api.stopping import stopping_says
from skythaw.api.time_budget import TimeBudget, TimeIsUp, parse_budget
from skythaw.api.tune import OUT, tune_request
from skythaw.api.tune_folder import TuneFolder
from skythaw.errors import OutputError, SpecError


def init_study(  # noqa: PLR0913 (those of `tune`)
    images: Path | str,
    *,
    labels: Path | str | None = None,
    table: Path | str | None = None,
    budget: str | float | timedelta = "30m",
    out: Path | str = OUT,
    backbone: str | Sequence[str] | None = None,
    weights: Mapping[str, Path | str] | None = None,
    skip_broken: bool = False,
    cache: Path | str | None = None,
    progress: bool = True,
) -> Path:
    """Write the study file that `skythaw.tune` would run with these arguments, every key explained.

    To choose, it tries networks, crops and sizes on some of the images, as `tune` does; that takes a part of the
    budget. `tune` with the same arguments then runs this file, also after you have changed it.

    Parameters
    ----------
    images, labels, table, budget, out, backbone, weights, skip_broken, cache, progress
        see `skythaw.tune`

    Returns
    -------
    Path
        the file, ``OUT/study.toml``

    Raises
    ------
    SkythawError
        As `tune`; or the file is there already.
    """
    request = tune_request(images, labels, table, out, backbone, weights, skip_broken, cache)
    folder = TuneFolder(request.out)
    kept = folder.open(request.told)
    if folder.study.is_file():
        raise OutputError(f"{folder.study} is there already: change it, or choose another --out")
    clock = TimeBudget.begin(parse_budget(budget), float(kept.get("seconds", 0.0)))
    with folder.alone():
        try:
            with stopping_says("the same call goes on"), budget_bar(clock, shown=progress) as bar:
                choose_study(request, clock, BudgetWatcher(bar, None, None, clock))
        except TimeIsUp:
            raise SpecError(
                f"the budget of {clock.seconds:g} s was over before a study was chosen: give twice that"
            ) from None
        finally:
            folder.settle(request.told, clock.used)
    return folder.study

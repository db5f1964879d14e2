"""`init_study`: the study file that `tune` would run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from skythaw.api.choose_study import choose_study
from skythaw.api.time_budget import TimeBudget, parse_budget
from skythaw.api.tune import tune_request
from skythaw.api.tune_folder import TuneFolder
from skythaw.errors import OutputError
from skythaw.study.open_study import Watcher


def init_study(  # noqa: PLR0913 (those of `tune`)
    images: Path | str,
    *,
    labels: Path | str | None = None,
    table: Path | str | None = None,
    budget: str | float = "30m",
    out: Path | str = "skythaw-tune",
    backbone: Sequence[str] = (),
    weights: Mapping[str, Path | str] | None = None,
    skip_broken: bool = False,
    cache: Path | None = None,
    watcher: Watcher | None = None,
) -> Path:
    """Write the study file that `skythaw.api.tune.tune` would run with these arguments, every key explained.

    To choose, it tries networks, crops and sizes on some of the images, as `tune` does; that takes a part of the
    budget. `tune` with the same arguments then runs this file, also after you have changed it.

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
    try:
        choose_study(request, clock, watcher or Watcher())
    finally:
        if any(each.exists() for each in (folder.cutouts, folder.look, folder.study)):
            folder.keep(request.told, clock.used)
    return folder.study

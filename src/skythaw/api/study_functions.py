"""`skythaw study` and `skythaw report` from Python: each command as a function with the same names and defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skythaw.api.callbacks import OnCell, OnEpoch, TellingWatcher
from skythaw.api.finished_run import Run
from skythaw.api.progress_bar import progress_bar
from skythaw.api.run_choices import cache_folder, parse_bytes, run_settings
from skythaw.api.stopping import stopping_says
from skythaw.api.study_file import naming
from skythaw.errors import SpecError
from skythaw.study import depth_search
from skythaw.study import run_study as study_runner

if TYPE_CHECKING:
    from skythaw.spec import Study
    from skythaw.study.plan import Plan

HOW = (
    *("engine", "workers", "device", "cache_size", "compiled", "control"),
    *("address", "node_cache", "gpu_share", "cell_memory"),
)
"""choices of `run_settings`"""


def plan_study(
    study: Study | Path | str,
    *,
    out: Path | str | None = None,
    cache_size: str | int = "20GB",
    skip_broken: bool = False,
    allow_leak: Sequence[str] | None = None,
    cache: Path | str | None = None,
) -> Plan:
    """The cells of a study, checked and priced; nothing is run.

    Parameters
    ----------
    study
        a `skythaw.Study`, or a study file
    out
        a run folder: it must be of this study, where it is given
    cache_size
        disk space for frozen activations, such as ``"500MB"``
    skip_broken
        leave out images that can't be read
    allow_leak
        columns that are used although they may give the class away
    cache
        folder for decoded images and facts about networks; by default the user's own

    Returns
    -------
    Plan
        ``plan.cells``, each with its cost in FLOPs; ``plan.warnings``

    Raises
    ------
    SkythawError
        The study can't be run.
    """
    from skythaw.study.ledger import Ledger
    from skythaw.study.plan import make_plan

    if out is not None:
        Ledger.read(Path(out)).close()
    budget = parse_bytes(str(cache_size), "cache_size")
    read = _study(study, skip_broken, allow_leak)
    with naming(study):
        return make_plan(read, cache_folder(cache), budget=budget)


def run_study(  # noqa: PLR0913 (each is an option of the command)
    study: Study | Path | str,
    out: Path | str,
    *,
    engine: str = "processes",
    workers: int | None = None,
    device: str = "auto",
    cache_size: str | int = "20GB",
    skip_broken: bool = False,
    allow_leak: Sequence[str] | None = None,
    compiled: bool = False,
    control: bool = True,
    race: bool = False,
    address: str | None = None,
    node_cache: str | None = None,
    gpu_share: float = 1.0,
    cell_memory: str | None = None,
    cache: Path | str | None = None,
    on_cell: OnCell | None = None,
    on_epoch: OnEpoch | None = None,
    progress: bool = True,
) -> Run:
    """Run every cell of a study that the run folder lacks; stop it at any time, and the same call goes on.

    Parameters
    ----------
    study
        a `skythaw.Study`, or a study file
    out
        the run folder; if it exists, the study continues in it
    engine
        what runs the cells: ``processes``, ``serial`` or ``ray``
    workers
        cells at a time; by default as many as there are cores
    device
        ``cpu``, ``cuda``, or ``auto``: a GPU if there is one
    cache_size, skip_broken, allow_leak, cache
        see `plan_study`
    compiled
        compile the trained part with ``torch.compile``
    control
        set a forest on numbers that are measured from the same images beside the networks
    race
        train seed by seed, and give no further seeds to depths that are surely worse than the best on validation; a
        later call without it trains them
    address, node_cache, gpu_share, cell_memory
        of a Ray cluster: docs/ray.md
    on_cell
        called with a `skythaw.CellEvent` when a cell has ended
    on_epoch
        called with a `skythaw.EpochEvent` for each time that a cell is scored while it trains; the engines ``serial``
        and ``ray`` bring them when the cell has ended. What it raises stops the run
    progress
        show a bar on a terminal, and one line in a notebook

    Returns
    -------
    Run
        what the folder holds now

    Raises
    ------
    SkythawError
        The study can't be run, or the folder holds another study.
    StoppedError
        It was stopped (it is a `KeyboardInterrupt`).
    """
    return _watched(partial(study_runner.run_study, with_race=race), locals())


def search(  # noqa: PLR0913 (each is an option of the command)
    study: Study | Path | str,
    out: Path | str,
    *,
    engine: str = "processes",
    workers: int | None = None,
    device: str = "auto",
    cache_size: str | int = "20GB",
    skip_broken: bool = False,
    allow_leak: Sequence[str] | None = None,
    compiled: bool = False,
    control: bool = True,
    address: str | None = None,
    node_cache: str | None = None,
    gpu_share: float = 1.0,
    cell_memory: str | None = None,
    cache: Path | str | None = None,
    on_cell: OnCell | None = None,
    on_epoch: OnEpoch | None = None,
    progress: bool = True,
) -> Run:
    """Find the best depth of a study: every depth is tried, and what is surely worse is not trained further.

    Parameters and result are those of `run_study`, but for `race`.
    """
    return _watched(depth_search.search, locals())


def study_status(run: Path | str) -> dict[str, Any]:
    """How far a study is.

    Parameters
    ----------
    run
        the run folder

    Returns
    -------
    dict
        ``cells``, ``done``, ``failed``, ``running``, ``stopped`` (by a race), ``seconds_left`` and ``failures``

    Raises
    ------
    LedgerError
        It is no run folder.
    """
    from skythaw.study.ledger import Ledger
    from skythaw.study.study_status import status

    with Ledger.read(Path(run)) as ledger:
        return status(ledger)


def report(  # noqa: PLR0913 (each is an option of the command)
    run: Path | str,
    *,
    html: Path | str | None = None,
    figures: Path | str | None = None,
    csv: Path | str | None = None,
    latex: Path | str | None = None,
    picture: Path | str | None = None,
    margin: float = 0.01,
    data: Sequence[Path | str] | None = None,
) -> dict[str, Any]:
    """Which depth to fine-tune, how sure that is, and where the classifier fails.

    Parameters
    ----------
    run
        the run folder
    html
        a file: the whole report as one web page
    figures, csv
        folders: every figure as PNG and SVG, the tables as CSV
    latex, picture
        files: the table of depths for LaTeX; scores against depth (.png, .svg or .pdf)
    margin
        macro-F1 that a shallower depth may lose and still be as good
    data
        where the images are, if the study's files have moved

    Returns
    -------
    dict
        the facts of the report, as ``skythaw report --json`` has them

    Raises
    ------
    LedgerError, DataError, OutputError, SpecError
        It is no run folder; no cell is done yet; a file can't be written; the margin is none.
    """
    from skythaw.report.write_report import ReportFiles, write_report

    if not isinstance(margin, Real) or not 0 <= margin <= 1:
        raise SpecError(f"margin {margin!r} should be a share of macro-F1 from 0 to 1, such as 0.01")
    wanted = (Path(each) if each is not None else None for each in (html, figures, csv, latex, picture))
    return write_report(Path(run), ReportFiles(*wanted), margin, [Path(each) for each in data or ()])


def _study(given: Study | Path | str, skip_broken: bool, allow_leak: Sequence[str] | None) -> Study:
    from skythaw.spec import Study

    study = (given if isinstance(given, Study) else Study.load(Path(given))).allowing(allow_leak or ())
    return study.skipping_broken() if skip_broken else study


def _watched(action: Callable[..., Any], given: Mapping[str, Any]) -> Run:
    """Run or search with a bar, by the arguments of `run_study`; whoever stops it is told what is kept."""
    study, out = _study(given["study"], given["skip_broken"], given["allow_leak"]), given["out"]
    settings = run_settings(study, out, given["cache"], **{name: given[name] for name in HOW})
    kept = f"finished cells are kept in {out}, and the same call goes on"
    bars = progress_bar("cells", shown=given["progress"])
    with naming(given["study"]), stopping_says(kept), bars as bar:
        action(study, settings, TellingWatcher(bar, given["on_cell"], given["on_epoch"]))
    return Run(out)

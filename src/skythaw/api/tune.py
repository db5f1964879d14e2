"""`tune`: from images to an answer, a report and a classifier, in one call and within a budget of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from os import PathLike
from pathlib import Path

from skythaw.api.budget_bar import BudgetWatcher, budget_bar
from skythaw.api.callbacks import OnCell, OnEpoch
from skythaw.api.choose_study import TuneRequest, choose_study, ending_of
from skythaw.api.finished_run import Run
from skythaw.api.larger_study import richer_rungs, search_larger
from skythaw.api.run_choices import cache_folder
from skythaw.api.stopping import stopping_says
from skythaw.api.time_budget import TimeBudget, TimeIsUp, parse_budget, stopping_after
from skythaw.api.tune_folder import TuneFolder
from skythaw.bundle.bundle_file import read_about
from skythaw.errors import SpecError
from skythaw.report.plain_answer import plain_answer
from skythaw.report.short_answer import short_answer
from skythaw.report.write_report import ReportFiles, write_report
from skythaw.spec import Study
from skythaw.study.depth_search import search
from skythaw.study.open_study import Watcher

SCHEMA = 1
OUT = Path("skythaw-tune")


def tune(  # noqa: PLR0913 (each is an option of the command, and all but the images have a default)
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
    on_cell: OnCell | None = None,
    on_epoch: OnEpoch | None = None,
    progress: bool = True,
) -> Run:
    """Find out how to classify images, and train the classifier: an answer, a report and a bundle.

    It says what it found, divides the objects by the sky if it can, tries networks, crops and sizes on some of them,
    searches for the best depth, trains the best with three seeds, and compares them with the frozen network, with a
    forest on measured numbers, and with the numbers of a table. Where time is left for it, a larger study takes the
    place of the first. Stop it at any time: the best so far is there, and the same call goes on.

    Parameters
    ----------
    images
        a folder with a folder of images for each class, an archive, arrays, or Parquet
    labels
        a table of labels, where the images do not say theirs
    table
        a catalogue of numbers beside the images, such as photometry
    budget
        how long it may take: ``"10m"``, ``"1h 30m"``; a number is seconds; or a `datetime.timedelta`
    out
        the folder that gets `report.html`, `classifier/`, `study.toml` and `answer.json`
    backbone
        the network or networks that may be used; by default all whose weights are on this machine
    weights
        by network, a file of weights
    skip_broken
        leave out images that can't be read, instead of refusing them
    cache
        folder for decoded images and facts about networks; by default the user's own
    on_cell, on_epoch
        see `skythaw.run_study`
    progress
        show bars, the first of which has the time that is left, on a terminal, and one line in a notebook

    Returns
    -------
    Run
        over `out`: its answer, table, figures and classifier

    Raises
    ------
    SkythawError
        The images, labels, table or weights can't be used; the budget is too small; `out` is of something else, or
        another call is at work there.
    StoppedError
        It was stopped (it is a `KeyboardInterrupt`).
    """
    seconds = parse_budget(budget)
    request = tune_request(images, labels, table, out, backbone, weights, skip_broken, cache)
    folder = TuneFolder(request.out)
    folder.open(request.told)
    if not folder.ended_within(seconds):
        kept = f"what is done is kept in {folder.path}, and the same call goes on"
        with folder.alone(), stopping_says(kept):
            before = folder.open(request.told)
            clock = TimeBudget.begin(seconds, float(before.get("seconds", 0.0)))
            with budget_bar(clock, shown=progress) as bar:
                try:
                    _tune(request, folder, clock, BudgetWatcher(bar, on_cell, on_epoch, clock))
                finally:
                    folder.settle(request.told, clock.used)
    return Run(folder.path)


def tune_request(  # noqa: PLR0913, PLR0917 (the arguments of `tune`, one by one)
    images: Path | str,
    labels: Path | str | None,
    table: Path | str | None,
    out: Path | str,
    backbone: str | Sequence[str] | None,
    weights: Mapping[str, Path | str] | None,
    skip_broken: bool,
    cache: Path | str | None,
) -> TuneRequest:
    """The arguments of `tune`, as paths; raises `SpecError` where one is of another kind."""
    for name, value in (("images", images), ("labels", labels), ("table", table), ("out", out)):
        if not isinstance(value, str | PathLike) and (value is not None or name in ("images", "out")):
            raise SpecError(f"{name}: {type(value).__name__} is no name of a file or folder, which it should be")
    names = (backbone,) if isinstance(backbone, str) else tuple(backbone or ())
    if weights is not None and not isinstance(weights, Mapping):
        example = names[0] if names else "resnet50"
        raise SpecError(f"weights {weights!r} should say of which network: {{{example!r}: {str(weights)!r}}}")
    return TuneRequest(
        images=Path(images),
        out=Path(out),
        labels=None if labels is None else Path(labels),
        table=None if table is None else Path(table),
        backbone=names,
        weights=weights,
        skip_broken=skip_broken,
        cache=cache_folder(cache),
    )


def _tune(request: TuneRequest, folder: TuneFolder, clock: TimeBudget, watcher: Watcher) -> None:
    """Choose the study, search, and end with what there is; then go on with larger studies, as long as time is left."""
    folder.settle_larger()
    study, complete = None, folder.marked("searched") and folder.any_done
    try:
        study = choose_study(request, clock, watcher)
        if not complete:
            complete = _search(study, request, folder, clock, watcher)
    except TimeIsUp:
        watcher.noted("the budget is used up: what was not trained to its end does not count")
    except KeyboardInterrupt:
        if folder.any_done:
            _end(folder, clock, study, complete=complete)
        raise
    if not folder.any_done:
        raise SpecError(
            f"the budget of {clock.seconds:g} s was over before one training was finished; what was done is kept, and "
            "the same command with twice the --budget goes on"
        )
    if not (complete and folder.whole and folder.marked("written")):
        watcher.step("writing the report and the classifier")
        _end(folder, clock, study, complete=complete)
    if request.table is not None and not complete and read_about(folder.classifier).numbers is None:
        watcher.warned(
            f"no training with the numbers of {request.table} was finished, so the classifier takes images alone; the "
            "same command with a larger --budget goes on"
        )
    while complete and study and (study := search_larger(request, study, clock, watcher)):
        watcher.step("writing the report and the classifier of the larger study")
        _end(folder, clock, study, complete=True)
    if answer := folder.read_answer():
        folder.write_answer({**answer, "budget_seconds": clock.seconds, "seconds": round(clock.used, 1)})
    folder.keep(request.told, clock.used, complete=complete, budget=clock.seconds)


def _search(study: Study, request: TuneRequest, folder: TuneFolder, clock: TimeBudget, watcher: Watcher) -> bool:
    """Search the study to its end, and remember that."""
    mark = folder.study_mark
    watcher.step("searching for the best depth")
    with stopping_after(clock.left - ending_of(clock)):
        search(study, request.settings(folder.run), watcher)
    folder.note(searched=mark)
    return True


def _end(folder: TuneFolder, clock: TimeBudget, study: Study | None, *, complete: bool) -> None:
    """Write the report, the classifier and the answer of what is done."""
    from skythaw.bundle.export.export_bundle import export

    facts = write_report(folder.run, ReportFiles(html=folder.report))
    export(folder.run, folder.classifier, onnx=False)
    folder.write_answer(
        {
            "schema": SCHEMA,
            "answer": short_answer(facts["choice"]),
            "sentences": plain_answer(facts["choice"]),
            "choice": facts["choice"],
            "complete": complete,
            "largest": complete and not (study and folder.may_grow and richer_rungs(study, folder.run)),
            "budget_seconds": clock.seconds,
            "seconds": round(clock.used, 1),
        }
    )
    if complete:
        folder.note(written=folder.study_mark)

"""`tune`: from images to an answer, a report and a classifier, in one call and within a budget of time."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from skythaw.api.choose_study import ENDING, TuneRequest, choose_study
from skythaw.api.finished_run import Run
from skythaw.api.time_budget import TimeBudget, TimeIsUp, parse_budget, stopping_after
from skythaw.api.tune_folder import TuneFolder
from skythaw.errors import SpecError
from skythaw.machine.files import replacing
from skythaw.report.plain_answer import plain_answer
from skythaw.report.short_answer import short_answer
from skythaw.report.write_report import ReportFiles, write_report
from skythaw.study.depth_search import search
from skythaw.study.open_study import Kind, Watcher
from skythaw.study.plan import Plan, PlannedCell

SCHEMA = 1


def tune(  # noqa: PLR0913 (each is an option of the command, and all but the images have a default)
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
) -> Run:
    """Find out how to classify images, and train the classifier: an answer, a report and a bundle.

    It says what it found, divides the objects by the sky if it can, tries networks, crops and sizes on some of them,
    searches for the best depth, trains the best with three seeds, and compares them with the frozen network, with a
    forest on measured numbers, and with the numbers of a table. Stop it at any time: the best so far is there, and the
    same call goes on.

    Parameters
    ----------
    images
        a folder with a folder of images for each class, an archive, arrays, or Parquet
    labels
        a table of labels, where the images do not say theirs
    table
        a catalogue of numbers beside the images, such as photometry
    budget
        how long it may take: ``"10m"``, ``"1h 30m"``; a number is seconds
    out
        the folder that gets `report.html`, `classifier/`, `study.toml` and `answer.json`
    backbone
        the networks that may be used; by default all whose weights are on this machine
    weights
        by network, a file of weights
    skip_broken
        leave out images that can't be read, instead of refusing them
    cache
        the cache folder
    watcher
        told what happens; None writes a line for each step to standard error

    Returns
    -------
    Run
        over `out`: its answer, table, figures and classifier

    Raises
    ------
    SkythawError
        The images, labels, table or weights can't be used; the budget is too small; `out` is of something else.
    """
    seconds = parse_budget(budget)
    request = tune_request(images, labels, table, out, backbone, weights, skip_broken, cache)
    folder = TuneFolder(request.out)
    kept = folder.open(request.told)
    clock = TimeBudget.begin(seconds, float(kept.get("seconds", 0.0)))
    if not (kept.get("complete") and folder.whole):
        _tune(request, folder, clock, BudgetWatcher(watcher or LineWatcher(), clock))
    return Run(folder.path)


def tune_request(  # noqa: PLR0913, PLR0917 (the arguments of `tune`, one by one)
    images: Path | str,
    labels: Path | str | None,
    table: Path | str | None,
    out: Path | str,
    backbone: Sequence[str],
    weights: Mapping[str, Path | str] | None,
    skip_broken: bool,
    cache: Path | None,
) -> TuneRequest:
    """The arguments of `tune`, as paths."""
    return TuneRequest(
        images=Path(images),
        out=Path(out),
        labels=None if labels is None else Path(labels),
        table=None if table is None else Path(table),
        backbone=tuple(backbone),
        weights=weights,
        skip_broken=skip_broken,
        cache=user_cache_path("skythaw", appauthor=False) if cache is None else cache,
    )


def _tune(request: TuneRequest, folder: TuneFolder, clock: TimeBudget, watcher: Watcher) -> None:
    """Choose the study, search, and end with what there is; also where the time is up, or the user stops it."""
    complete = False
    try:
        with stopping_after(clock.left - _ending(clock)):
            study = choose_study(request, clock, watcher)
            watcher.step("searching for the best depth")
            search(study, request.settings(folder.run), watcher)
        complete = True
    except TimeIsUp:
        watcher.noted("the budget is used up: what was not trained to its end does not count")
    except KeyboardInterrupt:
        if folder.any_done:
            _end(folder, clock, complete=False)
        raise
    finally:
        if any(each.exists() for each in (folder.cutouts, folder.look, folder.study)):
            folder.keep(request.told, clock.used)
    if not folder.any_done:
        raise SpecError(
            f"the budget of {clock.seconds:g} s was over before one training was finished; what was done is kept, and "
            "the same command with twice the --budget goes on"
        )
    watcher.step("writing the report and the classifier")
    _end(folder, clock, complete=complete)
    folder.keep(request.told, clock.used, complete=complete)


def _ending(clock: TimeBudget) -> float:
    return ENDING[0] + ENDING[1] * clock.seconds


def _end(folder: TuneFolder, clock: TimeBudget, *, complete: bool) -> None:
    """Write the report, the classifier and the answer of what is done."""
    from skythaw.bundle.export.export_bundle import export

    facts = write_report(folder.run, ReportFiles(html=folder.report))
    export(folder.run, folder.classifier, onnx=False)
    with replacing(folder.answer) as file:
        content = {
            "schema": SCHEMA,
            "answer": short_answer(facts["choice"]),
            "sentences": plain_answer(facts["choice"]),
            "choice": facts["choice"],
            "complete": complete,
            "budget_seconds": clock.seconds,
            "seconds": round(clock.used, 1),
        }
        file.write((json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


class LineWatcher(Watcher):
    """Writes a line for each step, note and warning to standard error."""

    def step(self, text: str) -> None:
        print(text, file=sys.stderr)

    def noted(self, text: str) -> None:
        print(text, file=sys.stderr)

    def warned(self, text: str) -> None:
        print(f"warning: {text}", file=sys.stderr)


class BudgetWatcher(Watcher):
    """Tells another watcher everything, and raises `TimeIsUp` where a cell ends after the time that there is.

    The alarm of `stopping_after` does that sooner, where there can be one.
    """

    def __init__(self, inner: Watcher, clock: TimeBudget) -> None:
        self._inner, self._clock = inner, clock
        self._searching = False

    def step(self, text: str) -> None:
        self._inner.step(text)

    def decoding(self, images: Iterable[Any], total: int) -> Iterable[Any]:
        return self._inner.decoding(images, total)

    def measuring(self, cells: Iterable[Any], total: int) -> Iterable[Any]:
        return self._inner.measuring(cells, total)

    def noted(self, text: str) -> None:
        self._inner.noted(text)

    def warned(self, text: str) -> None:
        self._inner.warned(text)

    def filling(self, images: int) -> None:
        self._inner.filling(images)

    def filled(self, images: int) -> None:
        self._inner.filled(images)

    def started(self, plan: Plan, done: set[str], what: Kind) -> None:
        self._inner.started(plan, done, what)

    def finished(self, planned: PlannedCell, error: str | None) -> None:
        self._inner.finished(planned, error)
        if self._clock.left < _ending(self._clock):
            raise TimeIsUp

"""``skythaw study``: plan, run, and look at a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skythaw.api.study_file import naming
from skythaw.cli.plan_command import plan
from skythaw.cli.print_report import print_outcome, print_search
from skythaw.cli.run_options import RunOptions, takes_run_options
from skythaw.cli.shared_options import Json, StudyFile, load_study
from skythaw.cli.terminal import (
    duration,
    print_json,
    progress_bar,
    say,
    stoppable,
)
from skythaw.cli.terminal_table import Wide

if TYPE_CHECKING:
    from skythaw.spec import Study
    from skythaw.study.run_study import StudySummary

Race = Annotated[
    bool,
    typer.Option(
        "--race",
        help="Train seed by seed, and give no further seeds to depths that are surely worse than the best on "
        "validation. A later run without it trains them.",
    ),
]

app = typer.Typer(no_args_is_help=True, help="Plan, run, and look at a study.")
app.command()(plan)


@app.command()
@takes_run_options
def run(
    context: typer.Context,
    study_file: StudyFile,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder. If it exists, the study continues in it.")],
    options: RunOptions,
    race: Race = False,
) -> None:
    """Run every cell that the run folder lacks. You can stop it at any time; the same command goes on."""
    study = load_study(study_file, options.skip_broken, options.allow_leak)
    summary = run_watched(study, out, context.obj, options, race, study_file)
    say(f"{summary.done} of {summary.cells} cells are done; see: skythaw report {out}")
    if summary.stopped:
        say(f"{summary.stopped} were not trained: their depths can no longer be the best; without --race they are")
    if summary.elsewhere:
        say(f"{summary.elsewhere} are being run by another process on the same folder")
    if summary.failed:
        say(f"{summary.failed} failed and will be tried again by the next run; why: skythaw study status {out}")
    if summary.failed_numbers:
        say(f"{summary.failed_numbers} models of numbers failed and will be tried again by the next run")
    print_outcome(out)
    if summary.failed or summary.failed_numbers:
        raise typer.Exit(1)


@app.command()
@takes_run_options
def search(
    context: typer.Context,
    study_file: StudyFile,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder. If it exists, the search continues in it.")],
    options: RunOptions,
    wide: Wide = False,
) -> None:
    """Find the best depth: every depth is tried, and what is surely worse is not trained further."""
    from skythaw.study.depth_search import search as run_search

    study = load_study(study_file, options.skip_broken, options.allow_leak)
    standings = watched(run_search, study, out, context.obj, options, study_file)
    print_search([asdict(each) for each in standings], wide=wide)
    say(f"see: skythaw report {out}")
    print_outcome(out)


@app.command()
def status(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")], as_json: Json = False
) -> None:
    """How far a study is."""
    from skythaw.study.ledger import Ledger
    from skythaw.study.study_status import status as look

    with Ledger.read(run_folder) as ledger:
        found = look(ledger)
    if as_json:
        print_json({"schema": 1, **found})
        return
    say(f"{found['done']} of {found['cells']} cells done, {found['running']} running, {found['failed']} failed")
    if found["stopped"]:
        say(f"{found['stopped']} are not trained: the race stopped their depths")
    if found["done"] + found["stopped"] < found["cells"]:
        say(f"time left: {duration(found['seconds_left'])}")
    for error, cells in _by_error(found["failures"]).items():
        say(f"\nfailed: {'; '.join(cells)}\n{error.rstrip()}")


def _by_error(failures: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The cells that failed in the same way."""
    groups: dict[str, list[str]] = {}
    for f in failures:
        cell = f"{f['backbone']}, depth {f['depth']}, {f['train_size']} images, seed {f['seed']}"
        groups.setdefault(f["error"], []).append(cell)
    return groups


def run_watched(
    study: Study, out: Path, cache: Path, options: RunOptions, race: bool = False, study_file: Path | None = None
) -> StudySummary:
    """Run a study with a progress bar."""
    from skythaw.study.run_study import run_study

    summary: StudySummary = watched(partial(run_study, with_race=race), study, out, cache, options, study_file)
    return summary


def watched(
    action: Callable[..., Any],
    study: Study,
    out: Path,
    cache: Path,
    options: RunOptions,
    study_file: Path | None = None,
) -> Any:
    """Run or search a study with a progress bar; Ctrl-C and SIGTERM stop it cleanly, and say how to go on."""
    settings = options.settings(study, out, cache)
    from skythaw.api.progress_watcher import watcher_of

    kept = f"finished cells are kept in {out}, and the same command goes on"
    with naming(study_file), stoppable(kept), progress_bar("cells") as bar:
        return action(study, settings, watcher_of(bar))

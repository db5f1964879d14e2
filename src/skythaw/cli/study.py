"""``skythaw study``: plan, run, and look at a study."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from skythaw.cli.output import (
    count,
    duration,
    make_table,
    parse_bytes,
    percent,
    print_json,
    print_table,
    progress_bar,
    say,
    warn,
)

if TYPE_CHECKING:
    from skythaw.spec import Study
    from skythaw.study.plan import Plan, PlannedCell
    from skythaw.study.reuse import Use
    from skythaw.study.run import Summary

app = typer.Typer(no_args_is_help=True, help="Plan, run, and look at a study.")
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
CacheSize = Annotated[
    str,
    typer.Option(metavar="SIZE", help="Room on the disk for frozen activations, as 500MB; 0 keeps none."),
]
USUAL = 4e10
"""FLOPs a second of one core in training, where nothing was measured yet: docs/performance.md"""
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Leave out images that can't be read, and say which.")]


@app.command()
def plan(
    context: typer.Context,
    study_file: StudyFile,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A run folder: show what is done there already.")
    ] = None,
    cache_size: CacheSize = "20GB",
    skip_broken: SkipBroken = False,
    as_json: Json = False,
) -> None:
    """The cells of a study, what is done, and what the rest costs. Runs nothing."""
    from skythaw.study.plan import make_plan

    planned = make_plan(_load(study_file, skip_broken), context.obj, budget=parse_bytes(cache_size, "--cache-size"))
    states, left = _progress_in(out)
    waiting = sum(p.cost for p in planned.cells if states.get(p.cell.key) != "done")
    if waiting:
        waiting += sum(reuse.flops for reuse in planned.reuse)
    if as_json:
        rows = [_plan_row(p, states.get(p.cell.key, "waiting")) for p in planned.cells]
        told: dict[str, Any] = {"name": planned.study.name, "classes": planned.classes, "objects": planned.objects}
        told |= {"warnings": planned.warnings, "cells": rows, "flops_left": waiting, "seconds_left": left}
        told["activations"] = [_use_row(use) for reuse in planned.reuse for use in reuse.uses]
        print_json({"schema": 1, **told})
        return
    for warning in planned.warnings:
        warn(warning)
    print_table(_plan_table(planned, states))
    print_table(_use_table(planned))
    say(f"{count(waiting)}FLOP to go" + _expected(waiting, left))


@app.command()
def run(
    context: typer.Context,
    study_file: StudyFile,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder; an old one is gone on with.")],
    engine: Annotated[str, typer.Option(help="processes or serial.")] = "processes",
    workers: Annotated[int | None, typer.Option(min=1, help="Cells at a time. Default: all cores are used.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU if there is one.")] = "auto",
    cache_size: CacheSize = "20GB",
    skip_broken: SkipBroken = False,
) -> None:
    """Run every cell that the run folder lacks. Stop it at any time; the same command goes on."""
    study = _load(study_file, skip_broken)
    how = How(engine, workers, device, parse_bytes(cache_size, "--cache-size"))
    summary = run_watched(study, out, context.obj, how)
    say(f"{summary.done} of {summary.cells} cells are done; see: skythaw report {out}")
    if summary.elsewhere:
        say(f"{summary.elsewhere} are being run by another process on the same folder")
    if summary.failed:
        say(f"{summary.failed} failed and will be tried again by the next run; why: skythaw study status {out}")
        raise typer.Exit(1)


@app.command()
def status(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")], as_json: Json = False
) -> None:
    """How far a study is."""
    from skythaw.study.ledger import Ledger
    from skythaw.study.status import status as look

    with Ledger.read(run_folder) as ledger:
        found = look(ledger)
    if as_json:
        print_json({"schema": 1, **found})
        return
    say(f"{found['done']} of {found['cells']} cells done, {found['running']} running, {found['failed']} failed")
    if found["done"] < found["cells"]:
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


def _load(study_file: Path, skip_broken: bool) -> Study:
    from skythaw.spec import Study

    study = Study.load(study_file)
    return study.skipping_broken() if skip_broken else study


@dataclass(frozen=True)
class How:
    """How to run a study, as the user said it."""

    engine: str = "processes"
    workers: int | None = None
    """None uses all cores"""
    device: str = "auto"
    cache_size: int = 20 * 10**9
    """bytes"""


def run_watched(study: Study, out: Path, cache: Path, how: How) -> Summary:
    """Run a study with a progress bar; Ctrl-C and SIGTERM stop it cleanly, and say how to go on."""
    from skythaw import registry
    from skythaw.study.machine import find_device
    from skythaw.study.run import Setting, run_study

    registry.get("engine", how.engine)
    workers = how.workers
    if workers is None:
        workers = 1 if find_device(how.device).type == "cuda" else _cores_for(study)
    setting = Setting(out, cache, how.engine, workers, how.device, how.cache_size)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with progress_bar("cells") as bar:
            return run_study(study, setting, _watcher(bar))
    except KeyboardInterrupt:
        typer.echo(f"\nstopped; finished cells are kept in {out}. The same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def _watcher(bar: Any) -> Any:
    """A watcher that draws on a progress bar."""
    from skythaw.study.run import Watcher

    class Bar(Watcher):
        def decoding(self, images: Iterable[Any], total: int) -> Iterable[Any]:
            task = bar.add_task("decoding", total=total, count=f"{total} images")
            for image in images:
                yield image
                bar.advance(task)
            bar.remove_task(task)

        def warned(self, text: str) -> None:
            bar.console.print(f"warning: {text}", markup=False, highlight=False, soft_wrap=True)

        def filling(self, images: int) -> None:
            if images:
                self.fill = bar.add_task("frozen part", total=images, count=f"{images} images")
            else:
                bar.remove_task(self.fill)

        def filled(self, images: int) -> None:
            bar.advance(self.fill, images)

        def started(self, plan: Plan, done: set[str]) -> None:
            self.cells, self.over = len(plan.cells), len(done)
            cost = sum(p.cost for p in plan.cells)
            before = sum(p.cost for p in plan.cells if p.cell.key in done)
            self.task = bar.add_task("study", total=cost, completed=before, count=self._count())

        def finished(self, planned: PlannedCell, error: str | None) -> None:
            self.over += 1
            bar.update(self.task, advance=planned.cost, count=self._count())
            if error is not None:
                cell = planned.cell
                last = error.strip().splitlines()[-1]
                self.warned(f"failed: {cell.backbone}, depth {cell.depth}, seed {cell.seed}: {last}")

        def _count(self) -> str:
            return f"{self.over} of {self.cells} cells"

    return Bar()


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _cores_for(study: Study) -> int:
    """As many workers as the cores bear, given each cell's threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(study.grid.axes.get("threads", [study.recipe.threads]))
    return max(1, cores // threads)


def _progress_in(out: Path | None) -> tuple[dict[str, str], float | None]:
    """States of the cells in a run folder, and the seconds left in it."""
    if out is None or not (out / "ledger.sqlite").exists():
        return {}, None
    from skythaw.study.ledger import Ledger
    from skythaw.study.status import seconds_left

    with Ledger.read(out) as ledger:
        entries = ledger.entries()
    return {entry.key: entry.state for entry in entries}, seconds_left(entries, 1)


def _plan_table(planned: Plan, states: dict[str, str]) -> Any:
    objects = ", ".join(f"{number} {part}" for part, number in planned.objects.items())
    classes = ", ".join(planned.classes)
    title = f"{planned.study.name}: {len(planned.cells)} cells; classes {classes}; objects: {objects}"
    axes = list(planned.study.grid.axes)
    words, numbers = ("backbone", "strategy", "state"), ("depth", "blocks", "TPR", "TLR", "TFR", "seeds", "cost")
    table = make_table(title, (*words, "images", *axes, *numbers), text_columns=3)
    for row in _by_seed(planned, states, axes):
        table.add_row(*row)
    return table


def _use_table(planned: Plan) -> Any:
    """Which frozen activations are kept."""
    columns = ("backbone", "activations", "why", "images", "depth", "prefix", "passes", "different", "bytes")
    table = make_table("frozen activations", columns, text_columns=3)
    for reuse in planned.reuse:
        for use in reuse.uses:
            table.add_row(
                use.cell.backbone,
                "kept" if use.keep else "computed",
                use.why,
                f"{use.cell.pixels.size} px",
                str(use.depth),
                f"{count(use.prefix)}FLOP",
                count(use.passes),
                count(use.train_pairs + use.score_pairs),
                f"{count(use.bytes)}B" if use.keep else "",
            )
    return table


def _use_row(use: Use) -> dict[str, Any]:
    return {
        "backbone": use.cell.backbone,
        "pixels": use.cell.pixels.model_dump(mode="json"),
        "depth": use.depth,
        "kept": use.keep,
        "why": use.why,
        "prefix_flops": use.prefix,
        "passes": use.passes,
        "different": use.train_pairs + use.score_pairs,
        "bytes": use.bytes if use.keep else 0,
    }


def _expected(flops: float, seconds: float | None) -> str:
    """How long it will take: from the cells that are done, else from what a core usually does."""
    if seconds is not None:
        return f", about {duration(seconds)} with one worker"
    return f"; about {duration(flops / USUAL)} of one core that does {count(USUAL)}FLOP a second"


def _plan_row(planned: PlannedCell, state: str) -> dict[str, Any]:
    cell, ratios = planned.cell, planned.ratios
    return {
        "key": cell.key,
        "state": state,
        "backbone": cell.backbone,
        "strategy": cell.strategy,
        "train_size": cell.train_size,
        "depth": cell.depth,
        "blocks": planned.blocks,
        "seed": cell.seed,
        "tpr": ratios.tpr,
        "tlr": ratios.tlr,
        "tfr": ratios.tfr,
        "flops": planned.cost,
        "pixels": cell.pixels.model_dump(mode="json"),
        "recipe": cell.recipe.model_dump(mode="json"),
    }


def _by_seed(planned: Plan, states: dict[str, str], axes: list[str]) -> list[list[str]]:
    """The rows of the plan's table: cells that differ by their seed alone are one row."""
    groups: dict[str, list[PlannedCell]] = {}
    for p in planned.cells:
        groups.setdefault(p.cell.model_copy(update={"seed": 0}).model_dump_json(), []).append(p)
    rows = []
    for group in groups.values():
        cell, ratios = group[0].cell, group[0].ratios
        settings = {**cell.pixels.model_dump(), **cell.recipe.model_dump()}
        done = sum(states.get(p.cell.key) == "done" for p in group)
        rows.append(
            [
                cell.backbone,
                cell.strategy,
                "done" if done == len(group) else f"{done} done" if done else "waiting",
                str(cell.train_size),
                *(str(settings[axis]) for axis in axes),
                str(cell.depth),
                str(group[0].blocks),
                *(percent(ratio) for ratio in (ratios.tpr, ratios.tlr, ratios.tfr)),
                str(len(group)),
                f"{count(sum(p.cost for p in group))}FLOP",
            ]
        )
    return rows

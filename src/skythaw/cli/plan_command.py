"""``skythaw study plan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skythaw.api.study_file import naming
from skythaw.cli.run_options import CacheSize
from skythaw.cli.shared_options import AllowLeak, Json, SkipBroken, StudyFile, cores_for, load_study
from skythaw.cli.terminal import (
    count,
    duration,
    parse_bytes,
    percent,
    plain_line,
    print_json,
    say_wrapped,
    warn,
)
from skythaw.cli.terminal_table import TerminalTable, Wide, print_table, say_left_out

if TYPE_CHECKING:
    from skythaw.study.plan import Plan, PlannedCell
    from skythaw.tuning.frozen.reuse_plan import Use


def plan(
    context: typer.Context,
    study_file: StudyFile,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A run folder. What is done in it is shown as done.")
    ] = None,
    cache_size: CacheSize = "20GB",
    skip_broken: SkipBroken = False,
    allow_leak: AllowLeak = None,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """The cells of a study, what is done, and what the rest costs. Runs nothing."""
    from skythaw.study.depth_race import most_saved
    from skythaw.study.machine_speed import MachineSpeed
    from skythaw.study.plan import make_plan, plan_trials
    from skythaw.study.rate_trials import first_trials

    budget = parse_bytes(cache_size, "--cache-size")
    study = load_study(study_file, skip_broken, allow_leak)
    with naming(study_file):
        planned = make_plan(study, context.obj, budget=budget)
    states = _states_in(out)
    left = [p for p in planned.cells if states.get(p.cell.key) != "done"]
    passes = [(reuse.uses[0].cell, reuse.flops) for reuse in planned.reuse] if left else []
    lacking = [p for p in first_trials(left) if states.get(p.cell.key) != "done"]
    trials = plan_trials(planned, lacking, context.obj, budget, trial=True).cells if lacking else ()
    work = [(p.cell, p.cost) for p in (*left, *trials)] + passes
    waiting = sum(flops for _, flops in work)
    pace, workers = MachineSpeed(context.obj), cores_for(planned.study)
    expected = sum(flops / pace.rate(cell) for cell, flops in work) / workers
    measured = all(pace.measured(cell) for cell, _ in work)
    spared = [p for p in most_saved(planned) if states.get(p.cell.key) != "done"]
    if as_json:
        rows = [_plan_row(p, states.get(p.cell.key, "waiting")) for p in planned.cells]
        told: dict[str, Any] = {"name": planned.study.name, "classes": planned.classes, "objects": planned.objects}
        told |= {"warnings": planned.warnings, "notes": planned.notes, "cells": rows, "flops_left": waiting}
        told |= {"split": planned.study.data.split.model_dump(mode="json"), "division": planned.study_data.division.why}
        told |= {"trials_of_rates": len(trials), "race_saves_at_most": len(spared)}
        told |= {"seconds_left": expected, "pace_measured": measured, "workers": workers}
        told["activations"] = [_use_row(use) for reuse in planned.reuse for use in reuse.uses]
        print_json({"schema": 1, **told})
        return
    _say_tables(planned, states, wide)
    first = f"{len(trials)} trials of learning rates come first; " if trials else ""
    say_wrapped(f"{first}{count(waiting)}FLOP to go{_expected(expected, measured, workers)}")
    if spared:
        flops = count(sum(p.cost for p in spared))
        say_wrapped(f"skythaw study run --race may save up to {len(spared)} cells of these ({flops}FLOP)")


def _say_tables(planned: Plan, states: dict[str, str], wide: bool) -> None:
    """Warnings, how the objects are divided, the cells, and what is kept of the frozen part."""
    for note in planned.notes:
        say_wrapped(note)
    for warning in planned.warnings:
        warn(plain_line(warning))
    if why := planned.study_data.division.why:
        say_wrapped(f"Split: {why}.")
    left_out = print_table(_plan_table(planned, states), wide=wide)
    say_left_out(left_out + print_table(_use_table(planned), wide=wide))


def _states_in(out: Path | None) -> dict[str, str]:
    """States of the cells in a run folder."""
    if out is None or not (out / "ledger.sqlite").exists():
        return {}
    from skythaw.study.ledger import Ledger

    with Ledger.read(out) as ledger:
        return {e.key: e.state for e in (*ledger.entries(), *ledger.entries("trial"))}


def _plan_table(planned: Plan, states: dict[str, str]) -> TerminalTable:
    objects = ", ".join(f"{number} {part}" for part, number in planned.objects.items())
    classes = ", ".join(planned.classes)
    title = f"{planned.study.name}: {len(planned.cells)} cells; classes {classes}; objects: {objects}"
    axes = [*planned.study.grid.axes, *(["inputs"] if planned.study.uses_numbers else [])]
    numbers = ("depth", "blocks", "TPR", "TLR", "TFR", "memory", "seeds", "cost")
    columns = ("backbone", "strategy", "state", "images", *axes, *numbers)
    one_strategy = len({p.cell.strategy for p in planned.cells}) == 1
    spare = (*(["strategy"] if one_strategy else []), "TFR", "TLR", "memory", "blocks", "TPR", "strategy")
    table = TerminalTable(title, columns, 3, spare)
    for row in _by_seed(planned, states, axes):
        table.add(*row)
    return table


def _use_table(planned: Plan) -> TerminalTable:
    """Which frozen activations are kept."""
    columns = ("backbone", "activations", "why", "images", "depth", "prefix", "passes", "different", "bytes")
    table = TerminalTable("frozen activations", columns, 3, spare=("passes", "different", "prefix", "images"))
    for reuse in planned.reuse:
        for use in reuse.uses:
            table.add(
                use.cell.network,
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
        "weights": use.cell.weights.name,
        "pixels": use.cell.pixels.model_dump(mode="json"),
        "depth": use.depth,
        "kept": use.keep,
        "why": use.why,
        "prefix_flops": use.prefix,
        "passes": use.passes,
        "different": use.train_pairs + use.score_pairs,
        "bytes": use.bytes if use.keep else 0,
    }


def _expected(seconds: float, measured: bool, workers: int) -> str:
    """How long it will take: by what cells took on this machine, else by what a core usually does."""
    if not seconds:
        return ""
    how = "as cells took on this machine before" if measured else "a guess: not every network was run here yet"
    return f", about {duration(seconds)} with {workers} at a time ({how})"


def _plan_row(planned: PlannedCell, state: str) -> dict[str, Any]:
    cell, ratios = planned.cell, planned.ratios
    return {
        "key": cell.key,
        "state": state,
        "backbone": cell.backbone,
        "weights": cell.weights.name,
        "strategy": cell.strategy,
        "train_size": cell.train_size,
        "depth": cell.depth,
        "blocks": planned.blocks,
        "seed": cell.seed,
        "inputs": cell.inputs,
        "tpr": ratios.tpr,
        "tlr": ratios.tlr,
        "tfr": ratios.tfr,
        "flops": planned.cost,
        "memory": planned.memory,
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
        done = sum(states.get(p.cell.key) == "done" for p in group)
        rows.append(
            [
                cell.network,
                cell.strategy,
                "done" if done == len(group) else f"{done} done" if done else "waiting",
                str(cell.train_size),
                *(str(cell.setting(axis)) for axis in axes),
                str(cell.depth),
                str(group[0].blocks),
                *(percent(ratio) for ratio in (ratios.tpr, ratios.tlr, ratios.tfr)),
                f"{count(max(p.memory for p in group))}B",
                str(len(group)),
                f"{count(sum(p.cost for p in group))}FLOP",
            ]
        )
    return rows

"""``skythaw report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skythaw.cli.output import make_table, percent, print_json, print_table, say, warn


def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")],
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report for programs; - is standard output.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw scores against depth (.png, .svg or .pdf).")
    ] = None,
) -> None:
    """How accuracy depends on fine-tuning depth: a table for each network."""
    from skythaw.report.facts import report_facts
    from skythaw.study.ledger import Ledger

    with Ledger.read(run_folder) as ledger:
        facts = report_facts(ledger)
    if picture is not None:
        from skythaw.report.figures import save_depth_curves

        save_depth_curves(facts, picture)
    if as_json is not None:
        print_json(facts, as_json)
    if as_json is None or str(as_json) != "-":
        print_report(facts)
        for what, file in (("picture", picture), ("JSON", as_json)):
            if file is not None:
                say(f"wrote the {what} {file}")


def print_report(facts: dict[str, Any]) -> None:
    """The tables of a report, one for each backbone, strategy and training size, and what they come to."""
    cells = facts["cells"]
    if not facts["rows"]:
        say(f"{facts['name']}: no cell is done yet ({cells['cells']} to run)")
        return
    for warning in facts["warnings"]:
        warn(warning)
    if facts["search"]:
        print_search(facts["search"])
    first: dict[tuple[Any, ...], str] = {}
    for choice in facts["recommended"]:
        first.setdefault((choice["backbone"], choice["train_size"]), choice["strategy"])
        print_table(_table(facts, choice))
        for probe in facts["probes"]:
            if choice["strategy"] == first[choice["backbone"], choice["train_size"]] and _same(probe, choice):
                say(_probe_line(probe, facts["axes"]))
    for choice in facts["recommended"]:
        say(_sentence(choice, facts["axes"]))
    say("Chosen by the mean macro-F1 on validation; the table's scores are of the test set, which took no part in it.")
    for alarm in facts["alarms"]:
        where = f"{alarm['backbone']}, depth {alarm['depth']}, {alarm['train_size']} images, seed {alarm['seed']}"
        say(f"ALARM {where}: {alarm['alarm']}")
    if cells["done"] < cells["cells"]:
        say(f"{cells['done']} of {cells['cells']} cells are done: the table is not complete")


def print_search(standings: list[dict[str, Any]]) -> None:
    """How each setting of a search did, rung by rung."""
    columns = ("backbone", "strategy", "setting", "fate", "rung", "images", "epochs", "log loss", "behind", "macro-F1")
    table = make_table("search for the best depth, by log loss on validation", columns, text_columns=4)
    for each in standings:
        interval = each["behind"]
        table.add_row(
            each["backbone"],
            each["strategy"],
            each["setting"],
            each["fate"],
            str(each["rung"] + 1),
            str(each["images"]),
            str(each["epochs"]),
            _number(each.get("log_loss")),  # the first searches kept none
            "-" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}",
            _number(each.get("macro_f1")),
            style="bold" if each["fate"] == "best" else None,
        )
    print_table(table)
    say("A trial is short: trained in full, a setting that was worse in it may be as good as the one that was taken.")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(facts: dict[str, Any], choice: dict[str, Any]) -> Any:
    """Depth against scores for one backbone, strategy and training size; the choice is marked."""
    same = ("backbone", "strategy", "train_size")
    title = f"{choice['backbone']}, {choice['train_size']} training images, strategy {choice['strategy']}"
    axes = facts["axes"]
    scores = ("macro-F1", "accuracy", "log loss", "lr", "peak epoch", "gap", "seconds", "seeds")
    table = make_table(title, ("", "depth", *axes, "TPR", "TLR", "TFR", *scores))
    rows = [row for row in facts["rows"] if all(row[name] == choice[name] for name in same)]
    for row in sorted(rows, key=lambda row: row["depth"]):
        chosen = all(row[name] == choice[name] for name in ("depth", *axes))
        table.add_row(
            "=>" if chosen else "",
            f"{row['depth']} of {row['blocks']}",
            *(str(row[axis]) for axis in axes),
            *(percent(row[ratio]) for ratio in ("tpr", "tlr", "tfr")),
            *(_with_spread(row[score]) for score in ("macro_f1", "accuracy", "log_loss")),
            ", ".join(f"{lr:.3g}" for lr in row["lrs"]),
            f"{row['peak_epoch']:.1f}",
            f"{row['gap']:+.3f}",
            f"{row['seconds']:.1f}",
            f"{row['seeds']}" + (f" ({row['alarms']} alarms)" if row["alarms"] else ""),
            style="bold" if chosen else None,
        )
    return table


def _same(probe: dict[str, Any], choice: dict[str, Any]) -> bool:
    return all(probe[name] == choice[name] for name in ("backbone", "train_size"))


def _probe_line(probe: dict[str, Any], axes: list[str]) -> str:
    settings = "".join(f", {axis} {probe[axis]}" for axis in axes if axis in probe)
    return (
        f"exact linear probe{settings}: macro-F1 {_with_spread(probe['macro_f1'])}, "
        f"accuracy {_with_spread(probe['accuracy'])}, log loss {_with_spread(probe['log_loss'])}\n"
    )


def _sentence(choice: dict[str, Any], axes: list[str]) -> str:
    settings = "".join(f", {axis} {choice[axis]}" for axis in axes)
    return (
        f"{choice['backbone']} with {choice['train_size']} images: train {choice['depth']} of {choice['blocks']} blocks"
        f"{settings} (TPR {percent(choice['tpr'])}, TLR {percent(choice['tlr'])}): "
        f"macro-F1 {_with_spread(choice['macro_f1'])}, accuracy {_with_spread(choice['accuracy'])}"
    )


def _with_spread(value: dict[str, Any]) -> str:
    if value["std"] is None:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f} ± {value['std']:.3f}"

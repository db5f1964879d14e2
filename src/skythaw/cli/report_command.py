"""``skythaw report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skythaw.cli.terminal import make_table, percent, print_json, print_table, say, warn

if TYPE_CHECKING:
    from skythaw.report.recommendations import Recommendation


def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as one web page.")] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report for programs; - is standard output.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Save every figure as PNG and SVG in this folder.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="DIR", help="Save the tables as CSV in this folder.")] = None,
    latex: Annotated[Path | None, typer.Option(metavar="FILE", help="Save the table of depths for LaTeX.")] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw scores against depth (.png, .svg or .pdf).")
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="Macro-F1 that a shallower depth may lose and still be as good.")
    ] = 0.01,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Where the images are, if the study's files have moved. May be repeated."),
    ] = None,
) -> None:
    """Which depth to fine-tune, how sure that is, and where the classifier fails."""
    from skythaw.report.write_report import ReportFiles, write_report

    facts = write_report(run_folder, ReportFiles(html, figures, csv, latex, picture), margin, data or ())
    if as_json is not None:
        print_json(facts, as_json)
    if as_json is None or str(as_json) != "-":
        print_report(facts)
        files = {"page": html, "figures": figures, "tables": csv, "LaTeX table": latex, "picture": picture}
        for what, where in (files | {"JSON": as_json}).items():
            if where is not None:
                say(f"wrote the {what} {where}")


def print_report(facts: dict[str, Any]) -> None:
    """The answer, and then the tables: one for each backbone, strategy and training size."""
    from skythaw.report import sentences
    from skythaw.report.recommendations import recommendations

    cells = facts["cells"]
    if not facts["rows"]:
        say(f"{facts['name']}: no cell is done yet ({cells['cells']} to run)")
        if facts["search"]:
            print_search(facts["search"])
        return
    recommended = recommendations(facts)
    for each in recommended:
        if each.choice["main"]:
            say(f"{each.choice['backbone']}: {sentences.answer(each)}")
    for warning in facts["warnings"]:
        warn(warning)
    if facts["search"]:
        print_search(facts["search"])
    _print_depths(facts, recommended)
    say(f"{sentences.RATIOS}\n")
    if facts["claims"]:
        _print_claims(facts["claims"])
    for curve in facts["size_curves"]:
        say(sentences.size_sentence(curve))
    say(sentences.method(facts))
    for alarm in facts["alarms"]:
        where = f"{alarm['backbone']}, depth {alarm['depth']}, {alarm['train_size']} images, seed {alarm['seed']}"
        say(f"ALARM {where}: {alarm['alarm']}")
    if cells["done"] < cells["cells"]:
        say(f"{cells['done']} of {cells['cells']} cells are done: the table is not complete")


def _print_depths(facts: dict[str, Any], recommended: Sequence[Recommendation]) -> None:
    """A table for each network, strategy and training size, and what its depths come to."""
    from skythaw.report.sentences import depths_compared

    first: dict[tuple[Any, ...], str] = {}
    for each in recommended:
        choice = each.choice
        first.setdefault((choice["backbone"], choice["train_size"]), choice["strategy"])
        print_table(_depth_table(facts, each))
        for probe in facts["probes"]:
            if choice["strategy"] == first[choice["backbone"], choice["train_size"]] and _same(probe, choice):
                say(_probe_line(probe, facts["axes"]))
        if each.comparison:
            say(f"{depths_compared(each.comparison)}\n")


def _depth_table(facts: dict[str, Any], recommended: Recommendation) -> Any:
    """Depth against scores for one backbone, strategy and training size; the choice is marked."""
    from skythaw.report.recommendations import CONTEST

    choice, axes = recommended.row, facts["axes"]
    title = f"{choice['backbone']}, {choice['train_size']} training images, strategy {choice['strategy']}"
    scores = ("macro-F1", "95 %", "accuracy", "log loss", "lr", "peak epoch", "gap", "seconds", "seeds")
    table = make_table(title, ("", "depth", *axes, "TPR", "TLR", "TFR", *scores))
    rows = [row for row in facts["rows"] if all(row[name] == choice[name] for name in CONTEST)]
    for row in sorted(rows, key=lambda row: row["depth"]):
        table.add_row(
            "=>" if row is choice else "",
            f"{row['depth']} of {row['blocks']}",
            *(str(row[axis]) for axis in axes),
            *(percent(row[ratio]) for ratio in ("tpr", "tlr", "tfr")),
            _with_spread(row["macro_f1"]),
            "-" if row["macro_f1"]["low"] is None else f"{row['macro_f1']['low']:.3f} to {row['macro_f1']['high']:.3f}",
            *(f"{row[score]['mean']:.3f}" for score in ("accuracy", "log_loss")),
            ", ".join(f"{lr:.3g}" for lr in row["lrs"]),
            "-" if row["peak_epoch"] is None else f"{row['peak_epoch']:.1f}",
            "-" if row["gap"] is None else f"{row['gap']:+.3f}",
            f"{row['seconds']:.1f}",
            f"{row['seeds']}" + (f" ({row['alarms']} alarms)" if row["alarms"] else ""),
            style="bold" if row is choice else None,
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


def _with_spread(score: dict[str, Any]) -> str:
    return f"{score['mean']:.3f}" if score["std"] is None else f"{score['mean']:.3f} ± {score['std']:.3f}"


def _print_claims(claims: list[dict[str, Any]]) -> None:
    say("What the seed study (arXiv 2205.07124) claims, on these data:")
    for each in claims:
        say(f"  {each['number']}. {each['claim']} {each['verdict'].upper()}. {each['why']}")
    say("")


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
    say("A trial is short: a setting that did worse in it may be as good as the chosen one when trained in full.")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

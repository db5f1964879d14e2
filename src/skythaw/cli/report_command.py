"""``skythaw report``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skythaw.cli.terminal import make_table, percent, print_json, print_table, say, warn
from skythaw.errors import DataError

if TYPE_CHECKING:
    from skythaw.report.figures.elements import Page
    from skythaw.spec import Pixels


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
    """Which depth to fine-tune, what the data do not tell, and where the classifier fails."""
    from skythaw.data.cutouts import read_cutouts
    from skythaw.report.report_facts import report_facts
    from skythaw.study.ledger import Ledger

    for path in data or ():
        read_cutouts(path, need_labels=False)  # a wrong name is refused before anything is written
    with Ledger.read(run_folder) as ledger:
        facts = report_facts(ledger, margin)
        paths = data or [Path(each) for each in (ledger.remark("data") or {}).values() if each]
        entries = ledger.entries()
    wanted = {"page": html, "figures": figures, "tables": csv, "LaTeX table": latex, "picture": picture}
    written = {what: where for what, where in wanted.items() if where is not None}
    if written and not facts["rows"]:
        raise DataError(f"no cell of the study is done yet: {next(iter(written.values()))} would be empty")
    if written:
        write_all(facts, written, ImageSource(paths, entries[0].cell.pixels))
    if as_json is not None:
        print_json(facts, as_json)
        written["JSON"] = as_json
    if as_json is None or str(as_json) != "-":
        print_report(facts)
        for what, where in written.items():
            say(f"wrote the {what} {where}")


@dataclass(frozen=True)
class ImageSource:
    """Where a report finds its pictures."""

    paths: list[Path]
    seen: Pixels
    """what the networks got of them: crop, bands, stretch"""


def write_all(facts: dict[str, Any], wanted: dict[str, Path], images: ImageSource) -> None:
    """Write the files that were asked for, by what they are."""
    from skythaw.machine.files import replacing
    from skythaw.report.figures import score_figures
    from skythaw.report.figures.elements import figures_of
    from skythaw.report.figures.matplotlib_figures import save_figure, save_figures
    from skythaw.report.page import report_tables

    if "page" in wanted or "figures" in wanted:
        page = build_page(facts, images)
        if "page" in wanted:
            from skythaw.report.page.html_page import save_page

            save_page(page, wanted["page"])
        if "figures" in wanted:
            save_figures(figures_of(page), wanted["figures"])
    if "picture" in wanted:
        save_figure(score_figures.depth_chart(facts), wanted["picture"])
    texts = {}
    if "tables" in wanted:
        texts[wanted["tables"] / "depths.csv"] = report_tables.as_csv(report_tables.depth_table(facts))
        texts[wanted["tables"] / "pairs.csv"] = report_tables.as_csv(report_tables.pair_table(facts))
    if "LaTeX table" in wanted:
        texts[wanted["LaTeX table"]] = report_tables.depths_as_latex(facts)
    for file, text in texts.items():
        with replacing(file) as out:
            out.write(text.encode())


def build_page(facts: dict[str, Any], images: ImageSource) -> Page:
    """The page of a report."""
    from datetime import date
    from importlib.metadata import version

    from skythaw.report.figures.object_pictures import pictures
    from skythaw.report.page.page_sections import make_page, wanted_images

    found = pictures(images.paths, wanted_images(facts), images.seen)
    return make_page(facts, found, version("skythaw"), date.today())


def print_report(facts: dict[str, Any]) -> None:
    """The answer, and then the tables: one for each backbone, strategy and training size."""
    from skythaw.report import sentences

    cells = facts["cells"]
    if not facts["rows"]:
        say(f"{facts['name']}: no cell is done yet ({cells['cells']} to run)")
        if facts["search"]:
            print_search(facts["search"])
        return
    for choice in sentences.main_choices(facts):
        say(f"{choice['backbone']}: {sentences.answer(facts, choice)}")
    for warning in facts["warnings"]:
        warn(warning)
    if facts["search"]:
        print_search(facts["search"])
    _print_depths(facts)
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


def _print_depths(facts: dict[str, Any]) -> None:
    """A table for each network, strategy and training size, and what its depths come to."""
    from skythaw.report import sentences

    first: dict[tuple[Any, ...], str] = {}
    for choice in facts["recommended"]:
        first.setdefault((choice["backbone"], choice["train_size"]), choice["strategy"])
        print_table(_table(facts, choice))
        for probe in facts["probes"]:
            if choice["strategy"] == first[choice["backbone"], choice["train_size"]] and _same(probe, choice):
                say(_probe_line(probe, facts["axes"]))
        if compared := sentences.comparison_of(facts, choice):
            say(f"{sentences.separation(compared)} {sentences.nested(compared)}\n")


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
    say("A trial is short: trained in full, a setting that was worse in it may be as good as the one that was taken.")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(facts: dict[str, Any], choice: dict[str, Any]) -> Any:
    """Depth against scores for one backbone, strategy and training size; the choice is marked."""
    same = ("backbone", "strategy", "train_size")
    title = f"{choice['backbone']}, {choice['train_size']} training images, strategy {choice['strategy']}"
    axes = facts["axes"]
    scores = ("macro-F1", "95 %", "accuracy", "log loss", "lr", "peak epoch", "gap", "seconds", "seeds")
    table = make_table(title, ("", "depth", *axes, "TPR", "TLR", "TFR", *scores))
    rows = [row for row in facts["rows"] if all(row[name] == choice[name] for name in same)]
    for row in sorted(rows, key=lambda row: row["depth"]):
        chosen = all(row[name] == choice[name] for name in ("depth", *axes))
        table.add_row(
            "=>" if chosen else "",
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


def _with_spread(value: dict[str, Any]) -> str:
    if value["std"] is None:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f} ± {value['std']:.3f}"

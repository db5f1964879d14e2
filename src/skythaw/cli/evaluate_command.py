"""``skythaw evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skythaw.cli.shared_options import BundleGiven, Json
from skythaw.cli.terminal import plain_line, print_json, say, say_wrapped, warn
from skythaw.cli.terminal_table import TerminalTable, print_table

if TYPE_CHECKING:
    from skythaw.report.figures.elements import Table

SHOWN = 8
"""mistakes on the terminal"""


def evaluate(
    context: typer.Context,
    bundle: BundleGiven,
    labelled: Annotated[
        Path,
        typer.Argument(metavar="LABELLED", help="Labelled images: a folder of class folders, an archive, or Parquet."),
    ],
    labels: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="A table of labels, where the images do not say theirs.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The catalogue of numbers that the classifier takes.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all of it as one web page.")] = None,
    as_json: Json = False,
) -> None:
    """What a classifier is worth on labelled images: scores with intervals, and where it errs."""
    from skythaw.api.evaluate import evaluate as run_evaluation

    found = run_evaluation(bundle, labelled, labels=labels, table=table, html=html, cache=context.obj)
    if as_json:
        print_json(found)
        return
    from skythaw.report.page.evaluation_page import class_scores, confusion_counts, evaluation_sentences, mistakes_table

    for text in [*found["warnings"], *found["notes"]]:
        warn(plain_line(text))
    for i, sentence in enumerate(evaluation_sentences(found)):
        say_wrapped(sentence if i else f"ANSWER: {sentence}", indent="  ")
    say("")
    for made in (class_scores(found), confusion_counts(found)):
        _print(made)
    for each in found["against"][:3]:
        _print_bins(each)
    _print(mistakes_table(found), SHOWN)
    if html is not None:
        say(f"wrote the page {html}")


def _print(made: Table, most: int | None = None) -> None:
    from skythaw.report.number_format import say as written

    if made.rows:
        table = TerminalTable(made.caption, made.columns)
        for row in made.rows[:most]:
            table.add(*(plain_line(written(value)) for value in row))
        print_table(table)


def _print_bins(against: dict[str, object]) -> None:
    """The share of errors against one number."""
    bins = against["bins"]
    assert isinstance(bins, list)
    table = TerminalTable(f"errors against {against['column']}", ("from", "to", "objects", "wrong", "95 %"))
    for each in bins:
        ends = f"{100 * each['low']:.0f} to {100 * each['high']:.0f} %"
        table.add(
            f"{each['from']:.4g}", f"{each['to']:.4g}", str(each["objects"]), f"{100 * each['error']:.1f} %", ends
        )
    print_table(table)

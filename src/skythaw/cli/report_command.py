"""``skythaw report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skythaw.cli.print_report import print_answer, print_report
from skythaw.cli.terminal import print_json, say
from skythaw.cli.terminal_table import Wide


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
    wide: Wide = False,
) -> None:
    """Which depth to fine-tune, how sure that is, and where the classifier fails."""
    from skythaw.report.write_report import ReportFiles, write_report

    facts = write_report(run_folder, ReportFiles(html, figures, csv, latex, picture), margin, data or ())
    if as_json is not None:
        print_json(facts, as_json)
    if as_json is None or str(as_json) != "-":
        print_report(facts, wide=wide)
        files = {"page": html, "figures": figures, "tables": csv, "LaTeX table": latex, "picture": picture}
        for what, where in (files | {"JSON": as_json}).items():
            if where is not None:
                say(f"wrote the {what} {where}")
        say("")
        print_answer(facts)

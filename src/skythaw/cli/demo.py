"""``skythaw demo``: the whole story in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skythaw.cli.output import say, tracked

OBJECTS = 600
STUDY = """\
# What `skythaw demo` runs; change it and run it again:  skythaw study run study.toml --out another-folder
name = "demo"

[data]
path = "mock.parquet"
split = { by = "field", validation = 0.15, test = 0.35, seed = 0 }

[grid]
backbone = ["efficientnet_lite0"]
depth = ["0%", "25%", "50%", "100%"]
train_size = [250]
seed = [0, 1]

[recipe]
epochs = 6
"""


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where everything is kept; run again, it goes on.")] = Path(
        "demo-run"
    ),
) -> None:
    """A mock survey, a small depth study on it, and the report: offline, in minutes."""
    from skythaw.cli.report import Images, print_report, write_all
    from skythaw.cli.study import How, run_watched
    from skythaw.data.files import replacing
    from skythaw.data.sources.mock.survey import make_mock
    from skythaw.report.facts import report_facts
    from skythaw.spec import Study
    from skythaw.study.ledger import Ledger

    survey, study_file, run = out / "mock.parquet", out / "study.toml", out / "run"
    if not survey.exists():
        say(f"1. a mock survey of {OBJECTS} galaxies, quasars and stars: {survey}")
        make_mock(survey, OBJECTS, 0, 64, progress=lambda items: tracked(items, OBJECTS, "rendering"))
    if not study_file.exists():
        with replacing(study_file) as file:
            file.write(STUDY.encode())
    say(f"2. a study of fine-tuning depth: {study_file}")
    summary = run_watched(Study.load(study_file), run, context.obj, How())
    say(f"3. what came of it ({summary.done} of {summary.cells} cells): {run}\n")
    with Ledger.read(run) as ledger:
        facts, entries = report_facts(ledger), ledger.entries()
    print_report(facts)
    if not facts["rows"]:
        say(f"no cell could be run; why: skythaw study status {run}")
        raise typer.Exit(1)
    page, picture = out / "report.html", out / "depth.png"
    write_all(facts, {"page": page, "picture": picture}, Images([survey], entries[0].cell.pixels))
    say(f"\nOpen {page} in a browser: the whole report. The depths as a picture: {picture}")
    say(f"Again, for programs: skythaw report {run} --json report.json")
    if summary.failed:
        raise typer.Exit(1)

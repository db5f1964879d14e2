"""``skythaw demo``: the whole story in one command."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer

from skythaw.cli.terminal import say, tracked

OBJECTS = 600
NEW = 150
"""objects that the classifier has not seen"""
STUDY = """\
# What `skythaw demo` runs; change it and run it again:  skythaw study run study.toml --out another-folder
name = "demo"

[data]
path = "mock.parquet"
crop = 32                              # pixels from the centre: what the network gets
columns = ["modelMag_g", "modelMag_r", "modelMag_i"]      # numbers beside the images: magnitudes in three bands
split = { by = "field", validation = 0.15, test = 0.35, seed = 0 }

[grid]
backbone = ["efficientnet_lite0"]
depth = ["0%", "50%", "100%"]          # of the network's blocks, from the top
train_size = [250]
seed = [0, 1, 2]
inputs = ["images", "table", "both:mean"]                 # images alone, numbers alone, and the mean of what they say

[recipe]
batch = 32                             # images a step: half of the usual, for a quicker demo
"""


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where everything is kept; run again, it goes on.")] = Path(
        "demo-run"
    ),
) -> None:
    """A mock survey, a small depth study on it, the report, and a classifier that predicts: offline, in minutes."""
    from skythaw.cli.print_report import print_answer, print_report
    from skythaw.cli.run_options import RunOptions
    from skythaw.cli.study_command import run_watched
    from skythaw.data.sources.mock.mock_survey import make_mock
    from skythaw.machine.files import replacing
    from skythaw.report.write_report import ReportFiles, write_report
    from skythaw.spec import Study

    survey, study_file, run = out / "mock.parquet", out / "study.toml", out / "run"
    if not survey.exists():
        say(f"1. a mock survey of {OBJECTS} galaxies, quasars and stars: {survey}")
        make_mock(survey, OBJECTS, 0, 64, progress=lambda items: tracked(items, OBJECTS, "rendering"))
    if not study_file.exists():
        with replacing(study_file) as file:
            file.write(STUDY.encode())
    say(f"2. a study of fine-tuning depth: {study_file}")
    summary = run_watched(Study.load(study_file), run, context.obj, RunOptions())
    say(f"3. what came of it ({summary.done} of {summary.cells} cells): {run}\n")
    page, picture = out / "report.html", out / "depth.png"
    files = ReportFiles(html=page, picture=picture) if summary.done else ReportFiles()
    facts = write_report(run, files, data=[survey])
    print_report(facts)
    if not facts["rows"]:
        say(f"no cell could be run; why: skythaw study status {run}")
        raise typer.Exit(1)
    say(f"\nOpen {page} in a browser: the whole report. The depths as a picture: {picture}")
    say(f"Again, for programs: skythaw report {run} --json report.json")
    _predict(out, run)
    say("")
    print_answer(facts)
    if summary.failed:
        raise typer.Exit(1)


def _predict(out: Path, run: Path) -> None:
    """The recommended classifier as a bundle, and what it says of objects that it has not seen."""
    from skythaw.bundle.export.export_bundle import export
    from skythaw.data.cutouts import read_cutouts
    from skythaw.data.sources.mock.mock_survey import make_mock
    from skythaw.predict.predict_images import PredictSettings, predict_to

    new, bundle, predictions = out / "new.parquet", out / "classifier", out / "predictions.csv"
    if not new.exists():
        make_mock(new, NEW, 1, 64, progress=lambda items: tracked(items, NEW, "rendering"))
    about = export(run, bundle, onnx=False)
    say(f"\n4. the recommended classifier ({about.cell.depth} of {about.blocks} blocks trained) as a bundle: {bundle}")
    predict_to(bundle, [new], predictions, PredictSettings(threads=1))
    with predictions.open(encoding="utf-8", newline="") as file:
        said = [row["label"] for row in csv.DictReader(file)]
    right = sum(a == b for a, b in zip(said, read_cutouts(new).labels, strict=True))
    say(f"5. what it says of {len(said)} objects of another mock sky ({right} right): {predictions}")
    say(f"Your own images: skythaw predict {bundle} IMAGES... -o predictions.parquet")
    say(f"\nAll of it in a browser: skythaw serve --run {run} --bundle {bundle}")

"""``skythaw export``: a finished cell as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from skythaw.cli.print_report import print_classifier
from skythaw.cli.terminal import print_json, say, say_wrapped, tracked

Inputs = Literal["images", "both"]


def export(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    bundle: Annotated[Path, typer.Argument(help="The folder to write.")],
    cell: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The beginning of a cell's key. Default: a cell of the recommended depth."),
    ] = None,
    inputs: Annotated[
        Inputs | None,
        typer.Option(help="What the classifier takes. Default: both, images and numbers, if the run has such cells."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The pretrained weights, if they were moved.")
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="FILE", help="The training data, if they were moved.")] = None,
    onnx: Annotated[
        bool | None,
        typer.Option(
            "--onnx/--no-onnx", help="Write an ONNX file, too. Default: if the packages for it are installed."
        ),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit", help="Train the cell again on training and validation together, and write the new weights."
        ),
    ] = False,
    ensemble: Annotated[
        bool,
        typer.Option("--ensemble", help="Write all seeds of the setting: the mean of their probabilities answers."),
    ] = False,
    device: Annotated[str, typer.Option(help="For --refit: cpu, cuda, or auto: a GPU if there is one.")] = "auto",
    references: Annotated[
        int,
        typer.Option(metavar="N", help="Training images to keep, at most, with which others are compared; 0: none."),
    ] = 4000,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what the bundle says of itself, for programs.")
    ] = False,
) -> None:
    """Write a finished cell as a self-contained classifier: weights, preprocessing, scores, model card."""
    from skythaw.bundle.export.export_bundle import export as write
    from skythaw.bundle.export.refit import Refit
    from skythaw.machine.device import device_here

    device_here(device)  # before anything is written
    how = Refit(context.obj, device, lambda epochs, number: tracked(epochs, number, "training again", "epochs"))
    again = how if refit else None
    about = write(
        run, bundle, cell=cell, inputs=inputs, weights=weights, data=data, onnx=onnx, refit=again, ensemble=ensemble,
        references=references,
    )  # fmt: skip
    if as_json:
        print_json(about.model_dump(mode="json", by_alias=True))
        return
    if about.refit:
        say_wrapped(
            f"trained again on {about.refit:,} images of training and validation together; the scores are of the "
            "network that was trained without validation"
        )
    say(f"wrote {bundle}")
    print_classifier(about)
    say(f"Predict with it: skythaw predict {bundle} IMAGES... -o predictions.parquet")

"""``skythaw features``: what a network makes of images, for the search of what looks alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from skythaw.cli.image_sentences import NAMED, facts_of, say_left_out, speed_of
from skythaw.cli.predict_command import Backend
from skythaw.cli.shared_options import BandFrom, Device, Ext, Json, MaxNan, Resize, Size
from skythaw.cli.terminal import duration, print_json, say_wrapped, stoppable, warn
from skythaw.errors import DataError

if TYPE_CHECKING:
    from skythaw.predict.image_summary import FeatureSummary


def features(
    network: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE|BACKBONE",
            help="A folder that `skythaw export` wrote, or the name of a backbone, timm:NAME, or hf_hub:OWNER/NAME.",
        ),
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Images, folders, quoted patterns, archives, Parquet files, CSV files."),
    ],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Write this file (.parquet).")],
    depth: Annotated[
        int, typer.Option(min=0, help="Leave out so many of the topmost blocks. 0: what a head judges from.")
    ] = 0,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="Of a backbone: imagenet, random, timm:NAME.TAG, hf_hub:OWNER/NAME, or a file. Default: the official.",
        ),
    ] = None,
    input_size: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            help="Of a backbone: pixels a side that it gets. Default: as in the training of its weights; fewer are "
            "faster.",
        ),
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            help="Of a backbone: pixels cut from the centre of each image. Default: as many as the first image has.",
        ),
    ] = None,
    stretch: Annotated[
        str | None,
        typer.Option(
            metavar="STRETCH",
            help="Of a backbone: brightness, as in a study file; images of floats need one: "
            "'{ kind = \"asinh\", low = 0, high = 1 }'.",
        ),
    ] = None,
    size: Size = None,
    resize: Resize = False,
    ext: Ext = None,
    band_from: BandFrom = None,
    max_nan: MaxNan = None,
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Batches at a time. Default: one for each core.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images that are read at once.")] = 256,
    backend: Annotated[
        Backend, typer.Option(help="What runs the network; onnx: only of a bundle, and at depth 0.")
    ] = "auto",
    shard: Annotated[int, typer.Option(min=1, help="Rows that are kept at once.")] = 10_000,
    as_json: Json = False,
) -> None:
    """Pooled features of any number of images. You can stop it at any time; the same command goes on."""
    from skythaw.api.features_function import features as run

    with stoppable(f"what was done is kept in {out}.part, and the same command goes on"):
        summary = run(
            network,
            inputs,
            out,
            depth=depth,
            weights=weights,
            input_size=input_size,
            crop=crop,
            stretch=stretch,
            size=size,
            resize=resize,
            ext=ext,
            band_from=cast(Literal["name", "none"] | None, band_from),
            max_nan=max_nan,
            device=device,
            threads=threads,
            batch=batch,
            backend=backend,
            shard=shard,
        )
    if as_json:
        print_json(_facts(summary, out))
    else:
        _show(summary, out)
    if summary.objects and not summary.ok:
        reason, number = summary.failed.most_common(1)[0]
        raise DataError(f"not one of the {summary.objects:,} images could be used ({number:,}: {reason})")


def _facts(summary: FeatureSummary, out: Path) -> dict[str, Any]:
    return facts_of(summary, out) | {
        "network": summary.network,
        "depth": summary.depth,
        "features": summary.width,
        "ok": summary.ok,
        "notes": list(summary.notes),
        "unread": [{"object_id": name, "reason": reason} for name, reason in summary.unread.items()],
    }


def _show(summary: FeatureSummary, out: Path) -> None:
    """Say what became of the images."""
    for note in summary.notes:
        say_wrapped(note)
    for reason, number in summary.failed.most_common(NAMED):
        some = [name for name, why in summary.unread.items() if why == reason][:3]
        of = f" ({', '.join(some)}{', ...' if len(some) < number else ''})" if some else ""
        warn(f"{number:,} without features{of}: {reason}")
    say_left_out(summary)
    say_wrapped(
        f"wrote {summary.width:,} features of {summary.ok:,} of {summary.objects:,} images to {out}, of "
        f"{summary.network} at depth {summary.depth}, in {duration(summary.seconds)} ({speed_of(summary)})"
    )

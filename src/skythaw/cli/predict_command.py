"""``skythaw predict``: a bundle over images, folders and catalogues."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from skythaw.api.stopping import what_is_kept
from skythaw.cli.print_report import print_classifier
from skythaw.cli.shared_options import (
    Address,
    BandFrom,
    BundleGiven,
    Device,
    Ext,
    GpuShare,
    MaxNan,
    NodeCache,
    Resize,
    Size,
    require_cluster,
)
from skythaw.cli.terminal import (
    brief,
    duration,
    print_json,
    say,
    say_wrapped,
    stoppable,
    warn,
)
from skythaw.cli.terminal_table import TerminalTable, print_table
from skythaw.errors import DataError

if TYPE_CHECKING:
    from skythaw.predict.predict_images import PredictSummary
    from skythaw.predict.survey.predict_survey import SurveySummary

JSON_SCHEMA = 1
Backend = Literal["auto", "torch", "onnx"]
NAMED = 10
"""reasons that are printed, at most"""


def predict(
    context: typer.Context,
    bundle: BundleGiven,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Images (JPEG, PNG, TIFF, WebP, FITS ...), folders, quoted patterns, Parquet files with images, or "
            "CSV files with a column that names images in the CSV's folder; with --sdss one catalogue of positions.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write a file (.parquet, .csv or .ecsv); or a folder of shards (a name without an ending), for "
            "Parquet files with images and HATS catalogues.",
        ),
    ],
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A catalogue with the numbers that the bundle takes beside images, joined by object_id or position. "
            "Default: columns of the Parquet files.",
        ),
    ] = None,
    size: Size = None,
    resize: Resize = False,
    ext: Ext = None,
    band_from: BandFrom = None,
    max_nan: MaxNan = None,
    device: Device = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Batches at a time. Default: one for each core; for a shard, 1.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images that go through the network at once.")] = 256,
    backend: Annotated[
        Backend,
        typer.Option(
            help="What runs the network. auto: the fastest one here that agrees with torch on the first images."
        ),
    ] = "auto",
    features: Annotated[
        bool,
        typer.Option("--features", help="Write the features, too: a column of lists, for Parquet and for shards."),
    ] = False,
    sdss: Annotated[
        bool,
        typer.Option(
            "--sdss",
            help="INPUT is a catalogue with ra and dec (CSV, FITS, VOTable, ECSV, Parquet); images come from SDSS.",
        ),
    ] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT=NAME", help="--sdss: the name of a column, such as ra=RA_J2000; may be repeated."),
    ] = None,
    release: Annotated[str, typer.Option(help="--sdss: data release, 14 to 18.")] = "17",
    service: Annotated[str, typer.Option(help="--sdss: skyserver, legacy or hips2fits.")] = "skyserver",
    rate: Annotated[float, typer.Option(help="--sdss: requests per second, at most.")] = 1.0,
    contact: Annotated[
        str | None,
        typer.Option(envvar="SKYTHAW_CONTACT", help="--sdss: your e-mail or page, which the service is told."),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="--sdss: replaces the scheme and host of the services.")
    ] = None,
    shard: Annotated[int, typer.Option(min=1, help="Rows of a shard.")] = 10_000,
    engine: Annotated[str, typer.Option(help="For a folder: processes, serial, or ray: a Ray cluster.")] = "processes",
    workers: Annotated[
        int | None, typer.Option(min=1, help="For a folder: shards at a time. Default: all cores.")
    ] = None,
    address: Address = None,
    node_cache: NodeCache = None,
    gpu_share: GpuShare = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="A summary for programs.")] = False,
) -> None:
    """Probabilities of each class for any number of images. You can stop it at any time; the same command goes on."""
    from skythaw.api.bundle_functions import predict as run
    from skythaw.bundle.bundle_file import read_about
    from skythaw.bundle.hub_bundle import bundle_folder

    require_cluster(context, engine)
    with stoppable(lambda: f"{what_is_kept(out, sdss)}, and the same command goes on"):
        bundle = bundle_folder(bundle)  # once: the Hub may have another one, or no answer, when all is done
        summary = run(
            bundle,
            inputs,
            out,
            table=table,
            size=size,
            resize=resize,
            ext=ext,
            band_from=cast(Literal["name", "none"] | None, band_from),
            max_nan=max_nan,
            device=device,
            threads=threads,
            batch=batch,
            backend=backend,
            features=features,
            sdss=sdss,
            column=column,
            release=release,
            service=service,
            rate=rate,
            contact=contact,
            base_url=base_url,
            shard=shard,
            engine=engine,
            workers=workers,
            address=address,
            node_cache=node_cache,
            gpu_share=gpu_share,
        )
    _show(summary, out, as_json)
    if not as_json:
        print_classifier(read_about(bundle))


def _show(summary: PredictSummary | SurveySummary, out: Path, as_json: bool) -> None:
    """Print what became of the images; the exit status is 1 where shards are missing, 2 where no image was used."""
    undone = getattr(summary, "undone", None)
    if as_json:
        print_json(_facts(summary, out) | ({} if undone is None else {"undone": len(undone)}))
    else:
        _print_table(summary)
        _say_inputs(summary)
        speed = "all done before"
        if summary.objects > summary.resumed:
            speed = f"{brief(summary.rate)} images/s, {summary.backend}"
        say(f"wrote {summary.objects:,} rows to {out} in {duration(summary.seconds)} ({speed})")
    for number, reason in list((undone or {}).items())[:NAMED]:
        warn(f"shard {number} is missing: {reason}")
    if undone:
        warn(f"{len(undone):,} shards are missing; the same command tries again")
        raise typer.Exit(1)
    if summary.objects and not sum(summary.classes.values()):
        reason, number = Counter(summary.failed).most_common(1)[0]
        raise DataError(
            f"not one of the {summary.objects:,} images could be used ({number:,}: {reason}); the column status of "
            f"{out} says why of each"
        )


def _facts(summary: PredictSummary | SurveySummary, out: Path) -> dict[str, Any]:
    return {
        "schema": JSON_SCHEMA,
        "objects": summary.objects,
        "ok": sum(summary.classes.values()),
        "classes": dict(sorted(summary.classes.items())),
        "failed": dict(Counter(summary.failed).most_common()),
        "passed_over": len(getattr(summary, "passed_over", ())),
        "resumed": summary.resumed,
        "seconds": summary.seconds,
        "images_per_second": summary.rate,
        "backend": summary.backend,
        "file": str(out),
    } | _by_inputs(summary)


def _by_inputs(summary: PredictSummary | SurveySummary) -> dict[str, Any]:
    """Of a bundle that takes numbers: by what the objects were judged."""
    inputs = getattr(summary, "inputs", None)
    if not inputs:
        return {}
    return {"inputs": dict(sorted(inputs.items())), "without_image": dict(getattr(summary, "without_image", {}))}


def _say_inputs(summary: PredictSummary | SurveySummary) -> None:
    """How the numbers were found, and what objects lacked them, or their image."""
    inputs = getattr(summary, "inputs", {})
    for note in getattr(summary, "notes", ()):
        say_wrapped(note)
    if inputs.get("both"):
        say_wrapped(f"{inputs['both']:,} objects were judged by image and numbers together")
    if inputs.get("images"):
        warn(f"{inputs['images']:,} by their image alone: they have no numbers")
    for reason, number in Counter(getattr(summary, "without_image", {})).most_common(NAMED):
        warn(f"{number:,} by their numbers alone: {reason}")


def _print_table(summary: PredictSummary | SurveySummary) -> None:
    """Objects of each class, and what could not be read."""
    table = TerminalTable(f"{summary.objects:,} objects", ("label", "objects"))
    for name, number in sorted(summary.classes.items()):
        table.add(name, f"{number:,}")
    failed = sum(summary.failed.values())
    if failed:
        table.add("none (see status)", f"{failed:,}")
    print_table(table)
    for reason, number in Counter(summary.failed).most_common(NAMED):
        warn(f"{number:,} without probabilities: {reason}")
    if others := list(getattr(summary, "passed_over", ())):
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        say(f"passed over {len(others):,} files that are not images ({shown})")
    if len(summary.failed) > NAMED:
        warn(f"there are {len(summary.failed) - NAMED:,} more reasons; the column status has them all")

"""``skythaw predict``: a bundle over images, folders and catalogues."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from skythaw.api.stopping import what_is_kept
from skythaw.cli.image_sentences import NAMED, facts_of, say_left_out, speed_of
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
from skythaw.cli.terminal import duration, print_json, say, say_wrapped, stoppable, warn
from skythaw.cli.terminal_table import TerminalTable, print_table
from skythaw.errors import DataError

if TYPE_CHECKING:
    from skythaw.predict.image_summary import PredictSummary

Backend = Literal["auto", "torch", "onnx"]


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


def _show(summary: PredictSummary, out: Path, as_json: bool) -> None:
    """Print what became of the images; the exit status is 1 where shards are missing, 2 where no image was used."""
    if as_json:
        print_json(_facts(summary, out))
    else:
        _print_table(summary)
        _say_inputs(summary)
        say(f"wrote {summary.objects:,} rows to {out} in {duration(summary.seconds)} ({speed_of(summary)})")
    undone = summary.undone or {}
    for number, reason in list(undone.items())[:NAMED]:
        warn(f"shard {number} is missing: {reason}")
    if undone:
        warn(f"{len(undone):,} shards are missing; the same command tries again")
        raise typer.Exit(1)
    if summary.objects and not summary.ok:
        reason, number = summary.failed.most_common(1)[0]
        raise DataError(
            f"not one of the {summary.objects:,} images could be used ({number:,}: {reason}); the column status of "
            f"{out} says why of each"
        )


def _facts(summary: PredictSummary, out: Path) -> dict[str, Any]:
    facts = facts_of(summary, out) | {"ok": summary.ok, "classes": dict(sorted(summary.classes.items()))}
    facts["notes"] = list(summary.notes)
    if summary.undone is not None:
        facts["undone"] = len(summary.undone)
    if summary.inputs:
        facts |= {"inputs": dict(sorted(summary.inputs.items())), "without_image": dict(summary.without_image)}
    return facts


def _say_inputs(summary: PredictSummary) -> None:
    """How the numbers were found, and what objects lacked them, or their image."""
    inputs = summary.inputs
    for note in summary.notes:
        say_wrapped(note)
    if inputs.get("both"):
        say_wrapped(f"{inputs['both']:,} objects were judged by image and numbers together")
    if inputs.get("images"):
        warn(f"{inputs['images']:,} by their image alone: they have no numbers")
    for reason, number in summary.without_image.most_common(NAMED):
        warn(f"{number:,} by their numbers alone: {reason}")


def _print_table(summary: PredictSummary) -> None:
    """Objects of each class, and what could not be read."""
    table = TerminalTable(f"{summary.objects:,} objects", ("label", "objects"))
    for name, number in sorted(summary.classes.items()):
        table.add(name, f"{number:,}")
    failed = summary.failed.total()
    if failed:
        table.add("none (see status)", f"{failed:,}")
    print_table(table)
    for reason, number in summary.failed.most_common(NAMED):
        warn(f"{number:,} without probabilities: {reason}")
    say_left_out(summary)

"""``skythaw predict``: a bundle over images, folders and catalogues."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from skythaw.cli.sdss_command import read_columns, read_release
from skythaw.cli.shared_options import Address, Device, GpuShare, NodeCache, require_cluster
from skythaw.cli.terminal import (
    brief,
    duration,
    make_table,
    print_json,
    print_table,
    progress_bar,
    say,
    stoppable,
    tracked,
    warn,
)
from skythaw.errors import SpecError
from skythaw.machine.processor import cores

if TYPE_CHECKING:
    from skythaw.predict.predict_images import PredictSummary
    from skythaw.predict.survey.predict_survey import SurveySummary

JSON_SCHEMA = 1
Backend = Literal["auto", "torch", "onnx"]
NAMED = 10
"""reasons that are shown"""


def predict(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A folder that `skythaw export` wrote.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Images (JPEG, PNG, FITS), folders, quoted patterns, Parquet files with images, or CSV files with a "
            "column that names images in the CSV's folder; with --sdss one catalogue of positions.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write here: .parquet, .csv or .ecsv; or a folder (no ending): a "
            "shard for each piece of Parquet files with images, HATS catalogues included.",
        ),
    ],
    device: Device = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Batches at a time. Default: all cores are used; for a shard, 1.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 256,
    backend: Annotated[
        Backend,
        typer.Option(
            help="What runs the network; auto: the faster one here, if it agrees with torch on the first images."
        ),
    ] = "auto",
    sdss: Annotated[
        bool, typer.Option("--sdss", help="INPUT has ra and dec (CSV, ECSV, VOTable, Parquet); images come from SDSS.")
    ] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT=NAME", help="--sdss: what a column is called, such as ra=RA_J2000; may be repeated."
        ),
    ] = None,
    release: Annotated[str, typer.Option(help="--sdss: data release, 14 to 18.")] = "17",
    service: Annotated[str, typer.Option(help="--sdss: skyserver, legacy or hips2fits.")] = "skyserver",
    rate: Annotated[float, typer.Option(help="--sdss: requests a second, at most.")] = 1.0,
    contact: Annotated[
        str | None, typer.Option(envvar="SKYTHAW_CONTACT", help="--sdss: your e-mail or page, told to the service.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="--sdss: instead of the services' scheme and host.")
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
    """Probabilities of each class for any number of images. Stop it at any time; the same command goes on."""
    from skythaw.predict.predict_images import PredictSettings, predict_to

    require_cluster(context, engine)
    if out.suffix and engine != "processes":
        raise SpecError(f"the engine {engine} makes a folder of shards: give -o a name without an ending, not {out}")
    if sdss:
        manners = {"rate": rate, "base_url": base_url} | ({"contact": contact} if contact else {})
        inputs = [_fetched(bundle, inputs, out, (release, service, column or []), manners)]
    if not out.suffix:
        how = (engine, workers, address if engine == "ray" else None, node_cache, gpu_share)
        _survey(bundle, inputs, out, PredictSettings(batch, device, threads or 1, shard, backend), how, as_json)
        return
    setting = PredictSettings(batch, device, threads or cores(), shard, backend)
    with stoppable(f"what was done is kept in {out}.part, and the same command goes on"):
        summary = predict_to(bundle, inputs, out, setting, lambda items, total: tracked(items, total, "predicting"))
    if as_json:
        print_json(_facts(summary, out))
        return
    _show(summary)
    speed = (
        f"{brief(summary.rate)} images/s, {summary.backend}" if summary.objects > summary.resumed else "all done before"
    )
    say(f"wrote {summary.objects:,} rows to {out} in {duration(summary.seconds)} ({speed})")


def _fetched(
    bundle: Path, inputs: list[str], out: Path, source: tuple[str, str, list[str]], manners: dict[str, Any]
) -> str:
    """The file of cutouts that are to be predicted, fetched for the positions of a catalogue."""
    from skythaw.bundle.bundle_file import read_about
    from skythaw.data.sources.sdss.http_client import HttpSettings
    from skythaw.predict.from_sky import FetchSettings, fetch_catalogue
    from skythaw.predict.prediction_files import check_output

    check_output(out)
    release, service, column = source
    archive = FetchSettings(
        read_release(release),
        service,
        read_columns(column),
        HttpSettings(**manners),
        lambda items, total, name: tracked(items, total, name, "objects"),
    )
    with stoppable(f"what was fetched is kept in {out}.sdss, and the same command goes on"):
        return str(fetch_catalogue(read_about(bundle), inputs, out, archive))


def _survey(bundle: Path, inputs: list[str], out: Path, setting: Any, how: tuple[Any, ...], as_json: bool) -> None:
    """Predict into a folder of shards."""
    from skythaw.predict.survey.predict_survey import SurveyEngine, predict_survey
    from skythaw.study.on_cluster import Cluster

    engine, workers, address, node_cache, gpu_share = how
    workers = workers or (max(1, cores() // setting.threads) if engine == "processes" else None)
    spread = SurveyEngine(engine, workers, Cluster(address, node_cache, gpu_share))
    with stoppable(f"whole shards are kept in {out}, and the same command goes on"), progress_bar("images") as bar:
        task = bar.add_task("looking at files", total=None)

        def told(done: int, rows: int) -> None:
            if bar.tasks[0].total is None:
                bar.reset(task, description="predicting", total=rows, completed=done, begun=done)
            bar.update(task, completed=done)

        summary = predict_survey(bundle, inputs, out, setting, spread, told)
    if as_json:
        print_json(_facts(summary, out) | {"undone": len(summary.undone)})
    else:
        _show(summary)
        speed = f"{brief(summary.rate)} images/s" if summary.objects > summary.resumed else "all done before"
        say(f"wrote {summary.objects:,} rows to {out} in {duration(summary.seconds)} ({speed})")
    for number, reason in list(summary.undone.items())[:NAMED]:
        warn(f"shard {number} is lacking: {reason}")
    if summary.undone:
        warn(f"{len(summary.undone):,} shards are lacking; the same command tries again")
        raise typer.Exit(1)


def _facts(summary: PredictSummary | SurveySummary, out: Path) -> dict[str, Any]:
    return {
        "schema": JSON_SCHEMA,
        "objects": summary.objects,
        "ok": sum(summary.classes.values()),
        "classes": dict(sorted(summary.classes.items())),
        "failed": dict(Counter(summary.failed).most_common()),
        "resumed": summary.resumed,
        "seconds": summary.seconds,
        "images_per_second": summary.rate,
        "backend": summary.backend,
        "file": str(out),
    }


def _show(summary: PredictSummary | SurveySummary) -> None:
    """Objects of each class, and what could not be read."""
    table = make_table(f"{summary.objects:,} objects", ("label", "objects"))
    for name, number in sorted(summary.classes.items()):
        table.add_row(name, f"{number:,}")
    failed = sum(summary.failed.values())
    if failed:
        table.add_row("none (see status)", f"{failed:,}")
    print_table(table)
    for reason, number in Counter(summary.failed).most_common(NAMED):
        warn(f"{number:,} without probabilities: {reason}")
    if len(summary.failed) > NAMED:
        warn(f"and {len(summary.failed) - NAMED:,} other reasons; the column status has them all")

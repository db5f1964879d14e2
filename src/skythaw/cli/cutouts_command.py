"""``skythaw data cutouts``: the cutouts of a catalogue from any survey."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skythaw.cli.print_fetched import print_fetched
from skythaw.cli.shared_options import Json
from skythaw.cli.terminal import stoppable


def cutouts(
    out: Annotated[Path, typer.Argument(metavar="OUT.parquet", help="The file to write.")],
    survey: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="ls-dr9, ls-dr10, panstarrs, des-dr2, sdss9, dss2, 2mass, allwise or galex; legacy:LAYER of the "
            "Legacy Survey viewer; or a HiPS of CDS, such as CDS/P/DSS2/color.",
        ),
    ],
    catalog: Annotated[
        Path, typer.Option(metavar="FILE", help="Your positions: CSV, FITS, VOTable, ECSV, Parquet or Excel.")
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT=NAME",
            help="The name of a column of the catalogue, such as ra=RA_J2000; may be repeated. WHAT is object_id, ra, "
            "dec or label.",
        ),
    ] = None,
    images: Annotated[str, typer.Option(help="jpeg (colour) or fits (float32).")] = "jpeg",
    bands: Annotated[
        str, typer.Option(help="Bands of FITS images, such as gri or W1,W2. Default: all that are known.")
    ] = "",
    size: Annotated[int, typer.Option(metavar="PX", help="Pixels a side.")] = 64,
    scale: Annotated[float | None, typer.Option(help="Arcsec per pixel. Default: about the survey's own.")] = None,
    max_black: Annotated[float, typer.Option(help="Largest share of an image without data.")] = 0.05,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Replaces the scheme and host of the services.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Requests per second, at most.")] = 1.0,
    contact: Annotated[
        str | None, typer.Option(envvar="SKYTHAW_CONTACT", help="Your e-mail or page, which the service is told.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Requests under way at once.")] = 2,
    timeout: Annotated[float, typer.Option(help="Seconds for one answer.")] = 60.0,
    attempts: Annotated[int, typer.Option(help="How often to ask for one image.")] = 5,
    retry_failed: Annotated[
        bool, typer.Option(help="Try again after all failures; without it, only after those that may pass.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Cutouts of your own positions from any survey. You can stop it at any time; the same command goes on."""
    from skythaw.api.cutouts_function import fetch_cutouts

    with stoppable("what was fetched is kept, and the same command goes on"):
        summary = fetch_cutouts(
            out,
            survey=survey,
            catalog=catalog,
            column=column,
            images=images,
            bands=bands,
            size=size,
            scale=scale,
            max_black=max_black,
            base_url=base_url,
            rate=rate,
            contact=contact,
            workers=workers,
            timeout=timeout,
            attempts=attempts,
            retry_failed=retry_failed,
        )
    print_fetched(summary, out, size, as_json=as_json)

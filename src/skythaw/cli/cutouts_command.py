"""``skythaw data cutouts``: the cutouts of a catalogue from any survey."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skythaw.cli.fetch_options import (
    Attempts,
    BaseUrl,
    Contact,
    Form,
    MaxBlack,
    PixelsASide,
    Rate,
    Requests,
    RetryFailed,
    Target,
    Timeout,
)
from skythaw.cli.print_fetched import print_fetched
from skythaw.cli.shared_options import Json
from skythaw.cli.terminal import stoppable


def cutouts(
    out: Target,
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
    images: Form = "jpeg",
    bands: Annotated[
        str, typer.Option(help="Bands of FITS images, such as gri or W1,W2. Default: all that are known.")
    ] = "",
    size: PixelsASide = 64,
    scale: Annotated[float | None, typer.Option(help="Arcsec per pixel. Default: about the survey's own.")] = None,
    max_black: MaxBlack = 0.05,
    base_url: BaseUrl = None,
    rate: Rate = 1.0,
    contact: Contact = None,
    workers: Requests = 2,
    timeout: Timeout = 60.0,
    attempts: Attempts = 5,
    retry_failed: RetryFailed = False,
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

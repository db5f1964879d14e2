"""``skythaw data sdss``: cutouts from the SDSS archive."""

from __future__ import annotations

from inspect import signature
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
from skythaw.cli.terminal import stoppable


def sdss(
    out: Target,
    per_class: Annotated[int | None, typer.Option(metavar="N", help="Objects of each class.")] = None,
    total: Annotated[
        int | None,
        typer.Option(metavar="N", help="Objects in all, with the classes in natural proportion."),
    ] = None,
    sql: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The result of your own query, which begins with SELECT.")
    ] = None,
    catalog: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your own positions: CSV, FITS, VOTable, ECSV, Parquet or Excel."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT=NAME",
            help="The name of a column of the catalogue, such as ra=RA_J2000; may be repeated. WHAT is object_id, ra, "
            "dec, label, run, camcol or field.",
        ),
    ] = None,
    classes: Annotated[str, typer.Option(help="Classes of the spectroscopic sample.")] = "GALAXY,QSO,STAR",
    min_mag: Annotated[float | None, typer.Option(help="Brightest modelMag_r, as observed.")] = None,
    max_mag: Annotated[float | None, typer.Option(help="Faintest modelMag_r, as observed.")] = None,
    min_redshift: Annotated[float | None, typer.Option(help="Smallest redshift.")] = None,
    max_redshift: Annotated[float | None, typer.Option(help="Largest redshift.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another sample.")] = 0,
    release: Annotated[str, typer.Option(help="Data release, 14 to 18.")] = "17",
    images: Form = "jpeg",
    service: Annotated[str, typer.Option(help="skyserver, legacy or hips2fits.")] = "skyserver",
    bands: Annotated[
        str, typer.Option(help="Bands of FITS images, such as gri. Default: all that the service has.")
    ] = "",
    size: PixelsASide = 64,
    scale: Annotated[float, typer.Option(help="Arcsec per pixel.")] = 0.396,
    max_black: MaxBlack = 0.05,
    base_url: BaseUrl = None,
    rate: Rate = 1.0,
    contact: Contact = None,
    workers: Requests = 2,
    timeout: Timeout = 60.0,
    attempts: Attempts = 5,
    retry_failed: RetryFailed = False,
    as_json: Annotated[bool, typer.Option("--json", help="The final report for programs.")] = False,
) -> None:
    """Labelled cutouts from the Sloan Digital Sky Survey. You can stop it at any time; the same command goes on."""
    from skythaw.api.sdss_function import fetch_sdss, request_of

    given = {name: value for name, value in locals().items() if name in signature(fetch_sdss).parameters}
    request = request_of(given)
    with stoppable("what was fetched is kept, and the same command goes on"):
        summary = fetch_sdss(**given)
    print_fetched(summary, out, size, wanted=request.wanted * len(request.strata), as_json=as_json)

"""Options that all commands share which fetch cutouts from a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Target = Annotated[Path, typer.Argument(metavar="OUT.parquet", help="The file to write.")]
Form = Annotated[str, typer.Option(help="jpeg (colour) or fits (float32).")]
PixelsASide = Annotated[int, typer.Option(metavar="PX", help="Pixels a side.")]
MaxBlack = Annotated[float, typer.Option(help="Largest share of an image without data.")]
BaseUrl = Annotated[str | None, typer.Option(metavar="URL", help="Replaces the scheme and host of the services.")]
Rate = Annotated[float, typer.Option(help="Requests per second, at most.")]
Contact = Annotated[
    str | None, typer.Option(envvar="SKYTHAW_CONTACT", help="Your e-mail or page, which the service is told.")
]
Requests = Annotated[int, typer.Option(help="Requests under way at once.")]
Timeout = Annotated[float, typer.Option(help="Seconds for one answer.")]
Attempts = Annotated[int, typer.Option(help="How often to ask for one image.")]
RetryFailed = Annotated[
    bool, typer.Option(help="Try again after all failures; without it, only after those that may pass.")
]

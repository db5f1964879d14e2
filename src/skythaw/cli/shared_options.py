"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skythaw import registry
from skythaw.api.run_choices import cores_for
from skythaw.errors import SpecError

if TYPE_CHECKING:
    from skythaw.spec import Study

__all__ = ["cores_for"]  # as before, beside what is defined here

BundleGiven = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="The classifier's folder, or hf://OWNER/NAME on the Hugging Face Hub.")
]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Engine = Annotated[str, typer.Option(help="What runs the cells: processes, serial, or ray (a Ray cluster).")]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, or auto (a GPU if there is one).")]
Address = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS",
        help="The address of a running Ray cluster: HOST:PORT, or auto. Default: one is started on this machine.",
    ),
]
NodeCache = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="Where each node of a Ray cluster keeps its caches. Default: in its temporary folder."
    ),
]
GpuShare = Annotated[
    float,
    typer.Option(
        metavar="SHARE",
        min=0.01,
        max=1,
        help="The share of a GPU that a cell gets on a Ray cluster, with --device cuda.",
    ),
]
AllowLeak = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Use a column although it may give the class away; may be repeated."),
]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Leave out images that can't be read, and list them.")]

Size = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Make all images N x N pixels: cut from the centre, padded with sky where they are smaller. Default: as "
        "they are; an import cuts to the largest square that fits in every image where they differ or are not square.",
    ),
]
Resize = Annotated[bool, typer.Option("--resize", help="Scale images to --size N instead.")]
Ext = Annotated[
    str | None,
    typer.Option(metavar="NAME[,NAME]", help="Extensions of FITS files to read, by name or number, as bands."),
]
BandFrom = Annotated[
    str | None,
    typer.Option(
        metavar="name|none",
        help="name: files such as OBJECT_g.fits and OBJECT_r.fits are bands of one object. none: they are not.",
    ),
]
MaxNan = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Share of a band that may be NaN, such as 0.1; these pixels become the band's median. Default: 0.05, "
        "and they become 0.",
    ),
]


def load_study(study_file: Path, skip_broken: bool, allow_leak: Sequence[str] | None = None) -> Study:
    """Read a study file."""
    from skythaw.spec import Study

    study = Study.load(study_file).allowing(allow_leak or ())
    return study.skipping_broken() if skip_broken else study


def require_cluster(context: typer.Context, engine: str) -> None:
    """Raise `SpecError` where an option that is for a cluster is given to an engine that uses none."""
    if registry.get("engine", engine).cluster:
        return
    for name in ("address", "node_cache", "gpu_share", "cell_memory"):
        source = context.get_parameter_source(name) if name in context.params else None
        if source is not None and source.name == "COMMANDLINE":  # an address in the environment is for others
            raise SpecError(f"--{name.replace('_', '-')} is for a Ray cluster: say --engine ray, too")

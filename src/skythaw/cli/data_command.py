"""``skythaw data``: make, import and inspect sets of cutouts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from skythaw.cli.cutouts_command import cutouts
from skythaw.cli.print_import import print_import
from skythaw.cli.sdss_command import sdss
from skythaw.cli.shared_options import BandFrom, Ext, Json, MaxNan, Resize, Size
from skythaw.cli.terminal import plain_line, print_json, say, warn
from skythaw.cli.terminal_table import TerminalTable, print_table
from skythaw.errors import DataError

app = typer.Typer(no_args_is_help=True, help="Make, import and inspect sets of cutouts.")
app.command("sdss")(sdss)
app.command("cutouts")(cutouts)
KINDS = {"JPEG or PNG": "8 bits, such as JPEG or PNG", "FITS": "floats, such as FITS or 16 bits"}
Out = Annotated[Path, typer.Argument(metavar="OUT.parquet", help="The file to write.")]


@app.command()
def mock(
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="The Parquet file to write; without an ending, a folder of images with OUT.csv beside it.",
        ),
    ],
    objects: Annotated[
        int, typer.Option(help="Number of objects, in equal shares of galaxies, quasars and stars.")
    ] = 1200,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    size: Annotated[int, typer.Option(metavar="PX", help="Pixels of a cutout, at 0.396 arcsec each.")] = 64,
) -> None:
    """A mock survey that looks like SDSS, rendered with GalSim."""
    from skythaw.api.data_functions import make_mock

    make_mock(out, objects=objects, seed=seed, size=size)
    if not out.suffix:
        say(f"wrote {objects} images of {size} px to {out}, and their labels to {out.with_name(out.name + '.csv')}")
        return
    say(f"wrote {objects} cutouts of {size} px to {out}")


@app.command("import")
def import_(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            help="A folder with a folder of images for each class; or with --labels, a folder of images. Or a .zip of "
            "one, a WebDataset .tar, arrays (HDF5, .npz, .npy), Parquet with images, or "
            "hf://datasets/OWNER/NAME@REVISION of the Hugging Face Hub."
        ),
    ],
    out: Out,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="A table that has the name or file, the label, and further columns of each image: CSV, Excel, "
            "Parquet, FITS, VOTable or ECSV.",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=NAME",
            help="The name of a column of the table, such as label=morphology; may be repeated. KIND is file, id, "
            "label, ra, dec, run, camcol, field or part.",
        ),
    ] = None,
    argmax: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS",
            help="Columns of vote fractions, separated by commas, or a pattern such as 'smooth*'. The class of an "
            "image is the column with its largest number.",
        ),
    ] = None,
    labelled_only: Annotated[bool, typer.Option(help="Take only the images that have a row in the table.")] = False,
    skip_missing: Annotated[bool, typer.Option(help="Leave out rows of the table whose image is not there.")] = False,
    skip_broken: Annotated[bool, typer.Option(help="Leave out images that can't be read, and list them.")] = False,
    size: Size = None,
    resize: Resize = False,
    ext: Ext = None,
    band_from: BandFrom = None,
    max_nan: MaxNan = None,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge", help="Make one class of names that differ only in case, blanks, hyphens or a plural s."
        ),
    ] = False,
    drop_conflicts: Annotated[
        bool, typer.Option("--drop-conflicts", help="Leave out images that are there with different labels.")
    ] = False,
    level: Annotated[
        int | None,
        typer.Option(metavar="N", help="Which level of folders names the classes; 1 is the outermost."),
    ] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Take images without labels, to be predicted, from any folder.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Gather labelled images (JPEG, PNG, TIFF, WebP, BMP, GIF, JPEG 2000, FITS) in one Parquet file."""
    from skythaw.api.data_functions import import_images

    result = import_images(
        folder,
        out,
        labels=labels,
        column=column,
        argmax=argmax,
        labelled_only=labelled_only,
        skip_missing=skip_missing,
        skip_broken=skip_broken,
        size=size,
        resize=resize,
        ext=ext,
        band_from=cast(Literal["name", "none"] | None, band_from),
        max_nan=max_nan,
        merge=merge,
        drop_conflicts=drop_conflicts,
        level=level,
        unlabelled=unlabelled,
        cache=context.obj,
    )
    print_import(result, out, as_json=as_json)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A Parquet file of cutouts, or a folder of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for programs.")] = False,
    sheet: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Write a contact sheet with some objects of each class.")
    ] = None,
) -> None:
    """Counts, sizes, bands and their values, duplicates, broken images, and overlap on the sky."""
    from skythaw.api.data_functions import inspect as look

    found = look(file, sheet=sheet)
    if as_json:
        print_json(found)
        return
    table = TerminalTable(f"{file}: {found['objects']} objects", ("class", "objects", "share"))
    for name, number in found["classes"].items():
        table.add(name, str(number), f"{100 * number / found['objects']:.1f} %")
    if found["unlabelled"]:
        table.add("(no label)", str(found["unlabelled"]), f"{100 * found['unlabelled'] / found['objects']:.1f} %")
    print_table(table)
    say("sizes: " + ", ".join(f"{size} ({number})" for size, number in found["image_sizes"].items()))
    say("kind: " + ", ".join(f"{KINDS.get(kind, kind)} ({number})" for kind, number in found["kinds"].items()))
    say("bands: " + (", ".join(found["bands"]) if found["bands"] else "they differ between images"))
    if found["percentiles"]:
        _print_values(found)
    say(
        f"broken: {len(found['broken'])}"
        + "".join(f"\n  {b['object_id']}: {b['reason']}" for b in found["broken"][:20])
    )
    say(
        f"exact duplicates: {len(found['duplicates'])}"
        + "".join(f"\n  {' = '.join(g)}" for g in found["duplicates"][:20])
    )
    if found["near_duplicates"]:
        say(
            f"near duplicates: {len(found['near_duplicates'])}"
            + "".join(f"\n  {' = '.join(g)}" for g in found["near_duplicates"][:20])
        )
    say("overlap on the sky: " + _overlap(found["overlaps"]))
    for text in found["warnings"]:
        warn(plain_line(text))
    if sheet is not None:
        say(f"wrote the contact sheet {sheet}")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A Parquet file of cutouts, or a folder of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for programs.")] = False,
) -> None:
    """Compare every cutout with its checksum, which finds a single flipped bit."""
    from skythaw.api.data_functions import verify as check

    found = check(file)
    if as_json:
        print_json(found)
    for each in [] if as_json else found["damaged"][:20]:
        say(f"{each['object_id']}: {each['reason']}")
    if found["unchecked"]:
        warn(f"{found['unchecked']} cutouts have no recorded checksum, so they were only decoded")
    if damaged := len(found["damaged"]):
        first = found["damaged"][0]
        raise DataError(
            f"{file}: {damaged} of {found['objects']} cutouts are damaged, the first is {first['object_id']} "
            f"({first['reason']}); get the file again"
        )
    if not as_json:
        say(f"{file}: all {found['objects']} cutouts are whole")


def _overlap(overlaps: dict[str, Any]) -> str:
    if overlaps["basis"] is None:
        return "unknown (no ra and dec, and no run, camcol and field)"
    how = "overlap another on the sky" if overlaps["basis"] == "coordinates" else "share a field with another"
    return f"{overlaps['cutouts']} cutouts {how}"


def _print_values(found: dict[str, Any]) -> None:
    """Print percentiles of each band, and the stretch that they suggest for a study file."""
    rows = found["percentiles"]
    table = TerminalTable("values of the pixels", ("band", *(f"{p} %" for p in next(iter(rows.values())))))
    for band, some in rows.items():
        table.add(band, *(f"{value:.4g}" for value in some.values()))
    print_table(table)
    low, high = found["stretch"]["low"], found["stretch"]["high"]
    say(f'to begin with, in [data] of a study:\nstretch = {{ kind = "asinh", low = {low}, high = {high} }}')

"""`skythaw data` from Python: each command as a function with the same names and defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skythaw import registry
from skythaw.api.progress_bar import tracked
from skythaw.errors import OutputError, SpecError
from skythaw.machine.files import require_text
from skythaw.machine.hub_repository import is_hub_address

if TYPE_CHECKING:
    from skythaw.data.sources.folder import ImportResult
    from skythaw.data.sources.read_images import ImageOptions


def make_mock(out: Path | str, *, objects: int = 1200, seed: int = 0, size: int = 64, progress: bool = True) -> Path:
    """Render a mock survey that looks like SDSS, with GalSim: a Parquet file of cutouts, or a folder of images.

    Parameters
    ----------
    out
        the file to write; without an ending, a folder of images, and OUT.csv with their labels beside it
    objects
        in equal shares of galaxies, quasars and stars
    seed
        the same seed gives the same bytes
    size
        pixels of a cutout, at 0.396 arcsec each
    progress
        show a bar

    Returns
    -------
    Path
        `out`

    Raises
    ------
    DataError, OutputError
        GalSim is not installed; the file can't be written.
    """
    from skythaw.data.sources.mock.mock_folder import make_mock_folder

    if Path(out).suffix:
        _refuse_other_endings(Path(out))
    make = registry.get("source", "mock") if Path(out).suffix else make_mock_folder
    make(Path(out), objects, seed, size, progress=lambda items: tracked(items, objects, "rendering", shown=progress))
    return Path(out)


def import_images(  # noqa: PLR0913 (each is an option of the command)
    folder: Path | str,
    out: Path | str,
    *,
    labels: Path | str | None = None,
    column: Mapping[str, str] | Sequence[str] | None = None,
    argmax: str | Sequence[str] | None = None,
    labelled_only: bool = False,
    skip_missing: bool = False,
    skip_broken: bool = False,
    size: int | None = None,
    resize: bool = False,
    ext: str | Sequence[str] | None = None,
    band_from: Literal["name", "none"] | None = None,
    max_nan: float | None = None,
    merge: bool = False,
    drop_conflicts: bool = False,
    level: int | None = None,
    unlabelled: bool = False,
    cache: Path | str | None = None,
    progress: bool = True,
) -> ImportResult:
    """Gather labelled images in one Parquet file of cutouts; docs/inputs.md says what is read.

    Parameters
    ----------
    folder
        with a folder of images for each class; or with `labels`, any folder of images; an archive, or arrays; or
        ``hf://datasets/owner/name@revision``, of the Hugging Face Hub
    out
        the Parquet file to write
    labels
        a table with the name or file, the label, and further columns of each image
    column
        names of its columns, such as ``{"label": "morphology"}``
    argmax
        columns of vote fractions; the class is the column with the largest number
    labelled_only, skip_missing, skip_broken
        leave out images without a row, rows without an image, images that can't be read
    size, resize
        make all images of this size: cut from the centre, or scaled
    ext, band_from, max_nan
        how FITS files and bands are read
    merge, drop_conflicts, level, unlabelled
        what is done with look-alike classes and copies; which folders name the classes; images without labels
    cache
        folder for what is fetched; by default the user's own
    progress
        show a bar

    Returns
    -------
    ImportResult
        what was read, changed and left out

    Raises
    ------
    DataError, SpecError, OutputError
        The images or the table can't be used, or the file can't be written.
    RemoteError
        The Hub can't be reached, or has no such dataset.
    """
    from skythaw.api.run_choices import cache_folder
    from skythaw.data.sources.hub_dataset import fetch_dataset
    from skythaw.data.sources.set_choices import SetChoices
    from skythaw.data.sources.source_formats import source_of

    _refuse_other_endings(Path(out))
    hub = fetch_dataset(folder, cache_folder(cache) / "datasets") if is_hub_address(folder) else None
    folder = hub.place if hub else Path(folder)
    if hub and labels is not None and (folder / labels).exists():
        labels = folder / labels
    found: ImportResult = registry.get("source", source_of(folder))(
        folder,
        Path(out),
        label_settings(labels, column, argmax, labelled_only, skip_missing),
        skip_broken=skip_broken,
        images=image_options(size, resize, ext, band_from, max_nan),
        choices=SetChoices(merge, drop_conflicts, level, unlabelled, hub.origin if hub else ""),
        progress=lambda items, total: tracked(items, total, "importing", shown=progress),
    )
    return replace(found, notes=(*found.notes, *hub.notes)) if hub else found


def _refuse_other_endings(out: Path) -> None:
    """Raise `OutputError` where the file to write is called like something else: it may be the user's table."""
    require_text(out)
    if out.suffix.lower() in (".parquet", ".pq"):
        return
    there = f"; the table of labels is given with --labels {out}" if out.is_file() else ""
    raise OutputError(f"the output {out} is a Parquet file, so its name should end in .parquet{there}")


def inspect(file: Path | str, *, sheet: Path | str | None = None) -> dict[str, Any]:
    """Counts, sizes, bands and their values, duplicates, broken images, and overlap on the sky.

    Parameters
    ----------
    file
        a Parquet file of cutouts, or a folder of them
    sheet
        write a contact sheet (PNG) with some objects of each class

    Returns
    -------
    dict
        ``objects``, ``classes``, ``broken``, ``duplicates``, ``warnings`` and more: as ``skythaw data inspect --json``

    Raises
    ------
    DataError
        The file can't be read as cutouts.
    """
    from skythaw.data.inspect import contact_sheet
    from skythaw.data.inspect import inspect as look

    found = look(Path(file))
    if sheet is not None:
        contact_sheet(Path(file), Path(sheet))
    return found


def verify(file: Path | str, *, progress: bool = True) -> dict[str, Any]:
    """Compare every cutout with its checksum, which finds a single flipped bit.

    Parameters
    ----------
    file
        a Parquet file of cutouts, or a folder of them
    progress
        show a bar

    Returns
    -------
    dict
        ``objects``, ``damaged`` (``object_id`` and ``reason`` of each) and ``unchecked``

    Raises
    ------
    DataError
        The file can't be read as cutouts.
    """
    from skythaw.data.verify import verify as check

    return check(Path(file), lambda items, total: tracked(items, total, "verifying", shown=progress))


def label_settings(
    labels: Path | str | None,
    column: Mapping[str, str] | Sequence[str] | None,
    argmax: str | Sequence[str] | None,
    labelled_only: bool,
    skip_missing: bool,
) -> Any:
    """How the table of labels is read; None where there is none."""
    from skythaw.data.sources.label_table import LabelSettings

    columns = several_names(argmax)
    if labels is None:
        if column or columns or labelled_only or skip_missing:
            raise SpecError(
                "--column, --argmax, --labelled-only and --skip-missing say how a table is read; give it with --labels"
            )
        return None
    return LabelSettings(Path(labels), columns_named(column), columns, labelled_only, skip_missing)


def image_options(
    size: int | None,
    resize: bool,
    ext: str | Sequence[str] | None,
    band_from: Literal["name", "none"] | None,
    max_nan: float | None,
) -> ImageOptions:
    """How image files are read."""
    from skythaw.data.sources.read_images import ImageOptions

    extensions = ext.split(",") if isinstance(ext, str) else ext or ()
    return ImageOptions(size, resize, tuple(extensions), band_from, max_nan)


def release_number(given: str | int) -> int:
    """The number of a data release: ``17``, ``DR17``."""
    number = str(given).lower().removeprefix("dr")
    if not number.isdigit():
        raise SpecError(f"release {given!r} should be a number such as 17")
    return int(number)


def columns_named(given: Mapping[str, str] | Sequence[str] | None) -> dict[str, str]:
    """Names of columns, given by what they are, or as ``WHAT=NAME``."""
    if isinstance(given, Mapping):
        return dict(given)
    for pair in given or ():
        if "=" not in pair:
            raise SpecError(f"--column {pair!r} should be WHAT=NAME, such as ra=RA_J2000")
    return dict((part.strip() for part in pair.split("=", 1)) for pair in given or ())  # type: ignore[misc]


def several_names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names, or one text with commas between them."""
    names = given.split(",") if isinstance(given, str) else given or ()
    return tuple(name.strip() for name in names if name.strip())

"""Cutouts from a .zip of images: of class folders, or of any folder with a table of labels."""

from __future__ import annotations

import stat
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from skythaw.data.sources.folder import ImportResult, import_folder
from skythaw.data.sources.label_table import LabelSettings
from skythaw.data.sources.packed_folder import Unpacking, beside, is_hidden, top_of
from skythaw.errors import DataError

ENCRYPTED = 1
"""flag of a member that only a password opens"""


def import_zip(path: Path, out: Path, labels: LabelSettings | Path | None = None, **options: Any) -> ImportResult:
    """Unpack an archive beside the output, and import it as `import_folder` imports a folder.

    The table of labels may be a file of its own, or lie in the archive.

    Raises
    ------
    DataError
        It is damaged, locked, or unpacks to far more than images do; a name leads out of it; or see `import_folder`.
    """
    path = Path(path)
    with beside(out, path) as folder:
        images = folder / "images"
        images.mkdir()
        unpack_zip(path, images)
        return import_folder(top_of(images), out, _labels(labels, images), **options)


def unpack_zip(path: Path, images: Path) -> None:
    """Write the files of an archive into a folder, but for hidden ones.

    Raises
    ------
    DataError
        It is damaged, locked, or unpacks to far more than images do; a name leads out of it, or is a link.
    """
    unpacking = Unpacking(path, images)
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                is_link = stat.S_ISLNK(info.external_attr >> 16)
                if is_link:
                    raise DataError(f"{path}: {info.filename!r} is a link, which is not followed; it is refused")
                if info.flag_bits & ENCRYPTED:
                    raise DataError(f"{path} is locked by a password; unpack it, and import the folder")
                if not info.is_dir() and not is_hidden(info.filename):
                    with archive.open(info) as stream:
                        unpacking.write(info.filename, stream)  # type: ignore[arg-type]
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"can't unpack {path}: {error}") from None


def _labels(labels: LabelSettings | Path | None, images: Path) -> LabelSettings | None:
    """The table of labels: a file of its own, or else that of the archive which is called so."""
    if labels is None:
        return None
    settings = labels if isinstance(labels, LabelSettings) else LabelSettings(Path(labels))
    if not settings.path.exists():
        inside = [path for path in images.rglob(settings.path.name) if path.as_posix().endswith(f"/{settings.path}")]
        if len(inside) == 1:
            return replace(settings, path=inside[0])
    return settings

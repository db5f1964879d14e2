"""Unpack an archive, or a folder of them, whose images are to be predicted: every file is an image, a label or told."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path

from skythaw.data.sources.image_files import NOT_IMAGE
from skythaw.data.sources.packed_folder import SHARDS, Unpacking, is_hidden
from skythaw.data.sources.webdataset_notes import LABELS
from skythaw.data.sources.zip_archive import unpack_zip
from skythaw.errors import DataError, SkythawError
from skythaw.machine.walk_folders import walk

ARCHIVES = ("zip", "webdataset")


def unpack(kind: str, path: Path, images: Path) -> dict[str, str]:
    """Write the files of an archive into a folder; those of a folder of archives into folders called as the archives.

    Parameters
    ----------
    kind
        the source that would import it: one of `ARCHIVES`
    path
        the archive, or a folder of .tar files
    images
        the folder to fill

    Returns
    -------
    dict
        what is not unpacked -> why; labels that stand beside their image are no input, and not told

    Raises
    ------
    DataError
        It is damaged, or unpacks to far more than images do; a name leads out of it, or is a link.
    """
    if kind == "zip":
        unpack_zip(path, images)
        return {}
    if not path.is_dir():
        return _unpack_tar(path, images)
    passed: dict[str, str] = {}
    for file in sorted(Path(here) / name for here, found, _ in walk(str(path)) for name in found):
        inside = file.relative_to(path).as_posix()
        ending = next((each for each in SHARDS if inside.lower().endswith(each)), None)
        if ending is None:
            passed[inside] = f"{NOT_IMAGE}: {file.suffix}"
            continue
        below = inside[: -len(ending)]
        passed |= {f"{below}/{name}": why for name, why in _unpack_tar(file, images / below).items()}
    return passed


def _unpack_tar(path: Path, images: Path) -> dict[str, str]:
    """Write the files of one .tar, but for labels; those that stand beside no image are told."""
    unpacking, keys, labels = Unpacking(path, images), set[str](), dict[str, str]()
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isdir() or is_hidden(name):
                    continue
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is None:
                    raise DataError(f"{path}: {member.name!r} is a link or a device, which is refused")
                folder, _, last = name.rpartition("/")
                stem = last.partition(".")[0]
                if last.lower().endswith(LABELS):
                    labels[name] = f"{folder}/{stem}"
                else:
                    unpacking.write(name, stream)  # type: ignore[arg-type]
                    keys.add(f"{folder}/{stem}")
    except SkythawError:
        raise
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"can't unpack {path}: {getattr(error, 'strerror', None) or error}") from None
    return {name: f"{NOT_IMAGE}: .{name.rpartition('.')[2]}" for name, key in labels.items() if key not in keys}

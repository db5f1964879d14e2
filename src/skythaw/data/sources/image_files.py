"""Which files of a folder are images: what is in a file decides, and its ending only where that says nothing."""

from __future__ import annotations

import os
import posixpath
import stat
from dataclasses import dataclass
from pathlib import Path

from skythaw.data.decode import BrokenImageError
from skythaw.data.fits import MAGIC
from skythaw.data.tiff_image import TIFF
from skythaw.data.unpack import first_bytes, is_packed
from skythaw.machine.walk_folders import walk

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2", ".j2k", ".jpx"),
    *(ending + how for ending in (".fits", ".fit", ".fts") for how in ("", ".gz", ".bz2", ".fz")),
)
"""of images that are read; a file with one of these that can't be read is an image that is broken"""
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"BM", b"GIF8", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", MAGIC, *TIFF)
"""of the content of an image that is read"""
PLAIN_ENDINGS = (
    ".csv .tsv .txt .md .rst .json .jsonl .toml .ini .cfg .py .ipynb .sh .xml .vot .yaml .yml .parquet .pq .feather "
    ".arrow .html .htm .css .js .log .pdf .tex .bib .doc .docx .xls .xlsx .ods .ecsv .dat .reg .cat .sha256 .md5 "
    ".pt .pth .safetensors .onnx .pkl .sqlite .db"
)
PLAIN = frozenset(PLAIN_ENDINGS.split())
"""endings of what is obviously no image"""
NOT_IMAGE = "not an image"
NO_UTF8 = "its name is not in UTF-8, so it can't be written: rename the file"
OTHER = {
    ".zip": "an archive: unpack it",
    ".tar": "an archive: unpack it",
    ".tgz": "an archive: unpack it",
    ".gz": "packed, and not a FITS file",
    ".bz2": "packed, and not a FITS file",
    ".xz": "packed with xz, which is not read: unpack it",
    ".z": "packed with compress, which is not read: unpack it",
    ".lz4": "packed with lz4, which is not read: unpack it",
    ".zst": "packed with zstd, which is not read: unpack it",
    **dict.fromkeys(
        (
            ".heic",
            ".heif",
            ".avif",
            ".jxl",
            ".svg",
            ".eps",
            ".ps",
            ".psd",
            ".ppm",
            ".pgm",
            ".ico",
            ".cr2",
            ".nef",
            ".dng",
            *(".tga", ".pcx", ".dib", ".pbm", ".pnm", ".xcf", ".exr", ".hdr", ".jxr", ".arw", ".orf", ".raf", ".rw2"),
            *(".nii", ".dcm", ".mrc"),
        ),
        "an image of a format that is not read: save it as PNG, TIFF or FITS",
    ),
    **dict.fromkeys(
        (".npy", ".npz", ".h5", ".hdf5", ".hdf", ".asdf"), "an array file, which is not an image of its own"
    ),
}
"""why a file that may hold an image is not read, by its ending"""
LARGEST_FILE = 256 << 20
"""bytes; a larger file is no cutout"""
WINDOW = 1 << 16
"""bytes that are looked at to tell a format"""


@dataclass(frozen=True)
class FoundFiles:
    """The files of a folder: paths inside it, with forward slashes."""

    images: list[str]
    left_out: dict[str, str]
    """the others: why each is not read"""
    closed: dict[str, str]
    """folders that can't be looked into: why"""
    bare: list[str]
    """the uppermost folders without any image"""


def find_images(folder: str, without: tuple[str, ...] = ()) -> FoundFiles:
    """Every file of a folder and of those below it: an image, or why it is none.

    Hidden folders are passed over. `without` are real paths that are passed over, too.
    """
    images, left_out, closed, below = list[str](), dict[str, str](), dict[str, str](), list[str]()
    for here, names, error in walk(folder, without, hidden=True):
        below.append(posixpath.relpath(here, Path(folder).as_posix()))
        if error:
            closed[here] = error.strerror or str(error)
        for name in names:
            path = f"{here}/{name}"
            inside = posixpath.relpath(path, Path(folder).as_posix())
            plain = inside.encode("utf-8", "backslashreplace").decode()
            reason = why_no_image(path) if plain == inside else NO_UTF8
            if reason is None:
                images.append(inside)
            else:
                left_out[plain] = reason
    return FoundFiles(sorted(images), dict(sorted(left_out.items())), closed, _bare(below, images))


def _bare(folders: list[str], images: list[str]) -> list[str]:
    """The uppermost folders without any image."""
    full = {""}
    for name in images:
        while (name := posixpath.dirname(name)) not in full:
            full.add(name)
    found = sorted(name for name in folders if name != "." and name not in full and name != "__MACOSX")
    return [name for name in found if posixpath.dirname(name) in full]


def why_no_image(path: str) -> str | None:
    """Why a file is not to be read as an image; None if it is."""
    name = posixpath.basename(path).lower()
    ending = posixpath.splitext(name)[1]
    if name.startswith("."):
        return f"{NOT_IMAGE}: a hidden file"
    if ending in PLAIN:
        return f"{NOT_IMAGE}: {ending}"
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            return "no regular file"
        if name.endswith(ENDINGS) or begins_as_image(_beginning(path)):
            return None
    except OSError as error:
        return None if name.endswith(ENDINGS) else error.strerror or str(error)
    return OTHER.get(ending, f"{NOT_IMAGE}: {ending or 'its content is of no format that is read'}")


def _beginning(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.read(WINDOW)


def begins_as_image(data: bytes) -> bool:
    """Whether a file that begins so is an image of a format that is read."""
    if is_packed(data):
        try:
            return first_bytes(data).startswith(MAGIC)
        except ValueError:
            return False
    return data.startswith(BEGINNINGS) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def plain_stem(name: str) -> str:
    """A file's name without its ending; a packed FITS file has two."""
    stem, ending = posixpath.splitext(name)
    if ending.lower() in (".gz", ".bz2", ".fz") and stem.lower().endswith((".fits", ".fit", ".fts")):
        stem = posixpath.splitext(stem)[0]
    return stem


def read_image_file(path: str, inside: str | None = None) -> bytes:
    """A regular file's bytes, if it lies in the folder `inside`, links resolved, and is not too large.

    Raises
    ------
    BrokenImageError
        It does not, or can't be read.
    """
    try:
        if inside is not None:
            path = str(Path(path).resolve())
            if not Path(path).is_relative_to(Path(inside).resolve()):
                raise BrokenImageError("", f"its path leads out of the folder {inside}")
        status = os.stat(path)  # noqa: PTH116 (path objects take as long as the reading)
        if not stat.S_ISREG(status.st_mode):
            what = "a folder, and no regular file" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise BrokenImageError("", f"it is {what}")
        if status.st_size > LARGEST_FILE:
            raise BrokenImageError("", f"a file of {status.st_size} bytes is too large for a cutout")
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read()
    except BrokenImageError:  # a ValueError, too
        raise
    except OSError as error:
        raise BrokenImageError("", error.strerror or str(error)) from None
    except (ValueError, RuntimeError) as error:  # a null byte in the name; links in a circle
        raise BrokenImageError("", f"its name can't be used: {error}") from None

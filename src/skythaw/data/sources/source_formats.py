"""Which source reads a path that is to be imported: its content tells, not its name."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pyarrow.parquet as pq

from skythaw.data.parquet import find_files, reading
from skythaw.data.parquet_images import image_column
from skythaw.data.sources.image_files import ENDINGS as ENDINGS_OF_IMAGES
from skythaw.data.sources.image_files import PLAIN
from skythaw.data.sources.packed_folder import SHARDS
from skythaw.errors import DataError
from skythaw.machine.files import is_text
from skythaw.machine.hub_repository import is_hub_address
from skythaw.machine.walk_folders import walk

BEGINNINGS = {
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"\x93NUMPY": "numpy",
    b"PAR1": "pixel_parquet",
}
MAGIC = {
    b"\x1f\x8b": "a gzip file; only tables and tar archives are read compressed",
    b"MATLAB": "a MATLAB file; save its arrays with scipy.io.loadmat and numpy.savez, as images and labels",
    b"Rar!": "a RAR archive; unpack it, and import the folder",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it, and import the folder",
    b"BZh": "a bzip2 file; unpack it first",
    b"\xfd7zXZ": "an xz file; unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstandard file; unpack it first",
    b"PK\x03\x04": "a .zip archive that is cut off or damaged; get it again",
    b"SQLite": "an SQLite database; write its images as files, and import the folder",
    b"SIMPLE  =": "one FITS file; give the folder that holds the images, and a table with --labels",
    b"\xff\xd8\xff": "one JPEG image; give the folder that holds the images",
    b"\x89PNG": "one PNG image; give the folder that holds the images",
    b"II*\0": "one TIFF image; give the folder that holds the images",
    b"MM\0*": "one TIFF image; give the folder that holds the images",
    b"%PDF": "a PDF document",
    b"\x80\x02": "a Python pickle, which is never opened because it can run any code; save arrays with numpy.savez",
    b"\x80\x03": "a Python pickle, which is never opened because it can run any code; save arrays with numpy.savez",
    b"\x80\x04": "a Python pickle, which is never opened because it can run any code; save arrays with numpy.savez",
    b"\x80\x05": "a Python pickle, which is never opened because it can run any code; save arrays with numpy.savez",
}
TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".dat", ".xlsx", ".ecsv", ".vot", ".xml", ".csv.gz", ".json", ".jsonl")
ENDINGS = {
    ".pt": "a file of PyTorch, which is a pickle and never opened; save arrays with numpy.savez",
    ".pth": "a file of PyTorch, which is a pickle and never opened; save arrays with numpy.savez",
    ".pkl": "a Python pickle, which is never opened because it can run any code; save arrays with numpy.savez",
    ".pickle": "a Python pickle, which is never opened because it can run any code; save arrays with numpy.savez",
    ".arrow": "an Arrow file; datasets.load_from_disk(FOLDER).to_parquet(FILE) makes it Parquet",
    ".tfrecord": "a TensorFlow record file; write its images as files, or its arrays with numpy.savez",
    ".tfrecords": "a TensorFlow record file; write its images as files, or its arrays with numpy.savez",
    **dict.fromkeys(TABLE_ENDINGS, "a table, which holds no images; give the folder of images, and it with --labels"),
}
READ = (
    "a folder of images, a .zip of such a folder, a WebDataset .tar, HDF5 (.h5), NumPy (.npz, .npy) or Parquet with "
    "images or arrays of pixels can be imported"
)


def source_of(path: Path) -> str:
    """The name of the source, in the registry, that reads a folder or a file.

    Raises
    ------
    DataError
        There is no such path, or it is something that is not read; the message says what it is.
    """
    if os.path.isdir(path):  # noqa: PTH112 (False, where it may not be looked at)
        return _folder_source(path)
    if is_hub_address(path):
        raise DataError(f"{path} is on the Hugging Face Hub: first run skythaw data import {path} DATA.parquet")
    if not os.path.exists(path):  # noqa: PTH110 (the same)
        return "folder"
    if not os.path.isfile(path):  # noqa: PTH113 (the same)
        raise DataError(f"{path} is a pipe or a device; {READ}")
    try:
        with path.open("rb") as file:
            start = file.read(600)
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from None
    if start[512:520] == b"\x89HDF\r\n\x1a\n":
        return "hdf5"  # MATLAB 7.3 and others begin with a block of their own
    if found := next((name for magic, name in BEGINNINGS.items() if start.startswith(magic)), None):
        return "cutouts" if found == "pixel_parquet" and _is_cutouts(path) else found
    if zipfile.is_zipfile(path):
        return _zip_source(path)
    if start[257:262] == b"ustar" or path.name.lower().endswith(SHARDS):
        return "webdataset"
    raise DataError(f"{path} is {_what(path, start)}; {READ}")


def _folder_source(folder: Path) -> str:
    """A folder of Parquet files with images, or of shards of WebDataset, if it has no image files."""
    there = set[str]()
    for _, names, _ in walk(str(folder)):
        lower = [name.lower() for name in names]
        if any(name.endswith(ENDINGS_OF_IMAGES) for name in lower):
            return "folder"
        there |= {"shard" if name.endswith(SHARDS) else Path(name).suffix for name in lower}
    if ".parquet" in there:
        return "cutouts" if _is_cutouts(folder) else "folder"
    return "webdataset" if "shard" in there and there - {"shard"} <= PLAIN else "folder"


def _is_cutouts(path: Path) -> bool:
    """Whether a Parquet file, or the first of a folder, has images as files have them; not if it can't be read."""
    try:
        first = find_files(path)[0]
        if not is_text(first):
            return True  # what reads it says what is wrong with its name
        with reading(first):
            return image_column(pq.read_schema(first)) is not None
    except DataError:
        return False


def _zip_source(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except UnicodeDecodeError as error:
        raise DataError(
            f"can't read {path} as a zip archive: the name {error.object!r} in it is not in UTF-8, which it should be; "
            "rename the file, and make the archive again"
        ) from None
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"can't read {path} as a zip archive: {error}") from None
    if any(name.endswith(("data.pkl", "/data.pkl")) for name in names):
        raise DataError(f"{path} is {ENDINGS['.pt']}; {READ}")
    if "xl/workbook.xml" in names:
        raise DataError(f"{path} is {ENDINGS['.xlsx']}; {READ}")
    return "numpy" if names and all(name.endswith(".npy") for name in names) else "zip"


def _what(path: Path, start: bytes) -> str:
    if not start:
        return "an empty file"
    name = path.name.lower()
    by_name = next((words for ending, words in ENDINGS.items() if name.endswith(ending)), None)
    by_content = next((words for magic, words in MAGIC.items() if start.startswith(magic)), None)
    return by_name or by_content or f"no kind of file that is known (it begins with {start[:8]!r})"

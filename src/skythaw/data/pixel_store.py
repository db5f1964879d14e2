"""Decoded pixels, kept in the cache folder as one memory-mapped array per content.

A store is built in a temporary folder under a lock, synced and renamed, so its name only ever holds a whole one: a
second process waits, and after a kill the next one starts afresh. A study compares the store with its checksum when it
begins; one that is damaged is built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock

from skythaw.data.cutouts import Cutouts
from skythaw.data.decode import BrokenImageError, open_image, require_checksum
from skythaw.data.image_form import RGB, Form, one_form
from skythaw.errors import DataError
from skythaw.machine.files import sync_folder, writing

FORMAT = 2
"""raised when files are decoded to other pixels than before; 2: images of more than 8 bits keep their values"""
Progress = Callable[[Iterable[Any], int], Iterable[Any]]
"""Passes an iterable of known length through, and shows how far it is."""


@dataclass(frozen=True)
class Store:
    """Every image of some `Cutouts`, decoded."""

    pixels: np.memmap
    """uint8 or float32 [object, y, x, band], read-only; zeros where the image is broken"""
    bands: tuple[str, ...]
    """names of the bands"""
    broken: dict[str, str]
    """object_id -> why its image can't be used"""
    usable: np.ndarray
    """bool [object], False where the image is broken"""


def open_store(
    cutouts: Cutouts,
    cache: Path,
    *,
    skip_broken: bool = False,
    progress: Progress | None = None,
    verify: bool = False,
) -> Store:
    """The decoded images of `cutouts`: from the cache folder, or decoded now and put there.

    Safe with several processes at once, and at any kill. Memory does not grow with the number of objects.

    Parameters
    ----------
    cutouts
        what to decode; all images must have one size, the same bands and one kind
    cache
        the folder for caches; made if it is not there
    skip_broken
        leave out images that can't be read, instead of refusing them
    progress
        called with the images and their number, if they have to be decoded
    verify
        compare all pixels with their checksum, and decode the images again if they differ

    Raises
    ------
    DataError
        A broken image (unless `skip_broken`), or images of several kinds, bands or sizes.
    OutputError
        The cache folder can't be written.
    """
    folder = _folder(cutouts, cache, skip_broken)
    if store := _open(folder, cutouts, verify):
        return store
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            store = _open(folder, cutouts, verify)
            if store is None:
                _build(folder, cutouts, skip_broken, progress)
                store = _open(folder, cutouts)
    if store is None:
        raise DataError(f"the decoded images in {folder} changed while they were opened")
    return store


def find_store(cutouts: Cutouts, cache: Path, *, skip_broken: bool = False) -> Store | None:
    """The decoded images of `cutouts` if they are in the cache folder, else None."""
    return _open(_folder(cutouts, cache, skip_broken), cutouts)


def _folder(cutouts: Cutouts, cache: Path, skip_broken: bool) -> Path:
    key = hashlib.sha256(f"{FORMAT} {skip_broken} {cutouts.sha256}".encode()).hexdigest()[:32]
    return Path(cache) / "pixels" / key


def _open(folder: Path, cutouts: Cutouts, verify: bool = False) -> Store | None:
    """A store that is there and whole, or None."""
    try:
        about = json.loads((folder / "about.json").read_bytes())
        if about.get("sha256", "") not in ("", _sha256(about)):  # older stores have no checksums
            return None
        shape, broken = tuple(about["shape"]), dict(about["broken"])
        dtype, bands = np.dtype(about.get("dtype", "uint8")), tuple(about.get("bands", RGB))  # the first said neither
        if shape[0] != len(cutouts) or (folder / "pixels").stat().st_size != prod(shape) * dtype.itemsize:
            return None
        if verify and about.get("crc32") not in (None, _crc32(folder / "pixels")):
            return None
        pixels = np.memmap(folder / "pixels", dtype=dtype, mode="r", shape=shape)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    return Store(pixels, bands, broken, np.array([name not in broken for name in cutouts.object_ids], dtype=bool))


def _build(folder: Path, cutouts: Cutouts, skip_broken: bool, progress: Progress | None) -> None:
    """Decode everything into `folder`. The lock is held, so a temporary folder that is there was left by a kill."""
    temporary = folder.with_suffix(".tmp")
    for old in (temporary, folder):
        if old.exists():
            shutil.rmtree(old)
    temporary.mkdir()
    try:
        with (temporary / "pixels").open("wb") as file:
            form, broken = _decode_all(file, cutouts, skip_broken, progress)
            shape = (len(cutouts), *form.size, len(form.bands))
            file.truncate(prod(shape) * np.dtype(form.dtype).itemsize)
            file.flush()
            os.fsync(file.fileno())
        with (temporary / "about.json").open("w", encoding="utf-8") as file_about:
            about = {"format": FORMAT, "shape": shape, "dtype": form.dtype, "bands": form.bands, "broken": broken}
            about["crc32"] = _crc32(temporary / "pixels")
            json.dump(about | {"sha256": _sha256(about)}, file_about)
            file_about.flush()
            os.fsync(file_about.fileno())
        sync_folder(temporary)
        temporary.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _crc32(file: Path) -> int:
    check = 0
    with file.open("rb") as opened:
        while block := opened.read(1 << 24):
            check = zlib.crc32(block, check)
    return check


def _sha256(about: dict[str, Any]) -> str:
    said = {name: value for name, value in about.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _decode_all(
    file: BinaryIO, cutouts: Cutouts, skip_broken: bool, progress: Progress | None
) -> tuple[Form, dict[str, str]]:
    """Write each image at its place in `file`; a broken one leaves a hole, which reads as zeros."""
    forms: Counter[Form] = Counter()
    broken: dict[str, str] = {}
    images = cutouts.images() if progress is None else progress(cutouts.images(), len(cutouts))
    for row, (name, data, sha256) in enumerate(images):
        try:
            require_checksum(data, sha256, name)
            image = open_image(data, name)
            form = image.form
            pixels = image.load() if {*forms, form} == {form} else None  # of several: refused in the end
        except BrokenImageError as error:
            if not skip_broken:
                raise DataError(f"{error}; to leave out such images: skip_broken = true, or --skip-broken") from None
            broken[name] = error.reason
            continue
        forms[form] += 1
        if pixels is not None:
            file.seek(row * pixels.nbytes)
            file.write(pixels.tobytes())
    if not forms:
        name, reason = next(iter(broken.items()))
        raise DataError(f"none of the {len(broken)} images can be read; the first is {name!r}: {reason}")
    return one_form(forms), broken

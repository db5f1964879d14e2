"""The images of an import, as they will be stored: byte for byte, or changed as was asked, without loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from skythaw.data.decode import BrokenImageError, open_image
from skythaw.data.image_form import DEFAULT, LARGEST, Form, OpenImage, ReadChoice
from skythaw.data.one_shape import LEAST, Sized, common_side, encode_pixels, squared
from skythaw.data.sources.column_names import some_names
from skythaw.data.sources.image_files import read_image_file
from skythaw.errors import DataError, SpecError

ALONE = "0"
"""what the band of a file of one band is called"""


@dataclass(frozen=True)
class ImageOptions:
    """What becomes of images that are not as they should be. Without options they stay as they are where they can."""

    size: int | None = None
    """pixels a side of all images; None: as they are, or, where they differ or are not square, the common square"""
    resize: bool = False
    """scale them to `size`, instead of cutting and padding"""
    ext: tuple[str, ...] = ()
    """extensions of FITS files to read, by name or number, in order"""
    band_from: Literal["name", "none"] | None = None
    """name: files are single bands of objects, told by their names; none: each file is an object; None: a set of files
    that look like single bands is refused"""
    max_nan: float | None = None
    """share of a band that may be NaN or infinite; these pixels become the median of the others"""

    def __post_init__(self) -> None:
        largest = int(LARGEST**0.5)
        if self.size is not None and not LEAST // 4 <= self.size <= largest:
            raise SpecError(f"--size {self.size} should be from {LEAST // 4} to {largest} pixels")
        if self.resize and self.size is None:
            raise SpecError("--resize needs --size N, the pixels a side to which images are scaled")
        if not all(name.strip() for name in self.ext):
            raise SpecError(f"--ext {','.join(self.ext)} should be names of extensions with a comma between them")
        if self.band_from not in (None, "name", "none"):
            raise SpecError(f"--band-from {self.band_from} should be name or none")
        if self.max_nan is not None and not 0 <= self.max_nan < 1:
            raise SpecError(f"--max-nan {self.max_nan:g} should be a share, from 0 to less than 1 (0.1 is 10 %)")

    @property
    def recipe(self) -> dict[str, Any]:
        """The options that were given, JSON-able."""
        given = {
            "size": self.size,
            "resize": self.resize or None,
            "ext": list(self.ext) or None,
            "band_from": self.band_from,
            "max_nan": self.max_nan,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class StoredImage:
    """One image as it will be stored."""

    data: bytes
    pixels: np.ndarray
    """[y, x, band], as `data` are decoded"""
    form: Form
    scale: float
    """pixels of the image as it came, along a pixel as it is stored"""


@dataclass
class ImageReader:
    """Reads the images of one folder."""

    folder: Path
    options: ImageOptions
    bands: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """of an image that is made of several files: the file of each band"""
    side: int | None = None
    """pixels a side that all images get; None: as they are"""
    changed: Counter[str] = field(default_factory=Counter)
    """what was done, in words -> to how many images"""

    @property
    def choice(self) -> ReadChoice:
        return ReadChoice(self.options.ext, self.options.max_nan)

    def files(self, name: str) -> list[str]:
        """The files of an image, as paths inside the folder."""
        return list(self.bands[name].values()) if name in self.bands else [name]

    def settle_side(self, names: Iterable[str]) -> None:
        """Find the side that all images get, from their headers; raises `DataError` as `common_side` does."""
        self.side = self.options.size
        sized: list[Sized] = []
        for name in names:
            try:
                if self.side is None:
                    sized.append((name, self._opened(name, "").form.size))
            except BrokenImageError:  # it is named when it is read
                continue
        if self.side is None and sized:
            self.side = common_side(sized)

    def read(self, name: str, object_id: str) -> StoredImage:
        """An image as it will be stored; raises `BrokenImageError`."""
        if name not in self.bands:
            return self.stored(self._bytes(name, object_id), object_id)
        image = self._opened(name, object_id)
        return self._shaped(image, image.load(), None, ["bands put together from files of their own"])

    def stored(self, data: bytes, object_id: str) -> StoredImage:
        """The bytes of an image file as they will be stored; raises `BrokenImageError`."""
        image = open_image(data, object_id, self.choice)
        pixels = image.load()
        chosen = self._chosen(data, object_id, image, pixels)
        return self._shaped(image, pixels, None if chosen else data, [*image.notes, *chosen])

    def _shaped(self, image: OpenImage, pixels: np.ndarray, data: bytes | None, done: list[str]) -> StoredImage:
        """An image at the side that all get; `data` are its bytes where they may stay as they are."""
        height, width = pixels.shape[:2]
        scale = 1.0
        if self.side is not None:
            pixels, cut = squared(pixels, self.side, self.options.resize)
            if cut is not None:
                done, data = [*done, cut], None
                scale = min(height, width) / self.side if self.options.resize else 1.0
        form = Form((pixels.shape[0], pixels.shape[1]), image.form.bands, image.form.dtype)
        self.changed.update(done)
        return StoredImage(encode_pixels(pixels, form) if data is None else data, pixels, form, scale)

    def _chosen(self, data: bytes, object_id: str, image: OpenImage, pixels: np.ndarray) -> list[str]:
        """How an image differs from what every command would read of it by itself, in words."""
        if self.choice == DEFAULT or _same(data, object_id, DEFAULT, image, pixels):
            return []
        found = []
        if self.options.max_nan is not None and not _same(data, object_id, ReadChoice(self.options.ext), image, pixels):
            found.append("masked pixels filled with the median of their band")
        if self.options.ext and not _same(data, object_id, ReadChoice((), self.options.max_nan), image, pixels):
            found.append(f"extensions {', '.join(self.options.ext)} taken")
        return found or ["read as was asked"]

    def _opened(self, name: str, object_id: str) -> OpenImage:
        if name not in self.bands:
            return open_image(self._bytes(name, object_id), object_id, self.choice)
        images = {
            band: open_image(self._bytes(file, object_id), object_id, self.choice)
            for band, file in self.bands[name].items()
        }
        sizes = {image.form.size for image in images.values()}
        if len(sizes) > 1:
            raise BrokenImageError(object_id, f"its bands differ in size: {_sizes(images)}")
        form = Form(sizes.pop(), tuple(images), "float32")
        return OpenImage(form, lambda: np.concatenate([_single(each, object_id) for each in images.items()], axis=2))

    def _bytes(self, name: str, object_id: str) -> bytes:
        try:
            return read_image_file(str(self.folder / name))
        except BrokenImageError as error:
            raise BrokenImageError(object_id, error.reason) from None


def is_one_band(file: Path) -> bool:
    """Whether a file holds an image of one band, of floats or grey."""
    try:
        image = open_image(read_image_file(str(file)), "")
        return len(image.form.bands) == 1 or (not image.form.floats and _is_grey(image.load()))
    except BrokenImageError:
        return False


def scaled(extra: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """The pixel scale of an image that was resized."""
    known = extra.get("pixel_scale")
    return {"pixel_scale": known * scale} if scale != 1 and isinstance(known, int | float) else {}


def refuse_broken(found: Sequence[tuple[object, str, str]], folder: object, *, arrays: bool = False) -> None:
    """Raise `DataError` if there are broken images: each is given as where, object and why. Three are named.

    Of arrays, which take no ``--max-nan``, the masked pixels are to be filled before.
    """
    if not found:
        return
    masked = any("NaN or infinite; at most" in reason for *_, reason in found)
    fill = "fill them in the array, as numpy.nan_to_num does; " if arrays else "to fill them: --max-nan SHARE; "
    advice = f"{fill if masked else ''}to leave out such images: --skip-broken"
    where, name, reason = found[0]
    if len(found) == 1:
        raise DataError(f"{where}: {BrokenImageError(name, reason)}; {advice}")
    named = some_names([f"{name} ({reason})" for _, name, reason in found])
    raise DataError(f"{folder}: {len(found)} images can't be read: {named}; {advice}")


def _single(band: tuple[str, OpenImage], object_id: str) -> np.ndarray:
    """The one band of a file, float32 [y, x, 1]."""
    pixels = band[1].load()
    if pixels.shape[2] != 1 and not (pixels.dtype == np.uint8 and _is_grey(pixels)):
        raise BrokenImageError(object_id, f"its file of band {band[0]} holds {pixels.shape[2]} bands; one is needed")
    return pixels[..., :1].astype(np.float32)


def _is_grey(pixels: np.ndarray) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def _sizes(images: Mapping[str, OpenImage]) -> str:
    sizes = {band: image.form.size for band, image in images.items()}
    return ", ".join(f"{band} {width} x {height} px" for band, (height, width) in sizes.items())


def _same(data: bytes, object_id: str, choice: ReadChoice, image: OpenImage, pixels: np.ndarray) -> bool:
    """Whether reading by another choice gives the same image."""
    try:
        other = open_image(data, object_id, choice)
        return other.form == image.form and np.array_equal(other.load(), pixels)
    except BrokenImageError:
        return False

"""What all images of a set must have in common: one size, the same bands, one type of values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from skythaw.errors import DataError

RGB = ("red", "green", "blue")
LARGEST = 1 << 24
"""pixels; a cutout of more (4096 x 4096) is a mistake or an attack"""
MOST_BANDS = 100


@dataclass(frozen=True)
class Form:
    """What a file's header says of its image."""

    size: tuple[int, int]
    """height and width, pixels"""
    bands: tuple[str, ...] = RGB
    dtype: Literal["uint8", "float32"] = "uint8"
    """of the decoded values"""

    @property
    def floats(self) -> bool:
        return self.dtype == "float32"

    @property
    def kind(self) -> str:
        """The name of its kind for programs, whatever the format: floats are called FITS, 8 bits JPEG or PNG."""
        return "FITS" if self.floats else "JPEG or PNG"

    @property
    def values(self) -> str:
        """What its values are, in words."""
        return "floats, such as FITS or 16 bits" if self.floats else "8 bits, such as JPEG or PNG"


@dataclass(frozen=True)
class OpenImage:
    """An image file whose header has been read."""

    form: Form
    load: Callable[[], np.ndarray]
    """decodes the pixels [y, x, band]; what it raises is the image's fault"""
    notes: tuple[str, ...] = ()
    """how it is read, where that is not the only way, in words"""


@dataclass(frozen=True)
class ReadChoice:
    """What a person may choose about reading an image; the default is what every command does by itself."""

    ext: tuple[str, ...] = ()
    """extensions of a FITS file to read, by name or number, in order; () = those that hold the image"""
    max_nan: float | None = None
    """share of a band's pixels that may be NaN or infinite, and become the median of the others; None = at most
    `MASKED`, and they become 0"""


DEFAULT = ReadChoice()


def one_form(forms: Counter[Form]) -> Form:
    """The one form of all images, from how often each occurs; `DataError` if there are several."""
    aspects: tuple[tuple[str, Callable[[Form], str], str], ...] = (
        ("kinds", lambda form: form.values, "all must be of one kind: keep them in sets of their own"),
        (
            "sets of bands",
            lambda form: ", ".join(form.bands),
            "all must have the same bands, in the same order: skythaw data import --ext NAME,NAME takes extensions of "
            "FITS files in one order",
        ),
        (
            "sizes",
            lambda form: f"{form.size[1]} x {form.size[0]} px",
            "all must be of one size: skythaw data import --size N cuts them alike",
        ),
    )
    for what, say, advice in aspects:
        counts = Counter[Any]()
        for form, count in forms.items():
            counts[say(form)] += count
        if len(counts) > 1:
            found = ", ".join(f"{words} ({count} images)" for words, count in counts.most_common(6))
            raise DataError(f"images of {len(counts)} {what}: {found}; {advice}")
    return next(iter(forms))

"""How a cutout becomes a network's input: `Pixels`, the part of a study that says it. Frozen, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from skythaw.errors import SpecError, UnknownNameError
from skythaw.spec.record import Frozen

Side = Annotated[int, Field(ge=4, le=4096)]
"""pixels"""


def _band(value: Any) -> Any:
    if isinstance(value, str) or (type(value) is int and value >= 0):
        return value
    raise ValueError(f"{value!r} is neither the name of a band nor its number, counted from 0")


Bands = Annotated[tuple[Annotated[str | int, BeforeValidator(_band)], ...], Field(min_length=1)]


def _per_band(value: Any) -> Any:
    if type(value) in (int, float):
        return (value,)
    if value is None or isinstance(value, list | tuple):
        return value
    raise ValueError(f"{value!r} is neither a number nor a list of numbers, one for each band")


PerBand = BeforeValidator(_per_band)
"""A number stands for a list of one: the same for all bands."""
SOFTENING = (10.0,)


class Stretch(Frozen):
    """Brightness before the network: (value - low) / (high - low), cut to 0..1, then a curve that keeps 0 and 1.

    A word in its place is the `kind`. Numbers are one for all bands, or one a band in the order of `Pixels.bands`.
    """

    kind: Literal["linear", "sqrt", "asinh"]
    low: Annotated[tuple[float, ...], Field(min_length=1), PerBand] | None = None
    """None is 0 for 8-bit images; images of floats have no default"""
    high: Annotated[tuple[float, ...], Field(min_length=1), PerBand] | None = None
    """None is 255 for 8-bit images"""
    softening: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1), PerBand] = SOFTENING
    """asinh: arcsinh(softening x) / arcsinh(softening); below 1 / softening it is nearly linear"""

    def __str__(self) -> str:
        text: str = self.kind
        for word, numbers in ((" ", self.low), (" to ", self.high)):
            text += "" if numbers is None else word + "/".join(f"{n:g}" for n in numbers)
        if self.softening != SOFTENING:
            text += ", softening " + "/".join(f"{n:g}" for n in self.softening)
        return text

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _rises(self) -> Self:
        lows, highs = self.low or (0.0,), self.high or (255.0,)
        if 1 not in (len(lows), len(highs)) and len(lows) != len(highs):
            raise ValueError(f"low has {len(lows)} numbers and high {len(highs)}; give 1, or one a band")
        if self.low and self.high:
            count = max(len(lows), len(highs))
            for low, high in zip(lows * (count // len(lows)), highs * (count // len(highs)), strict=True):
                if low >= high:
                    raise ValueError(f"low = {low:g} must be below high = {high:g}")
        if self.kind != "asinh" and self.softening != SOFTENING:
            raise ValueError(f"softening is of kind = 'asinh', not of {self.kind!r}")
        return self

    @model_serializer(mode="wrap")
    def _shortest(self, whole: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        """A word where a word says it: so it stands in the keys of cells since their beginning."""
        if self.low is None and self.high is None and self.softening == SOFTENING:
            return self.kind
        return {name: value for name, value in whole(self).items() if value is not None}

    def require_fit(self, bands: int, floats: bool) -> None:
        """Raise `SpecError` if it does not suit images of so many bands, of floats or of 8 bits."""
        for name in ("low", "high", "softening"):
            numbers = getattr(self, name)
            if numbers is not None and len(numbers) not in (1, bands):
                raise SpecError(f"stretch: {name} has {len(numbers)} numbers; give 1, or {bands}, one for each band")
        if floats and (self.low is None or self.high is None):
            raise SpecError(
                f"stretch = '{self}' lacks low or high, which images of floats need: "
                "stretch = { kind = 'asinh', low = ..., high = ... }; `skythaw data inspect FILE` prints percentiles"
            )


class Pixels(Frozen):
    """How a cutout becomes the network's input."""

    crop: Side
    """pixels cut from the centre of the cutout"""
    size: Side
    """pixels the network gets, a side; resized, antialiased, where it differs from `crop`"""
    bands: Bands | None = Field(None, exclude_if=lambda bands: bands is None)
    """by name, or by number from 0; None is all, and not part of a cell's key"""
    stretch: Stretch = Stretch(kind="linear")
    interpolation: Literal["bicubic", "bilinear"] = Field(default="bicubic", exclude_if=lambda how: how == "bicubic")
    """how images are resized"""

    @property
    def inputs(self) -> int:
        """Bands that the network gets. None are those of an 8-bit image: the planner names all others."""
        return 3 if self.bands is None else len(self.bands)

    def places(self, there: Sequence[str]) -> list[int]:
        """Where the wanted bands are among those that are `there`, by name.

        Raises
        ------
        UnknownNameError, SpecError
            One is not there, or is wanted twice.
        """
        wanted = range(len(there)) if self.bands is None else self.bands
        found = [_place(band, there) for band in wanted]
        if len(set(found)) < len(found):
            raise SpecError(f"bands = {list(wanted)} has the same band twice")
        return found

    def settled(self, there: Sequence[str], floats: bool) -> Pixels:
        """The same with each band named, for images that have these bands; all three of 8 bits stay None.

        Raises
        ------
        UnknownNameError, SpecError
            A band is not there, or the stretch does not suit the images.
        """
        names = tuple(there[place] for place in self.places(there))
        self.stretch.require_fit(len(names), floats)
        return self if self.bands is None and not floats else self.model_copy(update={"bands": names})

    def require_room(self, side: int, shift: int) -> None:
        """Raise `SpecError` if a crop, shifted by up to `shift` pixels, does not fit into a cutout of `side` pixels."""
        if self.crop > side:
            raise SpecError(f"crop = {self.crop} is larger than the cutouts, which have {side} pixels a side")
        if self.crop + 2 * shift > side:
            raise SpecError(
                f"crop = {self.crop} with shift = {shift} needs cutouts of {self.crop + 2 * shift} pixels; these have "
                f"{side}, so shift can be {(side - self.crop) // 2} at most"
            )


def _place(band: str | int, there: Sequence[str]) -> int:
    if isinstance(band, str):
        if band not in there:
            raise UnknownNameError.among("band", band, there)
        return there.index(band)
    if band >= len(there):
        raise SpecError(f"there is no band {band}: the images have {len(there)}, counted from 0: {', '.join(there)}")
    return band

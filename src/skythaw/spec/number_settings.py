"""Which numbers stand beside the images of a study: `Numbers`. Frozen, no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from skythaw.spec.record import Frozen


class Numbers(Frozen):
    """The numbers of each object: columns of a table, numbers measured from its image, or both."""

    columns: tuple[str, ...] = ()
    """names of columns of the cutouts' own table, or of a catalogue that is joined to it"""
    measured: bool = False
    """whether numbers are measured from the images"""
    radius: Annotated[float, Field(gt=0)] = 1.0
    """arcsec: a row of a catalogue belongs to a cutout if it lies so near, where no ids say it"""
    extinction: dict[str, str] = Field(default_factory=dict)
    """for a column of `columns`, the column of its extinction in magnitudes, which is corrected for"""
    allow_leak: tuple[str, ...] = ()
    """columns that are used although they give the class away"""

    @property
    def wanted(self) -> bool:
        """Whether any numbers are asked for."""
        return self.measured or bool(self.columns)

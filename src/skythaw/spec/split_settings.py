"""How objects are divided into training, validation and test: `Split`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from skythaw.spec.record import Fraction, Frozen, Positive, Seed


class Split(Frozen):
    """How objects are divided into training, validation and test."""

    by: str = "auto"
    """``field`` (run, camcol and field), ``healpix``, ``random``, or a column: objects alike in it stay together. If a
    column holds the names of parts (train, validation, test), these are the parts. ``auto`` takes the first of field,
    healpix, part and random that the data allow; a cell holds what was taken."""
    validation: Fraction = 0.15
    test: Fraction = 0.25
    seed: Seed = 0
    nside: Positive = 64
    """HEALPix resolution for ``by = "healpix"``; 64 makes pixels of 55 arcmin."""
    drop_conflicts: Annotated[bool, Field(exclude_if=lambda drop: not drop)] = False
    """Leave out images that are in the data twice, with different labels, instead of refusing them."""
    twins: Annotated[Literal["bytes", "pixels", "near"] | None, Field(exclude_if=lambda twins: twins is None)] = None
    """What tells that two images are the same, where some are: then they stay together. Found when a study is planned;
    ``bytes`` compares the files alone; ``near`` finds images that were compressed again or scaled, too."""

"""How objects are divided into training, validation and test: `Split`."""

from __future__ import annotations

from skythaw.spec.record import Fraction, Frozen, Positive, Seed


class Split(Frozen):
    """How objects are divided into training, validation and test."""

    by: str = "field"
    """``field`` (run, camcol and field), ``healpix``, ``random``, or a column: objects alike in it stay together."""
    validation: Fraction = 0.15
    test: Fraction = 0.25
    seed: Seed = 0
    nside: Positive = 64
    """HEALPix resolution for ``by = "healpix"``; 64 makes pixels of 55 arcmin."""

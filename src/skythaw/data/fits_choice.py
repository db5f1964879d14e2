"""Which of the images in a FITS file are the image: bands in extensions of their own, and what is only about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skythaw.data.band_names import as_written, band_of, words_of
from skythaw.data.fits_parts import FitsPart

ABOUT_WORDS = (
    "mask msk dq ivar invvar err error errors wht weight weights var variance std stdev stddev sigma rms unc uncert "
    "uncertainty noise exp exptime exposure nexp ctx con cov coverage covar psf bkg bgr background flag flags seg segm "
    "segmap segmentation bpm badpix bad area samp time depth galdepth psfdepth psfsize maskbits quality qual "
    "d2imarr wcsdvarr wcscorr"
)
ABOUT = frozenset(ABOUT_WORDS.split())
"""words in the name of an extension that says something about the image, and isn't it"""
IMAGE = frozenset(("sci", "science", "image", "img", "flux", "data", "intensity", "counts", "primary"))
LISTED = 8


def choose_parts(parts: Sequence[FitsPart], ext: Sequence[str] = ()) -> tuple[list[FitsPart], tuple[str, ...]]:
    """The parts that together are the image, and how they were found, in words, where there is more than one.

    Without `ext`: the only image; without those that are called a mask, a weight and the like; all of the rest if each
    has the name of a band of its own; else the one that is called SCI, IMAGE or alike.

    Raises
    ------
    ValueError
        No part, or more than one, may be meant; the message names them.
    """
    if ext:
        return [_named(parts, name) for name in ext], ()
    parts = [part for part in parts if len(part.axes) > 1] or list(parts)
    science = [part for part in parts if not is_about(part)] if len(parts) > 1 else list(parts)
    named = [part for part in science if IMAGE & {_plain(word) for word in words_of(part.name)}]
    if len(science) > 1 and not are_bands(science) and (len(named) == 1 or are_bands(named)):
        science = named
    if parts and (not science or (len(science) > 1 and not are_bands(science))):
        raise ValueError(
            f"it holds {len(parts)} images, and which of them is meant can't be told: {listed(parts)}; "
            "skythaw data import --ext NAME[,NAME] takes those that are named"
        )
    notes = []
    if len(science) > 1:
        notes.append(f"bands {', '.join(names_of(science))} read from extensions of their own")
    if others := [part for part in parts if part not in science]:
        notes.append(f"read without {', '.join(part.name or f'part {part.number}' for part in others)}")
    return science, tuple(notes)


def names_of(parts: Sequence[FitsPart]) -> tuple[str, ...]:
    """The band of each part, from its name, or else from the filter in its header; empty where that is not known."""
    return as_written([_band(part) for part in parts])


def are_bands(parts: Sequence[FitsPart]) -> bool:
    """Whether parts are bands of one image: alike in size, of two axes, and each with a band of its own."""
    bands = names_of(parts)
    flat = {tuple(axis for at, axis in enumerate(part.axes) if at < 2 or axis > 1) for part in parts}
    return len(parts) > 1 and len(flat) == 1 and len(next(iter(flat))) == 2 and len({*bands, ""}) == len(parts) + 1


def is_about(part: FitsPart) -> bool:
    """Whether a part is called a mask, a weight, an error and the like."""
    return bool(ABOUT & {_plain(word) for word in words_of(part.name)})


def listed(parts: Sequence[FitsPart]) -> str:
    more = ", ..." if len(parts) > LISTED else ""
    return ", ".join(part.title for part in parts[:LISTED]) + more


def _named(parts: Sequence[FitsPart], name: str) -> FitsPart:
    """The part that a person calls by its number, its name, NAME:VERSION, or its band."""
    wanted = name.strip().casefold()
    ways: tuple[Any, ...] = (
        lambda part: part.name.casefold() == wanted,
        lambda part: f"{part.name}:{part.header.get('EXTVER', 1)}".casefold() == wanted,
        lambda part: str(part.number) == wanted,
        lambda part: _band(part).casefold() == wanted and not is_about(part),
    )
    for way in ways:
        found = [part for part in parts if way(part)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"{len(found)} of its extensions are called {name!r}: {listed(found)}; give their numbers")
    raise ValueError(f"it has no image extension {name!r}; there are {listed(parts) or 'none'}")


def _band(part: FitsPart) -> str:
    found = band_of(part.name)
    for keyword in ("FILTER", "FILTNAM", "FILTNAM1", "BAND", "FILTER1", "FILTER2"):
        text = str(part.header.get(keyword, "")).strip()
        if found is None and text and not text.upper().startswith("CLEAR"):
            found = band_of(text) or text
    return found or ""


def _plain(word: str) -> str:
    return word.lower().rstrip("0123456789")

"""Objects with a file for each band: `OBJECT_g.fits`, `1237g.fits` or `g/OBJECT.fits`, told by their names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from skythaw.data.band_names import as_written, is_band
from skythaw.errors import DataError

WORD = re.compile(r"[^/_\-. ]+")
"""a word of a path"""
LETTER = re.compile(r"(?<=\d)[A-Za-z]$")
"""a letter behind a number, at the end of a name: 1237g"""
BLUE_TO_RED = "FUV NUV u U B g G V VIS r R i I z Z y Y J H K Ks L M W1 W2 W3 W4"
LEAST = 0.5
"""share of the files that are in groups, from which on it is said that they look like bands"""


def looks_like_bands(names: Sequence[str], one_band: Callable[[str], bool]) -> str | None:
    """The sentence that says so, if the files of a folder seem to be single bands of objects; else None.

    Parameters
    ----------
    names
        paths inside the folder
    one_band
        whether a file holds an image of one band; asked for one group only
    """
    groups = group_bands(names)
    several = {key: found for key, found in groups.items() if len(found) > 1}
    if sum(map(len, several.values())) < max(2, LEAST * len(names)):
        return None
    first = next(iter(several.values()))
    if not all(one_band(name) for name in first.values()):
        return None
    shown = ", ".join(list(first.values())[:3])
    return (
        f"the files seem to be single bands of {len(several)} objects ({shown}): --band-from name puts them together, "
        "--band-from none takes each file as an object"
    )


def join_bands(names: Sequence[str]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Put files of single bands together, by their names.

    Returns
    -------
    objects, left_out
        of each object, called by its path without the band: the file of each band, all with the same bands in the same
        order; and why files are in no object

    Raises
    ------
    DataError
        No object has more than one band.
    """
    groups = group_bands(names)
    found = Counter(band for files in groups.values() for band in files)
    if not any(len(files) > 1 for files in groups.values()):
        raise DataError(
            "--band-from name: no two files differ in a word that is the name of a band, as OBJECT_g.fits and "
            "OBJECT_r.fits do"
        )
    bands = [band for band in found if found[band] >= LEAST * len(groups)]
    order = sorted(bands, key=_wavelength)
    objects, left_out = {}, {}
    grouped = {name for files in groups.values() for name in files.values()}
    for name in names:
        if name not in grouped:
            left_out[name] = (
                "another file is the same band of its object"
                if _readings(name)
                else "its name has no word that is the name of a band"
            )
    for key, files in groups.items():
        if missing := [band for band in order if band not in files]:
            reason = f"its object {key} has no file of band {', '.join(missing)}"
            left_out.update(dict.fromkeys(files.values(), reason))
            continue
        objects[key] = {band: files[band] for band in order}
        odd = f"band {{}} is of less than half of the objects, which have {', '.join(order)}"
        left_out.update({name: odd.format(band) for band, name in files.items() if band not in order})
    if not objects:
        raise DataError(f"--band-from name: no object has all of the bands {', '.join(order)}")
    return objects, left_out


def group_bands(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Files by the path that is left when one word, the name of a band, is taken out: of each, band -> file."""
    ways = {name: _readings(name) for name in names}
    members = Counter(key for found in ways.values() for key, _ in set(found))
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for name, found in ways.items():
        if found:
            key, band = max(reversed(found), key=lambda each: members[each[0]])
            groups[key].setdefault(band, name)
    bands = sorted({band for files in groups.values() for band in files})
    spelt = as_written(bands)
    small = dict(zip(bands, spelt if len(set(spelt)) == len(bands) else bands, strict=True))
    return {key: {small[band]: name for band, name in files.items()} for key, files in groups.items()}


def _readings(name: str) -> list[tuple[str, str]]:
    """Every way to take a name apart: the path without one word, and that word, the name of a band."""
    stem_end = len(name) - len(_endings(name))
    found = []
    if (letter := LETTER.search(name, 0, stem_end)) and is_band(letter[0]):
        found.append((name[: letter.start()] + name[stem_end:], letter[0]))
    for word in WORD.finditer(name, 0, stem_end):
        if is_band(word[0]):
            before, after = name[: word.start()], name[word.end() :]
            if before[-1:] in ("_", "-", ".", " ") or (before[-1:] == "/" == after[:1]):
                before = before[:-1]
            elif after[:1] in ("_", "-", "/", " "):
                after = after[1:]
            key = (before + after).lstrip("/")
            if key and not key.startswith(".") and "/." not in key:
                found.append((key, word[0]))
    return found


def _endings(name: str) -> str:
    found = re.search(r"(?:\.(?:fits?|fts|gz|bz2|fz|tiff?|png|jp2|jpe?g|webp|bmp|gif))+$", name, re.IGNORECASE)
    return found[0] if found else ""


def _wavelength(band: str) -> tuple[int, str]:
    """Sorts the usual bands from blue to red, others by name behind them."""
    order = BLUE_TO_RED.split()
    return (order.index(band) if band in order else len(order), band)

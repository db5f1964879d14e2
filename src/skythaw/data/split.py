"""Divide objects into training, validation and test: by groups of sky, stratified by class, the same for a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skythaw.data.cutouts import Cutouts
from skythaw.data.overlaps import FIELD, identify
from skythaw.errors import DataError, SpecError, nearest
from skythaw.spec import Split

PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class Parts:
    """Rows of the objects in each part: sorted, no object and no group in two parts."""

    train: np.ndarray
    """int [object]"""
    validation: np.ndarray
    """int [object]"""
    test: np.ndarray
    """int [object]; empty with an external test set"""


def split(
    cutouts: Cutouts,
    spec: Split,
    *,
    usable: np.ndarray | None = None,
    external_test: bool = False,
) -> Parts:
    """Divide the labelled objects by groups (`spec.by`), so that parts and classes come near their shares.

    Parameters
    ----------
    cutouts
        the objects; those without a label are left out
    spec
        how to group, the shares, and the seed
    usable
        bool [object]; objects to leave out are False (`Store.usable`)
    external_test
        only training and validation: the test set is another file

    Raises
    ------
    SpecError
        `spec.by` needs columns that are not there.
    DataError
        A class is too small to be in every part, or none of its images is usable.
    """
    chosen = cutouts.labelled if usable is None else cutouts.labelled & usable
    rows = np.flatnonzero(chosen)
    if not len(rows):
        raise DataError(f"{cutouts.paths[0]}: no object has both a label and a usable image")
    group = identify([groups(cutouts, spec.by, spec.nside)[rows]])
    names = np.array(cutouts.classes)
    label = np.searchsorted(names, cutouts.labels[rows].astype(str))
    counts = np.zeros((group.max() + 1, len(names)), dtype=np.int64)
    np.add.at(counts, (group, label), 1)
    for name in names[counts.sum(0) == 0]:
        there = cutouts.counts[str(name)]
        raise DataError(
            f"class {str(name)!r}: not one of its {there} images is usable: replace them, or drop the class"
        )
    shares = [1 - spec.validation, spec.validation]
    if not external_test:
        shares = [1 - spec.validation - spec.test, spec.validation, spec.test]
    assigned = _assign(counts, np.array(shares), spec.seed)
    _require_every_class(names, counts, assigned, len(shares))
    part = np.full(len(cutouts), -1)
    part[rows] = assigned[group]
    train, validation, test = (np.flatnonzero(part == each) for each in range(3))
    return Parts(train, validation, test)


def groups(cutouts: Cutouts, by: str, nside: int) -> np.ndarray:
    """The group of each object, int [object]: objects of one group stay together.

    Parameters
    ----------
    cutouts
        the objects
    by
        ``field`` (run, camcol and field alike), ``healpix`` (one pixel of the sky), ``random`` (each object its own),
        or the name of a column (its value alike)
    nside
        HEALPix resolution, a power of two

    Raises
    ------
    SpecError
        The columns are not there, or `nside` is no power of two.
    DataError
        A value is missing, or a coordinate is no angle.
    """
    if by == "random":
        return np.arange(len(cutouts))
    needed = {"field": FIELD, "healpix": ("ra", "dec")}.get(by, (by,))
    there = cutouts.table.column_names
    if missing := [name for name in needed if name not in there]:
        raise SpecError(_missing(by, missing, there))
    for name in needed:
        if empty := cutouts.table[name].null_count:
            raise DataError(f"split.by = {by!r}: column {name!r} is empty for {empty} objects; each needs a value")
    if by == "healpix":
        return _healpix(cutouts.numbers("ra"), cutouts.numbers("dec"), nside)
    return identify([cutouts.column(name) for name in needed])


def nested_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order of the objects in which every beginning holds the classes in their proportion, within one object.

    So a smaller training set is inside a larger one. Each class is shuffled by the seed; the classes take turns by
    Tijdeman's rule for the chairman assignment problem (Discrete Mathematics 32, 323, 1980).

    Parameters
    ----------
    labels
        class of each object [object]
    seed
        for the shuffle

    Returns
    -------
    numpy.ndarray
        a permutation of the rows, int [object]
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    _, label, size = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    queues = [iter(rng.permutation(np.flatnonzero(label == each)).tolist()) for each in range(len(size))]
    total, slack = len(labels), max(1, 2 * len(size) - 2)
    due = np.zeros(len(size), dtype=np.int64)  # how far a class is behind its share, in units of 1 / total objects
    order = []
    for _ in range(total):
        due += size
        waits = np.where(due * slack >= total, (total * (slack - 1) / slack - due) / size, np.inf)
        pick = int(np.argmin(waits))
        due[pick] -= total
        order.append(next(queues[pick]))
    return np.array(order, dtype=np.int64)


def _assign(counts: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """The part of each group, int [group], from its objects per class, int [group, class].

    Large groups first, each goes where it lowers the squared deficit (of classes weighed alike) most. Where that leaves
    a part without a class, it is done again with small groups of that class put there beforehand.
    """
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(1), kind="stable")]
    assigned = _greedy(counts, shares, order, {})
    if _lacking(counts, assigned, len(shares)):
        assigned = _greedy(counts, shares, order, _reserve(counts, len(shares), order))
    return assigned


def _greedy(counts: np.ndarray, shares: np.ndarray, order: np.ndarray, fixed: dict[int, int]) -> np.ndarray:
    total = counts.sum(0)
    deficit = shares[:, None] * total
    weighted = counts / total**2
    assigned = np.full(len(counts), -1)
    for group, part in fixed.items():
        assigned[group] = part
        deficit[part] -= counts[group]
    for group in order:
        if assigned[group] < 0:
            part = int(np.argmax(deficit @ weighted[group]))  # the squares of the group's own counts are alike in all
            assigned[group] = part
            deficit[part] -= counts[group]
    return assigned


def _reserve(counts: np.ndarray, parts: int, order: np.ndarray) -> dict[int, int]:
    """A group for each part and class, smallest first, beginning with the class in the fewest groups."""
    fixed: dict[int, int] = {}
    for each in np.argsort((counts > 0).sum(0), kind="stable"):
        holders = [int(group) for group in order[::-1] if counts[group, each]]
        have = {fixed[group] for group in holders if group in fixed}
        free = [group for group in holders if group not in fixed]
        for part, group in zip([p for p in reversed(range(parts)) if p not in have], free, strict=False):
            fixed[group] = part
    return fixed


def _lacking(counts: np.ndarray, assigned: np.ndarray, parts: int) -> list[tuple[int, int]]:
    """The classes and parts that have no object in common."""
    held = np.stack([counts[assigned == part].sum(0) for part in range(parts)])
    return [(int(each), int(part)) for part, each in np.argwhere(held == 0)]


def _require_every_class(names: np.ndarray, counts: np.ndarray, assigned: np.ndarray, parts: int) -> None:
    if lacking := _lacking(counts, assigned, parts):
        each, part = min(lacking)
        holders = int((counts[:, each] > 0).sum())
        raise DataError(
            f"class {str(names[each])!r} has {counts[:, each].sum()} objects in {holders} groups: {PARTS[part]} would "
            f"get none; all {parts} parts need some: add objects, or split by smaller groups (split.by)"
        )


def _missing(by: str, missing: list[str], there: list[str]) -> str:
    text = f"split.by = {by!r}: there is no column {', '.join(missing)} (there are {', '.join(there)})"
    ways = [
        way
        for way, columns in (("field", FIELD), ("healpix", ("ra", "dec")))
        if way != by and set(columns) <= set(there)
    ]
    if by not in ("field", "healpix"):
        return f"{text}; {nearest(by, [*there, *ways, 'random'])}"
    return f"{text}; what would work: {', '.join([*ways, 'random', 'or the name of a column'])}"


def _healpix(ra: np.ndarray, dec: np.ndarray, nside: int) -> np.ndarray:
    from astropy import units
    from astropy_healpix import HEALPix

    if nside & (nside - 1):
        raise SpecError(f"split.nside = {nside} is not a power of two; 64 makes pixels of 55 arcmin")
    if not (np.isfinite(ra).all() and (np.abs(dec) <= 90).all()):
        raise DataError("split.by = 'healpix': ra and dec must be degrees, dec from -90 to 90; some are not")
    return np.asarray(HEALPix(nside=nside).lonlat_to_healpix(ra * units.deg, dec * units.deg), dtype=np.int64)

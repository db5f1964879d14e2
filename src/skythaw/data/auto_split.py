"""`by = "auto"`: how a set of objects is best divided, by what is known of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skythaw.data.cutouts import Cutouts
from skythaw.data.overlaps import FIELD
from skythaw.data.part_names import PART_COLUMNS, part_of
from skythaw.data.split_groups import SKY, given_parts, groups
from skythaw.data.twins import twin_basis, twin_groups
from skythaw.errors import DataError
from skythaw.spec import Split

CALLED = {"field": "fields of the survey (run, camcol, field)", "healpix": "pixels of the sky (from ra and dec)"}


@dataclass(frozen=True)
class SettledSplit:
    """How some objects are divided, with nothing left to choose."""

    spec: Split
    """never ``auto``"""
    why: str
    """a sentence; empty where the study file says how"""
    twins: np.ndarray | None
    """int [object], the same for copies of one image; None where there are none"""
    chosen: np.ndarray
    """bool [object]: those with a label and a usable image"""


def settle_split(
    cutouts: Cutouts,
    spec: Split,
    *,
    usable: np.ndarray | None = None,
    external_test: bool = False,
    digests: np.ndarray | None = None,
) -> SettledSplit:
    """Choose how to divide the objects, if `spec` leaves that open, and look for twins among them.

    ``auto`` takes the first of these that every object has, and that puts each class into at least as many groups as
    there are parts: the field, the pixel of the sky, a column with the names of parts, the object by itself.

    Parameters
    ----------
    cutouts
        the objects
    spec
        as the study file says
    usable
        bool [object], False for those that are left out
    external_test
        whether the test set is another file
    digests
        of the decoded pixels (`skythaw.data.twins.store_digests`), where they are known
    """
    chosen = cutouts.labelled if usable is None else cutouts.labelled & usable
    why = ""
    if spec.by == "auto":
        by, why = _choose(cutouts, spec, chosen, 2 if external_test else 3)
        spec = spec.model_copy(update={"by": by})
    basis = spec.twins or twin_basis(cutouts, chosen, digests)
    twins = None if basis is None else twin_groups(cutouts, digests, basis)
    return SettledSplit(spec.model_copy(update={"twins": basis}), why, twins, chosen)


def _choose(cutouts: Cutouts, spec: Split, chosen: np.ndarray, parts: int) -> tuple[str, str]:
    """The way to divide, and why."""
    against: list[str] = []
    for way in ("field", "healpix"):
        reason = _unfit(cutouts, way, spec, chosen, parts)
        if reason is None:
            return way, _because(way, against)
        against.append(reason)
    for column in PART_COLUMNS:
        if given_parts(cutouts, column) is not None and not cutouts.table[column].null_count:
            return column, f"the data are divided by their column {column!r}, which names the parts ({_and(against)})"
        if column in cutouts.table.column_names:
            against.append(_no_parts(cutouts, column))
    return "random", f"the data are divided object by object, because {_and(against)}"


def _no_parts(cutouts: Cutouts, column: str) -> str:
    """Why a column that is called like one of parts does not divide the objects."""
    if cutouts.table[column].null_count:
        return f"the column {column!r} is empty for some objects"
    values = list(dict.fromkeys(cutouts.column(column).tolist()))
    odd = next((value for value in values if not isinstance(value, str) or part_of(value) is None), None)
    if odd is None:
        return f"the column {column!r} holds one part alone"
    return f"the column {column!r} holds {odd!r}, which names no part (train, validation or test)"


def _because(way: str, against: list[str]) -> str:
    return f"the data are divided by {CALLED[way]}" + (f", because {_and(against)}" if against else "")


def _unfit(cutouts: Cutouts, way: str, spec: Split, chosen: np.ndarray, parts: int) -> str | None:
    """Why objects can't be divided that way; None if they can."""
    columns = FIELD if way == "field" else SKY
    named = f"{', '.join(columns[:-1])} and {columns[-1]}"
    there = cutouts.table.column_names
    if not set(columns) <= set(there):
        return f"there are no columns {named}"
    if any(cutouts.table[name].null_count for name in columns):
        return f"{named} are empty for some objects"
    try:
        found = groups(cutouts, way, spec.nside)
    except DataError:
        return f"{named} are not all numbers of a position"
    for name in cutouts.classes:
        held = len(np.unique(found[chosen & (cutouts.labels == name)]))
        if held < parts:
            what = "fields" if way == "field" else "pixels of the sky"
            return f"class {name!r} lies in {held} {what}, and there are {parts} parts"
    return None


def _and(reasons: list[str]) -> str:
    return " and ".join(reasons)

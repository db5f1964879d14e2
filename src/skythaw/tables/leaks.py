"""Refuse columns that give the class away: by their name, and by what they hold.

Redshift, class and spectrum ids come from the same spectrum as the label. A model that gets them is perfect, and
useless for objects without a spectrum.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from skythaw.errors import DataError
from skythaw.tables.number_table import NumberTable

SPECTRUM = "it comes from the spectrum that gave the label"
REASONS = {
    SPECTRUM: "redshift specz zspec zbest zwarning zwarn znoqso zhelio zcmb plate plateid mjd fiber fibre fiberid "
    "fibreid specobjid spectype",
    "a photometric redshift rests on a guess of the class": "zphot photz photoz zph zphoto zpdf",
    "it names the class, or what the object was taken for": "class subclass label labels type objtype target "
    "targettype sourcetype classification category primtarget sectarget truth",
    "it says which object this is, not what it is like": "id objid objectid sourceid thingid",
    "it says where and when the object was observed": "run rerun camcol field fieldid",
    "it belongs to the file of the image": "path filename sha sha1 sha256 md5 checksum",
}
"""why, and the words that no name may have"""
WORDS = {word: reason for reason, words in REASONS.items() for word in words.split()}
ALONE = {"obj": "objid", "object": "objid", "name": "objid", "file": "path"}
"""refused only as the whole name, like the word beside it"""
JOINED = re.compile("redshift|zspec|specz|zphot|photoz|zbest|zwarn|specobj|fiberid|subclass|sourcetype|objid")
"""refused wherever they stand in a name, without its separators"""
PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
LARGEST_REDSHIFT = 8.0
MOST = {2: 0.99}
"""Balanced accuracy that a single column may reach with so many classes. On real objects of the SDSS (STAR, GALAXY and
QSO) the best magnitude or colour reaches 0.73, and the best measured number 0.79; redshift reaches 0.97. Of two
classes, the best magnitude, colour or measured number reaches 0.97."""
MOST_OF_MANY = 0.9
"""the same with three classes or more"""
MOST_OF_ONE = 0.99
"""the same for one class against all others"""
LEAVES = 16
FEWEST = 6
"""objects that a class needs, to judge a column by how it tells all classes; a smaller class is left out of that"""
FEWEST_OF_ONE = 20
"""objects that a class needs, to judge a column by how it tells that class from the others"""
LARGE = 1e12
"""whole numbers beyond this are ids"""


def refuse_leaks(
    names: Sequence[str],
    table: NumberTable | np.ndarray,
    labels: Sequence[str] | np.ndarray,
    allowed: Sequence[str],
    groups: np.ndarray | None = None,
) -> None:
    """Raise if a column is a leak: it gives the class away, or tells the objects apart by something else than the sky.

    Parameters
    ----------
    names
        of the columns; a colour is written ``u - g``
    table
        the numbers of the training objects, float64 [object number]
    labels
        their classes
    allowed
        columns that are used all the same
    groups
        int [object]: objects of one group are not told from each other by a model that saw the others; None is each
        its own

    Raises
    ------
    DataError
        A column is a leak; the message says why, and how to use it all the same.
    """
    values = table.values if isinstance(table, NumberTable) else table
    found = {name: reason for name in names if (reason := _by_name(name) or _as_redshift(name, names, values))}
    for place, name in enumerate(names):
        if name not in found and (reason := _by_content(values[:, place], np.asarray(labels), groups)):
            found[name] = reason
    _refuse(found, allowed)


def refuse_names(names: Sequence[str], allowed: Sequence[str]) -> None:
    """Raise `DataError` if a column is a leak by its name alone: asked before its values are looked at."""
    _refuse({name: reason for name in names if (reason := _by_name(name))}, allowed)


def _refuse(found: Mapping[str, str], allowed: Sequence[str]) -> None:
    if refused := {name: reason for name, reason in found.items() if name not in allowed}:
        (name, reason), *others = refused.items()
        more = f" ({', '.join(other for other, _ in others)} too)" if others else ""
        options = " ".join(f"--allow-leak {shlex.quote(each)}" for each in refused)
        raise DataError(
            f"column {name!r} is a leak: {reason}{more}; leave it out, or use it all the same with {options}, in a "
            f"study file allow_leak = {list(refused)} under [data]"
        )


def _by_name(name: str) -> str | None:
    """Why a name is refused, or None."""
    joined = re.sub("[^a-z0-9]", "", name.lower())
    parts = [part.lower() for part in PARTS.findall(name)]
    pairs = ["".join(pair) for pair in pairwise(parts)]
    for word in (ALONE.get(joined, joined), *pairs, *parts):
        if word in WORDS:
            return WORDS[word]
    hidden = JOINED.search(joined)
    return None if hidden is None else WORDS.get(hidden[0], SPECTRUM)


def _as_redshift(name: str, names: Sequence[str], values: np.ndarray) -> str | None:
    """Why a column `z` is refused: it is a redshift, and not the magnitude of the z band beside u, g, r and i."""
    if name.lower() != "z" or not _like_redshifts(values[:, list(names).index(name)]):
        return None
    others = [_like_redshifts(values[:, place]) for place, each in enumerate(names) if each.lower() in tuple("ugri")]
    if len(others) >= 2 and any(others):
        return None
    return f"it holds values like redshifts, and {SPECTRUM}"


def _like_redshifts(values: np.ndarray) -> bool:
    there = values[~np.isnan(values)]
    return bool(len(there)) and bool(-0.1 <= np.median(there) <= LARGEST_REDSHIFT)


def _by_content(values: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> str | None:
    """Why a column is refused for what it holds, or None."""
    if _is_id(values):
        return "it numbers the objects"
    names, counts = np.unique(labels, return_counts=True)
    judged = np.isin(labels, names[counts >= FEWEST])
    classes, counts = names[counts >= FEWEST], counts[counts >= FEWEST]
    if len(classes) < 2:
        return None
    values, labels = values[judged], labels[judged]
    predicted = _alone(values, labels, None if groups is None else groups[judged])
    right = np.array([(predicted[labels == each] == each).mean() for each in classes])
    others_right = np.array([(predicted[labels != each] != each).mean() for each in classes])
    if (score := right.mean()) > MOST.get(len(classes), MOST_OF_MANY):
        return f"alone it tells {100 * score:.1f} % of each class, which no magnitude, colour or shape does"
    of_one = np.where(counts >= FEWEST_OF_ONE, (right + others_right) / 2, 0.0)
    if of_one.max() > MOST_OF_ONE:
        best = int(of_one.argmax())
        return f"alone it tells {classes[best]} from the others in {100 * of_one[best]:.1f} %, which no magnitude does"
    return None


def _is_id(values: np.ndarray) -> bool:
    """Whether values are whole numbers, no two alike, in the order of the rows or too large for counts."""
    there = values[~np.isnan(values)]
    if len(there) < 10 or (there != np.round(there)).any():
        return False
    steps = np.diff(there)
    return bool((steps > 0).all() or (steps < 0).all() or np.median(np.abs(there)) > LARGE)


def _alone(values: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """The classes that a small tree on one column names, of held-out thirds."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
    from sklearn.tree import DecisionTreeClassifier

    lowest = np.nanmin(values, initial=0.0) - 1
    column = np.clip(np.where(np.isnan(values), lowest, values), -1e30, 1e30)[:, None]
    together = groups is not None and len(np.unique(groups)) >= 3 * len(np.unique(labels))
    folds = (StratifiedGroupKFold if together else StratifiedKFold)(3, shuffle=True, random_state=0)
    predicted = labels.copy()
    for train, held in folds.split(column, labels, groups if together else None):
        tree = DecisionTreeClassifier(max_leaf_nodes=LEAVES, class_weight="balanced", random_state=0)
        predicted[held] = tree.fit(column[train], labels[train]).predict(column[held])
    return predicted

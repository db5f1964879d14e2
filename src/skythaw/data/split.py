"""Divide objects into training, validation and test: by groups of sky, stratified by class, the same for a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skythaw.data.auto_split import settle_split
from skythaw.data.cutouts import Cutouts
from skythaw.data.overlaps import identify
from skythaw.data.split_groups import given_parts, kept_together
from skythaw.data.twins import conflicting
from skythaw.errors import DataError
from skythaw.spec import Split

PARTS = ("training", "validation", "test")
GIVEN = ("train", "validation", "test")
"""as a column calls them"""


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
    twins: np.ndarray | None = None,
) -> Parts:
    """Divide the labelled objects by groups (`spec.by`), so that parts and classes come near their shares.

    If `spec.by` is a column that says which part each object is in, these are the parts; what is missing of validation
    and test is drawn from training. An object with a twin in a later part (test after validation after training) is
    then left out.

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
    twins
        int [object], the same for copies of one image (`skythaw.data.twins`): they stay together; None knows of none

    Raises
    ------
    SpecError
        `spec.by` needs columns that are not there.
    DataError
        A class is too small to be in every part, or none of its images is usable.
    """
    chosen = cutouts.labelled if usable is None else cutouts.labelled & usable
    if spec.by == "auto":
        settled = settle_split(cutouts, spec, usable=usable, external_test=external_test)
        spec, twins = settled.spec, settled.twins if twins is None else twins
    if spec.drop_conflicts and twins is not None:
        chosen = chosen & ~conflicting(cutouts.labels, twins, chosen)
    rows = np.flatnonzero(chosen)
    if not len(rows):
        raise DataError(f"{cutouts.paths[0]}: no object has both a label and a usable image")
    given = given_parts(cutouts, spec.by)
    part = np.full(len(cutouts), -1)
    if given is None:
        part[rows] = _drawn(cutouts, spec, rows, twins, _shares(spec, external_test))
    else:
        part[rows] = _as_given(cutouts, spec, rows, given[rows], twins, external_test)
    train, validation, test = (np.flatnonzero(part == each) for each in range(3))
    return Parts(train, validation, test)


def _shares(spec: Split, external_test: bool) -> list[float]:
    if external_test:
        return [1 - spec.validation, spec.validation]
    return [1 - spec.validation - spec.test, spec.validation, spec.test]


def _drawn(
    cutouts: Cutouts, spec: Split, rows: np.ndarray, twins: np.ndarray | None, shares: list[float]
) -> np.ndarray:
    """The part of each of some objects, int [row]: as many parts as there are shares, every class in each."""
    group = identify([kept_together(cutouts, spec, twins)[rows]])
    names, counts = _counts(cutouts, rows, group)
    for name in names[counts.sum(0) == 0]:
        there = cutouts.counts[str(name)]
        raise DataError(
            f"class {str(name)!r}: not one of its {there} images is usable: replace them, or drop the class"
        )
    assigned = _assign(counts, np.array(shares), spec.seed)
    _require_every_class(names, counts, assigned, len(shares))
    return assigned[group]


def _counts(cutouts: Cutouts, rows: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Names of the classes, and objects of each class in each group, int [group, class]."""
    names = np.array(cutouts.classes)
    label = np.searchsorted(names, cutouts.labels[rows].astype(str))
    counts = np.zeros((group.max() + 1, len(names)), dtype=np.int64)
    np.add.at(counts, (group, label), 1)
    return names, counts


def _as_given(
    cutouts: Cutouts,
    spec: Split,
    rows: np.ndarray,
    given: np.ndarray,
    twins: np.ndarray | None,
    external_test: bool,
) -> np.ndarray:
    """The part of each of some objects, int [row], as a column says; -1 for those that are left out."""
    if empty := int(sum(value is None for value in given)):
        raise DataError(f"split.by = {spec.by!r}: the column is empty for {empty} objects; each needs a part")
    part = np.array([GIVEN.index(value) for value in given])
    if twins is not None:
        group = identify([twins[rows]])
        latest = np.full(group.max() + 1, -1)
        np.maximum.at(latest, group, part)
        part[part < latest[group]] = -1
    if external_test:
        part[part == 2] = -1
    _require_given(cutouts, spec, rows, part, (0,))
    pool = np.flatnonzero(part == 0)
    wanted = {1: spec.validation} if external_test else {1: spec.validation, 2: spec.test}
    lacking = {each: share for each, share in wanted.items() if not (part == each).any()}
    if lacking:
        drawn = _drawn(cutouts, spec, rows[pool], twins, [1 - sum(lacking.values()), *lacking.values()])
        part[pool] = np.array([0, *lacking])[drawn]
    _require_given(cutouts, spec, rows, part, tuple(wanted))
    return part


def _require_given(cutouts: Cutouts, spec: Split, rows: np.ndarray, part: np.ndarray, parts: tuple[int, ...]) -> None:
    """Every class is in each of some parts."""
    for number in parts:
        there = set(cutouts.labels[rows[part == number]])
        for name in cutouts.classes:
            if name not in there:
                raise DataError(
                    f"split.by = {spec.by!r}: the {PARTS[number]} part has no usable object of class {name!r}; every "
                    "class must be in every part: add some, or write by = 'random' to draw the parts anew"
                )


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

"""The data sets of a study, opened, checked against each other, and divided; no image is decoded. Imports no torch."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from skythaw.data.auto_split import SettledSplit, settle_split
from skythaw.data.class_names import require_plain
from skythaw.data.cutouts import Cutouts, read_cutouts, require_classes
from skythaw.data.image_form import Form, one_form
from skythaw.data.overlaps import FIELD, basis_of, forms_of, overlapping
from skythaw.data.pixel_store import Store, find_store
from skythaw.data.split import Parts, split
from skythaw.data.split_remarks import split_remarks
from skythaw.data.twins import conflict_sets, near_copies_of, say_conflicts, store_digests, twin_groups
from skythaw.errors import DataError, SpecError
from skythaw.spec import Numbers, Study
from skythaw.tables.open_numbers import numbers_sha256

SKY = ("object_id", "ra", "dec", "pixel_scale", *FIELD)


@dataclass(frozen=True)
class StudyData:
    """The data sets of a study."""

    study: Study
    """with the split as it was settled: never ``auto``"""
    cutouts: Cutouts
    test: Cutouts | None
    parts: Parts
    tested: np.ndarray
    """bool [object of the external test set]: those that are scored; empty without one"""
    form: Form
    """of a cutout, of the smaller of both sets"""
    division: SettledSplit
    """how the objects were divided, and why"""

    @property
    def side(self) -> int:
        """Pixels of a cutout; of the largest square in it where it is none."""
        return min(self.form.size)

    @property
    def objects(self) -> dict[str, int]:
        """How many there are in each part."""
        return {
            "train": len(self.parts.train),
            "validation": len(self.parts.validation),
            "test": len(self.parts.test) if self.test is None else int(self.tested.sum()),
        }

    @property
    def balance(self) -> dict[str, dict[str, int]]:
        """Objects of each class in each part."""
        labels = {name: self.cutouts.labels[getattr(self.parts, name)] for name in ("train", "validation", "test")}
        if self.test is not None:
            labels["test"] = self.test.labels[self.tested]
        return {part: {c: int((some == c).sum()) for c in self.cutouts.classes} for part, some in labels.items()}

    def train_size(self, size: int | str) -> int:
        """Settle a training size, and check that every class is in it."""
        labels = self.cutouts.labels[self.parts.train].astype(str)
        if isinstance(size, str):
            return len(labels)
        if size > len(labels):
            raise SpecError(f"train_size = {size} is more than there are: {len(labels)} training images")
        if size < self.smallest_train_size:
            names, counts = np.unique(labels, return_counts=True)
            rarest = int(counts.argmin())
            raise SpecError(
                f"train_size = {size} is too few for all classes: {str(names[rarest])!r} is {counts[rarest]} of "
                f"{len(labels)} training images, so it takes {self.smallest_train_size} to have one of it"
            )
        return size

    @cached_property
    def train_sizes(self) -> tuple[int, ...]:
        """Those of the grid, settled."""
        return tuple(map(self.train_size, self.study.grid.train_size))

    @cached_property
    def smallest_train_size(self) -> int:
        """Training images that it takes to have each class."""
        _, counts = np.unique(self.cutouts.labels[self.parts.train].astype(str), return_counts=True)
        return math.ceil(len(self.parts.train) / counts.min())

    @cached_property
    def numbers_sha256(self) -> str | None:
        """Checksum of the numbers beside the images of all objects; None where the study uses none."""
        return self.sha256_of(self.study.data.numbers) if self.study.uses_numbers else None

    def sha256_of(self, numbers: Numbers) -> str:
        """Checksum of such numbers of all objects."""
        sets = [self.cutouts, *([self.test] if self.test else [])]
        return "+".join(numbers_sha256(numbers, self.study.data.table, each) for each in sets)

    def warnings(self) -> list[str]:
        """What the user should know about the classes and the split."""
        found = split_remarks(self.cutouts, self.division, self.parts, external_test=self.test is not None)
        for each in (self.cutouts, *([self.test] if self.test else [])):
            if unlabelled := len(each) - int(each.labelled.sum()):
                found.append(f"{unlabelled} objects of {each.paths[0]} have no label, and take no part")
        cutouts, part = self._together()
        basis = basis_of(cutouts)
        if self.study.data.split.by == "random" and (basis or not self.division.why):
            found.append("split by = 'random' ignores the sky: neighbouring cutouts overlap and leak across it")
        touched = int(overlapping(cutouts, part, self.side).sum())
        if touched:
            how = "overlap on the sky with one" if basis == "coordinates" else "share a field with one"
            found.append(f"{touched} cutouts {how} in another part")
        if basis is None and self.study.data.split.by == "random":
            found.append("how many cutouts overlap can't be said: there are no coordinates or fields")
        return found

    def _together(self) -> tuple[Cutouts, np.ndarray]:
        """Where all objects are on the sky, those of an external test set behind the others; and the part of each."""
        part = np.full(len(self.cutouts), -1)
        for number, rows in enumerate((self.parts.train, self.parts.validation, self.parts.test)):
            part[rows] = number
        if self.test is None:
            return self.cutouts, part
        both = [self.cutouts.table, self.test.table]
        names = [name for name in SKY if all(name in table.column_names for table in both)]
        try:
            table = pa.concat_tables([table.select(names) for table in both], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                f"{self.test.paths[0]} and {self.cutouts.paths[0]} differ in their columns: {error}"
            ) from None
        return Cutouts(self.cutouts.paths, table, {}), np.concatenate([part, np.full(len(self.test), 2)])


def open_study_data(study: Study, cache: Path) -> StudyData:
    """Read the tables of a study, check them, and divide the objects.

    Images known to be broken (from decoded images in the cache folder) are left out.

    Raises
    ------
    DataError, SpecError
        The sets can't be used, or not together; the message says why.
    """
    data = study.data
    _require_there({"path": data.path, "test_path": data.test_path})
    cutouts, store = _open(data.path, cache, data.skip_broken)
    require_classes(cutouts)
    require_plain(cutouts.classes, cutouts.paths[0])
    usable, apart = _usable(cutouts, store), data.test_path is not None
    digests = None if store is None else store_digests(store)
    division = settle_split(cutouts, data.split, usable=usable, external_test=apart, digests=digests)
    if store is not None or not data.skip_broken:  # else it is not known which images count
        _refuse_conflicts(cutouts, division)
    study = study.model_copy(update={"data": data.model_copy(update={"split": division.spec})})
    parts = split(cutouts, division.spec, usable=usable, external_test=apart, twins=division.twins)
    form = _form(cutouts, store)
    if data.test_path is None:
        return StudyData(study, cutouts, None, parts, np.zeros(0, dtype=bool), form, division)
    test, test_store = _open(data.test_path, cache, data.skip_broken)
    tested = test.labelled & _usable(test, test_store)
    other = None if test_store is None else store_digests(test_store)
    _check_test(test, np.flatnonzero(tested), cutouts)
    _check_pixels(test, cutouts, other, digests)
    if store is not None and test_store is not None:
        _check_noise(test, cutouts, near_copies_of(store, test_store))
    if sets := conflict_sets(test.object_ids, test.labels, twin_groups(test, other), tested):
        raise DataError(f"{test.paths[0]}: {say_conflicts(sets)}; correct the labels, or leave these images out")
    forms = (form, _form(test, test_store))
    if len({(each.kind, each.bands) for each in forms}) > 1:
        said, there = (f"{each.values}, with bands {', '.join(each.bands)}" for each in forms)
        raise DataError(f"{test.paths[0]} has images of {there}, {cutouts.paths[0]} of {said}: they must be alike")
    return StudyData(study, cutouts, test, parts, tested, min(forms, key=lambda each: min(each.size)), division)


def _require_there(paths: Mapping[str, Path | None]) -> None:
    for name, path in paths.items():
        if path is not None and not os.path.exists(path):  # noqa: PTH110 (False, not an error, where it is hidden)
            raise SpecError(f"data.{name} = {path}: there is no such file or folder, or it may not be read")


def _open(path: Path, cache: Path, skip_broken: bool) -> tuple[Cutouts, Store | None]:
    """A data set, and its decoded images, if they are there."""
    cutouts = read_cutouts(path)
    return cutouts, find_store(cutouts, cache, skip_broken=skip_broken)


def _usable(cutouts: Cutouts, store: Store | None) -> np.ndarray:
    """Which images can be used, as far as is known: bool [object]."""
    return np.ones(len(cutouts), dtype=bool) if store is None else store.usable


def _refuse_conflicts(cutouts: Cutouts, division: SettledSplit) -> None:
    if division.twins is None or division.spec.drop_conflicts:
        return
    if sets := conflict_sets(cutouts.object_ids, cutouts.labels, division.twins, division.chosen):
        raise DataError(
            f"{cutouts.paths[0]}: {say_conflicts(sets)}; correct the labels, or leave these images out: "
            "data.split.drop_conflicts = true"
        )


def _form(cutouts: Cutouts, store: Store | None) -> Form:
    """Of all images that can be read, by their headers; of the first where all were decoded, and so are alike."""
    forms = Counter(islice(forms_of(cutouts), None if store is None else 1))
    if not forms:
        raise DataError(f"{cutouts.paths[0]}: no image can be read")
    try:
        return one_form(forms)
    except DataError as error:
        raise DataError(f"{cutouts.paths[0]}: {error}") from None


def _check_test(test: Cutouts, rows: np.ndarray, cutouts: Cutouts) -> None:
    """An external test set has the same classes, and no object and no image of the other set."""
    there, here = set(test.labels[rows]), set(cutouts.classes)
    if odd := sorted(there ^ here):
        lacks = cutouts.paths[0] if odd[0] in there else test.paths[0]
        raise DataError(f"{test.paths[0]} and {cutouts.paths[0]} must have the same classes: {lacks} has no {odd[0]!r}")
    for what, ours, theirs in (
        ("objects", cutouts.object_ids, test.object_ids),
        ("images", cutouts.image_sha256, test.image_sha256),
    ):
        if shared := set(ours) & set(theirs):
            raise DataError(
                f"{test.paths[0]} shares {len(shared)} {what} with {cutouts.paths[0]} ({min(shared)}): a test set must "
                "hold objects of its own"
            )


def _check_pixels(test: Cutouts, cutouts: Cutouts, theirs: np.ndarray | None, ours: np.ndarray | None) -> None:
    """An external test set has no image of the other set in another file either, as far as both are decoded."""
    if theirs is None or ours is None:
        return
    known = {tuple(each) for each in ours[:, :2].tolist() if any(each)}
    if shared := [row for row, each in enumerate(theirs[:, :2].tolist()) if tuple(each) in known]:
        raise DataError(
            f"{test.paths[0]} shares {len(shared)} images with {cutouts.paths[0]}, in other files "
            f"({test.object_ids[shared[0]]}): a test set must hold objects of its own"
        )


def _check_noise(test: Cutouts, cutouts: Cutouts, copied: np.ndarray) -> None:
    """Nor one that was compressed again or scaled; `copied` are the rows of the other set, or -1, int64 [object]."""
    if len(rows := np.flatnonzero(copied >= 0)):
        theirs, ours = test.object_ids[rows[0]], cutouts.object_ids[copied[rows[0]]]
        raise DataError(
            f"{test.paths[0]} shares {len(rows)} images with {cutouts.paths[0]}, compressed again or scaled ({theirs} "
            f"= {ours}): a test set must hold objects of its own"
        )

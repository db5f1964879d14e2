"""Which numbers a classifier takes beside an image, and how they are had: from columns, and from the image itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from skythaw.bundle.bundle_file import BundleDescription
from skythaw.bundle.numbers_record import NumbersRecord
from skythaw.data.cutouts import Cutouts
from skythaw.data.decode import middle
from skythaw.spec import Numbers
from skythaw.tables.column_ranges import compare_ranges
from skythaw.tables.column_units import declared_kind
from skythaw.tables.columns import column_numbers
from skythaw.tables.measured import measured, measured_names
from skythaw.tables.open_numbers import merged

PLACE = ("ra", "dec")
"""columns by which rows of a catalogue are found where ids do not say it"""


@dataclass(frozen=True, eq=False)
class NumbersWanted:
    """The numbers of a bundle that takes both."""

    about: BundleDescription

    @property
    def record(self) -> NumbersRecord:
        assert self.about.numbers is not None
        return self.about.numbers

    @property
    def settings(self) -> Numbers:
        assert self.about.cell.numbers is not None
        return self.about.cell.numbers

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are wanted of a table."""
        return tuple(dict.fromkeys([*self.settings.columns, *self.settings.extinction.values()]))

    @cached_property
    def is_measured(self) -> Bool[np.ndarray, " number"]:
        """Which of the numbers are measured from the image."""
        own = measured_names(self.about.expected.bands) if self.settings.measured else ()
        return np.isin(self.record.names, own)

    def lacking(self, names: Collection[str]) -> tuple[str, ...]:
        """Which of the columns are not among these names."""
        return tuple(name for name in self.columns if name not in names)

    def given(
        self, objects: pa.Table, catalogue: Path | None = None
    ) -> tuple[Float[np.ndarray, "object given"], tuple[str, ...]]:
        """The numbers that columns give, in the order of the model, and what the user should know of them.

        Parameters
        ----------
        objects
            `object_id` of each object, no two alike, and the columns, or `ra` and `dec` where they are known
        catalogue
            a file with columns, which is joined to the objects; its columns take the place of the objects' own

        Raises
        ------
        DataError
            A column is not there, or holds text or infinite values; nothing in the catalogue belongs to an object.
        """
        if not self.settings.columns:
            return np.zeros((len(objects), 0)), ()
        notes: tuple[str, ...] = ()
        where = "the table" if catalogue is None else str(catalogue)
        if catalogue is not None:
            objects, report = merged(self.settings, catalogue, Cutouts((Path("the images"),), objects, {}))
            notes = (report.sentence(),) if report else ()
        table = column_numbers(objects, self.settings, self.record.kinds, where, training=False)
        sure = [name for name in self.settings.columns if declared_kind(objects.schema.field(name))]
        outside = compare_ranges(table, self.record.kinds, self.record.ranges, sure)
        names = [name for name, own in zip(self.record.names, self.is_measured, strict=True) if not own]
        return table.select(names).values, (*notes, *outside)

    def require(self) -> None:
        """Raise `ValueError` unless the settings give the numbers that are named; both may come from anybody."""
        given: tuple[str, ...] = ()
        if self.settings.columns:
            objects = pa.table({"object_id": ["0"], **{name: pa.nulls(1, pa.float64()) for name in self.columns}})
            given = column_numbers(objects, self.settings, self.record.kinds, "the bundle", training=False).names
        own = measured_names(self.about.expected.bands) if self.settings.measured else ()
        if odd := sorted({*given, *own} ^ {*self.record.names}):
            raise ValueError(f"the settings give other numbers than are named: {odd[0]!r} is in one of the two only")

    def measure(self, images: np.ndarray) -> Float[np.ndarray, "object measured"]:
        """The numbers that are measured from images [object, y, x, band], in the order of the model.

        Images that are larger than those of the training are cut in the middle. In smaller ones circles would be others
        than in the training: their numbers are missing.
        """
        expected = self.about.expected
        names = [name for name, own in zip(self.record.names, self.is_measured, strict=True) if own]
        if not names or not len(images) or images.shape[1] < expected.side:
            return np.full((len(images), len(names)), np.nan)
        cut = np.stack([middle(image, expected.side) for image in images])
        ids = [str(row) for row in range(len(cut))]
        return measured(cut, ids, expected.bands, np.ones(len(cut), dtype=bool)).select(names).values

    def together(
        self, given: Float[np.ndarray, "object given"] | None, own: Float[np.ndarray, "object measured"]
    ) -> Float[np.ndarray, "object number"]:
        """All numbers in the order of the model: those of the columns, and those that were measured."""
        found = np.full((len(own), len(self.record.names)), np.nan)
        found[:, self.is_measured] = own
        if given is not None:
            found[:, ~self.is_measured] = given
        return found

    def known(self, values: Float[np.ndarray, "object number"]) -> Bool[np.ndarray, " object"]:
        """Which objects have their numbers: one of the columns, at least; or one that is measured, if no others are."""
        wanted = ~self.is_measured if self.settings.columns else self.is_measured
        return np.asarray(np.isfinite(values[:, wanted]).any(1))

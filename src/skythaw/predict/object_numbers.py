"""The numbers of all objects of a prediction: from columns of its Parquet files, or from a catalogue beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skythaw.bundle.bundle_file import BundleDescription
from skythaw.bundle.numbers_wanted import PLACE, NumbersWanted
from skythaw.bundle.table_given import listed
from skythaw.data.parquet import reading
from skythaw.errors import DataError, SpecError
from skythaw.machine.machine_fault import raise_if_memory_is_short
from skythaw.predict.find_inputs import Inputs
from skythaw.predict.image_contents import Content, ParquetRows, mark


@dataclass(frozen=True)
class ObjectNumbers:
    """The numbers of all objects of a prediction."""

    values: np.ndarray | None
    """float64 [object given]; None where no columns are wanted"""
    notes: tuple[str, ...] = ()
    """what the user should know of them"""

    def beside(self, items: Iterator[tuple[str, Content]], start: int) -> Iterator[tuple[str, Content]]:
        """The images from a row on, each with its numbers."""
        if self.values is None:
            yield from items
            return
        for row, (name, content) in enumerate(items, start):
            yield name, replace(content, numbers=self.values[row])


def object_numbers(about: BundleDescription, images: Inputs, catalogue: Path | None) -> ObjectNumbers:
    """Find the numbers that a bundle takes beside the images of a prediction.

    Parameters
    ----------
    about
        what the bundle says of itself
    images
        what is predicted
    catalogue
        a file of numbers that is joined by id or place; None: the columns are those of the Parquet files

    Raises
    ------
    SpecError
        There is a catalogue, and the bundle takes no columns.
    DataError
        Some of the columns are there, and others not; one holds text or infinite values; nothing in the catalogue
        belongs to an object.
    """
    wants = wanted_columns(about, catalogue)
    if wants is None:
        return ObjectNumbers(None)
    if catalogue is not None:
        return ObjectNumbers(*wants.given(_own(images, wants.columns), catalogue))
    parts, found, notes = [], False, list[str]()
    for source in images.sources:
        if not isinstance(source, ParquetRows) or wants.lacking(_names(source)):
            parts.append(np.full((len(source.names), int((~wants.is_measured).sum())), np.nan))
            continue
        rows = [str(row) for row in range(len(source.names))]
        values, said = wants.given(columns_of(source, wants.columns).append_column("object_id", [rows]))
        parts.append(values)
        found, notes = True, notes + [f"{source.path}: {each}" for each in said]
    known = {name for source in images.sources for name in _names(source)}
    if not found and known & set(wants.columns):
        raise DataError(no_columns(wants, known))
    if not found:
        alone = "every object is judged by its image alone; numbers may be given with --table FILE"
        notes.append(f"no input has {listed(wants.columns)}: {alone}")
    return ObjectNumbers(np.concatenate(parts), tuple(notes))


def wanted_columns(about: BundleDescription, catalogue: Path | None = None) -> NumbersWanted | None:
    """The columns that a bundle takes; None if it takes none, and then a catalogue is refused."""
    if about.numbers is None or not NumbersWanted(about).columns:
        if catalogue is not None:
            what = "images alone" if about.numbers is None else "images and what is measured from them"
            raise SpecError(f"this bundle takes {what}: leave out the table {catalogue}")
        return None
    return NumbersWanted(about)


def no_columns(wants: NumbersWanted, known: Collection[str]) -> str:
    """That no input has the columns that are wanted, of all that are known; those that are in none are named."""
    lacking = wants.lacking(known) or wants.columns
    return (
        f"this bundle takes numbers beside the images, and no input has {listed(lacking)}: give a catalogue with "
        "--table FILE, or a bundle that `skythaw export --inputs images` wrote"
    )


def columns_of(source: ParquetRows, names: tuple[str, ...]) -> pa.Table:
    """Columns of a Parquet file; where a row group is damaged, or a column is not there, they are empty."""
    parts = []
    with reading(Path(source.path)), pq.ParquetFile(source.path) as file:
        schema = pa.schema([(name, _kind(file.schema_arrow, name)) for name in names])
        there = [name for name in names if name in file.schema_arrow.names]
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            try:
                table = file.read_row_group(group, columns=there) if there else pa.table({})
            except (OSError, pa.ArrowException) as error:
                raise_if_memory_is_short(error)
                table = pa.table({})
            columns = [
                table[name] if name in table.column_names else pa.nulls(rows, schema.field(name).type) for name in names
            ]
            parts.append(pa.table(columns, schema=schema))
    return pa.concat_tables(parts) if parts else schema.empty_table()


def catalogue_mark(catalogue: Path | None) -> str | None:
    """A text that changes when the catalogue does."""
    return None if catalogue is None else mark(str(catalogue)).replace("\0", " ").strip()


def _names(source: object) -> list[str]:
    return list(pq.read_schema(source.path).names) if isinstance(source, ParquetRows) else []


def _own(images: Inputs, wanted: tuple[str, ...]) -> pa.Table:
    """Id of every object, its place and the columns that are wanted, as far as they are known."""
    names = tuple(dict.fromkeys([*PLACE, *wanted]))
    parts = [
        columns_of(source, names)
        if isinstance(source, ParquetRows)
        else pa.table({name: pa.nulls(len(source.names)) for name in names})
        for source in images.sources
    ]
    try:
        whole = pa.concat_tables(parts, promote_options="permissive").append_column("object_id", images.ids)
    except pa.ArrowException as error:
        raise DataError(f"the files to predict differ in the types of {' or '.join(names)}: {error}") from None
    return whole.drop_columns([name for name in names if whole[name].null_count == len(whole)])


def _kind(schema: pa.Schema, name: str) -> pa.DataType:
    return schema.field(name).type if name in schema.names else pa.float64()

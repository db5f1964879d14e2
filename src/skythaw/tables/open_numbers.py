"""The numbers that a study asks for: columns of the cutouts' own table or of a catalogue, and measured ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from skythaw.data.cutouts import Cutouts
from skythaw.data.pixel_store import Progress, Store
from skythaw.errors import DataError
from skythaw.spec import Numbers
from skythaw.tables.catalogue import JoinReport, join
from skythaw.tables.columns import bands_untold, column_numbers, kinds_of, plain_columns
from skythaw.tables.leaks import refuse_names
from skythaw.tables.measured import MEASURED, measured_of
from skythaw.tables.number_table import NumberTable

READING = 2
"""The way in which columns are read. In the first, all objects decided it, and units that were declared did not."""


def open_numbers(  # noqa: PLR0913 (two of them are optional)
    settings: Numbers,
    table: Path | None,
    cutouts: Cutouts,
    store: Store | Callable[[], Store] | None,
    cache: Path,
    progress: Progress | None = None,
    *,
    kinds: Mapping[str, str] | None = None,
    train: np.ndarray | None = None,
) -> tuple[NumberTable, tuple[str, ...]]:
    """The numbers of every cutout, in the order of the cutouts, and what should be said of them.

    Parameters
    ----------
    settings
        which numbers
    table
        a catalogue to join, or None
    cutouts
        the objects
    store
        their decoded images, or what gives them; called only if numbers are measured, else None serves
    cache
        the folder for caches
    progress
        called with what is gone through and its number, if images have to be measured
    kinds
        how the columns are read: `column_kinds` of the training objects, for any other objects; None is for the
        training objects, of which columns that are constant or mostly missing are refused
    train
        without `kinds`, the rows of the objects from which it is learned how the columns are read; None is all

    Returns
    -------
    numbers, sentences

    Raises
    ------
    SpecError, DataError, OutputError
        See `join`, `kinds_of`, `column_numbers` and `measured_of`.
    """
    ids, sentences = tuple(cutouts.object_ids), list[str]()
    numbers = NumberTable(ids, (), np.empty((len(ids), 0)))
    if settings.columns:
        columns, said = _columns(settings, table, cutouts, kinds, train)
        numbers, sentences = numbers.beside(columns), said
    if settings.measured:
        opened = store() if callable(store) else store
        if opened is None:
            raise DataError("numbers can't be measured without the images")
        measured = measured_of(cutouts, opened, cache, progress)
        numbers = numbers.beside(measured)
        sentences.append(f"{len(measured.names)} numbers are measured from each image.")
    return numbers, tuple(sentences)


def _columns(
    settings: Numbers,
    table: Path | None,
    cutouts: Cutouts,
    kinds: Mapping[str, str] | None,
    train: np.ndarray | None,
) -> tuple[NumberTable, list[str]]:
    if training := kinds is None:
        refuse_names((*settings.columns, *settings.extinction.values()), settings.allow_leak)
    whole, report = merged(settings, table, cutouts)
    where, sentences = _where(table, cutouts), []
    if report is not None:
        if training:
            _require_half(report, table)
        sentences.append(report.sentence())
    kinds = _kinds(whole, settings, where, train) if kinds is None else kinds
    columns = column_numbers(whole, settings, kinds, where, training=training)
    return columns, [*sentences, *_kind_sentences(kinds), *_missing_sentences(columns)]


def column_kinds(
    settings: Numbers, table: Path | None, cutouts: Cutouts, train: np.ndarray | None = None
) -> dict[str, str]:
    """What each column holds, by name: a saved model reads the columns of another catalogue in the same way.

    It is learned from the rows `train` of the cutouts, or from all.
    """
    whole, _ = merged(settings, table, cutouts)
    return _kinds(whole, settings, _where(table, cutouts), train)


def _kinds(whole: pa.Table, settings: Numbers, where: str, train: np.ndarray | None) -> dict[str, str]:
    return kinds_of(whole if train is None else whole.take(pa.array(train)), settings, where)


def extinctions(settings: Numbers, table: Path | None, cutouts: Cutouts) -> NumberTable:
    """The columns that are subtracted as extinction, as they stand."""
    if not settings.extinction:
        return NumberTable(tuple(cutouts.object_ids), (), np.empty((len(cutouts), 0)))
    whole, _ = merged(settings, table, cutouts)
    return plain_columns(whole, tuple(dict.fromkeys(settings.extinction.values())), _where(table, cutouts))


def numbers_sha256(settings: Numbers, table: Path | None, cutouts: Cutouts) -> str:
    """Checksum of all that decides the numbers: settings, the catalogue's bytes, the cutouts; no image is decoded.

    Raises
    ------
    DataError
        The catalogue can't be read.
    """
    parts = settings.model_dump(mode="json", exclude={"allow_leak"})
    parts["measured"] = MEASURED if settings.measured else 0
    parts["cutouts"] = cutouts.sha256
    if settings.columns:
        parts["reading"] = READING
    if table is not None and settings.columns:
        try:
            with Path(table).open("rb") as file:
                parts["table"] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"can't read the catalogue {table}: {error.strerror or error}") from None
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _where(table: Path | None, cutouts: Cutouts) -> str:
    return str(cutouts.paths[0]) if table is None else f"{table} with {cutouts.paths[0]}"


def merged(settings: Numbers, table: Path | None, cutouts: Cutouts) -> tuple[pa.Table, JoinReport | None]:
    """The cutouts' own table with the columns of the catalogue, which take the place of its own of that name."""
    if table is None:
        return cutouts.table, None
    joined, report = join(table, cutouts, settings)
    whole = cutouts.table
    for name in joined.column_names:
        if name != "object_id":
            whole = whole.drop_columns(name) if name in whole.column_names else whole
            whole = whole.append_column(joined.schema.field(name), joined[name])
    return whole, report


def _require_half(report: JoinReport, table: Path | None) -> None:
    total = report.matched + report.missing + report.ambiguous
    if 2 * report.matched < total:
        raise DataError(
            f"{table}: only {report.matched} of {total} cutouts have a row in it (matched by {report.how}); more than "
            "half of the numbers would be missing; give a catalogue of these objects"
        )


def _kind_sentences(kinds: Mapping[str, str]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        groups.setdefault(kind.partition("/")[0], []).append(name)
    words = {"magnitude": "magnitudes", "luptitude": "asinh magnitudes", "flux": "fluxes", "number": "other numbers"}
    said = [f"Taken as {words[kind]}: {', '.join(names)}." for kind, names in groups.items()]
    if untold := bands_untold(kinds):
        how = "by names such as flux_g, or in a file that declares their unit"
        said.append(f"If {', '.join(untold)} are fluxes, give them {how}: they have no colours as other numbers.")
    return said


def _missing_sentences(columns: NumberTable) -> list[str]:
    missing = columns.missing
    some = [f"{name} {count}" for name, count in missing.items() if count and " - " not in name]
    return [f"Missing values, of {len(columns)} objects: {', '.join(some)}."] if some else []

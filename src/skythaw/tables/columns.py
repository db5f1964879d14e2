"""Columns of a table as numbers: what is missing is missing, fluxes are compressed, colours are formed.

How a column is read (its kind) is guessed once, from the table of the study, and then goes with the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from skythaw.data.cutouts import is_number
from skythaw.errors import DataError, SpecError, nearest
from skythaw.spec import Numbers
from skythaw.tables.band_families import families_of
from skythaw.tables.column_kinds import kind_of, numbers_of, require_kind, require_one_unit, without_missing
from skythaw.tables.column_units import declared_kind
from skythaw.tables.number_table import NumberTable, first_twice

NO_NUMBER = ("", "-", "--", "nan", "na", "n/a", "null", "none")
"""texts, in lower case, that stand for a missing number"""
WHOLE = re.compile(r"[+-]?\d+")
MOST_MISSING = 0.5
"""a column of which a larger share is missing is refused"""
COLOURED = ("magnitude", "luptitude", "flux")


def numbers_of_columns(table: pa.Table, settings: Numbers, where: str) -> NumberTable:
    """The columns of a table that a study asks for, and the colours that they form.

    Parameters
    ----------
    table
        with a column `object_id`
    settings
        which columns, and where their extinction is
    where
        what the table is called in messages

    Raises
    ------
    SpecError
        The settings name a column twice, or extinction of a column that has none.
    DataError
        A column is not there, holds text or infinite values, is constant or mostly missing, or its unit is mixed up.
    """
    return column_numbers(table, settings, kinds_of(table, settings, where), where, training=True)


def kinds_of(table: pa.Table, settings: Numbers, where: str) -> dict[str, str]:
    """What each of the columns holds, by units, names and values: see `skythaw.tables.column_kinds`.

    Raises
    ------
    SpecError, DataError
        As `numbers_of_columns`.
    """
    _require_columns(table, settings, where)
    values = {name: _floats(table, name, where) for name in settings.columns}
    kinds = {name: kind_of(name, each, declared_kind(table.schema.field(name))) for name, each in values.items()}
    for family in families_of(_bands(kinds)):
        there = {name: without_missing(values[name], kinds[name]) for name in family.columns}
        if any(_coloured(kinds[name]) for name in family.columns):
            require_one_unit(family, kinds, there, where)
            kinds |= _one_softening({name: kinds[name] for name in family.columns})
    return kinds


def column_numbers(
    table: pa.Table, settings: Numbers, kinds: Mapping[str, str], where: str, *, training: bool
) -> NumberTable:
    """As `numbers_of_columns`, of columns whose kinds are known.

    Outside the `training`, a column may be constant or mostly missing: a catalogue may have one row.
    """
    _require_columns(table, settings, where)
    if lost := sorted(set(settings.columns) - set(kinds)):
        raise SpecError(f"it is not known how to read the column {lost[0]!r}; known are {', '.join(kinds)}")
    values: dict[str, np.ndarray] = {}
    for name in settings.columns:
        there = without_missing(_floats(table, name, where), kinds[name])
        require_kind(name, kinds[name], there, where, declared_kind(table.schema.field(name)))
        if training:
            _require_use(name, there, where)
        values[name] = numbers_of(there, kinds[name], _extinction(table, name, kinds[name], settings, where))
        if training and name in settings.extinction:
            _require_extinction(name, settings.extinction[name], values[name], where)
    for name, blue, red in _colours(settings, kinds):
        values[name] = values[blue] - values[red]
    ids = tuple(table["object_id"].to_pylist())
    return NumberTable(ids, tuple(values), np.stack(list(values.values()), axis=1) if values else np.empty((0, 0)))


def plain_columns(table: pa.Table, names: Sequence[str], where: str) -> NumberTable:
    """Columns as they stand: nothing is taken for missing but what is null."""
    values = [_floats(table, name, where) for name in names]
    ids = tuple(table["object_id"].to_pylist())
    return NumberTable(ids, tuple(names), np.stack(values, axis=1) if values else np.empty((len(ids), 0)))


def _colours(settings: Numbers, kinds: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Name, bluer and redder column of each colour: neighbouring bands of a family of magnitudes or fluxes."""
    return [
        (f"{blue} - {red}", blue, red)
        for family in families_of([name for name in _bands(kinds) if name in settings.columns])
        if all(_coloured(kinds[name]) for name in family.columns)
        for blue, red in pairwise(family.columns)
    ]


def _bands(kinds: Mapping[str, str]) -> list[str]:
    """The columns that may be bands of a family; a `z` that holds no magnitudes is a redshift."""
    return [name for name, kind in kinds.items() if _coloured(kind) or name.lower() != "z"]


def bands_untold(kinds: Mapping[str, str]) -> list[str]:
    """Columns that are called as bands, such as g and r, and hold other numbers: of one unit, it is not known which."""
    families = [family for family in families_of(_bands(kinds)) if family.pattern == "*"]
    return [name for family in families for name in family.columns if not _coloured(kinds[name])]


def _coloured(kind: str) -> bool:
    return kind.partition("/")[0] in COLOURED


def _one_softening(kinds: dict[str, str]) -> dict[str, str]:
    """Fluxes of one family are compressed alike, so that their differences are colours."""
    softenings = [float(kind.partition("/")[2]) for kind in kinds.values() if "/" in kind]
    return {name: f"flux/{min(softenings):g}" if "/" in kind else kind for name, kind in kinds.items()}


def _require_columns(table: pa.Table, settings: Numbers, where: str) -> None:
    there = table.column_names
    if twice := first_twice(settings.columns):
        raise SpecError(f"columns names {twice!r} twice")
    if odd := sorted(set(settings.extinction) - set(settings.columns)):
        raise SpecError(f"extinction is given for {_meant(odd[0], settings.columns)}, which is not among the columns")
    wanted = dict.fromkeys([*settings.columns, *settings.extinction.values()])
    if lost := [name for name in wanted if name not in there]:
        numbers = [name for name in there if is_number(table[name].type)] or there
        meant = ", ".join(_meant(name, numbers) for name in lost)
        shown = ", ".join(numbers[:20]) + (", ..." if len(numbers) > 20 else "")
        raise DataError(f"{where} has no column {meant}; its columns of numbers are {shown}")


def _meant(name: str, known: Sequence[str]) -> str:
    """A name, with the nearest right one if one is near."""
    hint = nearest(name, known)
    return f"{name!r} ({hint})" if hint.startswith("did you mean") else repr(name)


def _floats(table: pa.Table, name: str, where: str) -> np.ndarray:
    """A column as float64 [object], NaN where it is null; refused are text and infinite values."""
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_number(column.type):
        values = np.array(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        values = np.full(len(column), np.nan)
        for row, text in enumerate(column.to_pylist()):
            try:
                values[row] = _float(text)
            except ValueError:
                said = f"column {name!r} should hold numbers, not {text[:40]!r} (object {table['object_id'][row]})"
                raise DataError(f"{where}: {said}") from None
    elif pa.types.is_null(column.type):
        values = np.full(len(column), np.nan)
    else:
        raise DataError(f"{where}: column {name!r} holds {column.type}; it should hold numbers")
    if len(infinite := np.flatnonzero(np.isinf(values))):
        raise DataError(
            f"{where}: column {name!r} is infinite for object {table['object_id'][infinite[0]]} and for "
            f"{len(infinite)} in all; leave a value empty where it is unknown"
        )
    return values


def texts_are_numbers(column: pa.ChunkedArray) -> bool:
    """Whether a column of texts is one of numbers: some are, though others may stand for none, or be wrong.

    Whole numbers alone are not: they were made text because they are ids or codes.
    """
    texts = [text for text in column.unique().to_pylist() if text is not None]
    return any(map(_is_number, texts)) and not all(WHOLE.fullmatch(text.strip()) for text in texts)


def _is_number(text: str) -> bool:
    try:
        return not np.isnan(_float(text))
    except ValueError:
        return False


def _float(text: str | None) -> float:
    """The number that a text is, NaN where it stands for none; raises `ValueError`."""
    return np.nan if text is None or text.strip().lower() in NO_NUMBER else float(text.replace("_", "no number"))


def _require_use(name: str, values: np.ndarray, where: str) -> None:
    there = values[~np.isnan(values)]
    if len(there) < (1 - MOST_MISSING) * len(values) or not len(there):
        raise DataError(
            f"{where}: column {name!r} is missing for {len(values) - len(there)} of {len(values)} objects; at most "
            "half may be: leave this column out"
        )
    if (there == there[0]).all():
        raise DataError(f"{where}: column {name!r} is {there[0]:g} for every object, and tells nothing: leave it out")


def _require_extinction(name: str, column: str, corrected: np.ndarray, where: str) -> None:
    lost = int(np.isnan(corrected).sum())
    if lost > MOST_MISSING * len(corrected):
        raise DataError(
            f"{where}: less its extinction, column {column!r}, {name!r} is missing for {lost} of {len(corrected)} "
            "objects; at most half may be: use it without extinction, or give the extinction of these objects"
        )


def _extinction(table: pa.Table, name: str, kind: str, settings: Numbers, where: str) -> np.ndarray | None:
    if name not in settings.extinction:
        return None
    if kind == "number":
        raise SpecError(f"extinction is given for {name!r}, which holds neither magnitudes nor fluxes")
    column = settings.extinction[name]
    values = without_missing(_floats(table, column, where), "magnitude")
    if len(there := values[~np.isnan(values)]) and not (there.min() > -1 and there.max() < 50):
        raise DataError(f"{where}: column {column!r} should hold extinction in magnitudes, not {there.max():g}")
    return values

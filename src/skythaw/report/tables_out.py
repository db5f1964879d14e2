"""Rows as a table of the kind that the caller works with: pandas or astropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skythaw.errors import DataError, UnknownNameError, nearest

FORMATS = ("pandas", "astropy")


def as_table(rows: Sequence[Mapping[str, Any]], form: str, names: Sequence[str] = ()) -> Any:
    """A table with a column for each name; None among numbers becomes NaN.

    Parameters
    ----------
    rows
        all with the same names
    form
        ``pandas`` or ``astropy``
    names
        of the columns, for a table that may have no rows

    Raises
    ------
    UnknownNameError
        It is another form.
    DataError
        pandas is not installed.

    Examples
    --------
    >>> from skythaw.report.tables_out import as_table
    >>> print(as_table([{"depth": 0, "score": 0.5}, {"depth": 3, "score": None}], "astropy"))
    depth score
    ----- -----
        0   0.5
        3   nan
    """
    if form not in FORMATS:
        raise UnknownNameError(f"no such format of a table: {form!r}; {nearest(form, FORMATS)}")
    columns = {name: _filled([row[name] for row in rows]) for name in (rows[0] if rows else names)}
    if form == "astropy":
        from astropy.table import Table

        return Table(columns)
    try:
        import pandas
    except ImportError:
        raise DataError("this table needs pandas: pip install pandas; or say format='astropy'") from None
    return pandas.DataFrame(columns)


def _filled(values: Sequence[Any]) -> list[Any]:
    numbers = all(value is None or isinstance(value, int | float) for value in values)
    return [float("nan") if value is None and numbers else value for value in values]

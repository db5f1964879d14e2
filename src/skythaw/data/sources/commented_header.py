"""A header that stands behind ``#``, as `numpy.savetxt` writes it, told from a remark above a header."""

from __future__ import annotations

import csv

from skythaw.data.sources.column_names import DEC_NAMES, FILE_NAMES, ID_NAMES, LABEL_NAMES, RA_NAMES, columns_of

USUAL = (*FILE_NAMES, *ID_NAMES, *LABEL_NAMES, *RA_NAMES, *DEC_NAMES)


def commented_header(comment: str, first: str, separator: str) -> list[str] | None:
    """The names of columns in the last line with ``#`` before the first line without; None where that is the header.

    There must be as many names as cells. Beside them the first line without ``#`` must look like a row: none of its
    cells is a usual name of a column, and one is a number, or one of the names is usual.
    """
    rows = csv.reader([comment.strip().lstrip("#"), first.strip()], delimiter=separator)
    try:
        names, cells = ([cell.strip() for cell in row] for row in rows)
    except (csv.Error, ValueError):  # a cell that goes on in the next line
        return None
    if not 1 < len(names) == len(cells) == len({*names}) or "" in names or any(map(_is_number, names)):
        return None
    is_row = not columns_of(cells, USUAL) and (any(map(_is_number, cells)) or columns_of(names, USUAL))
    return names if is_row else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

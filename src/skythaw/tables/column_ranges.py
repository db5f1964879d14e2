"""Whether columns hold what they held in the training: its ranges are kept, and what lies outside is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from skythaw.tables.column_kinds import like_magnitudes, plain_values
from skythaw.tables.number_table import NumberTable

FEWEST = 10
"""objects that are needed to tell anything of a column"""
TAILS = (0.01, 0.99)

Range = tuple[float, float]


def ranges_of(
    names: Sequence[str], values: Float[np.ndarray, "object number"], kinds: Mapping[str, str]
) -> dict[str, Range]:
    """Between which values 98 % of the training objects lie, by column, in the unit of the column.

    Parameters
    ----------
    names
        of the numbers
    values
        of the training objects, as a model gets them
    kinds
        how each column is read; of other numbers nothing is kept
    """
    found = {}
    for name, kind in kinds.items():
        there = _known(values[:, list(names).index(name)], kind)
        if len(there) >= FEWEST:
            low, high = np.quantile(there, TAILS).tolist()
            found[name] = (low, high)
    return found


def compare_ranges(
    columns: NumberTable, kinds: Mapping[str, str], ranges: Mapping[str, Range], sure: Collection[str] = ()
) -> list[str]:
    """Sentences on magnitudes and fluxes whose median lies outside the range of the training.

    Parameters
    ----------
    columns
        the numbers of some objects, as a model gets them
    kinds
        how each column is read
    ranges
        as `ranges_of` gives them; columns that are not in it are not compared
    sure
        columns whose unit is declared
    """
    said = []
    for name, kind in kinds.items():
        there = _known(columns.select([name]).values[:, 0], kind)
        low, high = ranges.get(name, (-np.inf, np.inf))
        if kind == "number" or len(there) < FEWEST or low <= np.median(there) <= high:
            continue
        training, median = f"in the training 98 % lay from {low:.4g} to {high:.4g}", f"{np.median(there):.4g}"
        doubt = "is it in that unit?"
        if kind.startswith("flux") and name not in sure and like_magnitudes(there):
            doubt = "it should hold fluxes; are these magnitudes?"
        said.append(f"The median of {name!r} is {median}, and {training}: {doubt}")
    return said


def _known(values: Float[np.ndarray, " object"], kind: str) -> Float[np.ndarray, " object"]:
    plain = plain_values(values, kind)
    return plain[~np.isnan(plain)]

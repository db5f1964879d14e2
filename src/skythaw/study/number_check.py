"""Whether the numbers beside the images can be used: asked before anything runs, without decoding an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skythaw.data.cutouts import Cutouts
from skythaw.data.image_form import RGB
from skythaw.data.split_groups import kept_together
from skythaw.errors import DataError, SpecError, nearest
from skythaw.spec import IMAGES, Study
from skythaw.study.study_data import StudyData
from skythaw.tables.column_ranges import compare_ranges, ranges_of
from skythaw.tables.column_units import declared_kind
from skythaw.tables.leaks import refuse_leaks
from skythaw.tables.measured import measured_names
from skythaw.tables.number_table import NumberTable
from skythaw.tables.open_numbers import column_kinds, extinctions, open_numbers


def check_numbers(study_data: StudyData, cache: Path) -> list[str]:
    """Read the columns that a study asks for, and refuse those that give the class away.

    Returns
    -------
    list of str
        what the user should know: how a catalogue was joined, what kinds of columns were found, what is missing

    Raises
    ------
    DataError, SpecError
        A column is not there or can't be used, nothing matches, or a column gives the class away; or numbers are wanted
        and none are named.
    """
    study = study_data.study
    settings = study.data.numbers
    if study.uses_numbers and not (settings.columns or settings.measured):
        named = [f'"{each}"' for each in study.grid.inputs if each != IMAGES]
        raise SpecError(
            f"inputs has {' and '.join(named)}, and [data] names no numbers: write columns = [...] or measured = true"
        )
    if not (study.uses_numbers and settings.columns):
        return []
    if settings.measured and (twice := [name for name in settings.columns if name in measured_names(RGB)]):
        raise SpecError(
            f"column {twice[0]!r} has the name of a number that is measured from the images: rename it, leave it out, "
            "or write measured = false"
        )
    given = settings.model_copy(update={"measured": False})
    said: list[str] = []
    for cutouts in (study_data.cutouts, study_data.test):
        if cutouts is None:
            continue
        first, train = study_data.cutouts, study_data.parts.train
        kinds = None if cutouts is first else column_kinds(given, study.data.table, first, train)
        table, sentences = open_numbers(given, study.data.table, cutouts, None, cache, kinds=kinds, train=train)
        said += sentences
        if cutouts is study_data.test:
            _require_numbers(table, cutouts)
        if cutouts is study_data.cutouts:
            rows = study_data.parts.train
            labels = cutouts.labels[rows]
            together = kept_together(cutouts, study.data.split, None)[rows]
            values, allowed = table.values[rows], settings.allow_leak
            subtracted = extinctions(given, study.data.table, cutouts)
            _require_known(allowed, (*table.names, *subtracted.names))
            for names, numbers in ((subtracted.names, subtracted.values[rows]), (table.names, values)):
                refuse_leaks(names, numbers, np.asarray(labels, dtype=str), allowed, together)
        elif kinds is not None:
            schema = cutouts.table.schema
            declared = [name for name in settings.columns if name in schema.names and declared_kind(schema.field(name))]
            one_file = declared if study.data.table is None else settings.columns  # one catalogue for both
            ranges = ranges_of(table.names, values, kinds)
            said += compare_ranges(table, kinds, ranges, one_file)
    return list(dict.fromkeys(said))


def _require_known(allowed: Sequence[str], names: Sequence[str]) -> None:
    if odd := [name for name in allowed if name not in names]:
        raise SpecError(f"allow_leak names {odd[0]!r}, which is none of the numbers: {nearest(odd[0], names)}")


def _require_numbers(table: NumberTable, cutouts: Cutouts) -> None:
    """Raise where a test set has too few numbers to be scored with them; that of the training is asked elsewhere."""
    for name, missing in table.missing.items():
        if 2 * missing > len(table) and " - " not in name:
            raise DataError(
                f"{cutouts.paths[0]}, the test set: column {name!r} is missing for {missing} of {len(table)} objects; "
                "at most half may be: leave this column out, or give a test set with its numbers"
            )


def unused_numbers(study: Study) -> list[str]:
    """Warnings where a study names numbers that none of its cells is given."""
    data = study.data
    of_columns = {"extinction": data.extinction, "allow_leak": data.allow_leak}
    given = {"columns": data.columns, "measured": data.measured, "table": data.table, **of_columns}
    named = [key for key, each in given.items() if each]
    if named and not study.uses_numbers:
        every = 'inputs = ["images", "table", "both"]'
        return [f"the images alone are used, not {' and '.join(named)} of [data]: write {every} under [grid]"]
    if not data.columns and (idle := [key for key, each in of_columns.items() if each]):
        return [f"{' and '.join(idle)} of [data] are of columns, and none is used: write columns = [...] under [data]"]
    if data.table and not data.columns:
        return [f"nothing of the catalogue {data.table.name} is used: name columns of it, columns = [...] under [data]"]
    return []

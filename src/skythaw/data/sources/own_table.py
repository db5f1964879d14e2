"""The table of labels that lies among the images, in a folder or an archive whose folders name no classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from skythaw.data.sources.column_names import some_names
from skythaw.data.sources.image_files import NO_UTF8
from skythaw.data.sources.label_table import LabelSettings, read_labels
from skythaw.errors import DataError

ENDINGS = (".csv", ".tsv", ".txt", ".dat", ".xlsx", ".ecsv", ".vot", ".xml", ".parquet", ".jsonl", ".json")


def own_table(folder: Path, others: Mapping[str, str], no_classes: DataError) -> LabelSettings:
    """The one table of labels among the files that are no images.

    Parameters
    ----------
    folder
        where the images are
    others
        the files that are not read as images, as paths inside it -> why
    no_classes
        why its folders name no classes

    Raises
    ------
    DataError
        There is no such table, or more than one; the message says that of the folders as well.
    """
    if unnamed := [name for name, why in others.items() if why == NO_UTF8]:
        names = f"{len(unnamed)} files whose names are not in UTF-8 do not count: rename them ({some_names(unnamed)})"
        no_classes = DataError(f"{no_classes}; {names}")
    found: list[str] = []
    useless: dict[str, str] = {}
    for name in others:
        if name.lower().removesuffix(".gz").endswith(ENDINGS):
            try:
                read_labels(folder / name)
                found.append(name)
            except DataError as error:
                useless[name] = str(error)
    if len(found) == 1:
        return LabelSettings(folder / found[0])
    if found:
        raise DataError(f"{no_classes}; {len(found)} tables of labels lie there: {some_names(found)}")
    name, why = next(iter(useless.items()), ("", ""))
    raise DataError(f"{no_classes}; the table {name} that lies there is of no help: {why}") if name else no_classes

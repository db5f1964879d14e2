"""What a user should know of classes, copies of images and parts, before a study starts."""

from __future__ import annotations

import numpy as np

from skythaw.data.auto_split import SettledSplit
from skythaw.data.class_names import look_alikes, say_alike
from skythaw.data.cutouts import Cutouts
from skythaw.data.split import Parts
from skythaw.data.split_groups import given_parts
from skythaw.data.twins import conflicting

MERGE = "skythaw data import FOLDER OUT.parquet --merge"


def split_remarks(cutouts: Cutouts, division: SettledSplit, parts: Parts, *, external_test: bool) -> list[str]:
    """Sentences on classes that may be one, on copies, and on objects that are in no part.

    Parameters
    ----------
    cutouts
        the objects
    division
        how they were divided
    parts
        into what
    external_test
        whether the test set is another file
    """
    alike = look_alikes(cutouts.labels)
    found = [f"the classes {say_alike(names)} may be one; to merge them: {MERGE}" for names in alike]
    inside = np.zeros(len(cutouts), dtype=bool)
    inside[np.concatenate([parts.train, parts.validation, parts.test])] = True
    odd = np.zeros(len(cutouts), dtype=bool)
    if division.twins is not None:
        if division.spec.drop_conflicts:
            odd = conflicting(cutouts.labels, division.twins, division.chosen)
        copies = int(inside.sum()) - len(np.unique(division.twins[inside]))
        if copies:
            found.append(f"{copies} images are copies of others in the data; copies of one image stay in one part")
    if odd.any():
        found.append(f"left out {odd.sum()} images that are there with different labels (split.drop_conflicts)")
    given = given_parts(cutouts, division.spec.by)
    if given is None:
        return found
    by, named = division.spec.by, set(given[division.chosen])
    for part in ("validation",) if external_test else ("validation", "test"):
        if part not in named:
            found.append(f"the column {by!r} names no {part} part: it was drawn from the training part")
    unused = division.chosen & ~inside & ~odd
    if external_test and (second := int((unused & (given == "test")).sum())):
        found.append(f"left out {second} objects of the test part, because test_path is the test set")
        unused &= given != "test"
    if unused.any():
        found.append(f"left out {unused.sum()} objects that are copies of objects in the validation or test part")
    return found

"""Every combination of the further axes of a study: pixels and recipe, with all defaults settled. No torch."""

from __future__ import annotations

import itertools
from typing import Any

from skythaw.spec import Pixels, Recipe, Study
from skythaw.study.study_data import StudyData


def axis_settings(study: Study, study_data: StudyData) -> list[tuple[Pixels, Recipe]]:
    """Every combination of the further axes, in the order of the grid."""
    found = []
    for values in itertools.product(*study.grid.axes.values()):
        settings = dict(zip(study.grid.axes, values, strict=True))
        pixels = settled_pixels(study, settings, study_data)
        recipe = Recipe.model_validate(
            {**study.recipe.model_dump(), **{n: v for n, v in settings.items() if n in Recipe.model_fields}}
        )
        pixels.require_room(study_data.side, recipe.shift)
        found.append((pixels, recipe))
    return found


def settled_pixels(study: Study, settings: dict[str, Any], study_data: StudyData) -> Pixels:
    """How cutouts become a network's input, with the settings of some axes."""
    data = study.data
    crop = settings.get("crop", data.crop or study_data.side)
    pixels = Pixels(
        crop=crop,
        size=settings.get("size", data.size or crop),
        bands=settings.get("bands", data.bands),
        stretch=settings.get("stretch", data.stretch),
    )
    return pixels.settled(study_data.form.bands, study_data.form.floats)

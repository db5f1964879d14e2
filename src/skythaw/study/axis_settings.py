"""Every combination of the further axes of a study: pixels and recipe, with all defaults settled. No torch."""

from __future__ import annotations

import itertools
from typing import Any

from skythaw.spec import Pixels, Recipe, Stretch, Study
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


def overruled(study: Study) -> list[str]:
    """Warnings where a key of [data] or [recipe] was written although the grid has it too."""
    found = []
    for section, model in (("data", study.data), ("recipe", study.recipe)):
        for key in study.grid.axes:
            value = getattr(model, key, None)
            if key in model.model_fields_set and (section == "recipe" or value is not None):
                written, listed = _written(value), _written(study.grid.axes[key])
                found.append(
                    f"{key} stands twice: {key} = {listed} in [grid] holds, and {key} = {written} in [{section}] is "
                    "not used: leave one of them out"
                )
    return found


def _written(value: Any) -> str:
    """A value as a study file has it, or nearly."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    return "false" if value is None else f"'{value}'" if isinstance(value, str | Stretch) else str(value)


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

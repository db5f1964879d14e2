"""A folder of `tune` whose study is chosen already, so that what follows takes seconds."""

from __future__ import annotations

from pathlib import Path

from skythaw.api.study_text import study_text
from skythaw.api.tune import tune_request
from skythaw.api.tune_folder import TuneFolder
from skythaw.spec import Study

NETWORK = {"backbone": ["timm:test_efficientnet"], "weights": {"timm:test_efficientnet": "random"}}


def prepared(out: Path, survey: Path, cache: Path, *, asked: dict | None = None, **grid) -> Path:
    """Make the folder: a head alone, three seeds; trained briefly, where the page begins it.

    Parameters
    ----------
    out, survey, cache
        of `tune`
    asked
        its arguments `backbone` and `weights`: none, where the page begins it
    **grid
        other axes of the study
    """
    recipe = {"epochs": 3, "lr": 5e-3} if asked is None else {}
    asked = {"backbone": None, "weights": None} if asked is None else asked
    study = Study.parse(
        {
            "data": {"path": str(survey), "crop": 32, "size": 64},
            "grid": {"backbone": NETWORK["backbone"], "depth": ["0%"], **grid},
            "recipe": recipe,
            "weights": NETWORK["weights"],
        }
    )
    request = tune_request(survey, None, None, out, asked["backbone"], asked["weights"], False, cache)
    TuneFolder(out).keep(request.told, 1.0)
    (out / "study.toml").write_text(study_text(study, head="for a test", folder=out))
    return out

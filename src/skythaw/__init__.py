"""skythaw: which layers to fine-tune, and with how many images.

Everything that is meant for scripts and notebooks is here; docs/python.md shows it. A name is imported when it is first
used, so that ``import skythaw`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skythaw.api.bundle_functions import explain, export, predict
    from skythaw.api.callbacks import CellEvent, EpochEvent
    from skythaw.api.cutouts_function import fetch_cutouts
    from skythaw.api.data_functions import import_images, inspect, make_mock, verify
    from skythaw.api.estimator import SkythawClassifier
    from skythaw.api.evaluate import evaluate
    from skythaw.api.features_function import features
    from skythaw.api.finished_run import Run
    from skythaw.api.init_study import init_study
    from skythaw.api.network_functions import backbones, blocks
    from skythaw.api.push_function import push
    from skythaw.api.python_study import RunnableStudy as Study
    from skythaw.api.sdss_function import fetch_sdss
    from skythaw.api.study_functions import plan_study, report, run_study, search, study_status
    from skythaw.api.trackers import MLflowTracker, TensorBoardTracker, TrackioTracker
    from skythaw.api.tune import tune
    from skythaw.bundle.classifier import Classifier, load
    from skythaw.errors import SkythawError

__all__ = [
    "CellEvent",
    "Classifier",
    "EpochEvent",
    "MLflowTracker",
    "Run",
    "SkythawClassifier",
    "SkythawError",
    "Study",
    "TensorBoardTracker",
    "TrackioTracker",
    "backbones",
    "blocks",
    "evaluate",
    "explain",
    "export",
    "features",
    "fetch_cutouts",
    "fetch_sdss",
    "import_images",
    "init_study",
    "inspect",
    "load",
    "make_mock",
    "plan_study",
    "predict",
    "push",
    "report",
    "run_study",
    "search",
    "study_status",
    "tune",
    "verify",
]
_PLACES = {
    "skythaw.api.bundle_functions": ("export",),
    "skythaw.api.callbacks": ("CellEvent", "EpochEvent"),
    "skythaw.api.cutouts_function": ("fetch_cutouts",),
    "skythaw.api.data_functions": ("import_images", "inspect", "make_mock", "verify"),
    "skythaw.api.estimator": ("SkythawClassifier",),
    "skythaw.api.evaluate": ("evaluate",),
    "skythaw.api.features_function": ("features",),
    "skythaw.api.finished_run": ("Run",),
    "skythaw.api.init_study": ("init_study",),
    "skythaw.api.tune": ("tune",),
    "skythaw.api.network_functions": ("blocks",),
    "skythaw.api.push_function": ("push",),
    "skythaw.api.python_study": ("Study",),
    "skythaw.api.sdss_function": ("fetch_sdss",),
    "skythaw.api.study_functions": ("plan_study", "run_study", "search", "study_status"),
    "skythaw.api.trackers": ("MLflowTracker", "TensorBoardTracker", "TrackioTracker"),
    "skythaw.bundle.classifier": ("Classifier", "load"),
    "skythaw.errors": ("SkythawError",),
}
_ROOMS = ("backbones", "explain", "predict", "report")
"""folders of the source that are functions, too: see `skythaw.callable_room`"""
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"skythaw.{name}")
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'skythaw' has no attribute {name!r}; it has {', '.join(__all__)}")
    found = getattr(import_module(_PLACE_OF[name]), "RunnableStudy" if name == "Study" else name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

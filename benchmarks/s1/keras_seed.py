"""Standard work S1 in Keras, as the seed study's authors fine-tuned (arXiv 2205.07124), in an environment of its own.

    python benchmarks/s1/keras_seed.py FOLDER WEIGHTS [--size 64] [--json FILE]

FOLDER is what prepare.py made, WEIGHTS MobileNetV2 as a safetensors file in timm's order. Layers below the depth are
frozen by ``trainable = False``; batch norm above it learns and uses the statistics of each batch, as Keras does when
nobody says otherwise. The best epoch on validation is kept. Needs tensorflow, pillow, safetensors and scikit-learn.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file
from sklearn.metrics import f1_score
from sweep import parser, sweep

BATCH, EPOCHS, RATE = 64, 10, 1e-3


def main() -> None:
    options = parser(__doc__)
    sweep(options.parse_args(), run)


def run(args: argparse.Namespace, depth: float) -> float:
    """Train at one depth; macro-F1 of the best epoch's weights on the test images."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(0)
    training, validation, test = (
        dataset(args.folder / part, args.size, training="train" in part)
        for part in ("pool/train", "pool/validation", "test")
    )
    base = network(args)
    freeze(base, depth)
    model = tf.keras.Sequential(
        [base, tf.keras.layers.GlobalAveragePooling2D(), tf.keras.layers.Dense(3, activation="softmax")]
    )
    model.compile(tf.keras.optimizers.Adam(RATE), "sparse_categorical_crossentropy", metrics=["accuracy"])
    best = tf.keras.callbacks.EarlyStopping("val_accuracy", patience=EPOCHS, restore_best_weights=True)
    model.fit(training, validation_data=validation, epochs=EPOCHS, callbacks=[best], verbose=0)
    true = np.concatenate([y.numpy() for _, y in test])
    return float(f1_score(true, model.predict(test, verbose=0).argmax(1), average="macro"))


def dataset(folder: Path, size: int, *, training: bool) -> tf.data.Dataset:
    """Batches of a part, cropped to the centre; in training each image in a random view, in random order."""
    classes = sorted(path.name for path in folder.iterdir())
    files = [(str(file), n) for n, name in enumerate(classes) for file in sorted((folder / name).iterdir())]
    paths, labels = zip(*files, strict=True)
    found = tf.data.Dataset.from_tensor_slices((list(paths), list(labels)))
    if training:
        found = found.shuffle(len(files))

    def load(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
        image = tf.image.resize_with_crop_or_pad(image, size, size)
        if training:
            image = tf.image.random_flip_left_right(image)
            image = tf.image.rot90(image, tf.random.uniform((), 0, 4, tf.int32))
        return tf.cast(image, tf.float32) / 127.5 - 1, label

    return found.map(load, tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)


def network(args: argparse.Namespace) -> tf.keras.Model:
    """MobileNetV2 without its head. timm keeps the tensors in the same order as Keras its layers."""
    base = tf.keras.applications.MobileNetV2((args.size, args.size, 3), include_top=False, weights=None)
    state = {name: value for name, value in load_file(args.weights).items() if "num_batches" not in name}
    names = ordered(state)
    for layer in base.layers:
        if isinstance(layer, tf.keras.layers.DepthwiseConv2D):
            layer.set_weights([state[names.pop(0)].transpose(2, 3, 0, 1)])
        elif isinstance(layer, tf.keras.layers.Conv2D):
            layer.set_weights([state[names.pop(0)].transpose(2, 3, 1, 0)])
        elif isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.set_weights([state[names.pop(0)] for _ in range(4)])
    assert not names, names
    return base


def ordered(state: dict[str, np.ndarray]) -> list[str]:
    """Names of the tensors in the order of the forward pass: stem, blocks, last convolution."""
    steps = ("conv_stem", "bn1", "blocks", "conv_head", "bn2")
    inner = ("conv_pw", "conv_dw", "conv_pwl")
    parts = ("weight", "bias", "running_mean", "running_var")

    def place(name: str) -> tuple[object, ...]:
        words = name.split(".")
        if words[0] != "blocks":
            return (steps.index(words[0]), 0, 0, 0, parts.index(words[-1]))
        # the first block has no expansion: conv_dw, bn1, conv_pw, bn2
        # all others: conv_pw, bn1, conv_dw, bn2, conv_pwl, bn3
        first = words[1] == "0"
        convolutions = ("conv_dw", "conv_pw") if first else inner
        layer = words[3]
        at = 2 * convolutions.index(layer) if layer in convolutions else 2 * int(layer[2:]) - 1
        return (steps.index("blocks"), int(words[1]), int(words[2]), at, parts.index(words[-1]))

    return sorted((name for name in state if not name.startswith("classifier")), key=place)


def freeze(base: tf.keras.Model, depth: float) -> None:
    """Freeze what lies below the upper share of the blocks: stem, bottlenecks, last convolution are one block each."""
    starts = [n for n, layer in enumerate(base.layers) if is_start(layer.name)]
    lowest = len(starts) - int(depth * len(starts) + 0.5)
    first = starts[lowest] if lowest < len(starts) else len(base.layers)
    for n, layer in enumerate(base.layers):
        layer.trainable = n >= first


def is_start(name: str) -> bool:
    """Whether a layer is the first of a block."""
    return name in ("Conv1", "Conv_1", "expanded_conv_depthwise") or (
        name.startswith("block_") and name.endswith("_expand")
    )


if __name__ == "__main__":
    main()

"""The weights in a file of Keras (.h5, .keras), as tensors of PyTorch in the order of the layers; needs no Keras."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skythaw.backbones.keras_names import in_our_names
from skythaw.backbones.keras_networks import keras_network
from skythaw.backbones.known_backbones import Backbone
from skythaw.errors import WeightsError

Layer = tuple[str, dict[str, np.ndarray]]
"""its name, and its arrays by Keras's names for them"""
NAMES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
KERAS_1 = {"W": "kernel", "W_1": "kernel", "b": "bias", "b_1": "bias"}
KERAS_1 |= {"running_mean": "moving_mean", "running_std": "moving_variance"}  # it kept the variance under that name
IN_ORDER = {
    "Conv2D": ("kernel", "bias"),
    "DepthwiseConv2D": ("depthwise_kernel", "bias"),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
"""the arrays of a layer in a ``.keras`` file, which numbers them"""
SEPARABLE = ("depthwise_kernel", "pointwise_kernel")
LARGEST = 2**31
"""bytes of weights, at most: a small file can stand for any number of them"""
LONGEST = 2**24
"""bytes of the config in a ``.keras`` file, at most"""


def read_keras(path: Path) -> dict[str, Tensor]:
    """The tensors of convolutions and batch norms, in the order of the model.

    Raises
    ------
    WeightsError
        h5py is missing, or the file does not say in which order its layers are.
    """
    try:
        import h5py
    except ImportError:
        raise WeightsError(f"reading {path.name}, a file of Keras, needs h5py: pip install 'skythaw[arrays]'") from None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            layers = _layers(json.loads(_member(archive, "config.json", LONGEST)), path)
            with h5py.File(io.BytesIO(_member(archive, "model.weights.h5", LARGEST))) as file:
                return _tensors(_read(file, _of_config(file, layers)))
    with h5py.File(path) as file:
        root = file.get("model_weights", file)
        if "layer_names" not in root.attrs:
            raise _without_order(path)
        return _tensors(_read(file, _of_h5(file, root, path)))


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    if archive.getinfo(name).file_size > most:
        raise ValueError(f"its {name} is larger than {most // 2**20} MiB")
    return archive.read(name)


def _layers(config: Any, path: Path) -> list[tuple[str, str]]:
    """Class and name of each layer in the order of the model, those of a model within it in its place."""
    try:
        found: list[tuple[str, str]] = []
        for layer in config["config"]["layers"]:
            inner = "layers" in layer["config"]
            found += _layers(layer, path) if inner else [(layer["class_name"], layer["config"]["name"])]
    except (KeyError, TypeError):
        raise _without_order(path) from None
    return found


def _without_order(path: Path) -> WeightsError:
    return WeightsError(
        f"{path} does not say in which order its layers are: save the whole model with model.save('FILE.keras')"
    )


def _read(file: Any, layers: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[Layer]:
    """The numbers of each layer, which must be in the file itself: HDF5 can point to any other file."""
    left = LARGEST
    for name, kept in layers:
        for each in kept.values():
            if each.file != file or each.external or each.is_virtual:
                raise ValueError(f"the numbers of its layer {name!r} are not in it, but in another file")
            left -= each.nbytes
        if left < 0:
            raise ValueError(f"its weights are larger than {LARGEST // 2**20} MiB")
        yield name, {kind: np.asarray(each) for kind, each in kept.items()}


def _of_h5(file: Any, root: Any, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The layers of a file of Keras 1 to 3 in HDF5; of a model within the model, the config alone has their order."""
    found: dict[str, dict[str, Any]] = {}
    within = False
    for top in map(_text, root.attrs["layer_names"]):
        weights = [_text(each) for each in root[top].attrs["weight_names"]]
        owners = [each.rpartition("/")[0].rpartition("/")[2] for each in weights]
        several = len(set(owners)) > 1
        within |= several
        for weight, owner in zip(weights, owners, strict=True):
            layer = owner if several else top
            kind = weight.rpartition("/")[2].partition(":")[0].removeprefix(f"{layer}_")
            found.setdefault(layer, {})[KERAS_1.get(kind, kind)] = root[top][weight]
    names = list(found)
    if within:
        config = json.loads(_text(file.attrs.get("model_config", "null")))
        names = [name for _, name in _layers(config, path) if name in found]
    yield from ((name, found[name]) for name in names)


def _of_config(file: Any, layers: list[tuple[str, str]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The layers of a ``.keras`` file: the config has their order, each group of arrays its layer's name."""
    groups: dict[str, Any] = {}

    def note(path: str, group: Any) -> None:
        if path.rpartition("/")[2] == "vars":
            groups[_text(group.attrs.get("name", ""))] = group

    file["layers"].visititems(note)
    for kind, name in layers:
        names = IN_ORDER.get(kind)
        if names and name in groups:
            arrays = groups[name]
            yield name, {names[int(i)]: arrays[i] for i in sorted(arrays, key=int)}


def _tensors(layers: Iterator[Layer]) -> dict[str, Tensor]:
    found = {}
    for name, arrays in layers:
        kernels = {kind: each for kind, each in arrays.items() if each.ndim == 4}
        if len(kernels) == 1:
            ((kind, kernel),) = kernels.items()
            found[f"{name}.weight"] = _turned(kind, kernel)
        for kind in SEPARABLE if len(kernels) == 2 else ():
            found[f"{name}.{kind}.weight"] = _turned(kind, kernels[kind])
        if kernels and "bias" in arrays:
            found[f"{name}.bias"] = torch.from_numpy(arrays["bias"])
        elif "moving_mean" in arrays:
            found |= {f"{name}.{ours}": torch.from_numpy(arrays[theirs]) for theirs, ours in NAMES.items()}
    return found


def _turned(kind: str, kernel: np.ndarray) -> Tensor:
    """A kernel [y, x, input, output] as [output, input, y, x]; that of a depthwise convolution is [y, x, output, 1]."""
    depthwise = kind == SEPARABLE[0] or kernel.shape[-1] == 1
    return torch.from_numpy(np.ascontiguousarray(kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))))


def converted(features: nn.Module, network: Backbone, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file of Keras under the names of timm's network; empty where they are of another one.

    Keras adds another epsilon to the variance in batch norm: the difference goes into the variance.

    Raises
    ------
    WeightsError
        timm's network of this name is another one, or is built otherwise.
    """
    theirs = keras_network(network)
    lacking = {n: v for n, v in theirs.options if n in ("pad_type", "built_as") and dict(network.options).get(n) != v}
    if lacking:
        options = ", ".join(f'{name} = "{value}"' for name, value in lacking.items())
        raise WeightsError(f"weights of Keras's {theirs.name} need options = {{ {options} }}")
    own = [name for name in features.state_dict() if not name.endswith("num_batches_tracked")]
    if theirs.named:
        state = in_our_names(theirs.name, tensors)
        if set(state) != set(own):
            return {}
    elif len(own) != len(tensors):
        return {}
    else:
        state = dict(zip(own, tensors.values(), strict=True))
    for name, module in features.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            state[f"{name}.running_var"] = state[f"{name}.running_var"] + (theirs.epsilon - module.eps)
    if theirs.blue_first:
        state[own[0]] = state[own[0]].flip(1)
    return state


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

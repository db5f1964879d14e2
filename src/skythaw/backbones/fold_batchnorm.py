"""Batch norm on running statistics is a scale and a shift for each band: fold it into the convolution before it.

``norm(conv(x, w)) = conv(x, w * s) + t`` with ``s = gamma / sqrt(var + eps)`` and ``t = beta - mean * s``. The weights
are small and the maps are large, so a pass over the maps is saved, forward and backward. Gradients flow through the
product to ``w``, ``gamma`` and ``beta`` as before: the same training, up to rounding. Modules and the names of their
tensors stay as they are; a batch norm in training mode (`batchnorm = "train"`) is not folded.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import torch
from torch import Tensor, fx, nn

from skythaw.backbones.tracing import trace

BatchNorm = nn.modules.batchnorm._BatchNorm


def fold(features: nn.Module) -> int:
    """Let every pair of a convolution and the batch norm that alone follows it be computed as one convolution.

    Parameters
    ----------
    features
        changed in place; a network that can't be traced stays as it is

    Returns
    -------
    int
        how many pairs there are
    """
    found = _pairs(features)
    for conv, norm in found:
        pair = _Pair(conv, norm)
        conv.forward = partial(_convolve, pair)  # type: ignore[method-assign]
        norm.forward = partial(_pass, pair)  # type: ignore[method-assign]
    return len(found)


class _Pair:
    """A convolution and its batch norm. What they amount to is kept as long as no tensor of theirs changes."""

    def __init__(self, conv: nn.Conv2d, norm: BatchNorm) -> None:
        self.conv, self.norm = conv, norm
        self._kept: tuple[Tensor, Tensor] | None = None
        self._kept_of: list[tuple[int, int]] = []

    @property
    def separate(self) -> bool:
        """Batch statistics are wanted: there is nothing to fold."""
        return self.norm.training

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias."""
        tensors = [self.conv.weight, self.conv.bias, self.norm.weight, self.norm.bias, self.norm.running_mean]
        there = [t for t in (*tensors, self.norm.running_var) if t is not None]
        if torch.is_grad_enabled() and any(t.requires_grad for t in there):
            return self._fold()
        now = [(id(t), t._version) for t in there]
        if self._kept is None or now != self._kept_of:
            with torch.inference_mode(False), torch.no_grad():
                self._kept, self._kept_of = self._fold(), now
        return self._kept

    def forget(self) -> None:
        self._kept = None

    def _fold(self) -> tuple[Tensor, Tensor]:
        norm, conv = self.norm, self.conv
        assert norm.running_mean is not None  # `_pairs` takes no other
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.weight is not None:
            scale = norm.weight * scale
        shift = -norm.running_mean * scale if conv.bias is None else (conv.bias - norm.running_mean) * scale
        if norm.bias is not None:
            shift = norm.bias + shift
        return conv.weight * scale.view(-1, 1, 1, 1), shift


def _convolve(pair: _Pair, x: Tensor) -> Tensor:
    conv = pair.conv
    if pair.separate:
        return type(conv).forward(conv, x)
    weight, bias = pair.folded()
    if type(conv) is nn.Conv2d:
        return conv._conv_forward(x, weight, bias)
    from timm.layers.conv2d_same import conv2d_same

    return conv2d_same(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)  # type: ignore[arg-type]


def _pass(pair: _Pair, x: Tensor) -> Tensor:
    """What is left of a folded batch norm: nothing, or the activation that timm's kind has in it."""
    norm = pair.norm
    if pair.separate:
        pair.forget()  # training changes the statistics, and not the version of their tensors
        return type(norm).forward(norm, x)
    if type(norm) is nn.BatchNorm2d:
        return x
    return norm.act(norm.drop(x))  # type: ignore[operator]


def _pairs(features: nn.Module) -> list[tuple[nn.Conv2d, BatchNorm]]:
    """Each batch norm whose input is a convolution's output that nothing else uses, with that convolution."""
    from timm.layers.conv2d_same import Conv2dSame
    from timm.layers.norm_act import BatchNormAct2d

    def leaf(module: nn.Module, _: str) -> bool:
        return isinstance(module, (nn.Conv2d, BatchNorm)) or not any(True for _ in module.children())

    try:
        graph = trace(features, leaf)
    except Exception:  # whatever a foreign forward does: it is only slower then
        return []
    modules = {node: features.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"}
    calls = Counter(map(id, modules.values()))
    found = []
    for node, norm in modules.items():
        before = node.args[0]
        conv = modules.get(before) if isinstance(before, fx.Node) else None
        if not isinstance(conv, nn.Conv2d) or not isinstance(norm, BatchNorm):
            continue
        known = type(norm) in (nn.BatchNorm2d, BatchNormAct2d) and type(conv) in (nn.Conv2d, Conv2dSame)
        alone = len(before.users) == calls[id(norm)] == calls[id(conv)] == 1
        if known and alone and norm.track_running_stats and conv.padding_mode == "zeros":
            found.append((conv, norm))
    return found

"""Keras's names of layers in ours, for networks that branch: there the order of Keras's layers is not ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

Pairs = Iterator[tuple[str, str]]
"""our name of a layer, and Keras's"""
WITHOUT_NAMES = {"conv": r"(conv2d|convolution2d)(_\d+)?", "bn": r"(batch_?normalization)(_\d+)?"}
"""layers of Xception that Keras numbers as it goes: those beside its blocks"""
DEPTHS = (3, 4, 6, 3)
"""blocks in each stage of ResNet50"""
NORMAL = {"comb0_left": "left1", "comb0_right": "right1", "comb1_left": "left2", "comb1_right": "right2"}
NORMAL |= {"comb4_left": "left5"}
REDUCTION = {"comb0_left": "left1", "comb0_right": "right1", "comb1_right": "right2", "comb2_right": "right3"}
REDUCTION |= {"comb4_left": "left4"}
"""branches of NASNet's two kinds of cells"""


def in_our_names(network: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a network of Keras under our names; those of layers that ours lacks are left out.

    The bias of a convolution before a batch norm goes into the mean of that, for ours have none.
    """
    layers = dict.fromkeys(name.partition(".")[0] for name in tensors)
    ours = {theirs: our for table in TABLES[network] for our, theirs in table()}
    for kind, pattern in WITHOUT_NAMES.items():
        for number, layer in enumerate(name for name in layers if re.fullmatch(pattern, name)):
            if f"skip_{kind}_{number}" in ours:
                ours[layer] = ours[f"skip_{kind}_{number}"]
    found = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.partition(".")
        if layer in ours:
            found[f"{ours[layer]}.{_kind(ours[layer], kind)}"] = tensor
    for name in [each for each in found if _norm_after(each) in found]:
        bias = found.pop(name)
        found[_norm_after(name)] = found[_norm_after(name)] - bias
    return found


def _kind(layer: str, kind: str) -> str:
    """Our name of what a separable convolution is made of, which differs between libraries."""
    words = ("dw_conv", "pw_conv") if ".comb" in layer else ("conv1", "pointwise")
    return kind.replace("depthwise_kernel", words[0]).replace("pointwise_kernel", words[1])


def _norm_after(bias: str) -> str:
    """The mean of the batch norm after a convolution of ResNet50, by the name of the convolution's bias."""
    found = re.fullmatch(r"(.*)(conv(\d)|downsample\.0)\.bias", bias)
    return f"{found[1]}{f'bn{found[3]}' if found[3] else 'downsample.1'}.running_mean" if found else ""


def _resnet() -> Pairs:
    yield from (("conv1", "conv1_conv"), ("bn1", "conv1_bn"))
    for stage, blocks in enumerate(DEPTHS, 1):
        for block in range(blocks):
            our, theirs = f"layer{stage}.{block}.", f"conv{stage + 1}_block{block + 1}_"
            yield from ((f"{our}downsample.0", f"{theirs}0_conv"), (f"{our}downsample.1", f"{theirs}0_bn"))
            for i in (1, 2, 3):
                yield from ((f"{our}conv{i}", f"{theirs}{i}_conv"), (f"{our}bn{i}", f"{theirs}{i}_bn"))


def _resnet_of_keras_1_and_2() -> Pairs:
    yield from (("conv1", "conv1"), ("bn1", "bn_conv1"))
    for stage, blocks in enumerate(DEPTHS, 1):
        for block in range(blocks):
            our, theirs = f"layer{stage}.{block}.", f"{stage + 1}{'abcdef'[block]}_branch"
            yield from ((f"{our}downsample.0", f"res{theirs}1"), (f"{our}downsample.1", f"bn{theirs}1"))
            for i, letter in enumerate("abc", 1):
                yield from ((f"{our}conv{i}", f"res{theirs}2{letter}"), (f"{our}bn{i}", f"bn{theirs}2{letter}"))


def _xception() -> Pairs:
    for i in (1, 2):
        yield from ((f"conv{i}", f"block1_conv{i}"), (f"bn{i}", f"block1_conv{i}_bn"))
        last = f"block14_sepconv{i}"
        yield from ((f"conv{i + 2}", last), (f"bn{i + 2}", f"{last}_bn"))
    for number, block in enumerate((1, 2, 3, 12)):
        yield from ((f"block{block}.skip", f"skip_conv_{number}"), (f"block{block}.skipbn", f"skip_bn_{number}"))
    for block in range(1, 13):
        for i in (1, 2, 3):
            place = 3 * (i - 1) + (block > 1)  # the first block begins without ReLU
            theirs = f"block{block + 1}_sepconv{i}"
            yield from ((f"block{block}.rep.{place}", theirs), (f"block{block}.rep.{place + 1}", f"{theirs}_bn"))


def _nasnet() -> Pairs:
    yield from (("init_block.conv", "stem_conv1"), ("init_block.bn", "stem_bn1"))
    reducing = {"stem1_unit": "stem_1", "stem2_unit": "stem_2", "stage2.unit1": "reduce_4", "stage3.unit1": "reduce_8"}
    normal = {f"stage1.unit{unit}": f"{unit - 1}" for unit in range(1, 5)}
    normal |= {f"stage{stage}.unit{unit}": f"{4 * stage + unit - 5}" for stage in (2, 3) for unit in range(2, 6)}
    for kind, units, branches in (("reduction", reducing, REDUCTION), ("normal", normal, NORMAL)):
        for our, cell in units.items():
            yield from ((f"{our}.conv1x1.conv", f"{kind}_conv_1_{cell}"), (f"{our}.conv1x1.bn", f"{kind}_bn_1_{cell}"))
            before = "path" if our in ("stem2_unit", "stage1.unit1", "stage2.unit2", "stage3.unit2") else "conv1x1_prev"
            yield from (
                (f"{our}.{before}.bn", f"adjust_bn_{cell}"),
                (f"{our}.{before}.conv", f"adjust_conv_projection_{cell}"),
            )
            for i in (1, 2):
                yield f"{our}.path.path{i}.conv", f"adjust_conv_{i}_{cell}"
                for branch, theirs in branches.items():
                    yield f"{our}.{branch}.conv{i}.conv", f"separable_conv_{i}_{kind}_{theirs}_{cell}"
                    yield f"{our}.{branch}.conv{i}.bn", f"separable_conv_{i}_bn_{kind}_{theirs}_{cell}"


TABLES = {"ResNet50": (_resnet, _resnet_of_keras_1_and_2), "Xception": (_xception,), "NASNetMobile": (_nasnet,)}

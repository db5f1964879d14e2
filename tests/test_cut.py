"""A cut network computes what the whole one does, bit for bit; and frozen means frozen."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from helpers_networks import KEPT, NAMED, SMALL, every_network, fresh, handmade, images, network
from helpers_soak import soak
from skythaw.backbones.cut import cut, cut_or_whole, prefixes
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.network import build, set_trainable
from skythaw.backbones.pretrained_weights import RANDOM
from skythaw.errors import CutError
from skythaw.spec import WeightsChoice

CROSSING = {"densenet121": 24, "nasnet_mobile": 2}
"""The most tensors that cross at any depth; in the others it is one."""


def depths(name: str) -> list[int]:
    count = len(network(name).blocks)
    return list(range(count + 1)) if name in SMALL else sorted({0, 1, count // 3, count // 2, count - 1, count})


@every_network
def test_prefix_and_suffix_make_the_whole(name):
    """At another size and batch too: no size is a constant of the graph. The suffix leaves what it gets as it was."""
    net = network(name).eval()
    with torch.inference_mode():
        for pixels, some in ((images(32), slice(None)), (images(64, 1), slice(1, -1, 3))):
            whole = net(pixels)
            assert whole.std() > 0
            for depth in depths(name)[some]:
                parts = cut(net, depth)
                middle = parts.prefix(pixels)
                assert isinstance(middle, tuple)
                assert len(middle) == parts.crossing
                assert all(tensor.shape[0] == len(pixels) for tensor in middle)
                before = [tensor.clone() for tensor in middle]
                assert torch.equal(parts.suffix(*middle), whole)
                assert all(torch.equal(a, b) for a, b in zip(before, middle, strict=True))


@pytest.mark.parametrize("name", soak(NAMED, [*KEPT, "densenet121"]))
def test_crossing(name):
    net = network(name)
    count = len(net.blocks)
    seen = [cut(net, depth).crossing for depth in (range(count + 1) if name in CROSSING else depths(name))]
    assert max(seen) == CROSSING.get(name, 1)
    assert seen[0] == seen[-1] == 1


@pytest.mark.parametrize("name", [*SMALL, "mobilenetv2", "nasnet_mobile"])
def test_the_suffix_holds_the_trained_blocks_and_no_others(name):
    net = network(name)
    count = len(net.blocks)
    for depth in depths(name):
        parts = cut(net, depth)
        for part, blocks in ((parts.prefix, net.blocks[: count - depth]), (parts.suffix, net.blocks[count - depth :])):
            mine = {id(tensor) for tensor in [*part.parameters(), *part.buffers()]}
            theirs = {**dict(net.features.named_parameters()), **dict(net.features.named_buffers())}
            assert mine == {id(theirs[tensor]) for block in blocks for tensor in block.tensors}


@pytest.mark.parametrize("batchnorm", ["running", "train"])
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_frozen_means_frozen(name, depth, batchnorm):
    """After steps of training every parameter and buffer outside the trained blocks has the bits it had."""
    net = fresh(name)
    count = len(net.blocks)
    set_trainable(net, range(count - depth, count), batchnorm)
    before = copy.deepcopy(net.features.state_dict())
    parts = cut(net, depth)
    head = nn.Linear(net.channels, 2)
    learning = [p for p in [*net.parameters(), *head.parameters()] if p.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.1)
    for seed in (64, 65):
        with torch.no_grad():
            middle = parts.prefix(images(seed, 4))
        head(parts.suffix(*middle).mean((2, 3))).square().sum().backward()
        optimizer.step()
    changed = {name for name, tensor in net.features.state_dict().items() if not torch.equal(tensor, before[name])}
    trained = {tensor for block in net.blocks[count - depth :] for tensor in block.tensors}
    parameters = {tensor for block in net.blocks[count - depth :] for tensor in block.parameters}
    assert changed <= trained
    assert bool(changed & parameters) == bool(parameters)
    statistics = {name for name in changed if name.endswith(("running_mean", "running_var"))}
    assert bool(statistics) == (batchnorm == "train" and any("running_mean" in name for name in trained))


@every_network
@pytest.mark.parametrize("batchnorm", ["running", "train"])
def test_modes(name, batchnorm):
    net = network(name)
    count = len(net.blocks)
    set_trainable(net, [count - 1], batchnorm)
    last = set(net.blocks[-1].tensors)
    for path, module in net.features.named_modules():
        tensors = {f"{path}.{n}" for n, _ in [*module.named_parameters(), *module.named_buffers()]}
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.training == (batchnorm == "train" and tensors <= last)
        elif tensors:
            assert module.training == (tensors <= last)
    set_trainable(net, [], batchnorm)
    assert not any(module.training for module in net.features.modules())


def test_training_mode_is_no_constant_of_the_graph():
    """Drop path acts in the trained suffix, by the mode it has at the time, and never in the prefix."""
    choice = WeightsChoice(random=True, options={"drop_path_rate": 0.8})
    net = build(backbone("timm:test_resnet"), RANDOM, choice)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)  # timm begins with residual branches that are zero
    parts = cut(net, 2)
    pixels = images(64)
    with torch.inference_mode():
        whole = net(pixels)
        set_trainable(net, [3, 4], "running")
        middle = parts.prefix(pixels)
        torch.manual_seed(0)
        outputs = [parts.suffix(*middle) for _ in range(8)]
        assert not all(torch.equal(output, whole) for output in outputs)
        assert all(torch.equal(a, b) for a, b in zip(parts.prefix(pixels), middle, strict=True))
        set_trainable(net, [], "running")
        assert torch.equal(parts.suffix(*middle), whole)


class Dropping(nn.Module):
    """Dropout between its blocks, in a module that is of no one block and so is never in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.b(nn.functional.dropout(self.a(x), training=self.training))


def test_what_lies_between_blocks_is_in_evaluation_mode():
    net = handmade(Dropping(), "a", "b")
    whole = net(images(8))
    parts = cut(net.train(), 1)
    assert torch.equal(parts.suffix(*parts.prefix(images(8))), whole)
    set_trainable(net, [0, 1], "train")
    assert torch.equal(net(images(8)), whole)


def test_cutting_leaves_the_network_as_it_was():
    net = fresh("timm:test_resnet")
    set_trainable(net, [4], "train")
    modes = [module.training for module in net.modules()]
    assert str(cut(net, 2).suffix.graph) == str(cut(net, 2).suffix.graph)
    assert [module.training for module in net.modules()] == modes


@pytest.mark.parametrize("depth", [-1, 20])
def test_beyond_the_network(depth):
    for function in (cut, cut_or_whole):
        with pytest.raises(CutError, match=f"depth {depth} is beyond the network: mobilenetv2 has 19 blocks"):
            function(network("mobilenetv2"), depth)


class Wilful(nn.Module):
    """Its path depends on the numbers: not traceable."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.a(x)
        return self.b(x) if x.sum() > 0 else self.b(-x)


def test_untraceable_works_without_reuse():
    net = handmade(Wilful(), "a", "b")
    with pytest.raises(CutError, match="handmade can't be traced"):
        cut(net, 1)
    parts = cut_or_whole(net, 1)
    with torch.no_grad():
        (middle,) = parts.prefix(images(8))
        assert torch.equal(middle, images(8))
        assert torch.equal(parts.suffix(middle), net(images(8)))
        frozen = cut_or_whole(net, 0)
        (last,) = frozen.prefix(images(8))
        assert torch.equal(last, net(images(8)))
        assert torch.equal(frozen.suffix(last), last)
        assert all(torch.equal(a, last) for (a,) in prefixes(net, [0, 0])(images(8)))
    with pytest.raises(CutError, match="handmade can't be traced"):
        prefixes(net, [0, 1])


def test_a_frozen_block_above_a_trained_one_is_in_the_suffix():
    features = nn.Sequential()
    for name, bands in (("a", 3), ("b", 4), ("c", 4)):
        features.add_module(name, nn.Conv2d(bands, 4, 1))
    net = handmade(features, "a c", "b")
    parts = cut(net, 1)
    assert {id(p) for p in parts.suffix.parameters()} == {
        id(p) for n in "bc" for p in features.get_submodule(n).parameters()
    }
    with torch.no_grad():
        assert torch.equal(parts.suffix(*parts.prefix(images(8))), net(images(8)))


class Branches(nn.Module):
    """The trained branch comes first in the code, so the graph's order alone would not do."""

    def __init__(self) -> None:
        super().__init__()
        self.top, self.low = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x):
        top = self.top(x)
        return top + self.low(x)


def test_a_frozen_branch_beside_a_trained_one_is_in_the_prefix():
    net = handmade(Branches(), "low", "top")
    parts = cut(net, 1)
    assert parts.crossing == 2
    assert {id(p) for p in parts.suffix.parameters()} == {id(p) for p in net.features.top.parameters()}
    with torch.no_grad():
        assert torch.equal(parts.suffix(*parts.prefix(images(8))), net(images(8)))

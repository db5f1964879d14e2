"""Facts are computed once and then read without torch; the numbers are right."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from helpers_networks import fresh, images, network
from skythaw.backbones import network_facts
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.network_facts import BlockFacts, Facts, block_flops, facts
from skythaw.backbones.smallest_input import smallest_input
from skythaw.errors import CutError, SpecError

TOY = Facts(
    "toy",
    (
        BlockFacts("a", 10, 1, {"norm": (4, 1)}),
        BlockFacts("b", 20, 2, {"norm": (0, 0)}),
        BlockFacts("c", 70, 1, {"norm": (0, 0)}),
    ),
    channels=4,
    smallest_input=8,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def test_second_time_is_the_same_without_torch(cache):
    name = "efficientnet_lite0"
    first, flops = facts(backbone(name), cache), block_flops(backbone(name), 64, cache)
    code = f"""
import sys
from pathlib import Path
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.network_facts import facts, block_flops
from skythaw.backbones.pretrained_weights import locate
network = backbone({name!r})
found = facts(network, Path({str(cache)!r}))
flops = block_flops(network, 64, Path({str(cache)!r}))
top = range(len(found.blocks) - 2, len(found.blocks))
print(found.depth("tpr:10%", 3), found.ratios(top, 3, flops).tfr, locate(network, None).source)
assert not {{"torch", "timm"}} & set(sys.modules), "imported torch or timm"
print(repr(found)); print(flops)
"""
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.splitlines()[1:] == [repr(first), repr(flops)]


def test_torn_cache_is_computed_again(tmp_path):
    network = backbone("timm:test_resnet")
    first, flops = facts(network, tmp_path), block_flops(network, 32, tmp_path)
    files = sorted(tmp_path.rglob("*.json"))
    assert len(files) == 2
    for content in ("", "{", "[]", '{"name": 1}', "null", '{"flops": null}'):
        for file in files:
            file.write_text(content)
        assert facts(network, tmp_path) == first
        assert block_flops(network, 32, tmp_path) == flops
    assert sorted(tmp_path.rglob("*.*")) == files


def test_cache_is_keyed_by_options_and_version(tmp_path, monkeypatch):
    network = backbone("timm:test_resnet")
    facts(network, tmp_path)
    monkeypatch.setattr(network_facts, "version", lambda _: "another")
    facts(network, tmp_path)
    assert len(list(tmp_path.rglob("*.json"))) == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    assert facts(backbone("timm:test_resnet"), tmp_path / "file").parameters == 372688


@pytest.mark.parametrize(
    ("name", "parameters"), [("mobilenetv2", 2223872), ("nasnet_mobile", 5289978 - 1056 * 1000 - 1000)]
)
def test_counts(cache, name, parameters):
    found = facts(backbone(name), cache)
    assert found.parameters == parameters == sum(p.numel() for p in network(name).parameters())
    assert found.layers == sum(bool(list(m.parameters(recurse=False))) for m in network(name).modules())
    assert found.channels == network(name).channels
    assert [block.name for block in found.blocks] == [block.name for block in network(name).blocks]


def test_flops_by_hand(cache):
    """VGG-16 is 3x3 convolutions only: 2 * 9 * in * out * pixels each."""
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    sides = [32, 32, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2]
    expected = tuple(18 * a * b * s * s for a, b, s in zip(channels, channels[1:], sides, strict=False))
    assert block_flops(backbone("vgg16"), 32, cache) == expected


@pytest.mark.parametrize("name", ["timm:test_efficientnet", "timm:test_convnext", "nasnet_mobile"])
def test_flops_of_the_blocks_are_all_there_are(cache, name):
    from torch.utils.flop_counter import FlopCounterMode

    net = network(name).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(images(32, 1))
    assert sum(block_flops(backbone(name), 32, cache)) == counter.get_total_flops()


def test_flops_of_a_size_that_does_not_work(cache):
    with pytest.raises(CutError, match="nasnet_mobile doesn't work on images of 48 pixels"):
        block_flops(backbone("nasnet_mobile"), 48, cache)


@pytest.mark.parametrize("name", ["mobilenetv2", "nasnet_mobile", "timm:test_convnext"])
def test_smallest_input(cache, name):
    size = facts(backbone(name), cache).smallest_input
    assert size == 32  # the total stride of each
    net = fresh(name)
    for mode in (True, False):
        with torch.no_grad():
            assert net.train(mode)(images(size)).shape[2] >= 1


def test_smallest_input_above_the_stride():
    from torch import nn

    from helpers_networks import handmade

    features = nn.Sequential()
    features.add_module("a", nn.Conv2d(3, 4, 7, stride=2))
    features.add_module("b", nn.Conv2d(4, 4, 3, stride=2))
    net = handmade(features, "a", "b").to("meta")
    assert smallest_input(backbone("mobilenetv2"), net) == 11  # 11 -> 3 -> 1; 10 -> 2, less than the kernel


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [
        (0, 0),
        (3, 3),
        ("0%", 0),
        ("50%", 2),
        ("16%", 0),
        ("17%", 1),
        ("100%", 3),
        ("tpr:80%", 1),
        ("tpr:0%", 0),
        ("tpr:100%", 3),
    ],
)
def test_depth(depth, blocks):
    assert TOY.depth(depth, classes=3) == blocks


@pytest.mark.parametrize("depth", [4, -1, "101%", "some"])
def test_bad_depth(depth):
    with pytest.raises(SpecError):
        TOY.depth(depth, classes=3)


def test_ratios_count_the_head():
    """Head: 4 * 3 weights and 3 biases, one layer, 24 FLOPs."""
    head, top = TOY.ratios((), 3, (100, 200, 300)), TOY.ratios((2,), 3, (100, 200, 300))
    assert (head.tpr, head.tlr, head.tfr) == pytest.approx((15 / 115, 1 / 5, 24 / 624))
    assert (top.tpr, top.tlr, top.tfr) == pytest.approx((85 / 115, 2 / 5, 324 / 624))
    assert TOY.ratios(range(3), 3, (1, 2, 3)) == network_facts.Ratios(1.0, 1.0, 1.0)
    assert TOY.ratios((2,), 3, None).tfr is None

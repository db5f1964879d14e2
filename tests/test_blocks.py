"""Blocks hold every parameter and buffer of a backbone once, in forward order; what is trained nests with depth."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from helpers_networks import KEPT, every_network, images, network
from helpers_soak import soak
from skythaw.backbones.blocks import find_blocks, timm_groups
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.network import blocks_within, build, set_trainable
from skythaw.backbones.pretrained_weights import RANDOM
from skythaw.errors import CutError, SpecError, UnknownNameError
from skythaw.spec import WeightsChoice

BLOCKS = {
    "resnet50": 17,
    "densenet121": 59,
    "vgg16": 13,
    "xception": 14,
    "efficientnet_b2": 25,
    "mobilenetv2": 19,
    "nasnet_mobile": 17,
    "efficientnet_lite0": 18,
    "efficientnet_lite1": 23,
    "efficientnet_lite2": 23,
}


@every_network
def test_blocks_hold_every_tensor_once(name):
    net = network(name)
    held = [tensor for block in net.blocks for tensor in block.tensors]
    features = net.features
    assert sorted(held) == sorted([*dict(features.named_parameters()), *dict(features.named_buffers())])
    assert len(set(held)) == len(held)
    assert len({block.name for block in net.blocks}) == len(net.blocks)
    assert all(block.parameters for block in net.blocks)


@every_network
def test_blocks_are_in_forward_order(name):
    """The last module of a block is called before the first of the next, in a run of the network with real numbers."""
    net = network(name)
    block_of, called, handles = net.block_of(), [], []
    for path, module in net.features.named_modules():
        blocks = blocks_within(module, path, block_of)
        if len(blocks) == 1 and (list(module.parameters(recurse=False)) or list(module.buffers(recurse=False))):
            block = blocks.pop()
            handles.append(module.register_forward_pre_hook(lambda *_, block=block: called.append(block)))
    with torch.no_grad():
        net(images(32, 1))
    for handle in handles:
        handle.remove()
    assert called == sorted(called)
    assert set(called) == set(range(len(net.blocks)))


@every_network
def test_depths_nest_strictly(name):
    net = network(name)
    count = len(net.blocks)
    trained = []
    for depth in range(count + 1):
        set_trainable(net, range(count - depth, count), "running")
        trained.append({n for n, p in net.features.named_parameters() if p.requires_grad})
    assert trained[0] == set()
    assert trained[-1] == set(dict(net.features.named_parameters()))
    assert all(smaller < larger for smaller, larger in pairwise(trained))


@every_network
def test_no_classifier_is_left(name):
    net = network(name)
    assert not any(isinstance(module, nn.Linear) and module.out_features == 1000 for module in net.modules())
    with torch.no_grad():
        assert net(images(32)).shape[:2] == (2, net.channels)


@pytest.mark.parametrize(("name", "count"), soak(BLOCKS.items(), [item for item in BLOCKS.items() if item[0] in KEPT]))
def test_known_counts(name, count):
    assert len(network(name).blocks) == count


def test_traps():
    """Decision 2: the last convolution is a block; `pre_logits` is not ours; norms and transitions join."""
    assert [block.name for block in network("mobilenetv2").blocks][-2:] == ["blocks.6.0", "conv_head"]
    last = network("mobilenetv2").blocks[-1]
    assert last.parameters == ("conv_head.weight", "bn2.weight", "bn2.bias")
    assert "bn2.running_mean" in last.buffers
    assert len(network("mobilenetv2").blocks[-2].parameters) == 9
    assert all(block.name == "stem" or block.name.startswith("features.") for block in network("vgg16").blocks)
    dense = network("densenet121").blocks
    assert {"features.denseblock4.denselayer16.conv2.weight", "features.norm5.weight"} < set(dense[-1].parameters)
    assert any("transition1" in name for name in dense[6].parameters)
    assert [block.name for block in network("nasnet_mobile").blocks][:4] == [
        "init_block",
        "stem1_unit",
        "stem2_unit",
        "stage1.unit1",
    ]


def test_a_block_takes_its_place_in_the_pass_not_in_the_registration():
    class Upside(nn.Module):
        def __init__(self):
            super().__init__()
            self.b = nn.Conv2d(4, 4, 1)
            self.a = nn.Conv2d(3, 4, 1)

    blocks = find_blocks(Upside(), {"": 0, "a": 1, "b": 2}, timm_groups({"stem": "^a", "blocks": "^b"}))
    assert [block.name for block in blocks] == ["stem", "b"]
    with pytest.raises(CutError, match=r"b\.weight belongs to a module that the forward pass never calls"):
        find_blocks(Upside(), {"": 0, "a": 1}, timm_groups({"stem": "^a"}))


def test_random_weights_are_the_same_and_leave_torch_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build(backbone("timm:test_resnet"), RANDOM)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second = build(backbone("timm:test_resnet"), RANDOM)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5O", "did you mean 'resnet50'"),
        ("timm:resnet5O", "unknown timm network 'resnet5O'; did you mean 'timm:resnet50'"),
        ("timm:resnet50.nope", "unknown timm network"),
        ("timm:zzzzzz", r"timm\.list_models"),
        ("timm:", "unknown backbone"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(UnknownNameError, match=message):
        backbone(name)


def test_the_choice_sets_preprocessing_and_options():
    choice = WeightsChoice(random=True, mean=(0.5,), std=(0.1, 0.2, 0.3), options={"drop_path_rate": 0.5})
    net = build(backbone("timm:test_efficientnet"), RANDOM, choice)
    assert net.preprocessing.mean == (0.5, 0.5, 0.5)
    assert net.preprocessing.std == (0.1, 0.2, 0.3)
    assert any(getattr(module, "drop_prob", 0) > 0 for module in net.modules())


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (WeightsChoice(mean=(0.5, 0.5)), "mean = .* has 2 numbers; give 1, or 3"),
        (WeightsChoice(std=(0.5, 0.0, 0.5)), "must be above 0"),
        (WeightsChoice(options={"no_such": 1}), "can't build test_resnet with options {no_such = 1}"),
        (
            WeightsChoice(options={"act_layer": "no_such"}),
            "can't build test_resnet with options {act_layer = 'no_such'}",
        ),
        (WeightsChoice(options={"features_only": True}), "such a network has no forward_features"),
    ],
)
def test_bad_choices(choice, message):
    with pytest.raises(SpecError, match=message):
        build(backbone("timm:test_resnet"), RANDOM, choice)

"""Frozen means frozen: networks x depths x batch norm, one property a test, after real training steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers_soak import soak
from skythaw import registry
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import Weights
from skythaw.spec import Pixels, Recipe
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.strategies import strategy
from skythaw.tuning.strategies.top import top
from skythaw.tuning.thawed_network import Head, ThawedNetwork
from skythaw.tuning.trainer import optimizer_of
from skythaw.tuning.training_loop import fit

SMALL = ("timm:test_efficientnet", "timm:test_resnet", "timm:test_convnext")
DEPTHS = ("none", "one", "half", "all")
SIZES = {"xception": 75, "nasnet_mobile": 64}


@pytest.fixture(scope="module")
def networks():
    """One network at a time: big ones are built once, and dropped when the next comes."""
    kept = {}

    def get(name):
        if name not in kept:
            kept.clear()
            network = build(backbone(name), Weights("random", None, "random"))
            kept[name] = network, {k: v.clone() for k, v in network.features.state_dict().items()}
        network, state = kept[name]
        network.features.load_state_dict(state)
        return network

    return get


def train_a_little(network, depth, batchnorm, size, way="top"):
    """Two epochs of two steps; returns the classifier and its weights before."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (8, size, size, 3), dtype=np.uint8)
    images = LabelledImages(
        pixels, np.arange(8), np.arange(8) % 3, Pixels(crop=size, size=size), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    )
    head = Head(network.channels, 3, 0.1, torch.Generator().manual_seed(0))
    trained = strategy(way)(len(network.blocks), depth)
    model = ThawedNetwork(network, trained, head, batchnorm)
    before = {name: tensor.clone() for name, tensor in network.features.state_dict().items()}
    recipe = Recipe(epochs=2, batch=4, lr=1e-2, weight_decay=0.1, warmup=0, ema=None, batchnorm=batchnorm, clip=None)
    fit(model, images, images, recipe, seed=0)
    return model, before


def depth_of(network, word):
    count = len(network.blocks)
    return {"none": 0, "one": 1, "half": count // 2, "all": count}[word]


def cases():
    big = [(name, depth, "running") for name in registry.BUILTIN["backbone"] for depth in ("none", "half", "all")]
    small = [(name, depth, batchnorm) for name in SMALL for depth in DEPTHS for batchnorm in ("running", "train")]
    return small + big


USUAL = [
    (SMALL[n], word, batchnorm) for n in range(3) for word in ("none", "half") for batchnorm in ("running", "train")
]
USUAL += [("mobilenetv2", "half", "running")]


@pytest.mark.parametrize(("name", "word", "batchnorm"), soak(cases(), USUAL))
def test_only_the_trained_part_changes(networks, name, word, batchnorm):
    network = networks(name)
    depth = depth_of(network, word)
    model, before = train_a_little(network, depth, batchnorm, SIZES.get(name, 64 if name in SMALL else 32))
    trained = set(range(len(network.blocks) - depth, len(network.blocks)))
    after = network.features.state_dict()
    for index, block in enumerate(network.blocks):
        changed = {n for n in (*block.parameters, *block.buffers) if not torch.equal(before[n], after[n])}
        if index not in trained:
            assert not changed, f"frozen block {block.name} changed: {sorted(changed)[:3]}"
            continue
        assert changed & set(block.parameters), f"trained block {block.name} did not learn"
        statistics = {n for n in block.buffers if "running" in n}
        assert bool(changed & statistics) == (batchnorm == "train" and bool(statistics))
    _check_gradients_and_modes(model, network, trained, batchnorm)


def _check_gradients_and_modes(model, network, trained, batchnorm):
    block_of = network.block_of()
    for name, parameter in network.features.named_parameters():
        if block_of[name] in trained:
            assert parameter.requires_grad
        else:
            assert not parameter.requires_grad, name
            assert parameter.grad is None, name
    for name, module in network.features.named_modules():
        own = {block_of[f"{name}.{n}" if name else n] for n, _ in module.named_parameters(recurse=False)}
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            assert module.training == (batchnorm == "train" and own <= trained), name
        elif own and not own <= trained:
            assert not module.training, name


@pytest.mark.parametrize("word", DEPTHS)
@pytest.mark.parametrize("name", SMALL)
def test_the_prefix_is_the_same_in_training_and_in_evaluation(networks, name, word):
    network = networks(name)
    depth = depth_of(network, word)
    head = Head(network.channels, 3, 0.5, torch.Generator().manual_seed(0))
    model = ThawedNetwork(network, top(len(network.blocks), depth), head, "train")
    x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    training = model.frozen_values(x)
    with model.evaluating():
        evaluation = model.frozen_values(x)
    assert all(torch.equal(a, b) for a, b in zip(training, evaluation, strict=True))
    assert not any(value.requires_grad for value in training)
    assert all(value.grad_fn is None for value in training)


def test_the_optimizer_holds_the_trained_part_alone(networks):
    network = networks("timm:test_resnet")
    head = Head(network.channels, 3, 0.0, torch.Generator().manual_seed(0))
    model = ThawedNetwork(network, top(len(network.blocks), 1), head, "running")
    held = {id(p) for group in optimizer_of(model, Recipe(lr=1e-3)).param_groups for p in group["params"]}
    expected = {id(p) for p in head.parameters()}
    expected |= {id(network.features.get_parameter(n)) for n in network.blocks[-1].parameters}
    assert held == expected


@pytest.mark.parametrize("name", SMALL)
def test_biases_and_the_scales_of_norms_are_not_decayed(networks, name):
    """Weight decay is for the weights of convolutions and linear layers, of the network and of the head."""
    network = networks(name)
    head = Head(network.channels, 3, 0.0, torch.Generator().manual_seed(0))
    model = ThawedNetwork(network, top(len(network.blocks), len(network.blocks)), head, "train")
    decay = {
        id(p): g["weight_decay"]
        for g in optimizer_of(model, Recipe(lr=1e-3, weight_decay=0.1)).param_groups
        for p in g["params"]
    }
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    for module in model.modules():
        for kind, parameter in module.named_parameters(recurse=False):
            weight = kind == "weight" and isinstance(module, kinds)
            assert decay.pop(id(parameter)) == (0.1 if weight else 0.0), (type(module), kind)
    assert not decay

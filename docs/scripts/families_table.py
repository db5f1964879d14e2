"""Print which families of timm work, for `docs/backbones.md`: ``python docs/scripts/families_table.py [FAMILY ...]``.

A family is a module of timm. Of each, one small network is built with random weights and examined: its blocks hold
every parameter and buffer once; cut in the middle it computes what it computes whole, to the last bit; and after a step
of training above the cut, everything below has the bits it had. The tests examine families with the same function.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from skythaw.backbones.cut import cut_or_whole
from skythaw.backbones.known_backbones import Backbone, Option, backbone, chosen
from skythaw.backbones.network import Network, build, set_trainable
from skythaw.backbones.network_facts import facts
from skythaw.backbones.pretrained_weights import RANDOM
from skythaw.errors import SkythawError
from skythaw.spec import WeightsChoice
from skythaw.tuning.thawed_network import pool

HEADER = "| family | tried | blocks | features | smallest input | pooled by | cut in the middle |"
SIZE = 64
"""pixels a side of the images, or what the network takes at least"""
TINY = 1e-4
"""timm begins with branches that add less than this, so that nothing of them would be seen"""
SMALL = """
beit_base_patch16_224 halonet_h1 test_byobnet cait_xxs24_224 coat_tiny convit_tiny convmixer_768_32 test_convnext
cpubone_nano crossvit_tiny_240 csatv2 cs3darknet_focus_s cspnext_tiny davit_tiny deepseek_vit_412m
deit_tiny_distilled_patch16_224 densenet121 dla46x_c dpn48b edgenext_xx_small efficientformer_l1 efficientformerv2_s0
test_efficientnet efficientvim_m1 efficientvit_b0 efficientvit_m0 vit_tiny_patch16_dinov3_qkvb fasternet_t0 fastvit_t8
focalnet_tiny_srf gcvit_xxtiny gemma4_vit_167m ghostnet_050 hardcorenas_b hgnetv2_b0 hiera_tiny_224 sam2_hiera_tiny
hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small levit_128s
lowformer_b0 test_mambaout test_coatnet poolformerv2_s12 gmlp_ti16_224 lcnet_035 mobilenetv5_base mobilevit_xxs
mvitv2_tiny naflexvit_base_patch16_parfac_gap nasnetalarge nest_tiny nextvit_small test_nfnet pit_ti_224 pnasnet5large
pvt_v2_b0 qwen3_vit_88m rdnet_tiny regnetx_002 repghostnet_050 repvit_m1 res2next50 resnest14d test_resnet resnetv2_18
rexnet_100 selecsls42 legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs
swin_tiny_patch4_window7_224 swinv2_tiny_window16_256 swinv2_cr_tiny_224 tiny_vit_5m_224 tnt_s_legacy_patch16_224
tresnet_m twins_svt_small vgg11 visformer_tiny test_vit vit_tiny_r_s16_p8_224 test_vit_relpos samvit_base_patch16_224
vitamin_small_224 volo_d1_224 ese_vovnet19b_slim_dw legacy_xception xception41p xcit_nano_12_p8_224
"""
"""One of the smallest of each family."""
OPTIONS: dict[str, dict[str, Option]] = {
    **{each: {"depth": 2} for each in ("beit", "deepseek_vit", "gemma4_vit", "qwen3_vit", "vision_transformer_sam")},
    "vgg": {"mlp_ratio": 0.001},
}
"""What makes a large network small, without another way through it."""


@dataclass(frozen=True)
class Examined:
    """What was seen of a family."""

    family: str
    model: str
    blocks: int = 0
    features: int = 0
    smallest: int = 0
    """pixels"""
    pools: bool = False
    """The network makes one vector of its last features by itself."""
    crossing: int = 0
    """tensors that cross in the middle; 0 where the network can't be cut there"""
    refused: str = ""
    """why"""


def families() -> dict[str, str]:
    """The small network of each family."""
    import timm

    members = {family: timm.list_models(module=family) for family in timm.list_modules()}
    return {
        family: next((name for name in names if name in SMALL.split()), names[0]) for family, names in members.items()
    }


def examine(family: str, model: str, cache: Path) -> Examined:
    """Build the network of a family, cut it and train a step.

    Raises
    ------
    AssertionError
        It is built, but does not keep what is promised; says what.
    """
    examined = Examined(family, model)
    try:
        named = chosen(backbone(f"timm:{model}"), WeightsChoice(random=True, options=OPTIONS.get(family, {})))
        smallest = facts(named, cache).smallest_input
        sized = named.with_size(-(-SIZE // smallest) * smallest)
        network = build(sized, RANDOM)
    except SkythawError as error:
        return replace(examined, refused=str(error))
    images = torch.randn(2, 3, *[_side(sized, smallest)] * 2, generator=torch.Generator().manual_seed(0))
    _require_whole(network)
    _enlarge(network)
    crossing = _require_equal_parts(network, images)
    _require_frozen(network, images)
    return replace(
        examined,
        blocks=len(network.blocks),
        features=network.channels,
        smallest=smallest,
        pools=network(images).ndim == 2,
        crossing=crossing,
    )


def _side(sized: Backbone, smallest: int) -> int:
    return sized.input_size if sized.fixed_size else -(-SIZE // smallest) * smallest


def _held(network: Network) -> dict[str, Tensor]:
    return {**dict(network.features.named_parameters()), **dict(network.features.named_buffers())}


def _require_whole(network: Network) -> None:
    held = [name for block in network.blocks for name in block.tensors]
    assert sorted(held) == sorted(_held(network)), "a parameter is in no block, or in two"
    assert len({block.name for block in network.blocks}) == len(network.blocks), "two blocks have one name"


def _enlarge(network: Network) -> None:
    for parameter in network.parameters():
        if parameter.abs().max() <= TINY:
            nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))


def _require_equal_parts(network: Network, images: Tensor) -> int:
    """How many tensors cross in the middle."""
    parts = cut_or_whole(network, len(network.blocks) // 2)
    with torch.inference_mode():
        whole, middle = network(images), parts.prefix(images)
        assert whole.isfinite().all(), "features are not finite"
        assert whole.std() > 0, "features are the same whatever the image"
        assert all(tensor.shape[0] == len(images) for tensor in middle), "what crosses is not of the batch"
        assert torch.equal(parts.suffix(*middle), whole), "in two parts it gives something else"
    return 0 if parts.suffix is network.features else parts.crossing


def _require_frozen(network: Network, images: Tensor) -> None:
    count = len(network.blocks)
    trained = range(count - count // 2, count)
    set_trainable(network, trained, "train")
    before = {name: tensor.clone() for name, tensor in _held(network).items()}
    parts = cut_or_whole(network, count // 2)
    with torch.no_grad():
        middle = parts.prefix(images)
    pool(parts.suffix(*middle)).square().mean().backward()
    torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1).step()
    changed = {name for name, tensor in _held(network).items() if not torch.equal(tensor, before[name])}
    assert changed, "nothing learned"
    assert changed <= {name for i in trained for name in network.blocks[i].tensors}, "something frozen changed"
    set_trainable(network, (), "running")


def line(seen: Examined) -> str:
    """One family, as a line of the table."""
    cells: tuple[object, ...] = (f"`{seen.family}`", f"`{seen.model}`", *[""] * 4, f"refused: {seen.refused}")
    if not seen.refused:
        pooled = "itself" if seen.pools else "the head"
        crossing = f"{seen.crossing} tensor{'s' if seen.crossing > 1 else ''}" if seen.crossing else "no: not kept"
        cells = (*cells[:2], seen.blocks, seen.features, f"{seen.smallest} px", pooled, crossing)
    return f"| {' | '.join(map(str, cells))} |"


def main(wanted: list[str]) -> None:
    """Print the table; a family that does not keep what is promised is a line of it, too."""
    print(HEADER, "|---" * HEADER.count(" | ") + "|---|", sep="\n")
    every = families()
    with tempfile.TemporaryDirectory() as folder:
        for family in wanted or every:
            try:
                seen = examine(family, every[family], Path(folder))
            except Exception as error:  # a network may raise anything
                seen = Examined(family, every[family], refused=f"{type(error).__name__}: {error}".partition("\n")[0])
            print(line(seen), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

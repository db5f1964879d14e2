"""Encoders of the Hugging Face Hub that are worth a try on images of the sky: no more is known here than their names.

Any other one that timm can build goes by ``hf_hub:OWNER/NAME`` just as well.
"""

from __future__ import annotations

from dataclasses import dataclass

ZOOBOT = "galaxies: Galaxy Zoo Evo"
IMAGENET_12K = "ImageNet-12k"


@dataclass(frozen=True)
class HubEncoder:
    """An encoder of the Hub, as its publisher describes it."""

    name: str
    """as a study says it"""
    network: str
    """that it has the weights of"""
    trained_on: str
    licence: str


def _zoobot(kind: str) -> HubEncoder:
    """One of Walmsley et al., arXiv 2404.02973."""
    return HubEncoder(f"hf_hub:mwalmsley/zoobot-encoder-{kind}", f"timm:{kind}", ZOOBOT, "Apache-2.0")


HUB_ENCODERS = (
    *(
        _zoobot(kind)
        for kind in (
            "resnet18",
            "resnet50",
            "efficientnet_b0",
            "tf_efficientnetv2_s",
            "convnext_nano",
            "convnext_small",
            "convnext_base",
            "convnext_large",
            "maxvit_rmlp_small_rw_224",
            "maxvit_large_tf_224",
        )
    ),
    HubEncoder("timm:convnext_nano.in12k", "timm:convnext_nano", IMAGENET_12K, "Apache-2.0"),
    HubEncoder(
        "timm:convnext_nano.in12k_ft_in1k", "timm:convnext_nano", f"{IMAGENET_12K}, then ImageNet", "Apache-2.0"
    ),
    HubEncoder("timm:resnet50.a1_in1k", "timm:resnet50", "ImageNet", "Apache-2.0"),
    HubEncoder("torchvision:mobilenet_v2", "timm:mobilenetv2_100", "ImageNet", "BSD-3-Clause"),
)

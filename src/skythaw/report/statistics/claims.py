"""The six claims of the seed study, each with a verdict on the user's own data.

Ethiraj & Bolla, arXiv 2205.07124 (claims 1 to 5) and 2205.10745 (claim 6). A verdict is *supported*, *contradicted* or
*cannot be told*, with the numbers behind it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from skythaw.report.number_format import listed, rounded
from skythaw.report.statistics.network_contest import ContestedNetwork, between, pareto
from skythaw.stats.intervals import LEVEL, Difference, holm, objects_needed

SUPPORTED, CONTRADICTED, UNKNOWN = "supported", "contradicted", "cannot be told"
EARLY_AND_HIGH = ("densenet121", "xception", "efficientnet_b2")
LATE_AND_LOW = ("resnet50", "vgg16", "mobilenetv2", "nasnet_mobile")
MOBILE = ("mobilenetv2", "nasnet_mobile", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
CLAIMS = (
    "Freezing every layer and training a new last one may not be the best.",
    "In some networks the frozen baseline and deeper tuning perform alike.",
    "Networks respond differently: each has a depth of its own.",
    "DenseNet-121, Xception and EfficientNetB2 peak high and early and fit well; ResNet-50, VGG-16, MobileNetV2 and "
    "NASNetMobile peak lower, later, and fit worse.",
    "Mobile networks are smaller, but consistently less accurate.",
    "Images with photometry beat either alone, most of all for the rare class.",
)


def claims(networks: Sequence[ContestedNetwork]) -> list[dict[str, Any]]:
    """The claims in order: ``number``, ``claim``, ``verdict``, ``why`` (one sentence), and ``numbers``."""
    found = (_baseline(networks), _alike(networks), _own_depth(networks), _peaks(networks), _mobile(networks), _both())
    return [
        {"number": i + 1, "claim": text, "verdict": verdict, "why": why, "numbers": numbers}
        for i, (text, (verdict, why, numbers)) in enumerate(zip(CLAIMS, found, strict=True))
    ]


Verdict = tuple[str, str, Any]


def _baseline(networks: Sequence[ContestedNetwork]) -> Verdict:
    yes, no = "A deeper depth is better than depth 0", "No deeper depth is better by the margin"
    return _of_networks(networks, "better", yes, no)


def _alike(networks: Sequence[ContestedNetwork]) -> Verdict:
    margin = f"{networks[0].contest.margin:g}"
    yes, no = f"All depths are within {margin} of depth 0", f"Some depth is surely more than {margin} from depth 0"
    return _of_networks(networks, "alike", yes, no)


def _against_frozen(network: ContestedNetwork) -> dict[str, Any] | None:
    """Every deeper depth against depth 0: is one better, are all alike?"""
    contest = network.contest
    frozen = next((each for each in contest.whole if each.depth == 0), None)
    deeper = [each for each in contest.whole if each.depth > 0]
    if frozen is None or not deeper:
        return None
    found = [contest.difference(each, frozen) for each in deeper]
    back = [contest.difference(frozen, each) for each in deeper]
    corrected = holm([each.p for each in found])
    margin, alpha, count = contest.margin, 1 - LEVEL, len(contest.sample)
    better = [d.value > 0 and p < alpha for d, p in zip(found, corrected, strict=True)]
    alike = all(d.upper < margin and b.upper < margin for d, b in zip(found, back, strict=True))
    apart = any(d.low > margin or d.high < -margin for d in found)
    top = max(range(len(deeper)), key=lambda i: deeper[i].mean(contest.score))
    far = max(found, key=lambda d: abs(d.value))
    return {
        "backbone": network.backbone,
        "depth": deeper[top].depth,
        **found[top].said(),
        "p_holm": corrected[top],
        "better": SUPPORTED if any(better) else CONTRADICTED if all(d.upper < margin for d in found) else UNKNOWN,
        "alike": SUPPORTED if alike else CONTRADICTED if apart else UNKNOWN,
        "objects_for_better": objects_needed(found[top], count, _distance(found[top].value, margin), len(deeper)),
        "objects_for_alike": objects_needed(far, count, abs(abs(far.value) - margin)),
    }


def _distance(value: float, margin: float) -> float:
    """What would have to be told from nothing: that a gain is one, or that a loss is below the margin."""
    return value if value > 0 else margin - value


def _of_networks(networks: Sequence[ContestedNetwork], which: str, yes: str, no: str) -> Verdict:
    """A claim that some network shows: one is enough to support it, all must contradict it."""
    numbers = [found for each in networks if (found := _against_frozen(each))]
    if not numbers:
        return UNKNOWN, "The study does not have both depth 0 and a deeper depth.", []
    names: dict[str, list[str]] = {SUPPORTED: [], CONTRADICTED: [], UNKNOWN: []}
    for each in numbers:
        more = f" ({_enough(each[f'objects_for_{which}'])})" if each[which] == UNKNOWN else ""
        names[each[which]].append(each["backbone"] + more)
    verdict = SUPPORTED if names[SUPPORTED] else CONTRADICTED if not names[UNKNOWN] else UNKNOWN
    said = ((SUPPORTED, yes), (CONTRADICTED, no), (UNKNOWN, "It can't be told"))
    why = " ".join(f"{what} in {', '.join(names[each])}." for each, what in said if names[each])
    return verdict, why, numbers


def _enough(objects: int | None) -> str:
    """What it takes to tell."""
    return "it takes more seeds" if objects is None else f"it takes about {rounded(objects)} test objects"


def _own_depth(networks: Sequence[ContestedNetwork]) -> Verdict:
    depths = [
        {
            "backbone": each.backbone,
            "depth": each.best.depth,
            **{name: each.row[name] for name in ("blocks", "tpr", "tlr")},
            "best_in": [
                {"depth": c.depth, "share": s} for c, s in zip(each.contest.whole, each.contest.shares(), strict=True)
            ],
        }
        for each in networks
    ]
    if len(networks) < 2:
        return UNKNOWN, "The study has one network; the claim needs two or more.", {"depths": depths}
    shares = np.array([each.shares for each in networks if len(each.shares) == len(networks[0].shares)])
    if len(shares) < len(networks) or shares.shape[1] < 2 or np.ptp(shares, axis=0).max() > 0.15:
        return (
            UNKNOWN,
            "The networks were not tried at comparable depths (such as 0 %, 50 % and 100 % of their blocks).",
            {"depths": depths},
        )
    (p, needed), serving = _interaction(networks), _serving_all(networks)
    numbers = {"depths": depths, "p": p, "serves_all": [float(shares[:, i].mean()) for i in serving]}
    if p < 1 - LEVEL:
        also = " Still, one depth is within the margin of the best in all of them." if serving else ""
        return SUPPORTED, f"Network and depth interact (p = {p:.3g}).{also}", numbers
    if serving:
        return (
            CONTRADICTED,
            f"Network and depth show no interaction (p = {p:.3g}), and one depth serves all networks.",
            numbers,
        )
    why = f"Neither an interaction of network and depth is sure (p = {p:.3g}), nor one depth that serves all networks."
    return UNKNOWN, f"{why} If the interaction that is seen is real, {_enough(needed)} to show it.", numbers


def _interaction(networks: Sequence[ContestedNetwork]) -> tuple[float, int | None]:
    """P-value of no interaction of network and depth, and roughly how many objects would show what is seen.

    The sum of squared residuals of the two-way table is set against what it is in draws shifted to have none; of that,
    the objects' part falls as one over their number. None where it takes more seeds.
    """
    both = np.stack([np.stack([each.contest.paired_draws(c) for c in each.contest.whole]) for each in networks])
    alone = np.stack(
        [np.stack([c.scores[e.contest.score].mean(0, dtype=np.float64) for c in e.contest.whole]) for e in networks]
    )
    seen, null = _residuals(both)
    high, high_of_objects = (float(np.quantile(each, LEVEL)) for each in (null, _residuals(alone)[1]))
    allowed = seen / 2 - max(0.0, high - high_of_objects)
    needed = math.ceil(len(networks[0].contest.sample) * high_of_objects / allowed) if allowed > 0 else None
    return float((1 + (null >= seen).sum()) / (1 + len(null))), needed


def _residuals(drawn: np.ndarray) -> tuple[float, np.ndarray]:
    """Of a table [network, depth, draw], the squares of what is neither network nor depth; and without any in truth."""
    residual = drawn - drawn.mean(0) - drawn.mean(1, keepdims=True) + drawn.mean((0, 1))
    null = ((residual[..., 1:] - residual[..., :1]) ** 2).sum((0, 1))
    return float((residual[..., 0] ** 2).sum()), null


def _serving_all(networks: Sequence[ContestedNetwork]) -> list[int]:
    """Places in the order of depths that are surely not worse than the best by the margin in every network."""
    good = [
        {
            i
            for i, each in enumerate(network.contest.whole)
            if each is network.contest.best
            or network.contest.difference(network.contest.best, each).upper < network.contest.margin
        }
        for network in networks
    ]
    return sorted(set.intersection(*good))


def _peaks(networks: Sequence[ContestedNetwork]) -> Verdict:
    numbers = [
        {
            "backbone": each.backbone,
            "depth": each.best.depth,
            "validation_accuracy": each.row["validation_accuracy"],
            "peak_epoch": each.row["peak_epoch"],
            "gap": each.row["gap"],
            "accuracy": each.row["accuracy"],
        }
        for each in networks
    ]
    first, second = ([e for e in networks if e.backbone in some] for some in (EARLY_AND_HIGH, LATE_AND_LOW))
    if not first or not second:
        lacking = EARLY_AND_HIGH if not first else LATE_AND_LOW
        return UNKNOWN, f"The study has none of {', '.join(lacking)}.", numbers
    apart = between(first, second, "accuracy")
    early, fits = (
        fmean(e.row[name] for e in first) < fmean(e.row[name] for e in second) for name in ("peak_epoch", "gap")
    )
    said = (
        f"The first group is {100 * abs(apart.value):.1f} points {'more' if apart.value > 0 else 'less'} accurate "
        f"({100 * apart.low:+.1f} to {100 * apart.high:+.1f}), peaks {'earlier' if early else 'no earlier'} and has "
        f"{'a smaller' if fits else 'no smaller'} gap."
    )
    verdict = SUPPORTED if apart.low > 0 and early and fits else UNKNOWN
    if apart.low <= 0 <= apart.high:
        said += f" To be sure of the accuracy, {_enough(_objects_for(apart, first))}."
    if apart.high < 0:
        verdict = CONTRADICTED
    return verdict, said, {"networks": numbers, "difference": apart.said()}


def _mobile(networks: Sequence[ContestedNetwork]) -> Verdict:
    front = pareto(networks)
    mobile, large = ([e for e in networks if (e.backbone in MOBILE) == wanted] for wanted in (True, False))
    if not mobile or not large:
        lacking = f"no mobile network ({', '.join(MOBILE)})" if not mobile else "mobile networks alone"
        return UNKNOWN, f"The study has {lacking}.", {"networks": front}
    top = max(large, key=lambda e: e.best.mean(e.contest.score))
    found = {each.backbone: between([top], [each], each.contest.score) for each in mobile}
    numbers = {"networks": front, "behind": {name: d.said() for name, d in found.items()}, "against": top.backbone}
    margin = top.contest.margin
    worse = [name for name, d in found.items() if d.low > 0]
    as_good = [name for name, d in found.items() if d.upper < margin]
    if as_good:
        return CONTRADICTED, f"{_are(as_good)} not worse than {top.backbone} by {margin:g}.", numbers
    if len(worse) == len(mobile):
        return SUPPORTED, f"{_are(worse)} worse than {top.backbone}.", numbers
    unsure = next(each.backbone for each in mobile if each.backbone not in worse)
    enough = _enough(_objects_for(found[unsure], mobile))
    return UNKNOWN, f"{unsure} is neither surely worse than {top.backbone} nor surely as good: {enough}.", numbers


def _are(names: Sequence[str]) -> str:
    return f"{listed(names)} {'is' if len(names) == 1 else 'are'}"


def _objects_for(found: Difference, some: Sequence[ContestedNetwork]) -> int | None:
    return objects_needed(found, len(some[0].contest.sample), abs(found.value))


def _both() -> Verdict:
    return UNKNOWN, "This study has images alone; the claim needs models of the photometry too.", []

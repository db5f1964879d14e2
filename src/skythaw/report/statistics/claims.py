"""The six claims of the seed study, each with a verdict on the user's own data.

Ethiraj & Bolla, arXiv 2205.07124 (claims 1 to 5) and 2205.10745 (claim 6). A verdict is *supported*, *contradicted* or
*cannot be told*, with the numbers behind it. All that is said of networks one by one is corrected for their number. No
claim is judged by one seed, and none rests on a depth that has not converged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, product
from statistics import fmean
from typing import Any

import numpy as np

from skythaw.report.number_format import listed, listed_depths, rounded
from skythaw.report.statistics.network_contest import ContestedNetwork, networks_apart, pareto
from skythaw.report.statistics.photometry_claim import (
    CONTRADICTED,
    ONE_SEED,
    SUPPORTED,
    UNKNOWN,
    Verdict,
    photometry_claim,
)
from skythaw.stats.differences import Difference
from skythaw.stats.study_size import StudySize, study_size

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


def claims(networks: Sequence[ContestedNetwork], inputs: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """The claims in order: ``number``, ``claim``, ``verdict``, ``why`` (one sentence), and ``numbers``.

    Parameters
    ----------
    networks
        each with its depths, on images alone
    inputs
        what images, numbers and both gave: `skythaw.report.statistics.number_comparison`
    """
    judges: Sequence[Callable[[Sequence[ContestedNetwork]], Verdict]] = (_baseline, _alike, _own_depth, _peaks, _mobile)
    found = [judge(networks) for judge in judges]
    if any(each.contest.seeds == 1 for each in networks):
        found = [(UNKNOWN, ONE_SEED, numbers) for _, _, numbers in found]
    found.append(photometry_claim(inputs, networks[0].contest.margin))
    return [
        {"number": i + 1, "claim": text, "verdict": verdict, "why": why, "numbers": numbers}
        for i, (text, (verdict, why, numbers)) in enumerate(zip(CLAIMS, found, strict=True))
    ]


def _baseline(networks: Sequence[ContestedNetwork]) -> Verdict:
    yes, no = "A deeper depth is better than depth 0", "No deeper depth is better by the margin"
    return _of_networks(networks, "better", yes, no)


def _alike(networks: Sequence[ContestedNetwork]) -> Verdict:
    margin = f"{networks[0].contest.margin:g}"
    yes, no = f"All depths are within {margin} of depth 0", f"Some depth is surely more than {margin} from depth 0"
    return _of_networks(networks, "alike", yes, no)


def _against_frozen(network: ContestedNetwork, families: int) -> dict[str, Any] | None:
    """Every deeper depth against depth 0: is one better, are all alike?"""
    contest = network.contest
    frozen = next((each for each in contest.whole if each.depth == 0), None)
    deeper = [each for each in contest.whole if each.depth > 0]
    if frozen is None or not deeper:
        return None
    all_found = contest.against(frozen, deeper, families)
    finished = (
        [] if frozen.not_converged else [d for each, d in zip(deeper, all_found, strict=True) if not each.not_converged]
    )
    margin, complete = contest.margin, len(finished) == len(deeper) and not contest.left_out
    top = max(range(len(deeper)), key=lambda i: deeper[i].mean(contest.score))
    far = max(all_found, key=lambda d: abs(d.value))
    below = complete and all(d.high_simultaneous < margin for d in finished)
    above = complete and all(d.low_simultaneous > -margin for d in finished)
    apart = any(d.low_simultaneous > margin or d.high_simultaneous < -margin for d in finished)
    better = any(d.sign > 0 for d in finished)

    def needed(found: Difference, target: float) -> dict[str, int | None]:
        size = study_size(found, len(contest.sample), contest.seeds, target) if complete else None
        return {"objects": size.objects if size else None, "seeds": size.seeds if size else None}

    shown = _best_shown(finished) if better else all_found[top]
    return {
        **network.said,
        "depth": deeper[all_found.index(shown)].depth,
        **shown.said_together(),
        "better": SUPPORTED if better else CONTRADICTED if below else UNKNOWN,
        "alike": SUPPORTED if below and above else CONTRADICTED if apart else UNKNOWN,
        "needed_for_better": needed(shown, _distance(shown.value, margin)),
        "needed_for_alike": needed(far, abs(abs(far.value) - margin)),
        "not_converged": contest.not_converged,
        "left_out": contest.left_out,
    }


def _best_shown(found: Sequence[Difference]) -> Difference:
    """The largest gain that is sure."""
    return max((each for each in found if each.sign > 0), key=lambda each: each.value)


def _distance(value: float, margin: float) -> float:
    """What would have to be told from nothing: that a gain is one, or that a loss is below the margin."""
    return value if value > 0 else margin - value


def _of_networks(networks: Sequence[ContestedNetwork], which: str, yes: str, no: str) -> Verdict:
    """A claim that some network shows: one is enough to support it, all must contradict it."""
    against = [_against_frozen(each, len(networks)) for each in networks]
    if not (numbers := [found for found in against if found]):
        return UNKNOWN, "The study does not have both depth 0 and a deeper depth.", []
    lacking = [e.network for e, found in zip(networks, against, strict=True) if not found]
    names: dict[str, list[str]] = {SUPPORTED: [], CONTRADICTED: [], UNKNOWN: []}
    names[UNKNOWN] += [f"{network} (it lacks depth 0, or any deeper one)" for network in lacking]
    for each in numbers:
        more = f" ({_lacking(each, which)})" if each[which] == UNKNOWN else ""
        names[each[which]].append(each["network"] + more)
    verdict = SUPPORTED if names[SUPPORTED] else CONTRADICTED if not names[UNKNOWN] else UNKNOWN
    said = ((SUPPORTED, yes), (CONTRADICTED, no), (UNKNOWN, "It can't be told"))
    why = " ".join(f"{what} in {', '.join(names[each])}." for each, what in said if names[each])
    return verdict, why, numbers


def _lacking(found: dict[str, Any], which: str) -> str:
    """Why it can't be told of a network."""
    if found["not_converged"]:
        return f"{listed_depths(found['not_converged'])} not converged"
    if found["left_out"]:
        return f"of {listed_depths(found['left_out'])} not all seeds are there"
    needed = found[f"needed_for_{which}"]
    return _enough(StudySize(**needed) if needed["objects"] else None)


def _enough(size: StudySize | None) -> str:
    """What it takes to tell."""
    if size is None:
        return "what it takes cannot be told"
    return f"it takes about {rounded(size.objects)} test objects and {size.seeds} seeds"


def _not_converged(networks: Sequence[ContestedNetwork]) -> str:
    """The depths that have not converged, in words; empty where all have."""
    found = [f"{e.network}, {listed_depths(e.contest.not_converged)}" for e in networks if e.contest.not_converged]
    return f"The training is not finished of: {'; '.join(found)}." if found else ""


def _own_depth(networks: Sequence[ContestedNetwork]) -> Verdict:
    sets = [[c.depth for c in each.contest.may_be_best(len(networks))] for each in networks]
    depths = [
        {
            **each.said,
            "depth": each.best.depth,
            **{name: each.row[name] for name in ("blocks", "tpr", "tlr")},
            "best_in": each.contest.best_in(),
            "set": found,
        }
        for each, found in zip(networks, sets, strict=True)
    ]
    if len(networks) < 2:
        why = "There is one network with the training size of the answer; the claim needs two or more."
        return UNKNOWN, why, {"depths": depths}
    if lacking := [f"{e.network}, {listed_depths(e.contest.missing)}" for e in networks if e.contest.missing]:
        return UNKNOWN, f"Not all seeds are there of: {'; '.join(lacking)}.", {"depths": depths}
    shares = np.array([each.shares for each in networks if len(each.shares) == len(networks[0].shares)])
    if len(shares) < len(networks) or shares.shape[1] < 2 or np.ptp(shares, axis=0).max() > 0.15:
        why = "The networks were not tried at comparable depths (such as 0 %, 50 % and 100 % of their blocks)."
        return UNKNOWN, why, {"depths": depths}
    serving = _serving_all(networks)
    numbers = {"depths": depths, "serves_all": [float(shares[:, i].mean()) for i in serving]}
    if pair := _no_share_in_common(networks):
        names = " and ".join(f"{e.network} ({_of_blocks(e, len(networks))})" for e in pair)
        return SUPPORTED, f"No share of the blocks may be the best in both {names}.", numbers
    if serving:
        share = f"{100 * shares[:, serving[0]].mean():.0f} %"
        why = f"With {share} of the blocks trained, all networks are within the margin of their best."
        return CONTRADICTED, why, numbers
    why = "Neither two networks whose best depths surely differ are seen, nor one depth that serves all networks."
    return UNKNOWN, " ".join(filter(None, (why, _not_converged(networks)))), numbers


def _places(network: ContestedNetwork, families: int) -> set[int]:
    """Of the decided depths, those that may be the best.

    Which ones a race stopped was not decided for as many networks at once, so here they may be.
    """
    found = network.contest.may_be_best(families)
    return {i for i, each in enumerate(network.contest.decided) if each in found or each in network.contest.stopped}


def _no_share_in_common(networks: Sequence[ContestedNetwork]) -> tuple[ContestedNetwork, ContestedNetwork] | None:
    """Two networks of which no depth may be the best in both."""
    for one, other in combinations(networks, 2):
        if not _places(one, len(networks)) & _places(other, len(networks)):
            return one, other
    return None


def _of_blocks(network: ContestedNetwork, families: int) -> str:
    return listed(f"{100 * network.shares[i]:.0f} %" for i in sorted(_places(network, families)))


def _serving_all(networks: Sequence[ContestedNetwork]) -> list[int]:
    """Places in the order of depths that are surely within the margin of the best in every network."""
    if any(each.contest.not_converged for each in networks):
        return []
    contests = [each.contest for each in networks]
    good = [{i for i, each in enumerate(c.decided) if each in c.surely_good(len(networks))} for c in contests]
    return sorted(set.intersection(*good))


def _peaks(networks: Sequence[ContestedNetwork]) -> Verdict:
    numbers = [
        {
            **each.said,
            "depth": each.best.depth,
            "validation_accuracy": each.row["validation_accuracy"],
            "peak_epoch": each.row["peak_epoch"],
            "gap": each.row["gap"],
            "accuracy": each.row["accuracy"],
        }
        for each in networks
    ]
    first, second = ([e for e in networks if e.seed_name in some] for some in (EARLY_AND_HIGH, LATE_AND_LOW))
    if len(first) < 2 or len(second) < 2:
        lacking = EARLY_AND_HIGH if len(first) < 2 else LATE_AND_LOW
        return UNKNOWN, f"The study has less than two of {', '.join(lacking)}.", {"networks": numbers}
    pairs = list(product(first, second))
    found = networks_apart(pairs, "accuracy")
    early, fits = (
        fmean(e.row[name] for e in first) < fmean(e.row[name] for e in second) for name in ("peak_epoch", "gap")
    )
    above, below = ([p for p, d in zip(pairs, found, strict=True) if d.sign == sign] for sign in (1, -1))
    said = (
        f"{len(above)} of {len(pairs)} pairs of a network of the first group and one of the second show the first "
        f"surely more accurate, {len(below)} surely less. On average the first group peaks "
        f"{'earlier' if early else 'no earlier'} and has {'a smaller' if fits else 'no smaller'} gap."
    )
    verdict = SUPPORTED if len(above) == len(pairs) and early and fits else CONTRADICTED if below else UNKNOWN
    return _if_converged([*first, *second], verdict, said, {"networks": numbers, "pairs": _said(pairs, found)})


def _mobile(networks: Sequence[ContestedNetwork]) -> Verdict:
    front = pareto(networks)
    mobile = [each for each in networks if each.seed_name in MOBILE]
    large = [each for each in networks if each.seed_name not in (None, *MOBILE)]
    if not (mobile and large):
        lacking = "other network" if mobile else f"mobile network ({', '.join(MOBILE)})"
        return UNKNOWN, f"The study has no {lacking} with ImageNet weights.", {"networks": front}
    pairs = list(product(large, mobile))
    found = networks_apart(pairs, large[0].contest.score)
    numbers, margin = {"networks": front, "pairs": _said(pairs, found)}, large[0].contest.margin
    as_good = [pair for pair, d in zip(pairs, found, strict=True) if d.high_simultaneous < margin]
    if as_good:
        names = listed(f"{small.network} than {big.network}" for big, small in as_good)
        return _if_converged([*mobile, *large], CONTRADICTED, f"Not worse by {margin:g}: {names}.", numbers)
    unsure = [(pair, d) for pair, d in zip(pairs, found, strict=True) if d.sign <= 0]
    if not unsure:
        return _if_converged(
            [*mobile, *large], SUPPORTED, "Every mobile network is surely worse than every other network.", numbers
        )
    (big, small), apart = min(unsure, key=lambda each: abs(each[1].value))
    enough = _enough(study_size(apart, len(big.contest.sample), big.contest.seeds, apart.value))
    why = f"{small.network} is neither surely worse than {big.network} nor surely as good: {enough}."
    return _if_converged([*mobile, *large], UNKNOWN, why, numbers)


def _said(
    pairs: Sequence[tuple[ContestedNetwork, ContestedNetwork]], found: Sequence[Difference]
) -> list[dict[str, Any]]:
    """Of each pair of networks, the first less the second."""
    return [
        {"first": one.network, "second": other.network, **d.said_together()}
        for (one, other), d in zip(pairs, found, strict=True)
    ]


def _if_converged(networks: Sequence[ContestedNetwork], verdict: str, why: str, numbers: Any) -> Verdict:
    """The verdict, where the training of all these networks is finished at all depths."""
    reason = _not_converged(networks)
    return (UNKNOWN, reason, numbers) if reason else (verdict, why, numbers)

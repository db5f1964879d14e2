"""What a report says of several weights of one network: is it worth which, and does it need less depth?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skythaw.report.number_format import listed, listed_depths, with_interval
from skythaw.report.number_sentences import against, together


def weight_sentences(facts: Mapping[str, Any]) -> list[str]:
    """Of each network with several weights: what they reach, how surely, frozen and at their best depths."""
    return [_of_network(each) for each in facts["weights"]]


def _of_network(found: Mapping[str, Any]) -> str:
    every = found["weights"]
    reached = listed(
        f"{each['weights']} {with_interval(each['macro_f1'])} at depth {each['depth']} of {each['blocks']}"
        for each in every
    )
    said = [f"{found['backbone']} with other weights, at its best depth: macro-F1 with {reached}."]
    if min(each["seeds"] for each in every) < 2:
        said.append("There is one seed, so none of them is called better, and what depth they need can't be told.")
        return " ".join(said)
    first = every[0]["weights"]
    for pairs, when in ((found["best"], ""), (found["frozen"], "Left frozen, ")):
        said += [_apart(pair, when) for pair in pairs if pair["first"] == first]
    said.append(_depths(every))
    return " ".join(said)


def _apart(pair: Mapping[str, Any], when: str) -> str:
    start = f"{when}{pair['first']} is"
    if not pair["converged"]:
        return f"{start} called neither better nor worse than {pair['second']} before both have converged."
    return f"{start} {against(together(pair), pair['second'])}."


def _depths(every: list[Mapping[str, Any]]) -> str:
    """Whether the best weights need another depth than others."""
    first, said = every[0], []
    for each in every[1:]:
        if not (first["converged"] and each["converged"]):
            continue
        if (first["tried"], first["blocks"]) != (each["tried"], each["blocks"]):
            said.append(f"{first['weights']} and {each['weights']} were not tried at the same depths.")
        elif max(first["set"]) < min(each["set"]):
            said.append(f"{first['weights']} needs less depth than {each['weights']}: {_sets(first, each)}.")
        elif min(first["set"]) > max(each["set"]):
            said.append(f"{first['weights']} needs more depth than {each['weights']}: {_sets(first, each)}.")
        else:
            said.append(f"It can't be told whether {first['weights']} needs another depth than {each['weights']}.")
    return " ".join(said) or "What depth they need can't be told before their training has converged."


def _sets(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    return f"{listed_depths(one['set'])} may be best, and {listed_depths(other['set'])}"

"""What a report says of certainty: whether there is a gain, how sure the recommended depth is, what would tell more."""

from __future__ import annotations

from typing import Any

from skythaw.report.number_format import listed_depths, points, rounded
from skythaw.report.recommendations import Facts, network_rows


def how_sure(compared: dict[str, Any]) -> str:
    """Whether the recommended depth is surely a good one; else which depths may be the best."""
    if compared["rule"] == "only depth":
        return _alone(compared["incomplete"])
    margin, chosen = f"{compared['margin']:g}", compared["recommended"]
    if compared["sure"]:
        if compared["set"] == [compared["recommended"]]:
            return f"Depth {chosen} is surely the best of the depths that were tried."
        return f"Depth {chosen} is the shallowest that is surely within {margin} of the best."
    return f"Depth {chosen} is the best guess, and not sure: {_may_be_best(compared)}{_because(compared)}."


def _alone(incomplete: list[int]) -> str:
    """Why there is nothing to compare a depth with."""
    why = (
        f"Of {listed_depths(incomplete)} too few cells are done" if incomplete else "No other depth was trained in full"
    )
    return f"{why}, so there is nothing to compare it with."


def _may_be_best(compared: dict[str, Any]) -> str:
    """The depths that may be the best, and the cheapest of them."""
    several = compared["set"]
    if len(several) == 1:
        return f"depth {several[0]} alone may be the best"
    return f"{listed_depths(several)} may each be the best, and depth {several[0]} is the cheapest of them"


def _because(compared: dict[str, Any]) -> str:
    if compared["unsure"] == "one seed":
        return ". There is one seed, so this holds for these trained networks only, and how sure it is cannot be told"
    if compared["unsure"] == "not converged":
        return f". The training of {listed_depths(compared['not_converged'])} is not finished"
    if compared["unsure"] == "depths are missing":
        return f". Not all seeds of {listed_depths(compared['incomplete'])} are there"
    return ""


def separation(compared: dict[str, Any]) -> str:
    """Whether the test set is large enough to tell the depths apart, and what it would take."""
    if compared["rule"] == "only depth":
        return ""
    sentences = [_apart(compared)]
    if lacking := compared["not_converged"]:
        verbs = "has not converged and is" if len(lacking) == 1 else "have not converged and are"
        sentences.append(f"{listed_depths(lacking).capitalize()} {verbs} never called worse.")
    if lacking := compared["incomplete"]:
        verbs = "lacks seeds and takes" if len(lacking) == 1 else "lack seeds and take"
        sentences.append(f"{listed_depths(lacking).capitalize()} {verbs} no part in the comparison.")
    if lacking := compared["dropped"]:
        verbs = "was dropped by the search and takes" if len(lacking) == 1 else "were dropped by the search and take"
        sentences.append(f"{listed_depths(lacking).capitalize()} {verbs} no part in the comparison.")
    if lacking := compared["stopped"]:
        verbs = "was stopped by the race and takes" if len(lacking) == 1 else "were stopped by the race and take"
        sentences.append(f"{listed_depths(lacking).capitalize()} {verbs} no part in the comparison.")
    return " ".join(sentences)


def _apart(compared: dict[str, Any]) -> str:
    alike = [each for each in compared["alike"] if each["behind"]["low_simultaneous"] <= 0]
    these = "" if compared["seeds"] > 1 else " Of these trained networks alone:"
    if compared["alike"] and not alike:  # what is behind is not finished, or the best one is not
        return f"{these} As they are trained now, the test set tells the best depth from every other.".strip()
    if not alike:
        return f"{these} The test set tells the best depth from every other.".strip()
    widest = max(alike, key=lambda each: each["behind"]["difference"])
    behind = widest["behind"]["difference"]
    text = (
        f"{these} {compared['objects']:,} test objects do not tell the best depth ({compared['best']}) from "
        f"{listed_depths(each['depth'] for each in alike)}. "
    ).lstrip()
    if not behind:
        return text + "They do not differ on these objects."
    enough = _enough(widest["objects_needed"], widest["seeds_needed"])
    return text + f"If depth {widest['depth']} truly is {points(behind, sign=False)} points behind, {enough}."


def _enough(objects: int | None, seeds: int | None) -> str:
    if objects is None:
        return "what it would take to show it cannot be told"
    return f"about {rounded(objects)} objects and {seeds} seeds show it in four of five studies"


def redrawn(facts: Facts) -> str:
    """What differs between seeds: that is what their spread tells."""
    images = {row["train_size"] for row in network_rows(facts)}
    available = (facts["objects"] or {}).get("train")
    drawn = [size for size in images if size != available]
    what = "the first weights of the head and the order and the changes of the images"
    if not drawn:
        return f"A seed draws {what}; the training images are the same for all seeds, for all of them are used."
    text = f"A seed draws the training images, {what}"
    if len(drawn) < len(images):
        text += f" (with all {available:,} images, these are the same for all seeds)"
    return f"{text}."

"""The answer of a study: its choice, in words that someone new to it understands.

Every command, the page and the web pages say these sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skythaw.report.choice import Choice
from skythaw.report.number_format import percent
from skythaw.report.number_sentences import against, together, turned, with_ends
from skythaw.report.trained_blocks import trained_blocks

NAMED = 4
"""trainings that have not converged, named at most"""


def plain_answer(choice: Choice | None) -> list[str]:
    """A few short sentences: what to train, how good it is, how sure that is, and what is not known."""
    if choice is None:
        return []
    said = [_what_to_train(choice), _how_good(choice), *_above_frozen(choice), *_above_control(choice)]
    said += [*_with_numbers(choice), *_how_sure(choice)]
    more = choice["more_images"]
    if more.get("low", 0) > 0:
        said.append(f"With {more['images']:,} training images, {with_ends(more)} more may be expected.")
    if unknown := _not_told(choice):
        said.append(f"Can't be told: {'; '.join(unknown)}.")
    return said


def classifier_in_words(about: Mapping[str, Any]) -> str:
    """What a classifier is, and what it scored.

    Parameters
    ----------
    about
        ``network``, ``strategy``, ``depth``, ``blocks``, ``train_size``, ``size`` and ``scores``
    """
    scores = about["scores"]
    return (
        f"The classifier is {about['network']} with {trained_blocks(about)}, {_images(about)}. On its test objects "
        f"it was right in {percent(scores['accuracy'])}; macro-F1 {scores['macro_f1']:.3f}."
    )


def _what_to_train(choice: Choice) -> str:
    settings = "".join(f", {axis} {value}" for axis, value in choice["settings"].items())
    return f"Use {choice['network']} with {trained_blocks(choice)}, {_images(choice)}{settings}."


def _images(choice: Mapping[str, Any]) -> str:
    size = f" of {choice['size']} x {choice['size']} pixels" if choice["size"] else ""
    return f"on {choice['train_size']:,} training images{size}"


def _how_good(choice: Choice) -> str:
    on = f" of {choice['objects']:,} test objects" if choice["objects"] else " of the test objects"
    right = percent(choice["accuracy"]["mean"])
    return f"It classifies {right}{on} rightly; its macro-F1 is {_interval(choice['macro_f1'])}."


def _above_control(choice: Choice) -> list[str]:
    """What the network is above a forest on numbers that were measured from the same images."""
    control = choice["control"]
    if control is None:
        return []
    found = together(control["network"])
    score, numbers = _interval(control["macro_f1"]), control["numbers"]
    said = f"A forest on {numbers} numbers measured from the same images reaches {score}"
    if not control["network"]["converged"]:
        return [f"{said}."]
    seeds = control["network"]["seeds"]
    if found["high"] < 0 and seeds > 1:
        return [f"{said}: the network is {with_ends(turned(found))} worse. It is not worth its price here."]
    if found["low"] > 0 or found["high"] < 0:
        return [f"{said}: the network is {against(found, 'it', seeds)}."]
    return [f"{said}: the network may be no better (the difference is {with_ends(found)})."]


def _with_numbers(choice: Choice) -> list[str]:
    """What images and numbers reach together, and each alone."""
    inputs = choice["inputs"]
    if inputs is None:
        return []
    found = {pair["second"]: together(pair) for pair in inputs["pairs"] if pair["first"] == "both"}
    said = [
        against(found[name], f"{what} alone", inputs["seeds"])
        for name, what in (("images", "the images"), ("table", "the numbers"))
    ]
    depth = f" (depth {inputs['depths']['both']})" if inputs["depths"]["both"] != choice["depth"] else ""
    score = _interval(inputs["macro_f1"]["both"])
    gains = f": {'; '.join(said)}" if inputs["converged"] else ""
    return [f"Together with the numbers beside the images it reaches {score}{depth}{gains}."]


def _above_frozen(choice: Choice) -> list[str]:
    above = choice["above_frozen"]
    if above is None:
        return []
    if above["low"] > 0 or above["high"] < 0:
        return [f"That is {against(above, 'the same network left frozen', choice['seeds'])}."]
    return [f"The same network left frozen may be as good: the difference is {with_ends(above)}."]


def _interval(score: Mapping[str, Any]) -> str:
    known = score.get("low") is not None
    return f"{score['mean']:.3f}" + (f" (95 % interval {score['low']:.3f} to {score['high']:.3f})" if known else "")


def _how_sure(choice: Choice) -> list[str]:
    """How sure the depth is, and what it rests on."""
    said = []
    if choice["converged"] is False:
        why = "; ".join(choice["not_converged"])
        said.append(f"Its training has not converged ({why}): train longer before you rely on this.")
    if choice["seeds"] < 2:
        said.append("All of this is of these trained networks: there is one seed, so another training may differ.")
    rate = f", all with the learning rate {choice['one_rate']:g}" if choice["one_rate"] else ""
    if choice["sure"] and choice["depth"] in choice["may_be_best"] and len(choice["may_be_best"]) == 1:
        said.append(f"That depth is surely the best of the {choice['depths']} depths that were tried{rate}.")
    elif choice["sure"]:
        within = f"within {choice['margin']:g} of the best of the {choice['depths']} depths"
        said.append(f"That depth is surely {within}{rate}.")
    told = [each for each in choice["rivals"] if _told(each)]
    worse, better = ([each for each in told if (each["difference"] < 0) == ahead] for ahead in (False, True))
    if worse and len(worse) == len(choice["rivals"]):
        said.append(f"It is surely better than {_names(worse, 'and')}.")
    if better:
        verb = "is" if len(better) == 1 else "are"
        said.append(f"On the test objects {_names(better, 'and')} {verb} surely better; validation chose the network.")
    return said


def _not_told(choice: Choice) -> list[str]:
    """What these data can't tell, each in a few words."""
    unknown = []
    if choice["control"] and not choice["control"]["network"]["converged"]:
        unknown.append("whether it is better than the forest, before its training has converged")
    if choice["inputs"] and not choice["inputs"]["converged"]:
        unknown.append("what the numbers beside the images add, before the training has converged")
    if choice["above_frozen"] is None and choice["depth"] > 0:
        unknown.append("whether it is better than the same network left frozen")
    others = [depth for depth in choice["may_be_best"] if depth not in (0, choice["depth"])]  # of 0 it is said already
    if choice["sure"] is None and choice["depths"] > 1 and (choice["seeds"] < 2 or not choice["may_be_best"]):
        unknown.append("which depth is the best")
    elif choice["sure"] is not True and others:
        unknown.append(f"whether {_or(others)} blocks would be as good or better")
    if choice["one_rate"] and choice["depths"] > 1:
        unknown.append("whether another depth is better at a learning rate of its own")
    if alike := [each for each in choice["rivals"] if not _told(each)]:
        unknown.append(f"whether {_names(alike, 'or')} is as good")
    if choice["unfinished"]:
        unknown.append(f"what the trainings of the study that are not finished ({choice['unfinished']}) would give")
    more = choice["more_images"]
    if "why" in more:
        unknown.append(f"what more images would give ({more['why']})")
    elif more["low"] <= 0:
        unknown.append(f"whether more images would help ({more['images']:,} of them: {with_ends(more)})")
    return unknown


def _told(rival: Mapping[str, Any]) -> bool:
    """Whether one of the two networks is surely the better one."""
    return bool(rival["converged"] and rival["seeds"] > 1 and rival["p_simultaneous"] < 0.05)


def _names(rivals: Sequence[Mapping[str, Any]], word: str) -> str:
    return _or([each["network"] for each in rivals], word)


def _or(several: Sequence[Any], word: str = "or") -> str:
    """``3``, ``3 or 6``, ``3, 6 or 10``."""
    names = [str(each) for each in several]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def unfinished(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line that says which rows have not converged, and why; nothing where all have."""
    several = len({row["network"] for row in rows}) > 1
    named = [
        f"{row['network'] + ', ' if several else ''}depth {row['depth']}{with_images(row, rows)} "
        f"({'; '.join(row['not_converged'])})"
        for row in rows
        if not row["converged"]
    ]
    named = list(dict.fromkeys(named))
    more = f" and {len(named) - NAMED} more, marked in the table" if len(named) > NAMED else ""
    return [f"Not converged, so no depth is called worse for it: {', '.join(named[:NAMED])}{more}."] if named else []


def with_images(one: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """On how many images it was trained, after a comma; nothing where all rows have the same number."""
    return f", {one['train_size']:,} images" if len({row["train_size"] for row in rows}) > 1 else ""

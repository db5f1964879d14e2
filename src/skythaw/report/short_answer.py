"""The answer of a study in one sentence: what to use, how good that is, and whether something simpler is as good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skythaw.report.number_format import percent
from skythaw.report.number_sentences import together
from skythaw.report.trained_blocks import trained_blocks


def short_answer(choice: Mapping[str, Any] | None) -> str:
    """One sentence; it never praises a network that is worse than its control.

    Parameters
    ----------
    choice
        of the facts of a report; None where no cell is done
    """
    if choice is None:
        return "No training is finished yet, so there is no answer."
    images = choice["train_size"]
    how = f"{choice['network']} {f'with {trained_blocks(choice)}' if choice['depth'] else 'left frozen'}"
    on = f"of {choice['objects']:,} test objects" if choice["objects"] else "of the test objects"
    right = f"{percent(choice['accuracy']['mean'])} {on} rightly"
    worth = _beside_control(choice["control"])
    if choice["converged"] is False:
        worth += "; its training is not finished"
    if choice["unfinished"]:
        worth += f"; other trainings of the study ({choice['unfinished']}) are not finished"
    return f"Use {how} on {images:,} images: it classifies {right}{worth}."


def _beside_control(control: Mapping[str, Any] | None) -> str:
    """What is to be said of a forest on measured numbers: nothing where the network is surely better."""
    if control is None or not control["network"]["converged"]:
        return ""
    found = together(control["network"])
    if found["low"] > 0:
        return ""
    better = "does better" if control["network"]["seeds"] > 1 else "scores higher (one seed)"
    said = better if found["high"] < 0 else "may do as well"
    return f", but a forest on numbers measured from the same images {said}"

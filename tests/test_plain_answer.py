"""The plain answer: one choice, in sentences that say no more than the facts do."""

from __future__ import annotations

import pytest

from helpers_run import World, forget, make_run
from skythaw.bundle.export.choose_cell import choose
from skythaw.errors import UnknownNameError
from skythaw.report.choice import _control, _inputs
from skythaw.report.plain_answer import plain_answer, unfinished
from skythaw.report.recommendations import Recommendation
from skythaw.report.report_facts import report_facts
from skythaw.report.sentences import _warnings
from skythaw.report.short_answer import short_answer
from skythaw.study.ledger import Ledger

CHOICE = {
    "network": "mobilenetv2",
    "backbone": "mobilenetv2",
    "strategy": "top",
    "train_size": 1500,
    "depth": 10,
    "blocks": 19,
    "seeds": 3,
    "size": 96,
    "settings": {},
    "objects": 3000,
    "macro_f1": {"mean": 0.806, "std": 0.004, "low": 0.791, "high": 0.82},
    "accuracy": {"mean": 0.82, "std": 0.004, "low": 0.8, "high": 0.84},
    "above_frozen": {"difference": 0.055, "low": 0.031, "high": 0.079},
    "depths": 5,
    "may_be_best": [10],
    "sure": True,
    "margin": 0.01,
    "one_rate": None,
    "rivals": [],
    "more_images": {"images": 3000, "difference": 0.018, "low": 0.005, "high": 0.03},
    "control": None,
    "inputs": None,
    "converged": True,
    "not_converged": [],
    "unfinished": 0,
    "keys": ["a", "b", "c"],
}
RIVAL = {
    "converged": True,
    "network": "vgg16",
    "depth": 3,
    "seeds": 3,
    "difference": 0.02,
    "low": -0.01,
    "high": 0.05,
    "p": 0.2,
    "p_simultaneous": 0.2,
}


def answer(**changes):
    return " ".join(plain_answer({**CHOICE, **changes}))


def test_it_says_network_blocks_size_images_score_gain_certainty_and_more_images():
    assert answer() == (
        "Use mobilenetv2 with the last 10 of its 19 blocks trained, on 1,500 training images of 96 x 96 pixels. "
        "It classifies 82 % of 3,000 test objects rightly; its macro-F1 is 0.806 (95 % interval 0.791 to 0.820). "
        "That is 5.5 points of macro-F1 (3.1 to 7.9) better than the same network left frozen. "
        "That depth is surely the best of the 5 depths that were tried. "
        "With 3,000 training images, 1.8 points of macro-F1 (0.5 to 3.0) more may be expected."
    )


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("sure", [True, False, None])
@pytest.mark.parametrize("rivals", [[], [RIVAL]])
@pytest.mark.parametrize("why", [{}, {"why": "one number of images was tried"}])
def test_it_has_three_to_six_sentences_whatever_is_known(seeds, sure, rivals, why):
    more = why or CHOICE["more_images"]
    said = plain_answer({**CHOICE, "seeds": seeds, "sure": sure, "rivals": rivals, "more_images": more})
    assert 3 <= len(said) <= 7
    assert sum(each.startswith("Can't be told") for each in said) <= 1, "together, in one"


@pytest.mark.parametrize(
    ("low", "high", "says", "never"),
    [
        (-0.057, 0.069, "left frozen may be as good: the difference is 0.8 points of macro-F1 (-5.7 to 6.9)", "better"),
        (-0.069, -0.01, "is -0.8", "better"),
        (
            0.001,
            0.069,
            "0.8 points of macro-F1 (0.1 to 6.9) better than the same network left frozen",
            "may be as good",
        ),
    ],
)
def test_better_is_never_said_beside_an_interval_that_holds_zero(low, high, says, never):
    said = answer(above_frozen={"difference": 0.008, "low": low, "high": high}, may_be_best=[], sure=None)
    if high < 0:
        assert "That is -0.8 points of macro-F1 (1.0 to 6.9) worse than the same network left frozen." in said
    else:
        assert says in said
    assert never not in said


def test_what_was_not_trained_to_its_end_is_said():
    assert "Can't be told: what the trainings of the study that are not finished (4) would give." in answer(
        unfinished=4
    )
    assert short_answer({**CHOICE, "unfinished": 1}).endswith("; other trainings of the study (1) are not finished.")
    assert "not finished" not in answer() + short_answer(CHOICE)


def test_without_predictions_which_depth_is_the_best_is_not_told():
    said = answer(sure=None, may_be_best=[], above_frozen=None)
    assert "whether it is better than the same network left frozen; which depth is the best" in said


def test_numbers_of_images_that_are_not_finished_are_not_called_untried(tmp_path):
    run = make_run(tmp_path, World({"resnet50": {0: 1.0, 5: 2.0}}, sizes=(300, 1000)))
    forget(run, lambda cell: cell.train_size == 1000 and (cell.depth > 0 or cell.seed > 0))
    with Ledger.read(run) as ledger:
        said = report_facts(ledger)["answer"]
    assert "on 300 training images" in said
    assert "what more images would give (one number of images is finished)" in said


def test_what_is_sure_of_depths_at_one_learning_rate_is_so_at_that_rate():
    for may_be_best in ([10], [5, 10]):
        said = answer(one_rate=0.001, may_be_best=may_be_best)
        assert ", all with the learning rate 0.001." in said
        assert "whether another depth is better at a learning rate of its own" in said
    assert "learning rate" not in answer()


def test_of_one_seed_it_speaks_of_these_trained_networks():
    rival = {**RIVAL, "p_simultaneous": 0.001, "seeds": 1}
    assert "whether vgg16 is as good" in answer(rivals=[rival])
    said = answer(seeds=1, sure=None, may_be_best=[5, 10], rivals=[rival])
    assert "these trained networks" in said
    assert "which depth is the best" in said
    assert "surely" not in said


@pytest.mark.parametrize("sign", [1, -1])
def test_one_seed_is_above_or_below_and_never_better_or_worse(sign):
    """Another training may differ: nothing that names a winner of trainings rests on one of each."""
    ends = sorted((sign * 0.03, sign * 0.08))
    gain = {"difference": sign * 0.055, "low": ends[0], "high": ends[1]}
    pair = {**gain, "low_simultaneous": ends[0], "high_simultaneous": ends[1]}
    score = {"mean": 0.8, "low": 0.78, "high": 0.82}

    def changes(seeds, beside):
        return {
            "seeds": seeds,
            "above_frozen": gain,
            "control": {"numbers": 47, "macro_f1": score, "network": {**pair, "converged": True, "seeds": beside}},
            "inputs": {
                "pairs": [{"first": "both", "second": other, **pair} for other in ("images", "table")],
                "depths": {"images": 10, "both": 10},
                "macro_f1": {"both": score},
                "converged": True,
                "seeds": beside,
            },
            "sure": None,
        }

    one, three = answer(**changes(1, 1)), answer(**changes(3, 3))
    word, other = ("above", "better than") if sign > 0 else ("below", "worse than")
    assert one.count(f"(3.0 to 8.0) {word} ") == 4, "frozen, control, images alone, numbers alone"
    for never in ("better than", "worse", "not worth its price", "surely"):
        assert never not in one
    assert three.count(f"(3.0 to 8.0) {other} ") == (4 if sign > 0 else 3)
    assert answer(**changes(3, 1)).count(f"(3.0 to 8.0) {word} ") == 3, "of control and numbers there is one seed"


def test_a_training_that_has_not_converged_is_said_with_its_reason():
    said = answer(converged=False, not_converged=["best at the end: epoch 6 of 6"], sure=None)
    assert "has not converged (best at the end: epoch 6 of 6)" in said
    assert "surely" not in said


def test_depths_that_may_be_as_good_are_named():
    assert "Can't be told: whether 5 or 19 blocks would be as good or better." in answer(
        sure=False, may_be_best=[5, 10, 19]
    )
    assert "surely within 0.01 of the best of the 5 depths" in answer(may_be_best=[10, 14])


def test_other_networks_are_told_from_it_or_not():
    assert "whether vgg16 is as good" in answer(rivals=[RIVAL])
    sure = {**RIVAL, "low": 0.01, "p_simultaneous": 0.01}
    assert "It is surely better than vgg16." in answer(rivals=[sure])
    said = answer(rivals=[{**sure, "converged": False}])
    assert "surely better than vgg16" not in said
    assert "whether vgg16 is as good" in said


def test_no_gain_is_promised_where_more_images_may_give_none():
    said = answer(more_images={"images": 3000, "difference": 0.01, "low": -0.01, "high": 0.03})
    assert "may be expected" not in said
    assert "whether more images would help (3,000 of them: 1.0 points of macro-F1 (-1.0 to 3.0))" in said


def test_all_blocks_and_none_are_said_in_words():
    assert "with all of its 19 blocks trained" in answer(depth=19, may_be_best=[19])
    assert "with none of its 19 blocks trained (a new last layer alone)" in answer(depth=0, above_frozen=None)


def test_what_has_not_converged_is_named_with_its_images_where_these_differ():
    row = {"network": "vgg16", "depth": 3, "converged": False, "not_converged": ["diverged"], "inputs": "images"}
    two, one = [{**row, "train_size": size} for size in (300, 1500)], [{**row, "train_size": 300}]
    said = "Not converged, so no depth is called worse for it: "
    assert unfinished(two) == [f"{said}depth 3, 300 images (diverged), depth 3, 1,500 images (diverged)."]
    assert unfinished(one) == [f"{said}depth 3 (diverged)."]
    alarm = {"network": "vgg16", "depth": 3, "train_size": 300, "seed": 1, "alarm": "diverged"}
    facts = {"warnings": [], "cells": {"done": 1, "stopped": 0, "cells": 1}, "alarms": [alarm]}
    assert _warnings({**facts, "rows": two}) == ["alarm: vgg16, depth 3, 300 images, seed 1: diverged"]
    assert _warnings({**facts, "rows": one}) == ["alarm: vgg16, depth 3, seed 1: diverged"]


def test_nothing_is_said_of_nothing():
    assert plain_answer(None) == []


def test_the_choice_of_several_networks_is_the_best_ones_recommendation(tmp_path):
    world = World({"resnet50": {0: 1.0, 5: 2.2}, "vgg16": {0: 0.9, 5: 1.0}}, objects=400, groups=100)
    with Ledger.read(make_run(tmp_path, world)) as ledger:
        facts = report_facts(ledger)
    choice = facts["choice"]
    assert (choice["backbone"], choice["depth"], choice["size"]) == ("resnet50", 5, 64)
    (rival,) = choice["rivals"]
    row = next(each for each in facts["recommended"] if each["backbone"] == "vgg16")
    assert rival["difference"] == pytest.approx(choice["macro_f1"]["mean"] - row["macro_f1"]["mean"], abs=1e-6)
    assert "It is surely better than vgg16." in facts["answer"]
    pair = facts["comparisons"][0]["pairs"][0]["macro_f1"]
    assert choice["above_frozen"] == {name: pair[name] for name in ("difference", "low", "high", "p")}


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (
            "lora:4",
            "with low-rank products beside the weights of the last 10 of its 19 blocks trained (strategy lora:4)",
        ),
        ("norm_only", "with the normalisation layers of the last 10 of its 19 blocks trained (strategy norm_only)"),
        ("block", "with block 10 of its 19 blocks, counted from the last, trained (strategy block)"),
        ("gradual", "with the last 10 of its 19 blocks trained (strategy gradual)"),
    ],
)
def test_what_a_strategy_trains_is_said(strategy, words):
    choice = {**CHOICE, "strategy": strategy}
    assert words in plain_answer(choice)[0]
    assert words in short_answer(choice)


def test_a_gain_that_is_sure_is_never_shown_as_none():
    assert "(0.03 to 4.0) better than" in answer(above_frozen={"difference": 0.02, "low": 0.0003, "high": 0.04})


def test_networks_of_other_training_sizes_are_not_compared(tmp_path):
    """One cell with 1,000 images failed: that network is not taken with 100 images instead."""
    skills = {"resnet50": {0: 1.0, 5: 2.2, 10: 2.2}, "vgg16": {0: 1.0, 5: 2.2, 10: 2.2}}
    run = make_run(tmp_path, World(skills, objects=400, groups=100, sizes=(100, 1000), seeds=(0, 1)))
    forget(run, lambda cell: (cell.backbone, cell.depth, cell.train_size) == ("vgg16", 10, 1000))
    with Ledger.read(run) as ledger:
        facts = report_facts(ledger)
    assert {row["train_size"] for row in facts["recommended"] if row["main"]} == {1000}
    assert len(facts["choice"]["rivals"]) == 1
    forget(run, lambda cell: (cell.backbone, cell.train_size) == ("vgg16", 1000))
    with Ledger.read(run) as ledger:
        facts = report_facts(ledger)
    assert (facts["choice"]["train_size"], facts["choice"]["rivals"]) == (1000, [])
    assert "vgg16" not in facts["answer"]


def test_a_network_with_one_seed_does_not_speak_for_the_study(tmp_path):
    skills = {"resnet50": {0: 1.0, 5: 2.0}, "vgg16": {0: 1.0, 5: 2.6}}
    run = make_run(tmp_path, World(skills, objects=400, groups=100, luck={"vgg16": 2.0}))
    forget(run, lambda cell: cell.backbone == "vgg16" and cell.seed > 0)
    with Ledger.read(run) as ledger:
        facts = report_facts(ledger)
    assert facts["choice"]["backbone"] == facts["failures"]["backbone"] == "resnet50"
    assert "vgg16 is surely" not in facts["answer"]
    assert "whether vgg16 is as good" in facts["answer"]


def test_validation_chooses_the_network_for_the_answer_and_for_the_classifier(tmp_path):
    """On the test set the other one is better: that is said, and not used."""
    skills = {"resnet50": {0: 1.0, 5: 2.0}, "vgg16": {0: 0.9, 5: 1.2}}
    world = World(skills, objects=800, groups=200, luck={"vgg16": 2.0})
    run = make_run(tmp_path, world)
    with Ledger.read(run) as ledger:
        facts = report_facts(ledger)
        exported = choose(ledger.entries(), facts, None, None, run)
    assert facts["choice"]["backbone"] == facts["failures"]["backbone"] == exported.cell.backbone == "vgg16"
    assert exported.key in facts["choice"]["keys"]
    others = {**facts, "rows": [row for row in facts["rows"] if exported.key not in row["keys"]]}
    with Ledger.read(run) as ledger, pytest.raises(UnknownNameError, match="the report takes another for its depth"):
        choose(ledger.entries(), others, exported.key, None, run)
    (rival,) = facts["choice"]["rivals"]
    assert rival["backbone"] == "resnet50"
    assert rival["difference"] < 0
    assert "On the test objects resnet50 is surely better; validation chose the network." in facts["answer"]
    assert "It is surely better than" not in facts["answer"]


def test_the_control_and_the_numbers_beside_are_those_of_the_chosen_network():
    best = Recommendation({}, {"network": "vgg16", "strategy": "top", "train_size": 300}, None, ())
    control = {"train_size": 300, "numbers": 47, "macro_f1": {}, "network": {"network": "vgg16", "strategy": "lora:8"}}
    assert _control({"control": [control]}, best) is None
    control["network"]["strategy"] = "top"
    assert _control({"control": [control]}, best)["numbers"] == 47

    def of(inputs, test, validation):
        named = {**best.row, "inputs": inputs, "macro_f1": {"both": {"mean": test}}}
        return named, {**named, "validation_macro_f1": {"mean": validation}}

    inputs, recommended = zip(of("both:mean", 0.9, 0.7), of("both:stack", 0.8, 0.8), strict=True)
    assert _inputs({"inputs": inputs, "recommended": recommended}, best)["inputs"] == "both:stack"


def control(difference, low, high, converged=True):
    ends = {"difference": difference, "low_simultaneous": low, "high_simultaneous": high}
    network = {**ends, "converged": converged, "seeds": 3}
    return {"numbers": 45, "macro_f1": {"mean": 0.809, "low": 0.79, "high": 0.82}, "network": network}


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ((0.02, 0.01, 0.03), "the network is 2.0 points of macro-F1 (1.0 to 3.0) better"),
        ((-0.028, -0.045, -0.011), "the network is 2.8 points of macro-F1 (1.1 to 4.5) worse"),
        (
            (-0.002, -0.02, 0.01),
            "the network may be no better (the difference is -0.2 points of macro-F1 (-2.0 to 1.0))",
        ),
    ],
)
def test_the_control_stands_beside_the_network(gain, words):
    said = answer(control=control(*gain))
    assert "A forest on 45 numbers measured from the same images reaches 0.809 (95 % interval 0.790 to 0.820)" in said
    assert words in said
    assert ("not worth its price" in said) == (gain[2] < 0)


@pytest.mark.parametrize("gain", [(0.02, 0.01, 0.03), (-0.028, -0.045, -0.011)])
def test_a_network_that_has_not_converged_is_not_judged_by_the_control(gain):
    said = answer(control=control(*gain, converged=False))
    assert "A forest on 45 numbers measured from the same images reaches 0.809" in said
    assert not any(word in said for word in ("points of macro-F1 (1.", "worse", "not worth its price"))
    assert "Can't be told: whether it is better than the forest, before its training has converged" in said


def test_what_both_reach_together_is_said_of_each_alone():
    def pair(second, low, high):
        ends = {"low_simultaneous": low, "high_simultaneous": high}
        return {"first": "both", "second": second, "difference": (low + high) / 2, **ends}

    score = {"mean": 0.97, "low": 0.96, "high": 0.98}
    inputs = {"converged": True, "seeds": 3, "depths": {"images": 10, "both": 5}, "macro_f1": {"both": score}}
    said = answer(inputs=inputs | {"pairs": [pair("images", 0.1, 0.2), pair("table", -0.01, 0.02)]})
    assert "it reaches 0.970 (95 % interval 0.960 to 0.980) (depth 5)" in said
    assert "15.0 points of macro-F1 (10.0 to 20.0) better than the images alone" in said
    assert "not surely better or worse than the numbers alone (0.5 points of macro-F1 (-1.0 to 2.0))" in said


def test_what_is_better_than_the_frozen_network_is_said_before_the_control():
    """So that "That is" can only mean the score of the network."""
    gain = {"difference": 0.02, "low": 0.01, "high": 0.03, "low_simultaneous": 0.01, "high_simultaneous": 0.03}
    network = {"network": "mobilenetv2", "converged": True, "seeds": 3, **gain}
    control = {"numbers": 47, "macro_f1": {"mean": 0.78, "low": 0.76, "high": 0.8}, "network": network}
    said = answer(control=control)
    assert 0 < said.index("That is 5.5 points") < said.index("A forest on 47 numbers")

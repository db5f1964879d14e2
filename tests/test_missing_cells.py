"""A study of which cells failed, are still to run, or were dropped: what is said of the rest, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from helpers_run import World, forget, make_run
from skythaw.cli.print_report import print_report
from skythaw.report.certainty_sentences import how_sure
from skythaw.report.report_facts import report_facts
from skythaw.report.sentences import method, report_sentences
from skythaw.report.statistics.candidate import Candidate
from skythaw.stats.differences import Means, difference
from skythaw.stats.intervals import NOTHING, SeedSpread, score_limits
from skythaw.stats.study_size import study_size
from skythaw.study.ledger import Ledger

SKILLS = {"mobilenetv2": {0: 2.0, 5: 2.05, 10: 3.2}}
WIDE = World(SKILLS, objects=3000, groups=3000, seed_spread=0.0)


def facts_of(run, margin=0.02):
    with Ledger.read(run) as ledger:
        return report_facts(ledger, margin)


def test_where_one_cell_failed_depths_are_compared_on_the_seeds_that_they_share(tmp_path):
    run = make_run(tmp_path, WIDE)
    whole = facts_of(run)
    forget(run, lambda cell: (cell.depth, cell.seed) == (10, 2))
    facts = facts_of(run)
    (compared,) = facts["comparisons"]
    assert (compared["seeds"], compared["incomplete"]) == (2, [])
    assert compared["recommended"] == whole["comparisons"][0]["recommended"] == 10
    assert facts["claims"][0]["verdict"] == "supported"
    assert facts["claims"][1]["verdict"] == "contradicted"
    assert "trainings of the study that are not finished (1)" in facts["answer"]


def test_two_depths_of_three_seeds_count_for_more_than_many_of_one(tmp_path):
    """As in the middle of a study: with one seed nothing could be said at all."""
    run = make_run(tmp_path, World({"mobilenetv2": dict.fromkeys(range(7), 2.0)}))
    forget(run, lambda cell: cell.depth > 1 and cell.seed > 0)
    (compared,) = facts_of(run)["comparisons"]
    assert (compared["seeds"], compared["incomplete"]) == (3, [2, 3, 4, 5, 6])


@pytest.mark.parametrize("left", [0, 1])
def test_a_depth_of_which_too_little_is_left_blocks_what_would_rest_on_it(tmp_path, left):
    """Nothing says that depths 0 and 5 are the best, or that all are alike, while depth 10 is not known."""
    run = make_run(tmp_path, WIDE)
    forget(run, lambda cell: cell.depth == 10 and cell.seed >= left)
    facts = facts_of(run)
    (compared,) = facts["comparisons"]
    assert (compared["seeds"], compared["incomplete"], compared["unsure"]) == (3, [10], "depths are missing")
    assert "surely" not in facts["answer"]
    for claim in facts["claims"][:2]:
        assert claim["verdict"] == "cannot be told"
        assert "of depth 10 not all seeds are there" in claim["why"]


def test_a_depth_that_a_search_dropped_is_no_missing_one_and_blocks_the_claims(tmp_path):
    alike = World({"mobilenetv2": {0: 2.0, 5: 2.0, 10: 1.0}}, objects=8000, groups=8000, seed_spread=0.0)
    run = make_run(tmp_path, alike)
    forget(run, lambda cell: cell.depth == 10)
    at = {"backbone": "mobilenetv2", "strategy": "top", "train_size": 1000, "depth": 10, "setting": "depth 10"}
    numbers = {"rung": 1, "images": 1000, "seeds": 1, "log_loss": 1.0, "macro_f1": 0.5, "behind_f1": None}
    with Ledger.read(run) as ledger:
        study = ledger.study
    with Ledger.create(run, study, []) as ledger:
        ledger.note("search", [at | numbers | {"round": "first seed", "fate": "worse with the first seed"}])
    facts = facts_of(run)
    (compared,) = facts["comparisons"]
    assert (compared["incomplete"], compared["dropped"]) == ([], [10])
    assert compared["unsure"] is None
    assert [each["verdict"] for each in facts["claims"][:2]] == ["cannot be told"] * 2


def test_networks_of_which_one_has_one_seed_are_not_judged(tmp_path):
    """Claim 5 plans a study with the seeds of both: of one seed nothing can be planned."""
    skills = {"mobilenetv2": {0: 1.0, 5: 2.0, 10: 2.0}, "resnet50": {0: 1.0, 5: 2.1, 10: 2.0}}
    run = make_run(tmp_path, World(skills, objects=300, groups=60))
    forget(run, lambda cell: cell.backbone == "resnet50" and cell.seed > 0)
    assert {each["verdict"] for each in facts_of(run)["claims"]} == {"cannot be told"}


def test_from_one_seed_no_study_is_planned():
    """Also where the spread between seeds is known, from another network."""
    draws = np.stack([0.8 + 0.01 * np.random.default_rng(i).normal(size=400) for i in (0, 1)])
    found = difference(Means(draws, (SeedSpread(1e-4, 0.0, 4), NOTHING), (0, 1), (3, 1)))
    assert found.freedom >= 2
    assert study_size(found, 300, 3, 0.1) is not None
    assert study_size(found, 300, 1, 0.1) is None


@pytest.mark.parametrize("objects", [9, 600])
def test_a_score_of_which_all_objects_are_right_is_no_certainty(tmp_path, objects):
    """Of 9 objects that are all right, a third may be wrong in truth; 600 tell more than a share of 1 %."""
    world = World({"mobilenetv2": {0: 60.0, 5: 60.0}}, objects=objects, groups=objects, seed_spread=0.0)
    facts = facts_of(make_run(tmp_path, world), 0.01)
    low = facts["rows"][0]["macro_f1"]["low"]
    assert facts["choice"]["macro_f1"]["low"] == low == pytest.approx(0.025 ** (1 / objects))
    assert facts["choice"]["sure"] == (objects > 400)


def test_two_collapsed_depths_take_nothing_from_a_clear_winner(tmp_path):
    """They say the same of every object, and are far behind."""
    world = World({"mobilenetv2": {0: 1.0, 5: 3.2, 7: -60.0, 10: -60.0}}, objects=300, groups=300, seed_spread=0.0)
    facts = facts_of(make_run(tmp_path, world), 0.01)
    assert [row["macro_f1"]["mean"] for row in facts["rows"]][2:] == [0.0, 0.0]
    assert (facts["choice"]["depth"], facts["choice"]["sure"]) == (5, True)


def test_seeds_that_are_left_out_have_no_part_in_what_validation_would_choose(tmp_path):
    run = make_run(tmp_path, WIDE)
    with Ledger.read(run) as ledger:
        results = tuple(e.result for e in ledger.entries() if e.cell.depth == 0)
    scores = [each.scores["validation"]["macro_f1"] for each in results]
    assert len(set(scores)) == 3
    one = Candidate(0, (0, 1, 2), ("a", "b", "c"), {"macro_f1": np.zeros((3, 4))}, 0.5, results=results)
    assert one.of_seeds(frozenset({0, 1})).validation == pytest.approx((scores[0] + scores[1]) / 2)


def test_a_log_loss_may_be_larger_than_one():
    assert score_limits(np.full(100, 1.5), 10, np.inf) == (1.5, 1.5)


def test_no_law_rests_on_a_training_that_is_not_finished(tmp_path):
    world = World({"mobilenetv2": {0: 1.0, 5: 2.0}}, sizes=(100, 300, 1000), objects=900, groups=300)
    assert "why" not in facts_of(make_run(tmp_path / "whole", world))["size_curves"][0]
    short = World(world.skills, sizes=world.sizes, objects=900, groups=300, short=(5,))
    facts = facts_of(make_run(tmp_path / "short", short))
    assert facts["size_curves"] == []
    assert facts["no_size_law"][0]["why"] == "with 100, 300 and 1000 images it has not converged"


def test_where_numbers_alone_are_done_no_predictions_are_said_to_be_gone():
    assert "No training of a network is done yet" in method({"method": None, "rows": [{"inputs": "table"}]})
    assert "holds no predictions" in method({"method": None, "rows": [{"inputs": "images"}]})


def test_a_study_of_which_every_cell_failed_says_so(tmp_path, skythaw):
    run = make_run(tmp_path, World({"mobilenetv2": {0: 1.0, 5: 2.0}}, seeds=(0,)))
    forget(run, lambda cell: True)
    shown = skythaw("report", run)
    assert "no cell is done yet (2 to run, 2 failed: skythaw study status says why)" in shown.stdout


def test_a_network_without_its_frozen_cells_leaves_open_what_is_said_of_all_networks(tmp_path):
    """Nobody knows whether the frozen resnet50 is as good as deeper tuning."""
    skills = {"mobilenetv2": {0: 1.0, 5: 3.0}, "resnet50": {0: 1.0, 5: 3.0}}
    run = make_run(tmp_path, World(skills, objects=3000, groups=3000, seed_spread=0.0))
    assert facts_of(run)["claims"][1]["verdict"] == "contradicted"
    forget(run, lambda cell: (cell.backbone, cell.depth) == ("resnet50", 0))
    better, alike = facts_of(run)["claims"][:2]
    assert (better["verdict"], alike["verdict"]) == ("supported", "cannot be told")
    assert "It can't be told in resnet50 (it lacks depth 0, or any deeper one)." in alike["why"]


def test_cells_that_failed_are_told_on_the_page_and_on_the_terminal(tmp_path, capsys):
    run = make_run(tmp_path, World({"mobilenetv2": {0: 1.0, 5: 2.0}}))
    forget(run, lambda cell: (cell.depth, cell.seed) == (5, 2))
    facts = facts_of(run)
    said = "5 of 6 cells are done and 1 failed (skythaw study status says why): the report is not complete"
    assert report_sentences(facts).warnings[-1] == said
    print_report(facts)
    assert said in " ".join(capsys.readouterr().out.split())


def test_depths_that_share_no_seed_are_not_called_untrained(tmp_path):
    run = make_run(tmp_path, World({"mobilenetv2": {0: 1.0, 5: 2.0}}))
    forget(run, lambda cell: (cell.depth, cell.seed) not in {(0, 0), (5, 1)})
    (compared,) = facts_of(run)["comparisons"]
    assert "cells are done, so there is nothing to compare it with" in how_sure(compared)

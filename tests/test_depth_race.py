"""`study run --race`: depths that can no longer be the best get no further seeds, and the report stays right.

But for the last ones, no network is trained here: results are made up, so that it is known which depth is the best.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from trust import Truth, _first, contested, contests

import skythaw as package
from helpers_numbers import make_numbered_survey, write_numbered_study
from helpers_search import AUTO, HALF, entries, invented, setting, study_of
from skythaw.errors import LedgerError
from skythaw.report.report_facts import report_facts
from skythaw.report.statistics.claims import claims
from skythaw.report.statistics.depth_contest import Contest
from skythaw.spec import Study
from skythaw.stats.cell_predictions import predictions_path
from skythaw.stats.surely_worse import Beaten
from skythaw.study import depth_race, search_standing
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import Watcher
from skythaw.study.run_study import run_study
from skythaw.study.study_status import status

THREE = {"seed = [0, 1]": "seed = [0, 1, 2]"}
CELLS = {0: 1.0, 2: 1.2, 4: 2.2, 7: 2.1}
"""skill by depth: 2 is surely worse than 4 after two seeds, 7 can't be told from it"""
LEFT = {(2, 2)}
"""depths and seeds that are not trained then"""


@pytest.fixture
def made_up(sky, tmp_path, cache, own_engine):
    """Run a study of made-up networks; the run folder and the summary."""

    def run(skill, *changes, name="run", unfinished=(), watcher=None, with_race=True):
        study = study_of(sky, HALF, THREE, *changes)
        engine = own_engine(invented(skill, study, cache, unfinished))
        here = setting(tmp_path, cache, name, engine)
        return tmp_path / name, run_study(study, here, watcher, with_race=with_race)

    return run


def skills(by_depth):
    return lambda cell, trial: by_depth[cell.depth]


def done(folder):
    return {(e.cell.depth, e.cell.seed) for e in entries(folder) if e.state == "done"}


def facts_of(folder):
    with Ledger.read(folder) as ledger:
        return report_facts(ledger)


EVERY = {(depth, seed) for depth in CELLS for seed in (0, 1, 2)}


class TestRates:
    @pytest.mark.parametrize(("times", "rate"), [(1, 1e-3), (2, 3e-3)])
    def test_all_seeds_of_a_setting_have_one_rate_whatever_became_of_a_trial(self, made_up, times, rate):
        """A trial that fails is tried once more; if it would succeed in a later round, that changes nothing."""
        failed = []

        def skill(cell, trial):
            if trial and cell.depth == 7 and cell.recipe.lr == 1e-3 and len(failed) < times:
                failed.append(cell.key)
                raise MemoryError("a worker was killed")
            return CELLS[cell.depth]

        folder, _ = made_up(skill, AUTO)
        assert len(failed) == times
        rates = {e.cell.depth: set() for e in entries(folder)}
        for entry in entries(folder):
            if entry.result:
                rates[entry.cell.depth].add(entry.result.lr)
        assert rates == {0: {1e-3}, 2: {1e-3}, 4: {1e-3}, 7: {rate}}
        assert [e.state for e in entries(folder, "trial")].count("failed") == times - 1

    def test_a_trial_that_always_fails_is_tried_twice_in_all(self, made_up):
        tried = []

        def skill(cell, trial):
            if trial and cell.depth == 7 and cell.recipe.lr == 1e-3:
                tried.append(cell.key)
                raise MemoryError("too large")
            return CELLS[cell.depth]

        made_up(skill, AUTO)
        assert len(tried) == 2


class TestWhatIsTrained:
    def test_the_surely_worse_get_no_further_seed_and_the_rest_all(self, made_up):
        folder, summary = made_up(skills(CELLS))
        assert done(folder) == EVERY - LEFT
        assert (summary.cells, summary.done, summary.stopped, summary.failed) == (12, 11, 1, 0)
        assert [e.state for e in entries(folder)].count("waiting") == 1

    def test_without_a_race_all_are_trained(self, made_up):
        folder, summary = made_up(skills(CELLS), with_race=False)
        assert done(folder) == EVERY
        assert summary.stopped == 0

    def test_the_frozen_network_is_never_out(self, made_up):
        folder, _ = made_up(skills(CELLS | {0: -1.0}))
        assert (0, 2) in done(folder)

    def test_what_has_not_converged_is_not_out_and_puts_none_out(self, made_up):
        folder, _ = made_up(skills(CELLS), unfinished=(2,))
        assert done(folder) == EVERY
        folder, _ = made_up(skills(CELLS | {7: 1.3, 2: 1.3}), unfinished=(4,), name="best")
        assert done(folder) == EVERY

    def test_validation_decides_and_never_the_test_set(self, made_up, monkeypatch):
        parts = []
        read = search_standing.read_sample
        monkeypatch.setattr(
            search_standing, "read_sample", lambda run, part, *rest: parts.append(part) or read(run, part, *rest)
        )
        made_up(skills(CELLS))
        assert parts == ["validation"]

    def test_a_second_look_needs_less_distance(self, made_up):
        folder, _ = made_up(skills(CELLS | {7: 1.8}), {"seed = [0, 1, 2]": "seed = [0, 1, 2, 3]"})
        assert {seed for depth, seed in done(folder) if depth == 7} == {0, 1, 2}
        assert {seed for depth, seed in done(folder) if depth == 2} == {0, 1}

    @pytest.mark.parametrize("seeds", [[0], [0, 1]])
    def test_two_seeds_are_no_race(self, made_up, seeds):
        told = []

        class Listening(Watcher):
            def noted(self, text):
                told.append(text)

        folder, _ = made_up(skills(CELLS), {"seed = [0, 1, 2]": f"seed = {seeds}"}, watcher=Listening())
        assert done(folder) == {(depth, seed) for depth in CELLS for seed in seeds}
        assert told == ["a race needs more than 2 seeds: every cell is trained"]

    def test_training_sizes_do_not_compete(self, made_up):
        """With few images every depth is worse than any with many."""
        folder, _ = made_up(
            lambda cell, trial: CELLS[cell.depth] - (cell.train_size < 50),
            {"train_size = [75]": "train_size = [40, 75]"},
        )
        lacking = {(e.cell.train_size, e.cell.depth) for e in entries(folder) if e.state == "waiting"}
        assert lacking == {(40, 2), (75, 2)}

    def test_values_of_an_axis_compete(self, made_up):
        folder, _ = made_up(
            lambda cell, trial: CELLS[cell.depth] - (cell.recipe.shift == 2), {"[grid]": "[grid]\nshift = [0, 2]"}
        )
        lacking = {(e.cell.recipe.shift, e.cell.depth) for e in entries(folder) if e.state == "waiting"}
        assert lacking == {(0, 2), (2, 2), (2, 4), (2, 7)}

    def test_a_depth_with_a_failed_cell_is_not_judged(self, made_up):
        def skill(cell, trial):
            if (cell.depth, cell.seed) == (2, 0):
                raise RuntimeError("a cosmic ray")
            return CELLS[cell.depth]

        folder, summary = made_up(skill)
        assert summary.failed == 1
        assert done(folder) == EVERY - {(2, 0)}


class TestGoingOn:
    def test_a_run_that_was_stopped_decides_the_same(self, made_up):
        for stop_at in (2, 5, 8):
            ran = []

            def skill(cell, trial, ran=ran, stop_at=stop_at):
                if len(ran) == stop_at:
                    ran.append(None)
                    raise KeyboardInterrupt
                ran.append(cell.key)
                return CELLS[cell.depth]

            with pytest.raises(KeyboardInterrupt):
                made_up(skill, name=f"stopped{stop_at}")
            folder, _ = made_up(skill, name=f"stopped{stop_at}")
            assert done(folder) == EVERY - LEFT
            keys = [key for key in ran if key]
            assert len(keys) == len(set(keys)), "nothing was run twice"

    def test_a_run_without_a_race_trains_what_was_left(self, made_up):
        folder, _ = made_up(skills(CELLS))
        _, summary = made_up(skills(CELLS), with_race=False)
        assert done(folder) == EVERY
        assert (summary.done, summary.stopped) == (12, 0)
        assert facts_of(folder)["race"] == []

    def test_a_race_goes_on_where_a_run_without_one_was_stopped(self, made_up):
        """Further seeds that are there already decide nothing."""
        ran = []

        def skill(cell, trial):
            if len(ran) == 9:
                ran.append(None)
                raise KeyboardInterrupt
            ran.append(cell.key)
            return CELLS[cell.depth]

        with pytest.raises(KeyboardInterrupt):
            made_up(skill, with_race=False)
        before = done(tmp := made_up(skills(CELLS))[0]) & LEFT
        assert done(tmp) == (EVERY - LEFT) | before
        (only,) = facts_of(tmp)["race"] if before != LEFT else [None]
        assert only is None or only["seeds"] == 2 + len(before)

    def test_the_ledger_remembers_who_is_out_and_a_race_again_changes_nothing(self, made_up):
        folder, _ = made_up(skills(CELLS))
        with Ledger.read(folder) as ledger:
            first = ledger.remark("race")
        made_up(skills(CELLS))
        with Ledger.read(folder) as ledger:
            assert ledger.remark("race") == first
        (only,) = first
        assert (only["depth"], only["better"], len(only["trained"]), len(only["left"])) == (2, "depth 4", 2, 1)
        assert 0 < only["behind"][0] < only["behind"][1]

    def test_predictions_that_are_gone_are_named(self, made_up):
        folder, _ = made_up(skills(CELLS))
        predictions_path(folder, next(e for e in entries(folder) if e.cell.depth == 4).key).unlink()
        with pytest.raises(LedgerError, match="give the study a new folder"):
            made_up(skills(CELLS))


class TestWhatIsSaid:
    def test_status_counts_what_was_left_and_no_time_for_it(self, made_up):
        folder, _ = made_up(skills(CELLS))
        with Ledger.read(folder) as ledger:
            found = status(ledger)
        assert (found["cells"], found["done"], found["stopped"], found["seconds_left"]) == (12, 11, 1, 0)

    def test_the_report_says_who_and_why_and_that_nothing_is_missing(self, made_up):
        folder, _ = made_up(skills(CELLS))
        facts = facts_of(folder)
        (only,) = facts["race"]
        assert (only["depth"], only["seeds"], only["of"]) == (2, 2, 3)
        assert not any("not complete" in each for each in facts["warnings"])
        assert "not finished" not in facts["answer"]
        (compared,) = facts["comparisons"]
        assert compared["stopped"] == [2]
        assert compared["incomplete"] == []
        assert compared["seeds"] == 3
        assert {each["a"] for each in compared["pairs"]} | {each["b"] for each in compared["pairs"]} == {0, 4, 7}


def test_claims_that_need_every_depth_can_not_be_told():
    """Trust's own studies: three depths that are truly alike, of which one lacks seeds."""
    truth = Truth(((0.95,) * 3, (0.95,) * 3), 4000, 3, 0.0)
    whole = contests(truth, np.random.default_rng(3))
    assert [each["verdict"] for each in claims(contested(whole, ["resnet50", "vgg16"]))][1:3] == [
        "supported",
        "contradicted",
    ]
    for place in (1, 2):
        raced = [Contest([_first(e, 1 + 2 * (i != place), 3) for i, e in enumerate(c.whole)], c.sample) for c in whole]
        assert [each.depth for each in raced[0].stopped] == [whole[0].whole[place].depth]
        found = claims(contested(raced, ["resnet50", "vgg16"]))
        assert found[1]["verdict"] == "cannot be told"
        assert "not all seeds are there" in found[1]["why"]
        assert found[2]["verdict"] == "cannot be told"


def test_one_depth_that_is_left_alone_was_compared():
    (whole,) = contests(Truth(((0.6, 0.8),), 300, 3, 0.003), np.random.default_rng(0))
    raced = Contest([_first(whole.whole[0], 1, 3), whole.whole[1]], whole.sample)
    assert (raced.recommended.depth, raced.unsure) == (whole.whole[1].depth, None)
    only = Contest([whole.whole[1]], whole.sample)
    assert only.unsure == "one depth"
    unfinished = Contest([replace(whole.whole[0], seeds=(0,)), whole.whole[1]], whole.sample)
    assert unfinished.stopped == []


@pytest.fixture
def weakest_is_out(monkeypatch):
    """In the place of the rule: of real, tiny networks nothing is sure."""

    def rule(scores, finished, looks):
        means = [each[:, 0].mean() for each in scores]
        order = sorted(range(len(means)), key=lambda i: (means[i], i))
        return [Beaten(order[-1], 0.01, 0.2) if i in order[:-1] else None for i in range(len(means))]

    monkeypatch.setattr(depth_race, "surely_worse", rule)


@pytest.mark.soak
def test_the_command_the_function_and_every_engine_decide_the_same(here, cache, skythaw, weakest_is_out):
    file = here / "study.toml"
    file.write_text(file.read_text().replace("seed = [0, 1]", "seed = [0, 1, 2]"))
    out = skythaw("study", "plan", "study.toml", cwd=here).stdout
    assert "skythaw study run --race may save up to 2 cells of these" in " ".join(out.split())
    ran = skythaw(
        "study", "run", "study.toml", "--out", "run", "--race", "--engine", "serial", "--no-control", cwd=here
    )
    left = [e.cell.depth for e in entries(here / "run") if e.state == "waiting"]
    assert left
    assert f"{len(left)} were not trained: their depths can no longer be the best" in ran.stdout
    assert f"{len(left)} are not trained" in skythaw("study", "status", "run", cwd=here).stdout
    said = " ".join(skythaw("report", "run", "--html", "page.html", cwd=here).stdout.split())
    assert f"depth {left[0]} (2 of 3 seeds, 1.0 to 20.0 points behind depth" in said
    assert "Stopped by the race: timm:test_efficientnet" in (here / "page.html").read_text()

    package.run_study(
        here / "study.toml", here / "two", engine="processes", workers=2, control=False, race=True, cache=cache
    )
    assert {(e.key, e.state) for e in entries(here / "two")} == {(e.key, e.state) for e in entries(here / "run")}
    rest = skythaw("study", "run", "study.toml", "--out", "run", "--engine", "serial", "--no-control", cwd=here)
    assert "9 of 9 cells are done" in rest.stdout
    assert "not trained" not in rest.stdout
    assert "Stopped by the race" not in skythaw("report", "run", cwd=here).stdout


@pytest.mark.soak
def test_images_and_numbers_together_race_apart(tmp_path, cache, monkeypatch):
    """A cell of both needs the one on images with its seed, whether or not that is out."""

    def rule(scores, finished, looks):
        seen.append(len(scores))
        last = len(scores) - 1
        return [Beaten(0, 0.01, 0.2) if len(seen) == 1 and i == last else None for i in range(len(scores))]

    seen = []
    monkeypatch.setattr(depth_race, "surely_worse", rule)
    make_numbered_survey(tmp_path / "survey.parquet")
    study = Study.load(write_numbered_study(tmp_path, replace={"seed = [0, 1]": "seed = [0, 1, 2]"}))
    summary = run_study(study, setting(tmp_path, cache), with_race=True)
    assert len(seen) == 2, "one contest on images, one of both"
    assert (summary.failed, summary.done) == (0, summary.cells), "both need what images alone would have left"

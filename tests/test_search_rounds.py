"""The rounds of a search: what is surely worse is dropped, what can't be told is trained, and trials see no test set.

No network is trained here: results are made up, so that it is known which depth is the best.
"""

from __future__ import annotations

from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from helpers_search import AUTO, HALF, LONG, ONE, entries, invented, setting, study_of
from skythaw.errors import DataError, LedgerError
from skythaw.report.report_facts import report_facts
from skythaw.report.sentences import search_sentence
from skythaw.stats.cell_predictions import predictions_path, read_predictions
from skythaw.study import execute, rate_trials
from skythaw.study.depth_search import search
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import Watcher


def test_how_far_a_depth_is_behind_and_its_fate_are_told_apart():
    """The interval may be above 0 beside a fate that is as good as can be told: it is of other objects alone."""
    said = search_sentence([{"round": "trial", "behind_f1": (0.02, 0.05)}])
    assert "called worse only if that is sure for other seeds, too" in said


@pytest.fixture
def made_up(sky, tmp_path, cache, own_engine):
    """Search a study of made-up networks; the run folder and the standings."""

    def run(skill, *changes, name="run", unfinished=(), watcher=None):
        study = study_of(sky, HALF, *changes)
        engine = own_engine(invented(skill, study, cache, unfinished))
        return tmp_path / name, search(study, setting(tmp_path, cache, name, engine), watcher)

    return run


def fates(standings, stage):
    return {s.depth: s.fate for s in standings if s.round == stage}


def skills(trial, full):
    """By depth."""
    return lambda cell, is_trial: (trial if is_trial else full)[cell.depth]


LEARNT = {0: 1.0, 2: 1.2, 4: 1.8, 7: 1.8}
CELLS = {0: 1.0, 2: 1.2, 4: 2.0, 7: 1.9}


class TestWhatIsDropped:
    def test_the_surely_worse_are_dropped_and_the_rest_is_trained_with_all_seeds(self, made_up):
        folder, standings = made_up(skills(LEARNT, CELLS | {7: 1.5}), AUTO)
        assert fates(standings, "trial") == {0: "goes on", 2: "worse in the trial", 4: "goes on", 7: "goes on"}
        assert fates(standings, "first seed") == {0: "goes on", 4: "goes on", 7: "worse with the first seed"}
        assert fates(standings, "all seeds") == {0: "worse with all seeds", 4: "best on validation"}
        done = {(e.cell.depth, e.cell.seed) for e in entries(folder)}
        assert done == {(0, 0), (0, 1), (4, 0), (4, 1), (7, 0)}

    def test_what_can_not_be_told_is_trained(self, made_up):
        _, standings = made_up(skills(LEARNT, CELLS), AUTO)
        assert fates(standings, "first seed")[7] == "goes on"
        last = {0: "worse with all seeds", 4: "best on validation", 7: "as good as can be told"}
        assert fates(standings, "all seeds") == last

    def test_of_one_seed_no_depth_is_called_worse_in_the_end(self, made_up):
        """Another seed of it may have been luckier: nobody knows how seeds differ."""
        _, standings = made_up(skills(LEARNT, CELLS | {0: 1.5}), AUTO, ONE)
        last = fates(standings, "all seeds")
        assert set(last.values()) == {"best on validation", "as good as can be told"}

    @pytest.mark.parametrize("changes", [AUTO, LONG], ids=["raced", "given rate"])
    def test_a_depth_that_learns_late_is_the_best_in_the_end(self, made_up, changes):
        """In its trial it is at chance, and so far behind that no interval could save it."""
        _, standings = made_up(skills(LEARNT | {7: 0.0}, CELLS | {7: 2.5}), changes)
        (trial,) = [s for s in standings if s.round == "trial" and s.depth == 7]
        assert trial.behind_f1[0] > 0.2
        assert trial.behind[0] > 0
        assert trial.fate == "goes on"
        assert fates(standings, "all seeds")[7] == "best on validation"

    def test_where_the_best_trial_is_at_chance_nothing_is_dropped(self, made_up):
        trial = {0: -0.5, 2: -0.5, 4: 0.05, 7: -0.5}
        _, standings = made_up(skills(trial, CELLS), AUTO)
        assert set(fates(standings, "trial").values()) == {"goes on"}
        assert any(s.behind_f1[0] > 0.05 for s in standings if s.round == "trial"), "though some are surely worse"

    def test_a_little_worse_in_the_trial_is_not_enough(self, made_up):
        """Behind for sure, but by less than curves may still rise."""
        _, standings = made_up(skills(LEARNT | {7: 1.45}, CELLS), AUTO)
        (trial,) = [s for s in standings if s.round == "trial" and s.depth == 7]
        assert 0 < trial.behind_f1[0] < 0.03
        assert trial.behind[0] > 0
        assert trial.fate == "goes on"

    def test_what_has_not_converged_is_not_called_worse(self, made_up):
        _, standings = made_up(skills(LEARNT, CELLS | {7: 1.5}), AUTO, unfinished=(7,))
        assert fates(standings, "first seed")[7] == "goes on"
        assert fates(standings, "all seeds")[7] == "as good as can be told"

    def test_one_seed_has_two_rounds(self, made_up):
        _, standings = made_up(skills(LEARNT, CELLS), AUTO, ONE)
        assert [s.round for s in standings] == ["trial"] * 4 + ["all seeds"] * 3
        assert {s.seeds for s in standings} == {1}

    def test_networks_sizes_and_strategies_do_not_compete(self, made_up):
        _, standings = made_up(
            lambda cell, trial: (LEARNT if trial else CELLS)[cell.depth] - (cell.train_size < 50),
            AUTO | {"train_size = [75]": "train_size = [40, 75]"},
        )
        best = [(s.train_size, s.depth) for s in standings if s.fate == "best on validation"]
        assert best == [(40, 4), (75, 4)]

    def test_each_value_of_an_axis_is_a_setting(self, made_up):
        two = {"[grid]": "[grid]\nshift = [0, 2]"}
        _, standings = made_up(lambda cell, trial: 1.0 + 0.5 * (cell.recipe.shift == 2), AUTO | two, ONE)
        (best,) = [s for s in standings if s.fate == "best on validation"]
        assert best.setting.endswith("shift 2")


class TestTrials:
    def test_they_are_the_winners_of_the_races_and_cost_nothing_more(self, made_up):
        """Every trial that is run is one of a rate; all have the same floor in steps, and all images."""
        folder, standings = made_up(skills(LEARNT, CELLS), AUTO)
        trials = entries(folder, role="trial")
        assert len(trials) == 4 * 3
        assert {t.cell.recipe.max_steps for t in trials} == {rate_trials.STEPS[0]}
        assert {t.cell.train_size for t in trials} == {s.images for s in standings} == {75}

    def test_with_a_given_rate_they_are_as_long(self, made_up):
        folder, _ = made_up(skills(LEARNT, CELLS), LONG)
        trials = entries(folder, role="trial")
        assert [t.cell.depth for t in trials] == [0, 2, 4, 7]
        assert {(t.cell.recipe.lr, t.cell.recipe.max_steps) for t in trials} == {(5e-3, rate_trials.STEPS[0])}

    @pytest.mark.parametrize("changes", [AUTO, LONG], ids=["raced", "given rate"])
    def test_they_never_see_the_test_set_and_are_no_cells_of_the_study(self, made_up, changes):
        folder, _ = made_up(skills(LEARNT, CELLS), changes)
        for trial in entries(folder, role="trial"):
            assert set(trial.result.scores) == {"validation"}
            parts = set(pq.read_table(predictions_path(folder, trial.key))["part"].to_pylist())
            assert parts == {"validation"}
        assert all("test" in e.result.scores for e in entries(folder))

    def test_one_that_is_a_cell_of_the_study_is_scored_as_such(self, made_up):
        short = {"epochs = 7": f'epochs = "auto"\nmax_steps = {rate_trials.STEPS[0]}'}
        folder, _ = made_up(skills(LEARNT, LEARNT), short, {"seed = [0, 1]": "seed = [0, 1, 2]"})
        assert entries(folder, role="trial") == []
        assert all("test" in e.result.scores for e in entries(folder))

    def test_a_trial_that_failed_tells_nothing(self, made_up):
        def skill(cell, trial):
            if trial and cell.depth == 7:
                raise RuntimeError("a cosmic ray")
            return (LEARNT if trial else CELLS | {7: 2.5})[cell.depth]

        _, standings = made_up(skill, LONG)
        (trial,) = [s for s in standings if s.round == "trial" and s.depth == 7]
        assert (trial.fate, trial.log_loss, trial.behind) == ("goes on", None, None)
        assert fates(standings, "all seeds")[7] == "best on validation"


class Told(Watcher):
    def __init__(self):
        self.notes, self.warnings = [], []

    def noted(self, text):
        self.notes.append(text)

    def warned(self, text):
        self.warnings.append(text)


def test_a_small_study_runs_in_full_and_says_so(made_up):
    told = Told()
    folder, standings = made_up(skills(LEARNT, CELLS), watcher=told)
    assert {s.round for s in standings} == {"all seeds"}
    assert len(entries(folder)) == 8
    assert entries(folder, role="trial") == []
    assert not told.warnings
    (said,) = told.notes
    assert "timm:test_efficientnet, top, 75 images: every depth is trained in full" in said
    with Ledger.read(folder) as ledger:
        facts = report_facts(ledger)
    assert not any("in full" in each for each in facts["warnings"]), "it is no alarm"
    assert search_sentence(facts["search"]).startswith("Every depth was trained in full")
    assert [s.fate for s in standings].count("best on validation") == 1


def test_whether_it_runs_in_full_is_decided_once(made_up):
    """What is kept of frozen parts changes what cells cost."""
    folder, standings = made_up(skills(LEARNT, CELLS))
    with Ledger.create(folder, entries_study(folder), []) as ledger:
        ledger.note("in_full", [])
    _, again = made_up(skills(LEARNT, CELLS))
    assert {s.round for s in again} > {s.round for s in standings}


def entries_study(folder):
    with Ledger.read(folder) as ledger:
        return ledger.study


def test_what_another_process_runs_is_waited_for_and_taken_over(monkeypatch):
    monkeypatch.setattr(execute, "POLL", 0)
    looks = iter(["running", "running", "waiting", "running", "failed"])
    run = SimpleNamespace(entries=lambda: [SimpleNamespace(key="k", state=next(looks))])
    worked = []
    execute.to_the_end(run, [SimpleNamespace(cell=SimpleNamespace(key="k"))], lambda: worked.append(True))
    assert len(worked) == 2
    assert list(looks) == []


class TestFailures:
    def test_a_setting_that_fails_is_out_and_where_all_fail_it_is_said(self, made_up):
        bad = {7}

        def skill(cell, trial):
            if cell.depth in bad:
                raise RuntimeError("a cosmic ray")
            return CELLS[cell.depth]

        _, standings = made_up(skill, AUTO)
        assert [(s.round, s.fate, s.macro_f1) for s in standings if s.depth == 7] == [
            ("trial", "goes on", None),
            ("first seed", "failed", None),
        ]
        bad = {0, 2, 4, 7}
        with pytest.raises(
            DataError, match=r"every cell of timm:test_efficientnet, top, 75 images failed; why: skythaw"
        ):
            made_up(skill, AUTO, name="all")

    @pytest.mark.soak
    def test_a_stopped_search_goes_on_to_the_same_end(self, made_up):
        _, whole = made_up(skills(LEARNT, CELLS), AUTO)
        for stop_at in (3, 13, 16):
            ran = []

            def skill(cell, trial, ran=ran, stop_at=stop_at):
                if len(ran) == stop_at:
                    ran.append(None)
                    raise KeyboardInterrupt
                ran.append(cell.key)
                return (LEARNT if trial else CELLS)[cell.depth]

            with pytest.raises(KeyboardInterrupt):
                made_up(skill, AUTO, name=f"stopped{stop_at}")
            _, standings = made_up(skill, AUTO, name=f"stopped{stop_at}")
            assert standings == whole
            keys = [key for key in ran if key]
            assert len(keys) == len(set(keys)), "nothing was run twice"

    def test_predictions_that_are_gone_are_named(self, made_up, tmp_path):
        folder, _ = made_up(skills(LEARNT, CELLS), AUTO)
        gone = next(e for e in entries(folder) if e.cell.depth == 4)
        predictions_path(folder, gone.key).unlink()
        with pytest.raises(LedgerError, match="give the study a new folder"):
            made_up(skills(LEARNT, CELLS), AUTO)
        with pytest.raises(LedgerError, match="can't read the predictions"):
            read_predictions(tmp_path, "0" * 64, "validation", ["A"])

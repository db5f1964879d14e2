"""Search: the better settings go on, the test set is left alone until the end, and what is stopped goes on."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import asdict

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import log_loss

from helpers_run import sample_of
from helpers_soak import soak
from helpers_study import make_survey, write_study
from helpers_watched import failing, watched
from skythaw.cli.report_command import print_search
from skythaw.engines.serial import Serial
from skythaw.errors import DataError, LedgerError
from skythaw.report.report_facts import report_facts
from skythaw.spec import Study
from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.cell_predictions import predictions_path, read_predictions
from skythaw.stats.intervals import limits
from skythaw.study import depth_search
from skythaw.study.cell_task import CellTask
from skythaw.study.depth_search import search
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import RunSettings
from skythaw.study.run_study import run_study

FOUR = {'depth = ["0%", "50%", "100%"]': "depth = [0, 2, 4, 7]", "epochs = 7": "epochs = 10"}


ONE = {"seed = [0, 1]": "seed = [0]"}


def setting(here, cache, name="run", engine="serial"):
    return RunSettings(here / name, cache, engine, 1, "cpu")


def study_of(here, **replace):
    return Study.load(write_study(here, replace=FOUR | replace))


@pytest.fixture(scope="module")
def searched(tmp_path_factory, cache):
    here = tmp_path_factory.mktemp("search")
    make_survey(here / "survey.parquet")
    return here, search(study_of(here), setting(here, cache))


def entries(folder):
    with Ledger.read(folder) as ledger:
        return ledger.entries()


def by_rung(standings):
    return [[s for s in standings if s.rung == n] for n in sorted({s.rung for s in standings})]


def test_all_are_tried_and_the_best_is_trained_in_full(searched):
    _, standings = searched
    trial, last = by_rung(standings)
    assert [s.depth for s in trial] == [0, 2, 4, 7]
    assert {(s.images, s.epochs) for s in trial} == {(38, 2)}
    assert [(s.images, s.epochs, s.fate) for s in last] == [(75, 10, "best")]
    (winner,) = [s for s in trial if s.fate == "goes on"]
    assert winner.log_loss == min(s.log_loss for s in trial)
    assert winner.setting == last[0].setting
    for other in trial:
        if other is not winner:
            sure = other.behind[0] > 0
            assert other.fate == ("worse in the trial" if sure else "not told apart from the best")


@pytest.mark.soak
def test_on_a_cluster_it_is_the_same_search(searched, skythaw_process):
    """No cell gets the threads of idle nodes, so all numbers are those of one worker here."""
    here, _ = searched
    command = ("study", "search", here / "study.toml", "--out", here / "ray", "--device", "cpu")
    ran = skythaw_process(*command, "--engine", "ray")
    assert ran.returncode == 0, ran.stderr
    found, expected = ({e.key: e.result.scores for e in entries(here / name)} for name in ("ray", "run"))
    assert found == expected
    with Ledger.read(here / "ray") as ledger:
        assert ledger.remark("lent_workers") == 1


def test_of_many_half_goes_on_to_a_second_trial(searched, cache, monkeypatch):
    here, _ = searched
    monkeypatch.setattr(depth_search, "MANY", 3)
    rungs = by_rung(search(study_of(here, **ONE), setting(here, cache, "many")))
    assert [(rung[0].images, rung[0].epochs) for rung in rungs] == [(38, 2), (75, 3), (75, 10)]
    assert len(rungs[0]) == 4
    assert len(rungs[1]) <= 2
    assert len(rungs[2]) == 1
    for before, after in itertools.pairwise(rungs):
        assert {s.setting for s in before if s.fate == "goes on"} == {s.setting for s in after}
        kept = [s.log_loss for s in before if s.fate == "goes on"]
        assert max(kept) < min((s.log_loss for s in before if s.fate != "goes on"), default=np.inf)


def test_a_depth_that_can_not_learn_the_classes_is_out_at_once(searched):
    """The head alone on random features tells little."""
    _, standings = searched
    first = {s.depth: s for s in standings if s.rung == 0}
    assert first[0].fate == "worse in the trial"
    (best,) = [s for s in standings if s.fate == "best"]
    assert best.depth > 0


def test_scores_are_those_of_validation_over_seeds(searched):
    """The survey's classes have the same number of objects but for one or two: log loss is almost scikit-learn's."""
    here, standings = searched
    cells = {}
    for entry in entries(here / "run"):
        cells.setdefault((entry.cell.train_size, entry.cell.depth), []).append(entry.result.scores["validation"])
    for standing in standings:
        scores = cells[standing.images, standing.depth]
        assert len(scores) == 2, "both seeds"
        assert standing.macro_f1 == pytest.approx(np.mean([score["macro_f1"] for score in scores]))
        assert standing.log_loss == pytest.approx(np.mean([score["log_loss"] for score in scores]), rel=0.2)
        assert standing.behind[0] <= standing.behind[1]


def test_the_test_set_is_scored_in_the_last_rung_alone(searched):
    here, _ = searched
    for entry in entries(here / "run"):
        last = entry.cell.train_size == 75
        parts = set(pq.read_table(predictions_path(here / "run", entry.key))["part"].to_pylist())
        assert parts == ({"validation", "test"} if last else {"validation"})
        assert ("test" in entry.result.scores) == last


def test_a_trial_keeps_no_weights_and_scores_nothing_that_does_not_choose(searched):
    here, _ = searched
    kept = {path.stem for path in (here / "run" / "weights").iterdir()}
    for entry in entries(here / "run"):
        last = entry.cell.train_size == 75
        assert (entry.key in kept) == last
        assert (entry.result.weights_sha256 is not None) == last
        assert (entry.result.latency is not None) == last
        assert set(entry.result.scores) == ({"train", "validation", "test"} if last else {"validation"})


class Four(Serial):
    """Says that it has four workers."""

    def __init__(self, workers):
        self.workers = 4


@pytest.mark.parametrize("engine", soak(["four", "processes"]))
def test_workers_that_would_be_idle_lend_their_threads(searched, cache, own_engine, engine):
    """Once and for all: the same search with fewer workers finds everything done."""
    here, standings = searched
    own_engine(Four, "four")
    found = search(study_of(here), RunSettings(here / "lent", cache, engine, 4, "cpu"))
    assert [(s.rung, s.setting, s.fate) for s in found] == [(s.rung, s.setting, s.fate) for s in standings]
    last = [e for e in entries(here / "lent") if e.cell.train_size == 75]
    assert {e.cell.recipe.threads for e in last} == {4 // len(last)}
    assert all(e.cell.recipe.threads == 1 for e in entries(here / "lent") if e not in last)
    assert search(study_of(here), setting(here, cache, "lent")) == found
    assert all(e.attempts == 1 for e in entries(here / "lent"))
    shutil.rmtree(here / "lent")


def test_the_report_is_of_the_trained_winner(searched):
    here, standings = searched
    with Ledger.read(here / "run") as ledger:
        facts = report_facts(ledger)
    (best,) = [s for s in standings if s.fate == "best"]
    assert best.depth in [row["depth"] for row in facts["rows"]]
    assert all(row["train_size"] == 75 and row["seeds"] == 2 for row in facts["rows"])
    assert len(facts["search"]) == len(standings)
    assert (here / "run" / "weights").is_dir()


def test_a_second_search_runs_nothing_and_says_the_same(searched, cache, own_engine):
    here, standings = searched
    engine = own_engine(failing(lambda cell: True))
    assert search(study_of(here), setting(here, cache, engine=engine)) == standings


def test_a_stopped_search_goes_on_to_the_same_end(searched, cache, own_engine):
    here, standings = searched
    ran = []

    def stop(task):
        if len(ran) == 5:
            raise KeyboardInterrupt
        if isinstance(task, CellTask):
            ran.append(task.cell.key)

    with pytest.raises(KeyboardInterrupt):
        search(study_of(here), setting(here, cache, "stopped", own_engine(watched(stop))))
    assert search(study_of(here), setting(here, cache, "stopped")) == standings
    assert all(e.attempts == 1 for e in entries(here / "stopped") if e.key in ran)


def test_a_study_and_a_search_do_not_share_a_folder(searched, cache):
    here, _ = searched
    with pytest.raises(LedgerError, match="holds another study"):
        run_study(study_of(here), setting(here, cache))


def test_a_setting_that_fails_is_out_and_where_all_fail_it_is_said(searched, cache, own_engine):
    here, _ = searched
    bad = {7}
    engine = own_engine(failing(lambda cell: cell.depth in bad))
    standings = search(study_of(here, **ONE), setting(here, cache, "some", engine))
    assert [(s.rung, s.fate, s.log_loss) for s in standings if s.depth == 7] == [(0, "failed", None)]
    bad = {0, 2, 4, 7}
    with pytest.raises(DataError, match=r"every cell of timm:test_efficientnet, top, 75 images failed; why: skythaw"):
        search(study_of(here, **ONE), setting(here, cache, "all", engine))


def test_a_trial_that_is_a_cell_of_the_study_is_scored_as_such(searched, cache):
    """With one epoch and few images the rungs are alike."""
    here, _ = searched
    study = study_of(here, **{"epochs = 10": "epochs = 1", "[75]": "[3]", "seed = [0, 1]": "seed = [0]"})
    standings = search(study, setting(here, cache, "tiny"))
    assert {s.images for s in standings} == {3}
    assert all("test" in e.result.scores for e in entries(here / "tiny"))
    assert [s.fate for s in standings].count("best") == 1


def test_the_command_line(searched, skythaw, skythaw_process):
    here, standings = searched
    write_study(here, replace=FOUR)
    command = ("study", "search", here / "study.toml", "--out", here / "run", "--device", "cpu", "--workers", 1)
    done = skythaw_process(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("depth ") >= len(standings)
    (best,) = [s for s in standings if s.fate == "best"]
    assert any(best.setting in line and " best " in line for line in done.stdout.splitlines())
    assert "search for the best depth" in skythaw("report", here / "run").stdout


def test_a_search_kept_before_there_was_log_loss_is_still_shown(searched, capsys):
    _, standings = searched
    old = [
        {k: v for k, v in asdict(s).items() if k not in ("log_loss", "macro_f1")} | {"score": 0.5} for s in standings
    ]
    print_search(old)
    told = capsys.readouterr().out
    assert all(s.setting in told for s in standings)


def grouped(losses, classes=("A", "B", "C")):
    """A bootstrap over objects in groups of four, of models with these losses."""
    true = np.arange(losses.shape[1]) % len(classes)
    sample = sample_of(true, {str(i): true for i in range(len(losses))}, np.arange(len(true)) // 4, classes)
    return Bootstrap(sample, 2000)


class TestLogLoss:
    """What decides in a search: log loss with classes of the same weight, in draws of whole groups of the sky."""

    def test_it_is_scikit_learns_with_balanced_weights_in_every_draw(self):
        rng = np.random.default_rng(0)
        true, group = rng.choice(3, 200, p=[0.7, 0.2, 0.1]), np.arange(200) // 5
        p = rng.dirichlet(np.ones(3), 200)
        bootstrap = Bootstrap(sample_of(true, {"k": true}, group), 4)
        ours = bootstrap.balanced_log_loss([-np.log(p[np.arange(200), true])])[0]
        expected = []
        for times in bootstrap.times[:, group]:
            totals = np.bincount(true, weights=times)
            expected.append(log_loss(true, p, sample_weight=times / totals[true]))
        assert ours == pytest.approx(bootstrap.widened(np.array(expected)), rel=1e-5)

    def test_pairing_sees_what_two_intervals_would_not(self):
        """Models that differ on few objects, always in one direction, are told apart; the same model never is."""
        rng = np.random.default_rng(0)
        first = rng.exponential(1.0, 600)
        other = first + (rng.random(600) < 0.05)
        drawn = grouped(np.stack([first, other, first])).balanced_log_loss([first, other, first])
        assert limits(drawn[1] - drawn[0], 0.9)[0] > 0
        assert limits(drawn[2] - drawn[0], 0.9) == (0, 0)
        assert limits(drawn[1], 0.9)[0] < limits(drawn[0], 0.9)[1], "their own intervals overlap"

    def test_the_interval_covers(self):
        """Of models that are equally good, about one interval in ten misses zero, though groups share their luck."""
        missed = 0
        for seed in range(100):
            rng = np.random.default_rng(seed)
            luck = rng.exponential(1.0, (2, 75)).repeat(4, axis=1)
            drawn = grouped(luck).balanced_log_loss(list(luck + rng.exponential(0.5, (2, 300))))
            low, high = limits(drawn[1] - drawn[0], 0.9)
            missed += not low <= 0 <= high
        assert 3 <= missed <= 19


def test_predictions_that_are_gone_are_named(tmp_path):
    with pytest.raises(LedgerError, match="can't read the predictions"):
        read_predictions(tmp_path, "0" * 64, "validation", ["A"])

"""Search: it trains what it says, and shows it; its log loss is scikit-learn's; old searches stay readable."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from sklearn.metrics import log_loss

from helpers_run import sample_of
from helpers_search import AUTO, ONE, entries, setting, study_of
from helpers_study import make_survey
from helpers_watched import failing
from skythaw.cli.print_report import print_search
from skythaw.errors import LedgerError
from skythaw.report.page.report_tables import report_tables
from skythaw.report.report_facts import report_facts
from skythaw.report.sentences import search_sentence
from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.intervals import limits
from skythaw.study import rate_trials
from skythaw.study.depth_search import search
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import RunSettings
from skythaw.study.run_study import run_study

SHORT = {"epochs = 7": "epochs = 15"}
"""but longer than the trials here"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory, cache):
    """A search that trains."""
    here = tmp_path_factory.mktemp("search")
    make_survey(here / "survey.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rate_trials, "STEPS", (10, 10))
        return here, search(study_of(here, SHORT, ONE), setting(here, cache))


def test_a_search_that_trains(searched, cache, own_engine, monkeypatch):
    """Its trials keep no weights; what is kept of frozen parts changes nothing; a second search runs nothing."""
    here, standings = searched
    kept = {path.stem for path in (here / "run" / "weights").iterdir()}
    assert kept == {e.key for e in entries(here / "run")}
    for entry in (*entries(here / "run"), *entries(here / "run", role="trial")):
        (stage,) = {s.round for s in standings if (s.round == "trial") == (entry.key not in kept)}
        (standing,) = [s for s in standings if s.round == stage and s.depth == entry.cell.depth]
        scores = entry.result.scores["validation"]
        assert standing.macro_f1 == pytest.approx(scores["macro_f1"])
        assert standing.log_loss == pytest.approx(scores["log_loss"], rel=0.2)  # classes are nearly of one size
    monkeypatch.setattr(rate_trials, "STEPS", (10, 10))
    again = RunSettings(here / "run", cache, own_engine(failing(lambda cell: True)), 1, "cpu", control=False)
    assert search(study_of(here, SHORT, ONE), again) == standings
    assert search(study_of(here, SHORT, ONE), replace(again, out=here / "kept", engine="serial")) == standings


def test_the_report_compares_what_was_trained(searched):
    here, standings = searched
    with Ledger.read(here / "run") as ledger:
        facts = report_facts(ledger)
    last = [s.depth for s in standings if s.round == "all seeds"]
    assert [row["depth"] for row in facts["rows"]] == sorted(last)
    assert facts["cells"]["cells"] == facts["cells"]["done"] == len(last)
    assert [each["fate"] for each in facts["search"]] == [s.fate for s in standings]
    assert "Every depth had a short trial" in search_sentence(facts["search"])


def test_a_study_and_a_search_do_not_share_a_folder(searched, cache):
    here, _ = searched
    with pytest.raises(LedgerError, match="of skythaw study search, and study run needs a folder of its own"):
        run_study(study_of(here, SHORT, ONE), setting(here, cache))


@pytest.mark.soak
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_every_engine_finds_the_same(tmp_path, cache, skythaw_process, engine):
    make_survey(tmp_path / "survey.parquet")
    quick = AUTO | {"epochs = 7": "max_steps = 15"}
    expected = search(study_of(tmp_path, quick, ONE), setting(tmp_path, cache))
    command = ("study", "search", tmp_path / "study.toml", "--out", tmp_path / engine, "--device", "cpu")
    ran = skythaw_process(*command, "--engine", engine)
    assert ran.returncode == 0, ran.stderr
    with Ledger.read(tmp_path / engine) as ledger:
        assert ledger.remark("search") == json.loads(json.dumps([asdict(each) for each in expected]))


def test_the_command_line(searched, skythaw, monkeypatch):
    here, standings = searched
    monkeypatch.setattr(rate_trials, "STEPS", (10, 10))
    study_of(here, SHORT, ONE)
    done = skythaw(
        "study", "search", here / "study.toml", "--out", here / "run", "--device", "cpu", "--engine", "serial"
    )
    assert done.returncode == 0, done.stderr
    (best,) = [s for s in standings if s.fate == "best on validation"]
    assert any(best.setting in line and " best " in line for line in done.stdout.splitlines())
    assert "search for the best depth" in skythaw("report", here / "run").stdout


@pytest.mark.parametrize("dropped", [(), ("log_loss", "macro_f1")])
def test_searches_of_older_versions_are_still_shown(tmp_path, capsys, dropped):
    """They numbered their rounds, and judged by log loss; the first kept one score."""
    names = {"backbone": "vgg16", "strategy": "top", "train_size": 75, "setting": "depth 3", "depth": 3, "rung": 0}
    found = {"images": 38, "epochs": 2, "log_loss": 0.5, "macro_f1": 0.8, "behind": [0.0, 0.1], "fate": "goes on"}
    with Ledger.create(tmp_path, {"grid": {}}, []) as ledger:
        ledger.note("search", [{k: v for k, v in (names | found).items() if k not in dropped}])
        facts = report_facts(ledger)
    print_search(facts["search"])
    told = capsys.readouterr().out
    assert "round 1" in told
    assert "depth 3" in told
    assert "on fewer images and epochs" in " ".join(told.split())
    assert report_tables(facts).trials.rows


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

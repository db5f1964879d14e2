"""Time that is left: `tune` goes on to a larger study, which takes the place of the first when it is finished."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from helpers_study import make_survey
from helpers_tune import NETWORK
from skythaw import tune
from skythaw.api import larger_study as larger_module
from skythaw.api import study_ladder
from skythaw.api.larger_study import larger_study, richer_rungs
from skythaw.api.study_ladder import Rung, study_on
from skythaw.api.study_text import study_text
from skythaw.api.time_budget import TimeIsUp
from skythaw.api.tune import tune_request
from skythaw.api.tune_folder import TuneFolder
from skythaw.errors import DataError
from skythaw.spec import Study

LONG, RICH, POOR = Rung(("0%", "100%"), 2, 200, 1e-3), Rung(("0%", "100%"), 2, 120, 1e-3), Rung(("0%",), 1, 120, 1e-3)
LEFTOVERS = {"larger", "larger.toml", "larger-done", "smaller"}


@pytest.fixture
def ladder(monkeypatch):
    """Make a ladder of these rungs, the richest first."""

    def set_to(*rungs: Rung) -> None:
        monkeypatch.setattr(study_ladder, "LADDER", rungs)
        monkeypatch.setattr(larger_module, "LADDER", rungs)

    return set_to


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return make_survey(tmp_path_factory.mktemp("survey") / "survey.parquet", objects=120)


def planned(out: Path, survey: Path, cache: Path, rung: Rung = POOR) -> Path:
    """A folder of `tune` that has planned the study of a rung."""
    base = {"data": {"path": str(survey), "crop": 32}, "grid": {"backbone": NETWORK["backbone"]}}
    study = study_on(Study.parse({**base, "weights": NETWORK["weights"]}), rung, cache, 1).study
    request = tune_request(survey, None, None, out, NETWORK["backbone"], NETWORK["weights"], False, cache)
    TuneFolder(out).keep(request.told, 1.0)
    (out / "study.toml").write_text(study_text(study, head="for a test", folder=out))
    return out


@pytest.fixture(scope="module")
def finished(tmp_path_factory, survey, cache):
    """A finished `tune` that knew of no larger study."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(larger_module, "LADDER", (POOR,))
        out = planned(tmp_path_factory.mktemp("tuned") / "out", survey, cache)
        tune(survey, budget="5m", out=out, cache=cache, **NETWORK)
    return out


def again(finished: Path, tmp_path: Path, *, largest: bool = False) -> Path:
    """A copy of the finished folder, which says whether there is a larger study."""
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    answer = json.loads((out / "answer.json").read_text())
    (out / "answer.json").write_text(json.dumps({**answer, "largest": largest}))
    return out


def settings_of(run) -> set[tuple[int, int]]:
    return {(row["depth"], row["seeds"]) for row in run.facts["rows"]}


def read_answer(out: Path) -> dict:
    return json.loads((out / "answer.json").read_text())


def test_time_that_is_left_goes_to_a_larger_study(survey, cache, tmp_path, ladder, capsys):
    ladder(RICH, POOR)
    out = planned(tmp_path / "out", survey, cache)
    run = tune(survey, budget="10m", out=out, cache=cache, **NETWORK)
    assert {seeds for _, seeds in settings_of(run)} == {2}
    assert len(settings_of(run)) == 2
    assert Study.load(out / "study.toml").grid.seed == (0, 1)
    assert "time is left; planned for this budget: 2 depths, 2 seeds, one learning rate" in capsys.readouterr().err
    answer = read_answer(out)
    assert answer["complete"]
    assert answer["largest"]
    assert answer["answer"] == str(run.answer)
    assert not LEFTOVERS & {each.name for each in out.iterdir()}


def test_a_finished_run_grows_with_a_larger_budget_alone(finished, survey, cache, tmp_path, ladder, skythaw):
    ladder(RICH, POOR)
    out = again(finished, tmp_path)
    assert len(settings_of(tune(survey, budget="5m", out=out, cache=cache, **NETWORK))) == 1
    assert len(settings_of(tune(survey, budget="10m", out=out, cache=cache, **NETWORK))) == 2


def test_where_nothing_is_larger_nothing_is_done(finished, survey, cache, tmp_path, ladder, monkeypatch):
    ladder(RICH, POOR)
    out = again(finished, tmp_path, largest=True)
    monkeypatch.setattr("skythaw.api.tune.choose_study", None)
    assert len(settings_of(tune(survey, budget="10m", out=out, cache=cache, **NETWORK))) == 1


def test_a_larger_study_that_is_cut_off_leaves_the_answer_of_the_smaller_and_goes_on(
    finished, survey, cache, tmp_path, ladder, monkeypatch, capsys
):
    ladder(RICH, POOR)
    out = again(finished, tmp_path)
    cells: list[str] = []

    def cut_off(event):
        cells.append(event.cell.key)
        if len(cells) == 2:
            raise TimeIsUp

    run = tune(survey, budget="10m", out=out, cache=cache, on_cell=cut_off, **NETWORK)
    assert len(settings_of(run)) == 1
    assert "before the larger study is finished: the answer is that of the smaller one" in capsys.readouterr().err
    assert read_answer(out)["complete"]
    assert not read_answer(out)["largest"]
    assert (out / "larger.toml").is_file()

    seen, begin = [], larger_module._begin
    monkeypatch.setattr(larger_module, "_begin", lambda *given: seen.append(len(cells)) or begin(*given))
    run = tune(survey, budget="20m", out=out, cache=cache, on_cell=lambda e: cells.append(e.cell.key), **NETWORK)
    assert seen == [len(cells)], "the one that was begun was gone on with, and then another looked for"
    assert len(settings_of(run)) == 2
    assert len(cells) == len(set(cells)), "no training was done twice"


def test_a_larger_study_that_can_not_be_run_is_a_warning(
    finished, survey, cache, tmp_path, ladder, monkeypatch, capsys
):
    ladder(RICH, POOR)

    def fails(*_given):
        raise DataError("every cell failed")

    out = again(finished, tmp_path)
    monkeypatch.setattr(larger_module, "search", fails)
    run = tune(survey, budget="10m", out=out, cache=cache, **NETWORK)
    assert len(settings_of(run)) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "the larger study can't be run, so the answer is that of the smaller one: every cell failed" in said


def test_longer_training_alone_is_larger_where_a_training_was_cut_short(finished, cache, tmp_path, ladder, monkeypatch):
    ladder(LONG, RICH, Rung(("0%",), 1, 200, 1e-3), POOR)
    folder = TuneFolder(again(finished, tmp_path))
    monkeypatch.setattr(larger_module, "not_converged", lambda _result: ())
    assert richer_rungs(folder, cache) == (LONG, RICH)
    monkeypatch.setattr(larger_module, "not_converged", lambda _result: ("still falling",))
    assert richer_rungs(folder, cache) == (LONG, RICH, Rung(("0%",), 1, 200, 1e-3))


def test_the_richest_that_fits_is_taken(finished, cache, tmp_path, ladder, monkeypatch):
    ladder(LONG, RICH, POOR)
    folder = TuneFolder(again(finished, tmp_path))
    study = Study.load(folder.study)
    seconds = [study_on(study, rung, cache, 1).seconds for rung in (LONG, RICH)]
    assert seconds[0] > seconds[1]
    taken = [larger_study(folder, given, cache, 1) for given in (seconds[0], seconds[1], 0.9 * seconds[1])]
    assert [each and each.rung for each in taken] == [LONG, RICH, None]


@pytest.mark.parametrize(("old", "new"), [("seed = [0]", "seed = [7]"), ('depth = ["0%"]', 'depth = ["10%"]')])
def test_a_study_that_the_user_changed_does_not_grow(finished, cache, tmp_path, ladder, old, new):
    ladder(RICH, POOR)
    folder = TuneFolder(again(finished, tmp_path))
    assert richer_rungs(folder, cache) == (RICH,)
    text = folder.study.read_text()
    assert old in text
    folder.study.write_text(text.replace(old, new))
    assert richer_rungs(folder, cache) == ()


@pytest.mark.parametrize("moment", range(6))
def test_a_kill_while_the_larger_takes_the_place_of_the_smaller(moment, tmp_path, monkeypatch):
    """Before, between and after its steps: there is one run afterwards, and its study file is its own."""
    folder = TuneFolder(tmp_path / "out")
    for run, text in ((folder.run, "small"), (folder.larger_run, "large")):
        run.mkdir(parents=True)
        (run / "ledger.sqlite").write_text(text)
    folder.study.write_text("small")
    folder.larger_study.write_text("large")
    folder.keep({}, 1.0)
    steps = iter(range(6))

    class KilledError(Exception):
        """Here."""

    def killed_before(step):
        def stepped(*given, **options):
            if next(steps) == moment:
                raise KilledError
            return step(*given, **options)

        return stepped

    with monkeypatch.context() as patched:
        for owner, name in ((Path, "rename"), (Path, "replace"), (shutil, "rmtree")):
            patched.setattr(owner, name, killed_before(getattr(owner, name)))
        with pytest.raises(KilledError):
            folder.larger_is_done()
    folder.open({})
    begun = moment > 0
    assert (folder.run / "ledger.sqlite").read_text() == ("large" if begun else "small")
    assert folder.study.read_text() == ("large" if begun else "small")
    assert LEFTOVERS & {each.name for each in folder.path.iterdir()} == (set() if begun else {"larger", "larger.toml"})

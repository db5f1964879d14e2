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
from skythaw.api.larger_study import richer_rungs
from skythaw.api.study_ladder import Rung, richest_study, study_on
from skythaw.api.study_text import study_text
from skythaw.api.time_budget import TimeIsUp
from skythaw.api.tune import tune_request
from skythaw.api.tune_folder import TuneFolder
from skythaw.bundle.bundle_file import read_about
from skythaw.errors import DataError, OutputError
from skythaw.spec import Study

LONG, RICH, POOR = Rung(("0%", "100%"), 2, 200, 1e-3), Rung(("0%", "100%"), 2, 120, 1e-3), Rung(("0%",), 1, 120, 1e-3)
LEFTOVERS = {"larger", "larger.toml", ".larger-done", ".smaller"}


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
    TuneFolder(out).note(planned=TuneFolder(out).study_mark)
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


@pytest.mark.soak
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


@pytest.mark.soak
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
    assert read_answer(out)["budget_seconds"] == 600
    assert read_answer(out)["seconds"] == pytest.approx(TuneFolder(out).seconds, abs=5)
    assert (out / "larger.toml").is_file()

    seen, begin = [], larger_module._begin
    monkeypatch.setattr(larger_module, "_begin", lambda *given: seen.append(len(cells)) or begin(*given))
    run = tune(survey, budget="20m", out=out, cache=cache, on_cell=lambda e: cells.append(e.cell.key), **NETWORK)
    assert seen == [len(cells)], "the one that was begun was gone on with, and then another looked for"
    assert len(settings_of(run)) == 2
    assert len(cells) == len(set(cells)), "no training was done twice"


@pytest.mark.soak
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


@pytest.mark.soak
def test_a_larger_study_with_failed_trainings_takes_no_place(
    finished, survey, cache, tmp_path, ladder, monkeypatch, capsys
):
    ladder(RICH, POOR)
    out = again(finished, tmp_path)
    monkeypatch.setattr(larger_module, "_failed", lambda _run: 3)
    run = tune(survey, budget="10m", out=out, cache=cache, **NETWORK)
    assert len(settings_of(run)) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "3 trainings of the larger study failed, so the answer is that of the smaller one" in said


def test_longer_training_alone_is_larger_where_a_training_was_cut_short(finished, ladder, monkeypatch):
    ladder(LONG, RICH, Rung(("0%",), 1, 200, 1e-3), POOR)
    study, run = Study.load(finished / "study.toml"), finished / "run"
    monkeypatch.setattr(larger_module, "not_converged", lambda _result: ("its rate is at the edge",))
    assert richer_rungs(study, run) == (LONG, RICH)
    why = ("it still gained after 120 steps, the most that max_steps allows",)
    monkeypatch.setattr(larger_module, "not_converged", lambda _result: why)
    assert richer_rungs(study, run) == (LONG, RICH, Rung(("0%",), 1, 200, 1e-3))


def test_the_richest_that_fits_is_taken(finished, cache, ladder):
    ladder(LONG, RICH, POOR)
    study, run = Study.load(finished / "study.toml"), finished / "run"
    seconds = [study_on(study, rung, cache, 1).seconds for rung in (LONG, RICH)]
    assert seconds[0] > seconds[1]
    richer = richer_rungs(study, run)
    taken = [richest_study(study, given, cache, 1, richer) for given in (seconds[0], seconds[1], 0.9 * seconds[1])]
    assert [each and each.rung for each in taken] == [LONG, RICH, None]


def test_a_study_that_the_user_changed_runs_as_it_is_and_does_not_grow(survey, cache, tmp_path, ladder):
    ladder(RICH, POOR)
    out = planned(tmp_path / "out", survey, cache)
    text = (out / "study.toml").read_text()
    (out / "study.toml").write_text(text.replace("label_smoothing = 0.0", "label_smoothing = 0.1"))
    run = tune(survey, budget="10m", out=out, cache=cache, **NETWORK)
    assert len(settings_of(run)) == 1
    assert read_answer(out)["largest"]
    assert "label_smoothing = 0.1" in (out / "study.toml").read_text()


def test_a_study_that_was_changed_after_its_run_is_refused(finished, survey, cache, tmp_path):
    out = again(finished, tmp_path)
    file = out / "study.toml"
    file.write_text(file.read_text().replace("seed = [0]", "seed = [7]"))
    with pytest.raises(
        OutputError, match=r"study.toml was changed after it was run: skythaw study search .*study.toml"
    ):
        tune(survey, budget="5m", out=out, cache=cache, **NETWORK)


@pytest.mark.soak
@pytest.mark.parametrize("when", ["pending", "meanwhile"])
def test_a_file_that_was_changed_while_a_larger_study_is_under_way_stays(
    when, finished, survey, cache, tmp_path, ladder, monkeypatch, capsys
):
    ladder(RICH, POOR)
    out = again(finished, tmp_path)
    file, search = out / "study.toml", larger_module.search

    def changed(*given):
        if when == "pending":
            raise TimeIsUp
        found = search(*given)
        file.write_text(file.read_text() + "# mine\n")
        return found

    monkeypatch.setattr(larger_module, "search", changed)
    tune(survey, budget="10m", out=out, cache=cache, **NETWORK)
    if when == "pending":
        file.write_text(file.read_text() + "# mine\n")
    else:
        assert "was changed meanwhile, so the answer is that of the smaller study" in capsys.readouterr().err
    with pytest.raises(OutputError, match="was changed after it was run"):
        tune(survey, budget="20m", out=out, cache=cache, **NETWORK)
    assert file.read_text().endswith("# mine\n")


@pytest.mark.soak
def test_a_full_disk_keeps_what_is_done_of_the_larger_study(finished, survey, cache, tmp_path, ladder, monkeypatch):
    ladder(RICH, POOR)
    out = again(finished, tmp_path)
    search = larger_module.search

    def full(*given):
        search(*given)
        raise OutputError("no room")

    monkeypatch.setattr(larger_module, "search", full)
    with pytest.raises(OutputError, match="no room"):
        tune(survey, budget="10m", out=out, cache=cache, **NETWORK)
    monkeypatch.setattr(larger_module, "search", search)
    trained = []
    run = tune(survey, budget="10m", out=out, cache=cache, on_cell=lambda e: trained.append(e.cell.key), **NETWORK)
    assert len(settings_of(run)) == 2
    assert trained == []


@pytest.mark.soak
@pytest.mark.parametrize("name", ["larger", "larger.toml"])
def test_what_a_user_keeps_under_that_name_is_left_alone(finished, survey, cache, tmp_path, ladder, name):
    ladder(RICH, POOR)
    out = again(finished, tmp_path)
    mine = out / name if name.endswith("toml") else out / name / "mine.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    assert len(settings_of(tune(survey, budget="10m", out=out, cache=cache, **NETWORK))) == 1
    assert mine.read_text() == "mine"


class KilledError(Exception):
    """Here."""


@pytest.mark.soak
@pytest.mark.parametrize("moment", ["search", "swapped"])
def test_after_a_kill_the_same_call_goes_on_and_all_is_of_one_study(
    moment, finished, survey, cache, tmp_path, ladder, monkeypatch
):
    """Killed while the larger study is searched, the answer of the smaller is there; the same call does the rest."""
    ladder(RICH, POOR)
    out = again(finished, tmp_path)
    before = read_answer(out)

    def killed(*_given, **_options):
        raise KilledError

    with monkeypatch.context() as patched:
        if moment == "search":
            patched.setattr(larger_module, "search", killed)
        else:
            patched.setattr("skythaw.api.tune._end", killed)
        with pytest.raises(KilledError):
            tune(survey, budget="10m", out=out, cache=cache, **NETWORK)
    assert TuneFolder(out).whole
    if moment == "search":
        assert read_answer(out) == before
    monkeypatch.setattr("skythaw.api.tune.search", killed)  # the first study is not searched again
    run = tune(survey, budget="5m" if moment == "swapped" else "10m", out=out, cache=cache, **NETWORK)
    assert len(settings_of(run)) == 2
    assert read_answer(out)["answer"] == str(run.answer)
    assert read_about(out / "classifier").cell.key in {cell for row in run.facts["rows"] for cell in row["keys"]}
    assert not LEFTOVERS & {each.name for each in out.iterdir()}


@pytest.mark.parametrize("moment", range(8))
def test_a_kill_while_the_larger_takes_the_place_of_the_smaller(moment, tmp_path, monkeypatch):
    """Before, between and after its steps: there is one run afterwards, and its study file is its own."""
    folder = TuneFolder(tmp_path / "out")
    folder.path.mkdir()
    folder.study.write_text("small")
    folder.keep({}, 1.0, complete=True)
    folder.begin_larger("large")
    for run, text in ((folder.run, "small"), (folder.larger_run, "large")):
        run.mkdir(parents=True)
        (run / "ledger.sqlite").write_text(text)
    steps = iter(range(9))

    def killed_before(step):
        def stepped(*given, **options):
            if next(steps) == moment:
                raise KilledError
            return step(*given, **options)

        return stepped

    with monkeypatch.context() as patched:
        for owner, name in ((Path, "rename"), (Path, "replace"), (shutil, "rmtree"), (TuneFolder, "note")):
            patched.setattr(owner, name, killed_before(getattr(owner, name)))
        with pytest.raises(KilledError):
            folder.larger_is_done()
    folder.open({})
    folder.settle_larger()
    begun = moment > 0
    assert folder.marked("searched") == begun
    assert folder.larger_begun != begun
    assert not (begun and folder.ended_within(1.0))
    assert (folder.run / "ledger.sqlite").read_text() == ("large" if begun else "small")
    assert folder.study.read_text() == ("large" if begun else "small")
    assert LEFTOVERS & {each.name for each in folder.path.iterdir()} == (set() if begun else {"larger", "larger.toml"})

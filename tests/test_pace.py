"""What a plan knows of this machine's speed: measured cells, of this processor alone."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from helpers_study import make_survey, write_study
from skythaw.machine.processor import processor
from skythaw.spec import Recipe, Study
from skythaw.study.execute import _spent
from skythaw.study.machine_speed import LEAST, LEAST_SHARE, USUAL, MachineSpeed
from skythaw.study.open_study import RunSettings
from skythaw.study.plan import make_plan
from skythaw.study.run_study import run_study
from skythaw.tuning.training_pace import expected_steps


@pytest.fixture
def cells(tmp_path, cache):
    make_survey(tmp_path / "survey.parquet")
    return [p.cell for p in make_plan(Study.load(write_study(tmp_path)), cache).cells]


def deep(cells, seed=0):
    """A cell that trains more than a head."""
    return next(cell for cell in cells if cell.depth > 0 and cell.seed == seed)


def seconds(total, processor=None):
    return {"total": total, "processor": total if processor is None else processor}


def test_a_training_longer_than_expected_does_not_make_the_machine_slower(cells):
    cell = deep(cells).model_copy(update={"recipe": Recipe()})
    steps = 3 * expected_steps(cell.recipe, cell.train_size)
    planned, result = SimpleNamespace(cell=cell, cost=5.0), SimpleNamespace(curves=[{"step": 1}, {"step": steps}])
    assert _spent(planned, result) == pytest.approx(15)
    assert _spent(planned, SimpleNamespace(curves=[])) == 5
    given = SimpleNamespace(cell=deep(cells), cost=5.0)
    assert _spent(given, result) == 5, "its length was known"


def test_small_cells_and_heads_say_nothing(tmp_path, cells):
    pace = MachineSpeed(tmp_path / "c")
    pace.remember([(deep(cells), 0.9 * LEAST, seconds(100.0))])
    assert not pace.measured(deep(cells)), "small: its seconds are not those of FLOPs"
    head = next(cell for cell in cells if cell.depth == 0)
    pace.remember([(head, 10 * LEAST, seconds(1.0))])
    assert not pace.measured(deep(cells)), "a head alone says nothing"
    pace.remember([(deep(cells), LEAST, {"total": 10.0})])
    assert pace.rate(deep(cells)) == pytest.approx(LEAST / 10), "older results have no time of the processor"


def test_a_busy_hour_is_forgotten_when_it_is_over(tmp_path, cells):
    pace = MachineSpeed(tmp_path / "c")
    pace.remember([(deep(cells), LEAST, seconds(10.0))])
    for _ in range(3):
        pace.remember([(deep(cells), LEAST, seconds(20.0, 10.0))])
        assert pace.rate(deep(cells)) == pytest.approx(LEAST / 20), "others had half of the core"
    head = next(cell for cell in cells if cell.depth == 0)
    pace.remember([(head, 1.0, seconds(0.5, 0.1))])
    assert pace.rate(deep(cells)) == pytest.approx(LEAST / 20), "too short to tell"
    pace.remember([(deep(cells), LEAST, seconds(1000.0, 10.0))])
    assert pace.rate(deep(cells)) == pytest.approx(LEAST_SHARE * LEAST / 10), "no plan despairs of the machine"
    pace.remember([(head, 1.0, seconds(2.0))])
    assert MachineSpeed(tmp_path / "c").rate(deep(cells)) == pytest.approx(LEAST / 10)


def test_threads_share_the_time_of_the_processor(tmp_path, cells):
    pace = MachineSpeed(tmp_path / "c")
    cell = deep(cells)
    two = cell.model_copy(update={"recipe": cell.recipe.model_copy(update={"threads": 2})})
    pace.remember([(two, LEAST, seconds(10.0, 10.0))])
    assert pace.rate(two) == pytest.approx(LEAST / 10)
    pace.remember([(two, LEAST, seconds(10.0, 30.0))])
    assert pace.rate(two) == pytest.approx(LEAST / 10), "never more than all of the time"


def test_what_was_measured_is_read_again(tmp_path, cells):
    pace = MachineSpeed(tmp_path / "c")
    assert pace.rate(cells[0]) == USUAL
    assert not pace.measured(cells[0])
    pace.remember([(deep(cells), 3e11, seconds(1.0)), (deep(cells, 1), 1e11, seconds(3.0))])
    again = MachineSpeed(tmp_path / "c")
    assert again.measured(cells[2]), "any cell of the same network, size and threads"
    assert again.rate(cells[0]) == pytest.approx(1e11)


def test_cells_of_images_and_numbers_do_not_say_how_fast_a_machine_is(tmp_path, cells):
    """They start from a network that is trained already: a rate of 600 GFLOP/s was once taken from them."""
    pace = MachineSpeed(tmp_path / "c")
    both = deep(cells).model_copy(update={"inputs": "both"})
    pace.remember([(both, 3e12, seconds(5.0))])
    assert not pace.measured(both)
    pace.remember([(both, 3e12, seconds(5.0)), (deep(cells), 3e11, seconds(10.0))])
    assert pace.rate(both) == pytest.approx(3e10)


def test_another_processor_size_or_thread_counts_for_nothing(tmp_path, cells):
    MachineSpeed(tmp_path / "c").remember([(deep(cells), 3e11, seconds(1.0))])
    wide = cells[0].model_copy(update={"recipe": cells[0].recipe.model_copy(update={"threads": 7})})
    large = cells[0].model_copy(update={"pixels": cells[0].pixels.model_copy(update={"size": 400})})
    assert not MachineSpeed(tmp_path / "c").measured(wide)
    assert not MachineSpeed(tmp_path / "c").measured(large)
    (file,) = (tmp_path / "c").iterdir()
    file.write_text(file.read_text().replace(processor(), "an abacus"))
    assert not MachineSpeed(tmp_path / "c").measured(cells[0])


@pytest.mark.parametrize("content", ["", "[1]", '{"a": "fast"}', '{"a": null}', '{"share of a core": 0}', "{"])
def test_a_damaged_file_is_as_none(tmp_path, cells, content):
    (tmp_path / "speed.json").write_text(content)
    pace = MachineSpeed(tmp_path)
    assert not pace.measured(cells[0])
    assert pace.rate(cells[0]) == USUAL
    pace.remember([(deep(cells), 3e11, seconds(3.0))])
    assert MachineSpeed(tmp_path).rate(cells[0]) == pytest.approx(1e11)


def test_a_cache_that_can_not_be_written_is_no_harm(tmp_path, cells):
    (tmp_path / "c").write_text("a file where the folder should be")
    MachineSpeed(tmp_path / "c").remember([(deep(cells), 3e11, seconds(3.0))])
    assert (tmp_path / "c").is_file()


def test_a_run_leaves_its_pace_and_the_next_plan_reckons_with_it(tmp_path, cache, skythaw, monkeypatch):
    monkeypatch.setattr("skythaw.study.machine_speed.LEAST", 0)
    make_survey(tmp_path / "survey.parquet")
    file = write_study(tmp_path, replace={'depth = ["0%", "50%", "100%"]': "depth = [1]"})
    (cache / "speed.json").unlink(missing_ok=True)
    before = json.loads(skythaw("study", "plan", file, "--json").stdout)
    assert not before["pace_measured"]
    assert "a guess" in skythaw("study", "plan", file).stdout
    run_study(Study.load(file), RunSettings(tmp_path / "run", cache, "serial", 1, "cpu", control=False))
    after = json.loads(skythaw("study", "plan", file, "--json").stdout)
    assert after["pace_measured"]
    assert after["seconds_left"] > 0
    assert after["seconds_left"] != before["seconds_left"]
    told = " ".join(skythaw("study", "plan", file).stdout.split())
    assert "as cells took on this machine before" in told
    assert json.loads(skythaw("study", "plan", file, "--out", tmp_path / "run", "--json").stdout)["seconds_left"] == 0

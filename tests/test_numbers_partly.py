"""Numbers that only some objects have, or that come partly from the data and partly from a catalogue."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from helpers_numbers import make_numbered_survey, write_numbered_study
from skythaw.bundle.bundle_file import read_about
from skythaw.bundle.export.export_bundle import export
from skythaw.cli import main
from skythaw.errors import DataError, SpecError
from skythaw.spec import Study
from skythaw.stats.calibration import fit_temperature, tempered
from skythaw.stats.cell_predictions import read_log_probabilities, read_with_ids
from skythaw.study import number_cells
from skythaw.study.open_study import RunSettings
from skythaw.study.plan import make_plan
from skythaw.study.run_study import run_study

OWN = 'columns = ["modelMag_g", "modelMag_r", "modelMag_i"]'
ONE_SEED = {"seed = [0, 1]": "seed = [0]", 'depth = ["0%", "100%"]': 'depth = ["0%"]'}


def survey_and_catalogue(folder, share):
    """Cutouts, and a catalogue with magnitudes of a share of them; its bands are called psfMag."""
    survey = make_numbered_survey(folder / "survey.parquet", mixed=0.25)
    table = pq.read_table(survey)
    kept = np.flatnonzero(np.random.default_rng(0).random(len(table)) < share)
    columns = {"object_id": table["object_id"].take(kept)}
    columns |= {f"psfMag_{band}": table[f"modelMag_{band}"].take(kept) for band in "gri"}
    pyarrow.csv.write_csv(pa.table(columns), folder / "catalogue.csv")
    return table, set(columns["object_id"].to_pylist())


def study_of(folder, columns, **more):
    text = f'columns = {columns}\ntable = "catalogue.csv"'.replace("'", '"')
    return Study.load(write_numbered_study(folder, replace={OWN: text, **ONE_SEED, **more}))


@pytest.fixture(scope="module")
def partly(tmp_path_factory, cache):
    """A run whose catalogue has 60 % of the objects, its bundle, and the objects that have numbers."""
    folder = tmp_path_factory.mktemp("partly")
    _, known = survey_and_catalogue(folder, 0.6)
    study = study_of(folder, ["psfMag_g", "psfMag_r", "psfMag_i"])
    assert run_study(study, RunSettings(folder / "run", cache, "serial", 1, "cpu", control=False)).failed == 0
    export(folder / "run", folder / "bundle", inputs="both", onnx=False, references=0)
    return folder, known


def test_a_study_judges_an_object_without_numbers_as_its_classifier_does(partly, tmp_path, skythaw):
    folder, known = partly
    about = read_about(folder / "bundle")
    ids, _, _ = read_with_ids(folder / "run", about.cell.key, "test", about.classes)
    log_p = read_log_probabilities(folder / "run", about.cell.key, "test", about.classes)
    out = tmp_path / "out.csv"
    done = skythaw(
        "predict", folder / "bundle", folder / "survey.parquet", "--table", folder / "catalogue.csv", "-o", out
    )
    assert done.returncode == 0, done.stderr
    found = {str(row["object_id"]): row for row in pyarrow.csv.read_csv(out).to_pylist()}
    assert {found[each]["inputs"] for each in ids} == {"both", "images"}
    for each, said in zip(ids, log_p, strict=True):
        assert (found[each]["inputs"] == "both") == (each in known)
        p = tempered(said[None], about.numbers.temperature if each in known else about.temperature)[0]
        assert [found[each][f"p_{name}"] for name in about.classes] == pytest.approx(np.exp(p), abs=1e-5)


def test_the_temperature_of_both_is_of_objects_that_have_both(partly):
    folder, known = partly
    about = read_about(folder / "bundle")
    ids, true, _ = read_with_ids(folder / "run", about.cell.key, "validation", about.classes)
    labels = np.searchsorted(about.classes, true) if np.asarray(true).dtype.kind in "UO" else true
    log_p = read_log_probabilities(folder / "run", about.cell.key, "validation", about.classes)
    there = np.array([each in known for each in ids])
    assert about.numbers.temperature == pytest.approx(fit_temperature(log_p[there], labels[there]))


def test_columns_of_the_data_and_of_a_catalogue_go_together_also_in_a_classifier(tmp_path, cache, skythaw):
    survey_and_catalogue(tmp_path, 1.0)
    study = study_of(tmp_path, ["modelMag_g", "psfMag_r"])
    run_study(study, RunSettings(tmp_path / "run", cache, "serial", 1, "cpu", control=False))
    export(tmp_path / "run", tmp_path / "bundle", inputs="both", onnx=False, references=0)
    done = skythaw("predict", tmp_path / "bundle", tmp_path / "survey.parquet", "--table", tmp_path / "catalogue.csv",
                   "-o", tmp_path / "out.csv")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = pyarrow.csv.read_csv(tmp_path / "out.csv")
    assert set(found["inputs"].to_pylist()) == {"both"}


def test_a_test_set_without_the_numbers_is_refused(tmp_path, cache):
    survey_and_catalogue(tmp_path, 1.0)
    table = pq.read_table(make_numbered_survey(tmp_path / "test.parquet", seed=9))
    others = {"object_id": [f"9{each}" for each in table["object_id"].to_pylist()], "modelMag_r": [None] * len(table)}
    for name, values in others.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    pq.write_table(table, tmp_path / "test.parquet")
    study = Study.load(
        write_numbered_study(
            tmp_path, replace={**ONE_SEED, OWN: OWN + '\ntest_path = "test.parquet"', ", test = 0.4": ""}
        )
    )
    with pytest.raises(DataError, match=r"the test set: column 'modelMag_r' is missing for 180 of 180 objects"):
        make_plan(study, cache)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [("redshift", 0.1, "'redshift' is a leak: it comes from the spectrum"), ("fade", 1.0, "'fade' is a leak: alone")],
)
def test_what_is_subtracted_as_extinction_may_be_no_leak_either(tmp_path, cache, name, values, said):
    code = {"GALAXY": 0, "QSO": 1, "STAR": 2}
    make_numbered_survey(tmp_path / "survey.parquet", **{name: lambda _, label: values * code[label]})
    more = {OWN: OWN + f'\nextinction = {{ modelMag_g = "{name}" }}', **ONE_SEED}
    with pytest.raises(DataError, match=said):
        make_plan(Study.load(write_numbered_study(tmp_path, replace=more)), cache)


def test_a_leak_that_is_allowed_must_be_among_the_numbers(tmp_path, cache):
    make_numbered_survey(tmp_path / "survey.parquet")
    study = Study.load(write_numbered_study(tmp_path, replace={OWN: OWN + '\nallow_leak = ["modelMag_x"]', **ONE_SEED}))
    with pytest.raises(SpecError, match="allow_leak names 'modelMag_x', which is none of the numbers: did you mean"):
        make_plan(study, cache)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('columns = ["modelMag_g", "gini"]\nmeasured = true', "'gini' has the name of a number that is measured"),
        ("measured = false", 'inputs has "table" and "both", and \\[data\\] names no numbers'),
    ],
)
def test_numbers_that_can_not_be_had_are_refused_before_anything_runs(tmp_path, cache, data, said):
    make_numbered_survey(tmp_path / "survey.parquet", gini=lambda i, _: i % 7)
    study = Study.load(write_numbered_study(tmp_path, replace={OWN: data, **ONE_SEED}))
    with pytest.raises(SpecError, match=said):
        make_plan(study, cache)


def test_a_model_of_numbers_that_fails_is_an_exit_of_1(tmp_path, cache, capsys, monkeypatch):
    make_numbered_survey(tmp_path / "survey.parquet")
    file = write_numbered_study(tmp_path, replace={**ONE_SEED, '["images", "table", "both"]': '["images", "table"]'})
    monkeypatch.setattr(number_cells, "run_number_cell", lambda *_: 1 / 0)
    with pytest.raises(SystemExit) as ended:
        main(["--cache", str(cache), "study", "run", str(file), "--out", str(tmp_path / "run"), "--engine", "serial"])
    assert ended.value.code == 1
    assert "2 models of numbers failed" in capsys.readouterr().out

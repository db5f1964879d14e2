"""A bundle that takes numbers beside images: exported, read again, asked from Python and from the command line."""

from __future__ import annotations

import json
import pickle
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.table import MaskedColumn
from astropy.utils.masked import Masked
from PIL import Image

import skythaw
from helpers_numbers import MAGNITUDES, make_numbered_bundle
from skythaw.bundle.bundle_file import ABOUT, NUMBERS, read_about
from skythaw.bundle.export.export_bundle import export
from skythaw.bundle.numbers_wanted import NumbersWanted
from skythaw.bundle.table_given import columns_given
from skythaw.cli import main
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.errors import DataError, SpecError, UnknownNameError
from skythaw.report.page.evaluation_page import evaluation_sentences
from skythaw.stats.calibration import fit_temperature, tempered
from skythaw.stats.cell_predictions import read_log_probabilities, read_with_ids
from skythaw.study.ledger import Ledger


@pytest.fixture(scope="module")
def made(tmp_path_factory, cache):
    """A run of both, with measured numbers and columns, and its bundle."""
    folder = tmp_path_factory.mktemp("both")
    make_numbered_bundle(folder, cache)
    return folder


@pytest.fixture(scope="module")
def survey(made):
    """Images, numbers and labels of all objects."""
    cutouts = read_cutouts(made / "survey.parquet")
    images = np.stack([decode(data, name) for name, data, _ in cutouts.images()])
    return images, {name: cutouts.numbers(name) for name in MAGNITUDES}, cutouts


def test_the_classifier_that_uses_all_is_exported(made):
    about = read_about(made / "bundle")
    with Ledger.read(made / "run") as ledger:
        entries = {entry.key: entry for entry in (*ledger.entries(), *ledger.entries("numbers"))}
    whole = entries[about.cell.key].result
    assert about.cell.inputs == "both"
    assert about.numbers.names[:3] == MAGNITUDES
    assert about.numbers.model == entries[whole.made_of["table"]].result.head
    assert about.numbers.fusion == whole.fusion
    assert about.scores["own"] == whole.scores["test"]
    for half, key in whole.made_of.items():
        assert about.numbers.scores[half]["own"] == entries[key].result.scores["test"]
    assert set(about.files) == {NUMBERS, "references.safetensors"}


def test_an_image_bundle_of_the_same_run_says_nothing_of_numbers(made, tmp_path):
    about = export(made / "run", tmp_path / "bundle", inputs="images", onnx=False, references=0)
    assert about.cell.inputs == "images"
    content = json.loads((tmp_path / "bundle" / ABOUT).read_text())
    assert "numbers" not in content
    assert not {"inputs", "numbers", "numbers_sha256"} & content["cell"].keys()
    with pytest.raises(DataError, match="images alone"):
        skythaw.load(tmp_path / "bundle").predict(np.zeros((1, 32, 32, 3), np.uint8), table={})


def test_a_cell_is_taken_by_its_key_if_the_inputs_agree(made, tmp_path):
    with Ledger.read(made / "run") as ledger:
        keys = {entry.cell.inputs: entry.key for entry in ledger.entries()}
    for inputs, key in keys.items():
        assert export(made / "run", tmp_path / inputs, cell=key, onnx=False, references=0).cell.key == key
    with pytest.raises(UnknownNameError, match="are 'images', not 'both'"):
        export(made / "run", tmp_path / "other", cell=keys["images"], inputs="both")
    with pytest.raises(SpecError, match="add --inputs images"):
        export(made / "run", tmp_path / "other", cell=keys["both"], refit=object())


def test_predict_gives_the_numbers_of_the_run(made, survey):
    images, table, cutouts = survey
    classifier = skythaw.load(made / "bundle")
    about = classifier.about
    ids, _, p = read_with_ids(made / "run", about.cell.key, "test", about.classes)
    rows = [cutouts.object_ids.index(each) for each in ids]
    given = {name: column[rows] for name, column in table.items()}
    assert np.allclose(classifier.predict(images[rows], table=given, calibrated=False), p, atol=2e-6)
    found = classifier.outputs(images[rows], table=given)
    assert set(found.inputs) == {"both"}
    assert np.allclose(found.p.sum(1), 1, atol=1e-5)


def test_a_file_of_cutouts_gives_its_numbers_too(made, survey, tmp_path):
    images, table, cutouts = survey
    classifier, file = skythaw.load(made / "bundle"), made / "survey.parquet"
    found = classifier.predict(file)
    assert list(found.ids) == cutouts.object_ids
    assert np.array_equal(found, classifier.predict(images, table=table))
    whole = pq.read_table(file)
    pq.write_table(whole.drop_columns(list(MAGNITUDES)), tmp_path / "images.parquet")
    assert np.array_equal(classifier.predict(tmp_path / "images.parquet"), classifier.predict(images))
    holes = [None if row == 3 else value for row, value in enumerate(table[MAGNITUDES[0]])]
    place = whole.column_names.index(MAGNITUDES[0])
    pq.write_table(whole.set_column(place, MAGNITUDES[0], pa.array(holes)), tmp_path / "holes.parquet")
    missing = {**table, MAGNITUDES[0]: [np.nan if each is None else each for each in holes]}
    assert np.array_equal(classifier.predict(tmp_path / "holes.parquet"), classifier.predict(images, table=missing))
    place, column = whole.column_names.index("image"), whole["image"].to_pylist()
    gone = pa.array([None if row == 3 else value for row, value in enumerate(column)], whole["image"].type)
    pq.write_table(whole.set_column(place, "image", gone), tmp_path / "gone.parquet")
    shown = [None if row == 3 else image for row, image in enumerate(images)]
    assert np.array_equal(classifier.predict(tmp_path / "gone.parquet"), classifier.predict(shown, table=table))
    pq.write_table(whole.drop_columns(list(MAGNITUDES[:1])), tmp_path / "some.parquet")
    with pytest.raises(DataError, match=f"the table lacks the column '{MAGNITUDES[0]}'"):
        classifier.predict(tmp_path / "some.parquet")


def test_a_table_of_images_may_have_no_numbers_and_what_was_there_is_said(made, survey):

    images, table, _ = survey
    classifier = skythaw.load(made / "bundle")
    frame = pd.DataFrame({"image": list(images[:4])})
    alone = classifier.predict(frame)
    assert alone.inputs == ("images",) * 4
    assert np.array_equal(alone, classifier.predict(images[:4]))
    both = classifier.predict(frame.assign(**{name: column[:4] for name, column in table.items()}))
    assert pickle.loads(pickle.dumps(both)).inputs == both.copy().inputs == ("both",) * 4
    assert both.table()["inputs"].tolist() == ["both"] * 4
    with pytest.raises(DataError, match="the table lacks the columns"):
        classifier.predict(frame.assign(modelMag_g=17.0))


def test_outputs_takes_what_predict_takes(made, survey):
    images, table, _ = survey
    classifier = skythaw.load(made / "bundle")
    given = {name: column[:2] for name, column in table.items()}
    found = classifier.outputs([Image.fromarray(image) for image in images[:2]], table=given)
    assert np.array_equal(found.p, classifier.predict(images[:2], table=given))
    assert classifier.outputs(made / "survey.parquet").inputs.tolist() == ["both"] * len(images)


@pytest.mark.parametrize("half", ["images", "table"])
def test_an_object_gets_the_model_for_what_is_there(made, survey, half):
    images, table, cutouts = survey
    classifier = skythaw.load(made / "bundle")
    with Ledger.read(made / "run") as ledger:
        key = next(e.result for e in ledger.entries() if e.key == classifier.about.cell.key).made_of[half]
    ids = read_with_ids(made / "run", key, "test", classifier.classes)[0]
    rows = [cutouts.object_ids.index(each) for each in ids]
    of_run = np.exp(read_log_probabilities(made / "run", key, "test", classifier.classes))
    shown = images[rows] if half == "images" else [None] * len(rows)
    given = None if half == "images" else {name: column[rows] for name, column in table.items()}
    found = classifier.outputs(shown, table=given, calibrated=False)
    assert set(found.inputs) == {half}
    if half == "images":
        assert np.allclose(found.p, of_run, atol=1e-6)
    else:
        assert found.p.shape == of_run.shape, "what is measured is missing: other numbers than those of the run"
        assert np.isnan(found.features).all()


def test_objects_of_each_kind_among_each_other(made, survey):
    images, table, _ = survey
    classifier = skythaw.load(made / "bundle")
    given = {name: column[:4].copy() for name, column in table.items()}
    for column in given.values():
        column[[1, 3]] = np.nan
    mixed = classifier.outputs([images[0], images[1], None, None], table=given)
    assert mixed.inputs.tolist() == ["both", "images", "table", ""]
    assert np.isnan(mixed.p[3]).all()
    with pytest.raises(DataError, match=r"^image 1 can't be read"):
        classifier.predict([None, b"garbage", None, None], table=given)
    alone = classifier.outputs(images[:1], table={name: column[:1] for name, column in given.items()})
    assert np.allclose(mixed.p[0], alone.p[0], atol=1e-6)
    assert np.allclose(classifier.outputs(images[1:2]).p[0], mixed.p[1], atol=1e-6)


def test_what_is_measured_is_measured_in_an_image_of_the_training_s_size(made, survey):
    images, table, _ = survey
    classifier = skythaw.load(made / "bundle")
    given = {name: column[:5] for name, column in table.items()}
    larger = np.pad(images[:5], ((0, 0), (4, 4), (4, 4), (0, 0)), mode="edge")
    assert np.array_equal(classifier.predict(larger, table=given), classifier.predict(images[:5], table=given))


def test_each_answer_has_its_own_temperature(made, survey):
    images, table, _ = survey
    classifier = skythaw.load(made / "bundle")
    about = classifier.about
    log_p = read_log_probabilities(made / "run", about.cell.key, "validation", about.classes)
    _, labels, _ = read_with_ids(made / "run", about.cell.key, "validation", about.classes)
    true = np.array([about.classes.index(label) for label in labels])
    record = about.numbers
    assert record.temperature == pytest.approx(fit_temperature(log_p, true))
    assert len({record.temperature, record.table_temperature, about.temperature}) == 3
    given = {name: column[:2] for name, column in table.items()}
    kinds = {
        record.temperature: (images[:2], given),
        about.temperature: (images[:2], None),
        record.table_temperature: ([None, None], given),
    }
    for temperature, (shown, beside) in kinds.items():
        plain, calibrated = (classifier.predict(shown, table=beside, calibrated=how) for how in (False, True))
        assert np.allclose(calibrated, np.exp(tempered(np.log(plain), temperature)), atol=1e-5)


def test_the_card_says_what_it_takes_and_what_each_half_scores(made):
    card = (made / "bundle" / "README.md").read_text()
    about = read_about(made / "bundle")
    assert "## Numbers beside the image" in card
    for name in MAGNITUDES:
        assert f"| `{name}` | magnitudes |" in card
    for half in ("images", "table"):
        assert f"{about.numbers.scores[half]['macro_f1']['mean']:.3f}" in card
    assert "--table catalogue.csv" in card


def without(table, *names):
    return {name: column for name, column in table.items() if name not in names}


BAD = {
    "lacks the columns 'modelMag_g', 'modelMag_i'": lambda t: without(t, "modelMag_g", "modelMag_i"),
    "'modelMag_r' should hold numbers": lambda t: t | {"modelMag_r": ["17.1", "faint"]},
    "modelMag_r.*infinite": lambda t: t | {"modelMag_r": np.array([17.0, np.inf])},
    "not the file catalogue.csv: read it first, or give the file to skythaw.predict": lambda t: "catalogue.csv",
    "has 1 rows, and there are 2": lambda t: t | {"modelMag_r": np.array([17.0])},
    "'modelMag_r' should hold a number for each object, not one value, 17.0": lambda t: t | {"modelMag_r": 17.0},
    "'modelMag_r' holds fluxes by its unit": lambda t: t | {"modelMag_r": [17.0, 18.0] * units.Jy},
    "'modelMag_r' should hold numbers: only handle 1-dim": lambda t: t | {"modelMag_r": np.eye(2)},
}


@pytest.mark.parametrize("said", BAD)
def test_tables_that_are_refused(made, survey, said):
    images, table, _ = survey
    given = BAD[said]({name: column[:2] for name, column in table.items()})
    with pytest.raises(DataError, match=said):
        skythaw.load(made / "bundle").predict(images[:2], table=given)


HOLES = {
    "text": ["17.5", "--", "", "18"],
    "text and numbers": pd.Series([17.5, None, "N/A", 18]),
    "pandas": pd.Series([17.5, None, None, 18], dtype="Float64"),
    "array of pandas": pd.array([17.5, None, None, 18]),
    "masked": MaskedColumn([17.5, 0, 0, 18], mask=[0, 1, 1, 0]),
    "masked quantities": Masked([17.5, 0, 0, 18] * units.mag, mask=[0, 1, 1, 0]),
    "quantities": [17.5, -9999, np.nan, 18] * units.mag,
    "arrow": pa.chunked_array([[17.5, None], [None, 18]]),
}


@pytest.mark.parametrize("kind", HOLES)
def test_a_table_may_be_of_any_library_and_have_holes(made, kind):
    wants, holes = NumbersWanted(read_about(made / "bundle")), HOLES[kind]
    found = columns_given(wants, dict.fromkeys(MAGNITUDES, holes), 4)
    known = columns_given(wants, {name: [17.5, np.nan, np.nan, 18] for name in MAGNITUDES}, 4)
    np.testing.assert_array_equal(found, known)


def test_masked_whole_numbers_are_read(made):
    wants, masked = NumbersWanted(read_about(made / "bundle")), MaskedColumn([17, 0, 18], mask=[0, 1, 0])
    found = columns_given(wants, dict.fromkeys(MAGNITUDES, masked), 3)
    np.testing.assert_array_equal(found[:, 0], [17, np.nan, 18])


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(each) for each in arguments])
    assert end.value.code == 0


def predicted(made, tmp_path, *arguments):
    run("predict", made / "bundle", *arguments, "-o", tmp_path / "out.parquet", "--device", "cpu")
    return pq.read_table(tmp_path / "out.parquet").to_pydict()


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main([str(each) for each in arguments])
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert (end.value.code, len(lines)) == (2, 1), error
    return lines[0]


def changed(made, path, change):
    """A file of the survey with another table."""
    table = pq.read_table(made / "survey.parquet")
    pq.write_table(change(table), path)
    return path


def test_the_command_reads_the_columns_of_the_images_file(made, survey, tmp_path, capsys):
    images, table, cutouts = survey
    found = predicted(made, tmp_path, made / "survey.parquet")
    assert set(found["inputs"]) == {"both"}
    assert set(found["status"]) == {"ok"}
    p = skythaw.load(made / "bundle").predict(images, table=table)
    assert np.allclose(np.transpose([found[f"p_{name}"] for name in cutouts.classes]), p, atol=1e-5)
    assert "180 objects were judged by image and numbers" in capsys.readouterr().out


def test_the_command_says_what_was_there_of_each_object(made, tmp_path, capsys):
    def lost(table):
        rows = table.to_pylist()
        rows[0]["image"] = None
        for name in MAGNITUDES:
            rows[1][name] = None
        rows[2]["image"], rows[2]["modelMag_g"], rows[2]["modelMag_r"], rows[2]["modelMag_i"] = None, None, None, None
        return pa.Table.from_pylist(rows, table.schema)

    found = predicted(made, tmp_path, changed(made, tmp_path / "lost.parquet", lost))
    assert found["inputs"][:4] == ["table", "images", None, "both"]
    assert found["status"][0].startswith("by the numbers alone: ")
    assert [p is None for p in found["p_STAR"][:4]] == [False, False, True, False]
    assert [far is None for far in found["distance"][:4]] == [True, False, True, False]
    said = capsys.readouterr()
    assert "1 by their image alone" in said.err
    assert "1 by their numbers alone" in said.err


def test_a_shard_is_the_same(made, tmp_path):
    whole = predicted(made, tmp_path, made / "survey.parquet", "--backend", "torch")
    run("predict", made / "bundle", made / "survey.parquet", "-o", tmp_path / "out", "--engine", "serial")
    (shard,) = sorted((tmp_path / "out" / "shards").glob("*.parquet"))
    assert pq.read_table(shard).to_pydict() == whole


def test_a_bundle_wants_columns_that_no_input_has(made, tmp_path, capsys):
    bare = changed(made, tmp_path / "bare.parquet", lambda table: table.drop_columns(["modelMag_g", "modelMag_i"]))
    for out in ("out.parquet", "out"):
        said = refused(capsys, "predict", made / "bundle", bare, "-o", tmp_path / out)
        assert "no input has the columns 'modelMag_g', 'modelMag_i'" in said
        assert not (tmp_path / out).exists()
    both = predicted(made, tmp_path, bare, made / "survey.parquet")
    assert Counter(both["inputs"]) == {"images": 180, "both": 180}


def test_without_any_numbers_the_image_decides_and_this_is_said(made, tmp_path, capsys):
    names = ["modelMag_g", "modelMag_r", "modelMag_i"]
    bare = changed(made, tmp_path / "bare.parquet", lambda table: table.drop_columns(names))
    found = predicted(made, tmp_path, bare)
    assert set(found["inputs"]) == {"images"}
    said = capsys.readouterr()
    assert "no input has the columns 'modelMag_g', 'modelMag_r', 'modelMag_i'" in " ".join(said.out.split())
    assert "180 by their image alone" in said.err


def test_an_evaluation_without_the_numbers_says_so_and_is_not_held_against_one_with_them(made, tmp_path, cache):
    table = pq.read_table(made / "survey.parquet")
    pq.write_table(table.select(["object_id", "label", "image"]), tmp_path / "images.parquet")
    found = skythaw.evaluate(made / "bundle", tmp_path / "images.parquet", cache=cache)
    assert found["inputs"] == {"images": len(table)}
    assert any("have no numbers beside them and were judged alone" in text for text in found["warnings"])
    found |= {"own_test": {"macro_f1": 1.1}, "own_interval": {"low": 1.05, "high": 1.15}}
    assert not any("surely" in each for each in evaluation_sentences(found))
    assert any("surely" in each for each in evaluation_sentences({**found, "inputs": {}}))


@pytest.mark.parametrize(("value", "said"), [("faint", "modelMag_r"), (float("inf"), "infinite")])
def test_columns_that_hold_no_numbers(made, tmp_path, capsys, value, said):
    def spoilt(table):
        column = pa.array([value] * len(table))
        return table.set_column(table.schema.get_field_index("modelMag_r"), "modelMag_r", column)

    file = changed(made, tmp_path / "spoilt.parquet", spoilt)
    assert said in refused(capsys, "predict", made / "bundle", file, "-o", tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_a_bundle_without_columns_takes_no_table(made, tmp_path, capsys):
    export(made / "run", tmp_path / "images", inputs="images", onnx=False, references=0)
    (tmp_path / "table.csv").write_text("object_id,modelMag_g\n")
    said = refused(
        capsys, "predict", tmp_path / "images", made / "survey.parquet", "-o", tmp_path / "out.csv",
        "--table", tmp_path / "table.csv",
    )  # fmt: skip
    assert "takes images alone" in said


def catalogue_of(survey, path, rows=slice(None), ids=None):
    """A CSV file with the magnitudes of some objects."""
    _, table, cutouts = survey
    names = cutouts.object_ids[rows] if ids is None else ids
    lines = zip(names, *(column[rows] for column in table.values()), strict=True)
    text = "\n".join(",".join(map(str, line)) for line in [("object_id", *MAGNITUDES), *lines])
    path.write_text(text + "\n")
    return path


def test_numbers_come_from_a_catalogue(made, survey, tmp_path, capsys):
    bare = changed(made, tmp_path / "bare.parquet", lambda table: table.drop_columns(list(MAGNITUDES)))
    file = catalogue_of(survey, tmp_path / "catalogue.csv", slice(0, 60))
    found = predicted(made, tmp_path, bare, "--table", file)
    said = " ".join(capsys.readouterr().out.split())
    assert found["inputs"] == ["both"] * 60 + ["images"] * 120
    assert "60 of 180 cutouts have a row in the catalogue" in said
    whole = predicted(made, tmp_path, made / "survey.parquet")
    assert found["p_STAR"][:60] == whole["p_STAR"][:60]


def test_image_files_are_found_in_a_catalogue_by_their_names(made, survey, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, data, _ in survey[2].images(170):
        (folder / f"{name}.jpg").write_bytes(data)
    found = predicted(made, tmp_path, folder, "--table", catalogue_of(survey, tmp_path / "catalogue.csv"))
    assert found["inputs"] == ["both"] * 10


def test_numbers_outside_the_range_of_the_training_are_told(made, survey, tmp_path, capsys):
    images, table, cutouts = survey
    ranges = read_about(made / "bundle").numbers.ranges
    assert set(ranges) == set(MAGNITUDES)
    older = read_about(made / "bundle").numbers.model_copy(update={"ranges": {}})
    assert "ranges" not in older.model_dump(), "the checksum of older bundles stays"
    fainter = {name: column + 6 for name, column in table.items()}
    file = catalogue_of((images, fainter, cutouts), tmp_path / "catalogue.csv")
    bare = changed(made, tmp_path / "bare.parquet", lambda whole: whole.drop_columns(list(MAGNITUDES)))
    predicted(made, tmp_path, bare, "--table", file)
    said = " ".join(capsys.readouterr().out.split())
    assert all(f"The median of {name!r} is 2" in said for name in MAGNITUDES)
    (tmp_path / "out.parquet").unlink()
    predicted(made, tmp_path, made / "survey.parquet")
    assert "The median" not in capsys.readouterr().out


def test_files_with_positions_of_other_types_are_judged_together(made, survey, tmp_path, capsys):
    _, table, cutouts = survey
    ra, dec = np.linspace(180, 181, 180), np.full(180, 2.0)
    dec[3] = -9999

    def files(**kinds):
        for name, kind in kinds.items():
            place = slice(*{"a": (0, 60), "b": (60, 120)}[name])
            rows = pq.read_table(made / "survey.parquet").slice(place.start, 60).select(["object_id", "label", "image"])
            columns = [pa.array([str(each) for each in side[place]]).cast(kind) for side in (ra, dec)]
            whole = rows.append_column("ra", columns[0]).append_column("dec", columns[1])
            pq.write_table(whole, tmp_path / f"{name}.parquet")
        return [tmp_path / f"{name}.parquet" for name in kinds]

    (tmp_path / "images").mkdir()
    for name, data, _ in cutouts.images(170):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(data)
    lines = zip(ra, np.full(180, 2.0), *table.values(), strict=True)
    text = "\n".join(",".join(map(str, line)) for line in [("ra", "dec", *MAGNITUDES), *lines])
    (tmp_path / "c.csv").write_text(text)
    inputs = [*files(a=pa.float64(), b=pa.float32()), tmp_path / "images", "--table", tmp_path / "c.csv"]
    found = predicted(made, tmp_path, *inputs)
    assert found["inputs"] == ["both"] * 3 + ["images"] + ["both"] * 116 + ["images"] * 10
    assert "11 have none (11 of them have no position)" in " ".join(capsys.readouterr().out.split())
    inputs[:2] = files(a=pa.float64(), b=pa.string())
    assert "differ in the types of ra or dec" in refused(
        capsys, "predict", made / "bundle", *inputs, "-o", tmp_path / "other.csv"
    )


def test_catalogues_that_are_refused(made, survey, tmp_path, capsys):
    whole = catalogue_of(survey, tmp_path / "whole.csv")
    others = catalogue_of(survey, tmp_path / "others.csv", ids=[f"x{i}" for i in range(180)])
    lacking = tmp_path / "lacking.csv"
    lacking.write_text("\n".join(line.rpartition(",")[0].rpartition(",")[0] for line in whole.read_text().splitlines()))
    text = tmp_path / "text.csv"
    head, _, *rows = whole.read_text().splitlines()
    text.write_text("\n".join([head, f"{survey[2].object_ids[0]},faint,17.0,17.0", *rows]))
    cases = {
        others: ["others.csv"],
        lacking: ["no column", "'modelMag_r'", "'modelMag_i'"],
        text: ["should hold numbers", "faint"],
        tmp_path / "none.csv": ["none.csv"],
    }
    images = tmp_path / "images.parquet"  # without the columns, which might serve in place of the catalogue's
    pq.write_table(pq.read_table(made / "survey.parquet").drop_columns(list(MAGNITUDES)), images)
    for file, said in cases.items():
        line = refused(capsys, "predict", made / "bundle", images, "-o", tmp_path / "out.csv", "--table", file)
        assert all(part in line for part in said)
        assert {path.name for path in tmp_path.iterdir() if path.name.startswith("out")} == set()
    assert "leave out the table" in refused(
        capsys, "predict", made / "bundle", made / "survey.parquet", "-o", tmp_path / "out", "--table", whole
    )


def test_a_prediction_that_was_stopped_goes_on_with_the_same_table(made, survey, tmp_path, capsys, monkeypatch):
    from skythaw.predict import predict_images
    from skythaw.predict.predict_images import PredictSettings, predict_to

    file, out = catalogue_of(survey, tmp_path / "catalogue.csv"), tmp_path / "out.parquet"
    setting, own = PredictSettings(16, "cpu", 1, 40, "torch"), predict_images.predictions
    arguments = (made / "bundle", [made / "survey.parquet"])
    whole = predict_to(*arguments, tmp_path / "whole.parquet", setting, table=file)

    def stopped(*given):
        for number, rows in enumerate(own(*given)):
            if number == 5:
                raise KeyboardInterrupt
            yield rows

    monkeypatch.setattr(predict_images, "predictions", stopped)
    with pytest.raises(KeyboardInterrupt):
        predict_to(*arguments, out, setting, table=file)
    monkeypatch.undo()
    with pytest.raises(SpecError, match="another table"):
        predict_to(*arguments, out, setting, table=catalogue_of(survey, tmp_path / "other.csv"))
    summary = predict_to(*arguments, out, setting, table=file)
    assert summary.resumed == 72, "whole batches: two of 16 and one of 8, and two of 16 again"
    assert summary.inputs == whole.inputs == {"both": 180}
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "whole.parquet"))


def test_the_onnx_file_is_the_network_alone(made, tmp_path):
    pytest.importorskip("onnxruntime")
    about = export(made / "run", tmp_path / "bundle", onnx=True, references=0)
    assert about.numbers.in_onnx is False
    assert "the model of the numbers is not in it" in (tmp_path / "bundle" / "README.md").read_text()
    found = {}
    for backend in ("torch", "onnx"):
        out = tmp_path / f"{backend}.parquet"
        run("predict", tmp_path / "bundle", made / "survey.parquet", "-o", out, "--backend", backend, "--device", "cpu")
        found[backend] = pq.read_table(out).to_pydict()
    assert set(found["onnx"]["inputs"]) == {"both"}
    for name in about.classes:
        assert np.allclose(found["torch"][f"p_{name}"], found["onnx"][f"p_{name}"], atol=1e-3)


def test_explain_tells_image_and_numbers_apart(made, survey, tmp_path, capsys):
    name = survey[2].object_ids[0]
    arguments = ("explain", made / "bundle", f"{made / 'survey.parquet'}:{name}", "-o", tmp_path / "why.png")
    run(*arguments, "--json")
    found = json.loads(capsys.readouterr().out)
    numbers, label = found["numbers"], found["class"]
    assert numbers["inputs"] == "both"
    classifier = skythaw.load(made / "bundle")
    image, given = survey[0][:1], {key: column[:1] for key, column in survey[1].items()}
    p = dict(zip(classifier.classes, classifier.predict(image, table=given)[0], strict=True))
    assert found["p"] == pytest.approx(p, abs=1e-5)
    assert numbers["moved_by_image"] == pytest.approx(p[label] - numbers["halves"]["table"][label], abs=1e-5)
    assert numbers["moved_by_numbers"] == pytest.approx(p[label] - numbers["halves"]["images"][label], abs=1e-5)
    assert {each["name"] for each in numbers["weights"]} == set(classifier.about.numbers.names)
    drops = [abs(each["drop"]) for each in numbers["weights"]]
    assert drops == sorted(drops, reverse=True)
    usual = next(each for each in numbers["weights"] if each["name"] == "modelMag_r")
    assert usual["value"] == pytest.approx(survey[1]["modelMag_r"][0])
    run(*arguments)
    said = " ".join(capsys.readouterr().out.split())
    assert f"p({label}) by the image alone" in said
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")


def test_explain_without_columns_tells_of_the_image(made, survey, tmp_path, capsys):
    name, data, _ = next(survey[2].images())
    (tmp_path / f"{name}.jpg").write_bytes(data)
    arguments = ("explain", made / "bundle", tmp_path / f"{name}.jpg", "-o", tmp_path / "why.png", "--json")
    run(*arguments)
    alone = json.loads(capsys.readouterr().out)["numbers"]
    assert (alone["inputs"], alone["moved_by_image"]) == ("images", None)
    run(*arguments, "--table", catalogue_of(survey, tmp_path / "catalogue.csv"))
    assert json.loads(capsys.readouterr().out)["numbers"]["inputs"] == "both"

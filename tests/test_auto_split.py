"""`by = "auto"`: what it takes, and what it says of that; and parts that a column gives."""

from __future__ import annotations

import json

import numpy as np
import pytest

from helpers_data import CLASSES, FIELD, encode, labelled, picture
from helpers_study import make_survey, write_study
from skythaw.data.auto_split import settle_split
from skythaw.data.cutouts import write_cutouts
from skythaw.data.split import split
from skythaw.data.split_remarks import split_remarks
from skythaw.errors import DataError, SpecError
from skythaw.spec import Split

COUNT = 60
LABELS = [CLASSES[n % 3] for n in range(COUNT)]
SKY = {"ra": [n * 5.9 for n in range(COUNT)], "dec": [(n * 7) % 120 - 60.0 for n in range(COUNT)]}
FIELDS = {"run": [1] * COUNT, "camcol": [2] * COUNT, "field": [n // 4 for n in range(COUNT)]}
HALVES = ["train"] * 30 + ["test"] * 30
PART = {"part": (["train"] * 30 + ["val"] * 12 + ["TEST"] * 18)}


@pytest.mark.parametrize(
    ("columns", "by", "says"),
    [
        (FIELDS | SKY | PART, "field", "fields of the survey (run, camcol, field)"),
        (SKY | PART, "healpix", "pixels of the sky (from ra and dec), because there are no columns run, camcol and"),
        (PART, "part", "their column 'part', which names the parts"),
        ({"split": PART["part"]}, "split", "their column 'split', which names the parts"),
        ({"part": [str(n) for n in range(COUNT)]}, "random", "object by object, because there are no columns run"),
        (
            FIELDS | {"field": [None, *FIELDS["field"][1:]]},
            "random",
            "field are empty for some objects",
        ),
        (FIELDS | {"field": [1] * COUNT} | SKY, "healpix", "class 'GALAXY' lies in 1 fields, and there are 3 parts"),
        (
            {"ra": ["12:00:00"] * COUNT, "dec": ["+1:0:0"] * COUNT},
            "random",
            "ra and dec are not all numbers",
        ),
        ({"ra": SKY["ra"], "dec": [95.0] * COUNT}, "random", "ra and dec are not all numbers"),
        ({"ra": [1.0] * COUNT, "dec": [1.0] * COUNT}, "random", "lies in 1 pixels of the sky, and there are 3 parts"),
    ],
)
def test_what_auto_takes_and_why(columns, by, says):
    sha256 = [f"{n:064d}" for n in range(COUNT)]
    cutouts = labelled(LABELS, sha256=sha256, **columns)
    settled = settle_split(cutouts, Split(seed=3))
    assert settled.spec == Split(by=by, seed=3)
    assert says in settled.why
    chosen, same = split(cutouts, Split(seed=3)), split(cutouts, Split(by=by, seed=3))
    assert all(np.array_equal(getattr(chosen, part), getattr(same, part)) for part in ("train", "validation", "test"))
    assert settle_split(cutouts, Split(by="random")).why == ""


def given(parts, labels=None, **columns):
    sha256 = [f"{n:064d}" for n in range(len(parts))]
    return labelled(labels or [CLASSES[n % 3] for n in range(len(parts))], **({"sha256": sha256} | columns), part=parts)


def test_parts_are_taken_as_they_are_given():
    cutouts = given(PART["part"])
    parts = split(cutouts, Split(by="part"))
    assert [len(rows) for rows in (parts.train, parts.validation, parts.test)] == [30, 12, 18]
    assert parts.test.tolist() == list(range(42, 60))


def test_a_part_that_is_missing_is_drawn_from_training():
    settled = settle_split(cutouts := given(["Train"] * 60 + ["test"] * 30), Split(by="part", validation=0.2))
    parts = split(cutouts, settled.spec, twins=settled.twins)
    assert [len(rows) for rows in (parts.train, parts.validation, parts.test)] == [48, 12, 30]
    assert set(parts.test) == set(range(60, 90))
    remarks = split_remarks(cutouts, settled, parts, external_test=False)
    assert remarks == ["the column 'part' names no validation part: it was drawn from the training part"]
    cutouts = given(["train"] * 60 + ["valid"] * 30)
    parts = split(cutouts, Split(by="part", test=0.25))
    assert [len(rows) for rows in (parts.train, parts.validation, parts.test)] == [45, 30, 15]


def test_an_external_test_set_replaces_the_given_one():
    settled = settle_split(cutouts := given(PART["part"]), Split(by="part"), external_test=True)
    parts = split(cutouts, settled.spec, external_test=True)
    assert [len(rows) for rows in (parts.train, parts.validation, parts.test)] == [30, 12, 0]
    remarks = split_remarks(cutouts, settled, parts, external_test=True)
    assert remarks == ["left out 18 objects of the test part, because test_path is the test set"]


def test_copies_in_a_later_part_are_left_out_of_the_earlier_one():
    sha256 = [f"{n % 57:064d}" for n in range(60)]
    settled = settle_split(cutouts := given(PART["part"], sha256=sha256), Split(by="part"))
    parts = split(cutouts, settled.spec, twins=settled.twins)
    assert set(parts.test) == set(range(42, 60))
    assert not {0, 1, 2} & {*parts.train, *parts.validation}
    remarks = split_remarks(cutouts, settled, parts, external_test=False)
    assert remarks == ["left out 3 objects that are copies of objects in the validation or test part"]


@pytest.mark.parametrize(
    ("parts", "labels", "says"),
    [
        (["train"] * 30 + ["test"] * 29 + [None], None, "the column is empty for 1 objects"),
        (HALVES, ["A"] * 30 + ["A", "B"] * 15, "the training part has no usable object of class 'B'"),
        (HALVES, ["A", "B"] * 15 + ["A"] * 30, "the test part has no usable object of class 'B'"),
        (["val"] * 30 + ["test"] * 30, None, "the training part has no usable object of class"),
    ],
)
def test_parts_that_can_not_be_used(parts, labels, says):
    with pytest.raises(DataError, match=says):
        split(given(parts, labels), Split(by="part"))


def test_an_explicit_field_without_fields_names_auto():
    with pytest.raises(SpecError, match=r"no column run, camcol, field .*by = 'auto' takes the first that fits"):
        split(labelled(["a", "b"] * 9), Split(by="field"))


def test_a_plan_says_what_was_chosen(tmp_path, skythaw):
    make_survey(tmp_path / "survey.parquet", objects=90)
    write_study(tmp_path, replace={'by = "field", ': "", "[75]": "[30]"})
    done = skythaw("study", "plan", tmp_path / "study.toml")
    assert done.returncode == 0, done.stderr
    assert "Split: the data are divided by fields of the survey" in done.stdout
    told = json.loads(skythaw("study", "plan", tmp_path / "study.toml", "--json").stdout)
    assert told["split"]["by"] == "field"
    assert told["division"].startswith("the data are divided by fields")


@pytest.mark.parametrize("odd", ["a\nb", "\u202eb", "x" * 101, " "])
def test_odd_and_alike_classes_are_told_at_plan(tmp_path, skythaw, odd):
    rows = [
        {"object_id": str(i), "label": [odd, "QSO", "Qso"][i % 3], "image": encode(picture(i, 32))}
        | dict.fromkeys(("run", "camcol"), 1)
        | {"field": i}
        for i in range(60)
    ]
    write_cutouts(tmp_path / "survey.parquet", rows, FIELD, {})
    write_study(tmp_path, replace={"[75]": "[30]"})
    done = skythaw("study", "plan", tmp_path / "study.toml")
    assert done.returncode == 2
    assert "survey.parquet: the class name '" in done.stderr
    assert done.stderr.count("\n") == 1
    for row in rows:
        row["label"] = "STAR" if row["label"] == odd else row["label"]
    write_cutouts(tmp_path / "survey.parquet", rows, FIELD, {})
    done = skythaw("study", "plan", tmp_path / "study.toml")
    assert done.returncode == 0, done.stderr
    assert "the classes 'QSO' (20) and 'Qso' (20) may be one; to merge them: skythaw data import" in done.stderr


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (["train"] * 60 + ["eval"] * 30, "the column 'part' holds 'eval', which names no part (train, validation or"),
        (["train"] * 90, "the column 'part' holds one part alone"),
        (["train"] * 60 + [None] * 30, "the column 'part' is empty for some objects"),
    ],
)
def test_a_column_of_parts_that_is_not_taken_is_named(parts, says):
    settled = settle_split(given(parts), Split(by="auto"))
    assert settled.spec.by == "random"
    assert says in settled.why

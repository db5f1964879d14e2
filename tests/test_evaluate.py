"""`evaluate` says what its scores are of: which classes have objects, and what is known of their place on the sky."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest

from helpers_bundle import make_bundle
from helpers_data import encode, picture
from helpers_study import make_survey
from skythaw import evaluate, init_study
from skythaw.api.gather_images import as_given
from skythaw.errors import DataError, OutputError

UNKNOWN = "where the objects are on the sky is not known"
ONE = "all objects are of one field or pixel of the sky"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("bundle"), cache)


def warned(bundle, table, out, cache):
    pq.write_table(table, out)
    return evaluate(bundle, out, cache=cache, progress=False)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Objects that the classifier has not seen."""
    return pq.read_table(make_survey(tmp_path_factory.mktemp("other") / "other.parquet", 60, seed=7, prefix="77"))


def test_classes_without_objects_are_named(bundle, other, tmp_path, cache):
    found = warned(bundle, other.filter(pa.compute.not_equal(other["label"], "QSO")), tmp_path / "a.parquet", cache)
    assert "there are no objects of the class QSO: macro-F1 is the mean of GALAXY, STAR alone" in found["warnings"]
    f1 = [each["f1"]["mean"] for each in found["classes"].values()]
    assert found["macro_f1"]["mean"] == pytest.approx(sum(f1) / 2)
    stars = warned(bundle, other.filter(pa.compute.equal(other["label"], "STAR")), tmp_path / "b.parquet", cache)
    assert any("of the classes GALAXY, QSO: macro-F1 is the mean of STAR alone" in each for each in stars["warnings"])
    whole = warned(bundle, other, tmp_path / "c.parquet", cache)
    assert not any("no objects" in each for each in whole["warnings"])


def test_one_field_is_known_but_is_no_group(bundle, other, tmp_path, cache):
    one = other.set_column(other.column_names.index("field"), "field", pa.array([7] * len(other), pa.int32()))
    one = one.set_column(one.column_names.index("camcol"), "camcol", pa.array([1] * len(other), pa.int8()))
    said = warned(bundle, one, tmp_path / "one.parquet", cache)["warnings"]
    assert any(each.startswith(ONE) for each in said)
    assert not any(UNKNOWN in each for each in said)
    said = warned(bundle, other.drop_columns(["field"]), tmp_path / "none.parquet", cache)["warnings"]
    assert any(each.startswith(UNKNOWN) for each in said)
    said = warned(bundle, other, tmp_path / "all.parquet", cache)["warnings"]
    assert not any(UNKNOWN in each or each.startswith(ONE) for each in said)


def test_advice_names_the_command_that_has_the_option(bundle, tmp_path, cache):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.png").write_bytes(encode(picture(1, 40), "PNG"))
    (tmp_path / "labels.csv").write_text("file,label\na.png,STAR\ngone.png,STAR\n")
    with pytest.raises(DataError, match=r"--labelled-only and --skip-missing are options of skythaw data import"):
        evaluate(bundle, tmp_path / "set", labels=tmp_path / "labels.csv", cache=cache, progress=False)


def test_what_the_user_gave_is_named_and_no_file_that_was_made_of_it(bundle, tmp_path, cache):
    images, labels = tmp_path / "set", tmp_path / "labels.csv"
    images.mkdir()
    (images / "a.png").write_bytes(encode(picture(1, 8), "PNG"))
    labels.write_text("file,label\na.png,STAR\n")
    with pytest.raises(DataError, match="set: no labelled image can be classified, the first because") as caught:
        evaluate(bundle, images, labels=labels, cache=cache, progress=False)
    assert str(caught.value).startswith(str(images))
    labels.write_text("file,label\na.png,\n")
    with pytest.raises(DataError, match=r"^\S+/labels\.csv: no object has a label"):
        evaluate(bundle, images, labels=labels, cache=cache, progress=False)
    network = {"backbone": "timm:test_efficientnet", "weights": {"timm:test_efficientnet": "random"}}
    with pytest.raises(DataError, match=r"^\S+/labels\.csv: no object has a label"):
        init_study(images, labels=labels, out=tmp_path / "out", cache=cache, progress=False, **network)


def test_a_file_that_cannot_be_written_keeps_its_name():
    with (
        pytest.raises(OutputError, match=r"can't write out/cutouts\.parquet"),
        as_given(Path("out/cutouts.parquet"), Path("a")),
    ):
        raise OutputError("can't write out/cutouts.parquet: No space left on device")


def test_a_folder_is_predicted_by_the_files_that_are_read(bundle, other, tmp_path, cache):
    folder = tmp_path / "set"
    (folder / "old").mkdir(parents=True)
    for name, part in (("a.parquet", other[:30]), ("b.PARQUET", other[30:]), ("old/z.parquet", other[:30])):
        pq.write_table(part, folder / name)
    found = evaluate(bundle, folder, cache=cache, progress=False)
    whole = warned(bundle, other, tmp_path / "whole.parquet", cache)
    assert found["objects"] == whole["objects"] == 60
    assert found["confusion"] == whole["confusion"]


def test_parquet_under_another_name_is_refused(bundle, other, tmp_path, cache):
    with pytest.raises(DataError, match=r"set\.data is Parquet: its name should end in \.parquet"):
        warned(bundle, other, tmp_path / "set.data", cache)

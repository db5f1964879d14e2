"""The Parquet form: what is written comes back, whole or not at all, and a wrong file is named with its reason."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers_data import FIELD, files_of_at_most, labelled, make, rows
from skythaw.data.cutouts import read_cutouts, require_classes, write_cutouts
from skythaw.data.sources.cutout_files import import_cutouts
from skythaw.data.sources.source_formats import source_of
from skythaw.errors import DataError, OutputError
from skythaw.machine import files
from skythaw.predict.prediction_rows import status_column


def test_round_trip(tmp_path):
    cutouts = make(tmp_path / "a.parquet", 30, label={4: None})
    assert len(cutouts) == 30
    assert cutouts.object_ids == [row["object_id"] for row in rows(30)]
    assert cutouts.labels[4] is None
    assert cutouts.labels[5] == "STAR"
    assert not cutouts.labelled[4]
    assert cutouts.labelled.sum() == 29
    assert cutouts.classes == ("GALAXY", "QSO", "STAR")
    assert cutouts.counts == {"GALAXY": 10, "QSO": 9, "STAR": 10}
    assert cutouts.recipe == {"source": "test"}
    assert cutouts.column("field").tolist() == [n // 12 for n in range(30)]
    assert [data for _, data, _ in cutouts.images()] == [row["image"] for row in rows(30)]
    assert all(hashlib.sha256(data).hexdigest() == sha256 for _, data, sha256 in cutouts.images())


@pytest.mark.parametrize("none", ["nan", "NaN", "NA", "None", "", " null ", "<NA>"])
def test_a_text_that_says_that_there_is_no_label_is_no_class(tmp_path, none):
    make(tmp_path / "own.parquet", 30, label={4: none, 5: "none"})
    table = pq.read_table(tmp_path / "own.parquet").drop_columns("object_id").replace_schema_metadata()
    label = table.column_names.index("label")
    table = table.set_column(label, "class", table["label"].dictionary_encode())
    pq.write_table(table, tmp_path / "other.parquet")
    for name in ("own", "other"):
        cutouts = read_cutouts(tmp_path / f"{name}.parquet")
        assert cutouts.counts == {"GALAXY": 10, "QSO": 9, "STAR": 9, "none": 1}
        assert np.flatnonzero(~cutouts.labelled).tolist() == [4]
    told = {"row without a label, kept as unlabelled": 1}
    assert import_cutouts(tmp_path / "own.parquet", tmp_path / "out.parquet").changed == told


def test_equal_rows_give_equal_bytes_and_an_image_feature(tmp_path):
    for name in "ab":
        write_cutouts(tmp_path / name, rows(20), FIELD, {"b": 1, "a": [2]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    metadata = pq.read_schema(tmp_path / "a").metadata
    assert json.loads(metadata[b"skythaw"]) == {"schema": 1, "recipe": {"a": [2], "b": 1}}
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["run"] == {"dtype": "int32", "_type": "Value"}


def in_groups(path, rows):
    """The same cutouts in row groups of another size."""
    pq.write_table(pq.read_table(path), path, row_group_size=rows)
    return read_cutouts(path)


@pytest.mark.parametrize("group", [1, 7, 10, 1000])
def test_images_from_any_row_and_any_row_group(tmp_path, group):
    make(tmp_path / "a.parquet", 23)
    cutouts = in_groups(tmp_path / "a.parquet", group)
    for start in (0, 1, 7, 14, 22, 23):
        assert [name for name, _, _ in cutouts.images(start)] == cutouts.object_ids[start:]


def test_images_from_any_row_of_a_long_row_group(tmp_path):
    cutouts = make(tmp_path / "a.parquet", 150)
    for start in (63, 64, 70, 128, 149):
        assert [data for _, data, _ in cutouts.images(start)] == [row["image"] for row in rows(150)[start:]]


def test_a_folder_of_files_is_one_set_and_the_checksum_ignores_the_layout(tmp_path):
    whole = make(tmp_path / "whole.parquet", 30)
    (tmp_path / "parts").mkdir()
    wider = [("run", pa.int64()), ("camcol", pa.int32()), ("field", pa.int64())]
    for name, part in (("b", rows(30)[13:]), ("a", rows(30)[:13])):
        write_cutouts(tmp_path / "parts" / f"{name}.parquet", part, wider, {})
        in_groups(tmp_path / "parts" / f"{name}.parquet", 4)
    parts = read_cutouts(tmp_path / "parts")
    assert [path.name for path in parts.paths] == ["a.parquet", "b.parquet"]
    assert parts.object_ids == whole.object_ids
    assert parts.sha256 == whole.sha256
    assert [name for name, _, _ in parts.images(14)] == whole.object_ids[14:]


def test_the_checksum_sees_every_column_order_and_image(tmp_path):
    sums = [make(tmp_path / "a.parquet").sha256]
    for name, value in (("label", "QSO"), ("object_id", "x"), ("field", 99), ("image", rows(2)[1]["image"])):
        sums.append(make(tmp_path / "a.parquet", **{name: {0: value}}).sha256)
    write_cutouts(tmp_path / "a.parquet", rows(36)[::-1], FIELD, {})
    sums.append(read_cutouts(tmp_path / "a.parquet").sha256)
    assert len(set(sums)) == len(sums)


def test_the_checksum_is_the_same_in_another_process(tmp_path):
    cutouts = make(tmp_path / "a.parquet", label={1: None})
    code = f"from skythaw.data.cutouts import *; print(read_cutouts({str(cutouts.paths[0])!r}).sha256)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        check=True,
    )
    assert run.stdout.strip() == cutouts.sha256


def test_the_checksum_of_known_content_never_changes():
    """It is part of every cell's key: a change here makes finished work count as not done."""
    cutouts = labelled(["a", None], sha256=["00", "11"], n=[1, None], x=[0.5, float("nan")])
    assert cutouts.sha256 == "a6d3ab6347a5536b9f498433409908b612d91527f80541c106d1f8d7d3734b8e"


def test_the_width_of_a_number_does_not_change_the_checksum():
    wide, narrow = (labelled(["a", "b"], sha256=["0", "1"], x=pa.array([0.5, None], kind)) for kind in ("f8", "f4"))
    assert wide.sha256 == narrow.sha256


def test_the_data_layer_imports_nothing_heavy():
    code = """
import sys
from skythaw.data import cutouts, inspect, overlaps, split
from skythaw.data import pixel_store
from skythaw.data.sources import folder
print([name for name in ("torch", "sklearn", "scipy", "astropy", "pandas", "timm") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_without_recorded_checksums_they_are_computed(tmp_path):
    cutouts = make(tmp_path / "a.parquet")
    pq.write_table(pq.read_table(tmp_path / "a.parquet").drop_columns(["sha256"]), tmp_path / "b.parquet")
    other = read_cutouts(tmp_path / "b.parquet")
    assert other.image_sha256 == cutouts.image_sha256
    assert other.sha256 == cutouts.sha256
    assert [sha256 for _, _, sha256 in other.images()] == cutouts.image_sha256


def test_foreign_parquet_with_whole_number_ids_and_a_dictionary_of_labels(tmp_path):
    images = pa.array([{"path": "x", "bytes": b"a"}, None, {"path": "y", "bytes": None}])
    table = {"object_id": [1237648720693755918, 2, 3], "label": pa.array(["A", "B", ""]).dictionary_encode()}
    pq.write_table(pa.table({"image": images, **table}), tmp_path / "a.parquet")
    cutouts = read_cutouts(tmp_path / "a.parquet")
    assert cutouts.object_ids[0] == "1237648720693755918"
    assert cutouts.labels.tolist() == ["A", "B", None]
    assert [data for _, data, _ in cutouts.images()] == [b"a", b"", b""]
    assert cutouts.recipe == {}


def test_nulls_in_columns():
    cutouts = labelled(["a", None], n=[1, None], t=["x", None])
    assert np.isnan(cutouts.column("n")[1])
    assert cutouts.column("t").tolist() == ["x", None]
    with pytest.raises(DataError, match=r"no column 'z'; there are object_id, label, n, t"):
        cutouts.column("z")


def bad_file(path: Path, **columns: pa.Array) -> Path:
    table = pq.read_table(make(path).paths[0])
    for name, values in columns.items():
        table = table.drop_columns([name])
        if values is not None:
            table = table.append_column(name, values)
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": None}, "lacks the column label; it has object_id, run"),
        ({"label": pa.nulls(36, pa.string())}, "no object has a label"),
        ({"object_id": pa.array([1e18] * 36)}, "'object_id' holds double numbers, which lose digits"),
        ({"object_id": pa.array(["a"] * 36)}, "object_id 'a' occurs twice"),
        ({"object_id": pa.array(["a", ""] * 18)}, "18 rows have no object_id"),
        ({"image": pa.array([1] * 36)}, r"column 'image' is int64; it should be struct<bytes.*, or text with paths"),
        ({"image": pa.array([{"bytes": "x"}] * 36)}, "'image.bytes' is string; it should be binary"),
        ({"label": pa.array([[1]] * 36)}, "'label' is list"),
    ],
)
def test_a_wrong_file_is_refused_with_its_reason(tmp_path, columns, message):
    path = bad_file(tmp_path / "a.parquet", **columns)
    with pytest.raises(DataError, match=message) as caught:
        read_cutouts(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_whose_name_is_no_text_is_refused_in_one_line(tmp_path):
    make(tmp_path / "a.parquet", 3)
    odd = (tmp_path / "a.parquet").rename(tmp_path / "gal\udcff.parquet")
    for given in (odd, tmp_path):
        assert source_of(given) == "cutouts"
        with pytest.raises(DataError, match="as Parquet: its name is not in UTF-8; rename it") as raised:
            read_cutouts(given)
    status = status_column(np.array(["ok", str(raised.value)], dtype=object))
    assert status[1].as_py().endswith("gal\\udcff.parquet as Parquet: its name is not in UTF-8; rename it")


def test_missing_foreign_empty_and_disagreeing_files(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read_cutouts(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"holds no \*.parquet file"):
        read_cutouts(tmp_path)
    for content in (b"", b"<html>", b"PAR1" + b"\0" * 50 + b"PAR1"):
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"can't read .*a.parquet as Parquet"):
            read_cutouts(tmp_path / "a.parquet")
    pq.write_table(pq.read_table(make(tmp_path / "a.parquet").paths[0]).slice(0, 0), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has no rows"):
        read_cutouts(tmp_path / "a.parquet")
    make(tmp_path / "a.parquet")
    write_cutouts(tmp_path / "b.parquet", [row | {"object_id": "b" + row["object_id"]} for row in rows(3)], [], {})
    with pytest.raises(DataError, match="differ in columns: camcol, field, run"):
        read_cutouts(tmp_path)


def test_labels_may_be_absent_where_they_are_not_needed(tmp_path):
    path = bad_file(tmp_path / "a.parquet", label=None)
    cutouts = read_cutouts(path, need_labels=False)
    assert not cutouts.labelled.any()
    with pytest.raises(DataError, match="at least 2 classes; found none"):
        require_classes(cutouts)
    with pytest.raises(DataError, match=r"found STAR \(2\)"):
        require_classes(labelled(["STAR", "STAR", None]))
    require_classes(labelled(["a", "b"]))


def test_a_damaged_column_is_found(tmp_path):
    path = make(tmp_path / "a.parquet").paths[0]
    about = pq.ParquetFile(path).metadata.row_group(0).column(1)
    assert about.path_in_schema == "label"
    data = bytearray(path.read_bytes())
    data[about.data_page_offset + about.total_compressed_size // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(DataError, match="can't read"):
        read_cutouts(path)


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    cutouts = make(tmp_path / "a.parquet")
    make(tmp_path / "a.parquet", 12)
    with pytest.raises(DataError, match="changed while it was read: 12 rows instead of 36"):
        list(cutouts.images())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"object_id": "obj00000"}, "'obj00000' occurs twice"),
        ({"object_id": None}, "no object_id"),
        ({"field": "x"}, "column 'field' should hold int32"),
        ({"label": "\udcff"}, "column 'label' should hold string"),
    ],
)
def test_bad_rows_leave_nothing_and_keep_the_old_file(tmp_path, change, message):
    out = tmp_path / "a.parquet"
    out.write_bytes(b"old")
    with pytest.raises(DataError, match=message):
        write_cutouts(out, [*rows(5), rows(6)[5] | change], FIELD, {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    assert out.read_bytes() == b"old"


def test_nothing_to_write_and_reserved_columns(tmp_path):
    with pytest.raises(DataError, match="no cutouts to write"):
        write_cutouts(tmp_path / "a.parquet", [], FIELD, {})
    with pytest.raises(DataError, match="two columns would be called 'image'"):
        write_cutouts(tmp_path / "a.parquet", rows(1), [("image", pa.string())], {})
    assert not list(tmp_path.iterdir())


def test_a_source_that_fails_is_not_a_write_error(tmp_path):
    def failing():
        yield rows(1)[0]
        raise ConnectionError("the line is dead")

    with pytest.raises(ConnectionError):
        write_cutouts(tmp_path / "a.parquet", failing(), FIELD, {})
    assert not list(tmp_path.iterdir())


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"can't write .*a.parquet: (Not a directory|File exists)"):
        write_cutouts(tmp_path / "file" / "a.parquet", rows(2), FIELD, {})


@pytest.mark.parametrize("room", [0, 4000])
def test_a_full_disk_leaves_nothing(tmp_path, room):
    """The disk is full at once, or later."""
    with files_of_at_most(room), pytest.raises(OutputError, match=r"a.parquet: File too large"):
        write_cutouts(tmp_path / "a.parquet", rows(20), FIELD, {})
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_at_the_last_sync_leaves_nothing(tmp_path, monkeypatch):
    def sync(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", sync)
    with pytest.raises(OutputError, match=r"a.parquet: No space left on device"):
        write_cutouts(tmp_path / "a.parquet", rows(20), FIELD, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_killed_writer_leaves_no_file_under_the_name(tmp_path):
    code = f"""
import os, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from helpers_data import FIELD, rows
from skythaw.data import parquet
from skythaw.data.cutouts import write_cutouts
parquet.GROUP_ROWS = 2
def dying():
    yield from rows(9)
    os.kill(os.getpid(), 9)
write_cutouts({str(tmp_path / "a.parquet")!r}, dying(), FIELD, {{}})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not (tmp_path / "a.parquet").exists()
    assert len(make(tmp_path / "a.parquet")) == 36
    assert read_cutouts(tmp_path).paths == (tmp_path / "a.parquet",)


def test_a_file_that_is_no_parquet_is_told_from_a_damaged_one(tmp_path):
    (tmp_path / "labels.csv").write_text("file,label\n")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(DataError, match="it is no Parquet file; of images, `skythaw data import "):
        read_cutouts(tmp_path / "labels.csv")
    with pytest.raises(DataError, match=r"can't read .*torn.parquet as Parquet: (?!it is no)"):
        read_cutouts(tmp_path / "torn.parquet")

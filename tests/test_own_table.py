"""A table of labels that lies among the images is found; folders that name classes come first."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from helpers_data import encode, picture
from helpers_soak import fuzz
from skythaw.data.cutouts import read_cutouts
from skythaw.data.sources.folder import import_folder
from skythaw.data.sources.label_table import LabelSettings
from skythaw.data.sources.user_tables import batches_of, table_format
from skythaw.data.sources.zip_archive import import_zip
from skythaw.errors import DataError

LABELS = {f"o{n}.png": ("GALAXY", "STAR")[n % 2] for n in range(6)}
NOTE = "the labels are those of {}, the table that lies among the images"


def as_csv(rows: list[dict]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_json_lines(rows: list[dict]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def as_parquet(rows: list[dict]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


TABLES = {"metadata.csv": as_csv, "metadata.jsonl": as_json_lines, "deep/labels.parquet": as_parquet}


def files(inside: str = "") -> dict[str, bytes]:
    return {f"{inside}{name}": encode(picture(n), "PNG") for n, name in enumerate(LABELS)}


def rows(inside: str = "") -> list[dict]:
    return [{"file_name": f"{inside}{name}", "label": label} for name, label in LABELS.items()]


def put(folder, found):
    for name, data in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def labels(path):
    cutouts = read_cutouts(path)
    return dict(zip(cutouts.object_ids, cutouts.labels.tolist(), strict=True))


EXPECTED = {name.removesuffix(".png"): label for name, label in LABELS.items()}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("inside", ["", "images/"])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_the_table_among_the_images_gives_the_labels(tmp_path, name, inside, packed):
    found = files(inside) | {name: TABLES[name](rows(inside)), "notes.txt": b"what I did"}
    if packed:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for each, data in found.items():
                archive.writestr(f"top/{each}", data)
        result = import_zip(tmp_path / "a.zip", tmp_path / "out.parquet")
    else:
        result = import_folder(put(tmp_path / "a", found), tmp_path / "out.parquet")
    assert labels(tmp_path / "out.parquet") == EXPECTED
    note = next(note for note in result.notes if note.startswith("the labels are"))
    assert note.endswith(NOTE.format(name).removeprefix("the labels are those of "))
    assert [each.rpartition("/")[2] for each in result.left_out] == ["notes.txt"]


def test_a_table_in_an_archive_is_named_as_it_is_called_there(tmp_path):
    other = [row | {"label": row["label"].lower()} for row in rows()]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for each, data in (files() | {"a.csv": as_csv(rows()), "b.csv": as_csv(other)}).items():
            archive.writestr(each, data)
    with pytest.raises(DataError, match=r"2 tables of labels lie there: a\.csv, b\.csv"):
        import_zip(tmp_path / "a.zip", tmp_path / "out.parquet")
    import_zip(tmp_path / "a.zip", tmp_path / "out.parquet", LabelSettings(Path("b.csv")))
    assert set(labels(tmp_path / "out.parquet").values()) == {"galaxy", "star"}
    (tmp_path / "a.csv").write_bytes(as_csv(other))  # a file of its own comes first
    import_zip(tmp_path / "a.zip", tmp_path / "out.parquet", tmp_path / "a.csv")
    assert set(labels(tmp_path / "out.parquet").values()) == {"galaxy", "star"}
    with pytest.raises(DataError, match=r"c\.csv"):
        import_zip(tmp_path / "a.zip", tmp_path / "out.parquet", tmp_path / "c.csv")


def test_folders_that_name_classes_come_before_a_table(tmp_path):
    found = {
        f"{label.lower()}/{name}": data for (name, data), label in zip(files().items(), LABELS.values(), strict=True)
    }
    result = import_folder(put(tmp_path / "a", found | {"metadata.csv": as_csv(rows())}), tmp_path / "out.parquet")
    assert set(labels(tmp_path / "out.parquet").values()) == {"galaxy", "star"}
    assert list(result.left_out) == ["metadata.csv"]


def test_a_table_that_is_of_no_use_is_named_with_the_reason(tmp_path, skythaw):
    put(tmp_path / "a", files() | {"t.csv": b"x,y\n1,2\n"})
    done = skythaw("data", "import", tmp_path / "a", tmp_path / "out.parquet")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the table t.csv that lies there is of no help" in done.stderr
    assert not (tmp_path / "out.parquet").exists()


@fuzz(50, st.lists(st.fixed_dictionaries({"id": st.integers(0, 2**62), "text": st.text(max_size=9)}), min_size=1))
def test_json_lines_are_read_as_they_are(found):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        path.write_bytes(as_json_lines([row | {"nested": {"a": [1]}} for row in found]))
        assert table_format(path) == "JSON lines"
        assert [row for batch in batches_of(path, set()) for row in batch.to_pylist()] == found

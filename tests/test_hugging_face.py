"""Parquet as Hugging Face `datasets` and HATS write it: labels by name, ids from content, images beside the file."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers_data import encode, picture
from skythaw.data import parquet_images
from skythaw.data.cutouts import read_cutouts
from skythaw.data.inspect import inspect
from skythaw.errors import DataError
from skythaw.predict.find_inputs import find_inputs
from skythaw.predict.image_contents import contents_of, image_columns

JPEGS = [encode(picture(number, 16)) for number in range(6)]
NAMES = ["GALAXY", "QSO", "STAR"]
CLASSES = {"label": {"names": NAMES, "_type": "ClassLabel"}}


def write(path, columns, features=None, images=None):
    """A file with images, and Hugging Face's description."""
    images = [{"bytes": data, "path": None} for data in JPEGS] if images is None else images
    table = pa.table({"image": images, **columns})
    if features is not None:
        about = {"info": {"features": {"image": {"_type": "Image"}, **features}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def test_labels_by_name_and_none(tmp_path):
    cutouts = read_cutouts(write(tmp_path / "a.parquet", {"label": [0, 1, 2, -1, None, 0]}, CLASSES))
    assert cutouts.labels.tolist() == ["GALAXY", "QSO", "STAR", None, None, "GALAXY"]
    assert cutouts.object_ids == [hashlib.sha256(data).hexdigest()[:16] for data in JPEGS]
    found = inspect(tmp_path / "a.parquet")
    assert (found["classes"], found["unlabelled"]) == ({"GALAXY": 2, "QSO": 1, "STAR": 1}, 2)


@pytest.mark.parametrize("column", ["labels", "class", "class_name", "fine_label", "target", "odd_one"])
def test_columns_of_labels_with_other_names(tmp_path, column):
    features = {column: CLASSES["label"]}
    cutouts = read_cutouts(write(tmp_path / "a.parquet", {column: [0, 1, 2] * 2}, features))
    assert cutouts.labels.tolist() == NAMES * 2
    assert column not in cutouts.table.column_names


@pytest.mark.parametrize(
    ("values", "labels"),
    [([0, 1, -1] * 2, ["0", "1", None] * 2), ([1, -1] * 3, ["1", "-1"] * 3), (["-1", "a"] * 3, ["-1", "a"] * 3)],
)
def test_minus_one_without_names(tmp_path, values, labels):
    assert read_cutouts(write(tmp_path / "a.parquet", {"label": values})).labels.tolist() == labels


def test_a_number_without_a_name_is_refused(tmp_path):
    with pytest.raises(DataError, match="column 'label' has the number 3, and names for 0 to 2 alone"):
        read_cutouts(write(tmp_path / "a.parquet", {"label": [0, 1, 2, 3, 0, 0]}, CLASSES))


def test_twins_have_ids_of_their_own(tmp_path):
    images = [{"bytes": JPEGS[0]}] * 3 + [{"bytes": JPEGS[1]}]
    cutouts = read_cutouts(write(tmp_path / "a.parquet", {"label": list("abab")}, images=images))
    first, second = (hashlib.sha256(data).hexdigest()[:16] for data in JPEGS[:2])
    assert cutouts.object_ids == [first, f"{first}-2", f"{first}-3", second]
    assert [data for _, data, _ in cutouts.images()] == [JPEGS[0]] * 3 + [JPEGS[1]]


@pytest.mark.parametrize("column", ["image", "img", "jpg", "anything"])
def test_images_as_plain_bytes_or_under_another_name(tmp_path, column):
    for images in (JPEGS, [{"bytes": data, "path": "x"} for data in JPEGS]):
        table = pa.table({column: images, "label": NAMES * 2})
        about = {"info": {"features": {column: {"_type": "Image"}}}}
        pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), tmp_path / "a.parquet")
        assert [data for _, data, _ in read_cutouts(tmp_path / "a.parquet").images()] == JPEGS
        found = find_inputs([tmp_path / "a.parquet"])
        assert [content.read() for _, content in found.items()] == JPEGS


def test_images_by_path_alone_are_read_beside_the_file(tmp_path):
    names = [f"images/{number}.jpg" for number in range(5)] + ["../secret.jpg"]
    written = [str(tmp_path / "data" / names[0]), *names[1:]]  # an absolute path, into the same folder
    (tmp_path / "data" / "images").mkdir(parents=True)
    for name, data in zip(names, JPEGS, strict=True):
        (tmp_path / "data" / name).write_bytes(data)
    (tmp_path / "data" / "images" / "4.jpg").unlink()
    (tmp_path / "data" / "images" / "4.jpg").symlink_to(tmp_path / "secret.jpg")
    images = [{"bytes": None, "path": name} for name in written]
    path = write(tmp_path / "data" / "a.parquet", {"label": NAMES * 2}, images=images)
    assert [data for _, data, _ in read_cutouts(path).images()] == [*JPEGS[:4], b"", b""]
    statuses = []
    for _, content in find_inputs([path]).items():
        try:
            statuses.append(content.read())
        except DataError as error:
            statuses.append(error.reason)
    assert statuses[:4] == JPEGS[:4]
    assert all("leads out of the folder" in status for status in statuses[4:])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_column_of_paths(tmp_path, kind):
    """As pandas writes a table of files; and what is missing is said with its path."""
    names = [f"images/{number}.jpg" for number in range(4)] + ["no.jpg", None]
    (tmp_path / "images").mkdir()
    for name, data in zip(names[:4], JPEGS, strict=False):
        (tmp_path / name).write_bytes(data)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": pa.array(names, kind), "label": NAMES * 2}), path)
    cutouts = read_cutouts(path)
    assert [data for _, data, _ in cutouts.images()] == [*JPEGS[:4], b"", b""]
    assert [each["reason"] for each in inspect(path)["broken"]] == [
        "its file no.jpg can't be read: No such file or directory",
        "it has no bytes",
    ]
    both = pa.table({"image": pa.array(names, kind), "jpg": JPEGS, "label": NAMES * 2})
    pq.write_table(both, path)
    assert [data for _, data, _ in read_cutouts(path).images()] == JPEGS, "bytes go before paths"


def test_a_folder_of_shards_says_that_it_reads_no_images_by_path(tmp_path):
    path = write(tmp_path / "a.parquet", {"label": NAMES * 2}, images=[{"bytes": None, "path": "a.jpg"}] * 6)
    with pq.ParquetFile(path) as file:
        content = next(contents_of(file, 0, image_columns(file.schema_arrow)))
    with pytest.raises(DataError, match=r"by the path a\.jpg alone; .* skythaw data import FOLDER OUT.parquet"):
        content.read()


def test_shards_and_their_parts(tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001", "validation-00000-of-00001"):
        data = encode(picture(hash(name) % 1000, 16))
        write(tmp_path / "data" / f"{name}.parquet", {"label": ["a"]}, images=[{"bytes": data}])
    for folder in (tmp_path, tmp_path / "data"):
        cutouts = read_cutouts(folder)
        assert cutouts.column("part").tolist() == ["test", "train", "train", "validation"]
    for name in ("test-00000-of-00001", "validation-00000-of-00001"):
        (tmp_path / "data" / f"{name}.parquet").unlink()
    assert "part" not in read_cutouts(tmp_path).table.column_names


def test_a_hats_catalogue_is_one_set(tmp_path):
    for pixel in range(3):
        rows = {"object_id": [f"a{pixel}", f"b{pixel}"], "label": ["x", "y"]}
        images = [{"bytes": data} for data in JPEGS[2 * pixel : 2 * pixel + 2]]
        place = tmp_path / "dataset" / "Norder=0" / "Dir=0"
        write(place / f"Npix={pixel}.parquet", rows, images=images)
        write(tmp_path / "margin" / "dataset" / "Norder=0" / "Dir=0" / f"Npix={pixel}.parquet", rows, images=images)
    write(tmp_path / "dataset" / "data_thumbnail.parquet", {"object_id": list("abcdef")})
    (tmp_path / "hats.properties").write_text("dataproduct_type=object\n")
    (tmp_path / "margin" / "properties").write_text("dataproduct_type = margin\n")
    for folder in (tmp_path, tmp_path / "dataset"):
        assert read_cutouts(folder).object_ids == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert inspect(tmp_path)["classes"] == {"x": 3, "y": 3}


def test_images_that_unpack_to_far_more_are_refused_before_they_do(tmp_path, monkeypatch):
    images = [{"bytes": bytes(80 << 20)}]
    pq.write_table(pa.table({"image": images, "label": ["a"]}), tmp_path / "a.parquet", compression="zstd")
    with pytest.raises(DataError, match=r"row group 0 unpacks from .* bytes, which no images do"):
        read_cutouts(tmp_path / "a.parquet")
    ((_, content),) = find_inputs([tmp_path / "a.parquet"]).items()
    with pytest.raises(DataError, match="which no images do"):
        content.read()
    monkeypatch.setattr(parquet_images, "LARGEST_IMAGE", 100)
    write(tmp_path / "b.parquet", {"label": ["a"] * 6})
    with pytest.raises(DataError, match=r"row group 0 has \d+ bytes of images in 6 rows: no cutouts"):
        read_cutouts(tmp_path / "b.parquet")
    write(tmp_path / "b.parquet", {"label": ["a"] * 6}, images=[{"bytes": b"x" * 200}] + [{"bytes": b"y"}] * 5)
    assert [data for _, data, _ in read_cutouts(tmp_path / "b.parquet").images()] == [b"", *[b"y"] * 5]


ODD = [b"x", b"[]", b'{"info": 3}', b'{"info": {"features": [1]}}', b'{"info": {"features": {"label": 1}}}']


@pytest.mark.parametrize("content", ODD)
def test_an_odd_description_is_passed_over(tmp_path, content):
    table = pa.table({"image": [{"bytes": data} for data in JPEGS], "label": np.arange(6) % 3})
    pq.write_table(table.replace_schema_metadata({"huggingface": content}), tmp_path / "a.parquet")
    assert read_cutouts(tmp_path / "a.parquet").classes == ("0", "1", "2")

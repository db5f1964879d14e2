"""Which files of a folder or an address are a survey, and what is said where there is none."""

from __future__ import annotations

import os

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers_study import make_survey
from helpers_survey import hats, split
from skythaw.errors import DataError
from skythaw.predict.survey.remote_files import find_files, shown
from skythaw.predict.survey.survey_chunks import find_chunks, items, name_of


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    path = tmp_path_factory.mktemp("survey") / "survey.parquet"
    make_survey(path)
    return path


@pytest.fixture
def nights(survey, tmp_path):
    return split(survey, tmp_path / "nights")


def names(given, without=()):
    return [place.name for place in find_files(str(given), without)]


def ids(*given):
    return [name for chunk in find_chunks([str(g) for g in given], 50).chunks for name, _ in items(chunk)]


def collection(survey, folder):
    """A HATS collection: a catalogue, its margin with the same rows, and an index of its ids."""
    for name, kind in (("sky", "object"), ("sky_margin", "margin"), ("sky_index", "index")):
        hats(survey, folder / name)
        (folder / name / "hats.properties").write_text(f"obs_collection={name}\ndataproduct_type = {kind}\n")
    (folder / "collection.properties").write_text("hats_primary_table_url=sky\n")
    return folder


@pytest.mark.parametrize("address", ["{}", "file://{}", "memory:/{}"])
def test_of_a_hats_collection_the_catalogue_alone(survey, tmp_path, address):
    folder = collection(survey, tmp_path / "collection")
    if address.startswith("memory"):
        fsspec.filesystem("memory").put(str(folder), str(folder), recursive=True)
    expected = [f"dataset/Norder=0/Dir=0/Npix={pixel}.parquet" for pixel in range(3)]
    assert names(address.format(folder)) == [f"sky/{name}" for name in expected]
    assert names(address.format(folder / "sky")) == expected
    assert names(address.format(folder / "sky" / "dataset")) == [n.removeprefix("dataset/") for n in expected]
    assert names(address.format(folder / "sky_margin")) == expected, "a margin that is asked for by name"
    assert len(set(ids(address.format(folder)))) == len(ids(address.format(folder))) == 180


def test_files_beside_a_catalogue_are_not_forgotten(survey, tmp_path):
    folder = split(survey, tmp_path / "all")
    hats(survey, folder / "sky")
    assert [name for name in names(folder) if "/" not in name] == [f"night{i}.parquet" for i in range(3)]
    assert len(names(folder)) == 6


def test_hidden_files_links_in_circles_and_what_is_left_out(nights, tmp_path):
    for place in (".ipynb_checkpoints", "_temporary", "out/shards"):
        (nights / place).mkdir(parents=True)
        os.link(nights / "night0.parquet", nights / place / "part.parquet")
    (nights / "_metadata.parquet").touch()
    (nights / "again").symlink_to(nights)
    assert names(nights, {str(nights / "out")}) == [f"night{i}.parquet" for i in range(3)]
    assert len(names(nights)) == 4


def test_one_file_by_two_names_is_given_twice(nights, tmp_path):
    (tmp_path / "link").symlink_to(nights)
    file = nights / "night0.parquet"
    for other in (file, file.as_uri(), nights, tmp_path / "link" / "night0.parquet", os.path.relpath(file)):
        with pytest.raises(DataError, match=r"night0\.parquet is among the inputs twice"):
            find_chunks([str(file), str(other)], 50)


def test_names_that_a_url_would_escape(survey, tmp_path):
    folder = split(survey, tmp_path / "a b%20#?é")
    for given in (folder, folder.as_uri()):
        assert len(ids(given)) == 180


def test_what_is_secret_in_a_url_is_not_shown():
    assert shown("s3://KEY:SECRET@sky/nights?region=x&secret=y") == "s3://sky/nights"
    assert (
        shown("zip://night.parquet::https://me:pass@host/nights.zip") == "zip://night.parquet::https://host/nights.zip"
    )
    with pytest.raises(DataError) as raised:
        find_files("gopher://me:SECRET@hole/survey?token=TOKEN")
    assert str(raised.value).startswith("can't open gopher://hole/survey: ")
    assert "SECRET" not in str(raised.value)
    assert "TOKEN" not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    ["ftp://127.0.0.1:1/x", "http://127.0.0.1:1/x.parquet", "zip://a.parquet::/nowhere.zip", "hdfs://127.0.0.1:1/x"],
)
def test_what_can_not_be_reached_is_said_in_one_line(address):
    with pytest.raises(DataError, match=r"can't (open|look at) ") as raised:
        find_files(address)
    assert "\n" not in str(raised.value)


def test_rows_without_an_id_are_called_by_their_file_and_no_two_alike(survey, tmp_path):
    table = pq.read_table(survey).slice(0, 3)
    some = table.set_column(0, "object_id", pa.array(["one", None, ""]))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        pq.write_table(some, tmp_path / folder / "part.parquet")
    assert ids(tmp_path) == [
        "one",
        "a/part.parquet:1",
        "a/part.parquet:2",
        "one",
        "b/part.parquet:1",
        "b/part.parquet:2",
    ]
    paths = [tmp_path / folder / "part.parquet" for folder in ("a", "b")]
    assert ids(*paths)[1::3] == [f"{path}:1" for path in paths]
    assert ids(paths[0])[1] == "part.parquet:1"
    assert name_of(find_chunks([str(paths[0])], 1).chunks[0]) == "one"


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.237648e18] * 3),
        pa.array([{"a": 1}] * 3),
        pa.array([[1]] * 3),
        pa.array([b"\xff"] * 3),
        pa.array([None] * 3),
    ],
)
def test_ids_that_are_no_text_are_refused(survey, tmp_path, column):
    table = pq.read_table(survey).slice(0, 3).set_column(0, "object_id", column)
    pq.write_table(table, tmp_path / "odd.parquet")
    with pytest.raises(DataError, match=r"odd\.parquet: column 'object_id' is .*; it should be text"):
        find_chunks([str(tmp_path / "odd.parquet")], 50)


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_ids_of_other_types_are_text(survey, tmp_path, kind):
    table = pq.read_table(survey).slice(0, 3)
    pq.write_table(table.set_column(0, "object_id", table["object_id"].cast(kind)), tmp_path / "other.parquet")
    assert ids(tmp_path / "other.parquet") == table["object_id"].to_pylist()


def test_a_file_that_changes_is_no_longer_the_one_that_was_found(nights):
    chunk = find_chunks([str(nights)], 50).chunks[0]
    file = nights / "night0.parquet"
    pq.write_table(pq.read_table(file).slice(0, 30), file)
    with pytest.raises(DataError, match=r"night0\.parquet has changed since it was looked at"):
        list(items(chunk))

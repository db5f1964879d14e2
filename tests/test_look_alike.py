"""What looks alike: the nearest by cosine, found in bounded memory, on pages and for programs."""

from __future__ import annotations

import asyncio
import tracemalloc

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import skythaw
from helpers_data import encode, picture
from helpers_web import rules
from skythaw.cli import main
from skythaw.errors import SkythawError
from skythaw.predict import feature_search
from skythaw.predict.feature_search import FeatureSearch
from skythaw.web.web_app import SetsGiven, make_app, open_service

EVIL = "<script>alert(1)</script>&\"'"
WIDTH = 16


def features(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)


def write(path, x, *, without=(), labels=True, names=None):
    """A file of features as `predict --features` writes it."""
    there = ~np.isin(np.arange(len(x)), list(without))
    column = pa.FixedSizeListArray.from_arrays(x.ravel(), x.shape[1], mask=pa.array(~there))
    names = names or [f"o{number:05d}" for number in range(len(x))]
    table = {"object_id": names, "features": column}
    if labels:
        table["label"] = [["STAR", "QSO"][number % 2] if there[number] else None for number in range(len(x))]
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(table), path, row_group_size=50)
    return path


def nearest_of_all(x, row, count, without=()):
    """Rows by brute force."""
    y = x.astype(np.float64) / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = y @ y[row]
    cosines[[row, *without]] = -np.inf
    return np.argsort(-cosines)[:count], cosines


@pytest.mark.parametrize("rows", [7, 64, 8192])
def test_the_nearest_are_those_of_all_pairs(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(feature_search, "ROWS", rows)
    x = features(200)
    search = FeatureSearch(write(tmp_path / "a.parquet", x, without=(3, 120)), tmp_path / "store")
    assert (len(search), search.without, search.width) == (198, 2, WIDTH)
    for name in ("o00000", "o00119", "o00199"):
        wanted, cosines = nearest_of_all(x, int(name[1:]), 9, (3, 120))
        found = search.nearest(search.row_of(name), 9)
        assert [each.object_id for each in found] == [f"o{number:05d}" for number in wanted]
        np.testing.assert_allclose([each.distance for each in found], 1 - cosines[wanted], atol=1e-6)
        assert [each.label for each in found] == [["STAR", "QSO"][number % 2] for number in wanted]


def test_a_few_objects_have_fewer_neighbours(tmp_path):
    x = np.array([[1, 0], [2, 0], [0, 0], [-1, 0]], np.float32)
    search = FeatureSearch(write(tmp_path / "a.parquet", x, labels=False), tmp_path)
    found = [(each.row, each.label, round(each.distance, 6)) for each in search.nearest(0, 10)]
    assert found == [(1, None, 0), (2, None, 1), (3, None, 2)]
    assert search.classes == []


def test_a_folder_of_shards_is_one_set(tmp_path):
    x = features(120)
    write(tmp_path / "shards" / "0.parquet", x[:70])
    write(tmp_path / "shards" / "1.parquet", x[70:], names=[f"o{number:05d}" for number in range(70, 120)])
    search = FeatureSearch(tmp_path / "shards", tmp_path)
    wanted, _ = nearest_of_all(x, 80, 5)
    assert [each.row for each in search.nearest(80, 5)] == wanted.tolist()


def test_memory_does_not_grow_with_the_set(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_search, "ROWS", 500)
    x = features(40_000)
    path = write(tmp_path / "a.parquet", x)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        search = FeatureSearch(path, tmp_path)
        search.nearest(7, 10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 5
    assert pa.total_allocated_bytes() - before < x.nbytes
    assert [each.name for each in tmp_path.iterdir()] == ["a.parquet"], "the copy has no name"


def broken(folder, kind):
    """A file that can't be searched."""
    path = folder / f"{kind}.parquet"
    if kind == "bytes":
        path.write_bytes(b"no Parquet")
    elif kind == "ragged":
        pq.write_table(pa.table({"object_id": ["a"], "features": pa.array([[1.0]], pa.list_(pa.float32()))}), path)
    elif kind == "doubles":
        pq.write_table(pa.table({"object_id": ["a"], "features": pa.array([[1.0]], pa.list_(pa.float64(), 1))}), path)
    elif kind == "probabilities":
        pq.write_table(pa.table({"object_id": ["a"], "p_STAR": [1.0]}), path)
    elif kind == "nameless":
        pq.write_table(pa.table({"features": pa.array([[1.0]], pa.list_(pa.float32(), 1))}), path)
    elif kind == "nothing":
        write(path, features(3), without=(0, 1, 2))
    elif kind == "two widths":
        path = folder / "two"
        write(path / "0.parquet", features(3))
        write(path / "1.parquet", features(3)[:, :4].copy())
    elif kind == "empty folder":
        path = folder / "empty"
        path.mkdir()
    return path


SAID = {
    "gone": "there is no file or folder",
    "bytes": "as Parquet",
    "ragged": "no fixed number of float32, but list",
    "doubles": "no fixed number of float32, but fixed_size_list",
    "probabilities": "has no column 'features': write it with `skythaw features`, or with `skythaw predict --features`",
    "nameless": "has no column 'object_id'",
    "nothing": "has no object with features",
    "two widths": "holds features of several lengths: 4, 16",
    "empty folder": "holds no Parquet files",
}


@pytest.mark.parametrize("kind", SAID)
def test_a_file_that_cannot_be_searched_is_refused(tmp_path, kind, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--features", str(broken(tmp_path, kind)), "--port", "0"])
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (2, 1)
    assert SAID[kind] in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--images", "a"], "--images are those of the objects of --features FILE, which is missing"),
        (["--bundle", "b", "--images", "a"], "--images are those of the objects of --features FILE, which is missing"),
    ],
)
def test_options_that_do_not_go_together(given, said, capsys):
    with pytest.raises(SystemExit):
        main(["serve", *given])
    assert said in capsys.readouterr().err


def test_images_that_are_not_there(tmp_path):
    path = write(tmp_path / "a.parquet", features(3))
    with pytest.raises(SkythawError, match="there is no file or folder"):
        SetsGiven([path], tmp_path, [str(tmp_path / "gone")]).opened()


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A function that asks a service over a set of which some objects have pictures."""
    folder = tmp_path_factory.mktemp("set")
    for number in range(4):
        (folder / f"o{number:05d}.png").write_bytes(encode(picture(number, 40), "PNG"))
    (folder / "o00004.png").write_bytes(b"<html>")
    x = features(90)
    names = [f"o{number:05d}" for number in range(89)] + [EVIL]
    path = write(folder / "night.parquet", x, names=names)
    sets = SetsGiven([path], folder / "store", [f"{folder}/*.png"])
    app = make_app(open_service([], [], rules(), sets=sets))

    def ask(address, **query):
        async def go():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
                return await client.get(address, params=query)

        return asyncio.run(go())

    return ask


def test_programs_ask_for_the_nearest(asked):
    assert asked("/api/v1/sets").json() == [{"name": "night.parquet", "objects": 90, "features": WIDTH}]
    found = asked("/api/v1/sets/night.parquet/nearest", object="o00005", count=3).json()
    wanted, cosines = nearest_of_all(features(90), 5, 3)
    assert [each["distance"] for each in found] == pytest.approx((1 - cosines[wanted]).tolist(), abs=1e-6)
    assert found[0].keys() == {"object_id", "label", "distance"}
    for query, status in (({"object": "nobody"}, 404), ({}, 422), ({"object": "o00005", "count": 0}, 422)):
        answer = asked("/api/v1/sets/night.parquet/nearest", **query)
        assert (answer.status_code, "detail" in answer.json()) == (status, True)
    assert asked("/api/v1/sets/day/nearest", object="o00005").status_code == 404


def test_the_page_of_a_set(asked):
    page = asked("/sets/night.parquet")
    assert page.status_code == 200
    assert "90 objects with 16 features each" in page.text
    assert page.text.count("<li>") == 40
    assert "page=2" in page.text
    last = asked("/sets/night.parquet", page=3).text
    assert last.count("<li>") == 10
    assert EVIL not in last
    assert "&lt;script&gt;" in last
    chosen = asked("/sets/night.parquet", object=EVIL)
    assert chosen.status_code == 200
    assert EVIL not in chosen.text
    assert chosen.text.count("distance 0.") + chosen.text.count("distance 1.") == 24
    assert asked("/sets/night.parquet", label="QSO", text="o0001").text.count("<li>") == 5
    assert "No object matches" in asked("/sets/night.parquet", text="nobody").text
    assert asked("/sets/night.parquet", object="nobody").status_code == 404
    assert "night" in asked("/").text


def test_pictures_of_a_set(asked):
    picture_there = asked("/sets/night.parquet/image", object="o00001")
    assert picture_there.content.startswith(b"\x89PNG")
    for name in ("o00004", "o00050", "nobody", "../../etc/passwd"):
        assert asked("/sets/night.parquet/image", object=name).status_code == 404


def test_what_predict_writes_can_be_searched(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(encode(picture(number, 40), "PNG"))
    out = tmp_path / "out.parquet"
    skythaw.features("timm:test_resnet", tmp_path, out, weights="random", input_size=32, progress=False)
    search = FeatureSearch(out, tmp_path)
    assert len(search.nearest(search.row_of("3"), 10)) == 4

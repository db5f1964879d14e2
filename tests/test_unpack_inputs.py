"""Archives and arrays are predicted as the images in them are; images without labels can be imported."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers_bundle import make_bundle
from helpers_data import encode, picture
from skythaw.data.cutouts import read_cutouts
from skythaw.data.sources.folder import import_folder
from skythaw.data.sources.set_choices import SetChoices
from skythaw.data.sources.source_formats import source_of
from skythaw.data.sources.zip_archive import import_zip
from skythaw.errors import DataError
from skythaw.predict.array_rows import array_rows
from skythaw.predict.find_inputs import find_inputs
from skythaw.predict.predict_inputs import predict
from skythaw.predict.unpack_inputs import unpacked

COUNT = 5


@pytest.fixture(scope="module")
def images():
    return {f"o{n}": encode(picture(n, 40), "PNG") for n in range(COUNT)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("bundle"), cache)


def zipped(path, images):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in images.items():
            archive.writestr(f"deep/er/{name}.png", data)
        archive.writestr("deep/notes.txt", "x")


def tarred(path, images):
    with tarfile.open(path, "w") as archive:
        for name, data in images.items():
            for ending, content in (("png", data), ("cls", b"1")):
                info = tarfile.TarInfo(f"{name}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def stacked(path, images):
    np.savez(path, images=np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in images.values()]))


def sharded(path, images):
    path.mkdir()
    for number, names in enumerate((list(images)[:2], list(images)[2:])):
        tarred(path / f"{number}.tar", {name: images[name] for name in names})


PACKED = [("a.zip", zipped), ("a.tar", tarred), ("shards", sharded), ("a.npz", stacked)]


@pytest.mark.parametrize(("name", "pack"), PACKED)
def test_what_is_packed_is_predicted_as_what_is_not(tmp_path, bundle, images, name, pack):
    folder = tmp_path / "images"
    folder.mkdir()
    for each, data in images.items():
        (folder / f"{each}.png").write_bytes(data)
    pack(tmp_path / name, images)
    summary = predict(bundle, [tmp_path / name], tmp_path / "packed.parquet")
    predict(bundle, [folder], tmp_path / "plain.parquet")
    packed, plain = (pq.read_table(tmp_path / f"{each}.parquet").to_pydict() for each in ("packed", "plain"))
    assert summary.objects == COUNT
    assert packed.pop("object_id") == (plain["object_id"] if name != "a.npz" else [f"a-{n:06d}" for n in range(COUNT)])
    plain.pop("object_id")
    assert packed == plain
    assert summary.passed_over == ({"a.zip:deep/notes.txt": "not an image: .txt"} if name == "a.zip" else {})
    assert not [each.name for each in tmp_path.iterdir() if each.name.startswith(".")]


def test_names_that_are_no_text_are_escaped_in_an_archive(tmp_path, images):
    data = next(iter(images.values()))
    tarred(tmp_path / "a.tar", {"deep/gal\udcff": data, "deep/b": data})
    with unpacked([tmp_path / "a.tar"], tmp_path / "out.csv") as found:
        inputs = find_inputs(found.paths)
        assert sorted(inputs.ids.to_pylist()) == ["b", "gal\\udcff"]
        assert all(content.read() == data for _, content in inputs.items())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("gal\u00e9.png", data)
    broken = (tmp_path / "a.zip").read_bytes().replace("\u00e9".encode(), b"\xff\xff")
    (tmp_path / "a.zip").write_bytes(broken)
    with pytest.raises(DataError, match=r"the name b'gal\\xff\\xff.png' in it is not in UTF-8"):
        source_of(tmp_path / "a.zip")


@pytest.mark.parametrize("begun", [False, True])
def test_what_is_refused_leaves_unpacked_images_only_where_a_prediction_has_begun(tmp_path, images, begun):
    tarred(tmp_path / "a.tar", images)
    with suppress(DataError), unpacked([tmp_path / "a.tar"], tmp_path / "out.csv"):
        if begun:
            (tmp_path / "out.csv.part").mkdir()
        raise DataError("the table can't be joined")
    assert len(list(tmp_path.glob(".out.csv.*"))) == begun


def test_a_damaged_archive_is_one_line_and_leaves_nothing(tmp_path, bundle, images, skythaw):
    zipped(tmp_path / "a.zip", images)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[60:200] = bytes(140)
    (tmp_path / "a.zip").write_bytes(data)
    done = skythaw("predict", bundle, tmp_path / "a.zip", "-o", tmp_path / "out.parquet")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "a.zip" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


def test_images_without_labels_are_imported_from_any_folder(tmp_path, images, skythaw):
    (tmp_path / "images" / "night").mkdir(parents=True)
    for each, data in images.items():
        (tmp_path / "images" / ("night" if each == "o1" else "") / f"{each}.png").write_bytes(data)
    with pytest.raises(DataError):
        import_folder(tmp_path / "images", tmp_path / "out.parquet")
    import_folder(tmp_path / "images", tmp_path / "out.parquet", choices=SetChoices(unlabelled=True))
    cutouts = read_cutouts(tmp_path / "out.parquet", need_labels=False)
    assert sorted(cutouts.object_ids) == sorted(images)
    assert not cutouts.labelled.any()
    done = skythaw("data", "import", tmp_path / "images", tmp_path / "o.parquet", "--unlabelled")
    assert done.returncode == 0, done.stderr
    assert f"(no label) {COUNT}" in " ".join(done.stdout.split())


def rows(path):
    return {row["object_id"]: row["status"] for row in pq.read_table(path).to_pylist()}


def test_broken_and_odd_images_of_an_archive_have_rows_as_in_a_folder(tmp_path, bundle, images):
    odd = {"bad": images["o1"][:200], "zero": b"", "small": encode(picture(7, 16), "PNG")}
    odd["deep"] = encode(picture(8, 40)[..., 0].astype(np.uint16) * 200, "PNG")
    (tmp_path / "images").mkdir()
    for each, data in (images | odd).items():
        (tmp_path / "images" / f"{each}.png").write_bytes(data)
    predict(bundle, [tmp_path / "images"], tmp_path / "plain.parquet")
    for name, pack in PACKED[:2]:
        pack(tmp_path / name, images | odd)
        predict(bundle, [tmp_path / name], tmp_path / "packed.parquet")
        assert rows(tmp_path / "packed.parquet") == rows(tmp_path / "plain.parquet")
    found = rows(tmp_path / "plain.parquet")
    assert {name for name, status in found.items() if status == "ok"} == set(images)
    assert len(found) == COUNT + len(odd)


def test_a_broken_image_of_an_array_has_its_row_in_its_place(tmp_path):
    stack = np.random.default_rng(1).normal(10, 3, (5, 40, 40)).astype(np.float32)
    stack[2, :20] = np.nan
    stack[4] = np.nan
    np.save(tmp_path / "n.npy", stack)
    others, _ = array_rows("numpy", tmp_path / "n.npy", tmp_path / "rows.parquet", None)
    found = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [row["object_id"] for row in found] == [f"n-{n:06d}" for n in range(5)]
    assert [row["reason"] is None for row in found] == [True, True, False, True, False]
    assert "NaN" in found[2]["reason"]
    assert others == {}
    stack[:] = np.nan
    np.save(tmp_path / "n.npy", stack)
    with pytest.raises(DataError, match=r"n\.npy: not one of its images can be used"):
        array_rows("numpy", tmp_path / "n.npy", tmp_path / "rows.parquet", None)


def test_images_of_two_archives_are_called_by_archive_and_member(tmp_path, bundle, images):
    for name in ("a.zip", "b.zip"):
        zipped(tmp_path / name, {"o": images["o0"]})
    np.savez(tmp_path / "c.npz", images=np.stack([picture(1, 40)]))
    predict(bundle, [tmp_path / each for each in ("a.zip", "b.zip", "c.npz")], tmp_path / "out.parquet")
    assert list(rows(tmp_path / "out.parquet")) == ["a.zip:deep/er/o.png", "b.zip:deep/er/o.png", "c-000000"]


def test_an_error_names_the_archive_and_not_its_hidden_folder(tmp_path, images, monkeypatch):
    zipped(tmp_path / "a.zip", images)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"a\.zip") as said:
        import_zip(Path("a.zip"), Path("out.parquet"))
    assert ".unpacked" not in str(said.value)


def test_what_another_archive_left_is_not_taken(tmp_path):
    """The same name, and older than what a stopped call left behind."""
    for folder, names in (("one", ("a", "b")), ("two", ("c",))):
        (tmp_path / folder).mkdir()
        with zipfile.ZipFile(tmp_path / folder / "a.zip", "w") as archive:
            for name in names:
                archive.writestr(f"{name}.png", encode(picture(0, 40), "PNG"))
        os.utime(tmp_path / folder / "a.zip", (1, 1))
    out = tmp_path / "out.csv"
    for folder, count in (("one", 2), ("two", 1), ("one", 2)):
        with suppress(KeyboardInterrupt), unpacked([tmp_path / folder / "a.zip"], out) as found:
            assert pq.read_metadata(found.paths[0]).num_rows == count
            raise KeyboardInterrupt

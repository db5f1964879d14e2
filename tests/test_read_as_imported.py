"""`predict` reads image files with the options of `data import`, and gives what importing them first would give."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from helpers_bundle import make_bundle
from skythaw.data.sources.folder import import_folder
from skythaw.data.sources.read_images import ImageOptions
from skythaw.data.sources.set_choices import SetChoices
from skythaw.errors import DataError, SpecError
from skythaw.predict.predict_images import PredictSettings
from skythaw.predict.predict_inputs import predict
from skythaw.predict.prediction_files import UnfinishedPrediction

BANDS = "ugriz"
SIDE = 44


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("bundle"), cache, floats=True)


def planes(number: int) -> np.ndarray:
    """Float32 [band, y, x]."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    spot = 40 * np.exp(-(x**2 + y**2) / (8 + 6 * number))
    noise = np.random.default_rng(number).normal(0, 1, (len(BANDS), SIDE, SIDE))
    return (spot * np.arange(1, 1 + len(BANDS))[:, None, None] / 3 + noise).astype(np.float32)


def in_models(number: int) -> bytes:
    """Bands in extensions of two nights, so that it can't be told which are meant."""
    hdus = [fits.PrimaryHDU()]
    for what, add in (("NIGHT1", 0), ("NIGHT2", 9)):
        hdus += [
            fits.ImageHDU(plane, name=f"{what}_{band}") for band, plane in zip(BANDS, planes(number + add), strict=True)
        ]
    out = io.BytesIO()
    fits.HDUList(hdus).writeto(out)
    return out.getvalue()


def cube(number: int, nan: bool) -> bytes:
    values = planes(number)
    values[:, :5] = np.nan if nan else 0
    hdu = fits.PrimaryHDU(values)
    hdu.header["BANDS"] = BANDS
    out = io.BytesIO()
    hdu.writeto(out)
    return out.getvalue()


def single(plane: np.ndarray) -> bytes:
    out = io.BytesIO()
    fits.PrimaryHDU(plane).writeto(out)
    return out.getvalue()


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


EXT = ImageOptions(ext=tuple(f"NIGHT1_{band}" for band in BANDS))
SETS = {
    "ext": ({f"o{n}.fits": in_models(n) for n in range(3)}, EXT),
    "max_nan": ({f"o{n}.fits": cube(n, nan=True) for n in range(3)}, ImageOptions(max_nan=0.3)),
    "size": ({f"o{n}.fits": cube(n, nan=False) for n in range(3)}, ImageOptions(size=36, resize=True)),
    "bands": (
        {
            f"night/o{n}_{band}.fits": single(plane)
            for n in range(3)
            for band, plane in zip(BANDS, planes(n), strict=True)
        },
        ImageOptions(band_from="name"),
    ),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_predicted_with_options_as_if_imported_with_them(tmp_path, bundle, name, packed):
    files, options = SETS[name]
    folder = write(tmp_path / "images", files)
    import_folder(folder, tmp_path / "cutouts.parquet", images=options, choices=SetChoices(unlabelled=True))
    predict(bundle, [tmp_path / "cutouts.parquet"], tmp_path / "imported.parquet")
    given = folder
    if packed:
        given = tmp_path / "images.zip"
        with zipfile.ZipFile(given, "w") as archive:
            for each, data in files.items():
                archive.writestr(each, data)
    summary = predict(bundle, [given], tmp_path / "read.parquet", images=options)
    imported, read = (pq.read_table(tmp_path / f"{each}.parquet").to_pydict() for each in ("imported", "read"))
    assert read["status"] == ["ok"] * 3
    assert [name.rpartition("/")[2] for name in read["object_id"]] == ["o0", "o1", "o2"]
    assert read == imported
    assert summary.notes
    assert not [each.name for each in tmp_path.iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize("name", SETS)
def test_without_the_options_such_images_are_not_predicted_as_if_nothing_were(tmp_path, bundle, name):
    files, options = SETS[name]
    folder = write(tmp_path / "images", files)
    predict(bundle, [folder], tmp_path / "plain.parquet")
    predict(bundle, [folder], tmp_path / "read.parquet", images=options)
    plain, read = (pq.read_table(tmp_path / f"{each}.parquet") for each in ("plain", "read"))
    assert plain.drop_columns("object_id") != read.drop_columns("object_id")
    if name != "size":
        assert "ok" not in plain["status"].to_pylist()


def test_an_image_that_cannot_be_read_keeps_its_row(tmp_path, bundle):
    folder = write(tmp_path / "images", SETS["ext"][0] | {"bad.fits": b"SIMPLE  = nothing", "t.csv": b"a,b\n"})
    (folder / "other.fits").write_bytes(cube(1, nan=False))
    summary = predict(bundle, [folder], tmp_path / "out.parquet", images=EXT)
    found = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert found["object_id"] == ["bad", "o0", "o1", "o2", "other"]
    assert [status == "ok" for status in found["status"]] == [False, True, True, True, False]
    assert "no image extension 'NIGHT1_u'" in found["status"][4]
    assert list(summary.passed_over) == [str(folder / "t.csv")]


def test_single_files_patterns_and_cutouts_go_together(tmp_path, bundle):
    folder = write(tmp_path / "images", SETS["ext"][0])
    import_folder(folder, tmp_path / "cutouts.parquet", images=EXT, choices=SetChoices(unlabelled=True))
    given = [folder / "o1.fits", str(folder / "o[02].fits"), tmp_path / "cutouts.parquet"]
    predict(bundle, given, tmp_path / "out.parquet", images=EXT)
    found = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert found["status"] == ["ok"] * 6
    plain = dict(zip(found["object_id"], found["distance"], strict=True))
    assert len(plain) == 6
    assert len({round(d, 3) for d in plain.values()}) == 3


def test_stopped_and_begun_with_other_options_it_does_not_mix_them(tmp_path, bundle, monkeypatch):
    folder = write(tmp_path / "images", SETS["ext"][0])

    def stop(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("skythaw.predict.predict_inputs.predict_to", stop)
        with pytest.raises(KeyboardInterrupt):
            predict(bundle, [folder], tmp_path / "out.parquet", images=EXT)
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")]
    other = ImageOptions(ext=tuple(f"NIGHT2_{band}" for band in BANDS))
    predict(bundle, [folder], tmp_path / "out.parquet", images=other)
    predict(bundle, [folder], tmp_path / "alone.parquet", images=other)
    predict(bundle, [folder], tmp_path / "first.parquet", images=EXT)
    out, alone, first = (pq.read_table(tmp_path / f"{name}.parquet")["distance"] for name in ("out", "alone", "first"))
    assert out == alone != first


def test_stopped_in_the_middle_it_goes_on_with_the_same_images(tmp_path, bundle, monkeypatch):
    folder = write(tmp_path / "images", SETS["ext"][0])
    original = UnfinishedPrediction.add

    def add(self, rows):
        original(self, rows)
        raise KeyboardInterrupt

    small = PredictSettings(batch=1, shard=1, threads=1)
    with monkeypatch.context() as patch:
        patch.setattr(UnfinishedPrediction, "add", add)
        with pytest.raises(KeyboardInterrupt):
            predict(bundle, [folder], tmp_path / "out.parquet", images=EXT, setting=small)
    summary = predict(bundle, [folder], tmp_path / "out.parquet", images=EXT, setting=small)
    assert (summary.objects, summary.resumed) == (3, 1)
    predict(bundle, [folder], tmp_path / "whole.parquet", images=EXT, setting=small)
    assert pq.read_table(tmp_path / "out.parquet") == pq.read_table(tmp_path / "whole.parquet")


def test_what_the_options_do_not_go_with_is_one_line(tmp_path, bundle, skythaw):
    folder = write(tmp_path / "images", SETS["size"][0])
    with pytest.raises(DataError, match="no two files differ in a word that is the name of a band"):
        predict(bundle, [folder], tmp_path / "out.parquet", images=ImageOptions(band_from="name"))
    with pytest.raises(SpecError, match="a folder of shards, which is made of Parquet files"):
        predict(bundle, [folder], tmp_path / "shards", images=EXT)
    for options, said in (
        (("--max-nan", "2"), "--max-nan 2 should be a share"),
        (("--band-from", "names"), "--band-from names should be name or none"),
        (("--resize",), "--resize needs --size N"),
    ):
        done = skythaw("predict", bundle, folder, "-o", tmp_path / "out.parquet", *options)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert said in done.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["images"]

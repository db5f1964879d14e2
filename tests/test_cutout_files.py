"""Parquet files of images are written anew: cut to one size, classes merged, damaged images left out."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers_data import encode, picture
from skythaw import registry
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.data.inspect import inspect
from skythaw.data.sources.read_images import ImageOptions
from skythaw.data.sources.set_choices import SetChoices
from skythaw.data.sources.source_formats import source_of
from skythaw.errors import DataError

SIDES = [24, 30, 26, 24, 28, 24]
CLASSES = ["STAR", "star", "QSO", "QSO", "STAR", "STAR"]


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


PIXELS = [picture(number, side) for number, side in enumerate(SIDES)]


def hugging_face(path, images=None, labels=CLASSES, **columns):
    """A file as `datasets` writes it: no ids."""
    images = [png(each) for each in PIXELS] if images is None else images
    rows = [{"bytes": data, "path": f"{number}.png"} for number, data in enumerate(images)]
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"image": rows, "label": labels, **columns}), path)
    return path


def load(path, out, **options):
    result = registry.get("source", source_of(path))(path, out, **options)
    return result, read_cutouts(out, need_labels=False)


def test_images_of_several_sizes_are_cut_as_those_of_a_folder(tmp_path):
    path = hugging_face(tmp_path / "a.parquet", ra=[1.5] * 6, pixel_scale=[0.5] * 6, name=list("abcdef"))
    result, cutouts = load(path, tmp_path / "out.parquet")
    assert result.changed == {"cut to the central 24 x 24 px": 3}
    assert (cutouts.labels.tolist(), cutouts.object_ids) == (CLASSES, read_cutouts(path).object_ids)
    assert (cutouts.column("ra").tolist(), cutouts.column("name").tolist()) == ([1.5] * 6, list("abcdef"))
    found = [decode(data, name) for name, data, _ in cutouts.images()]
    for pixels, before in zip(found, PIXELS, strict=True):
        start = (len(before) - 24) // 2
        assert np.array_equal(pixels, before[start : start + 24, start : start + 24])
    _, scaled = load(path, tmp_path / "out.parquet", images=ImageOptions(size=12, resize=True))
    assert scaled.column("pixel_scale").tolist() == [1.0, 1.25, 0.5 * 26 / 12, 1.0, 0.5 * 28 / 12, 1.0]


def test_a_folder_of_shards_is_one_set(tmp_path):
    for part in ("train", "test"):
        hugging_face(
            tmp_path / f"set/{part}-00000-of-00001.parquet", [encode(picture(n + len(part))) for n in range(6)]
        )
    (tmp_path / "set/README.md").write_text("about")
    assert source_of(tmp_path / "set") == "cutouts"
    _, cutouts = load(tmp_path / "set", tmp_path / "out.parquet", choices=SetChoices(merge=True, drop_conflicts=True))
    assert set(cutouts.column("part")) == {"train", "test"}
    (tmp_path / "set/1.jpg").write_bytes(encode(picture(0)))
    assert source_of(tmp_path / "set") == "folder", "images with a table of labels beside them"


def test_what_inspect_advises_mends_it(tmp_path):
    same = [encode(picture(number)) for number in (0, 1, 2, 3, 0)]
    path = hugging_face(tmp_path / "a.parquet", [*same, b"damaged"], ["STAR", "star", "QSO", "QSO", "QSO", "STAR"])
    advised = " ".join(inspect(path)["warnings"])
    for option in ("--merge", "--drop-conflicts", "--skip-broken"):
        assert f"skythaw data import FILE OUT.parquet {option}" in advised
    for options, message in (
        ({}, "a.parquet: the image of object .* is broken: .*--skip-broken"),
        ({"skip_broken": True}, "different labels: .*--drop-conflicts"),
    ):
        with pytest.raises(DataError, match=message):
            load(path, tmp_path / "out.parquet", **options)
    choices = SetChoices(merge=True, drop_conflicts=True)
    result, cutouts = load(path, tmp_path / "out.parquet", skip_broken=True, choices=choices)
    assert cutouts.labels.tolist() == ["STAR", "QSO", "QSO"]
    assert len(result.left_out) == 3
    assert len(cutouts) + len(result.left_out) == 6
    assert not [
        each for each in inspect(tmp_path / "out.parquet")["warnings"] if "--" in each and "--labels" not in each
    ]


def test_options_for_folders_of_images_are_refused(tmp_path):
    path = hugging_face(tmp_path / "a.parquet")
    for options in (
        {"labels": tmp_path / "x.csv"},
        {"choices": SetChoices(level=1)},
        {"images": ImageOptions(band_from="name")},
    ):
        with pytest.raises(DataError, match="is a file of cutouts; --labels, --band-from and --level are for files"):
            load(path, tmp_path / "out.parquet", **options)
    assert not (tmp_path / "out.parquet").exists()


def test_objects_without_an_image_are_no_copies_of_each_other(tmp_path):
    path = hugging_face(tmp_path / "a.parquet", [png(PIXELS[0]), b"", b"", None, png(PIXELS[2]), png(PIXELS[3])])
    found = inspect(path)
    assert len(found["broken"]) == 3
    assert not found["duplicates"]


def test_a_column_of_webdataset_holds_the_labels(tmp_path):
    pq.write_table(
        pa.table({"jpg": [png(each) for each in PIXELS], "cls": [0, 1, 0, 1, 0, -1]}), tmp_path / "a.parquet"
    )
    assert read_cutouts(tmp_path / "a.parquet").counts == {"0": 3, "1": 2}


def test_whole_numbers_that_a_missing_label_made_decimal(tmp_path):
    path = hugging_face(tmp_path / "a.parquet", labels=[0.0, 1.0, float("nan"), 1.0, None, -1.0])
    assert read_cutouts(path).labels.tolist() == ["0", "1", None, "1", None, None]
    with pytest.raises(DataError, match="column 'label' holds double numbers, which lose digits"):
        read_cutouts(hugging_face(tmp_path / "b.parquet", labels=[0.5] * 6))

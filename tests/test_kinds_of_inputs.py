"""Positions, arrays and Hugging Face files in any form that is read: what goes in comes out."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.coordinates import Angle
from hypothesis import strategies as st

from helpers_data import encode, picture
from helpers_soak import fuzz
from skythaw import registry
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.data.sources.label_table import LabelSettings, read_labels
from skythaw.data.sources.source_formats import source_of

RA = st.floats(0.001, 359.999)
DEC = st.floats(-89.9, 89.9)


def hours(separator):
    return lambda ra: Angle(ra, "deg").to_string(unit="hour", sep=separator, precision=4, pad=True)


def degrees(separator):
    return lambda dec: Angle(dec, "deg").to_string(unit="deg", sep=separator, precision=3, pad=True, alwayssign=True)


NOTATIONS = {
    "decimal": (repr, repr, ","),
    "decimal comma": (lambda v: repr(v).replace(".", ","), lambda v: repr(v).replace(".", ","), ";"),
    "ra from -180 to 180": (lambda ra: repr(ra - 360 if ra > 180 else ra), repr, "\t"),
    "colons": (hours(":"), degrees(":"), ","),
    "letters": (hours("hms"), degrees("dms"), ","),
}
COLUMNS = [("ra", "dec"), ("RA", "DEC"), ("RAJ2000", "DEJ2000"), ("RAdeg", "DEdeg"), ("ra_deg", "dec_deg")]


@fuzz(
    150,
    st.lists(st.tuples(RA, DEC), min_size=1, max_size=8),
    st.sampled_from(sorted(NOTATIONS)),
    st.sampled_from(COLUMNS),
)
def test_positions_are_the_same_in_every_notation(places, notation, columns):
    if notation in ("colons", "letters"):
        columns = columns if "deg" not in columns[0] else COLUMNS[0]  # degrees by name are no hours
    write_ra, write_dec, separator = NOTATIONS[notation]
    lines = [separator.join(("file", *columns, "label"))]
    lines += [separator.join((f"{n}.png", write_ra(ra), write_dec(dec), "A")) for n, (ra, dec) in enumerate(places)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text("\n".join(lines) + "\n")
        table = read_labels(LabelSettings(path))
    found = {name: values for (name, _), values in zip(table.columns, table.values, strict=True)}
    assert np.allclose(found["ra"], [ra for ra, _ in places], atol=2e-5)
    assert np.allclose(found["dec"], [dec for _, dec in places], atol=2e-5)


DTYPES = (np.uint8, np.uint16, np.float32)


@fuzz(
    60,
    st.integers(1, 9),
    st.sampled_from([(20, 20), (18, 26)]),
    st.sampled_from(["last", "first", "none"]),
    st.sampled_from(DTYPES),
    st.sampled_from(["npz", "h5"]),
    st.sampled_from(["numbers", "words", "bytes"]),
)
def test_arrays_of_images_and_labels_come_out_as_they_went_in(count, side, bands, dtype, kind, labels):
    rng = np.random.default_rng(count)
    images = rng.integers(0, 250, (count, *side, 3)).astype(dtype)
    numbers = rng.integers(0, 3, count)
    words = np.array(["disc", "bulge", "bar"])[numbers]
    given = {"numbers": numbers, "words": words, "bytes": words.astype("S")}[labels]
    array = {"last": images, "first": np.moveaxis(images, -1, 1), "none": images[..., 0]}[bands]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{kind}"
        if kind == "npz":
            np.savez(path, images=array, labels=given)
        else:
            with h5py.File(path, "w") as file:
                file["images"] = array
                file["labels"] = given.astype("S") if labels == "words" else given
        registry.get("source", source_of(path))(path, Path(folder) / "out.parquet")
        cutouts = read_cutouts(Path(folder) / "out.parquet")
        found = [decode(data, name) for name, data, _ in cutouts.images()]
    assert cutouts.labels.tolist() == [str(each) for each in (numbers if labels == "numbers" else words)]
    for one, expected in zip(found, images if bands != "none" else images[..., :1], strict=True):
        assert one.shape[:2] == side
        if bands == "none":
            assert all(np.array_equal(one[..., band], expected[..., 0]) for band in range(one.shape[2]))
        else:
            assert np.array_equal(one, expected) or np.array_equal(one[..., ::-1], expected)


NAMES = ["STAR", "GALAXY", "QSO"]


@fuzz(
    60,
    st.lists(st.sampled_from([0, 1, 2, None]), min_size=3, max_size=12).filter(lambda rows: len({*rows} - {None}) > 1),
    st.integers(1, 3),
    st.sampled_from(["ClassLabel", "text"]),
    st.sampled_from(["label", "labels", "class", "target", "fine_label"]),
    st.booleans(),
)
def test_hugging_face_files_in_shards_keep_labels_images_and_order(numbers, shards, kind, column, with_ids):
    named = [None if number is None else NAMES[number] for number in numbers]
    values = [-1 if number is None else number for number in numbers] if kind == "ClassLabel" else named
    images = [{"bytes": encode(picture(n), "PNG"), "path": f"{n}.png"} for n in range(len(numbers))]
    own = {"names": NAMES, "_type": "ClassLabel"} if kind == "ClassLabel" else {"dtype": "string", "_type": "Value"}
    about = json.dumps({"info": {"features": {"image": {"_type": "Image"}, column: own}}})
    ids = {"object_id": [f"o{n}" for n in range(len(numbers))]} if with_ids else {}
    table = pa.table(
        {"image": images, column: pa.array(values, pa.int64() if kind == "ClassLabel" else pa.string()), **ids}
    )
    with tempfile.TemporaryDirectory() as folder:
        for shard, rows in enumerate(np.array_split(np.arange(len(numbers)), shards)):
            name = f"train-{shard:05d}-of-{shards:05d}.parquet"
            pq.write_table(table.take(rows).replace_schema_metadata({"huggingface": about}), Path(folder) / name)
        cutouts = read_cutouts(Path(folder))
        assert cutouts.labels.tolist() == named
        assert [data for _, data, _ in cutouts.images()] == [each["bytes"] for each in images]
        assert len(set(cutouts.object_ids)) == len(numbers)
        assert not with_ids or cutouts.object_ids == ids["object_id"]

"""Images as people have them in Python: each form gives the right rows and ids, or one sentence of what is right."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy import units
from astropy.nddata import CCDData, NDData
from astropy.table import Table
from astropy.utils.masked import Masked
from PIL import Image

import skythaw
from helpers_bundle import make_bundle
from skythaw.bundle.given_images import read_given
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.errors import DataError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("bundle"), cache)


@pytest.fixture(scope="module")
def model(bundle):
    return skythaw.load(bundle, device="cpu")


@pytest.fixture(scope="module")
def files(bundle, tmp_path_factory):
    """Five images in a folder, and something that is none."""
    folder = tmp_path_factory.mktemp("images")
    cutouts = read_cutouts(bundle.parent / "survey.parquet")
    for i, (_, data, _) in zip(range(5), cutouts.images(), strict=False):
        (folder / f"obj{i}.jpg").write_bytes(data)
    (folder / "notes.txt").write_text("nothing")
    return folder


@pytest.fixture(scope="module")
def stack(files):
    return np.stack([decode(file.read_bytes(), "?") for file in sorted(files.glob("*.jpg"))])


@pytest.fixture(scope="module")
def wanted(model, stack):
    return np.asarray(model.predict(stack))


FIVE = tuple(f"obj{i}" for i in range(5))
COUNTED = tuple("01234")


def pil(stack):
    return [Image.fromarray(each) for each in stack]


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        (lambda files, stack: files, FIVE),
        (lambda files, stack: str(files), FIVE),
        (lambda files, stack: sorted(files.glob("*.jpg")), FIVE),
        (lambda files, stack: np.array([str(each) for each in sorted(files.glob("*.jpg"))]), FIVE),
        (lambda files, stack: pil(stack), COUNTED),
        (lambda files, stack: stack, COUNTED),
        (lambda files, stack: list(stack), COUNTED),
        (lambda files, stack: (stack / 255).astype(np.float32), COUNTED),
        (lambda files, stack: stack.astype(np.float64), COUNTED),
        (lambda files, stack: stack.astype(np.int64), COUNTED),
        (lambda files, stack: torch.tensor(stack).permute(0, 3, 1, 2), COUNTED),
        (lambda files, stack: torch.tensor(stack).permute(0, 3, 1, 2) / 255, COUNTED),
        (lambda files, stack: torch.tensor(stack), COUNTED),
        (lambda files, stack: [torch.tensor(each).permute(2, 0, 1) for each in stack], COUNTED),
        (lambda files, stack: (each for each in stack), COUNTED),
        (lambda files, stack: np.ma.masked_array(stack), COUNTED),
        (lambda files, stack: Table({"file": [f"{files}/obj{i}.jpg" for i in range(5)]})["file"], FIVE),
        (lambda files, stack: Table({"id": list("abcde"), "file": [f"{files}/obj{i}.jpg" for i in range(5)]}), "abcde"),
        (lambda files, stack: {"image": pil(stack), "objid": [7, 8, 9, 10, 11]}, ("7", "8", "9", "10", "11")),
        (
            lambda files, stack: [{"bytes": (files / f"obj{i}.jpg").read_bytes(), "path": None} for i in range(5)],
            COUNTED,
        ),
    ],
)
def test_each_form_gives_a_row_for_each_image(model, files, stack, wanted, given, ids):
    found = model.predict(given(files, stack))
    assert found.ids == tuple(ids)
    assert np.allclose(found, wanted, atol=1e-6)


def test_a_data_frame_and_its_column(model, files, wanted):
    pandas = pytest.importorskip("pandas")
    names = [str(files / f"obj{i}.jpg") for i in range(5)]
    frame = pandas.DataFrame({"name": list("abcde"), "path": names})
    assert model.predict(frame).ids == tuple("abcde")
    assert model.predict(frame["path"]).ids == FIVE
    assert model.predict(frame.set_index("name")["path"]).ids == tuple("abcde")
    assert np.allclose(model.predict(frame), wanted, atol=1e-6)
    table = model.predict(frame).table()
    assert list(table.columns) == ["object_id", "label", *(f"p_{each}" for each in model.classes)]
    assert table.object_id.tolist() == list("abcde")


@pytest.mark.parametrize(
    "one",
    [
        lambda files, stack: files / "obj0.jpg",
        lambda files, stack: str(files / "obj0.jpg"),
        lambda files, stack: (files / "obj0.jpg").read_bytes(),
        lambda files, stack: Image.fromarray(stack[0]),
        lambda files, stack: stack[0],
        lambda files, stack: stack[:1],
        lambda files, stack: torch.tensor(stack[0]).permute(2, 0, 1),
        lambda files, stack: {"bytes": (files / "obj0.jpg").read_bytes(), "path": "x"},
    ],
)
def test_one_image_is_one_row(model, files, stack, wanted, one):
    found = model.predict(one(files, stack))
    assert found.shape == (1, 3)
    assert np.allclose(found, wanted[:1], atol=1e-6)


def test_a_parquet_file_of_cutouts(model, bundle):
    found = model.predict(bundle.parent / "survey.parquet")
    assert found.ids == tuple(read_cutouts(bundle.parent / "survey.parquet").object_ids)


def test_a_list_of_floats_has_one_brightness(model, stack):
    given = stack.astype(np.float32)
    given[1] = given[1] > 100  # a dark image of a set from 0 to 255
    wanted = model.predict(given)
    assert np.array_equal(model.predict(list(given)), wanted)
    assert np.array_equal(model.predict({"image": [torch.tensor(each) for each in given]}), wanted)
    assert np.array_equal(model.predict(list(given / 255)), wanted)
    with pytest.raises(DataError, match=r"values from [\d.]+ to [01].*trained on 8 bits"):
        model.predict([given[0], given[2] / 255])


def test_a_grey_image_is_three_equal_bands(model, stack):
    grey = stack[..., 0]
    out = io.BytesIO()
    Image.fromarray(grey[0]).save(out, format="PNG")
    assert np.allclose(model.predict(grey[0]), model.predict([out.getvalue()]), atol=1e-6)
    assert model.predict(grey).shape == (5, 3)


def with_nan(stack):
    given = stack.astype(np.float32)
    given[3, 2, 1, 0] = np.nan
    return given


def with_far(stack, value):
    given = stack.astype(np.float64)
    given[3, 2, 1, :2] = value
    return given


def test_images_of_the_same_name_are_called_by_their_paths(model, files, tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.jpg").write_bytes((files / "obj0.jpg").read_bytes())
    assert model.predict(tmp_path).ids == ("a/x.jpg", "b/x.jpg")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda stack: np.moveaxis(stack, -1, 1), r"before y and x: .* give np.moveaxis\(images, 1, -1\)"),
        (lambda stack: np.moveaxis(stack[0], -1, 0), r"before y and x: .* give np.moveaxis\(images, 0, -1\)"),
        (lambda stack: [np.moveaxis(stack[0], -1, 0)], r"before y and x"),
        (lambda stack: stack / 255 - 0.5, r"trained on 8 bits, from 0 to 255; give np.uint8"),
        (lambda stack: stack / 254.3, r"values from 0 to 0.8.*trained on 8 bits"),
        (lambda stack: [stack], r"is several images: give it alone"),
        (lambda stack: np.zeros(7), r"holds no images: give \[object, y, x, band\], with 3 bands"),
        (lambda stack: stack[..., :2], r"bands 0, 1: this classifier was trained on uint8 with red, green, blue"),
        (lambda stack: {"a": [1], "flux": [2]}, r"no column of images: .* its columns are a, flux"),
        (lambda stack: Table({"ra": [1.0]}), r"no column of images: .* its columns are ra"),
        (lambda stack: 7, r"int holds no images; give a file, a folder"),
        (lambda stack: [stack[0], 7], r"image 1: int is no image"),
        (lambda stack: np.array(7), r"int holds no images"),
        (
            lambda stack: np.ma.masked_array(stack, stack == stack[0, 0, 0, 0]),
            r"pixels of an array of uint8 are masked",
        ),
        (lambda stack: stack > 100, r"truth values \(bool\), of shape \(5, 40, 40, 3\)"),
        (lambda stack: torch.tensor(stack[0] > 100), r"truth values \(bool\)"),
        (with_nan, r"image 3 has 1 values that are NaN \(or masked\)"),
        (lambda stack: list(with_nan(stack)), r"image 3 has 1 values that are NaN"),
        (lambda stack: np.ma.masked_invalid(with_nan(stack)), r"image 3 has 1 values that are NaN"),
        (lambda stack: with_far(stack, np.inf), r"image 3 has 2 values that are infinite \(or above 3.4e\+38"),
        (lambda stack: list(with_far(stack, -np.inf)), r"image 3 has 2 values that are infinite"),
        (lambda stack: stack * (1 + 1j), r"complex numbers \(complex128\), of shape \(5, 40, 40, 3\)"),
        (lambda stack: [np.ma.masked_array(stack[0] * 1j)], r"complex numbers \(complex128\)"),
        (
            lambda stack: np.zeros((40, 40, 4), np.uint8),
            r"has the bands 0, 1, 2, 3: this classifier was trained on uint8",
        ),
        (lambda stack: torch.zeros(2, 4, 40, 40), r"has no axis of 3 bands: .* with red, green, blue"),
        (lambda stack: stack[:, None, ..., 0], r"has its 1 band before y and x"),
        (lambda stack: io.BytesIO(b"some\nlines"), r"BytesIO is an open file: give its name"),
        (lambda stack: [io.BytesIO(b"x")], r"image 0: BytesIO is no image"),
        (lambda stack: {"file": "a.jpg"}, r"the column file is one value"),
        (lambda stack: Table({"file": np.ma.array(["a", "b"], mask=[True, False])})[:1], r"image 0 is None"),
        (lambda stack: "no-such.jpg", r"no-such.jpg can't be read: No such file"),
        (lambda stack: "", r"images: the name '' is empty"),
        (lambda stack: [stack[0], " "], r"image 1: the name ' ' is empty"),
        (lambda stack: "http://x/y.jpg", r"http://x/y.jpg is an address: it must be a file"),
        (lambda stack: [Path("http://x/y.jpg")], r"image 0: http:/x/y.jpg is an address: it must be a file"),
        (lambda stack: [None], r"image 0 is None, and this classifier takes images alone"),
    ],
)
def test_what_can_not_be_read_is_one_sentence(model, stack, given, said):
    with pytest.raises(DataError, match=said) as raised:
        model.predict(given(stack))
    assert "\n" not in str(raised.value)


ASTROPY = {
    "array": Masked,
    "quantity": lambda pixels, mask: Masked(pixels * units.adu, mask),
    "CCDData": lambda pixels, mask: CCDData(pixels, mask=mask, unit="adu"),
    "list of NDData": lambda pixels, mask: [NDData(pixels, mask=mask)],
}


@pytest.mark.parametrize("form", ASTROPY)
def test_pixels_that_astropy_masks_are_missing(form):
    pixels, mask = np.linspace(0, 1, 81).reshape(9, 9), np.zeros((9, 9), bool)
    found = read_given(ASTROPY[form](pixels, mask), None).images[0]
    np.testing.assert_array_equal(np.squeeze(found), pixels)
    mask[2, 3] = True
    with pytest.raises(DataError, match=r"image 0 has 1 values that are NaN \(or masked\)"):
        read_given(ASTROPY[form](pixels, mask), None)
    if form != "quantity":  # which holds floats
        with pytest.raises(DataError, match="1 pixels of an array of int64 are masked"):
            read_given(ASTROPY[form]((9 * pixels).astype(np.int64), mask), None)


def test_an_open_file_is_refused_and_stays_open(model, files):
    with (files / "obj0.jpg").open("rb") as file:
        with pytest.raises(DataError, match="BufferedReader is an open file"):
            model.predict(file)
        assert file.read(2) == b"\xff\xd8"


def test_grey_tensors_may_have_their_band_first(model, stack):
    grey = stack[..., 0]
    wanted = model.predict(grey)
    assert np.array_equal(model.predict(torch.tensor(grey)[:, None]), wanted)
    assert np.array_equal(model.predict([torch.tensor(each)[None] for each in grey]), wanted)
    assert np.array_equal(model.predict(grey[:1]), wanted[:1])


def test_a_row_of_an_astropy_table_and_an_array_of_no_axes_are_one_image(model, files, stack, wanted):
    names = [f"{files}/obj{i}.jpg" for i in range(5)]
    found = model.predict(Table({"id": list("abcde"), "file": names})[3])
    assert found.ids == ("d",)
    assert np.allclose(found, wanted[3:4], atol=1e-6)
    assert model.predict(Table({"image": stack})[3]).ids == ("0",)
    assert model.predict(np.array(names[3])).ids == ("obj3",)


def test_part_of_a_data_frame_keeps_the_numbers_of_its_rows(model, files, stack):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"image": list(stack)})
    assert model.predict(frame).ids == COUNTED
    assert model.predict(frame[3:]).ids == ("3", "4")
    assert model.predict(frame["image"][1::2]).ids == ("1", "3")
    named = pandas.DataFrame({"file": [str(files / f"obj{i}.jpg") for i in range(5)]})
    assert model.predict(named[3:]).ids == FIVE[3:]
    missing = pandas.Series([str(files / "obj0.jpg"), pandas.NA], dtype="string")
    with pytest.raises(DataError, match="image 1 is None"):
        model.predict(missing)


def test_a_data_frame_without_images_names_its_columns(model):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="its columns are ra, dec"):
        model.predict(pandas.DataFrame({"ra": [1.0], "dec": [2.0]}))


def test_a_folder_without_images_says_what_is_in_it(model, tmp_path):
    with pytest.raises(DataError, match="holds no images"):
        model.predict(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"notes.txt: not an image"):
        model.predict(tmp_path)


def test_many_files_are_read_some_at_a_time_and_give_the_same_bits(model, bundle):
    data = [each for _, each, _ in read_cutouts(bundle.parent / "survey.parquet").images()] * 2
    assert np.array_equal(model.predict(data), model.outputs(data).p)


def test_an_image_that_is_broken_has_its_number_among_all_and_its_id(model, bundle):
    data = [each for _, each, _ in read_cutouts(bundle.parent / "survey.parquet").images()]
    data = (data * 300)[:300]
    data[270] = b"garbage"
    with pytest.raises(DataError, match=r"^image 270 can't be read"):
        model.predict(data)
    with pytest.raises(DataError, match=r"^image 270 \(o270\) can't be read"):
        model.predict({"image": data, "object_id": [f"o{row}" for row in range(300)]})


def test_what_it_gives_is_an_array_as_before(model, stack):
    p = model.predict(stack)
    assert type(model.predict_proba(stack)) is np.ndarray
    assert type(p + 1) is np.ndarray
    assert type(p[0]) is np.ndarray
    assert np.allclose(p.sum(1), 1)
    assert p.argmax(1).tolist() == [p.classes.index(each) for each in p.labels]
    assert repr(p).startswith("5 objects\n0 ")
    assert "<table>" in p._repr_html_()
    assert p.table(format="astropy").colnames == ["object_id", "label", *(f"p_{each}" for each in model.classes)]
    assert len(model.predict([]).table(format="astropy")) == 0


def test_a_classifier_has_a_short_representation(model):
    assert repr(model).startswith("Classifier ")
    assert len(repr(model)) < 200


def test_floats_are_taken_as_they_are(tmp_path_factory, cache):
    bundle = make_bundle(tmp_path_factory.mktemp("floats"), cache, floats=True)
    model = skythaw.load(bundle, device="cpu")
    cutouts = read_cutouts(bundle.parent / "floats.parquet")
    stack = np.stack([decode(data, "?") for _, data, _ in cutouts.images()])[:3]
    wanted = model.predict(stack)
    assert np.allclose(model.predict(stack.astype(np.float64)), wanted, atol=1e-6)
    assert np.allclose(model.predict(torch.tensor(stack).permute(0, 3, 1, 2)), wanted, atol=1e-6)
    with pytest.raises(DataError, match="before y and x"):
        model.predict(np.moveaxis(stack, -1, 1))
    with pytest.raises(DataError, match=r"image 1 has \d+ values that are NaN"):
        model.predict(np.where(np.arange(3)[:, None, None, None] == 1, np.nan, stack))
    for far in (np.inf, -np.inf, 1e39):
        with pytest.raises(DataError, match=r"image 1 has \d+ values that are infinite"):
            model.predict(np.where(np.arange(3)[:, None, None, None] == 1, far, stack.astype(np.float64)))
    with pytest.raises(DataError, match=r"has the bands 0, 1, 2: this classifier was trained on float32"):
        model.predict(Image.fromarray(np.zeros((40, 40, 3), np.uint8)))

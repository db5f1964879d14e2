"""Grad-CAM and occlusion point at what decides, change nothing, and `skythaw explain` draws them."""

from __future__ import annotations

import io
import json
import shutil
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import skythaw as package
from helpers_bundle import make_bundle
from helpers_data import encode
from helpers_networks import handmade
from skythaw.bundle.classifier import Classifier
from skythaw.bundle.export.export_bundle import export
from skythaw.bundle.references import Neighbour
from skythaw.cli import main
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.data.fits import encode_fits
from skythaw.errors import DataError, UnknownNameError
from skythaw.explain.explanation import Explanation
from skythaw.explain.saliency_maps import grad_cam, occlusion, overlay
from skythaw.study.ledger import Ledger
from skythaw.tuning.thawed_network import Head, ThawedNetwork, pool

BLOBS = {"upper left": (8, 8), "upper right": (8, 30), "lower left": (30, 10), "centre": (20, 20)}
"""row and column in an image of 40 pixels, of which the network gets 32 from pixel 4"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("bundle"), cache)


@pytest.fixture(scope="module")
def float_bundle(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("floats"), cache, floats=True)


@pytest.fixture(scope="module")
def depths(bundle):
    """Classifiers of which nothing, and everything, was trained."""
    with Ledger.read(bundle.parent / "run") as ledger:
        keys = {entry.cell.depth: entry.key for entry in ledger.entries()}
    for depth, key in keys.items():
        export(bundle.parent / "run", bundle.parent / f"depth{depth}", cell=key, onnx=False)
    return [package.load(bundle.parent / f"depth{depth}", device="cpu") for depth in sorted(keys)]


@pytest.fixture(scope="module")
def image(bundle):
    name, data, _ = next(read_cutouts(bundle.parent / "survey.parquet").images())
    return decode(data, name)


class Bright(ThawedNetwork):
    """A classifier by hand: its one feature is what is brighter than half, in squares of four pixels."""

    whole = True

    def __init__(self, classes: int) -> None:
        nn.Module.__init__(self)
        self.network = handmade(nn.Sequential(nn.AvgPool2d(4), Brightness()), "0", channels=1)
        self.head = Head(1, classes, 0.0, torch.Generator())
        with torch.no_grad():
            self.head.linear.weight.copy_(torch.tensor([[0.0], [40.0], [-40.0]]))

    def features(self, values):
        return pool(self.network(values[0]))

    @contextmanager
    def evaluating(self):
        with torch.no_grad():
            yield


class Brightness(nn.Module):
    def forward(self, x):
        return (x.mean(1, keepdim=True) - 0.5).relu()


@pytest.fixture
def bright(bundle):
    about = package.load(bundle, device="cpu").about
    expected = about.expected.model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3})
    return Classifier(about.model_copy(update={"expected": expected}), [Bright(3)], torch.device("cpu"))


def with_blob(place):
    y, x = np.mgrid[:40, :40]
    spot = 230 * np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / (2 * 2.0**2))
    return np.repeat((20 + spot)[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("where", BLOBS)
@pytest.mark.parametrize("explain", [grad_cam, occlusion])
def test_the_peak_is_on_what_decides(bright, where, explain):
    heat = explain(bright, with_blob(BLOBS[where]), bright.classes[1])
    assert heat.shape == (32, 32)
    assert heat.dtype == np.float32
    peak = np.array(np.unravel_index(heat.argmax(), heat.shape)) + 4
    assert np.abs(peak - BLOBS[where]).max() <= 4
    far = np.hypot(*(np.mgrid[4:36, 4:36] - np.reshape(BLOBS[where], (2, 1, 1)))) > 12
    assert np.abs(heat[far]).max() < 0.02 * heat.max()


def test_the_named_class_is_the_one_explained(bright):
    image = with_blob((20, 20))
    none, much, against = (bright.classes[i] for i in range(3))
    assert bright.classes[bright.predict(image[None]).argmax()] == much
    for explain in (grad_cam, occlusion):
        assert np.array_equal(explain(bright, image), explain(bright, image, much))
    assert grad_cam(bright, image, much).max() == 1
    assert not grad_cam(bright, image, against).any(), "nothing speaks for it"
    assert not grad_cam(bright, image, none).any()
    assert occlusion(bright, image, against).min() < 0 <= occlusion(bright, image, much).min() + 1e-6
    with pytest.raises(UnknownNameError, match="MOON"):
        grad_cam(bright, image, "MOON")


def test_an_image_of_one_colour_has_no_place(bright):
    blank = np.full((40, 40, 3), 20, np.uint8)
    assert not grad_cam(bright, blank).any()
    assert not occlusion(bright, blank).any()


def test_occlusion_is_the_drop_of_the_calibrated_probability(bright):
    """The whole blob hidden: what is lost is p of the blob less p of the sky, where one square covers it."""
    image = np.full((40, 40, 3), 20, np.uint8)
    image[20:24, 20:24] = 255
    without = np.full((40, 40, 3), 20, np.uint8)
    p, q = (bright.predict(each[None])[0, 1] for each in (image, without))
    heat = occlusion(bright, image, bright.classes[1])
    assert heat.max() == pytest.approx(p - q, rel=0.5)
    assert 0 < heat.max() <= p - q + 1e-6


def state(classifier):
    model = classifier.model
    return (
        [each.training for each in model.modules()],
        [each.requires_grad for each in model.parameters()],
        [each.grad is None for each in model.parameters()],
        [each.clone() for each in model.state_dict().values()],
    )


@pytest.mark.parametrize("place", [0, 1])
def test_any_depth_is_explained_and_nothing_of_it_changes(depths, image, place):
    classifier = depths[place]
    p, before = classifier.predict(image[None]), state(classifier)
    for label in (None, *classifier.classes):
        cam, hidden = grad_cam(classifier, image, label), occlusion(classifier, image, label)
        for heat in (cam, hidden):
            assert heat.shape == (32, 32)
            assert np.isfinite(heat).all()
        assert cam.min() >= 0
        assert cam.max() in (0, 1)
        assert np.abs(hidden).max() <= 1
        assert hidden.any() or p.max() == 1, "of a saturated network, no patch changes a probability"
    after = state(classifier)
    assert after[:3] == before[:3]
    assert all(map(torch.equal, after[3], before[3]))
    assert np.array_equal(classifier.predict(image[None]), p)
    assert classifier.last_maps[0].side == 8, "of 32 pixels, the last map has one cell"


def test_occlusion_of_a_trained_network_finds_the_object(depths, image):
    """The object is in the middle; the sky around it says nothing."""
    heat = np.abs(occlusion(depths[-1], image))
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert 8 <= y < 24
    assert 8 <= x < 24


def test_an_explanation_has_a_short_representation():
    near = Neighbour("a", "STAR", 0.1, bytes(9000))
    found = Explanation(
        "m31", np.zeros((40, 40, 3), np.uint8), {"STAR": 0.25, "QSO": 0.75}, "QSO", np.zeros((40, 40)), 7,
        np.zeros((40, 40)), 0.5, 12.0, (near,) * 6,
    )  # fmt: skip
    assert repr(found).startswith("Explanation of m31: QSO with probability 0.750. Like the training images")
    assert len(repr(found)) < 300


def test_an_overlay_is_a_picture_of_the_images_size():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    heat = np.zeros((32, 32), np.float32)
    with Image.open(io.BytesIO(overlay(image, heat))) as same:
        assert same.format == "PNG"
        assert np.array_equal(np.asarray(same), image), "nothing to show"
    heat[:16], heat[16:] = -1, 1
    shown = np.asarray(Image.open(io.BytesIO(overlay(image, heat))))
    assert shown.shape == image.shape
    assert np.array_equal(shown[:18], image[:18]), "what is negative is not shown"
    assert np.abs(shown[24:].astype(int) - image[24:]).mean() > 20


def test_a_missing_package_is_named(bright, monkeypatch):
    for name in ("captum", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=r"need captum: pip install 'skythaw\[explain\]'"):
        occlusion(bright, with_blob((20, 20)))
    with pytest.raises(DataError, match=r"need matplotlib: pip install 'skythaw\[explain\]'"):
        overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32))


# The command


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        main(["explain", *map(str, arguments)])
    return end.value.code or 0


def size(path):
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG"
        return picture.size


def test_the_command_draws_a_picture(bundle, tmp_path, capsys):
    (tmp_path / "one.jpg").write_bytes(next(read_cutouts(bundle.parent / "survey.parquet").images())[1])
    assert run(bundle, tmp_path / "one.jpg", "-o", tmp_path / "a.png") == 0
    said = capsys.readouterr().out
    assert size(tmp_path / "a.png") == (1350, 990)
    assert "ike the training images" in said
    assert f"wrote {tmp_path / 'a.png'}\n" in said
    assert run(bundle, tmp_path / "one.jpg", "-o", tmp_path / "b.png") == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_command_for_programs(bundle, tmp_path, capsys, image):
    data, out = bundle.parent / "survey.parquet", tmp_path / "a.png"
    assert run(bundle, f"{data}:1237000000", "-o", out, "--json", "--class", "STAR") == 0
    found = json.loads(capsys.readouterr().out)
    classifier = package.load(bundle, device="cpu")
    seen = classifier.outputs(image[None])
    assert found["image"] == "1237000000"
    assert found["class"] == "STAR"
    assert list(found["p"].values()) == pytest.approx(seen.p[0].tolist(), abs=1e-5)
    assert found["distance"] == pytest.approx(float(classifier.references.distances(seen.features)[0]), rel=1e-3)
    assert 0 <= found["percentile"] <= 100
    assert len(found["nearest"]) == 6
    assert found["file"] == str(out)
    assert size(out) == (1350, 990)


def test_the_command_on_fits_of_five_bands(float_bundle, tmp_path, capsys):
    data = float_bundle.parent / "floats.parquet"
    name, content, _ = next(read_cutouts(data).images())
    (tmp_path / "one.fits").write_bytes(content)
    assert run(float_bundle, tmp_path / "one.fits", "-o", tmp_path / "a.png", "--json") == 0
    one = json.loads(capsys.readouterr().out)
    assert run(float_bundle, f"{data}:{name}", "-o", tmp_path / "b.png", "--json") == 0
    two = json.loads(capsys.readouterr().out)
    same = ("p", "class", "distance", "percentile", "nearest")
    assert [one[key] for key in same] == [two[key] for key in same]
    assert size(tmp_path / "a.png") == size(tmp_path / "b.png") == (1350, 990)


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        ("one.jpg", ("-o", "a.png", "--class", "MOON"), "class 'MOON'"),
        ("survey.parquet:nobody", ("-o", "a.png"), "has no object 'nobody'; its first is 1237000000"),
        ("survey.parquet", ("-o", "a.png"), "has many images: name one of them, as survey.parquet:OBJECT_ID"),
        ("text.jpg", ("-o", "a.png"), "text.jpg can't be read: "),
        ("none.jpg", ("-o", "a.png"), "none.jpg"),
        ("five.fits", ("-o", "a.png"), "images of float32 with bands u, g, r, i, z: this classifier was trained on"),
        ("small.png", ("-o", "a.png"), "takes the central 32 x 32"),
        ("one.jpg", ("-o", "a.jpg"), "the picture a.jpg should end in .png, not '.jpg'"),
        ("one.jpg", ("-o", "folder.png"), "can't write folder.png: it is a folder"),
        ("one.jpg", ("-o", "one.jpg/a.png"), "can't write one.jpg/a.png"),
    ],
)
def test_what_cannot_be_explained_is_one_line(bundle, tmp_path, monkeypatch, capsys, given, options, says):
    monkeypatch.chdir(tmp_path)
    shutil.copy(bundle.parent / "survey.parquet", "survey.parquet")
    (tmp_path / "one.jpg").write_bytes(next(read_cutouts(bundle.parent / "survey.parquet").images())[1])
    (tmp_path / "text.jpg").write_bytes(b"no image")
    (tmp_path / "small.png").write_bytes(encode(np.zeros((8, 8, 3), np.uint8), "PNG"))
    (tmp_path / "five.fits").write_bytes(encode_fits(np.zeros((40, 40, 5), np.float32), "ugriz"))
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert run(bundle, given, *options) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before

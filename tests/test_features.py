"""`skythaw features`, and `predict --features`: the numbers of the network, an image's reason, and nothing lost."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import skythaw
from helpers_bundle import make_bundle
from helpers_data import encode, picture
from skythaw.backbones.cut import cut
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import RANDOM
from skythaw.bundle.classifier import load
from skythaw.cli import main
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.data.fits import encode_fits
from skythaw.errors import SkythawError
from skythaw.predict.feature_source import FeatureChoice
from skythaw.predict.predict_images import PredictSettings
from skythaw.predict.write_features import features_to
from skythaw.spec import WeightsChoice

SMALL = {"weights": "random", "input_size": 32, "progress": False}
CHOICE = FeatureChoice("timm:test_resnet", weights=WeightsChoice(random=True), input_size=32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("features"), cache)


@pytest.fixture(scope="module")
def survey(bundle):
    return bundle.parent / "survey.parquet"


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A folder with images, one that is broken and one that is too small."""
    folder = tmp_path_factory.mktemp("night")
    for number in range(12):
        (folder / f"{number:02d}.png").write_bytes(encode(picture(number, 50), "PNG"))
    (folder / "05.png").write_bytes(b"<html>")
    Image.new("RGB", (20, 50)).save(folder / "07.png")
    return folder


def read(path):
    """Ids, features [object, feature] (NaN where there are none), and statuses."""
    table = pq.read_table(path)
    found, width = table["features"], table.schema.field("features").type.list_size
    rows = [np.full(width, np.nan) if row is None else np.array(row) for row in found.to_pylist()]
    return table["object_id"].to_pylist(), np.array(rows, np.float32), table["status"].to_pylist()


def test_a_bundle_gives_the_features_from_which_its_head_judges(bundle, survey, tmp_path):
    ids, given, status = _written(bundle, survey, tmp_path / "a.parquet", backend="torch")
    assert set(status) == {"ok"}
    assert ids == read_cutouts(survey).table["object_id"].to_pylist()
    classifier = load(bundle, device="cpu")
    images = np.stack([decode(data, name) for name, data, _ in read_cutouts(survey).images()])
    np.testing.assert_allclose(given, classifier.outputs(images).features, atol=1e-6)
    skythaw.predict(bundle, survey, tmp_path / "p.parquet", backend="torch", features=True, progress=False)
    assert np.array_equal(read(tmp_path / "p.parquet")[1], given)
    names = pq.read_schema(tmp_path / "p.parquet").names
    assert names[-2:] == ["features", "status"]
    skythaw.predict(bundle, survey, tmp_path / "without.parquet", backend="torch", progress=False)
    assert (
        pq.read_table(tmp_path / "p.parquet")
        .drop_columns("features")
        .equals(pq.read_table(tmp_path / "without.parquet"))
    )


def test_onnx_gives_the_same_features_up_to_rounding(bundle, survey, tmp_path):
    pytest.importorskip("onnxruntime")
    ours = _written(bundle, survey, tmp_path / "t.parquet", backend="torch")[1]
    theirs = _written(bundle, survey, tmp_path / "o.parquet", backend="onnx")[1]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert json.loads(pq.read_schema(tmp_path / "o.parquet").metadata[b"skythaw"])["backend"] == "onnx"


@pytest.mark.parametrize("depth", [1, 3])
def test_a_bundle_gives_what_crosses_the_cut_of_any_depth(bundle, survey, tmp_path, depth):
    given = _written(bundle, survey, tmp_path / "a.parquet", depth=depth)[1]
    classifier = load(bundle, device="cpu")
    images = np.stack([decode(data, name) for name, data, _ in read_cutouts(survey).images()])
    x = torch.from_numpy(images[:, 4:36, 4:36]).permute(0, 3, 1, 2).float() / 255  # the middle 32 of 40 pixels
    mean, std = (
        torch.tensor(n).view(1, 3, 1, 1) for n in (classifier.about.expected.mean, classifier.about.expected.std)
    )
    with torch.no_grad():
        values = cut(classifier.model.network, depth).prefix((x - mean) / std)
    np.testing.assert_allclose(given, torch.cat([v.mean((2, 3)) for v in values], 1), atol=1e-5)


def test_a_backbone_sees_images_as_its_weights_expect(night, tmp_path):
    skythaw.features("timm:test_resnet", night, tmp_path / "a.parquet", **SMALL)
    ids, given, _ = read(tmp_path / "a.parquet")
    network = backbone("timm:test_resnet")
    data = (night / f"{ids[3]}.png").read_bytes()
    x = torch.from_numpy(decode(data, "").copy()).permute(2, 0, 1)[None].float() / 255
    x = torch.nn.functional.interpolate(x, (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(n).view(1, 3, 1, 1) for n in (network.preprocessing.mean, network.preprocessing.std))
    with torch.no_grad():
        wanted = build(network, RANDOM)((x - mean) / std).mean((2, 3))
    np.testing.assert_allclose(given[3], wanted[0], rtol=1e-4, atol=1e-5)


def test_tokens_are_averaged_without_those_of_no_place(night, tmp_path):
    own = {"weights": "random", "progress": False}
    skythaw.features("timm:test_vit", night / "00.png", tmp_path / "a.parquet", depth=2, **own)
    network = build(backbone("timm:test_vit"), RANDOM)
    x = torch.from_numpy(decode((night / "00.png").read_bytes(), "").copy()).permute(2, 0, 1)[None].float() / 255
    size = backbone("timm:test_vit").input_size
    x = torch.nn.functional.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        (tokens,) = cut(network, 2).prefix((x - 0.5) / 0.5)
    side = int((tokens.shape[1]) ** 0.5)
    assert tokens.shape[1] > side**2, "it has a class token"
    np.testing.assert_allclose(read(tmp_path / "a.parquet")[1], tokens[:, -(side**2) :].mean(1), rtol=1e-4, atol=1e-5)


def test_every_image_has_a_row_and_a_reason(night, tmp_path, capsys):
    out = tmp_path / "a.parquet"
    arguments = [
        "features",
        "timm:test_resnet",
        str(night),
        "-o",
        str(out),
        "--weights",
        "random",
        "--input-size",
        "32",
    ]
    ran([*arguments, "--json"])
    facts = json.loads(capsys.readouterr().out)
    ids, given, status = read(out)
    assert ids == [f"{number:02d}" for number in range(12)]
    assert [name for name, why in zip(ids, status, strict=True) if why != "ok"] == ["05", "07"]
    assert np.isnan(given).all(1).tolist() == [why != "ok" for why in status]
    assert (facts["objects"], facts["ok"], facts["features"], facts["depth"]) == (12, 10, given.shape[1], 0)
    assert [each["object_id"] for each in facts["unread"]] == ["05", "07"]
    assert "20 x 50 pixels" in facts["unread"][1]["reason"]
    ran(arguments)
    said = capsys.readouterr()
    assert "1 without features (05): not a JPEG" in said.err
    assert "10 of 12 images" in " ".join(said.out.split())


def test_a_kill_loses_nothing_and_changes_nothing(night, tmp_path):
    setting = PredictSettings(4, "cpu", 1, 5, "torch")
    whole = features_to(CHOICE, [night], tmp_path / "whole.parquet", setting)

    def stopped(items, total):
        for number, item in enumerate(items):
            if number == 10:
                raise KeyboardInterrupt
            yield item

    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        features_to(CHOICE, [night], out, setting, stopped)
    assert not out.exists()
    other = FeatureChoice("timm:test_resnet", 1, WeightsChoice(random=True), input_size=32)
    with pytest.raises(SkythawError, match="unfinished prediction of another features"):
        features_to(other, [night], out, setting)
    summary = features_to(CHOICE, [night], out, setting)
    assert (whole.resumed, summary.resumed, summary.objects, summary.ok) == (0, 9, 12, 10), "whole batches"
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not (tmp_path / "out.parquet.part").exists()


def test_rows_do_not_depend_on_batches_and_threads(night, tmp_path):
    for number, setting in enumerate((PredictSettings(1, "cpu", 1), PredictSettings(5, "cpu", 3))):
        features_to(CHOICE, [night], tmp_path / f"{number}.parquet", setting)
    assert np.array_equal(read(tmp_path / "0.parquet")[1], read(tmp_path / "1.parquet")[1], equal_nan=True)


def test_archives_and_images_of_one_size_are_read_as_predict_reads_them(night, tmp_path):
    archive = tmp_path / "night.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(night.iterdir())[:4]:
            file.write(path, path.name)
    skythaw.features("timm:test_resnet", archive, tmp_path / "a.parquet", **SMALL)
    skythaw.features("timm:test_resnet", night, tmp_path / "b.parquet", size=48, resize=True, **SMALL)
    assert np.isfinite(read(tmp_path / "a.parquet")[1]).all()
    status = read(tmp_path / "b.parquet")[2]
    assert len(status) == 12
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.parquet", tmp_path / "b.parquet", archive]


def test_images_of_floats_and_other_bands(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        values = rng.normal(0, 1, (40, 40, 2)).astype(np.float32)
        (tmp_path / f"{number}.fits").write_bytes(encode_fits(values, ("g", "r")))
    out = tmp_path / "out.parquet"
    with pytest.raises(SkythawError, match="stretch = 'linear' lacks low or high"):
        skythaw.features("timm:test_resnet", tmp_path / "0.fits", out, **SMALL)
    given = '{ kind = "asinh", low = -1, high = 5 }'
    summary = skythaw.features("timm:test_resnet", tmp_path, out, stretch=given, **SMALL)
    assert (summary.ok, summary.objects) == (3, 3)
    assert not np.array_equal(*read(out)[1][:2])


def test_a_survey_has_the_features_of_the_single_file(bundle, survey, tmp_path):
    own = {"backend": "torch", "progress": False, "shard": 50}
    skythaw.predict(bundle, survey, tmp_path / "a.parquet", features=True, **own)
    skythaw.predict(bundle, survey, tmp_path / "shards", features=True, engine="serial", **own)
    shards = sorted((tmp_path / "shards" / "shards").glob("*.parquet"))
    found = np.concatenate([read(shard)[1] for shard in shards])
    np.testing.assert_allclose(found, read(tmp_path / "a.parquet")[1], atol=1e-6)
    with pytest.raises(SkythawError, match="predictions of another column of features: True, now None"):
        skythaw.predict(bundle, survey, tmp_path / "shards", engine="serial", **own)


REFUSED = [
    ({"out": "a.csv"}, "features are lists of numbers, which need Parquet"),
    ({"out": "folder"}, "features are lists of numbers, which need Parquet"),
    ({"network": "timm:test_resnt"}, "did you mean 'timm:test_resnet'"),
    ({"network": "no/bundle"}, "no/bundle is neither the folder of a bundle nor a backbone"),
    ({"depth": 5}, "has 5 blocks, so there are features at the depths 0 to 4"),
    ({"depth": -1}, "has 5 blocks, so there are features at the depths 0 to 4"),
    ({"weights": "timm:test_vit"}, "are of test_vit, not of timm:test_resnet"),
    ({"weights": "nowhere.safetensors"}, "can't read the weights nowhere.safetensors"),
    ({"weights": {"fiel": "x"}}, "weights: unknown key 'fiel'; did you mean 'file'"),
    ({"crop": 51}, "crop = 51 is larger than the cutouts"),
    ({"crop": 1}, "crop = 1 must be at least 4"),
    ({"input_size": 5000}, "input_size = 5000 must be at most 4096"),
    ({"stretch": "log"}, "stretch: kind = 'log'"),
    ({"stretch": "{ kind = "}, "can't be read"),
    ({"backend": "onnx"}, "the backend onnx gives the features of a bundle at depth 0 alone"),
    ({"device": "abacus"}, "there is no device 'abacus'"),
    ({"inputs": "05.png"}, "not one of the first 1 images can be read; the last: not a JPEG"),
    ({"inputs": "nothing.png"}, "there is no file or folder"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED, ids=[str(change) for change, _ in REFUSED])
def test_what_is_refused_and_nothing_is_left_behind(night, tmp_path, change, said):
    given = {"network": "timm:test_resnet", "inputs": "00.png", "out": "a.parquet", **SMALL} | change
    network, inputs, out = given.pop("network"), night / given.pop("inputs"), tmp_path / given.pop("out")
    with pytest.raises(SkythawError) as caught:
        skythaw.features(network, inputs, out, **given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["weights", "crop", "input_size", "stretch"])
def test_a_bundle_sees_images_its_own_way(bundle, survey, tmp_path, name):
    value = {"weights": "random", "stretch": "sqrt"}.get(name, 32)
    with pytest.raises(SkythawError, match=f"{name} is of a backbone, and the bundle"):
        skythaw.features(bundle, survey, tmp_path / "a.parquet", **{name: value}, progress=False)


def test_features_beside_probabilities_need_parquet(bundle, survey, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(bundle), str(survey), "-o", str(tmp_path / "a.csv"), "--features"])
    assert ended.value.code == 2
    assert "features are lists of numbers, which need Parquet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def ran(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def _written(network, inputs, out, **how):
    skythaw.features(network, inputs, out, progress=False, **how)
    return read(out)

"""Bundles: what was trained is what is exported and what predicts, and what does not fit together is refused."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import skythaw as package
from helpers_bundle import make_bundle
from skythaw.bundle.bundle_file import ABOUT, CARD, ONNX, WEIGHTS, read_about
from skythaw.bundle.export.export_bundle import export
from skythaw.bundle.export.model_card import model_card
from skythaw.bundle.export.to_onnx import run_onnx, to_onnx
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.data.network_input import batch_input
from skythaw.errors import BundleError, DataError, SkythawError
from skythaw.machine.numerics import numerics
from skythaw.spec import Split
from skythaw.stats.cell_predictions import read_predictions
from skythaw.study.ledger import Ledger


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("bundle"), cache)


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "copy")


def images(bundle):
    """The images of the data that a bundle was trained on, by id."""
    found = read_cutouts(next(bundle.parent.glob("*.parquet"))).images()
    return {name: data for name, data, _ in found}


def run_of(bundle):
    return next(path.parent for path in bundle.parent.glob("*/ledger.sqlite"))


def test_a_bundle_predicts_bit_for_bit_what_the_run_did(bundle):
    classifier = package.load(bundle, device="cpu")
    about, there = classifier.about, images(bundle)
    ids, kept = read_predictions(run_of(bundle), about.cell.key, "test", about.classes)[:2]
    table = dict(zip(known_ids(bundle, about.cell.key), kept, strict=True))
    with numerics(about.cell.recipe.threads, about.seed, "cpu"):
        p = classifier.predict([there[name] for name in table], calibrated=False)
    assert len(ids)
    assert np.array_equal(p, np.stack(list(table.values())))


def known_ids(bundle, key):
    import pyarrow.parquet as pq

    table = pq.read_table(run_of(bundle) / "predictions" / f"{key}.parquet").to_pylist()
    return [row["object_id"] for row in table if row["part"] == "test"]


def test_it_stands_alone(bundle, tmp_path, skythaw):
    """Without the run, the data and the pretrained weights."""
    wanted = package.load(bundle).predict(list(images(bundle).values())[:5])
    alone = shutil.copytree(bundle, tmp_path / "alone")
    for number, data in enumerate(list(images(bundle).values())[:5]):
        (tmp_path / f"{number}.png").write_bytes(data)
    names = [str(tmp_path / f"{number}.png") for number in range(5)]
    assert np.array_equal(package.load(alone).predict(names), wanted)


def test_bytes_names_and_arrays_are_the_same_images(bundle, tmp_path):
    classifier = package.load(bundle)
    some = list(images(bundle).values())[:4]
    (tmp_path / "x").write_bytes(some[0])
    stack = np.stack([decode(data, "?") for data in some])
    p = classifier.predict(stack)
    assert np.array_equal(p, classifier.predict(some))
    assert np.allclose(p[:1], classifier.predict([tmp_path / "x"]), atol=1e-6)
    assert np.allclose(p.sum(1), 1, atol=1e-6)
    assert classifier.predict([]).shape == (0, len(classifier.classes))


def test_what_it_was_not_trained_on_is_refused(bundle):
    classifier = package.load(bundle)
    side = classifier.about.expected.side
    with pytest.raises(DataError, match="takes the central 32 x 32"):
        classifier.predict(np.zeros((1, 4, 4, 3), np.uint8))
    with pytest.raises(DataError, match="trained on uint8 with red, green, blue"):
        classifier.predict(np.zeros((1, side, side, 5), np.float32))
    with pytest.raises(DataError, match=r"nothing.png can't be read: No such file"):
        classifier.predict(["nothing.png"])
    with pytest.raises(DataError, match="image 0 can't be read"):
        classifier.predict([b"no image"])


def test_onnx_says_what_torch_says_for_any_number_of_images(bundle):
    classifier = package.load(bundle, device="cpu")
    stack = np.stack([decode(data, "?") for data in images(bundle).values()])
    x = batch_input(stack, np.arange(len(stack)), classifier.about.cell.pixels).numpy()
    content, p = (bundle / ONNX).read_bytes(), classifier.predict(stack)
    for count in (1, 2, 7, len(stack)):
        assert np.abs(run_onnx(content, x[:count]) - p[:count]).max() < 1e-4


@pytest.mark.soak
def test_the_same_cell_gives_the_same_bytes(bundle, tmp_path):
    export(run_of(bundle), tmp_path / "again", cell=read_about(bundle).cell.key)
    for name in (ABOUT, WEIGHTS, CARD):
        assert (tmp_path / "again" / name).read_bytes() == (bundle / name).read_bytes()


def test_the_card_is_in_the_form_of_the_hub(bundle):
    import yaml

    text = (bundle / CARD).read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    about = read_about(bundle)
    assert front["pipeline_tag"] == "image-classification"
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == round(about.scores["own"]["macro_f1"], 4)
    assert all(f"| {name} |" in text for name in about.classes)
    assert "nan" not in text.lower().split("---\n")[2].split()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"split": Split(by="random")}, "drawn at random, so they may lie on the same sky"),
        ({"split": Split(by="field")}, "in fields of the survey that have no training objects"),
        ({"split": Split(by="healpix", nside=32)}, "in pixels of the sky (HEALPix, nside = 32)"),
        ({"split": Split(by="plate")}, "share no value of the column `plate`"),
        ({"split": Split(by="random"), "test_sha256": "0" * 64}, "test objects, a data set of its own:"),
    ],
)
def test_the_card_claims_other_sky_only_where_the_split_made_sure_of_it(bundle, change, says):
    about = read_about(bundle)
    text = model_card(about.model_copy(update={"cell": about.cell.model_copy(update=change)}), onnx=False)
    assert says in text
    assert ("have no training objects" in text) == (change["split"].by in ("field", "healpix"))


@pytest.mark.parametrize(
    ("pretrained", "says"), [("random", "random weights"), ("file", "user's own"), ("timm", "pretrained on ImageNet")]
)
def test_the_card_says_with_what_weights_the_training_began(bundle, pretrained, says):
    text = model_card(read_about(bundle).model_copy(update={"pretrained": pretrained}), onnx=False)
    assert says in text
    assert ("ImageNet" in text) == (pretrained == "timm")


@pytest.mark.soak
@pytest.mark.parametrize("temperature", [3.0, 20.0, 100.0])
def test_a_network_that_is_far_too_sure_is_tempered_alike_by_torch_and_by_onnx(bundle, temperature):
    """Its probabilities are 0 and 1 in float32; what it says at a high temperature is in its logits alone."""
    classifier = package.load(bundle, device="cpu")
    with torch.no_grad():
        for parameter in classifier.model.head.parameters():
            parameter.mul_(3000.0)
    stack = np.stack([decode(data, "?") for data in images(bundle).values()])
    classifier.about = classifier.about.model_copy(update={"temperature": temperature})
    x = batch_input(stack, np.arange(len(stack)), classifier.about.cell.pixels)
    assert (classifier.predict(stack, calibrated=False) == 0).any()
    content = to_onnx(classifier.models, classifier.about, x[:8])
    assert np.abs(run_onnx(content, x.numpy()) - classifier.predict(stack)).max() < 1e-4


def test_temperature_is_fitted_on_validation_and_changes_no_label(bundle):
    classifier = package.load(bundle)
    some = list(images(bundle).values())
    plain, calibrated = (classifier.predict(some, calibrated=each) for each in (False, True))
    assert np.array_equal(plain.argmax(1), calibrated.argmax(1))
    logits = np.log(np.maximum(plain.astype(np.float64), 1e-12)) / classifier.about.temperature
    again = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(again, calibrated, atol=1e-6)


def spoil_about(folder, change):
    about = json.loads((folder / ABOUT).read_text())
    change(about)
    (folder / ABOUT).write_text(json.dumps(about))


def spoil_weights(folder, change):
    """Other weights under the same `bundle.json`, whose checksum they keep."""
    tensors, about = load_file(folder / WEIGHTS), read_about(folder)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"about_sha256": about.sha256})


class Bomb:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (open, (str(self.canary), "w"))


CHANGES = {
    "classes changed": lambda f: spoil_about(f, lambda a: a["classes"].reverse()),
    "a class twice": lambda f: spoil_about(f, lambda a: a.update(classes=[a["classes"][0]] * 3)),
    "depth changed": lambda f: spoil_about(f, lambda a: a["cell"].update(depth=1 - min(a["cell"]["depth"], 1))),
    "mean changed": lambda f: spoil_about(f, lambda a: a["expected"].update(mean=[0, 0, 0])),
    "temperature 0": lambda f: spoil_about(f, lambda a: a.update(temperature=0)),
    "unknown key": lambda f: spoil_about(f, lambda a: a.update(command="rm")),
    "another schema": lambda f: spoil_about(f, lambda a: a.update(schema=2)),
    "an option": lambda f: spoil_about(f, lambda a: a["cell"]["weights"]["options"].update(checkpoint_path="x")),
    "not JSON": lambda f: (f / ABOUT).write_text("{"),
    "huge JSON": lambda f: (f / ABOUT).write_text(" " * (5 << 20)),
    "deep JSON": lambda f: (f / ABOUT).write_text("[" * 100_000),
    "no JSON": lambda f: (f / ABOUT).unlink(),
    "no weights": lambda f: (f / WEIGHTS).unlink(),
    "torn weights": lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-100]),
    "empty weights": lambda f: (f / WEIGHTS).write_bytes(b""),
    "endless header": lambda f: (f / WEIGHTS).write_bytes(struct.pack("<Q", 2**63) + b"{}"),
    "long header": lambda f: (f / WEIGHTS).write_bytes(struct.pack("<Q", 1 << 30) + b"{}"),
    "header is a list": lambda f: (f / WEIGHTS).write_bytes(struct.pack("<Q", 2) + b"[]"),
    "NaN": lambda f: spoil_weights(f, lambda t: t["head.linear.weight"].fill_(float("nan"))),
    "infinity in the head": lambda f: spoil_weights(f, lambda t: t["head.linear.bias"].fill_(float("inf"))),
    "a tensor less": lambda f: spoil_weights(f, lambda t: t.pop("head.linear.bias")),
    "a tensor more": lambda f: spoil_weights(f, lambda t: t.update(extra=torch.zeros(2))),
    "another shape": lambda f: spoil_weights(f, lambda t: t.update({"head.linear.bias": torch.zeros(9)})),
    "another type": lambda f: spoil_weights(f, lambda t: t.update({"head.linear.bias": t["head.linear.bias"].half()})),
    "rows of the head swapped": lambda f: spoil_weights(
        f, lambda t: t.update({"head.linear.weight": t["head.linear.weight"].flip(0).contiguous()})
    ),
    "one huge weight": lambda f: spoil_weights(f, lambda t: t["head.linear.weight"][0, 0].fill_(3e38)),
    "a class more in the head": lambda f: spoil_weights(
        f, lambda t: t.update({"head.linear.weight": torch.zeros(9, t["head.linear.weight"].shape[1])})
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_does_not_fit_together_is_refused(change, copy):
    change(copy)
    with pytest.raises(BundleError):
        package.load(copy)


def test_one_flipped_bit_in_the_weights_is_found_wherever_it_is(copy):
    content, rng = (copy / WEIGHTS).read_bytes(), np.random.default_rng(0)
    (length,) = struct.unpack("<Q", content[:8])
    for place in [*rng.integers(0, 8 + length, 20), *rng.integers(8 + length, len(content), 20), len(content) - 1]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        (copy / WEIGHTS).write_bytes(flipped)
        with pytest.raises(BundleError):
            package.load(copy)


def test_bundles_without_a_checksum_of_their_weights_are_of_older_versions_and_are_read(copy):
    about = read_about(copy).model_copy(update={"tensors_sha256": None})
    assert "tensors_sha256" not in about.canonical()
    (copy / ABOUT).write_text(about.canonical())
    save_file(load_file(copy / WEIGHTS), copy / WEIGHTS, {"about_sha256": about.sha256})
    assert package.load(copy).classes == about.classes


def test_a_card_holds_no_html_and_no_table_of_a_users_words(bundle):
    about = read_about(bundle)
    names = ("<img src=x onerror=alert(1)>", "a|b", "**QSO** [x](javascript:alert(1))")
    scores = about.scores | {"per_class": dict(zip(names, about.scores["per_class"].values(), strict=True))}
    expected = about.expected.model_copy(update={"bands": ("<b>g", "r", "i")})
    changed = about.model_copy(update={"classes": names, "scores": scores, "expected": expected, "name": "<h1>x"})
    body = model_card(changed, False).split("---\n", 2)[2]
    assert not re.search(r"<(img|b|h1)", body)
    assert r"a\|b" in body
    assert "[x](" not in body


@pytest.mark.parametrize("name", [WEIGHTS, ABOUT, ONNX])
def test_a_pickle_in_any_place_is_never_run(name, copy, tmp_path):
    canary = tmp_path / "canary"
    (copy / name).write_bytes(pickle.dumps(Bomb(canary)))
    if name == ONNX:
        package.load(copy)  # which does not look at it
    else:
        with pytest.raises(BundleError):
            package.load(copy)
    assert not canary.exists()


def test_overlapping_offsets_and_double_names_are_refused(copy):
    about = read_about(copy)
    meta = f'"__metadata__": {{"about_sha256": "{about.sha256}"}}'
    for entry in (
        '"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "F32", "shape": [2], '
        '"data_offsets": [4, 12]}',
        '"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "a": {"dtype": "F32", "shape": [1], '
        '"data_offsets": [4, 8]}',
        '"a": {"dtype": "F32", "shape": [1000000000], "data_offsets": [0, 4000000000]}',
    ):
        header = f"{{{meta}, {entry}}}".encode()
        (copy / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + bytes(12))
        with pytest.raises(BundleError):
            package.load(copy)


def test_a_torn_header_is_refused_wherever_it_is_cut(copy):
    content = (copy / WEIGHTS).read_bytes()
    rng = np.random.default_rng(0)
    for end in [*range(0, 40, 3), *rng.integers(40, len(content), 30)]:
        (copy / WEIGHTS).write_bytes(content[:end])
        with pytest.raises(BundleError):
            package.load(copy)


def test_export_on_the_command_line(bundle, skythaw, skythaw_process, tmp_path):
    run = run_of(bundle)
    done = skythaw_process("export", run, tmp_path / "b", "--no-onnx", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["classes"] == list(read_about(bundle).classes)
    assert not (tmp_path / "b" / ONNX).exists()
    assert skythaw("export", run, tmp_path / "b", "--no-onnx").returncode == 0, "a bundle may be replaced"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["RUN", "there"], "exists and is no bundle"),
        (["RUN", "new", "--cell", "0123456789"], "has 0 finished cells whose keys begin with '0123456789'"),
        (["RUN", "new", "--cell", "01"], "give at least 6 letters"),
        (["nowhere", "new"], "nowhere"),
        (["RUN", "new", "--data", "other.parquet"], "other.parquet"),
    ],
)
def test_what_can_not_be_exported_is_one_clear_line(arguments, words, bundle, skythaw, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "precious").write_text("x")
    done = skythaw("export", *[run_of(bundle) if a == "RUN" else a for a in arguments], cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["precious"]


def test_every_cell_of_the_run_can_be_exported(bundle, tmp_path):
    with Ledger.read(run_of(bundle)) as ledger:
        keys = [entry.key for entry in ledger.entries()]
    for key in keys:
        about = export(run_of(bundle), tmp_path / key, cell=key[:12], onnx=False)
        assert about.cell.key == key
        package.load(tmp_path / key)
    assert issubclass(BundleError, SkythawError)

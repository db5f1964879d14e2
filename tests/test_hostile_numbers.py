"""Bundles whose numbers were spoilt: each is refused in one line, before anything of them is believed."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save

import skythaw
from helpers_numbers import MAGNITUDES, make_numbered_bundle
from skythaw.bundle.bundle_file import ABOUT, NUMBERS, WEIGHTS, read_about
from skythaw.bundle.number_half import read_number_half
from skythaw.cli import main
from skythaw.data.cutouts import read_cutouts
from skythaw.errors import BundleError, DataError
from skythaw.tables.number_models import fit_boosting


@pytest.fixture(scope="module")
def made(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("both")
    make_numbered_bundle(folder, cache)
    return folder


def spoilt_bundle(made, folder, change=None, about=None):
    """The bundle with other arrays of numbers, or another description, and checksums that belong to them."""
    folder.mkdir()
    content = json.loads((made / "bundle" / ABOUT).read_text())
    arrays = load_file(made / "bundle" / NUMBERS)
    if change:
        change(arrays)
    data = save({name: np.ascontiguousarray(each) for name, each in arrays.items()})
    (folder / NUMBERS).write_bytes(data)
    content["files"] = {NUMBERS: hashlib.sha256(data).hexdigest()}
    if about:
        about(content)
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    (folder / ABOUT).write_text(text)
    own = {"about_sha256": hashlib.sha256(text.encode()).hexdigest()}
    (folder / WEIGHTS).write_bytes(save(load_file(made / "bundle" / WEIGHTS), own))
    return folder


def at(name, value):
    """Another first value of an array."""

    def change(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name].reshape(-1)[0] = value

    return change


def said_of(**about):
    return lambda content: content["numbers"].update(about)


def of_settings(**settings):
    return lambda content: content["cell"]["numbers"].update(settings)


HOSTILE_ARRAYS = {
    "a scale that is 0": at("model.scale", 0),
    "a scale that is NaN": at("model.scale", np.nan),
    "a base that is infinite": at("model.base", np.inf),
    "one number less": lambda a: a.update({n: a[n][:-1] for n in ("model.middle", "model.scale")}),
    "no middle": lambda a: a.pop("model.middle"),
    "another type": lambda a: a.update({"model.base": a["model.base"].astype(np.float32)}),
    "one array more": lambda a: a.update({"other.x": np.zeros(1)}),
    "a name without a part": lambda a: a.update({"model": np.zeros(1)}),
    "a stack that is not wanted": lambda a: a.update({"stack.z": np.zeros(3)}),
    "no description": lambda a: a.pop("model.about"),
    "a description that is no JSON": lambda a: a.update({"model.about": np.zeros(5, np.uint8)}),
    "a deep description": lambda a: a.update({"model.about": np.full(200_000, ord("["), np.uint8)}),
}
HOSTILE_TEXTS = {
    "no numbers": lambda c: c.pop("numbers"),
    "numbers of a cell on images": lambda c: c["cell"].update(inputs="images"),
    "no settings": lambda c: c["cell"].pop("numbers"),
    "no columns": of_settings(columns=[], measured=False),
    "one column more": of_settings(columns=[*MAGNITUDES, "modelMag_z"]),
    "nothing measured": of_settings(measured=False),
    "a name twice": lambda c: c["numbers"]["names"].__setitem__(0, c["numbers"]["names"][1]),
    "another name": lambda c: c["numbers"]["names"].__setitem__(0, "x"),
    "an odd name": lambda c: c["numbers"]["names"].__setitem__(0, "\x1b[2J"),
    "no name": said_of(names=[]),
    "many names": said_of(names=[f"n{i}" for i in range(100_000)]),
    "another kind": lambda c: c["numbers"]["kinds"].update(modelMag_r="os.system"),
    "a softening of 0": lambda c: c["numbers"]["kinds"].update(modelMag_r="flux/0"),
    "another model": lambda c: c["numbers"].update(model={"forest": "linear"}.get(c["numbers"]["model"], "forest")),
    "no such model": said_of(model="pickle"),
    "no such fusion": said_of(fusion="product"),
    "a temperature of 0": said_of(temperature=0),
    "no scores": said_of(scores={}),
    "no file": lambda c: c["files"].clear(),
    "another checksum": lambda c: c["files"].update({NUMBERS: "0" * 64}),
    "a class more": lambda c: c["classes"].append("NOVA"),
}


@pytest.mark.parametrize("name", [*HOSTILE_ARRAYS, *HOSTILE_TEXTS])
def test_a_spoilt_bundle_is_refused_in_one_line(made, tmp_path, name):
    folder = spoilt_bundle(made, tmp_path / "bundle", HOSTILE_ARRAYS.get(name), HOSTILE_TEXTS.get(name))
    with pytest.raises(BundleError) as refusal:
        read_number_half(folder, read_about(folder))
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).isprintable()


def test_what_was_not_spoilt_is_read(made, tmp_path):
    folder = spoilt_bundle(made, tmp_path / "bundle")
    assert read_number_half(folder, read_about(folder)).wants.columns == MAGNITUDES


TREES = {
    "a node that is not there": ("left", 10**6),
    "a node before the first": ("right", -1),
    "a tree that goes round": ("left", 0),
    "a number that is not there": ("column", 10**6),
    "a leaf that is not finite": ("value", np.nan),
    "a root that is not there": ("root", 10**6),
}


@pytest.mark.parametrize("name", ["", *TREES])
def test_trees_that_lead_elsewhere_are_refused(made, tmp_path, name):
    rng = np.random.default_rng(0)
    about = read_about(made / "bundle")
    values, targets = rng.normal(size=(60, len(about.numbers.names))), np.arange(60) % 3
    arrays = {f"model.{key}": each for key, each in fit_boosting(values, targets, 3, 0).to_arrays().items()}
    if name:
        key, value = TREES[name]
        at(f"model.tree_{key}", value)(arrays)

    def boosted(kept):
        stack = {key: each for key, each in kept.items() if key.startswith("stack.")}
        kept.clear()
        kept.update(arrays | stack)

    folder = spoilt_bundle(made, tmp_path / "bundle", boosted, said_of(model="boosting"))
    if not name:
        assert read_number_half(folder, read_about(folder)).model.kind == "boosting"
        return
    with pytest.raises(BundleError, match="can't be used"):
        read_number_half(folder, read_about(folder))


@pytest.mark.parametrize(
    "change", [None, at("stack.bias", np.nan), at("stack.weights", 1e9), lambda a: a.pop("stack.bias")]
)
def test_a_stack_is_checked(made, tmp_path, change):
    def stacked(arrays):
        arrays |= {"stack.weights": np.zeros((3, 6)), "stack.bias": np.zeros(3)}
        if change:
            change(arrays)

    folder = spoilt_bundle(made, tmp_path / "bundle", stacked, said_of(fusion="stack"))
    if change is None:
        p = read_number_half(folder, read_about(folder)).judge(np.log([[0.8, 0.1, 0.1]]), np.ones((1, 52))).p
        assert np.allclose(p, 1 / 3)
        return
    with pytest.raises(BundleError, match="stack"):
        read_number_half(folder, read_about(folder))


def test_a_classifier_may_measure_all_its_numbers(made, tmp_path, capsys):
    rng = np.random.default_rng(0)
    names = [name for name in read_about(made / "bundle").numbers.names if not name.startswith("modelMag")]
    values, targets = rng.normal(size=(60, len(names))), np.arange(60) % 3
    own = {f"model.{key}": each for key, each in fit_boosting(values, targets, 3, 0).to_arrays().items()}

    def measured(arrays):
        arrays.clear()
        arrays.update(own)

    def about(content):
        content["numbers"].update(names=names, kinds={}, model="boosting", fusion="mean")
        content["cell"]["numbers"].update(columns=[])

    folder = spoilt_bundle(made, tmp_path / "bundle", measured, about)
    classifier = skythaw.load(folder)
    _, data, _ = next(read_cutouts(made / "survey.parquet").images())
    assert classifier.outputs([data]).inputs.tolist() == ["both"]
    with pytest.raises(DataError, match="leave out the table"):
        classifier.predict([data], table={"modelMag_r": [17.0]})
    with pytest.raises(SystemExit) as end:
        main(["predict", str(folder), str(made / "survey.parquet"), "-o", str(tmp_path / "out.parquet")])
    assert end.value.code == 0
    assert set(pq.read_table(tmp_path / "out.parquet")["inputs"].to_pylist()) == {"both"}
    (tmp_path / "table.csv").write_text("object_id,modelMag_r\n1,17.0\n")
    arguments = ["-o", str(tmp_path / "other.parquet"), "--table", str(tmp_path / "table.csv")]
    with pytest.raises(SystemExit) as end:
        main(["predict", str(folder), str(made / "survey.parquet"), *arguments])
    assert end.value.code == 2
    assert "what is measured from them" in capsys.readouterr().err

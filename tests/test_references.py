"""The training images of a bundle: which they are, how far others are from them, and nothing of a file is believed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.numpy import load, save
from safetensors.torch import load_file
from safetensors.torch import save as save_torch

import skythaw as package
from helpers_bundle import make_bundle
from helpers_data import encode
from helpers_study import COLUMNS as SKY_COLUMNS
from helpers_study import make_survey
from skythaw.backbones.pretrained_weights import RANDOM
from skythaw.bundle.bundle_file import ABOUT, CARD, REFERENCES, WEIGHTS, read_about
from skythaw.bundle.export.export_bundle import export
from skythaw.bundle.export.pick_references import rows_of
from skythaw.bundle.references import LARGEST_IMAGE, MOST, K, from_bytes
from skythaw.cli import main
from skythaw.data.cutouts import read_cutouts, write_cutouts
from skythaw.data.decode import decode
from skythaw.errors import BundleError
from skythaw.predict.predict_images import PredictSettings, predict_to
from skythaw.study.cell_sets import load_sets
from skythaw.tuning.locations import Locations


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("bundle"), cache)


@pytest.fixture(scope="module")
def classifier(bundle):
    return package.load(bundle, device="cpu")


@pytest.fixture(scope="module")
def bare(bundle):
    """The same cell without training images."""
    export(bundle.parent / "run", bundle.parent / "bare", cell=read_about(bundle).cell.key, references=0, onnx=False)
    return bundle.parent / "bare"


@pytest.fixture(scope="module")
def cutouts(bundle):
    return read_cutouts(bundle.parent / "survey.parquet")


def pixels(cutouts, rows):
    every = [decode(data, name) for name, data, _ in cutouts.images()]
    return np.stack([every[row] for row in rows])


def test_a_training_image_is_its_own_nearest(classifier, cutouts):
    rows, _ = rows_of(classifier.about.cell, cutouts)
    features = classifier.outputs(pixels(cutouts, rows)).features
    references = classifier.references
    assert len(references) == len(rows)
    usual = float(np.median(references.space.validation))
    for row, near in zip(rows, references.nearest(features, 3), strict=True):
        assert near[0].object_id == cutouts.object_ids[row]
        assert near[0].label == cutouts.labels[row]
        assert near[0].distance < 1e-3 * usual
        assert near[0].distance < near[1].distance <= near[2].distance


def test_the_distance_is_to_the_kth_neighbour(classifier, cutouts):
    features = classifier.outputs(pixels(cutouts, range(20))).features
    wanted = [near[K - 1].distance for near in classifier.references.nearest(features, K)]
    found = classifier.references.distances(features)
    assert found.dtype == np.float32
    assert np.allclose(found, wanted, rtol=1e-6)
    alone = [classifier.references.distances(features[i : i + 1])[0] for i in range(20)]
    assert np.array_equal(found, alone), "the images beside it don't matter"


def test_places_are_what_the_paper_and_the_docstring_say(classifier, cutouts):
    """By another way: the whole basis by singular values, what is left out by subtraction."""
    references, cell = classifier.references, classifier.about.cell
    train = pixels(cutouts, rows_of(cell, cutouts)[0])
    x = classifier.outputs(train).features.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    off = x - x.mean(0)
    dimensions = references.space.basis.shape[1]
    assert dimensions == len(train) // 4
    basis = np.linalg.svd(off, full_matrices=False)[2][:dimensions].T
    rest = np.linalg.norm(off - off @ basis @ basis.T, axis=1)
    mine = np.column_stack([off @ basis, 3 * rest])

    def apart(place):
        return np.linalg.norm(place[:, None] - place, axis=2)

    assert np.allclose(apart(mine), apart(references.space.training.astype(np.float64)), atol=1e-5)


def test_a_thumbnail_is_the_crop_that_the_network_saw(classifier, cutouts):
    references = classifier.references
    crop, side = classifier.about.cell.pixels.crop, classifier.about.expected.side
    low = (side - crop) // 2
    rows, _ = rows_of(classifier.about.cell, cutouts)
    for row, image in list(zip(rows, references.images.thumbnails, strict=True))[:10]:
        thumbnail = decode(image, "?").astype(float)
        assert thumbnail.shape == (crop, crop, 3)
        wanted = pixels(cutouts, [row])[0, low : low + crop, low : low + crop].astype(float)
        assert np.abs(thumbnail - wanted).mean() < 6, "JPEG twice"


@pytest.mark.parametrize("external", [False, True])
def test_the_rows_are_those_of_the_cell(classifier, bundle, cutouts, cache, tmp_path, external):
    cell = classifier.about.cell
    test = make_survey(tmp_path / "test.parquet", 30, seed=5, prefix="5") if external else None
    cell = cell.model_copy(update={"test_sha256": test and read_cutouts(test).sha256})
    check_rows(cell, Locations(bundle.parent / "survey.parquet", test, RANDOM, cache, tmp_path), cutouts)


def test_the_rows_are_those_of_the_cell_where_images_are_broken(classifier, bundle, cutouts, cache, tmp_path):
    """One that can't be decoded, one whose bytes differ from the checksum, among those that would be drawn."""
    (first, second, *_), _ = rows_of(classifier.about.cell, cutouts)
    table = [
        {"object_id": name, "label": str(label), "image": data, "run": 752, "camcol": 1 + i // 6 % 5, "field": i // 6}
        for i, ((name, data, _), label) in enumerate(zip(cutouts.images(), cutouts.labels, strict=True))
    ]
    table[first]["image"] = table[first]["image"][:300]
    write_cutouts(tmp_path / "broken.parquet", table, SKY_COLUMNS, {"source": "test"})
    content = (tmp_path / "broken.parquet").read_bytes()
    at = content.index(table[second]["image"]) + 400
    (tmp_path / "broken.parquet").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    broken = read_cutouts(tmp_path / "broken.parquet")
    cell = classifier.about.cell.model_copy(update={"data_sha256": broken.sha256, "skip_broken": True})
    training = check_rows(cell, Locations(tmp_path / "broken.parquet", None, RANDOM, cache, tmp_path), broken)
    assert not {first, second} & set(training)


def check_rows(cell, locations, cutouts):
    ids = load_sets(cell, locations, torch.device("cpu")).ids
    training, validation = rows_of(cell, cutouts)
    assert [cutouts.object_ids[row] for row in training] == ids["train"]
    assert [cutouts.object_ids[row] for row in validation] == ids["validation"]
    assert len(training) == cell.train_size
    return training.tolist()


def test_the_bundle_keeps_the_cells_training_images(classifier, cutouts):
    rows, _ = rows_of(classifier.about.cell, cutouts)
    kept = classifier.references.images
    assert kept.object_ids == [cutouts.object_ids[row] for row in rows]
    assert kept.labels == cutouts.labels[rows].tolist()


def test_percentiles_are_ranks_among_validation(classifier, cutouts):
    references = classifier.references
    _, rows = rows_of(classifier.about.cell, cutouts)
    held = references.space.validation
    assert len(held) == len(rows)
    ranks = np.sort(references.percentiles(held))
    assert np.allclose(ranks, 100 * np.arange(len(held)) / len(held)), "uniform, from 0"
    again = np.sort(references.percentiles(references.distances(classifier.outputs(pixels(cutouts, rows)).features)))
    assert np.allclose(again, ranks, atol=100.01 / len(held)), "from the images themselves: rounding moves one rank"
    assert references.percentiles(np.float32([0, 1e9])).tolist() == [0, 100]


def test_what_is_no_sky_is_far(classifier, cutouts):
    rng, references = np.random.default_rng(0), classifier.references
    stack = pixels(cutouts, range(30))
    strangers = {
        "noise": rng.integers(0, 256, stack.shape, np.uint8),
        "negative": 255 - stack,
        "white": np.full((1, *stack.shape[1:]), 255, np.uint8),
    }
    for name, images in strangers.items():
        distances = references.distances(classifier.outputs(images).features)
        assert (distances > np.median(references.space.validation)).all(), name
        assert (references.percentiles(distances) > 90).all(), name


def test_numbers_that_are_not_finite_are_no_place(classifier):
    features = np.full((2, classifier.about.features), np.inf, np.float32)
    assert np.isnan(classifier.references.distances(features)).all()


def test_no_images_have_no_distances(classifier):
    features = np.zeros((0, classifier.about.features), np.float32)
    assert classifier.references.distances(features).shape == (0,)
    assert classifier.references.nearest(features, 3) == []


@pytest.mark.soak
def test_the_same_export_gives_the_same_bytes(bundle, tmp_path):
    export(bundle.parent / "run", tmp_path / "again", cell=read_about(bundle).cell.key)
    for name in (REFERENCES, ABOUT):
        assert (tmp_path / "again" / name).read_bytes() == (bundle / name).read_bytes()


@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_few_are_kept_with_the_classes_in_turn(bundle, tmp_path, cutouts, count):
    export(bundle.parent / "run", tmp_path / "few", cell=read_about(bundle).cell.key, references=count, onnx=False)
    classifier = package.load(tmp_path / "few", device="cpu")
    kept = classifier.references.images.labels
    assert len(kept) == count
    assert max(map(kept.count, kept)) <= count // 3 + 1
    features = classifier.outputs(pixels(cutouts, range(8))).features
    assert np.isfinite(classifier.references.distances(features)).all()
    assert len(classifier.references.nearest(features, 6)[0]) == min(6, count)


def test_a_bundle_without(bare, bundle, cutouts, tmp_path, capsys):
    assert not list(bare.glob("references.*"))
    assert package.load(bare).references is None
    (tmp_path / "one.jpg").write_bytes(next(cutouts.images())[1])
    predict_to(bare, [tmp_path / "one.jpg"], tmp_path / "p.parquet", PredictSettings(device="cpu"))
    assert not {"distance", "percentile"} & set(pq.read_table(tmp_path / "p.parquet").column_names)
    main_ok("explain", bare, tmp_path / "one.jpg", "-o", tmp_path / "why.png")
    assert "This bundle keeps no training images to compare with." in capsys.readouterr().out
    assert REFERENCES not in (bare / CARD).read_text()
    assert f"`{REFERENCES}` holds the ids, labels and thumbnails" in (bundle / CARD).read_text()


def main_ok(*arguments):
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments)])
    assert not end.value.code


@pytest.mark.parametrize("count", [-1, MOST + 1])
def test_as_many_as_cannot_be(bundle, tmp_path, capsys, count):
    with pytest.raises(SystemExit, match="2"):
        main(["export", str(bundle.parent / "run"), str(tmp_path / "x"), "--references", str(count)])
    error = capsys.readouterr().err
    assert error == f"error: references = {count}: a bundle keeps 0 to {MOST} training images\n"
    assert not (tmp_path / "x").exists()


def test_predict_gives_what_references_say_and_nothing_for_broken_images(classifier, bundle, cutouts, tmp_path):
    names = [f"{i}.jpg" for i in range(12)]
    for name, (_, data, _) in zip(names, cutouts.images(), strict=False):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "5.jpg").write_bytes(b"no image")
    predict_to(bundle, [tmp_path / name for name in names], tmp_path / "p.parquet", PredictSettings(device="cpu"))
    table = pq.read_table(tmp_path / "p.parquet").to_pylist()
    good = [i for i in range(12) if i != 5]
    assert [i for i, row in enumerate(table) if row["status"] == "ok"] == good
    assert (table[5]["distance"], table[5]["percentile"]) == (None, None)
    distances = classifier.references.distances(classifier.outputs(pixels(cutouts, good)).features)
    assert np.allclose([table[i]["distance"] for i in good], distances, rtol=1e-4, atol=1e-6)
    found = np.float32([table[i]["distance"] for i in good])
    assert [table[i]["percentile"] for i in good] == classifier.references.percentiles(found).tolist()


# What somebody may have changed


def remade(bundle, folder, data):
    """A bundle with another file of training images, that fits together: all checksums are right."""
    shutil.copytree(bundle, folder)
    about = json.loads((folder / ABOUT).read_text())
    (folder / REFERENCES).write_bytes(data)
    about["files"][REFERENCES] = hashlib.sha256(data).hexdigest()
    text = json.dumps(about, indent=2, sort_keys=True) + "\n"
    (folder / ABOUT).write_text(text)
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).write_bytes(save_torch(tensors, {"about_sha256": hashlib.sha256(text.encode()).hexdigest()}))
    return folder


def test_a_file_that_is_changed_or_gone_is_refused(bundle, tmp_path):
    folder = shutil.copytree(bundle, tmp_path / "x")
    data = (folder / REFERENCES).read_bytes()
    (folder / REFERENCES).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BundleError, match=f"{REFERENCES} is not the one that the bundle was made with: its checksum"):
        package.load(folder)
    (folder / REFERENCES).unlink()
    with pytest.raises(BundleError, match=f"can't read {REFERENCES}: No such file"):
        package.load(folder)


def raw(header):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4)


def hostile(tensors):
    """Content of the file, and what is said of it."""

    def but(**changes):
        return save(tensors | {name: np.ascontiguousarray(value) for name, value in changes.items()})

    def ids(value):
        return but(object_id=np.frombuffer(json.dumps(value).encode(), np.uint8))

    place, held, mean, basis = (tensors[name] for name in ("place", "held", "mean", "basis"))
    label, ends, names = tensors["label"], tensors["image_end"], json.loads(tensors["object_id"].tobytes())
    spoilt, infinite, large = place.copy(), basis.copy(), place.copy()
    spoilt[3, 2], infinite[0, 0], large[0, 0] = np.nan, np.inf, 1e30
    rows, exabyte = len(place), {"dtype": "F32", "shape": [1 << 60, 9], "data_offsets": [0, 4]}
    yield b"", "can't read"
    yield b"\x08", "can't read"
    yield (1 << 60).to_bytes(8, "little") + b"{}", "can't read"
    yield raw({"place": exabyte}), "can't read"
    yield raw({"place": exabyte | {"data_offsets": [0, 1 << 62]}}), "can't read"
    yield raw({"place": exabyte | {"shape": [1], "dtype": "F8_E4M3"}}), "can't read|is missing"
    yield save({name: value for name, value in tensors.items() if name != "held"}), "the tensor 'held' is missing"
    yield but(more=mean), "the tensor 'more'"
    yield but(place=place.ravel()), "shapes"
    yield but(mean=mean[:-1]), "shapes"
    yield but(basis=basis[:-1]), "shapes"
    yield but(basis=basis[:, :-1]), "shapes"
    yield but(basis=basis[:, :0], place=place[:, :1]), "shapes"
    yield but(basis=np.zeros((len(mean), 65), np.float32), place=np.zeros((rows, 66), np.float32)), "shapes"
    yield but(place=place[:0]), "0 training"
    yield but(held=held[:0]), "0 validation"
    yield but(place=np.zeros((MOST + 1, place.shape[1]), np.float32)), f"{MOST + 1} training"
    yield but(place=spoilt), "place should be float32"
    yield but(basis=infinite), "basis should be float32"
    yield but(place=large), "place should be float32"
    yield but(held=held.astype(np.float64)), "held should be float32"
    yield but(mean=np.ones(mean.shape, np.int32)), "mean should be float32"
    yield but(label=label.astype(np.int32)), "label should be a row of int64, not int32"
    yield but(label=label[None]), "label should be a row"
    yield but(label=label[1:]), f"{rows - 1} labels and {rows} images for {rows} rows of coordinates"
    yield but(label=label - 1), "a label is none of the 3 classes"
    yield but(label=label + 1), "a label is none of the 3 classes"
    yield but(image_end=ends[1:]), f"{rows} labels and {rows - 1} images"
    yield but(image_end=ends[::-1]), "image_end points outside of the images"
    yield but(image_end=ends - ends[-1]), "image_end points outside of the images"
    yield but(image_end=np.where(np.arange(rows) == 3, -(1 << 63), ends)), "image_end points outside of the images"
    yield but(image_end=np.where(np.arange(rows) == 3, (1 << 63) - 1, ends)), "image_end points outside of the images"
    yield (
        but(image=np.zeros(LARGEST_IMAGE + 1, np.uint8), image_end=np.full(rows, LARGEST_IMAGE + 1)),
        f"an image has more than {LARGEST_IMAGE} bytes",
    )
    yield but(object_id=tensors["object_id"][:0]), "Expecting value"
    yield but(object_id=np.frombuffer(b"[" * 9999, np.uint8)), "recursion"
    yield but(object_id=np.frombuffer(b'["\xff"]', np.uint8)), "utf-8"
    yield but(object_id=np.zeros(1001 * rows, np.uint8)), f"a list of {rows} texts"
    yield ids(names[1:]), f"a list of {rows} texts"
    yield ids(dict.fromkeys(names)), f"a list of {rows} texts"
    yield ids([*names[1:], 3]), "a printable text of at most 1000 letters"
    yield ids([*names[1:], "x" * 1001]), "a printable text of at most 1000 letters"
    yield ids([*names[1:], "\x1b[31m"]), "a printable text of at most 1000 letters"
    yield ids([*names[1:], "\ud800"]), "a printable text of at most 1000 letters"


def test_what_cannot_be_is_refused_though_all_checksums_are_right(bundle, tmp_path):
    tensors = load((bundle / REFERENCES).read_bytes())
    about = read_about(bundle)
    for data, says in hostile(tensors):
        with pytest.raises(BundleError, match=says) as caught:
            from_bytes(data, about, bundle / REFERENCES)
        assert str(caught.value).isprintable()
        last = data
    with pytest.raises(BundleError, match="a printable text of at most 1000 letters"):
        package.load(remade(bundle, tmp_path / "x", last))


def test_flipped_bits_end_in_one_line_or_in_numbers(bundle, classifier, cutouts):
    """Checksums made right: never another error."""
    good, rng, outcomes = (bundle / REFERENCES).read_bytes(), np.random.default_rng(0), []
    features = classifier.outputs(pixels(cutouts, range(2))).features
    for trial in range(1000):
        bad = bytearray(good)
        bad[int(rng.integers(900 if trial % 2 else len(bad)))] ^= 1 << int(rng.integers(8))
        with contextlib.suppress(BundleError):
            found = from_bytes(bytes(bad), classifier.about, bundle)
            found.nearest(features, 3)
            outcomes.append(found.distances(features))
    assert 0 < len(outcomes) < 1000
    assert np.isfinite(outcomes).all()


def test_thumbnails_that_are_none_do_no_harm(bundle, tmp_path, cutouts):
    tensors = load((bundle / REFERENCES).read_bytes())
    bomb = encode(Image.new("1", (10_000, 10_000)), "PNG")
    odd = [b"", bytes(999), bomb, b"SIMPLE  =", tensors["image"].tobytes()[:200]]
    images = [odd[i % len(odd)] for i in range(len(tensors["label"]))]
    tensors["image"] = np.frombuffer(b"".join(images), np.uint8)
    tensors["image_end"] = np.cumsum([len(image) for image in images])
    folder = remade(bundle, tmp_path / "x", save(tensors))
    (tmp_path / "one.jpg").write_bytes(next(cutouts.images())[1])
    main_ok("explain", folder, tmp_path / "one.jpg", "-o", tmp_path / "why.png")
    with Image.open(tmp_path / "why.png") as picture:
        picture.load()

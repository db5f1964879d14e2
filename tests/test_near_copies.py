"""Images that were compressed again or scaled are told by their noise, and stay together in every split."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from helpers_data import CLASSES, FIELD, encode
from helpers_soak import fuzz
from helpers_study import write_study
from skythaw.bundle.export.pick_references import rows_of
from skythaw.data.cutouts import read_cutouts, write_cutouts
from skythaw.data.inspect import inspect
from skythaw.data.near_copies import MOST, SIDE, TABLES, Signatures, _alike
from skythaw.data.pixel_store import open_store
from skythaw.data.twins import decoded_digests, near_copies_of, store_digests, twin_groups
from skythaw.errors import DataError
from skythaw.spec import Study
from skythaw.study.plan import make_plan
from skythaw.study.study_data import open_study_data


def sky(number: int, side: int = 48, exposure: int = 0, noise: float = 8) -> np.ndarray:
    """A spot on noisy sky as wide as the blur, uint8 [y, x, band]; another exposure has the spot and other noise."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:side, :side] - side / 2
    spot = rng.uniform(40, 250) * np.exp(-(x**2 + y**2) / rng.uniform(6, 60))
    grain = gaussian_filter(np.random.default_rng((number, exposure)).normal(0, 4 * noise, (side, side)), 1)
    return (
        (spot[..., None] * rng.uniform(0.5, 1, 3) + 30 + grain[..., None] * rng.uniform(0.8, 1.2, 3))
        .clip(0, 255)
        .astype(np.uint8)
    )


def again(pixels: np.ndarray, quality: int = 75) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encode(pixels, "JPEG", quality=quality))))


def scaled(pixels: np.ndarray) -> np.ndarray:
    small = Image.fromarray(pixels).resize((40, 40), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.BICUBIC))


def groups(images) -> list[int]:
    noise = Signatures(len(images))
    for row, pixels in enumerate(images):
        noise.add([row], pixels[None])
    return noise.groups().tolist()


@fuzz(40, st.integers(0, 2**31), st.integers(0, 9), st.sampled_from([again, scaled, lambda p: again(p, 90)]))
def test_near_copies_are_found_and_nothing_else(seed, copies, change):
    rng = np.random.default_rng(seed)
    images = [sky(int(number)) for number in rng.choice(10**6, 90, replace=False)]
    of = rng.choice(90, copies, replace=False)
    order = rng.permutation(90 + copies)
    images += [change(images[row]) for row in of]
    found = groups([images[row] for row in order])
    place = {int(row): position for position, row in enumerate(order)}
    expected = list(range(len(order)))
    for number, row in enumerate(of.tolist()):
        two = sorted((place[row], place[90 + number]))
        expected[two[1]] = two[0]
    assert found == expected


def test_two_exposures_of_one_object_are_two_images():
    assert groups([sky(1), sky(1, exposure=1), sky(2)]) == [0, 1, 2]


def test_images_without_noise_are_not_compared():
    y, x = np.mgrid[:48, :48] - 24
    star = np.exp(-(x**2 + y**2) / 20)[..., None].astype(np.float32)
    assert groups([n * star for n in range(1, 21)]) == list(range(20)), "stars that differ in brightness alone"
    black = np.zeros((48, 48, 3), np.uint8)
    assert groups([black, black, sky(1)]) == [0, 1, 2], "equal images are told by their pixels"
    assert groups([sky(1, SIDE - 1), sky(1, SIDE - 1)]) == [0, 1], "too small"
    assert groups([]) == []


def test_floats_of_any_scale_and_with_holes():
    images = [sky(n).astype(np.float32) for n in range(12)]
    copy = 1e-9 * images[3] + 5e-9
    copy[:2] = np.nan
    assert groups([*images, copy]) == [*range(12), 3]
    huge = 1e36 * images[3] - 1e38
    assert groups([*images, copy, huge]) == [*range(12), 3, 13], "sums beyond float32 are not compared, and no warning"


def test_images_that_fall_together_are_compared_in_parts(monkeypatch):
    monkeypatch.setattr("skythaw.data.near_copies.MOST", 20)
    images = [sky(n) for n in range(60)]
    assert groups([*images[:50], again(images[49]), *images[50:]]) == [*range(50), 49, *range(51, 61)]


def test_many_images_are_compared_in_parts():
    rng = np.random.default_rng(0)
    noise = Signatures(MOST + 900)
    pixels = rng.integers(0, 255, (MOST + 900, SIDE, SIDE, 1), dtype=np.uint8)
    pixels[-40:] = pixels[:40] // 2 + 9
    noise.add(np.arange(len(pixels)), pixels)
    assert noise.groups().tolist() == [*range(MOST + 860), *range(40)]


def test_many_copies_of_one_image_are_few_pairs(monkeypatch):
    monkeypatch.setattr("skythaw.data.near_copies.MOST", 100)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (1000, SIDE, SIDE, 1), dtype=np.uint8)
    pixels[:300] = pixels[0]
    noise = Signatures(1000)
    noise.add(np.arange(1000), pixels)
    kept = []
    monkeypatch.setattr(
        "skythaw.data.near_copies._alike",
        lambda some: kept.extend(_alike(some)) or kept,  # 300 copies: 44,850 pairs
    )
    assert noise.groups().tolist() == [0] * 300 + list(range(300, 1000))
    assert sum(pairs.shape[1] for pairs in kept) <= 2 * TABLES * 1000


def write(path, labels=CLASSES):
    """60 images in fields of their own, and each once more at another quality."""
    rows = []
    for number in range(60):
        for copy in range(2):
            pixels = sky(number)
            label = CLASSES[number % 3] if copy == 0 else labels[number % 3]
            data = encode(pixels, "PNG") if copy == 0 else encode(pixels, "JPEG", quality=80)
            name, place = f"{'ab'[copy]}{number}", {"run": 1, "camcol": 1, "field": len(rows)}
            rows.append({"object_id": name, "label": label, "image": data, **place})
    write_cutouts(path, rows, FIELD, {})
    return path


def study_of(folder):
    text = {'by = "field"': 'by = "field"', "[75]": "[30]", "seed = [0, 1]": "seed = [0]"}
    return Study.load(write_study(folder, replace=text))


def test_near_copies_stay_together_from_plan_to_bundle(tmp_path):
    cutouts = read_cutouts(write(tmp_path / "survey.parquet"))
    digests = store_digests(open_store(cutouts, tmp_path / "cache"))
    assert np.array_equal(digests, decoded_digests(cutouts))
    assert len(np.unique(twin_groups(cutouts, digests, "pixels"))) == 120
    assert len(np.unique(twin_groups(cutouts, digests))) == 60
    study = study_of(tmp_path)
    plan = make_plan(study, tmp_path / "cache")
    assert any("60 images are copies of others" in each for each in plan.warnings)
    assert plan.cells[0].cell.split.twins == "near"
    parts = open_study_data(study, tmp_path / "cache").parts
    seen = [{cutouts.object_ids[row][1:] for row in rows} for rows in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 60
    training, _ = rows_of(plan.cells[0].cell, cutouts)
    assert set(training) <= set(parts.train)


def test_inspect_lists_near_copies_and_those_with_two_labels(tmp_path, skythaw):
    found = inspect(write(tmp_path / "survey.parquet", labels=("STAR", *CLASSES[1:])))
    assert found["near_duplicates"] == [[f"a{n}", f"b{n}"] for n in range(60)]
    assert found["duplicates"] == []
    assert found["conflicts"] == [[f"a{n}", f"b{n}"] for n in range(0, 60, 3)]
    assert any("60 images are near copies of others" in each for each in found["warnings"])
    said = skythaw("data", "inspect", tmp_path / "survey.parquet").stdout
    assert "near duplicates: 60\n  a0 = b0" in said


def test_near_copies_with_two_labels_are_refused(tmp_path):
    open_store(read_cutouts(write(tmp_path / "survey.parquet", labels=("STAR", *CLASSES[1:]))), tmp_path / "cache")
    with pytest.raises(DataError, match=r"20 images are there with different labels: a0 \(GALAXY\) = b0 \(STAR\)"):
        make_plan(study_of(tmp_path), tmp_path / "cache")


def test_an_external_test_set_holds_no_near_copy(tmp_path):
    def rows(numbers, again):
        for n in numbers:
            data = encode(sky(n), "JPEG", quality=80) if n in again else encode(sky(n), "PNG")
            yield {"object_id": f"{n}", "label": CLASSES[n % 3], "image": data, "run": 1, "camcol": 1, "field": n}

    cache, text = tmp_path / "cache", 'path = "survey.parquet"'
    study = Study.load(
        write_study(
            tmp_path,
            replace={text: f'{text}\ntest_path = "other.parquet"', "[75]": "[30]", "[0, 1]": "[0]"},
        )
    )
    write_cutouts(tmp_path / "survey.parquet", rows(range(60), ()), FIELD, {})
    write_cutouts(tmp_path / "other.parquet", rows(range(100, 130), ()), FIELD, {})
    stores = [open_store(read_cutouts(tmp_path / f"{name}.parquet"), cache) for name in ("survey", "other")]
    assert len(open_study_data(study, cache).tested) == 30
    assert near_copies_of(*stores).tolist() == [-1] * 30
    again = [dict(row, object_id=f"t{row['object_id']}") for row in rows([*range(100, 129), 7], (7,))]
    write_cutouts(tmp_path / "other.parquet", again, FIELD, {})
    open_store(read_cutouts(tmp_path / "other.parquet"), cache)
    for _ in range(2):  # computed, and kept
        with pytest.raises(DataError, match=r"shares 1 images with .*survey.parquet, compressed again .*\(t7 = 7\)"):
            open_study_data(study, cache)


def test_digests_of_an_older_format_are_computed_again(tmp_path):
    store = open_store(read_cutouts(write(tmp_path / "survey.parquet")), tmp_path / "cache")
    wanted = store_digests(store).copy()
    file = Path(store.pixels.filename).with_name("digests")
    for old in (wanted[:, :2].tobytes(), b"", b"torn", bytes(8 * 121)):
        file.write_bytes(old)
        assert np.array_equal(store_digests(store), wanted)
        assert file.read_bytes() == wanted.tobytes()

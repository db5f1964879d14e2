"""Splits: no object and no group in two parts, shares kept, the same for a seed; overlaps on the sky are counted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st

from helpers_data import CLASSES, labelled, make
from helpers_soak import fuzz
from skythaw.data.overlaps import basis_of, overlapping, sky_pairs
from skythaw.data.split import nested_order, split
from skythaw.data.split_groups import groups
from skythaw.errors import DataError, SpecError
from skythaw.spec import Split

RANDOM = {"by": "random", "validation": 0.2, "test": 0.2}


def touched(cutouts, spec):
    """How many cutouts share sky with one in another part."""
    parts, part = split(cutouts, spec), np.full(len(cutouts), -1)
    for number, rows in enumerate((parts.train, parts.validation, parts.test)):
        part[rows] = number
    return overlapping(cutouts, part, 128).sum()


def of_groups(group_of: list[int], label_of: list[int]):
    return labelled([CLASSES[each] for each in label_of], patch=[int(each) for each in group_of])


@st.composite
def tables(draw):
    count = draw(st.integers(30, 150))
    patches = draw(st.integers(9, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    label = rng.choice(3, count, p=draw(st.sampled_from([(0.34, 0.33, 0.33), (0.6, 0.3, 0.1), (0.9, 0.05, 0.05)])))
    return of_groups((rng.pareto(1.0, count) * 5).astype(int) % patches, label)


@fuzz(150, tables(), st.integers(0, 99), st.booleans())
def test_parts_are_disjoint_whole_and_keep_groups_together(cutouts, seed, external):
    spec = Split(by="patch", validation=0.2, test=0.25, seed=seed)
    usable = np.arange(len(cutouts)) % 7 != 3
    assume(set(cutouts.labels[usable]) == set(cutouts.classes))  # else: the test below
    try:
        parts = split(cutouts, spec, usable=usable, external_test=external)
    except DataError as error:  # only where a class is in so few groups that other classes may need them all
        assert "would get none" in str(error)  # noqa: PT017 - it may also not be raised
        held = {
            (label, patch) for label, patch in zip(cutouts.labels[usable], cutouts.column("patch")[usable], strict=True)
        }
        assert min(sum(label == each for label, _ in held) for each in set(cutouts.labels[usable])) < 9
        return
    every = np.concatenate([parts.train, parts.validation, parts.test])
    assert np.array_equal(np.sort(every), np.flatnonzero(usable))
    patch = cutouts.column("patch")
    divided = [parts.train, parts.validation] if external else [parts.train, parts.validation, parts.test]
    seen = [set(patch[part]) for part in divided]
    assert sum(map(len, seen)) == len(set.union(*seen))
    for part in divided:
        assert set(cutouts.labels[part]) == set(cutouts.labels[usable])
        assert np.array_equal(part, np.sort(part))
    assert external == (len(parts.test) == 0)
    again = split(cutouts, spec, usable=usable, external_test=external)
    assert all(np.array_equal(getattr(parts, n), getattr(again, n)) for n in ("train", "validation", "test"))


def test_a_class_without_a_usable_image_is_named():
    cutouts = labelled(["GALAXY", "STAR", "QSO", "GALAXY", "STAR"] * 6)
    usable = cutouts.labels.astype(str) != "QSO"
    with pytest.raises(DataError, match=r"class 'QSO': not one of its 6 images is usable"):
        split(cutouts, Split(by="random"), usable=usable)


@fuzz(60, st.lists(st.integers(0, 2), min_size=30, max_size=200), st.integers(0, 9))
def test_single_objects_are_split_within_one_object_of_the_shares(label, seed):
    assume(min(np.bincount(label, minlength=3)) >= 3)
    cutouts = labelled([CLASSES[each] for each in label])
    parts = split(cutouts, Split(by="random", validation=0.2, test=0.3, seed=seed))
    for each, count in cutouts.counts.items():
        for part, share in ((parts.train, 0.5), (parts.validation, 0.2), (parts.test, 0.3)):
            assert abs((cutouts.labels[part] == each).sum() - share * count) <= 1.5


def test_equal_groups_give_the_shares():
    cutouts = of_groups([n // 12 for n in range(1200)], [n % 3 for n in range(1200)])
    parts = split(cutouts, Split(by="patch"))
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [720, 180, 300]
    other = split(cutouts, Split(by="patch", seed=1))
    assert not np.array_equal(parts.train, other.train)
    external = split(cutouts, Split(by="patch"), external_test=True)
    assert [len(external.train), len(external.validation), len(external.test)] == [1020, 180, 0]


def test_a_class_in_just_enough_groups_is_in_every_part():
    """The greedy choice alone would put two of the three into training."""
    group = [n // 3 for n in range(60)] + [100, 101, 102]
    cutouts = of_groups(group, [0, 1, 0] * 20 + [2, 2, 2])
    for seed in range(20):
        parts = split(cutouts, Split(by="patch", seed=seed))
        assert all("STAR" in cutouts.labels[part] for part in (parts.train, parts.validation, parts.test))


def test_classes_that_share_their_few_groups_are_in_every_part():
    """QSO is in groups a, b, c only; STAR in a, b, d, e: training must get d or e if a and b do not go there."""
    held = {"a": (1, 2), "b": (1, 2), "c": (1, 1, 1), "d": (2,), "e": (2,)}
    group = [n // 3 for n in range(60)] + [100 + "abcde".index(name) for name, labels in held.items() for _ in labels]
    cutouts = of_groups(group, [0] * 60 + [label for labels in held.values() for label in labels])
    for seed in range(20):
        parts = split(cutouts, Split(by="patch", seed=seed))
        assert all(set(cutouts.labels[part]) == set(CLASSES) for part in (parts.train, parts.validation, parts.test))


def test_one_large_group_goes_into_training_and_the_shares_hold():
    group = [0] * 200 + [1 + n // 5 for n in range(300)]
    cutouts = of_groups(group, [n % 3 for n in range(500)])
    for seed in range(20):
        parts = split(cutouts, Split(by="patch", seed=seed))
        assert 0 in parts.train
        assert [len(parts.train), len(parts.validation), len(parts.test)] == pytest.approx([300, 75, 125], abs=5)


def test_a_class_too_small_is_named_with_what_would_help():
    cutouts = of_groups([n // 3 for n in range(60)] + [100, 100], [0, 1, 0] * 20 + [2, 2])
    with pytest.raises(
        DataError, match=r"class 'STAR' has 2 objects in 1 groups: \w+ would get none; all 3 parts need"
    ):
        split(cutouts, Split(by="patch"))
    with pytest.raises(DataError, match="no object has both"):
        split(cutouts, Split(by="patch"), usable=np.zeros(62, dtype=bool))


def test_unlabelled_objects_are_in_no_part():
    cutouts = labelled([None, *CLASSES * 10])
    parts = split(cutouts, Split(**RANDOM))
    assert 0 not in np.concatenate([parts.train, parts.validation, parts.test])
    assert len(parts.train) + len(parts.validation) + len(parts.test) == 30


def test_the_split_does_not_depend_on_the_hash_seed(tmp_path):
    cutouts = make(tmp_path / "a.parquet", 72)
    code = f"""
from pathlib import Path; from skythaw.data.cutouts import *; from skythaw.data.split import *
from skythaw.spec import Split
c = read_cutouts(Path({str(tmp_path / "a.parquet")!r}))
print(split(c, Split()).test.tolist(), nested_order(c.labels, 3).tolist())
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": n},
        ).stdout.strip()
        for n in "12"
    ]
    assert said == [f"{split(cutouts, Split()).test.tolist()} {nested_order(cutouts.labels, 3).tolist()}"] * 2


def test_golden_split():
    """A split that changes makes old results incomparable: it is a deliberate change, with CELL_SCHEMA."""
    cutouts = of_groups([n // 4 for n in range(48)], [n * n % 3 for n in range(48)])
    assert sorted(set(cutouts.column("patch")[split(cutouts, Split(by="patch", seed=5)).test])) == [4, 5, 6]
    assert nested_order(np.array(list("aabbbc")), 1).tolist() == [2, 0, 3, 5, 1, 4]


@fuzz(100, st.lists(st.integers(0, 5), min_size=1, max_size=120), st.integers(0, 9))
def test_every_beginning_of_the_nested_order_is_stratified_within_one_object(label, seed):
    label = np.array([f"c{each}" for each in label])
    order = nested_order(label, seed)
    assert np.array_equal(np.sort(order), np.arange(len(label)))
    for name in set(label):
        held = np.cumsum(label[order] == name)
        assert (np.abs(held - (label == name).mean() * np.arange(1, len(label) + 1)) < 1 + 1e-9).all()


def test_the_nested_order_depends_on_the_seed():
    label = np.array(["a", "b"] * 30, dtype=object)
    assert not np.array_equal(nested_order(label, 0), nested_order(label, 1))
    assert len(nested_order(label[:0], 0)) == 0


def test_groups():
    cutouts = labelled(["a"] * 4, run=[1, 1, 2, 1], camcol=[1, 1, 1, 1], field=[7, 7, 7, 8], night=["x", "y", "x", "x"])
    assert groups(cutouts, "random", 64).tolist() == [0, 1, 2, 3]
    assert groups(cutouts, "field", 64).tolist() == [0, 0, 2, 1]
    assert groups(cutouts, "night", 64).tolist() == [0, 1, 0, 0]
    cutouts = labelled(["a"] * 4, ra=[10.0, 10.001, 370.0, 190.0], dec=[0.5, 0.5, 0.5, -0.5])
    near = groups(cutouts, "healpix", 64)
    assert near[0] == near[1] == near[2] != near[3]


@pytest.mark.parametrize(
    ("by", "error", "message"),
    [
        ("field", SpecError, r"no column camcol, field \(there are .*; what would work: healpix, random, or the name"),
        ("nigth", SpecError, r"no column nigth .*did you mean 'night'\?"),
        ("night", DataError, "column 'night' is empty for 1 objects"),
        ("healpix", DataError, "ra and dec must be degrees"),
    ],
)
def test_groups_that_can_not_be_made(by, error, message):
    cutouts = labelled(["a", "b"], run=[1, 2], night=[1, None], ra=[1.0, 2.0], dec=[0.0, 95.0])
    with pytest.raises(error, match=message):
        groups(cutouts, by, 64)
    with pytest.raises(SpecError, match=r"nside = 48 is not a power of two"):
        groups(cutouts, "healpix", 48)


def brute_force(ra, dec, width):
    """Pairs of overlapping squares, one after the other, away from the poles."""
    found = set()
    for i in range(len(ra)):
        for j in range(i + 1, len(ra)):
            east = ((ra[i] - ra[j] + 180) % 360 - 180) * np.cos(np.radians((dec[i] + dec[j]) / 2))
            if abs(east) * 3600 < width and abs(dec[i] - dec[j]) * 3600 < width:
                found.add((i, j))
    return found


@fuzz(30, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 359.99, 180.0]), st.sampled_from([0.0, 60.0, -88.0]))
def test_overlapping_pairs_equal_brute_force(seed, ra0, dec0):
    rng = np.random.default_rng(seed)
    spread = 0.1
    dec = dec0 + rng.uniform(-spread, spread, 60)
    ra = (ra0 + rng.uniform(-spread, spread, 60) / np.cos(np.radians(dec0))) % 360
    cutouts = labelled(["a"] * 60, ra=ra.tolist(), dec=dec.tolist())
    width = 128 * 0.4  # arcsec; near a pole the two squares are turned by half a degree
    pairs = {(int(i), int(j)) for a, b in sky_pairs(cutouts, np.ones(60, bool), 128) for i, j in zip(a, b, strict=True)}
    certain = brute_force(ra, dec, width * 0.99), brute_force(ra, dec, width * 1.01)
    assert certain[0] <= pairs <= certain[1]


def test_overlaps_at_the_pole_with_pixel_scales_and_missing_coordinates():
    ra = [0.0, 180.0, 0.0, 10.0, float("nan"), 10.0]
    dec = [89.995, 89.995, -89.9, 0.0, 0.0, 0.012]
    near = labelled(["a"] * 6, ra=ra, dec=dec, pixel_scale=[0.4, None, 0.4, 0.1, 0.4, 0.1])
    everyone = np.ones(6, dtype=bool)
    assert [(a.tolist(), b.tolist()) for a, b in sky_pairs(near, everyone, 128)] == [([0], [1])]
    wide = labelled(["a"] * 6, ra=ra, dec=dec)
    assert [(a.tolist(), b.tolist()) for a, b in sky_pairs(wide, everyone, 128)] == [([0, 3], [1, 5])]
    everyone[1] = False
    assert [(a.tolist(), b.tolist()) for a, b in sky_pairs(wide, everyone, 128)] == [([3], [5])]


def test_a_random_split_counts_overlaps_and_a_split_by_sky_has_none():
    rng = np.random.default_rng(0)
    label = [CLASSES[n % 3] for n in range(300)]
    patch = np.arange(300) // 10
    sky = {"ra": (patch * 2.0 + rng.uniform(0, 0.02, 300)).tolist(), "dec": rng.uniform(0, 0.02, 300).tolist()}
    cutouts = labelled(label, **sky, patch=patch.tolist())
    assert basis_of(cutouts) == "coordinates"
    assert touched(cutouts, Split(**RANDOM)) > 100
    assert touched(cutouts, Split(by="patch")) == 0
    fields = labelled(label, run=[1] * 300, camcol=[1] * 300, field=patch.tolist())
    assert touched(fields, Split(by="field")) == 0
    assert touched(fields, Split(**RANDOM)) == 300
    assert basis_of(fields) == "field"
    assert basis_of(labelled(label)) is None


def test_the_width_comes_from_the_first_image(tmp_path):
    make(tmp_path / "a.parquet", 36, size=16)
    from skythaw.data.cutouts import read_cutouts
    from skythaw.data.overlaps import first_size

    assert first_size(read_cutouts(Path(tmp_path / "a.parquet"))) == (16, 16)

"""Copies of one image stay together in every split, and are refused where their labels differ."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st

from helpers_data import CLASSES, FIELD, encode, labelled, picture
from helpers_soak import fuzz
from helpers_study import make_survey, write_study
from skythaw.bundle.export.pick_references import rows_of
from skythaw.data.auto_split import settle_split
from skythaw.data.cutouts import read_cutouts, write_cutouts
from skythaw.data.decode import decode
from skythaw.data.pixel_store import open_store
from skythaw.data.split import split
from skythaw.data.split_groups import kept_together
from skythaw.data.twins import conflicting, decoded_digests, digest_of, merged, store_digests, twin_groups
from skythaw.errors import DataError
from skythaw.spec import Split, Study
from skythaw.stats.object_table import read_objects
from skythaw.study.cell_sets import load_sets
from skythaw.study.plan import make_plan
from skythaw.study.scored_objects import save_objects
from skythaw.study.study_data import open_study_data
from skythaw.tuning.locations import Locations

WAYS = ("auto", "random", "field", "healpix", "patch", "part")


@st.composite
def sets(draw):
    """Objects of which some have the same image, and whose fields, places, patches and parts are anything."""
    count = draw(st.integers(40, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = rng.integers(0, draw(st.integers(count // 3, 3 * count)), count)
    label = [CLASSES[each % 3] for each in image]
    columns = {"run": [1] * count, "camcol": [1] * count, "field": rng.integers(0, 25, count).tolist()}
    columns |= {"ra": rng.uniform(0, 360, count).tolist(), "dec": rng.uniform(-80, 80, count).tolist()}
    columns |= {"patch": rng.integers(0, 25, count).tolist()}
    columns |= {"part": rng.choice(["train", "train", "val", "Test"], count).tolist()}
    return labelled(label, sha256=[f"{each:064d}" for each in image], **columns)


@fuzz(150, sets(), st.sampled_from(WAYS), st.integers(0, 99), st.booleans())
def test_twins_are_never_in_two_parts(cutouts, by, seed, external):
    settled = settle_split(cutouts, Split(by=by, seed=seed), external_test=external)
    assert settled.spec.by != "auto"
    try:
        parts = split(cutouts, settled.spec, external_test=external, twins=settled.twins)
    except DataError:
        assume(False)
    seen = [set(np.array(cutouts.image_sha256)[rows]) for rows in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, seen)) == len(set.union(*seen))
    if by != "part":
        assert sum(map(len, (parts.train, parts.validation, parts.test))) == len(cutouts)
    elif not external:
        given = cutouts.column("part")
        assert set(given[parts.test]) == {"Test"}
        assert set(parts.test) == set(np.flatnonzero(given == "Test")), "a test set that is given stays as it is"


@fuzz(100, sets(), st.integers(0, 99))
def test_without_twins_a_split_is_what_it_was(cutouts, seed):
    columns = {name: cutouts.table[name] for name in ("run", "camcol", "field")}
    alone = labelled(list(cutouts.labels), sha256=[f"{n:064d}" for n in range(len(cutouts))], **columns)
    settled = settle_split(alone, Split(by="field", seed=seed))
    assert settled.spec == Split(by="field", seed=seed)
    assert settled.twins is None
    assert Split(by="field").model_dump() == {"by": "field", "validation": 0.15, "test": 0.25, "seed": 0, "nside": 64}


def test_merged_groups():
    assert len(set(merged(np.array([0, 1, 2, 3]), np.array([5, 5, 6, 7])).tolist())) == 3
    chain = merged(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 2, 3]))
    assert chain.tolist()[:4] == [chain[0]] * 4
    assert chain[4] != chain[0]
    assert conflicting(np.array(["a", "b", "a", None], object), np.array([0, 0, 1, 1]), np.arange(4) < 3).tolist() == [
        *(True, True),
        *(False, False),
    ]


def doubled(path, *, label=None, pixel=False, count=60, columns=FIELD):
    """Every image twice: the same file, or (`pixel`) the same pixels in another one."""
    rows = []
    for i in range(count):
        for copy in range(2):
            data = encode(picture(i, 32), "PNG", compress_level=9 * copy if pixel else 6)
            own = CLASSES[i % 3] if label is None or copy == 0 else label.get(i, CLASSES[i % 3])
            place = {"run": 1, "camcol": 1, "field": len(rows)}
            rows.append({"object_id": f"{'ab'[copy]}{i}", "label": own, "image": data, **place})
    write_cutouts(path, rows, columns, {})
    return path


def study_of(folder, by="random", **replacements):
    text = {'by = "field"': f'by = "{by}"', "[75]": "[30]", "seed = [0, 1]": "seed = [0]", "crop = 32": "crop = 32"}
    return Study.load(write_study(folder, replace={**text, **replacements}))


def same_image(ids):
    return {name[1:] for name in ids}


def test_objects_without_a_label_are_told(tmp_path):
    table = pq.read_table(make_survey(tmp_path / "survey.parquet"))
    labels = pa.array(["nan"] * 10 + table["label"].to_pylist()[10:])
    pq.write_table(table.set_column(table.column_names.index("label"), "label", labels), tmp_path / "survey.parquet")
    said = open_study_data(study_of(tmp_path), tmp_path / "cache").warnings()
    assert f"10 objects of {tmp_path / 'survey.parquet'} have no label, and take no part" in said


@pytest.mark.parametrize("by", ["random", "auto", "field"])
def test_same_pixels_in_other_files_stay_together_once_they_are_decoded(tmp_path, by):
    """Case F08, and near-duplicates: planned, run and exported alike."""
    doubled(tmp_path / "survey.parquet", pixel=True)
    study, cache = study_of(tmp_path, by), tmp_path / "cache"
    assert open_study_data(study, cache).study.data.split.twins is None, "no image is decoded to plan"
    cutouts = read_cutouts(tmp_path / "survey.parquet")
    store = open_store(cutouts, cache)
    digests = store_digests(store)
    assert np.array_equal(digests, decoded_digests(cutouts))
    assert np.array_equal(digests, store_digests(store)), "as kept"
    plan = make_plan(study, cache)
    assert any("60 images are copies of others" in each for each in plan.warnings)
    cell = plan.cells[0].cell
    assert cell.split.twins == "pixels"
    sets = load_sets(
        cell, Locations(study.data.path, None, plan.cells[0].weights, cache, tmp_path), torch.device("cpu")
    )
    seen = [same_image(sets.ids[part]) for part in ("train", "validation", "test")]
    assert sum(map(len, seen)) == len(set.union(*seen))
    groups = dict(zip(sets.ids["train"], sets.groups, strict=True))
    both = [n for n in same_image(groups) if f"a{n}" in groups and f"b{n}" in groups]
    assert both
    assert all(groups[f"a{n}"] == groups[f"b{n}"] for n in both)
    training, validation = rows_of(cell, cutouts)
    assert [cutouts.object_ids[row] for row in training] == sets.ids["train"]
    assert [cutouts.object_ids[row] for row in validation] == sets.ids["validation"]


@pytest.mark.parametrize("columns", [FIELD, []])
def test_copies_are_one_group_of_the_bootstrap(tmp_path, columns):
    doubled(tmp_path / "survey.parquet", columns=columns)
    data = open_study_data(study_of(tmp_path), tmp_path / "cache")
    assert data.study.data.split.twins == "bytes"
    save_objects(tmp_path / "run", data)
    kept = read_objects(tmp_path / "run")
    groups = dict(zip(kept["object_id"].to_pylist(), kept["group"].to_pylist(), strict=True))
    assert all(groups[name] == groups["ab"["ba".index(name[0])] + name[1:]] for name in groups)
    assert len(set(groups.values())) == len(groups) / 2


@pytest.mark.parametrize("pixel", [False, True])
def test_an_image_with_two_labels_is_refused_or_left_out(tmp_path, pixel):
    doubled(tmp_path / "survey.parquet", label={4: "STAR", 9: "QSO"}, pixel=pixel)
    cutouts = read_cutouts(tmp_path / "survey.parquet")
    if pixel:
        open_store(cutouts, tmp_path / "cache")
    says = r"2 images are there with different labels: a4 \(QSO\) = b4 \(STAR\); a9 .*drop_conflicts = true"
    with pytest.raises(DataError, match=says) as caught:
        open_study_data(study_of(tmp_path), tmp_path / "cache")
    assert "\n" not in str(caught.value)
    dropping = study_of(tmp_path, **{"seed = 0 }": "seed = 0, drop_conflicts = true }"})
    data = open_study_data(dropping, tmp_path / "cache")
    used = np.concatenate([data.parts.train, data.parts.validation, data.parts.test])
    assert len(used) == len(cutouts) - 4
    assert not {"a4", "b4", "a9", "b9"} & {cutouts.object_ids[row] for row in used}
    assert any("left out 4 images" in each for each in data.warnings())


def test_objects_without_an_image_are_no_twins():
    nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    cutouts = labelled(["a", "b", "a"], sha256=[nothing, nothing, "0" * 64])
    assert len(set(twin_groups(cutouts).tolist())) == 3
    assert len(set(twin_groups(cutouts, np.zeros((3, 3), np.uint64)).tolist())) == 3


def test_digests_tell_shape_and_type():
    assert digest_of(np.zeros((2, 3, 1), np.uint8)) != digest_of(np.zeros((3, 2, 1), np.uint8))
    assert digest_of(np.zeros((2, 2, 1), np.uint8)) != digest_of(np.zeros((1, 1, 1), np.float32))


def test_a_survey_without_copies_keeps_its_keys(tmp_path):
    """Nothing of twins enters the key of a cell, with or without decoded images."""
    make_survey(tmp_path / "survey.parquet", objects=90)
    study = study_of(tmp_path, "field")
    before = [planned.cell for planned in make_plan(study, tmp_path / "cache").cells]
    open_store(read_cutouts(tmp_path / "survey.parquet"), tmp_path / "cache")
    after = [planned.cell for planned in make_plan(study, tmp_path / "cache").cells]
    assert [cell.key for cell in before] == [cell.key for cell in after]
    assert set(before[0].model_dump()["split"]) == {"by", "validation", "test", "seed", "nside"}
    chosen = [planned.cell.key for planned in make_plan(study_of(tmp_path, "auto"), tmp_path / "cache").cells]
    assert chosen == [cell.key for cell in before], "a cell holds what was chosen"


def test_groups_of_given_parts_are_those_of_the_sky():
    part, alike = ["train", "test", "train", "test"], [1, 1, 1, 1]
    cutouts = labelled(["a"] * 4, part=part, run=alike, camcol=alike, field=[1, 1, 2, 3])
    assert kept_together(cutouts, Split(by="part")).tolist() == [0, 0, 1, 2]
    bare = labelled(["a"] * 4, part=part)
    assert kept_together(bare, Split(by="part"), np.array([0, 1, 1, 2])).tolist() == [0, 1, 1, 2]


def test_an_external_test_set_shares_no_pixels(tmp_path):
    """In another file, and with another id: seen once both are decoded."""
    make_survey(tmp_path / "survey.parquet", objects=90)
    rows = [
        {"object_id": f"t{i}", "label": CLASSES[i % 3], "image": encode(picture(i, 40), "PNG"), "run": 1, "camcol": 1}
        | {"field": i}
        for i in range(30)
    ]
    write_cutouts(tmp_path / "other.parquet", rows, FIELD, {})
    text = {'path = "survey.parquet"': 'path = "survey.parquet"\ntest_path = "other.parquet"'}
    study, cache = study_of(tmp_path, "auto", **text), tmp_path / "cache"
    for name in ("survey", "other"):
        open_store(read_cutouts(tmp_path / f"{name}.parquet"), cache)
    assert len(open_study_data(study, cache).tested) == 30
    first = next(read_cutouts(tmp_path / "survey.parquet").images())[1]
    rows[4]["image"] = encode(decode(first, "first"), "PNG")
    write_cutouts(tmp_path / "other.parquet", rows, FIELD, {})
    open_store(read_cutouts(tmp_path / "other.parquet"), cache)
    with pytest.raises(DataError, match=r"shares 1 images with .*survey.parquet, in other files \(t4\)"):
        open_study_data(study, cache)
    rows[4]["image"] = rows[5]["image"]
    write_cutouts(tmp_path / "other.parquet", rows, FIELD, {})
    with pytest.raises(DataError, match=r"other.parquet: 1 image is there with different labels: t4 \(QSO\) = t5"):
        open_study_data(study, cache)

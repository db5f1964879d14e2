"""Leaks are refused by name and by content; magnitudes and measured numbers are not."""

from __future__ import annotations

import numpy as np
import pytest

from skythaw.errors import DataError
from skythaw.tables.leaks import refuse_leaks, refuse_names
from skythaw.tables.measured import measured_names
from skythaw.tables.number_table import NumberTable

COUNT = 300
CLASSES = np.array(["GALAXY", "QSO", "STAR"])
CODE = np.arange(COUNT) % 3
LABELS = CLASSES[CODE]
RNG = np.random.default_rng(0)
MAGNITUDE = RNG.normal(18, 1, COUNT) + 0.8 * CODE
REDSHIFT = np.abs(np.choose(CODE, [0.1, 1.5, 0.0]) * RNG.lognormal(0, 0.3, COUNT))


def check(allowed=(), groups=None, labels=LABELS, **columns):
    refuse_leaks(tuple(columns), np.stack(list(columns.values()), axis=1), labels, allowed, groups)


LEAKS = (
    "redshift Redshift_2 z_spec zspec SPECZ zphot photoz_best specobjid specObjID plate MJD fiberID zWarning subclass "
    "class CLASS_STAR spec_class label true_label type targetType objtype sourcetype run rerun camcol field obj objid "
    "object_id id source_id path filename sha256"
)
HONEST = (
    "u g r i modelMag_u psfMag_r petroR50_r flux_z FLUX_AUTO template_chi2 platescale centroid_x size concentration "
    "extinction_u z_err n_detect runtime fieldwidth idle"
)


@pytest.mark.parametrize("name", LEAKS.split())
def test_leaks_are_refused_by_name_with_the_reason_and_the_way_out(name):
    with pytest.raises(DataError) as error:
        check(**{name: MAGNITUDE})
    text = str(error.value)
    assert text.startswith(f"column {name!r} is a leak: ")
    assert f"--allow-leak {name}, in a study file allow_leak = ['{name}']" in text
    assert "\n" not in text
    check((name,), **{name: MAGNITUDE})


@pytest.mark.parametrize("name", HONEST.split())
def test_honest_names_pass(name):
    check(**{name: MAGNITUDE})


def test_all_measured_names_pass():
    refuse_names(measured_names(("red", "green", "blue")) + measured_names("ugriz"), ())


def test_several_leaks_are_named_at_once():
    with pytest.raises(DataError, match=r"'plate' is a leak.*\(mjd, code too\).*--allow-leak plate --allow-leak mjd"):
        check(u=MAGNITUDE, plate=MAGNITUDE, mjd=MAGNITUDE, code=CODE)


@pytest.mark.parametrize(
    "values",
    [
        CODE,
        2.0 - CODE,
        np.choose(CODE, [5, 1, 9]) + RNG.normal(0, 0.3, COUNT),
        REDSHIFT,
        np.where(CODE == 1, np.nan, CODE),
    ],
)
def test_what_alone_gives_the_class_away_is_refused(values):
    with pytest.raises(DataError, match=r"'q' is a leak: alone it tells .* % of each class"):
        check(u=MAGNITUDE, q=values)
    check(("q",), u=MAGNITUDE, q=values)


def test_the_limit_lies_between_the_best_colour_and_redshift():
    check(colour=CODE + RNG.normal(0, 0.4, COUNT))
    with pytest.raises(DataError, match=r"it tells 9\d"):
        check(colour=CODE + RNG.normal(0, 0.25, COUNT))


def test_with_two_classes_physics_may_go_further():
    two = CODE < 2
    good = np.where(CODE == 1, 1.0, 0.0) + np.where(RNG.random(COUNT) < 0.06, 1, 0) * RNG.normal(0, 3, COUNT)
    check(size=good[two], labels=LABELS[two])
    with pytest.raises(DataError, match="'size' is a leak"):
        check(size=CODE[two], labels=LABELS[two])


def test_numbers_of_the_objects_are_refused_and_sorted_magnitudes_are_not():
    for numbers in (np.arange(COUNT), 7.0 * np.arange(COUNT)[::-1], 1.2e18 + 1000.0 * RNG.permutation(COUNT)):
        with pytest.raises(DataError, match="'n' is a leak: it numbers the objects"):
            check(n=numbers)
    check(u=np.sort(MAGNITUDE), counts=RNG.integers(0, 9, COUNT))


def test_z_is_a_band_beside_the_others_and_else_a_redshift():
    check(z=MAGNITUDE)
    check(u=MAGNITUDE, g=MAGNITUDE, r=MAGNITUDE, i=MAGNITUDE, z=MAGNITUDE)
    check(u=REDSHIFT * 0 + MAGNITUDE - 17, g=MAGNITUDE - 17, z=MAGNITUDE - 17)  # other units, all alike
    small = RNG.uniform(0, 3, COUNT)
    for columns in ({"z": small}, {"u": MAGNITUDE, "g": MAGNITUDE, "r": MAGNITUDE, "i": MAGNITUDE, "z": small}):
        with pytest.raises(DataError, match="'z' is a leak: it holds values like redshifts"):
            check(**columns)


@pytest.mark.parametrize(
    "values",
    [
        (CODE == 1) * 1.0,
        np.clip((CODE == 1) + RNG.normal(0, 0.1, COUNT), 0, 1),
        np.where(CODE == 1, RNG.normal(size=COUNT), np.nan),
        np.where(CODE == 1, np.nan, RNG.normal(size=COUNT)),
    ],
    ids=["flag", "probability", "there for one class alone", "missing of one class alone"],
)
def test_what_gives_one_class_away_is_refused(values):
    with pytest.raises(DataError, match=r"'q' is a leak: alone it tells QSO from the others in (99\.\d|100\.0) %"):
        check(u=MAGNITUDE, q=values)
    check(("q",), u=MAGNITUDE, q=values)


def test_a_column_that_is_missing_more_often_in_one_class_is_none():
    check(q=np.where((CODE == 1) & (RNG.random(COUNT) < 0.9), np.nan, MAGNITUDE))


def test_a_rare_class_does_not_turn_the_check_off():
    kept = np.flatnonzero((CODE != 1) | (np.cumsum(CODE == 1) <= 5))
    with pytest.raises(DataError, match="'q' is a leak"):
        check(q=CODE[kept], labels=LABELS[kept])
    check(u=MAGNITUDE[kept], labels=LABELS[kept])


def test_few_objects_of_a_class_that_differ_by_chance_are_no_leak():
    rng = np.random.default_rng(5)
    code = np.repeat([0, 1, 2], [100, 100, 8])
    check(q=np.where(code == 2, 5.0, rng.normal(0, 1, len(code))), labels=CLASSES[code])


def test_groups_are_kept_together():
    groups = CODE + 3 * (np.arange(COUNT) // 60)
    place = groups + RNG.normal(0, 0.1, COUNT)  # tells the group, and so the class, of objects whose group was seen
    with pytest.raises(DataError):
        check(q=place)
    check(q=RNG.permutation(15)[groups] + 0.1 * RNG.normal(0, 0.1, COUNT), groups=groups)


def test_a_table_may_be_given_and_few_objects_are_not_judged():
    table = NumberTable(tuple(map(str, range(COUNT))), ("q",), CODE[:, None])
    with pytest.raises(DataError):
        refuse_leaks(("q",), table, LABELS, ())
    check(q=CODE[:9], labels=LABELS[:9])

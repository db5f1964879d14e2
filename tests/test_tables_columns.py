"""Columns as numbers: kinds, missing values, colours; and each bad column is refused in one line."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from skythaw.errors import DataError, SpecError, UnknownNameError
from skythaw.spec import Numbers
from skythaw.tables.band_families import band_of, families_of
from skythaw.tables.column_ranges import compare_ranges, ranges_of
from skythaw.tables.columns import column_numbers, kinds_of, numbers_of_columns
from skythaw.tables.number_table import NumberTable

COUNT = 40
MAGNITUDE = np.linspace(16, 21, COUNT)
FAINT = np.linspace(19.2, 19.9, COUNT)
FLUX_OF_FAINT = 10 ** (9 - 0.4 * FAINT)
FLUX = 10 ** (0.4 * (22.5 - MAGNITUDE))


def table(**columns) -> pa.Table:
    return pa.table({"object_id": [f"o{n}" for n in range(COUNT)], **columns})


def read(table_columns: dict, **settings) -> NumberTable:
    settings.setdefault("columns", tuple(table_columns))
    return numbers_of_columns(table(**table_columns), Numbers(**settings), "stars.csv")


def kinds(columns: dict) -> dict[str, str]:
    return kinds_of(table(**columns), Numbers(columns=tuple(columns)), "stars.csv")


def column(numbers: NumberTable, name: str) -> np.ndarray:
    return numbers.select([name]).values[:, 0]


def changed(values, **at):
    values = list(values)
    for place, value in at.items():
        values[int(place[1:])] = value
    return values


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("modelMag_u", MAGNITUDE, "magnitude"),
        ("psfMag_r", MAGNITUDE, "magnitude"),
        ("MAG_AUTO", MAGNITUDE, "magnitude"),
        ("gmag", MAGNITUDE, "magnitude"),
        ("u", MAGNITUDE, "magnitude"),
        ("Kmag", MAGNITUDE, "magnitude"),
        ("luptitude_g", MAGNITUDE, "luptitude"),
        ("psfFlux_g", FLUX, "flux/1"),
        ("FLUX_AUTO", FLUX * 1e-9, "flux/1e-09"),
        ("flux_r", -FLUX, "flux/1"),
        ("psfMagErr_u", MAGNITUDE / 100, "number"),
        ("petroR50_r", MAGNITUDE, "number"),
        ("image_scale", MAGNITUDE, "number"),
        ("u", MAGNITUDE - 16, "number"),
        ("temperature", MAGNITUDE, "number"),
    ],
)
def test_kinds_are_guessed_from_names_and_values(name, values, kind):
    assert kinds({name: values}) == {name: kind}


@pytest.mark.parametrize(
    ("unit", "name", "kind"),
    [
        ("nmgy", "u", "flux/1"),
        ("3.631e-06 Jy", "u", "flux/1"),
        ("erg / (Angstrom s cm2)", "modelMag_u", "flux/1"),
        ("nmgy / arcsec2", "u", "magnitude"),
        ("mag", "flux_u", "magnitude"),
        ("mag(AB)", "brightness", "magnitude"),
        ("mag", "u_err", "number"),
        ("mag / arcsec2", "brightness", "number"),
        ("m", "u", "magnitude"),
        ("", "u", "magnitude"),
    ],
)
def test_a_declared_unit_decides(unit, name, kind):
    known = kinds_of(declared(**{name: (MAGNITUDE, unit)}), Numbers(columns=(name,)), "")
    assert known == {name: kind}


def declared(**columns):
    """A table whose columns declare their units."""
    whole = table(**{name: values for name, (values, _) in columns.items()})
    for place, (name, (_, unit)) in enumerate(columns.items(), start=1):
        whole = whole.set_column(place, whole.schema.field(name).with_metadata({"unit": unit}), whole[name])
    return whole


def test_declared_units_that_differ_are_refused():
    mixed = declared(u=(MAGNITUDE, "nmgy"), g=(MAGNITUDE + 0.3, "mag"))
    with pytest.raises(
        DataError, match=r"mixed up, or can't be told: 'u' looks like fluxes .* but 'g' looks like magnitudes"
    ):
        kinds_of(mixed, Numbers(columns=("u", "g")), "")
    for kind, unit, said in (
        ("magnitude", "nmgy", "fluxes by its unit, and should hold magnitudes"),
        ("flux/1", "mag", "magnitudes by its unit, and should hold fluxes"),
    ):
        with pytest.raises(DataError, match=f"'u' holds {said}"):
            column_numbers(declared(u=(MAGNITUDE, unit)), Numbers(columns=("u",)), {"u": kind}, "", training=False)


def test_colours_of_a_family_are_formed_in_order_of_wavelength():
    numbers = read({"modelMag_r": MAGNITUDE, "modelMag_u": MAGNITUDE + 2, "modelMag_g": MAGNITUDE + 0.5, "size": FLUX})
    assert numbers.names[4:] == ("modelMag_u - modelMag_g", "modelMag_g - modelMag_r")
    np.testing.assert_allclose(column(numbers, "modelMag_u - modelMag_g"), 1.5)


def test_bands_stand_in_names_in_many_ways():
    assert band_of("modelMag_u") == ("modelMag_*", "u")
    assert band_of("FLUX_G") == ("FLUX_*", "g")
    assert band_of("g_cmodel_mag") == ("*_cmodel_mag", "g")
    assert band_of("Jmag") == ("*mag", "J")
    assert band_of("mag_auto") is None
    families = families_of(["z", "u", "petroR50", "Kmag", "Hmag", "g"])
    assert [family.columns for family in families] == [("u", "g", "z"), ("Hmag", "Kmag")]


@pytest.mark.parametrize("sign", [None, np.nan, -9999, -999, 9999, 99, 99.99, np.float32(99.99)])
def test_what_stands_for_a_missing_magnitude_is_missing(sign):
    numbers = read({"modelMag_u": changed(MAGNITUDE, _3=sign), "modelMag_g": MAGNITUDE})
    assert np.isnan(numbers.values[3, [0, 2]]).all()
    assert numbers.missing == {"modelMag_u": 1, "modelMag_g": 0, "modelMag_u - modelMag_g": 1}


def test_text_of_numbers_is_read_and_words_for_missing_are_missing():
    texts = changed([f"{m:.3f}" for m in MAGNITUDE], _0="NaN", _1="", _2="--", _5=None)
    numbers = read({"modelMag_u": pa.array(texts, pa.string())})
    assert numbers.missing == {"modelMag_u": 4}
    assert numbers.values[4, 0] == pytest.approx(MAGNITUDE[4], abs=1e-3)


def test_fluxes_are_compressed_keep_their_sign_and_0_is_missing():
    numbers = read({"flux_g": changed(FLUX, _1=0.0, _2=-3.0), "flux_r": FLUX * 2})
    values = column(numbers, "flux_g")
    assert np.isnan(values[1])
    assert values[2] > 0 > values[3]
    bright = slice(5, 20)
    np.testing.assert_allclose(column(numbers, "flux_g - flux_r")[bright], 2.5 * np.log10(2), atol=0.02)


def test_extinction_is_subtracted_and_brightens_fluxes():
    ext = {"ext": np.linspace(0.1, 0.5, COUNT)}
    mags = read({"modelMag_u": MAGNITUDE, **ext}, columns=("modelMag_u",), extinction={"modelMag_u": "ext"})
    np.testing.assert_allclose(mags.values[:, 0], MAGNITUDE - ext["ext"])
    fluxes = {"flux_u": FLUX, "dereddened_flux_u": FLUX * 10 ** (0.4 * ext["ext"]), **ext}
    found = read(fluxes, columns=("flux_u", "dereddened_flux_u"), extinction={"flux_u": "ext"})
    np.testing.assert_allclose(found.values[:, 0], found.values[:, 1], rtol=1e-12)


@pytest.mark.parametrize(
    ("columns", "settings", "parts"),
    [
        (
            {"modelMag_g": MAGNITUDE},
            {"columns": ("modelMg_g", "zz")},
            ["'modelMg_g' (did you mean 'modelMag_g'?), 'zz'"],
        ),
        ({"a_mag": changed(map(str, MAGNITUDE), _2="faint")}, {}, ["'a_mag'", "'faint'", "(object o2)"]),
        ({"a": changed(FLUX, _4=np.inf)}, {}, ["'a' is infinite for object o4 and for 1 in all"]),
        ({"a": np.full(COUNT, 3.5)}, {}, ["'a' is 3.5 for every object"]),
        ({"u": changed(MAGNITUDE, **{f"_{n}": None for n in range(21)})}, {}, ["'u' is missing for 21 of 40"]),
        ({"u": [None] * COUNT}, {}, ["'u' is missing for 40 of 40"]),
        ({"a": [[1.0]] * COUNT}, {}, ["'a' holds list<", "numbers"]),
        ({"modelMag_u": MAGNITUDE, "modelMag_g": FLUX * 100}, {}, ["mixed up", "modelMag_u", "modelMag_g", "median"]),
        (
            {"g": FLUX_OF_FAINT, "r": FLUX_OF_FAINT * 3},
            {},
            ["mixed up, or can't be told", "flux_g", "declares the unit"],
        ),
        ({"u": MAGNITUDE, "g": MAGNITUDE, "r": FLUX}, {}, ["mixed up"]),
        ({"modelMag_u": MAGNITUDE, "modelMag_g": 40 - MAGNITUDE}, {}, ["mixed up"]),
        (
            {"u": FAINT + 1, "g": FAINT + 0.2, "r": FLUX_OF_FAINT, "i": FLUX_OF_FAINT * 0.9},
            {},
            ["mixed up", "'u' and 'g' fall where the others rise"],
        ),
        ({"flux_u": MAGNITUDE, "flux_g": FLUX, "flux_r": FLUX}, {}, ["mixed up", "'flux_u' falls"]),
    ],
)
def test_a_bad_column_is_refused_in_one_line(columns, settings, parts):
    with pytest.raises(DataError) as error:
        read(columns, **settings)
    assert "\n" not in str(error.value)
    assert "stars.csv" in str(error.value)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(("given", "lost"), [(0, 40), (19, 21), (20, 20)])
def test_extinction_may_be_missing_for_half_of_the_objects(given, lost):
    columns = {"u": MAGNITUDE, "A_u": np.where(np.arange(COUNT) < given, 0.1, -9999)}
    settings = {"columns": ("u",), "extinction": {"u": "A_u"}}
    if lost <= 20:
        assert read(columns, **settings).missing == {"u": lost}
        return
    with pytest.raises(DataError, match=f"extinction, column 'A_u', 'u' is missing for {lost} of 40 objects"):
        read(columns, **settings)


def test_bands_of_one_unit_may_fall_where_another_hardly_changes():
    """Objects of nearly one magnitude in r: those that are bright in g are faint in i."""
    assert kinds({"g": MAGNITUDE, "r": 18 + np.sin(MAGNITUDE * 9), "i": 37 - MAGNITUDE}) == {
        "g": "magnitude",
        "r": "magnitude",
        "i": "magnitude",
    }


def test_settings_that_do_not_fit_are_refused():
    columns = {"modelMag_u": MAGNITUDE, "size": FLUX, "ext": MAGNITUDE / 100}
    with pytest.raises(SpecError, match="'size' twice"):
        read(columns, columns=("size", "size"))
    with pytest.raises(SpecError, match=r"did you mean 'modelMag_u'"):
        read(columns, columns=("modelMag_u",), extinction={"modelMag_g": "ext"})
    with pytest.raises(DataError, match=r"'exti' \(did you mean 'ext'"):
        read(columns, columns=("modelMag_u",), extinction={"modelMag_u": "exti"})
    with pytest.raises(SpecError, match="neither magnitudes nor fluxes"):
        read(columns, columns=("size",), extinction={"size": "ext"})
    with pytest.raises(DataError, match="extinction in magnitudes"):
        read(columns, columns=("modelMag_u",), extinction={"modelMag_u": "size"})


def test_a_catalogue_of_one_row_is_read_as_the_training_was():
    settings = Numbers(columns=("flux_g", "flux_r"))
    known = kinds_of(table(flux_g=FLUX, flux_r=FLUX * 2), settings, "")
    whole = column_numbers(table(flux_g=FLUX, flux_r=FLUX * 2), settings, known, "", training=True)
    one = pa.table({"object_id": ["x"], "flux_g": [FLUX[7]], "flux_r": [2 * FLUX[7]]})
    np.testing.assert_array_equal(column_numbers(one, settings, known, "", training=False).values[0], whole.values[7])


def test_other_units_than_those_of_the_training_are_refused():
    settings = Numbers(columns=("modelMag_u",))
    with pytest.raises(DataError, match="should hold magnitudes"):
        column_numbers(table(modelMag_u=FLUX * 1e3), settings, {"modelMag_u": "magnitude"}, "", training=False)
    with pytest.raises(DataError, match="its median is 4"):
        column_numbers(table(modelMag_u=MAGNITUDE + 22), settings, {"modelMag_u": "magnitude"}, "", training=False)
    with pytest.raises(SpecError, match="'modelMag_u'"):
        column_numbers(table(modelMag_u=MAGNITUDE), settings, {}, "", training=False)


def ranged(columns, given, sure=()):
    """What is said of columns where a model was trained on others of these names."""
    settings = Numbers(columns=tuple(columns))
    known = kinds_of(table(**columns), settings, "")
    trained = column_numbers(table(**columns), settings, known, "", training=True)
    found = column_numbers(table(**given), settings, known, "", training=False)
    return compare_ranges(found, known, ranges_of(trained.names, trained.values, known), sure)


def test_ranges_are_in_the_unit_of_the_column():
    names, values = ("flux_u", "u"), np.stack([FLUX * 10, MAGNITUDE], axis=1)
    numbers = read(dict(zip(names, values.T, strict=True)))
    found = ranges_of(numbers.names, numbers.values, {"flux_u": "flux/10", "u": "magnitude"})
    for name, column in zip(names, values.T, strict=True):
        np.testing.assert_allclose(found[name], np.quantile(column, [0.01, 0.99]), rtol=1e-3)


def test_magnitudes_and_fluxes_outside_the_range_of_the_training_are_told():
    bands, fluxes = {"g": MAGNITUDE + 0.5, "r": MAGNITUDE}, {"flux_g": FLUX * 40, "flux_r": FLUX * 60}
    assert ranged(bands, bands) == ranged(fluxes, fluxes) == []
    told = "The median of 'g' is 24.5, and in the training 98 % lay from 16.55 to 21.45: is it in that unit?"
    assert ranged(bands, {"g": MAGNITUDE + 6, "r": MAGNITUDE}) == [told]
    faint = {name: np.linspace(6, 30, COUNT) for name in fluxes}
    assert all("it should hold fluxes; are these magnitudes?" in said for said in ranged(fluxes, faint))
    assert "magnitudes" not in " ".join(ranged(fluxes, faint, sure=tuple(fluxes)))
    assert len(ranged(fluxes, faint, sure=tuple(fluxes))) == 2
    assert len(ranged(fluxes, {name: values / 1e4 for name, values in fluxes.items()})) == 2
    assert ranged({"size": FLUX}, {"size": FLUX * 1e3}) == []


def test_a_table_gives_rows_columns_and_both():
    first = NumberTable(("a", "b"), ("x",), [[1], [2]])
    second = NumberTable(("b", "c"), ("y", "z"), [[3, 4], [5, np.nan]])
    both = first.beside(second)
    assert both.names == ("x", "y", "z")
    np.testing.assert_array_equal(both.values, [[1, np.nan, np.nan], [2, 3, 4]])
    np.testing.assert_array_equal(second.rows_of(["c", "q", "b"]).values[:, 0], [5, np.nan, 3])
    assert first.sha256 != first.rows_of(["b", "a"]).sha256 != first.rows_of(["b"]).sha256
    assert "2 objects, 3 numbers" in repr(both)
    with pytest.raises(UnknownNameError, match="did you mean"):
        NumberTable(("a",), ("modelMag_u",), [[1]]).select(["modelMag_v"])
    with pytest.raises(ValueError, match="read-only"):
        first.values[0] = 0


@pytest.mark.parametrize(
    ("ids", "names", "values"),
    [("aa", "xy", np.eye(2)), ("ab", "xx", np.eye(2)), ("ab", "x", np.eye(2)), ("a", "x", [[np.inf]])],
)
def test_a_table_that_does_not_fit_is_refused(ids, names, values):
    with pytest.raises(DataError):
        NumberTable(tuple(ids), tuple(names), values)

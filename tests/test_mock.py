"""The mock survey: repeatable, calibrated, and with the confusions of the real sky."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from skythaw.data.cutouts import read_cutouts
from skythaw.data.parquet import recipe_of
from skythaw.data.sources.mock import mock_survey, populations, render
from skythaw.data.sources.mock.mock_sky import FRAME, PER_FIELD, PIXEL_SCALE, Sky, make_field
from skythaw.data.sources.mock.mock_source import Source
from skythaw.data.sources.mock.mock_survey import make_mock
from skythaw.data.sources.mock.photometry import asinh_magnitude, half_light_radius
from skythaw.data.sources.mock.quasars import QSO_SLOPE, quasar_mags
from skythaw.data.sources.mock.stars import locus_gr
from skythaw.errors import DataError

STAR = Source("STAR", (15.5, 15.0, 14.8))


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mock(tmp_path_factory.mktemp("mock") / "survey.parquet", 48, 7, 32)


def test_same_seed_gives_the_same_bytes(survey: Path, tmp_path: Path):
    again = make_mock(tmp_path / "again.parquet", 48, 7, 32)
    assert again.read_bytes() == survey.read_bytes()


def test_another_seed_gives_another_sky(survey: Path, tmp_path: Path):
    other = pq.read_table(make_mock(tmp_path / "other.parquet", 12, 8, 32))
    mine = pq.read_table(survey)[:12]
    assert not set(other["sha256"].to_pylist()) & set(mine["sha256"].to_pylist())
    assert other["object_id"].to_pylist() == mine["object_id"].to_pylist()  # the same places in the same survey


def test_a_smaller_survey_is_the_beginning_of_a_larger_one(survey: Path, tmp_path: Path):
    smaller = pq.read_table(make_mock(tmp_path / "smaller.parquet", 11, 7, 32))
    assert smaller.to_pylist() == pq.read_table(survey)[:11].to_pylist()


def test_columns_counts_and_recipe(survey: Path):
    file = pq.ParquetFile(survey)
    names = ["object_id", "label", "image", "sha256", *(name for name, _ in mock_survey.COLUMNS)]
    assert sorted(file.schema_arrow.names) == sorted(names)
    table = file.read()
    labels = table["label"].to_pylist()
    assert {label: labels.count(label) for label in set(labels)} == {"GALAXY": 16, "QSO": 16, "STAR": 16}
    assert len(set(table["object_id"].to_pylist())) == 48
    for name in names:
        assert table[name].null_count == 0, name
    recipe = recipe_of(file.schema_arrow)
    assert (recipe["source"], recipe["objects"], recipe["seed"], recipe["size"]) == ("mock", 48, 7, 32)
    assert set(recipe["versions"]) == {"galsim", "astropy", "numpy", "pillow"}


def test_images_are_jpegs_as_skyserver_makes_them(survey: Path):
    for row in pq.read_table(survey, columns=["image"])["image"].to_pylist():
        image = Image.open(io.BytesIO(row["bytes"]))
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (32, 32))
        assert image.quantization[0][:4] == [8, 6, 5, 8]  # quality 75, as served


def test_a_field_has_its_objects_its_seeing_and_its_footprint(survey: Path):
    rows = pq.read_table(survey).to_pylist()
    fields: dict[tuple, list] = {}
    for row in rows:
        fields.setdefault((row["run"], row["camcol"], row["field"]), []).append(row)
    assert [len(members) for members in fields.values()] == [PER_FIELD] * 6
    assert len({row["psf_fwhm"] for row in rows}) == 6
    for members in fields.values():
        assert {row["label"] for row in members} == {"GALAXY", "QSO", "STAR"}
        assert len({row["psf_fwhm"] for row in members}) == 1
        ra, dec = (np.array([row[name] for row in members]) for name in ("ra", "dec"))
        assert np.ptp(dec) * 60 < 13.52
        assert np.ptp(ra) * np.cos(np.radians(dec[0])) * 60 < 8.99


def test_fields_do_not_overlap_but_for_the_thin_edges_of_strips():
    fields = [make_field(0, number) for number in range(2 * 6 * 400)]
    ids = {(f.run, f.camcol, f.field) for f in fields}
    assert len(ids) == len(fields)
    ra, dec = np.array([f.ra for f in fields]), np.array([f.dec for f in fields])
    for k in range(0, len(fields), 97):
        away = np.maximum(abs(dec - dec[k]) / (FRAME[1] - 150), abs(ra - ra[k]) * np.cos(np.radians(dec[k])) / FRAME[0])
        away[k] = np.inf
        assert away.min() * 3600 / PIXEL_SCALE > 0.99


def test_the_psf_has_the_fwhm_of_its_field_and_a_wing():
    field = make_field(0, 3)
    psf = render.point_spread(field.fwhm[1])
    fine = psf.drawImage(nx=401, ny=401, scale=0.02, method="no_pixel").array
    row = fine[200] / fine.max()
    inside = np.flatnonzero(row >= 0.5)
    assert (inside[-1] - inside[0] + 1) * 0.02 == pytest.approx(field.fwhm[1], rel=0.03)
    gaussian = 2.0 ** -((2 * 6.0 / field.fwhm[1]) ** 2)
    assert psf.xValue(6.0, 0) / psf.xValue(0, 0) > 1e3 * gaussian  # King 1971: a star has an aureole
    assert psf.xValue(6.0, 0) / psf.xValue(0, 0) < 3e-3


def test_a_bright_star_is_as_wide_as_the_psf_on_the_pixels():
    field = make_field(0, 5)
    light = render.expose(render.render(field, [(STAR, 0.0, 0.0)], 65), field, np.random.default_rng(0))[1]
    y, x = np.indices(light.shape) - 32
    r = np.hypot(x, y) * PIXEL_SCALE
    order = np.argsort(r.ravel())
    half = np.interp(-light.max() / 2, -light.ravel()[order][:60], r.ravel()[order][:60])
    assert 2 * half == pytest.approx(field.fwhm[1], rel=0.06)


@pytest.mark.parametrize("number", [0, 1, 4])
def test_an_empty_sky_has_the_noise_of_sky_and_reading(number: int):
    field = make_field(0, number)
    empty = render.expose(np.zeros((3, 400, 400)), field, np.random.default_rng(1))
    assert empty.std(axis=(1, 2)) == pytest.approx(field.noise, rel=0.02)
    assert empty.mean(axis=(1, 2)) == pytest.approx(np.array(field.sky_error), abs=0.02 * field.noise.max())
    # A 54 s exposure reaches r = 22.2 at five sigma (York et al. 2000: 95 % complete for points).
    pixels = 1 / (render.psf_images(field, 41)[1] ** 2).sum()
    assert 21.9 < 22.5 - 2.5 * np.log10(5 * field.noise[1] * np.sqrt(pixels)) < 23.3


def test_an_aperture_gives_a_star_its_magnitude():
    field = make_field(0, 2)
    light = render.expose(render.render(field, [(STAR, 0.3, -0.2)], 129), field, np.random.default_rng(2))
    y, x = np.indices(light.shape[1:]) - 64
    flux = light[:, np.hypot(x, y) < 60].sum(axis=1)
    assert 22.5 - 2.5 * np.log10(flux) == pytest.approx(np.array(STAR.mags), abs=0.03)


def test_catalogue_magnitudes_agree_with_the_truth(tmp_path):
    make_mock(tmp_path / "x.parquet", 2 * PER_FIELD, 3, 48)
    rows = pq.read_table(tmp_path / "x.parquet").to_pylist()
    for number in range(2):
        for own, source in enumerate(Sky(3, number).objects):
            row = rows[PER_FIELD * number + own]
            psf, model = (np.array([row[f"{kind}_{band}"] for band in "gri"]) for kind in ("psfMag", "modelMag"))
            if source.is_point and max(source.mags) < 19:
                assert psf == pytest.approx(np.array(source.mags), abs=0.15)
            if not source.is_point and source.mags[1] < 18:
                assert model == pytest.approx(np.array(source.mags), abs=0.15)
                assert psf[1] > model[1] + 0.1  # SDSS tells galaxies from stars by psfMag - modelMag > 0.145


def test_asinh_magnitudes_are_pogson_for_bright_and_finite_for_negative():
    soft = np.array([1.2e-10])
    assert asinh_magnitude(np.array([100.0]), soft) == pytest.approx(17.5, abs=1e-3)
    assert np.isfinite(asinh_magnitude(np.array([-1.0]), soft)).all()
    assert asinh_magnitude(np.array([0.0]), soft) == pytest.approx(24.80, abs=0.01)  # SDSS: zero-flux magnitude in r


def test_stars_and_quasars_are_points_and_galaxies_are_not():
    field = make_field(0, 0)
    point = half_light_radius(render.psf_images(field, 97)[1], 1.0)
    bright = 0
    for k in range(30):
        for label in populations.CLASSES:
            source = populations.DRAW[label](np.random.default_rng(k))
            if label == "QSO" and source.redshift < 0.5:  # the host may show
                continue
            assert source.is_point == (label != "GALAXY")
            if label == "GALAXY" and source.mags[1] > 17.77:
                continue
            light = render.render(field, [(source, 0.0, 0.0)], 97)[1]
            radius = half_light_radius(light, 10 ** (-0.4 * (source.mags[1] - 22.5)))
            if label == "GALAXY":
                bright += 1
                assert radius > 1.15 * point
            else:
                assert radius == pytest.approx(point, rel=0.01)
    assert bright > 5


def test_half_the_light_of_a_disc_is_within_its_half_light_radius():
    disc = Source("GALAXY", (16.0, 16.0, 16.0), disc_radius=6.0, bulge_radius=1.0)
    light = render.render(make_field(0, 0), [(disc, 0.0, 0.0)], 161)[1]
    assert half_light_radius(light, 10 ** (0.4 * 6.5)) == pytest.approx(6.2, rel=0.05)  # blurred a little
    assert light.sum() == pytest.approx(10 ** (0.4 * 6.5), rel=0.03)


def draws(label: str, count: int = 1500) -> np.ndarray:
    made = [populations.DRAW[label](np.random.default_rng([1, k])) for k in range(count)]
    return np.array([(*each.mags, each.redshift) for each in made]).T


def test_stars_follow_the_locus():
    g, r, i, _ = draws("STAR")
    on = (r - i > 0.0) & (r - i < 1.5)
    away = (g - r)[on] - [locus_gr(x) for x in (r - i)[on]]
    assert abs(np.median(away)) < 0.02
    assert np.std(away) < 0.10
    assert np.percentile((g - r)[(r - i) > 0.9], [10, 90]) == pytest.approx([1.39, 1.39], abs=0.1)  # M dwarfs: constant


def test_quasars_change_colour_with_redshift():
    # Medians of SDSS quasars (Richards et al. 2001, figure 2): Mg II in g at z = 0.6, in r at 1.0, in i at 1.7.
    gr, ri = {}, {}
    for z in (0.6, 1.1, 1.8, 3.8):
        g, r, i = quasar_mags(z, QSO_SLOPE)
        gr[z], ri[z] = g - r, r - i
    assert gr[0.6] < gr[1.1] - 0.1
    assert ri[1.1] < ri[1.8] - 0.15
    assert gr[3.8] > 0.5  # the Lyman-alpha forest


def test_galaxies_are_red_and_blue_and_redder_with_redshift():
    g, r, i, z = draws("GALAXY")
    main = (r < 17.77) & (z > 0.05) & (z < 0.12)
    counts, _ = np.histogram((g - r)[main], [0.35, 0.5, 0.65, 0.78, 0.85, 1.0])
    per_mag = counts / np.diff([0.35, 0.5, 0.65, 0.78, 0.85, 1.0])
    assert per_mag[4] > 1.3 * per_mag[3] or per_mag[4] > 1.3 * per_mag[2]  # two peaks (Strateva et al. 2001)
    assert np.median((g - r)[(z > 0.35) & (r - i > 0.5)]) > 1.5
    assert 0.05 < np.median(z[r < 17.77]) < 0.15  # Strauss et al. 2002: 0.1


def test_magnitudes_are_those_of_the_spectroscopic_sample():
    for label, band, low, high in (("GALAXY", 1, 15.0, 20.7), ("QSO", 2, 17.0, 21.5), ("STAR", 1, 15.0, 21.0)):
        faint, bright = np.percentile(draws(label)[band], [95, 5])
        assert low - 0.3 < bright
        assert faint < high + 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objects": 2}, "objects = 2: .*at least 3"),
        ({"seed": -1}, "seed = -1: .*0 or more"),
        ({"size": 15}, "size = 15: .*between 16 and 256"),
        ({"size": 257}, "size = 257: .*between 16 and 256"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, change: dict, message: str):
    with pytest.raises(DataError, match=message):
        make_mock(tmp_path / "x.parquet", **({"objects": 3, "seed": 0, "size": 16} | change))
    assert not list(tmp_path.iterdir())


def test_without_galsim_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "galsim", None)
    with pytest.raises(DataError, match=r"pip install 'skythaw\[mock\]'"):
        make_mock(tmp_path / "x.parquet", 3, 0)


def test_progress_sees_every_object(tmp_path: Path):
    seen = []
    make_mock(tmp_path / "x.parquet", 3, 0, 16, progress=lambda rows: (seen.append(1) or row for row in rows))
    assert len(seen) == 3


def test_without_an_ending_it_is_a_folder_of_images_with_a_table(tmp_path, skythaw):
    done = skythaw("data", "mock", tmp_path / "images", "--objects", 9, "--size", 32)
    assert done.returncode == 0, done.stderr
    make_mock(tmp_path / "mock.parquet", 9, 0, 32)
    survey = read_cutouts(tmp_path / "mock.parquet")
    taken = skythaw(
        "data", "import", tmp_path / "images", tmp_path / "back.parquet", "--labels", tmp_path / "images.csv"
    )
    assert taken.returncode == 0, taken.stderr
    back = read_cutouts(tmp_path / "back.parquet")
    assert dict(zip(back.object_ids, back.labels, strict=True)) == dict(
        zip(survey.object_ids, survey.labels, strict=True)
    )
    assert sorted(back.image_sha256) == sorted(survey.image_sha256)
    assert {"ra", "dec", "run", "camcol", "field"} <= set(back.table.column_names)
    assert "redshift" not in back.table.column_names
    again = skythaw("data", "mock", tmp_path / "images", "--objects", 9)
    assert again.returncode == 2
    assert "is there already" in again.stderr

"""FITS cubes: cut from corrected frames, or by a service; true to the sky in flux, place and orientation."""

from __future__ import annotations

import numpy as np
import pytest

from helpers_sdss import fetch, requests_of, write_catalog
from helpers_soak import soak
from sdss_server import serving
from sdss_universe import NOISE, Universe
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.data.fits import probe_fits
from skythaw.data.sources.sdss.frames import frame_url
from skythaw.data.sources.sdss.sdss_request import Request

WIDE = {"objects": 12, "seed": 21, "shape": (600, 800)}
DENSE = {"objects": 120, "seed": 22, "shape": (300, 400)}


def cubes(path):
    return {name: (decode(data, name), data) for name, data, _ in read_cutouts(path).images()}


def test_a_frame_has_the_address_of_its_release():
    url = "https://data.sdss.org/sas/dr17/eboss/photoObj/frames/301/752/3/frame-r-000752-3-0042.fits.bz2"
    assert frame_url(17, 752, 3, 42, "r") == url
    assert "/sas/dr18/prior-surveys/sdss4-dr17-eboss/photoObj/frames/301/" in frame_url(18, 752, 3, 42, "r")


def test_cubes_from_frames_show_the_object_in_the_centre_with_its_flux(tmp_path):
    universe = Universe(**WIDE)
    catalog = write_catalog(tmp_path / "c.csv", universe)
    with serving(WIDE) as url:
        fetch(tmp_path / "a.parquet", url, Request(catalog=catalog, images="fits"))
    found = cubes(tmp_path / "a.parquet")
    assert len(found) >= 6
    alone = 0
    for name, (cube, data) in found.items():
        index = int(name[1:])
        assert (cube.shape, cube.dtype) == ((64, 64, 5), np.float32)
        assert probe_fits(data).bands == tuple("ugriz")
        others = [o for o in range(12) if o != index and near(universe, index, o, 40)]
        if others:
            continue
        alone += 1
        for band in range(5):
            # the object's position is the corner between the four central pixels
            peak, sigma = universe.peak(index, "ugriz"[band]), universe.sigma(index)
            y, x = np.mgrid[:64, :64] - 31.5
            wanted = peak * np.exp(-(x**2 + y**2) / (2 * sigma**2))
            core = np.hypot(x, y) < 3 * sigma
            assert np.abs(cube[..., band] - wanted)[core].max() < 0.03 * peak + 5 * NOISE
            doubt = 5 * NOISE * np.sqrt(core.sum())
            assert cube[..., band][core].sum() == pytest.approx(wanted[core].sum(), rel=0.01, abs=doubt)
    assert alone >= 3


def near(universe, a, b, pixels):
    one, two = universe.rows[a], universe.rows[b]
    east = (one["photoRa"] - two["photoRa"] + 180) % 360 - 180
    east *= np.cos(np.radians(one["photoDec"]))
    return np.hypot(east, one["photoDec"] - two["photoDec"]) * 3600 / 0.396 < pixels


def test_north_is_up_and_east_is_left(tmp_path):
    """Neighbours appear where their coordinates say."""
    universe = Universe(**DENSE)
    with serving(DENSE) as url:
        request = Request(catalog=write_catalog(tmp_path / "c.csv", universe), images="fits", bands=("r",))
        fetch(tmp_path / "a.parquet", url, request)
    found = cubes(tmp_path / "a.parquet")
    compared = 0
    for name, (cube, _) in found.items():
        row = universe.rows[int(name[1:])]
        for other, there in enumerate(universe.rows):
            north = (there["photoDec"] - row["photoDec"]) * 3600 / 0.396
            east = (there["photoRa"] - row["photoRa"]) * np.cos(np.radians(row["photoDec"])) * 3600 / 0.396
            alone = not any(near(universe, other, o, 15) for o in range(120) if o != other)
            if alone and 8 < np.hypot(east, north) < 24:
                y, x = round(31.5 - north), round(31.5 - east)
                window = cube[y - 2 : y + 3, x - 2 : x + 3, 0]
                assert window.max() == pytest.approx(universe.peak(other, "r"), rel=0.15)
                compared += 1
    assert compared >= 5


def test_each_frame_is_fetched_once_for_all_objects_in_it(tmp_path):
    universe = Universe(**DENSE)
    with serving({**DENSE, "log": str(tmp_path / "log")}) as url:
        request = Request(catalog=write_catalog(tmp_path / "c.csv", universe), images="fits", bands=("g", "r"))
        outcome = fetch(tmp_path / "a.parquet", url, request)
    paths = [line["path"] for line in requests_of(tmp_path / "log")]
    assert len(paths) == len(set(paths)) == 2 * len(universe.fields)
    assert outcome.asked == 120
    assert set(outcome.rejected) <= {"black"}, "objects at the edge of their frame"
    cutouts = read_cutouts(tmp_path / "a.parquet")
    assert cutouts.table.num_rows == outcome.fetched > 20


def test_objects_without_a_field_have_no_frame(tmp_path):
    (tmp_path / "c.csv").write_text("object_id,ra,dec,label\na,10,1,STAR\nb,11,2,STAR\n")
    row = Universe(**WIDE).rows[0]
    with (tmp_path / "d.csv").open("w") as file:
        file.write("object_id,ra,dec,run,camcol,field\n")
        file.write(f"x,{row['photoRa']},{row['photoDec']},{row['run']},{row['camcol']},{row['field']}\ny,10,1,,,\n")
    with serving(WIDE) as url:
        with pytest.raises(Exception, match="outside: 2"):
            fetch(tmp_path / "a.parquet", url, Request(catalog=tmp_path / "c.csv", images="fits"))
        outcome = fetch(tmp_path / "b.parquet", url, Request(catalog=tmp_path / "d.csv", images="fits", max_black=1))
    assert (outcome.fetched, outcome.rejected) == (1, {"outside": 1})


def test_what_lies_beyond_the_frame_is_zero_where_it_is_allowed(tmp_path):
    universe = Universe(**DENSE)
    with serving(DENSE) as url:
        catalog = write_catalog(tmp_path / "c.csv", universe)
        request = Request(catalog=catalog, images="fits", bands=("r",), max_black=1)
        assert fetch(tmp_path / "a.parquet", url, request).fetched == 120
    found = [cube for cube, _ in cubes(tmp_path / "a.parquet").values()]
    assert max((cube == 0).mean() for cube in found) > 0.2


@pytest.mark.parametrize(("service", "bands"), [("legacy", "gri"), ("hips2fits", "ugriz"), ("legacy", "r")])
def test_services_that_cut_give_cubes_of_their_bands(service, bands, tmp_path):
    universe = Universe(20, 2)
    with serving({"objects": 20, "seed": 2}) as url:
        request = Request(
            catalog=write_catalog(tmp_path / "c.csv", universe),
            images="fits",
            service=service,
            size=48,
            bands=tuple(bands),
        )
        assert fetch(tmp_path / "a.parquet", url, request).fetched == 20
    for cube, data in cubes(tmp_path / "a.parquet").values():
        assert cube.shape == (48, 48, len(bands))
        assert probe_fits(data).bands == tuple(bands)
    assert read_cutouts(tmp_path / "a.parquet").recipe["bands"] == bands


@pytest.mark.parametrize("kind", soak(["bz2_bomb", "html200", "truncated_jpeg", "empty", "endless", "gzip_bomb"], 2))
def test_hostile_frames_are_refused_and_other_fields_go_on(kind, tmp_path):
    sky = {"objects": 90, "seed": 23, "shape": (200, 260), "hostile": {"0": kind}}
    universe = Universe(90, 23, shape=(200, 260))
    catalog = write_catalog(tmp_path / "c.csv", universe)
    with serving(sky) as url:
        outcome = fetch(
            tmp_path / "a.parquet", url, Request(catalog=catalog, images="fits", max_black=1), attempts=2, timeout=3
        )
    bad = len(universe.members[universe.number[tuple(universe.rows[0][k] for k in ("run", "camcol", "field"))]])
    assert outcome.fetched == 90 - bad
    assert sum(outcome.rejected.values()) == bad

"""The query for the clean sample, and the strict reading of its replies."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from sdss_sql import Sql
from sdss_universe import Universe, spec_id
from skythaw.data.sources.sdss import spectra_query
from skythaw.data.sources.sdss.missing_reasons import Fault, Reason
from skythaw.data.sources.sdss.sdss_request import Request
from skythaw.errors import SpecError

UNIVERSE = Universe(objects=400, seed=4)


def reply(classes=spectra_query.CLASSES, number=None, limits=spectra_query.Limits()):  # noqa: B008 (frozen)
    """What the server says of one slice, or of all the sky."""
    query = spectra_query.slice_query(classes, number or 0, limits)
    if number is None:
        query = query.replace("BETWEEN 0 AND 255", "BETWEEN 0 AND 65535")
    return Sql(UNIVERSE).answer(query).csv().encode()


def test_ids_are_made_as_the_database_makes_them():
    assert spectra_query.spec_obj_id(266, 51602, 1, "26") == 299489676975171584  # the first spectrum of SDSS
    assert spectra_query.spec_obj_id(8192, 57000, 1, "v5_13_0") > 2**63 - 1
    for row in UNIVERSE.rows[:50]:
        own = spectra_query.spec_obj_id(row["plate"], row["mjd"], row["fiberID"], row["run2d"])
        assert own == spec_id(row["plate"], row["mjd"], row["fiberID"], row["run2d"]) == int(row["specObjID"])


def test_slices_are_the_whole_sky_once():
    ids = [
        row["specObjID"]
        for n in range(spectra_query.SLICES)
        for row in spectra_query.read_slice(reply(number=n), spectra_query.CLASSES, 17)
    ]
    assert sorted(ids) == sorted(str(row["specObjID"]) for row in UNIVERSE.rows)


def test_the_longest_query_fits_into_an_address_of_the_service():
    limits = spectra_query.Limits(-99.12345, 99.12345, -9.12345, 9.12345)
    query = spectra_query.slice_query(spectra_query.CLASSES, spectra_query.SLICES - 1, limits)
    assert len(spectra_query.address(17)) + len(quote(query, safe="(),*/:")) < 2000  # ASP.NET refuses beyond 2,048


def test_limits_limit():
    limits = spectra_query.Limits(min_mag=16, max_mag=19, min_redshift=0.01, max_redshift=0.5)
    rows = spectra_query.read_slice(reply(limits=limits), spectra_query.CLASSES, 17)
    wanted = [r for r in UNIVERSE.rows if 16 <= r["modelMag_r"] <= 19 and 0.01 <= r["z"] <= 0.5]
    assert 0 < len(rows) == len(wanted) < len(UNIVERSE.rows)


def test_missing_numbers_are_none_and_ids_are_text():
    rows = spectra_query.read_slice(reply(), spectra_query.CLASSES, 17)
    missing = {str(r["specObjID"]) for r in UNIVERSE.rows if r["petroMag_r"] == -9999}
    assert missing
    assert {r["specObjID"] for r in rows if r["petroMag_r"] is None} == missing
    assert all(isinstance(r["bestObjID"], str) for r in rows)


def lines(change):
    head, names, *rows = reply().decode().splitlines()
    return "\n".join([head, *change(names, rows)]).encode() + b"\n"


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (lambda n, r: [n.replace("specObjID", "specobjid"), *r], Reason.UNAVAILABLE, "other columns"),
        (lambda n, r: [n, r[0], *r], Reason.UNAVAILABLE, "occurs twice"),
        (lambda n, r: [n, r[0].replace("GALAXY", "QSO").replace("STAR", "QSO"), *r[1:]], None, ""),
        (lambda n, r: [n, r[0] + ",1", *r[1:]], Reason.TRUNCATED, "values in a table"),
        (lambda n, r: ["error_message", "ERROR: Maximum 60 queries allowed per minute."], Reason.RATE_LIMITED, "60"),
        (lambda n, r: ["error_message", "error: must be a select statement"], Reason.REFUSED, "select"),
        (lambda n, r: ["<html>", n], Reason.UNAVAILABLE, "other columns"),
    ],
    ids=["columns", "twice", "fine", "cells", "minute", "refused", "html"],
)
def test_a_reply_is_taken_whole_or_not_at_all(change, reason, words):
    if reason is None:
        assert len(spectra_query.read_slice(lines(change), spectra_query.CLASSES, 17)) == 400
        return
    with pytest.raises(Fault, match=words) as fault:
        spectra_query.read_slice(lines(change), spectra_query.CLASSES, 17)
    assert fault.value.reason is reason


@pytest.mark.parametrize("text", ["<html>Skyserver Error</html>", "", "#Table2\na\n1\n", '{"ErrorCode":500}'])
def test_what_is_no_table_is_no_table(text):
    with pytest.raises(Fault, match="no table"):
        spectra_query.read_slice(text.encode(), spectra_query.CLASSES, 17)


def test_a_reply_cut_within_a_line_is_found():
    with pytest.raises(Fault, match="breaks off"):
        spectra_query.read_slice(reply()[:-20], spectra_query.CLASSES, 17)


def test_other_classes_and_contradicting_ids_are_found():
    with pytest.raises(Fault, match="not asked for"):
        spectra_query.read_slice(reply(), ("QSO",), 17)
    row = UNIVERSE.rows[0]
    bad = reply().replace(str(row["specObjID"]).encode(), str(int(row["specObjID"]) + 1024).encode())
    with pytest.raises(Fault, match="contradicts"):
        spectra_query.read_slice(bad, spectra_query.CLASSES, 17)
    assert len(spectra_query.read_slice(bad, spectra_query.CLASSES, 18)) == 400, "DR18 makes some ids by another rule"


def test_a_table_as_long_as_the_service_gives_is_refused(monkeypatch):
    monkeypatch.setattr(spectra_query, "ROW_LIMIT", 400)
    with pytest.raises(Fault, match="cuts tables off") as fault:
        spectra_query.read_slice(reply(), spectra_query.CLASSES, 17)
    assert not fault.value.reason.passes


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"total": 5, "release": 13}, "release 13 is none of DR14 to DR18"),
        ({"total": 5, "images": "jpg"}, "did you mean 'jpeg'"),
        ({"total": 5, "service": "sky"}, "no such service: 'sky'"),
        ({"total": 5, "size": 32}, "size 32 should be 64 to 2048"),
        ({"total": 5, "scale": 0}, "scale 0"),
        ({"total": 0}, "total = 0 should be at least 1"),
        ({}, "say what to fetch"),
        ({"total": 5, "per_class": 5}, "not per_class and total"),
        ({"total": 5, "classes": ("QSO", "GALAXIES")}, "did you mean 'GALAXY'"),
        ({"total": 5, "bands": ("g",)}, "bands are for FITS"),
        ({"total": 5, "images": "fits", "service": "legacy", "bands": ("u",)}, "legacy has no band 'u'"),
        ({"total": 5, "images": "fits", "bands": ("g", "g")}, "twice"),
        ({"total": 5, "limits": spectra_query.Limits(20, 10)}, "leave nothing"),
        ({"total": 5, "limits": spectra_query.Limits(float("nan"))}, "no number"),
        ({"total": 5, "max_black": 5}, "a share from 0 to 1"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(settings, words):
    with pytest.raises(SpecError, match=words):
        Request(**settings)

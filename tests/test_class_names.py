"""Names of classes: two spellings of one are found and merged, harmful ones are refused."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import strategies as st

from helpers_soak import fuzz
from skythaw.data.class_names import look_alikes, merged_names, require_plain
from skythaw.errors import DataError

SPELLINGS = [
    "STAR",
    "Star ",
    "stars",
    "galaxy",
    "GALAXY",
    "Galaxies",
    "SN Ia",
    "sn_ia",
    "SN-Ia",
    "E",
    "E-",
    "é",
    "e\u0301",
]


@fuzz(200, st.lists(st.one_of(st.none(), st.sampled_from(SPELLINGS), st.text("aSs -_\u0301", max_size=6)), max_size=40))
def test_merging_is_idempotent_and_loses_nothing(labels):
    names = merged_names(labels)
    merged = [names.get(label, label) for label in labels]
    assert not merged_names(merged)
    assert not look_alikes(merged)
    assert [label is None for label in merged] == [label is None for label in labels]
    assert set(merged) <= set(labels)


@pytest.mark.parametrize(
    "alike",
    [
        ("STAR", "star"),
        ("STAR", " Star "),
        ("star", "stars"),
        ("galaxy", "Galaxies"),
        ("SN Ia", "sn-ia", "SN__Ia", "SNIa"),
        ("EllipticalGalaxy", "Elliptical galaxy", "elliptical_galaxies"),
        (unicodedata.normalize("NFC", "Gal\u00e1xia"), unicodedata.normalize("NFD", "Gal\u00e1xia")),
    ],
)
def test_two_spellings_of_one_class(alike):
    labels = [*alike, alike[-1], "other", None]
    assert [set(names) for names in look_alikes(labels)] == [set(alike)]
    assert set(merged_names(labels).values()) == {alike[-1]}


@pytest.mark.parametrize(
    "apart", [("E", "E-"), ("S0", "S0+"), ("Sa", "Sb"), ("1", "-1"), ("SN I", "SN II"), ("gas", "ga"), ("1 0", "10")]
)
def test_other_names_stay_apart(apart):
    assert not look_alikes(apart)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is empty"),
        ("  ", "only blanks"),
        ("a\nb", "line end"),
        ("a\tb", "tab"),
        ("a\0b", "NUL"),
        ("a\u202eb", "right-to-left override"),
        ("x" * 10_000, "has 10000 characters; 100 are allowed"),
        (".hidden", "begins with a dot"),
        ("/etc", "begins with '/'"),
    ],
)
def test_a_harmful_name_is_refused_in_one_line(name, says):
    with pytest.raises(DataError, match=says) as caught:
        require_plain(["STAR", name], "f.parquet")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250
    require_plain(["STAR", "SN Ia", "Gal\u00e1xia", "星", "S/B0", "x" * 100], "f.parquet")

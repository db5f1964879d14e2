"""The service over a classifier that takes numbers beside images: forms, answers, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import skythaw
from helpers_numbers import MAGNITUDES, make_numbered_bundle
from skythaw.data.cutouts import read_cutouts
from test_web import ask, get, upload

PAGE = "/bundles/bundle"
API = "/api/v1/bundles/bundle"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("web")
    make_numbered_bundle(folder, cache)
    return folder


@pytest.fixture(scope="module")
def one(folder):
    """Id, image file and magnitudes of an object."""
    cutouts = read_cutouts(folder / "survey.parquet")
    name, data, _ = next(cutouts.images())
    return name, data, {key: float(cutouts.numbers(key)[0]) for key in MAGNITUDES}


def send(folder, data, path=f"{API}/predict", images=1, **fields):
    files = [("files", (f"{i}.jpg", data)) for i in range(images)]
    return ask(folder, ("POST", path, {"files": files, "data": fields}))[0]


def columns(numbers):
    return {f"column.{name}": str(value) for name, value in numbers.items()}


def test_programs_send_numbers_beside_images(folder, one):
    _, data, numbers = one
    assert get(folder, API).json()["columns"] == list(MAGNITUDES)
    answer = send(folder, data, images=2, numbers=json.dumps([numbers, None])).json()["predictions"]
    assert [each["inputs"] for each in answer] == ["both", "images"]
    classifier = skythaw.load(folder / "bundle", device="cpu")
    p = classifier.predict([data], table={name: [value] for name, value in numbers.items()})[0]
    assert np.allclose([answer[0]["probabilities"][name] for name in classifier.classes], p, atol=1e-6)
    assert upload(folder, data).json()["predictions"][0]["inputs"] == "images"


@pytest.mark.parametrize("numbers", ["[", "5", "[1]", '["x"]', "[{}, {}]", "[" * 100_000])
def test_numbers_that_are_no_json_are_refused(folder, one, numbers):
    answer = send(folder, one[1], numbers=numbers)
    (said,) = answer.json()["predictions"]
    assert "numbers should be JSON" in said["status"]
    assert said["label"] is None


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"modelMag_r": "faint"}, "'modelMag_r' should hold a number, not 'faint'"),
        ({"modelMag_r": "inf"}, "infinite"),
        ({"redshift": 1.0}, "takes no column 'redshift'"),
    ],
)
def test_a_number_that_is_none_is_said(folder, one, numbers, said):
    answer = send(folder, one[1], numbers=json.dumps([numbers]))
    assert said in answer.json()["predictions"][0]["status"]
    page = send(folder, one[1], path=PAGE, **columns(numbers))
    assert page.status_code == 422
    assert said.split("'")[-1] in page.text


def test_the_form_has_a_labelled_field_for_each_column(folder):
    text = get(folder, PAGE).text
    for name in MAGNITUDES:
        assert f'<label>{name} <input name="column.{name}" value="" inputmode="decimal"' in text
    assert "<legend>" in text


def test_an_upload_with_numbers_is_judged_by_both(folder, one):
    _, data, numbers = one
    both = send(folder, data, path=PAGE, **columns(numbers)).text
    assert "Judged by image and numbers together" in both
    assert f'name="column.modelMag_r" value="{numbers["modelMag_r"]}"' in both
    assert "the weightiest of 52 numbers" in both.lower()
    alone = send(folder, data, path=PAGE, **columns(dict.fromkeys(numbers, ""))).text
    assert "Judged by the image alone" in alone
    several = send(folder, data, path=PAGE, images=2, **columns(numbers))
    assert (several.status_code, "give one image" in several.text) == (422, True)


def test_an_object_of_the_run_comes_with_its_numbers(folder, one):
    name, _, _ = one
    text = get(folder, f"{PAGE}?run=run&object={name}").text
    assert "Judged by image and numbers together" in text


def test_the_cells_of_a_run_say_what_they_take(folder):
    assert {row["inputs"] for row in get(folder, "/api/v1/runs/run/cells").json()} == {"images", "both"}

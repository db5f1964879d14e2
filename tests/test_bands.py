"""Studies of images of floats in several bands: the same machinery, the same guarantees."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from helpers_data import make
from helpers_study import FLOATS, make_float_survey, make_survey, write_study
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.data.fits import encode_fits
from skythaw.errors import DataError, SkythawError
from skythaw.spec import Study
from skythaw.study.ledger import Ledger
from skythaw.study.number_cells import number_cells
from skythaw.study.open_study import RunSettings
from skythaw.study.plan import make_plan
from skythaw.study.run_study import run_study

RANGE = "low = -0.05, high = 1.2"


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return make_float_survey(tmp_path_factory.mktemp("floats") / "floats.parquet")


@pytest.fixture
def there(survey, tmp_path):
    (tmp_path / "floats.parquet").hardlink_to(survey)
    return tmp_path


def study(folder, **replace):
    return Study.load(write_study(folder, replace=FLOATS | replace))


def entries(folder):
    with Ledger.read(folder) as ledger:
        return ledger.entries()


@pytest.fixture(scope="module")
def finished(survey, cache):
    folder = survey.parent
    summary = run_study(study(folder), RunSettings(folder / "run", cache, "serial", 1, "cpu", control=False))
    assert (summary.cells, summary.done) == (3, 3)
    return folder / "run"


def test_five_bands_are_learned_and_a_cell_names_them(finished):
    found = entries(finished)
    assert {entry.cell.pixels.bands for entry in found} == {tuple("ugriz")}
    assert max(entry.result.scores["test"]["macro_f1"] for entry in found) > 0.8
    (stem,) = {entry.result.parameters - entry.result.trained_parameters for entry in found if entry.cell.depth == 7}
    assert stem == 0


def test_the_trained_file_says_what_it_expects_of_an_image(finished):
    for entry in entries(finished):
        with safe_open(finished / "weights" / f"{entry.cell.key}.safetensors", "numpy") as file:
            said = json.loads(file.metadata()["preprocessing"])
        assert (said["bands"], len(said["mean"]), len(said["std"])) == (list("ugriz"), 5, 5)
        assert said["stretch"] == entry.cell.pixels.stretch.model_dump(mode="json")
        assert (said["crop"], said["size"]) == (entry.cell.pixels.crop, entry.cell.pixels.size)


@pytest.mark.soak
def test_kept_or_computed_the_same_bits(finished, there, cache):
    plain = run_study(study(there), RunSettings(there / "run", cache, "serial", 1, "cpu", cache_size=0, control=False))
    assert plain.done == 3
    digests = [{e.key: e.result.weights_sha256 for e in entries(folder)} for folder in (finished, there / "run")]
    assert digests[0] == digests[1]
    files = [
        {file.stem: pq.read_table(file) for file in (folder / "predictions").iterdir()}
        for folder in (finished, there / "run")
    ]
    assert all(files[0][key].equals(files[1][key]) for key in files[0])


def test_the_report_shows_it_in_the_studys_bands(finished, skythaw, tmp_path):
    done = skythaw("report", finished, "--html", "r.html", "--json", "r.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.html").read_text().count("data:image/png") > 30
    assert len(json.loads((tmp_path / "r.json").read_text())["rows"]) == 3


def test_bands_and_stretch_are_axes(there, cache):
    axes = f'seed = [0]\nbands = [["i", "r", "g"], [2], ["z", 0, 1, 2, 3]]\nstretch = [{{ kind = "sqrt", {RANGE} }}]'
    plan = make_plan(study(there, **{"seed = [0, 1]": axes}), cache)
    cells = [p.cell for p in plan.cells]
    assert [cell.pixels.bands for cell in cells[::3]] == [tuple("irg"), ("r",), tuple("zugri")]
    assert [cell.setting("bands") for cell in cells[::3]] == ["i+r+g", "r", "z+u+g+r+i"]
    assert {cell.setting("stretch") for cell in cells} == {"sqrt -0.05 to 1.2"}
    whole = [sum(p.flops) for p in plan.cells[::3]]
    assert whole[1] < whole[0] < whole[2], "the first convolution counts its bands"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ('stretch = "asinh"', "stretch = 'asinh' lacks low or high, which images of floats need"),
        ("", "`skythaw data inspect FILE` prints percentiles"),
        (f'bands = ["i", "rr"]\nstretch = {{ kind = "asinh", {RANGE} }}', "unknown band 'rr'; did you mean 'r'?"),
        (f'bands = ["i", "Q"]\nstretch = {{ kind = "asinh", {RANGE} }}', "unknown band 'Q'; known: 'g', 'i', 'r'"),
        (f'bands = [5]\nstretch = {{ kind = "asinh", {RANGE} }}', "there is no band 5: the images have 5, counted"),
        (f'bands = ["u", 0]\nstretch = {{ kind = "asinh", {RANGE} }}', "bands = ['u', 0] has the same band twice"),
        (f'bands = "irg"\nstretch = {{ kind = "asinh", {RANGE} }}', "data.bands = 'irg' must be a list"),
        ('stretch = { kind = "asinh", low = [0, 0], high = 1 }', "stretch: low has 2 numbers; give 1, or 5, one for"),
        ('stretch = { kind = "asinh", low = 1, high = 1 }', "data.stretch: low = 1 must be below high = 1"),
        ('stretch = { kind = "asinh", lwo = 1 }', "unknown key 'data.stretch.lwo'; did you mean 'low'?"),
        ('stretch = { kind = "log" }', "data.stretch.kind = 'log' must be 'linear', 'sqrt' or 'asinh'"),
        ('stretch = { kind = "sqrt", softening = 3 }', "softening is of kind = 'asinh', not of 'sqrt'"),
    ],
)
def test_what_does_not_suit_the_images_is_refused_by_the_plan(there, skythaw, data, says):
    replace = {'path = "survey.parquet"': f'path = "floats.parquet"\n{data}'}
    done = skythaw("study", "plan", write_study(there, replace=replace))
    assert done.returncode == 2, done.stdout
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_mean_and_std_are_one_or_one_a_band(there, cache):
    weights = '"timm:test_efficientnet" = { random = true, mean = [0.5, 0.5, 0.5] }'
    replace = {'"timm:test_efficientnet" = "random"': weights}
    with pytest.raises(SkythawError, match=r"0.5\] has 3 numbers; give 1, or 5 \(one for each band\)"):
        make_plan(study(there, **replace), cache)


def test_a_test_set_of_another_kind_is_refused(there, cache):
    make_survey(there / "test.parquet", prefix="88")
    with pytest.raises(
        DataError, match=r"8 bits, .*, with bands red, green, blue, .* floats, .*, with bands u, g, r, i, z"
    ):
        make_plan(study(there, **{"crop = 32": 'crop = 32\ntest_path = "test.parquet"'}), cache)


def test_bands_of_8_bit_images(here, cache):
    """One of three, by name; with all three the cell says no bands, as it always did."""
    plain = make_plan(Study.load(write_study(here)), cache).cells[0].cell
    assert plain.pixels.bands is None
    assert "bands" not in plain.model_dump(mode="json")["pixels"]
    bands = {"crop = 32": 'crop = 32\nbands = [0]\nstretch = { kind = "sqrt", high = 200 }'}
    small = {'"0%", "50%", "100%"': '"50%"', "seed = [0, 1]": "seed = [0]", "epochs = 7": "epochs = 1"}
    file = write_study(here, replace=bands | small)
    summary = run_study(Study.load(file), RunSettings(here / "run", cache, "serial", 1, "cpu", control=False))
    assert (summary.done, summary.failed) == (1, 0)
    assert {entry.cell.pixels.bands for entry in entries(here / "run")} == {("red",)}


def test_the_survey_is_the_same_bytes_each_time(survey, tmp_path):
    again = make_float_survey(tmp_path / "again.parquet")
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(survey.read_bytes()).digest()
    name, data, _ = next(read_cutouts(again).images())
    assert decode(data, name).dtype == np.float32


def test_pictures_are_seen_through_bands_and_stretch_without_torch(tmp_path):
    """The reddest of the bands of a study is red; one band is grey; an image without the bands is left out."""
    value = np.zeros((16, 16, 5), np.float32) + np.arange(5, dtype=np.float32)
    make(tmp_path / "a.parquet", 3, image={n: encode_fits(value, "ugriz") for n in range(3)})
    code = """
        import io, sys
        from pathlib import Path
        from PIL import Image
        from skythaw.report.figures.object_pictures import pictures
        from skythaw.spec import Pixels

        for bands in (["g", "r", "i"], ["i", "g", "r"], ["z"], list("ugriz"), ["Y"]):
            stretch = {"kind": "linear", "low": 0, "high": 5}
            seen = Pixels(crop=8, size=8, bands=bands, stretch=stretch)
            found = pictures([Path(sys.argv[1])], ["obj00001"], seen)
            print([(i.size, i.getpixel((0, 0))) for i in map(Image.open, map(io.BytesIO, found.values()))])
        print("torch" in sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path / "a.parquet"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    irg = "[((8, 8), (153, 102, 51))]"
    assert told == [irg, irg, "[((8, 8), (204, 204, 204))]", irg, "[]", "False"]


def test_the_numbers_of_a_study_whose_stretch_and_bands_are_axes(there, cache):
    """The cells of the control have no network; they are those of the first values."""
    axes = f'seed = [0]\nbands = [["i", "r", "g"], ["z", "i", "r"]]\nstretch = [{{ kind = "sqrt", {RANGE} }}]'
    replace = {'path = "survey.parquet"': 'path = "floats.parquet"', "seed = [0, 1]": axes}
    asked = Study.load(write_study(there, replace=replace))
    plan = make_plan(asked, cache)
    (control,) = number_cells(asked, plan.study_data, control=True)
    assert control.pixels == plan.cells[0].cell.pixels

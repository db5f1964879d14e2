"""A study file is checked before anything starts, and a cell's key is what makes it that cell."""

from __future__ import annotations

import copy
import re
from datetime import date
from pathlib import Path

import pytest

from skythaw.errors import SpecError
from skythaw.spec import Cell, Numbers, Pixels, Recipe, Split, Study, WeightsChoice, parse_depth
from skythaw.study.axis_settings import overruled

GOOD = {
    "name": "s",
    "data": {"path": "a.parquet", "split": {"by": "field", "validation": 0.2, "test": 0.2}},
    "grid": {"backbone": ["resnet50"], "depth": ["0%", 2, "tpr:10%"], "lr": [1e-3, "auto"], "crop": [32, 64]},
    "recipe": {"epochs": 3, "clip": False},
    "weights": {"resnet50": "random"},
}


def cell(**changes):
    settings = {
        "backbone": "mobilenetv2",
        "strategy": "top",
        "depth": 3,
        "train_size": 300,
        "seed": 0,
        "pixels": Pixels(crop=64, size=64),
        "split": Split(by="field"),
        "skip_broken": False,
        "recipe": Recipe(),
        "weights": WeightsChoice(),
        "weights_sha256": "w",
        "data_sha256": "d",
        "test_sha256": None,
    }
    return Cell(**{**settings, **changes})


def with_value(dotted, value):
    content = copy.deepcopy(GOOD)
    *path, last = dotted.split(".")
    place = content
    for part in path:
        place = place[part]
    place[last] = value
    return content


def test_the_documented_form_is_read():
    study = Study.parse(GOOD)
    assert study.grid.depth == ("0%", 2, "tpr:10%")
    assert study.grid.axes == {"lr": [1e-3, "auto"], "crop": [32, 64]}
    assert study.recipe.clip is None, "false turns an option off"
    assert study.weights["resnet50"].random


@pytest.mark.parametrize(
    ("dotted", "value", "says"),
    [
        ("data.splti", {}, "unknown key 'data.splti'; did you mean 'split'?"),
        ("data.split.validaton", 0.1, "unknown key 'data.split.validaton'; did you mean 'validation'?"),
        ("recipe.epoch", 3, "unknown key 'recipe.epoch'; did you mean 'epochs'?"),
        ("recipes", {}, "unknown key 'recipes'; did you mean 'recipe'?"),
        ("weights.resnet50", {"fiel": "x"}, "unknown key 'weights.resnet50.fiel'; did you mean 'file'?"),
        ("weights.resnet50", {"file": "x", "random": True}, "give a file or random = true, not both"),
        ("grid.lrr", [1], "no such axis: 'lrr'; did you mean 'lr'?"),
        ("grid.seed", [0, 0], "seed = [0, 0] has the same value twice"),
        ("grid.weights", ["random", "random"], "weights = ['random', 'random'] has the same value twice"),
        ("grid.crop", 32, "crop = 32 must be a list"),
        ("grid.batch", [0], "grid.batch"),
        ("grid.depth", ["fifty%"], "depth 'fifty%' is not a count of blocks (3), a share of blocks ('25%')"),
        ("grid.depth", ["120%"], "more than 100%"),
        ("grid.depth", [-1], "depth -1 is negative"),
        ("grid.backbone", "resnet50", "grid.backbone = 'resnet50' must be a list"),
        ("grid.backbone", [], "grid.backbone"),
        ("grid.crop", ["32"], None),
        ("grid.batch", [date(2026, 1, 1)], "grid.batch"),
        ("grid.seed", [2**70], "grid.seed"),
        ("grid.size", [10**6], "grid.size"),
        ("data.split.seed", -1, "data.split.seed = -1"),
        ("recipe.lr", 0, "recipe.lr"),
        ("recipe.epochs", 2.5, "recipe.epochs = 2.5"),
        ("data.split.test", 0.9, "leaves no training images"),
        ("name", "a/b", "name = 'a/b' must be made of letters, digits, '_', '.' and '-' alone"),
        ("data.lr", 1e-3, "unknown key 'data.lr'; lr stands in [recipe]"),
        ("recipe.seed", 1, "unknown key 'recipe.seed'; seed stands in [grid]"),
        ("grid.split", {}, "grid: no such axis: 'split'; it stands in [data]"),
        ("grid", {"backbones": ["resnet50"]}, "grid: no such axis: 'backbones'; did you mean 'backbone'?"),
        ("grid", 3, "grid = 3 must be a section, [grid]"),
        ("weights", "random", "weights = 'random' must be a table, { key = value }"),
        ("data.path", "", "data.path: '' names no file or folder"),
        ("data.path", ["a"], "data.path = ['a'] must be a path in quotes"),
        ("data.split", "auto", "data.split = 'auto' must be a table, such as { by = \"auto\""),
        ("data.crop", "big", "data.crop = 'big' must be a whole number"),
        ("data.crop", [32, 64], "must be a whole number; a list of values to compare stands in [grid]"),
        ("data.bands", [], "data.bands = [] must be a list with at least one value"),
        ("data.stretch", {"kind": "asinh", "low": "min"}, "data.stretch.low: 'min' is neither a number nor a list"),
        ("data.skip_broken", "maybe", "data.skip_broken = 'maybe' must be true or false"),
        ("recipe.epochs", "many", "recipe.epochs = 'many' must be a whole number, or 'auto'"),
        ("recipe.lr", -1, "recipe.lr = -1 must be above 0, or 'auto'"),
        ("recipe.clip", "none", "recipe.clip = 'none' must be a number, or false"),
        ("recipe.select", "f1", "recipe.select = 'f1' must be 'macro_f1' or 'log_loss'"),
        ("grid.depth", [0.5], "grid.depth: depth 0.5 is not a count of blocks (3), a share of blocks ('25%')"),
        ("grid.depth", [], "grid.depth = [] must be a list with at least one value"),
        ("grid.train_size", ["50%"], "grid.train_size: '50%' must be a whole number, or 'all'"),
        ("grid.weights", [3], "grid.weights: 3 must be a file, 'imagenet', 'random', a name of published weights"),
        ("grid.lr", ["fast"], "study.toml: grid.lr = 'fast' must be a number, or 'auto'"),
        ("grid.clip", [True], "study.toml: grid.clip = true can't be true"),
        ("grid.bands", ["r", "g"], "study.toml: grid.bands = 'r' must be a list; in [grid] it is a list of lists"),
    ],
)
def test_a_bad_value_is_named_in_one_line(dotted, value, says):
    if says is None:  # settled as the model reads it
        assert Study.parse(with_value(dotted, value)).grid.axes["crop"] == [32]
        return
    with pytest.raises(SpecError) as caught:
        Study.parse(with_value(dotted, value), "study.toml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_share_of_an_internal_test_set_does_not_count_with_an_external_one():
    content = with_value("data.split.validation", 0.85)
    with pytest.raises(SpecError, match="leaves no training images"):
        Study.parse(content)
    content["data"]["test_path"] = "b.parquet"
    Study.parse(content)


def test_a_missing_section_is_named():
    with pytest.raises(SpecError, match="'grid' is missing"):
        Study.parse({"data": {"path": "x"}})


def test_a_study_file_may_begin_with_a_mark_of_its_encoding(tmp_path):
    """As some editors on Windows write it."""
    text = '[data]\npath = "a.parquet"\n[grid]\nbackbone = ["resnet50"]\ndepth = [1]\n'
    (tmp_path / "s.toml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert Study.load(tmp_path / "s.toml").grid.depth == (1,)


def test_the_data_given_as_study_are_not_read_whole(tmp_path):
    (tmp_path / "survey.parquet").write_bytes(b"PAR1" + bytes(1_000_000))
    for path in (tmp_path / "survey.parquet", Path("/dev/zero")):
        with pytest.raises(SpecError, match=r"is larger than a study file is .*: give the TOML file, not the data"):
            Study.load(path)


def test_a_file_that_is_not_there_and_one_that_is_not_toml(tmp_path):
    with pytest.raises(SpecError, match="No such file"):
        Study.load(tmp_path / "none.toml")
    with pytest.raises(SpecError, match=r"is a folder: give the study file itself, such as .*study\.toml"):
        Study.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "s.toml is empty: a study has at least path under [data] and backbone under [grid]"),
        (
            "[data]\npath = '\xe4'".encode("latin1"),
            "s.toml: it is not text in UTF-8 (seen in line 2); save it as UTF-8",
        ),
        (b"[data]\nby = field", "s.toml is not TOML: line 2, 'by = field', is no value: text stands in quotes"),
        (b"[grid]\ndepth = [50%]", "s.toml is not TOML: line 2, 'depth = [50%]', ends no list"),
        (b"[data]\n[data]", "s.toml is not TOML: line 2, '[data]', begins a section that stands there already"),
        (b'path = "C:\\Users"', "has \\ inside double quotes: write / or put the text in single quotes"),
        (b"name = ", "s.toml is not TOML: "),
    ],
)
def test_what_is_no_toml_is_told_by_its_line(tmp_path, content, says):
    (tmp_path / "s.toml").write_bytes(content)
    with pytest.raises(SpecError) as caught:
        Study.load(tmp_path / "s.toml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_of_the_grid_that_stands_in_another_section_too_is_told():
    """Where a user wrote it: a default is none that was written."""
    assert overruled(Study.parse(GOOD)) == []
    content = copy.deepcopy(GOOD)
    content["data"] |= {"crop": 48, "stretch": "sqrt"}
    content["grid"] |= {"clip": [1.0], "stretch": ["asinh"]}
    content["recipe"] |= {"lr": "auto"}
    rest = "is not used: leave one of them out"
    assert overruled(Study.parse(content)) == [
        f"crop stands twice: crop = [32, 64] in [grid] holds, and crop = 48 in [data] {rest}",
        f"stretch stands twice: stretch = ['asinh'] in [grid] holds, and stretch = 'sqrt' in [data] {rest}",
        f"lr stands twice: lr = [0.001, 'auto'] in [grid] holds, and lr = 'auto' in [recipe] {rest}",
        f"clip stands twice: clip = [1.0] in [grid] holds, and clip = false in [recipe] {rest}",
    ]


def test_paths_are_relative_to_the_study_file(tmp_path):
    (tmp_path / "s.toml").write_text(
        '[data]\npath = "a.parquet"\n[grid]\nbackbone = ["vgg16"]\n[weights]\nvgg16 = "v.pth"\n'
    )
    study = Study.load(tmp_path / "s.toml")
    assert study.data.path == tmp_path / "a.parquet"
    assert study.weights["vgg16"].file == tmp_path / "v.pth"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [(3, ("blocks", 3)), ("25%", ("percent", 25)), ("12.5 %", ("percent", 12.5)), ("tpr:10%", ("tpr", 10))],
)
def test_depths(text, meaning):
    assert parse_depth(text) == meaning


def test_the_key_is_golden():
    """A changed key makes every finished cell of every user run again: change it on purpose, or not at all."""
    assert cell().key == GOLDEN


def test_bands_and_stretch_left_these_keys_as_they_were():
    """Bands that are not said, and a stretch by its name alone: such cells keep their keys."""
    for stretch, key in BEFORE_BANDS.items():
        for said in (stretch, {"kind": stretch}):
            pixels = Pixels(crop=48, size=64, stretch=said, bands=None)
            assert cell(pixels=pixels).key == key
            assert Cell.model_validate_json(cell(pixels=pixels).model_dump_json()).key == key
    assert cell(pixels=Pixels(crop=48, size=64, stretch={"kind": "asinh", "low": 1})).key != BEFORE_BANDS["asinh"]
    axes = Study.parse(with_value("grid.stretch", ["linear", {"kind": "sqrt", "high": [3, 4]}])).describe()["grid"]
    assert axes["stretch"] == ["linear", {"kind": "sqrt", "high": [3, 4], "softening": [10]}]
    assert "bands" not in Study.parse(GOOD).describe()["data"]


def test_every_field_is_in_the_key():
    changes = {
        "backbone": "vgg16",
        "strategy": "other",
        "depth": 4,
        "train_size": 301,
        "seed": 1,
        "pixels": Pixels(crop=32, size=64),
        "split": Split(by="field", seed=1),
        "skip_broken": True,
        "recipe": Recipe(lr=2e-3),
        "weights": WeightsChoice(mean=(0.5,)),
        "weights_sha256": "x",
        "data_sha256": "x",
        "test_sha256": "x",
        "inputs": "both",
        "numbers": Numbers(measured=True),
        "numbers_sha256": "x",
        "number_models": ("forest",),
    }
    assert set(changes) == set(Cell.model_fields), "a new field must be tried here"
    keys = {cell(**{name: value}).key for name, value in changes.items()}
    assert len(keys | {cell().key}) == len(changes) + 1


def test_every_setting_of_recipe_and_pixels_is_in_the_key():
    other = {"lr": 1e-3, "schedule": "cosine", "batchnorm": "train", "class_weights": "balanced", "stretch": "asinh"}
    other |= {
        "bands": ["r"],
        "interpolation": "bilinear",
        "select": "log_loss",
        "patience": 3,
        "precision": "mixed",
        "clip": None,
        "ema": None,
        "views": 4,
        "shift": 4,
        "activations": "float32",
        "epochs": 7,
        "max_steps": 500,
    }
    for name in Recipe.model_fields:
        value = other.get(name, getattr(Recipe(), name))
        changed = Recipe(**{name: value if name in other else (value + 1 if value >= 1 else value + 0.1)})
        assert cell(recipe=changed).key != cell().key, name
    for name in Pixels.model_fields:
        changed = Pixels(**{"crop": 64, "size": 64, name: other.get(name, 32)})
        assert cell(pixels=changed).key != cell().key, name


def test_a_study_describes_itself_without_paths_or_name():
    study = Study.parse(GOOD)
    moved = Study.parse({**GOOD, "name": "t", "data": {**GOOD["data"], "path": "b.parquet"}})
    assert study.describe() == moved.describe()
    assert study.describe() != Study.parse(with_value("recipe.epochs", 4)).describe()
    assert study.describe()["recipe"]["batch"] == 64, "defaults are written out"


def test_the_most_steps_of_a_cell_follow_from_its_images():
    assert [cell(train_size=n).recipe.max_steps for n in (1, 300, 3968, 3969)] == [4000, 4000, 4000, 64 * 63]
    assert cell(train_size=16_740).recipe.max_steps == 64 * 262
    assert cell(train_size=16_740, recipe=Recipe(max_steps=70)).recipe.max_steps == 70
    assert cell(recipe=Recipe(max_steps=4000)).key == cell().key, "as cells have it that were trained before"


def test_a_study_says_the_most_steps_where_all_sizes_allow_the_same():
    study, said = Study.parse(GOOD), Study.parse(with_value("recipe.max_steps", 4000))
    assert study.describe([300, 3000]) == said.describe([300, 3000]) == said.describe()
    assert study.describe([300, 16_740])["recipe"]["max_steps"] == "auto"
    assert study.describe([16_740]) != said.describe([16_740])


GOLDEN = "9d1ecdc5965d08deeaa543ba4390d33a31f7c3f4be847656e76e7efd356b476a"
BEFORE_BANDS = {
    "asinh": "438bb78f61ec39705b3b4a5ce38a313c3e3cf9137a55c689d028c3ecf4d28c75",
    "sqrt": "9b0e9cabc3f8e6251d7a1f72a16443d28c187a60d831020c34a7fba10f4e5597",
}


def test_a_copy_of_a_cell_has_a_key_of_its_own():
    one = cell()
    assert one.key != one.model_copy(update={"train_size": 20}).key == cell(train_size=20).key


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("recipe.views", True, "views = true can't be true or false"),
        ("recipe.lr", True, "lr = true can't be true or false"),
        ("recipe.clip", True, "clip = true can't be true"),
        ("grid.depth", [True], "depth = [true] can't be true or false"),
        ("grid.lr", [True, 1e-3], "lr = true can't be true or false"),
        ("data.radius", False, "radius = false can't be true or false"),
    ],
)
def test_true_is_no_number(key, value, says):
    with pytest.raises(SpecError, match=re.escape(says)):
        Study.parse(with_value(key, value))
    assert Study.parse(with_value("recipe.clip", False)).recipe.clip is None

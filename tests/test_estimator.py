"""`SkythawClassifier` is an estimator: it clones, is cross-validated, stands in a pipeline, and says what is wrong."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from astropy.table import MaskedColumn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

from helpers_study import make_float_survey, make_survey
from skythaw import SkythawClassifier
from skythaw.api import estimator
from skythaw.backbones.pretrained_weights import RANDOM
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.errors import DataError, SkythawError, SpecError

SMALL = {"backbone": "timm:test_efficientnet", "depth": 1, "weights": "random", "epochs": 4, "lr": 5e-3, "batch": 16}
WITHOUT_IMAGES = (
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
)
"""All checks of scikit-learn that need no data. The others feed tables of numbers, which are no images: its own
`check_estimator` leaves them out, too, of an estimator whose tags say so."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    cutouts = read_cutouts(make_survey(tmp_path_factory.mktemp("s") / "survey.parquet", 120))
    images = np.stack([decode(data, "?") for _, data, _ in cutouts.images()])
    return images, np.array(cutouts.labels.tolist())


@pytest.fixture(scope="module")
def fitted(data, own_cache):
    return SkythawClassifier(**SMALL).fit(*data)


@pytest.fixture(scope="module", autouse=True)
def own_cache(cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKYTHAW_CACHE", str(cache))
        yield


@pytest.mark.parametrize("check", WITHOUT_IMAGES)
def test_it_passes_the_checks_of_scikit_learn_that_need_no_table(check):
    getattr(estimator_checks, check)("SkythawClassifier", SkythawClassifier(**SMALL))


def test_check_estimator_itself_finds_nothing():
    with pytest.warns(Warning, match="Can't test estimator SkythawClassifier which requires input"):
        estimator_checks.check_estimator(SkythawClassifier())


def test_it_learns_and_gives_plain_arrays(fitted, data):
    images, labels = data
    assert fitted.classes_.tolist() == ["GALAXY", "QSO", "STAR"]
    p = fitted.predict_proba(images)
    assert p.shape == (120, 3)
    assert np.allclose(p.sum(1), 1, atol=1e-5)
    assert (fitted.predict(images) == labels).mean() > 0.6
    assert fitted.score(images, labels) == (fitted.predict(images) == labels).mean()
    assert 0 < fitted.n_iter_ <= 4 * 6


def test_the_same_seed_gives_the_same_bits_after_cloning_and_pickling(fitted, data):
    images = data[0]
    again = clone(fitted).fit(*data)
    assert np.array_equal(again.predict_proba(images), fitted.predict_proba(images))
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(images), fitted.predict_proba(images))


def test_it_is_cross_validated_by_groups(data):
    images, labels = data
    scores = cross_val_score(
        SkythawClassifier(**(SMALL | {"epochs": 1})), images, labels, groups=np.arange(120) // 6, cv=GroupKFold(2)
    )
    assert scores.shape == (2,)


def test_it_stands_in_a_pipeline_and_takes_files(data, tmp_path):
    from PIL import Image

    images, labels = data
    files = []
    for i, image in enumerate(images[:60]):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        files.append(str(tmp_path / f"{i}.png"))
    line = make_pipeline(FunctionTransformer(), SkythawClassifier(**(SMALL | {"epochs": 1})))
    assert line.fit(files, labels[:60]).predict(files).shape == (60,)
    direct = SkythawClassifier(**(SMALL | {"epochs": 1})).fit(images[:60], labels[:60])
    assert np.array_equal(line.predict_proba(files), direct.predict_proba(images[:60]))


def test_groups_are_not_divided(data):
    made = SkythawClassifier(**SMALL)
    made.classes_ = np.unique(data[1])
    groups = np.arange(120) // 6
    train, validation = made._parts(np.arange(120) % 3, groups)
    assert not set(groups[train]) & set(groups[validation])
    assert len(train) + len(validation) == 120


@pytest.mark.soak
def test_a_rate_is_found_where_none_is_given(data):
    found = SkythawClassifier(**(SMALL | {"lr": "auto", "epochs": 1, "depth": 0})).fit(*data)
    assert isinstance(found.cell_.recipe.lr, float)


def test_floats_are_taken_with_a_stretch(tmp_path):
    cutouts = read_cutouts(make_float_survey(tmp_path / "floats.parquet", 60))
    images = np.stack([decode(data, "?") for _, data, _ in cutouts.images()])[..., :3]
    stretch = {"kind": "asinh", "low": -0.05, "high": 1.2}
    made = SkythawClassifier(**(SMALL | {"epochs": 1}), stretch=stretch).fit(images, cutouts.labels)
    assert made.predict(images).shape == (60,)


ASINH = {"kind": "asinh", "low": 0, "high": 200}


@pytest.fixture(scope="module")
def five(data):
    """Floats in five bands, and an estimator that learned from them."""
    images = np.repeat(data[0][:60, ..., :1], 5, axis=-1).astype(np.float32)
    return images, SkythawClassifier(**(SMALL | {"epochs": 1}), stretch=ASINH).fit(images, data[1][:60])


def test_tensors_of_floats_may_have_their_bands_first(five, data):
    images, fitted = five
    tensor = torch.tensor(images).permute(0, 3, 1, 2)
    again = clone(fitted).fit(tensor, data[1][:60])
    assert again.expected_.bands == tuple("01234")
    assert np.array_equal(again.predict_proba(tensor), fitted.predict_proba(images))


@pytest.mark.parametrize("given", [lambda x: np.moveaxis(x, -1, 1), lambda x: list(np.moveaxis(x, -1, 1))])
def test_arrays_of_floats_with_bands_first_are_refused(five, data, given):
    images, fitted = five
    with pytest.raises(DataError, match=r"5 bands before y and x: .*np.moveaxis\(images, [01], -1\)"):
        clone(fitted).fit(given(images), data[1][:60])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda x: x[..., :1], r"has the bands 0: "),
        (lambda x: x[..., :3], r"has the bands 0, 1, 2: "),
        (lambda x: np.where(x == x[2, 0, 0, 0], np.nan, x)[2:], "image 0 has .* values that are NaN"),
        (lambda x: x[:, :30], "images of 40 x 30 pixels: this classifier takes the central 40 x 40"),
        (lambda x: x[:0], "X holds no images"),
        (lambda x: x.reshape(60, -1), r"shape \(60, 8000\), a table: give images"),
    ],
)
def test_what_can_not_be_predicted_is_one_sentence(five, given, said):
    for ask in (five[1].predict, five[1].predict_proba):
        with pytest.raises(DataError, match=said) as raised:
            ask(given(five[0]))
        assert "\n" not in str(raised.value)


def test_other_bands_than_three_are_refused(fitted, data):
    with pytest.raises(DataError, match="has the bands 0, 1, 2, 3: this classifier was trained on uint8"):
        fitted.predict(np.concatenate([data[0], data[0][..., :1]], axis=-1))


def test_pixels_that_are_nan_are_not_learned_from(five, data):
    images = five[0].copy()
    images[7, 1, 2, 3] = np.nan
    with pytest.raises(DataError, match=r"image 7 has 1 values that are NaN \(or masked\)"):
        clone(five[1]).fit(images, data[1][:60])


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (lambda y: y, "the class .* has no image to learn from"),
        (lambda y: np.zeros(120), "groups has 1 group, of which validation 0.2 takes 1"),
        (lambda y: np.zeros(6), r"groups has the shape \(6,\), and there are 120 images"),
        (lambda y: np.array([None, "a"] * 60, dtype=object), r"image 0 has no group \(None\)"),
        (lambda y: np.where(np.arange(120) == 7, np.nan, 1.0), r"image 7 has no group \(nan\)"),
        (lambda y: MaskedColumn(np.arange(120), mask=np.arange(120) == 7), r"image 7 has no group \(masked\)"),
        (lambda y: np.array([1, "a"] * 60, dtype=object), "values of several types"),
    ],
)
def test_groups_that_can_not_be_divided_are_one_sentence(data, groups, said):
    with pytest.raises(DataError, match=said):
        SkythawClassifier(**SMALL).fit(*data, groups=groups(data[1]))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"validation": 1.0}, "validation 1.0 is no share"),
        ({"validation": 2}, "validation 2 is no share"),
        ({"validation": "x"}, "validation 'x' is no share"),
        ({"validation": 0.99}, "validation 0.99 leaves 1 of 120 images"),
        ({"threads": -1}, "threads -1 should be a whole number from 1"),
        ({"threads": "two"}, "threads 'two' should be"),
        ({"threads": 0}, "threads 0 should be a whole number from 1"),
        ({"size": 0}, "size 0 should be a whole number from 1"),
        ({"backbone": None}, "backbone None should be a name, such as 'resnet50'"),
        ({"device": None}, "device None should be a name, such as 'cpu'"),
        ({"weights": 5}, "weights 5: "),
        ({"weights": "timm:resnet18.a1_in1k"}, "are of resnet18, not of timm:test_efficientnet"),
        ({"seed": None}, "seed None should be a whole number from 0"),
        ({"seed": -1}, "seed -1 should be"),
    ],
)
def test_a_setting_that_is_no_number_is_one_sentence(data, settings, said):
    with pytest.raises(SpecError, match=said):
        SkythawClassifier(**(SMALL | settings)).fit(*data)


def test_weights_are_named_as_in_a_study(data, monkeypatch):
    asked = []
    monkeypatch.setattr(estimator, "locate", lambda backbone, choice: asked.append(choice) or RANDOM)
    for name in ("imagenet", "timm:test_efficientnet.r160_in1k"):
        made = SkythawClassifier(**(SMALL | {"weights": name, "epochs": 1})).fit(data[0][:30], data[1][:30])
        assert made.predict(data[0][:2]).shape == (2,)
    assert [(choice.file, choice.published) for choice in asked] == [
        (None, None),
        (None, "timm:test_efficientnet.r160_in1k"),
    ]


def test_numbers_of_numpy_are_settings(data):
    images, labels = data[0][:48], data[1][:48]
    few = SMALL | {"epochs": np.int64(1), "batch": np.int64(16), "seed": np.int64(0), "threads": np.int64(1)}
    search = GridSearchCV(SkythawClassifier(**few), {"depth": np.arange(2)}, cv=2).fit(images, labels)
    plain = SkythawClassifier(**(SMALL | {"epochs": 1, "threads": 1, "depth": int(search.best_params_["depth"])}))
    assert np.array_equal(search.predict_proba(images), plain.fit(images, labels).predict_proba(images))


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (lambda x: x, lambda y: y[:5], "there are 120 images: give one label for each"),
        (lambda x: x, lambda y: np.zeros(120), r"y has 1 class \(0.0\)"),
        (lambda x: x, lambda y: np.array(["odd", *y[1:]]), "the class odd has one image"),
        (lambda x: x / 255 - 0.5, lambda y: y, "8 bits, from 0 to 255; .*, or train it with a stretch"),
        (lambda x: np.moveaxis(x, -1, 1), lambda y: y, "before y and x"),
        (lambda x: [*x[:119], None], lambda y: y, "image 119 is None"),
        (lambda x: [*x[:119], x[0][:20]], lambda y: y, "the images have 2 shapes"),
        (lambda x: "no-such-folder", lambda y: y, "can't be read"),
        (lambda x: x, lambda y: [*y[:119], None], r"image 119 has no label \(None\)"),
        (lambda x: x, lambda y: [*range(119), np.nan], r"image 119 has no label \(nan\)"),
        (lambda x: x, lambda y: MaskedColumn(y, mask=np.arange(120) == 7), r"image 7 has no label \(masked\)"),
        (lambda x: x, lambda y: [*y[:119], np.ma.masked], r"image 119 has no label \(masked\)"),
        (lambda x: x, lambda y: ["", *y[1:]], r"image 0 has no label \(''\)"),
        (lambda x: x, lambda y: np.array([1, "a"] * 60, dtype=object), "labels of the types int and str"),
        (lambda x: x.reshape(120, -1), lambda y: y, r"shape \(120, 4800\), a table: give images"),
        (lambda x: x[:0], lambda y: y[:0], "X holds no images"),
    ],
)
def test_what_can_not_be_used_is_one_sentence(data, images, labels, said):
    with pytest.raises(DataError, match=said) as raised:
        SkythawClassifier(**SMALL).fit(images(data[0]), labels(data[1]))
    assert "\n" not in str(raised.value)


def test_settings_that_are_wrong_are_refused_when_it_is_fitted(data):
    with pytest.raises(SkythawError, match="nresnet"):
        SkythawClassifier(backbone="nresnet").fit(*data)
    with pytest.raises(SkythawError, match="SkythawClassifier: epochs"):
        SkythawClassifier(**(SMALL | {"epochs": 0})).fit(*data)
    with pytest.raises(SkythawError, match="beyond the network"):
        SkythawClassifier(**(SMALL | {"depth": 99})).fit(*data)


def test_it_must_be_fitted_first(data):
    with pytest.raises(NotFittedError):
        SkythawClassifier(**SMALL).predict(data[0])

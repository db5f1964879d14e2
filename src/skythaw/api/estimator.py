"""`SkythawClassifier`: fine-tuning as an estimator of scikit-learn, for `cross_val_score`, `Pipeline` and the like."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import ValidationError
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from sklearn.utils.validation import check_is_fitted

from skythaw.api.run_choices import cache_folder
from skythaw.backbones.known_backbones import backbone as backbone_named
from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network import build
from skythaw.backbones.network_facts import facts
from skythaw.backbones.pretrained_weights import locate
from skythaw.bundle.bundle_file import Expected
from skythaw.bundle.classifier import decoded
from skythaw.bundle.given_images import read_given
from skythaw.data.image_form import RGB
from skythaw.errors import DataError, SpecError
from skythaw.machine.numerics import numerics
from skythaw.machine.processor import cores
from skythaw.spec import Cell, Pixels, Recipe, Split, WeightsChoice
from skythaw.spec.validation_message import one_line
from skythaw.study.rate_race import next_rates, trial_of
from skythaw.tuning.frozen_head import solved_heads, starting_head
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.linear_probe import start_from
from skythaw.tuning.thawed_network import ThawedNetwork, assemble
from skythaw.tuning.training_loop import fit, predict

Sets = tuple[LabelledImages, LabelledImages]
"""training and validation"""
UNKNOWN = "0" * 64
"""stands for the checksum of data that are in no file"""


class SkythawClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A pretrained network whose upper blocks are trained on your images, as an estimator of scikit-learn.

    It trains one network at one depth, as one cell of a study does; `skythaw.Study` compares several, and divides
    objects by the sky. Some of the images are kept apart to choose the weights that are kept.

    Parameters
    ----------
    backbone
        the network: `skythaw.backbones` lists those with a short name, ``timm:NAME`` is any other
    depth
        how many blocks are trained, from the top: a number, or a share such as ``"25%"``; 0 trains the head alone
    size
        pixels a side that the network gets; None is the size of the images
    strategy, epochs, batch, lr
        how it is trained, as in a study file (docs/study.md); ``"auto"`` finds length and rate by itself
    stretch
        for images of floats, their brightness: such as ``{"kind": "asinh", "low": 0, "high": 5}``
    validation
        share of the images that choose the weights
    weights
        ``"random"``, or a file of weights instead of the official ones
    seed
        of everything random
    threads
        of the processor; None is all cores
    device
        ``cpu``, ``cuda``, or ``auto``: a GPU if there is one

    Attributes
    ----------
    classes_
        names of the classes, sorted
    n_iter_
        training steps whose weights were kept

    Examples
    --------
    >>> import skythaw
    >>> skythaw.SkythawClassifier(backbone="resnet50", depth=3)
    SkythawClassifier(backbone='resnet50', depth=3)
    """

    def __init__(  # noqa: PLR0913 (an estimator's settings are its arguments)
        self,
        backbone: str = "efficientnet_lite0",
        depth: int | str = "25%",
        *,
        size: int | None = None,
        strategy: str = "top",
        epochs: int | str = "auto",
        batch: int = 64,
        lr: float | str = "auto",
        stretch: Any = None,
        validation: float = 0.2,
        weights: str | None = None,
        seed: int = 0,
        threads: int | None = None,
        device: str = "auto",
    ) -> None:
        self.backbone, self.depth, self.size, self.strategy = backbone, depth, size, strategy
        self.epochs, self.batch, self.lr, self.stretch = epochs, batch, lr, stretch
        self.validation, self.weights, self.seed = validation, weights, seed
        self.threads, self.device = threads, device

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Train on images and their labels.

        Parameters
        ----------
        X
            images, as `Classifier.predict` takes them: names of files, PIL images, an array [object, y, x, band] ...
        y
            the label of each
        groups
            of each image the piece of sky (or the night, or the object) that it shows: images of one group are not
            divided between training and validation

        Raises
        ------
        DataError
            The images can't be used, have not as many labels, or are of fewer than two classes.
        """
        labels = np.asarray(y)
        self.expected_ = _expected(X, self.stretch)
        stack = self._stack(X)
        _require_labels(stack, labels)
        self.classes_, targets = np.unique(labels, return_inverse=True)
        rows = self._parts(targets, groups)
        with numerics(self._threads, self.seed, self.device) as device:
            try:
                cell, weights = self._cell(stack, len(rows[0]))
            except ValidationError as error:
                raise SpecError(f"SkythawClassifier: {one_line(error, Recipe)}") from None
            training, validation = (self._images(stack, some, targets, cell, device) for some in rows)
            sets = training, validation

            def fresh(settled: Cell) -> ThawedNetwork:
                model = assemble(build(backbone_of(settled), weights), settled, len(self.classes_))
                return model.to(device).to(memory_format=torch.channels_last)

            if cell.recipe.lr == "auto":
                cell = _with_rate(cell, _best_rate(cell, fresh, sets))
            self.cell_, self.model_ = cell, fresh(cell)
            self.n_iter_ = _trained(self.model_, cell, sets)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, float32 [object, class], in the order of ``classes_``."""
        check_is_fitted(self, "model_")
        stack = self._stack(X)
        with numerics(self._threads, self.seed, self.device) as device:
            rows = np.arange(len(stack))
            images = self._images(stack, rows, np.zeros(len(stack), np.int64), self.cell_, device)
            return predict(self.model_, images, self.cell_.recipe)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each image."""
        p = self.predict_proba(X)
        return np.asarray(self.classes_[p.argmax(1)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags

    @property
    def _threads(self) -> int:
        return self.threads or cores()

    def _stack(self, X: Any) -> np.ndarray:
        """Images as an array [object, y, x, band]."""
        given = read_given(X, self.expected_).images
        if isinstance(given, np.ndarray):
            return given
        images = [_pixels(each, i) for i, each in enumerate(given)]
        shapes = sorted({each.shape for each in images})
        if len(shapes) > 1:
            raise DataError(f"the images have {len(shapes)} shapes, such as {shapes[0]} and {shapes[1]}")
        if not images:
            raise DataError("X holds no images")
        return np.stack(images)

    def _parts(self, targets: np.ndarray, groups: Any) -> tuple[np.ndarray, np.ndarray]:
        """The rows of training and of validation."""
        rows = np.arange(len(targets))
        if groups is not None:
            divide = GroupShuffleSplit(1, test_size=self.validation, random_state=self.seed)
            return next(iter(divide.split(rows, targets, np.asarray(groups))))
        share = max(math.ceil(self.validation * len(rows)), len(self.classes_))
        train, validation = train_test_split(rows, test_size=share, stratify=targets, random_state=self.seed)
        return np.sort(train), np.sort(validation)

    def _cell(self, stack: np.ndarray, training: int) -> tuple[Cell, Any]:
        """What is trained, as a cell; and the pretrained weights."""
        file = None if self.weights in (None, "random") else Path(str(self.weights))
        chosen = WeightsChoice(random=self.weights == "random", file=file)
        weights = locate(backbone_named(self.backbone), chosen)
        depth = facts(backbone_named(self.backbone), cache_folder(None)).depth(self.depth, len(self.classes_))
        side, recipe = min(stack.shape[1:3]), {"epochs": self.epochs, "batch": self.batch, "lr": self.lr}
        pixels = {"crop": side, "size": self.size or side} | ({"stretch": self.stretch} if self.stretch else {})
        content = {
            "backbone": self.backbone,
            "strategy": self.strategy,
            "depth": depth,
            "train_size": training,
            "seed": self.seed,
            "pixels": Pixels.model_validate(pixels).settled(self.expected_.bands, self.expected_.dtype == "float32"),
            "split": Split(by="random", validation=self.validation, seed=self.seed),
            "skip_broken": False,
            "recipe": Recipe.model_validate(recipe | {"threads": self._threads}),
            "weights": chosen.model_copy(update={"file": None}),
            "weights_sha256": weights.sha256,
            "data_sha256": UNKNOWN,
            "test_sha256": None,
        }
        return Cell.model_validate(content), weights

    def _images(
        self, stack: np.ndarray, rows: np.ndarray, targets: np.ndarray, cell: Cell, device: torch.device
    ) -> LabelledImages:
        wanted = backbone_of(cell).preprocessing
        bands = self.expected_.bands
        return LabelledImages(stack, rows, targets[rows], cell.pixels, wanted.mean, wanted.std, device, bands=bands)


def _expected(X: Any, stretch: Any) -> Expected:
    """The form of the images: 8 bits in three bands; floats in any bands where a stretch is given."""
    form: dict[str, Any] = {"side": 4, "pixel_scale": None, "interpolation": "bicubic"}
    if stretch is None:
        return Expected(bands=RGB, dtype="uint8", mean=(0,) * 3, std=(1,) * 3, **form)
    one = Expected(bands=("0",), dtype="float32", mean=(0,), std=(1,), **form)
    images = read_given(X, one).images
    count = (images if isinstance(images, np.ndarray) else _pixels(images[0], 0)).shape[-1]
    names = tuple(map(str, range(count)))
    return Expected(bands=names, dtype="float32", mean=(0,) * count, std=(1,) * count, **form)


def _pixels(image: Any, number: int) -> np.ndarray:
    """One image, decoded if need be."""
    if isinstance(image, np.ndarray):
        return image
    if image is None:
        raise DataError(f"image {number} is None: each row of X should be an image")
    return decoded(image, number)


def _require_labels(stack: np.ndarray, labels: np.ndarray) -> None:
    """Raise `DataError` unless each image has a label, and each class has two images or more."""
    if labels.ndim != 1 or len(labels) != len(stack):
        raise DataError(f"y has the shape {labels.shape}, and there are {len(stack)} images: give one label for each")
    counts = Counter(labels.tolist())
    if len(counts) < 2:
        raise DataError(f"y has {len(counts)} class ({', '.join(map(str, counts))}); there must be two or more")
    if rare := [str(name) for name, number in counts.items() if number < 2]:
        raise DataError(f"the class {rare[0]} has one image; two are needed: one to learn from, one to choose by")


def _with_rate(cell: Cell, rate: float) -> Cell:
    return cell.model_copy(update={"recipe": cell.recipe.model_copy(update={"lr": rate})})


def _best_rate(cell: Cell, fresh: Callable[[Cell], ThawedNetwork], sets: Sets) -> float:
    """The learning rate that wins a race of short trials on validation, as those of a study do."""
    scores: dict[float, float] = {}
    while rates := next_rates(scores):
        for rate in rates:
            trial = trial_of(cell, rate)
            fitted = fit(fresh(trial), *sets, trial.recipe, trial.seed)
            scores[rate] = -min((each["log_loss"] for each in fitted.curves), default=math.inf)
    return max(sorted(scores), key=lambda rate: scores[rate])


def _trained(model: ThawedNetwork, cell: Cell, sets: Sets) -> int:
    """Train a model as a cell of a study is trained; the step whose weights are kept."""
    recipe = cell.recipe
    heads = solved_heads(model, *sets, recipe) if cell.depth == 0 else None
    if model.thaw.head == "solved":
        start_from(model, starting_head(model, *sets, recipe))
    fitted = fit(model, *sets, recipe, cell.seed)
    if heads and (solved := heads.better_than(fitted.score)):
        start_from(model, solved[1])
    return int(fitted.step)

"""`SkythawClassifier`: fine-tuning as an estimator of scikit-learn, for `cross_val_score`, `Pipeline` and the like."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import ValidationError
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from skythaw.api.estimator_data import divided, form_of, labels_of, plain, stack_of, whole
from skythaw.api.run_choices import cache_folder
from skythaw.backbones.known_backbones import backbone as backbone_named
from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network import build
from skythaw.backbones.network_facts import facts
from skythaw.backbones.pretrained_weights import locate
from skythaw.bundle.classifier import require_probabilities
from skythaw.errors import DataError, SpecError
from skythaw.machine.numerics import numerics
from skythaw.machine.processor import cores
from skythaw.spec import Cell, Pixels, Recipe, Split, WeightsChoice
from skythaw.spec.validation_message import one_line
from skythaw.study.rate_trials import next_rates, trial_of
from skythaw.study.study_networks import alone
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
        instead of the official ones, as in a study: ``"random"``, ``"imagenet"``, a file, or a name of published
        weights such as ``timm:NAME.TAG``
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
        self.expected_ = form_of(X, self.stretch)
        self._require_names()
        stack = stack_of(X, self.expected_)
        self.classes_, targets = np.unique(labels_of(y, len(stack)), return_inverse=True)
        rows = self._parts(targets, groups)
        with numerics(self._threads, self._seed, self.device) as device:
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
        """The probability of each class, float32 [object, class], in the order of ``classes_``.

        Raises
        ------
        DataError
            The images can't be used, are smaller than those of `fit`, or have other bands; or a pixel is NaN.
        """
        check_is_fitted(self, "model_")
        self._require_names()
        stack, crop = stack_of(X, self.expected_), self.cell_.pixels.crop
        if min(stack.shape[1:3]) < crop:
            raise DataError(
                f"images of {stack.shape[2]} x {stack.shape[1]} pixels: this classifier takes the central {crop} x "
                f"{crop}"
            )
        with numerics(self._threads, self._seed, self.device) as device:
            rows = np.arange(len(stack))
            images = self._images(stack, rows, np.zeros(len(stack), np.int64), self.cell_, device)
            p = predict(self.model_, images, self.cell_.recipe)
        require_probabilities(p)
        return p

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

    def _require_names(self) -> None:
        """Raise `SpecError` unless the settings that are names are texts."""
        for name, example in (("backbone", "resnet50"), ("device", "cpu")):
            if not isinstance(value := getattr(self, name), str):
                raise SpecError(f"SkythawClassifier: {name} {value!r} should be a name, such as {example!r}")

    @property
    def _threads(self) -> int:
        return cores() if self.threads is None else whole("threads", self.threads, 1)

    @property
    def _seed(self) -> int:
        return whole("seed", self.seed, 0)

    def _parts(self, targets: np.ndarray, groups: Any) -> tuple[np.ndarray, np.ndarray]:
        """The rows of training and of validation."""
        return divided(targets, groups, self.validation, self._seed, self.classes_)

    def _cell(self, stack: np.ndarray, training: int) -> tuple[Cell, Any]:
        """What is trained, as a cell; and the pretrained weights."""
        own = backbone_named(self.backbone)
        network = alone(own, self._chosen_weights())
        weights = locate(own, network.choice)
        depth = facts(backbone_named(network.name), cache_folder(None)).depth(plain(self.depth), len(self.classes_))
        side = min(stack.shape[1:3])
        size = side if self.size is None else whole("size", self.size, 1)
        recipe = {name: plain(getattr(self, name)) for name in ("epochs", "batch", "lr")}
        pixels = {"crop": side, "size": size} | ({"stretch": self.stretch} if self.stretch else {})
        content = {
            "backbone": network.name,
            "strategy": self.strategy,
            "depth": depth,
            "train_size": training,
            "seed": self._seed,
            "pixels": Pixels.model_validate(pixels).settled(self.expected_.bands, self.expected_.dtype == "float32"),
            "split": Split(by="random", validation=self.validation, seed=self._seed),
            "skip_broken": False,
            "recipe": Recipe.model_validate(recipe | {"threads": self._threads}),
            "weights": network.choice.model_copy(update={"file": None}),
            "weights_sha256": weights.sha256,
            "data_sha256": UNKNOWN,
            "test_sha256": None,
        }
        return network.cell(Cell.model_validate(content), weights.sha256), weights

    def _chosen_weights(self) -> WeightsChoice | None:
        """The weights as a study names them."""
        if self.weights is None:
            return None
        given = str(self.weights) if isinstance(self.weights, Path) else self.weights
        try:
            return WeightsChoice.model_validate(given).within(Path())
        except ValidationError as error:
            raise SpecError(f"SkythawClassifier: weights {given!r}: {one_line(error, WeightsChoice)}") from None

    def _images(
        self, stack: np.ndarray, rows: np.ndarray, targets: np.ndarray, cell: Cell, device: torch.device
    ) -> LabelledImages:
        wanted = backbone_of(cell).preprocessing
        bands = self.expected_.bands
        return LabelledImages(stack, rows, targets[rows], cell.pixels, wanted.mean, wanted.std, device, bands=bands)


def _with_rate(cell: Cell, rate: float) -> Cell:
    return cell.model_copy(update={"recipe": cell.recipe.model_copy(update={"lr": rate})})


def _best_rate(cell: Cell, fresh: Callable[[Cell], ThawedNetwork], sets: Sets) -> float:
    """The learning rate that is best in short trials on validation, as those of a study do."""
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

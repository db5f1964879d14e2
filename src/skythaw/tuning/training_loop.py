"""The one training loop."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from skythaw.errors import DataError
from skythaw.spec import Recipe
from skythaw.tuning.epoch_draw import Draw, draw
from skythaw.tuning.frozen.crossing import SLICE, crossing
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.scores import quick_scores
from skythaw.tuning.thawed_network import ThawedNetwork
from skythaw.tuning.weight_average import Average


@dataclass
class Fit:
    """What training gave: curves, and where they peaked."""

    curves: list[dict[str, float]] = field(default_factory=list)
    """one entry an epoch: training loss and accuracy, validation scores"""
    epoch: int = 0
    """the kept epoch, from 1; 0 where none could be kept"""
    score: float = -math.inf
    """its validation score, larger is better"""
    alarms: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Tools:
    """What a training step works with beside the model."""

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    average: Average
    scaler: torch.amp.GradScaler


def fit(model: ThawedNetwork, training: LabelledImages, validation: LabelledImages, recipe: Recipe, seed: int) -> Fit:
    """Train the model's trained part; leave the weights of the best epoch in it.

    Parameters
    ----------
    model
        the classifier, changed in place
    training, validation
        the objects it learns from, and those that choose the epoch
    recipe
        how; ``lr`` must be a number here
    seed
        of batch order, views, shifts and dropout

    Returns
    -------
    Fit
        curves and alarms. If the loss, or a prediction, stops being finite, training ends there with an alarm, and the
        best epoch before it is kept.
    """
    tools = _begin(model, training, recipe, seed)
    trained = model.trained()
    best = {name: value.clone() for name, value in trained.items()}
    result = Fit()
    for epoch in range(1, recipe.epochs + 1):
        model.tune(model.thaw.phase(epoch, recipe.epochs))
        loss, accuracy = _train_epoch(model, training, recipe, draw(len(training), recipe, seed, epoch), tools)
        with tools.average.applied():
            p = predict(model, validation, recipe) if math.isfinite(loss) else None
            if p is None or not np.isfinite(p).all():
                result.alarms.append(f"diverged: numbers of epoch {epoch} are not finite{_reason(model, training)}")
                break
            scores = quick_scores(p, validation.targets)
            value = scores["macro_f1"] if recipe.select == "macro_f1" else -scores["log_loss"]
            if value > result.score:
                result.epoch, result.score = epoch, value
                best = {name: tensor.clone() for name, tensor in trained.items()}
        result.curves.append({"epoch": epoch, "train_loss": loss, "train_accuracy": accuracy, **scores})
        if recipe.patience is not None and epoch - result.epoch >= recipe.patience:
            break
    restore(model, best)
    return result


def refit(model: ThawedNetwork, training: LabelledImages, recipe: Recipe, seed: int, epochs: Iterable[int]) -> None:
    """Train as `fit` does, without validation, through the first epochs of the same schedule: 1, 2, ... of `epochs`.

    Raises
    ------
    DataError
        The loss stops being finite.
    """
    tools = _begin(model, training, recipe, seed)
    for epoch in epochs:
        model.tune(model.thaw.phase(epoch, recipe.epochs))
        loss, _ = _train_epoch(model, training, recipe, draw(len(training), recipe, seed, epoch), tools)
        if not math.isfinite(loss):
            raise DataError(f"diverged: the loss of epoch {epoch} is not finite{_reason(model, training)}")
    with tools.average.applied():
        kept = {name: tensor.clone() for name, tensor in model.trained().items()}
    restore(model, kept)


@torch.no_grad()
def restore(model: ThawedNetwork, state: dict[str, Tensor]) -> None:
    """Put saved tensors back into the model's trained part."""
    for name, tensor in model.trained().items():
        tensor.copy_(state[name])


def predict(model: ThawedNetwork, images: LabelledImages, recipe: Recipe) -> Float[np.ndarray, "object class"]:
    """Probabilities of every class, float32, for every object in order."""
    return np.concatenate([p for p, _ in seen(model, images, recipe)])


def seen(model: ThawedNetwork, images: LabelledImages, recipe: Recipe) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Probabilities [batch, class] and pooled features [batch, feature], float32, batch by batch in order."""
    with model.evaluating(), _autocast(images.device, recipe):
        for chosen in _batches(np.arange(len(images)), recipe.batch):
            features = model.features(crossing(model, images, chosen))
            p = model.head.classify(features).float().softmax(1)
            yield p.cpu().numpy(), features.float().cpu().numpy()


def rate_factor(step: int, steps: int, recipe: Recipe) -> float:
    """The learning rate at a step, as a share of the peak rate.

    It rises (linearly; for ``onecycle`` along half a cosine from 1/25) during the warm-up, then falls along half a
    cosine to 0, or stays. One-cycle: Smith & Topin, arXiv 1708.07120; cosine: Loshchilov & Hutter, arXiv 1608.03983.
    """
    warm = recipe.warmup * steps
    if step < warm:
        share = (step + 1) / (warm + 1)
        return 0.04 + 0.96 * (1 - math.cos(math.pi * share)) / 2 if recipe.schedule == "onecycle" else share
    if recipe.schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1))) / 2


def balanced_weights(targets: Int[np.ndarray, " object"], classes: int) -> Float[np.ndarray, " class"]:
    """Weights that give every class the same total: objects / (classes x objects of the class)."""
    counts = np.bincount(targets, minlength=classes)
    return (len(targets) / (classes * np.maximum(counts, 1))).astype(np.float32)


def _begin(model: ThawedNetwork, training: LabelledImages, recipe: Recipe, seed: int) -> _Tools:
    """What the steps of a training need, everything that learns at some time set to learn, and chance at its start."""
    torch.manual_seed(seed)
    model.tune(model.thaw.blocks)
    optimizer = optimizer_of(model, recipe)
    steps = math.ceil(len(training) / recipe.batch) * recipe.epochs
    return _Tools(
        optimizer,
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, steps, recipe)),
        Average(list(model.trained().values()), recipe.ema),
        torch.amp.GradScaler(training.device.type, enabled=_mixed(training.device, recipe)),
    )


def _reason(model: ThawedNetwork, images: LabelledImages) -> str:
    """Why numbers may have stopped being finite, as far as it can be told."""
    for start in range(0, len(images), SLICE) if images.precision == torch.float16 else ():
        chosen = np.arange(start, min(start + SLICE, len(images)))
        if not all(bool(value.isfinite().all()) for value in crossing(model, images, chosen)):
            return '; frozen activations are too large for float16: set activations = "float32" in [recipe]'
    return ""


def _train_epoch(
    model: ThawedNetwork, images: LabelledImages, recipe: Recipe, drawn: Draw, tools: _Tools
) -> tuple[float, float]:
    """One pass over the training images; mean loss and accuracy on the way (NaN loss as soon as it is not finite)."""
    optimizer, scaler = tools.optimizer, tools.scaler
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    targets = torch.from_numpy(images.targets).to(images.device)
    weights = None
    if recipe.class_weights == "balanced":
        weights = torch.from_numpy(balanced_weights(images.targets, model.head.linear.out_features)).to(images.device)
    total, right = 0.0, 0
    for chosen in _batches(drawn.order, recipe.batch):
        y = targets[chosen]
        with _autocast(images.device, recipe):
            values = crossing(
                model, images, chosen, drawn.views[chosen], None if drawn.shifts is None else drawn.shifts[chosen]
            )
            logits = model.training_pass(values)
            loss = cross_entropy(logits.float(), y, weight=weights, label_smoothing=recipe.label_smoothing)
        value = loss.item()
        if not math.isfinite(value):
            return math.nan, math.nan
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        if recipe.clip is not None:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        scaler.step(optimizer)
        scaler.update()
        tools.schedule.step()
        tools.average.update()
        total += value * len(chosen)
        right += int((logits.argmax(1) == y).sum())
    return total / len(images), right / len(images)


def optimizer_of(model: ThawedNetwork, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over what is trained. Biases and the scales of norms are not decayed, and blocks have their own rates."""
    block_of = model.network.block_of()
    groups: dict[tuple[float, bool], list[Tensor]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            block = block_of.get(name.removeprefix("network.features."), -1)  # -1: the head
            groups[model.thaw.rates.get(block, 1.0), parameter.ndim > 1].append(parameter)
    settings = [
        {"params": some, "lr": float(recipe.lr) * rate, "weight_decay": recipe.weight_decay if decayed else 0.0}
        for (rate, decayed), some in groups.items()
    ]
    return torch.optim.AdamW(settings, fused=True)


def _batches(order: Int[np.ndarray, " object"], batch: int) -> Iterator[Int[np.ndarray, " batch"]]:
    """Batches of nearly equal size, none above `batch`: no last batch of one, which batch norm could not bear."""
    return iter(np.array_split(order, math.ceil(len(order) / batch)))


def _mixed(device: torch.device, recipe: Recipe) -> bool:
    return recipe.precision == "mixed" and device.type == "cuda"


def _autocast(device: torch.device, recipe: Recipe) -> torch.autocast:
    return torch.autocast(device.type, enabled=_mixed(device, recipe))

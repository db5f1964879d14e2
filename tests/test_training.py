"""Every option of the recipe does what it says, and scores are what they are called."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers_networks import handmade
from skythaw.spec import Pixels, Recipe
from skythaw.tuning import training_loop
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.scores import all_scores, collapse_alarm
from skythaw.tuning.thaw import Thaw
from skythaw.tuning.thawed_network import Head, ThawedNetwork
from skythaw.tuning.trainer import Trainer, balanced_weights
from skythaw.tuning.training_loop import fit, predict
from skythaw.tuning.training_pace import rate_factor
from skythaw.tuning.weight_average import Average

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])


def model(batchnorm="running", dropout=0.0, depth=2):
    """A network of two blocks that can tell colours."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)))
    network = handmade(features, "0", "1")
    head = Head(4, 3, dropout, torch.Generator().manual_seed(0))
    return ThawedNetwork(network, Thaw.at_once(range(2 - depth, 2)), head, batchnorm)


def images(counts=(8, 8, 8), seed=0, size=8):
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(3), counts)
    noise = rng.integers(-30, 30, (len(targets), size, size, 3))
    pixels = np.clip(COLOURS[targets][:, None, None, :] + noise, 0, 255).astype(np.uint8)
    return LabelledImages(pixels, np.arange(len(targets)), targets, Pixels(crop=6, size=6), (0.5,) * 3, (0.5,) * 3)


def trained(training=None, seed=0, **settings):
    made = model(settings.get("batchnorm", "running"))
    recipe = Recipe(**{"epochs": 6, "batch": 6, "lr": 3e-2, "ema": None} | settings)
    result = fit(made, training or images(), images(seed=1), recipe, seed)
    return made, result


def weights(made):
    return torch.cat([t.flatten().float() for t in made.trained().values()])


def test_it_learns():
    _, result = trained()
    assert result.score > 0.95
    assert result.curves[-1]["train_loss"] < result.curves[0]["train_loss"] / 2
    assert not result.alarms


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "constant"])
def test_the_rate_rises_in_the_warm_up_and_then_does_as_it_is_called(schedule):
    recipe = Recipe(schedule=schedule, warmup=0.25)
    factors = [rate_factor(step, 100, recipe) for step in range(100)]
    assert factors[:25] == sorted(factors[:25])
    assert 0 < factors[0] < 0.1
    assert factors[25] == 1 == max(factors)
    if schedule == "constant":
        assert set(factors[25:]) == {1.0}
    else:
        assert factors[25:] == sorted(factors[25:], reverse=True)
        assert factors[62] == pytest.approx(0.5, abs=0.02)
        assert factors[-1] < 0.01


def test_no_warm_up():
    assert rate_factor(0, 100, Recipe(warmup=0)) == 1


def test_patience_stops_after_so_many_epochs_without_a_better_one():
    _, result = trained(epochs=40, patience=2)
    best = 1 + int(np.argmax([c["macro_f1"] for c in result.curves]))
    assert len(result.curves) == best + 2 < 40


def test_the_best_epoch_is_kept():
    made, result = trained(lr=0.3, epochs=8)
    scores = np.array([c["macro_f1"] for c in result.curves])
    assert result.kept == 2 + int(np.argmax(scores[1:] + scores[:-1])), "its score and the one before it are best"
    p = predict(made, images(seed=1), Recipe(batch=6))
    assert (p.argmax(1) == images(seed=1).targets).mean() == pytest.approx(result.curves[result.kept - 1]["accuracy"])


def scored_as(monkeypatch, f1):
    """Validation's macro-F1 is a function of the number of its scoring. Gives all predictions, as they come."""
    seen = []

    def scores(p, targets):
        seen.append(p)
        return {"macro_f1": f1(len(seen)), "log_loss": 1 + abs(len(seen) - 4) / 9}

    monkeypatch.setattr(training_loop, "quick_scores", scores)
    return seen


def test_what_is_scored_are_the_weights_of_that_step(monkeypatch):
    """A fold of convolution and batch norm follows every step, without an average as well."""
    seen = scored_as(monkeypatch, lambda scoring: 0.1 * scoring)
    made, result = trained(epochs=3)
    assert result.kept == 3
    assert np.array_equal(predict(made, images(seed=1), Recipe(batch=6)), seen[-1])


def test_a_lucky_score_does_not_decide(monkeypatch):
    """A score counts together with the one before it."""
    scores = [0.5, 0.9, 0.5, 0.7, 0.8, 0.7]
    seen = scored_as(monkeypatch, lambda scoring: scores[scoring - 1])
    made, result = trained(epochs=6)
    assert (result.kept, result.score, result.steady) == (5, 0.8, 0.75)
    assert np.array_equal(predict(made, images(seed=1), Recipe(batch=6)), seen[4])


def test_the_one_before_is_that_of_the_course(monkeypatch):
    """Where training goes back to its last gain, the next score counts with that of the gain."""
    seen = scored_as(monkeypatch, lambda scoring: {4: 0.9, 5: 0.5, 11: 0.8, 12: 0.7}.get(scoring, 0.6))
    made, result = trained(epochs="auto")
    assert result.fall_from == 40
    assert [each["step"] for each in result.curves][9:12] == [109, 119, 129], "it goes back after the tenth scoring"
    assert (result.kept, result.score, result.steady) == (11, 0.8, pytest.approx(0.85))
    assert result.place == 50
    assert np.array_equal(predict(made, images(seed=1), Recipe(batch=6)), seen[10])


def test_log_loss_can_choose_the_epoch():
    _, result = trained(select="log_loss")
    assert result.score == -min(c["log_loss"] for c in result.curves)


def test_class_weights_help_the_rare_class():
    rare = images((40, 40, 2))

    def loss_of_the_rare(class_weights):
        made, _ = trained(rare, class_weights=class_weights, epochs=3, lr=1e-2)
        p = predict(made, rare, Recipe())
        return -np.log(p[rare.targets == 2, 2]).mean()

    assert loss_of_the_rare("balanced") < loss_of_the_rare(None)
    assert balanced_weights(rare.targets, 3) == pytest.approx([82 / 120, 82 / 120, 82 / 6])


def test_label_smoothing_keeps_from_being_sure():
    both = [
        predict(trained(label_smoothing=s, epochs=20, select="log_loss")[0], images(), Recipe()) for s in (0.0, 0.3)
    ]
    sure, unsure = (p.max(1).mean() for p in both)
    assert unsure < sure
    assert unsure < 0.9, "the best there is would be 0.8"


@pytest.mark.parametrize(
    "setting",
    [
        {"clip": 1e-3},
        {"ema": 0.9},
        {"views": 1},
        {"shift": 1},
        {"weight_decay": 1.0},
        {"schedule": "cosine"},
        {"batchnorm": "train"},
        {"batch": 8},
        {"warmup": 0.5},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_every_setting_has_an_effect(setting):
    before, after = weights(trained(epochs=2)[0]), weights(trained(epochs=2, **setting)[0])
    assert len(before) != len(after) or not torch.equal(before, after)


def test_the_same_seed_gives_the_same_bits_another_does_not():
    assert torch.equal(weights(trained()[0]), weights(trained()[0]))
    assert not torch.equal(weights(trained()[0]), weights(trained(seed=1)[0]))


def compare_compiled():
    """Train with and without compiling: with the compiler's own machinery, but no C++ compiler and no GPU."""
    compiler, called = torch.compile, []

    def without_code(function, mode, dynamic):
        called.append(mode)
        return compiler(function, backend="aot_eager", dynamic=dynamic)

    torch.compile = without_code
    recipe = Recipe(epochs=3, batch=6, lr=3e-2)
    made, plain = model(), model()
    made.compile_training()
    fit(made, images(), images(seed=1), recipe, 0)
    fit(plain, images(), images(seed=1), recipe, 0)
    assert called == ["reduce-overhead"]
    assert torch.allclose(weights(made), weights(plain), atol=1e-6)
    assert not torch.equal(weights(made), weights(model()))


@pytest.mark.soak
def test_a_compiled_training_gives_the_same_weights_to_rounding():
    """In a process of its own: the compiler can't look through the checks of shapes that tests have."""
    command = [sys.executable, "-c", "from test_training import compare_compiled as check; check(); print('alike')"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.stdout == "alike\n", done.stderr


def test_dropout_draws_from_the_cells_seed_whatever_ran_before():
    def once():
        made = model(dropout=0.5)
        fit(made, images(), images(), Recipe(epochs=2, batch=6, lr=1e-2), 3)
        return weights(made)

    first = once()
    torch.rand(7)
    assert torch.equal(first, once())


@pytest.mark.parametrize("batch", [6, 64], ids=["mid-epoch", "last step of an epoch"])
def test_a_training_that_diverges_ends_with_an_alarm_and_finite_weights(batch):
    made, result = trained(lr=1e30, warmup=0, batch=batch)
    assert [alarm for alarm in result.alarms if alarm.startswith("diverged")]
    assert torch.isfinite(weights(made)).all()
    assert np.isfinite(predict(made, images(), Recipe())).all()


@pytest.mark.parametrize(("precision", "told"), [(torch.float16, True), (torch.float32, False)])
def test_activations_too_large_for_float16_are_named(precision, told):
    made = model(depth=1)
    with torch.no_grad():
        made.network.features[0].weight.mul_(1e6)
    training = replace(images(), precision=precision)
    result = fit(made, training, images(seed=1), Recipe(epochs=2, batch=6, lr=1e-30), 0)
    assert any('set activations = "float32" in [recipe]' in alarm for alarm in result.alarms) == told


def test_the_average_is_the_average():
    value = torch.zeros(1)
    average = Average([value], 0.5)
    expected = 0.0
    for step in range(1, 6):
        value.fill_(step)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.applied():
        assert value.item() == pytest.approx(expected)
    assert value.item() == 5


def test_scores_of_a_small_table():
    """By hand: 3 of 4 right; A: precision 1, recall 1/2; B: precision 2/3, recall 1."""
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]], dtype=np.float32)
    scores = all_scores(p, np.array([0, 0, 1, 1]), ("A", "B"))
    assert scores["objects"] == 4
    assert scores["accuracy"] == 0.75
    assert scores["balanced_accuracy"] == 0.75
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores["log_loss"] == pytest.approx(-sum(map(math.log, (0.9, 0.4, 0.8, 0.7))) / 4, rel=1e-5)
    assert scores["roc_auc"] == 1
    assert scores["confusion"] == [[1, 1], [0, 2]]
    a = {"precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert scores["per_class"] == {
        "A": a,
        "B": {"precision": pytest.approx(2 / 3), "recall": 1, "f1": 0.8, "support": 2},
    }


def test_roc_auc_of_three_classes_is_the_mean_of_one_against_the_rest():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    y, p = np.arange(30) % 3, rng.dirichlet((1, 1, 1), 30).astype(np.float32)
    expected = np.mean([roc_auc_score(y == k, p[:, k]) for k in range(3)])
    assert all_scores(p, y, ("A", "B", "C"))["roc_auc"] == pytest.approx(expected, abs=1e-6)
    assert all_scores(p[y < 2], y[y < 2], ("A", "B", "C"))["roc_auc"] is None


def test_the_alarm_of_a_collapsed_model():
    y = np.arange(100) % 2
    p = np.full((100, 2), (0.4, 0.6), dtype=np.float32)
    assert collapse_alarm(p, y, ("A", "B"), "test") == "collapsed on test: 100.0% of the objects are called B"
    p[:6] = (0.6, 0.4)
    assert collapse_alarm(p, y, ("A", "B"), "test") is None, "94 %"
    assert collapse_alarm(p[6:], np.ones(94, dtype=int), ("A", "B"), "test") is None, "they are B"


def test_a_training_that_diverged_is_not_converged():
    made = model()
    result = fit(made, images(), images(seed=1), Recipe(epochs=4, lr=1e30, batch=6, clip=None), 0)
    assert result.alarms
    assert "its training diverged" in result.not_converged
    assert result.stumbled


def test_training_goes_back_to_its_last_gain_and_falls_from_there(monkeypatch):
    """Everything that a step changes is as it was then: weights, moments, average, and the place on the course."""
    went_back = []

    class Watched(Trainer):
        def go_back(self, place):
            super().go_back(place)
            state = self._optimizer.state_dict()["state"]
            steps = {float(each["step"]) for each in state.values()}
            same = all(torch.equal(self.model.trained()[name], tensor) for name, tensor in place.state.items())
            went_back.append((self.steps, self.place, steps, self.average.steps, same))

    monkeypatch.setattr(training_loop, "Trainer", Watched)
    made = model()
    few_are_wrong = replace(images(seed=1), targets=np.roll(images().targets, 2))  # so that being surer is worse
    result = fit(made, images(), few_are_wrong, Recipe(lr=3e-2, batch=6), 0)
    ((done, place, steps, averaged, same),) = went_back
    assert place < done
    assert steps == {float(place)}
    assert averaged == place
    assert same
    assert result.curves[-1]["step"] == done + max(1, round(place / 2))
    assert result.place <= place + max(1, round(place / 2))

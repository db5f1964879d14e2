"""On a GPU no step of training is waited for, and nothing else changes. The CPU plays the GPU."""

from __future__ import annotations

import pytest
import torch

from skythaw.data.views import gathered
from skythaw.errors import DataError
from skythaw.spec import Recipe
from skythaw.tuning import labelled_images
from skythaw.tuning.trainer import Trainer
from skythaw.tuning.training_loop import fit, refit
from test_training import images, model, trained, weights

WILD = Recipe(epochs=4, lr=1e30, batch=6, clip=None, warmup=0, ema=None)


@pytest.fixture
def unwaited(monkeypatch):
    def begin():
        monkeypatch.setattr(Trainer, "_waits", property(lambda self: False, lambda self, value: None), raising=False)

    return begin


def test_curves_and_weights_are_the_same_to_the_bit(unwaited):
    waited, curves = trained()
    unwaited()
    other, same = trained()
    assert curves.curves == same.curves
    assert torch.equal(weights(waited), weights(other))


def test_a_step_reads_nothing_from_the_device(unwaited, monkeypatch):
    unwaited()
    monkeypatch.setattr(labelled_images, "apply_views", gathered)
    trainer = Trainer(model(), images(), Recipe(epochs=2, batch=6, lr=1e-3), 0, lambda step: 1.0)

    def read(self):
        raise AssertionError("the device was waited for")

    with monkeypatch.context() as patch:
        for name in ("item", "__int__", "__float__", "__bool__", "tolist"):
            patch.setattr(torch.Tensor, name, read)
        trainer.step((1, 1))
    assert trainer.since_last()["train_loss"] > 0


def test_a_training_that_diverges_is_seen_when_it_is_scored(unwaited):
    unwaited()
    made = model()
    result = fit(made, images(), images(seed=1), WILD, 0)
    assert result.stumbled
    assert [alarm for alarm in result.alarms if alarm.startswith("diverged")]
    assert torch.isfinite(weights(made)).all()


def test_one_without_validation_is_seen_in_the_end(unwaited):
    unwaited()
    with pytest.raises(DataError, match=r"^diverged: the loss of step 12 is not finite"):
        refit(model(), images(), WILD, 0, range(12), None)

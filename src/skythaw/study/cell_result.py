"""What running a cell gives."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Result(BaseModel):
    """Numbers of one finished cell. Read from the ledger it may be of an older version: unknown keys are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    key: str
    classes: tuple[str, ...]
    scores: dict[str, dict[str, Any]]
    """``train`` (without augmentation), ``validation``, ``test``: what `skythaw.tuning.scores.all_scores` gives"""
    probe: dict[str, Any] | None = None
    """at depth 0: the head solved exactly on the images as they are, its regularisation ``strength`` and its ``scores``
    (as above); ``kept_strength`` of the solved head that was kept"""
    curves: list[dict[str, float]]
    """one entry each time that validation was scored: ``step`` and ``epoch`` (both as far as done), ``train_loss`` and
    ``train_accuracy`` since the one before, and validation scores; older results have whole epochs and no steps"""
    peak_epoch: float
    """epochs done at the kept weights; 0 where training diverged at once"""
    peak_step: int | None = None
    """steps done then; None in older versions"""
    course_steps: int | None = None
    """of these, the steps that led to the kept weights: without those that were gone back on"""
    fall_from: int | None = None
    """of a training as long as its curve demanded, the step of these from which the learning rate fell; None where the
    weights are from before"""
    head: str = "trained"
    """at depth 0: which head was kept, ``trained``, ``solved`` or ``solved on all views``; the validation score decides
    (`skythaw.tuning.frozen_head`); of a cell without a network, which model: ``forest``, ``boosting`` or ``linear``"""
    numbers: int | None = None
    """of a cell without a network: how many it has of each object"""
    number_names: tuple[str, ...] | None = None
    """of a cell without a network: their names, in the order in which its model takes them"""
    number_kinds: dict[str, str] | None = None
    """of a cell without a network: how each column was read, see `skythaw.tables.column_kinds`"""
    number_ranges: dict[str, tuple[float, float]] | None = None
    """between which values each column lay in the training, see `skythaw.tables.column_ranges`"""
    fusion: str | None = None
    """of a cell of both: how the two are combined, ``mean`` or ``stack``; the log loss on validation decides"""
    fusion_losses: dict[str, float] | None = None
    """of a cell of both: that log loss, of each way that was tried"""
    made_of: dict[str, str] | None = None
    """of a cell of both: the keys of the cells it combines, ``images`` and ``table``"""
    peak_score: float | None
    """validation score of what was kept, larger is better: macro-F1, or minus the log loss (`Recipe.select`)"""
    gap: float | None
    """macro-F1 on training images minus macro-F1 on validation, of what was kept; None of a trial"""
    lr: float
    """the learning rate used, given or found"""
    lr_trials: list[dict[str, float | None]]
    """the rates tried where it was ``auto``, each with its ``score``: minus the smallest log loss on validation"""
    alarms: list[str]
    not_converged: tuple[str, ...] | None = None
    """why its training can't be called finished, each in a few words; empty where it can, None in older versions: see
    `skythaw.study.convergence`"""
    blocks: int
    """of the network"""
    parameters: int
    """of the network and the head"""
    trained_parameters: int
    tpr: float
    tlr: float
    tfr: float | None
    file_bytes: int
    """of the whole classifier as float32"""
    latency: float | None
    """milliseconds for one image alone, median; None of a trial"""
    seconds: dict[str, float]
    """``prepare``, ``train``, ``score``, ``total``, and ``processor``: those in which a core worked"""
    peak_memory: int
    """bytes of resident memory, at most, while the cell ran"""
    device: str
    weights_sha256: str | None
    """of the trained tensors; None of a trial, which keeps none"""
    versions: dict[str, str]

    @property
    def kept(self) -> int | None:
        """Which entry of the curves had the weights that were kept, counted from 1; None where none were."""
        if self.peak_step is None:
            return int(self.peak_epoch) or None
        return next((i + 1 for i, each in enumerate(self.curves) if each["step"] == self.peak_step), None)

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
    """at depth 0: the head solved exactly, its regularisation ``strength`` and its ``scores`` (as above)"""
    curves: list[dict[str, float]]
    """one entry an epoch"""
    peak_epoch: int
    """the kept epoch, from 1; 0 where training diverged at once"""
    peak_score: float | None
    """validation score at the kept epoch, larger is better: macro-F1, or minus the log loss (`Recipe.select`)"""
    gap: float | None
    """macro-F1 on training images minus macro-F1 on validation, at the kept epoch; None of a trial"""
    lr: float
    """the learning rate used, given or found"""
    lr_trials: list[dict[str, float | None]]
    """the rates tried where it was ``auto``"""
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
    """``prepare``, ``train``, ``score``, and ``total``"""
    peak_memory: int
    """bytes of resident memory, at most, while the cell ran"""
    device: str
    weights_sha256: str | None
    """of the trained tensors; None of a trial, which keeps none"""
    versions: dict[str, str]

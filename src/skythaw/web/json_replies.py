"""What the JSON interface answers, `/api/v1`: the form of each reply."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

State = Literal["waiting", "running", "done", "failed"]


class Problem(BaseModel):
    """Why a request was not served."""

    status: int
    detail: str


class ServedBundle(BaseModel):
    """A classifier."""

    name: str
    title: str
    network: str
    depth: int
    blocks: int
    classes: list[str]
    crop: int
    bands: list[str]
    kind: Literal["uint8", "float32"]
    pixel_scale: float | None
    macro_f1: float
    accuracy: float
    cell: str
    sha256: str
    columns: list[str]
    """of numbers that it takes beside an image"""
    measured: int
    """how many numbers it measures from the image itself"""
    networks: int
    """1, or of how many the answer is the mean"""


class Prediction(BaseModel):
    """What a classifier says of one image."""

    file: str
    status: str
    """``ok``, or why there are no probabilities"""
    label: str | None = None
    probabilities: dict[str, float] | None = None
    entropy: float | None = None
    distance: float | None = None
    percentile: float | None = None
    inputs: str | None = None
    """of a classifier that takes numbers, too: judged by ``both``, ``images`` or ``table``"""


class PredictionReply(BaseModel):
    """One entry an image, in the order they were sent."""

    bundle: str
    predictions: list[Prediction]


class RunStatus(BaseModel):
    """How far a run is."""

    name: str
    title: str
    cells: int
    done: int
    failed: int
    running: int
    stopped: int = 0
    """not trained, because a race showed that their depths are not the best"""
    seconds_left: float | None
    problem: str | None = None
    """why it can't be shown; it counts no cells then"""


class CellRow(BaseModel):
    """A cell of a study."""

    key: str
    backbone: str
    strategy: str
    train_size: int
    inputs: str
    depth: int
    seed: int
    state: State
    macro_f1: float | None
    accuracy: float | None
    peak_epoch: int | None
    seconds: float | None


class ObjectRow(BaseModel):
    """What a cell said of one object."""

    object_id: str
    label: str
    predicted: str
    probabilities: dict[str, float]


class Objects(BaseModel):
    """A page of objects, the surest first."""

    total: int
    page: int
    objects: list[ObjectRow]

"""Models of numbers, and stacks, in a run folder: ``RUN/weights/KEY.safetensors``, whole or not at all. No torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from skythaw.errors import BundleError, LedgerError
from skythaw.machine.files import replacing
from skythaw.machine.tensor_file import read_tensors, tensor_bytes
from skythaw.spec import Cell
from skythaw.tables.number_models import NumberModel
from skythaw.tuning.fusion import Stack


def number_weights_path(run: Path, key: str) -> Path:
    return run / "weights" / f"{key}.safetensors"


def save_number_model(run: Path, cell: Cell, classes: tuple[str, ...], model: NumberModel) -> None:
    """Write the model of a cell without a network."""
    _save(run, cell, classes, model.to_arrays())


def read_number_model(run: Path, key: str) -> NumberModel:
    """Read it again.

    Raises
    ------
    LedgerError
        The file is gone or damaged.
    """
    try:
        return NumberModel.from_arrays(_read(run, key))
    except BundleError as error:
        raise LedgerError(f"can't read the weights {number_weights_path(run, key)}: {error}") from None


def save_stack(run: Path, cell: Cell, classes: tuple[str, ...], stack: Stack) -> None:
    """Write the stack of a cell of both."""
    _save(run, cell, classes, {"weights": stack.weights, "bias": stack.bias})


def read_stack(run: Path, key: str) -> Stack:
    """Read it again; raises as `read_number_model` does."""
    found = _read(run, key)
    return Stack(found["weights"], found["bias"])


def _save(run: Path, cell: Cell, classes: tuple[str, ...], arrays: dict[str, np.ndarray]) -> None:
    metadata = {"schema": "1", "cell": cell.model_dump_json(), "classes": json.dumps(classes)}
    with replacing(number_weights_path(run, cell.key)) as file:
        file.write(tensor_bytes(arrays, metadata))


def _read(run: Path, key: str) -> dict[str, np.ndarray]:
    path = number_weights_path(run, key)
    try:
        return read_tensors(path)
    except ValueError as error:
        again = "put back a copy of it, or run the study again in a new folder"
        raise LedgerError(f"can't read the weights {path}: {error}; {again}") from None

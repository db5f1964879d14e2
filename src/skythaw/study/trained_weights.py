"""The trained weights of a cell: ``RUN/weights/KEY.safetensors``, under its name whole or not at all.

What they expect of an image is in the file's metadata: crop, size, bands and stretch, then mean and standard deviation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skythaw.backbones.known_backbones import backbone_of
from skythaw.errors import LedgerError
from skythaw.machine.files import replacing
from skythaw.machine.tensor_file import read_tensors, tensor_bytes
from skythaw.spec import Cell


def weights_path(run: Path, key: str) -> Path:
    return run / "weights" / f"{key}.safetensors"


def save_weights(run: Path, cell: Cell, classes: tuple[str, ...], trained: dict[str, Tensor]) -> str:
    """Write the trained tensors of a cell; return the SHA-256 of their names and values."""
    expected = backbone_of(cell).preprocessing
    preprocessing = {**cell.pixels.model_dump(mode="json"), "mean": expected.mean, "std": expected.std}
    tensors = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in trained.items()}
    metadata = {
        "schema": "1",
        "cell": cell.model_dump_json(),
        "classes": json.dumps(classes),
        "preprocessing": json.dumps(preprocessing),
    }
    with replacing(weights_path(run, cell.key)) as file:
        file.write(tensor_bytes(tensors, metadata))
    return _sha256(tensors)


def read_weights(run: Path, key: str, sha256: str | None) -> dict[str, Tensor]:
    """The trained tensors of a cell, if they are those that were written.

    Parameters
    ----------
    run
        the run folder
    key
        of the cell
    sha256
        what `save_weights` returned; None where it is not known

    Raises
    ------
    LedgerError
        The file is gone, is damaged, or is of another cell.
    """
    path = weights_path(run, key)
    again = "put back a copy of it, or run the study again in a new folder"
    try:
        tensors = read_tensors(path)
    except ValueError as error:
        raise LedgerError(f"can't read the trained weights {path}: {error}; {again}") from None
    if sha256 not in (None, _sha256(tensors)):
        raise LedgerError(f"{path} is damaged, or of another cell: its checksum differs from the ledger's; {again}")
    return {name: torch.from_numpy(each) for name, each in tensors.items()}


def _sha256(tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, each in sorted(tensors.items()):
        digest.update(name.encode() + each.tobytes())
    return digest.hexdigest()

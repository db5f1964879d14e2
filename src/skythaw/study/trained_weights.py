"""The trained weights of a cell: ``RUN/weights/KEY.safetensors``, under its name whole or not at all.

What they expect of an image is in the file's metadata: crop, size, bands and stretch, then mean and standard deviation.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from skythaw.backbones.known_backbones import backbone_of
from skythaw.machine.files import replacing
from skythaw.spec import Cell


def weights_path(run: Path, key: str) -> Path:
    return run / "weights" / f"{key}.safetensors"


def save_weights(run: Path, cell: Cell, classes: tuple[str, ...], trained: dict[str, Tensor]) -> str:
    """Write the trained tensors of a cell; return the SHA-256 of their names and values."""
    expected = backbone_of(cell).preprocessing
    preprocessing = {**cell.pixels.model_dump(mode="json"), "mean": expected.mean, "std": expected.std}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in trained.items()}
    metadata = {
        "schema": "1",
        "cell": cell.model_dump_json(),
        "classes": json.dumps(classes),
        "preprocessing": json.dumps(preprocessing),
    }
    with replacing(weights_path(run, cell.key)) as file:
        file.write(save(tensors, metadata))
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()

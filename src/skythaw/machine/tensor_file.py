"""Arrays in a safetensors file whose bytes depend on nothing but its content, with a checksum that is compared."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

SHA256 = "sha256"
"""key in the file's metadata"""


def tensor_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The content of a file, the same for the same arrays and metadata.

    Examples
    --------
    >>> import numpy as np
    >>> from skythaw.machine.tensor_file import tensor_bytes
    >>> tensor_bytes({"a": np.zeros(3)}, {"x": "1", "y": "2"}) == tensor_bytes({"a": np.zeros(3)}, {"y": "2", "x": "1"})
    True
    """
    from safetensors.numpy import save

    content = save({name: np.ascontiguousarray(each) for name, each in tensors.items()})
    (length,) = struct.unpack("<Q", content[:8])
    said = dict(sorted({**metadata, SHA256: _sha256(tensors)}.items()))
    head = json.dumps({"__metadata__": said, **json.loads(content[8 : 8 + length])}, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + content[8 + length :]


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file; those of older versions, which have no checksum, are believed.

    Raises
    ------
    ValueError
        The file is gone, is no safetensors file, or its content is not what was written. The text says which.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
            recorded = (file.metadata() or {}).get(SHA256)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except (SafetensorError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(str(error)) from None
    if recorded not in (None, _sha256(tensors)):
        raise ValueError("it is damaged: its checksum differs")
    return tensors


def _sha256(tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, each in sorted(tensors.items()):
        digest.update(f"{name} {each.dtype} {each.shape} ".encode() + np.ascontiguousarray(each).tobytes())
    return digest.hexdigest()

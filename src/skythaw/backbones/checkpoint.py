"""The sets of tensors in a file of weights, wherever a training script put them. No code in the file is ever run."""

from __future__ import annotations

import argparse
import re
import sysconfig
import warnings
import zipfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skythaw.backbones.keras_file import read_keras
from skythaw.backbones.keras_networks import is_keras
from skythaw.backbones.not_weights import SAVE_ALONE, TORCHSCRIPT, refuse_other_archives, refuse_other_files
from skythaw.errors import WeightsError

State = dict[str, Tensor]
OF_KERAS = "keras"
"""key of the tensors of a file of Keras"""
DEEPEST = 6
"""dictionaries and lists inside one another"""
MOST = 10_000
"""dictionaries and lists that are looked into: a small file can hold one of them again and again"""
OF_A_LIST = 100
"""entries of a list that are looked into: a longer one is the log of a training"""
SHOWN = 4
"""keys of a file in a message"""
SAFE_TORCH = (2, 10)
"""the first PyTorch without a known way round ``weights_only`` (CVE-2026-24747)"""


@dataclass(frozen=True)
class TensorSet:
    """Named tensors that stand together."""

    key: str
    """where in the file: empty for the file itself, else the keys that lead there, with points between them"""
    tensors: State


def read_checkpoint(path: Path) -> list[TensorSet]:
    """Every set of named tensors in a file of `torch.save` or of safetensors; the content tells which it is.

    Raises
    ------
    WeightsError
        It is torn or no file of weights, needs code to be read, or holds no named tensors.
    """
    content = _content(path)
    found = list(_sets(content))
    if not found:
        keys = [repr(key) for key in content if isinstance(key, str)] if isinstance(content, dict) else []
        only = f", only {', '.join(keys[:SHOWN])}{', ...' if len(keys) > SHOWN else ''}" if keys else ""
        raise WeightsError(f"can't read the weights {path}: there are no named tensors in it{only}")
    _require_kept(found, path)
    return found


def _require_kept(found: list[TensorSet], path: Path) -> None:
    """No tensor stands for more numbers than are in the file, one of them again and again: it could take all memory."""
    size = path.stat().st_size
    for one in found:
        for name, tensor in one.tensors.items() if one.key != OF_KERAS else ():
            if tensor.numel() * tensor.element_size() > size:
                raise WeightsError(
                    f"can't read the weights {path}: {name} is larger than the file; keep it whole: "
                    "torch.save({name: t.contiguous() for name, t in model.state_dict().items()}, FILE)"
                )


def _content(path: Path) -> Any:
    from safetensors.torch import load_file

    try:
        refuse_other_files(path)
        if path.suffix == ".safetensors" or _is_safetensors(path):
            return load_file(path)
        if is_keras(path):
            return {OF_KERAS: read_keras(path)}
        refuse_other_archives(path)
        _require_plain(path)
        _require_safe_torch(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)  # it then loads, or fails
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # a torn file raises many kinds
        raise WeightsError(f"can't read the weights {path}: {_reason(str(error).strip(), error)}") from None


def _require_plain(path: Path) -> None:
    """No archive that is packed more tightly than torch packs any: a small file could take all memory."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(each.file_size for each in archive.infolist()) > path.stat().st_size:
                raise ValueError(f"it is compressed, as torch.save never does; {SAVE_ALONE}")


def _require_safe_torch(path: Path) -> None:
    """An old PyTorch reads pickled files of installed packages alone, whose code runs anyway."""
    version = tuple(int(each) for each in re.findall(r"\d+", torch.__version__)[:2])
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    if version < SAFE_TORCH and installed.isdisjoint(path.resolve().parents):
        raise ValueError(
            f"a file can make PyTorch {torch.__version__} run hidden code (CVE-2026-24747); install PyTorch "
            "2.10 or newer, or give the weights as safetensors"
        )


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: with the length of a header, and the header."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _reason(text: str, error: Exception) -> str:
    if "TorchScript" in text:
        return TORCHSCRIPT
    if "Weights only load failed" in text:
        foreign = re.search(r"GLOBAL ([\w.]+)", text)
        holds = f": it holds {foreign[1]}, which only code could read" if foreign else ""
        return f"it is not a plain file of tensors{holds}, and none is ever run; {SAVE_ALONE}"
    return text.partition("\n")[0] or type(error).__name__


def _sets(content: Any) -> Iterator[TensorSet]:
    """The tensors of a dictionary, then those of the dictionaries and lists in it, the outer ones first."""
    waiting, looked = deque([("", content, DEEPEST)] if isinstance(content, dict | list) else []), 0
    while waiting and looked < MOST:
        key, each, depth = waiting.popleft()
        looked += 1
        named = each if isinstance(each, dict) else dict(enumerate(each[:OF_A_LIST]))
        tensors = {name: value for name, value in named.items() if isinstance(name, str) and isinstance(value, Tensor)}
        if tensors:
            yield TensorSet(key, tensors)
        for name, value in named.items() if depth else ():
            deeper = isinstance(value, dict | list) and (isinstance(name, str) or isinstance(each, list))
            if deeper and looked + len(waiting) < MOST:
                waiting.append((f"{key}.{name}" if key else str(name), value, depth - 1))

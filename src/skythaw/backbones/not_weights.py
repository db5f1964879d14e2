"""Files that are given as weights and are none: what each is, by its beginning or its name, and what would be right."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from skythaw.machine.files import is_web_page

SAVE_ALONE = "save the weights alone where they were made: torch.save(model.state_dict(), FILE)"
TORCHSCRIPT = f"it is not a plain file of tensors: it is a TorchScript archive, which holds code; {SAVE_ALONE}"
JOIN = "join all parts into one file: read each with safetensors.torch.load_file, and write all with save_file"
LFS = b"version https://git-lfs.github.com/spec"
ZIP = b"PK\x03\x04"
PART = re.compile(r"-0*(\d+)-of-0*(\d+)\.[^.]+$")
WINDOW = 4096
"""bytes of the beginning that are looked at"""


def refuse_other_files(path: Path) -> None:
    """Raise `ValueError`, saying what it is, for a file that only stands for weights, or is a part of nothing."""
    with path.open("rb") as file:
        start = file.read(WINDOW)
    if not start:
        raise ValueError("it is an empty file; get it again")
    if start.startswith(LFS):
        raise ValueError("it is a pointer of Git LFS, which stands for the weights; fetch them with: git lfs pull")
    if is_web_page(start):
        raise ValueError("it is a web page (HTML), as a failed download leaves it; get the file itself")
    if path.name.endswith(".index.json") or (start.lstrip().startswith(b"{") and b'"weight_map"' in start):
        raise ValueError(f"it is the list of the parts of a set of weights; {JOIN}")
    if start.startswith(ZIP) and not zipfile.is_zipfile(path):
        raise ValueError("it is cut off or damaged: its end is missing; get it again")


def refuse_other_archives(path: Path) -> None:
    """Raise `ValueError`, saying what it is, for an archive that `torch.save` did not write."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if names and all(name.endswith(".npy") for name in names):
        raise ValueError(
            "it is a file of NumPy arrays; give them as safetensors: "
            "safetensors.numpy.save_file(dict(numpy.load(FILE)), 'weights.safetensors')"
        )
    if any(name.endswith("constants.pkl") for name in names):
        raise ValueError(TORCHSCRIPT)
    if not any(name.endswith("data.pkl") for name in names):
        raise ValueError("it is a .zip archive that torch.save did not write; unpack it, and give the file of weights")


def part_of_a_set(path: Path) -> str:
    """That a file is one part of several, by its name, and what to do; empty if it is none."""
    found = PART.search(path.name)
    if found is None or int(found[2]) < 2:
        return ""
    return f"; it is part {found[1]} of {found[2]}, by its name: {JOIN}"

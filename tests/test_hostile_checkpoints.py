"""Files of weights that somebody spoilt: each is one line, no code of theirs runs, little memory is taken."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import resource
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save as packed

from skythaw.backbones.checkpoint import read_checkpoint
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import locate
from skythaw.errors import WeightsError
from skythaw.spec import WeightsChoice

SMALL = "timm:test_resnet"
FIRST = "conv1.0.weight"


class Runs:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


class Grows:
    """Its pickle asks for a tensor of 400 GB above a storage of nothing."""

    def __reduce__(self):
        storage = torch.ones(1).untyped_storage()
        typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
        return torch._utils._rebuild_tensor_v2, (typed, 0, (10**11,), (1,), False, {})


@pytest.fixture(scope="module")
def state():
    return build(backbone(SMALL), locate(backbone(SMALL), WeightsChoice(random=True))).features.state_dict()


def saved(content: object) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def zipped(files: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def rezipped(content: bytes, change, how: int = zipfile.ZIP_STORED) -> bytes:
    """A file of torch.save with its parts changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return zipped(change(files), how)


def headed(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def pickles(state: dict, canary: Path) -> Iterator[tuple[str, bytes]]:
    """What torch.save writes, or could have."""
    whole = saved(state)
    deep = b"\x80\x02" + b"}X\x01\x00\x00\x00m" * 100_000 + b"N" + b"s" * 100_000 + b"."
    shapes = {name: tensor.shape for name, tensor in state.items()}
    yield "code in a state", saved({**state, "x": Runs(canary)})
    yield "code beside a state", saved({"state_dict": state, "hook": Runs(canary)})
    yield "code in a plain pickle", pickle.dumps({"state_dict": Runs(canary)})
    yield "code in an old pickle", pickle.dumps(Runs(canary), protocol=0)
    yield (
        "code in the archive's pickle",
        rezipped(
            whole, lambda f: {n: pickle.dumps(Runs(canary)) if n.endswith("data.pkl") else c for n, c in f.items()}
        ),
    )
    yield "a tensor larger than its storage", saved({FIRST: Grows()})
    yield "storages that are cut", rezipped(whole, lambda f: {n: c[: len(c) // 2] for n, c in f.items()})
    yield "storages that are gone", rezipped(whole, lambda f: {n: c for n, c in f.items() if "/data/" not in n})
    yield "no pickle", rezipped(whole, lambda f: {n: c for n, c in f.items() if not n.endswith("data.pkl")})
    yield "names that lead out", rezipped(whole, lambda f: {f"../../{n}": c for n, c in f.items()})
    yield "a bomb", zipped({"a/data.pkl": b"\x80\x02N.", "a/data/0": bytes(400 << 20)}, zipfile.ZIP_DEFLATED)
    yield "a pickle of zeros", zipped({"a/data.pkl": bytes(400 << 20)}, zipfile.ZIP_DEFLATED)
    yield "an archive in a comment", b"#!" + whole[:100]
    yield "a cut archive", whole[:-50]
    yield "twice the same archive's middle", whole[: len(whole) // 2] * 2
    yield "very deep", rezipped(whole, lambda f: {n: deep if n.endswith("data.pkl") else c for n, c in f.items()})
    yield "names that are numbers", saved(dict(enumerate(state.values())))
    yield "names with new lines", saved({f"\n\x1b[2J{n}": torch.ones(1) for n in state})
    yield "very long names", saved({n * 5000: torch.ones(1) for n in state})
    yield "lists for tensors", saved({n: t.tolist() for n, t in state.items()})
    yield "ten thousand tensors", saved({f"t{n}": torch.ones(1) for n in range(10_000)})
    yield "sparse", saved({n: t.to_sparse() if t.ndim else t for n, t in state.items()})
    yield "complex", saved({n: t.to(torch.complex64) for n, t in state.items()})
    yield "without content", saved({n: t.to("meta") for n, t in state.items()})
    yield "no numbers", saved({n: torch.full(s, torch.nan) for n, s in shapes.items()})
    yield "expanded from one number", saved({n: torch.full((1,), torch.inf).expand(s) for n, s in shapes.items() if s})
    yield "one shape wrong", saved({**state, FIRST: torch.ones(10, 3, 1, 1)})


def tensors(state: dict) -> Iterator[tuple[str, bytes]]:
    """What claims to be safetensors."""
    whole = packed({name: tensor.contiguous() for name, tensor in state.items()})
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    yield "a header of 2^63 bytes", headed({FIRST: one}, bytes(8), length=2**63)
    yield "a header as long as the file", headed({FIRST: one}, bytes(8), length=10**6)
    yield "no JSON", headed(b"{" * 5000, bytes(8))
    yield "deep JSON", headed(b"[" * 100_000 + b"]" * 100_000)
    yield "the same name twice", headed(b'{"a":%b,"a":%b}' % ((json.dumps(one).encode(),) * 2), bytes(8))
    yield "tensors above each other", headed({"a": one, "b": one}, bytes(8))
    yield "a tensor beyond the file", headed({"a": {**one, "shape": [200], "data_offsets": [0, 800]}}, bytes(8))
    yield "backwards", headed({"a": {**one, "data_offsets": [8, 0]}}, bytes(8))
    yield "another kind of number", headed({"a": {**one, "dtype": "I1024"}}, bytes(8))
    yield "a shape of 2^64", headed({"a": {**one, "shape": [2**32, 2**32]}}, bytes(8))
    yield "a shape below nothing", headed({"a": {**one, "shape": [-2]}}, bytes(8))
    yield "shape and bytes that differ", headed({"a": {**one, "shape": [3]}}, bytes(8))
    yield "a hole", headed({"a": {**one, "data_offsets": [8, 16]}}, bytes(16))
    yield "one flipped bit in the header", whole[:20] + bytes([whole[20] ^ 128]) + whole[21:]
    yield "cut tensors", whole[: len(whole) // 2]
    yield "packed", gzip.compress(whole)


def others(state: dict) -> Iterator[tuple[str, bytes]]:
    out = io.BytesIO()
    np.savez(out, **{name: tensor.numpy() for name, tensor in state.items()})
    yield "numpy's archive", out.getvalue()
    yield "HDF5 by its first bytes", b"\x89HDF\r\n\x1a\n" + bytes(1000)
    yield "a pointer of Git LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    yield "a page", b"<!doctype html><title>404</title>"
    yield "nothing", b""


@pytest.mark.soak
def test_each_is_one_line_and_runs_nothing(state, tmp_path):
    canary = tmp_path / "ran"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    odd, count = {}, 0
    for ending, files in (
        ("pth", pickles(state, canary)),
        ("safetensors", tensors(state)),
        ("pth", others(state)),
        ("safetensors", others(state)),
        ("pth", tensors(state)),
    ):
        for name, content in files:
            path = tmp_path / f"w.{ending}"
            path.write_bytes(content)
            count += 1
            try:
                build(backbone(SMALL), locate(backbone(SMALL), WeightsChoice(file=path)))
                odd[ending, name] = "it was taken"
            except WeightsError as error:
                if "\n" in str(error) or "\x1b" in str(error) or len(str(error)) > 600:
                    odd[ending, name] = str(error)[:600]
            except Exception as error:  # whatever it is, it is no single line for the user
                odd[ending, name] = repr(error)[:300]
    assert not canary.exists(), "code of a file was run"
    assert odd == {}
    assert count > 60
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 1000, f"{grown:.0f} MB, of which this test itself made half"


def numpys() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.zeros(9))
    return out.getvalue()


OTHERS = {
    "lfs.pt": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n", "git lfs pull"),
    "page.pt": (lambda: b"<!DOCTYPE html><html>no</html>", "web page"),
    "model.safetensors.index.json": (lambda: b'{"weight_map": {}}', "list of the parts"),
    "empty.ckpt": (lambda: b"", "empty file"),
    "w.npz": (numpys, "file of NumPy arrays"),
    "w.zip": (lambda: zipped({"w.pth": b"x"}), r"\.zip archive that torch.save did not write"),
    "torn.pt": (lambda: saved({"a": torch.zeros(9999)})[:-5000], "cut off"),
    "script.pt": (lambda: zipped({"m/data.pkl": b"x", "m/constants.pkl": b"x", "m/code/a.py": b"x"}), "TorchScript"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_stands_for_weights_is_told(tmp_path, name):
    make, says = OTHERS[name]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(WeightsError, match=says) as said:
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(said.value)


def test_a_part_of_a_set_of_weights_is_told(tmp_path, state):
    path = tmp_path / "model-00001-of-00002.safetensors"
    path.write_bytes(packed({name: state[name].contiguous() for name in list(state)[:9]}))
    choice = WeightsChoice(file=path)
    with pytest.raises(WeightsError, match="part 1 of 2"):
        build(backbone(SMALL), locate(backbone(SMALL), choice), choice)

"""Hostile bundles: what a good one becomes when somebody means harm. Deterministic; nothing here is random."""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import json
import os
import pickle
import socket
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save

from skythaw.bundle.bundle_file import ABOUT, ONNX, WEIGHTS

Change = dict[str, bytes | Callable[[Path], Any]]
"""By the name of a file: its new content, or what makes it (nothing: it is gone)."""
PROTOCOLS = (0, 2, 4, 5)
HUGE = ("convnext_xxlarge", "vit_giant_patch14_224", "regnety_2560", "davit_giant", "tf_efficientnet_l2")


class Does:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Corpus:
    """The cases made from one good bundle."""

    def __init__(self, bundle: Path, canary: Path) -> None:
        self.bundle, self.canary = bundle, canary
        self.about = json.loads((bundle / ABOUT).read_text())
        self.weights = (bundle / WEIGHTS).read_bytes()
        self.tensors = load_file(bundle / WEIGHTS)
        self.length = struct.unpack("<Q", self.weights[:8])[0]
        self.header = json.loads(self.weights[8 : 8 + self.length])
        self.data = self.weights[8 + self.length :]
        self.cases: dict[str, Change] = {}
        for part in (
            self.pickles,
            self.other_files,
            self.torn,
            self.headers,
            self.entries,
            self.values,
            self.shapes,
            self.changed,
            self.texts,
            self.missing,
            self.sizes,
            self.names,
            self.numbers,
            self.kinds,
            self.onnx,
        ):
            self.cases |= {f"{part.__name__}: {name}": change for name, change in part().items()}

    def make(self, name: str, folder: Path) -> Path:
        """Write a case; files that it does not change are hard links to those of the good bundle."""
        folder.mkdir()
        changed = self.cases[name]
        for path in self.bundle.iterdir():
            if path.name not in changed:
                os.link(path, folder / path.name)
        for file, content in changed.items():
            if isinstance(content, bytes):
                (folder / file).write_bytes(content)
            else:
                content(folder / file)
        return folder

    def said(self, change: Callable[[dict[str, Any]], Any]) -> Change:
        """Another `bundle.json`, with weights that belong to it."""
        about = copy.deepcopy(self.about)
        change(about)
        text = json.dumps(about, indent=2, sort_keys=True) + "\n"
        return self.text(text.encode())

    def text(self, text: bytes) -> Change:
        return {ABOUT: text, WEIGHTS: save(self.tensors, {"about_sha256": hashlib.sha256(text).hexdigest()})}

    def tensor(self, change: Callable[[dict[str, np.ndarray]], Any]) -> Change:
        """Other tensors under the same `bundle.json`."""
        tensors = {name: tensor.copy() for name, tensor in self.tensors.items()}
        change(tensors)
        return {WEIGHTS: save(tensors, self.header["__metadata__"])}

    def entry(self, change: Callable[[dict[str, Any]], Any], more: bytes = b"") -> Change:
        """Another header over the same data."""
        header = copy.deepcopy(self.header)
        change(header)
        return {WEIGHTS: raw(json.dumps(header).encode(), self.data + more)}

    def pickles(self) -> dict[str, Change]:
        touch = f"touch {self.canary}"
        calls = {
            "os.system": Does(os.system, touch),
            "exec": Does(exec, f"open({str(self.canary)!r}, 'w')"),
            "eval": Does(eval, f"open({str(self.canary)!r}, 'w')"),
            "open": Does(open, str(self.canary), "w"),
        }
        found: dict[str, Change] = {
            f"{name} in {file}, protocol {protocol}": {file: pickle.dumps(call, protocol)}
            for name, call in calls.items()
            for protocol in PROTOCOLS
            for file in (WEIGHTS, ABOUT)
        }
        evil = pickle.dumps(calls["os.system"])
        archive = zipped({"archive/data.pkl": evil, "archive/version": b"3\n"})
        legacy = io.BytesIO()
        torch.save({"a": torch.zeros(1)}, legacy, _use_new_zipfile_serialization=False)
        found |= {
            "as torch.save writes it": {WEIGHTS: archive},
            "with a wrong CRC": {WEIGHTS: archive.replace(struct.pack("<L", crc(evil)), b"\0\0\0\0")},
            "of the old torch.save": {WEIGHTS: legacy.getvalue() + evil},
            "gzipped": {WEIGHTS: gzip.compress(evil, mtime=0)},
            "npy": {WEIGHTS: npy(calls["os.system"])},
            "behind the weights": {WEIGHTS: self.weights + evil},
            "before the weights": {WEIGHTS: evil + self.weights},
            "as YAML": {ABOUT: f"!!python/object/apply:os.system ['{touch}']".encode()},
            "zip behind the weights": {WEIGHTS: self.weights + archive},
        }
        for other in ("pytorch_model.bin", "model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl"):
            found[f"{other} instead of the weights"] = {WEIGHTS: gone, other: archive}
        return found

    def other_files(self) -> dict[str, Change]:
        contents = {
            "nothing": b"",
            "zeros": bytes(100_000),
            "HTML": b"<!doctype html><html><title>404</title></html>",
            "PNG": b"\x89PNG\r\n\x1a\n" + bytes(100),
            "ELF": b"\x7fELF" + bytes(1000),
            "script": f"#!/bin/sh\ntouch {self.canary}\n".encode(),
            "GGUF": b"GGUF\3\0\0\0" + bytes(100),
            "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
            "ONNX": (self.bundle / ONNX).read_bytes() if (self.bundle / ONNX).exists() else b"\x08\x08",
        }
        return {f"{name} as {file}": {file: each} for name, each in contents.items() for file in (WEIGHTS, ABOUT)}

    def torn(self) -> dict[str, Change]:
        ends = [
            1,
            7,
            8,
            9,
            self.length,
            8 + self.length,
            9 + self.length,
            len(self.weights) // 2,
            len(self.weights) - 1,
        ]
        text = (self.bundle / ABOUT).read_bytes()
        found: dict[str, Change] = {f"weights at {end}": {WEIGHTS: self.weights[:end]} for end in ends}
        found |= {f"about at {end}": {ABOUT: text[:end]} for end in (1, 10, len(text) // 2, len(text) - 3)}
        return found | {f"{count} bytes more": {WEIGHTS: self.weights + bytes(count)} for count in (1, 8, 4096)}

    def headers(self) -> dict[str, Change]:
        lengths = (0, 1, 2**20 + 1, 2**31, 2**32, 2**40, 2**63, 2**64 - 1, self.length - 1, self.length + 1)
        found: dict[str, Change] = {
            f"length {length}": {WEIGHTS: struct.pack("<Q", length) + self.weights[8:]} for length in lengths
        }
        own = self.weights[8 : 8 + self.length]
        meta = json.dumps(self.header["__metadata__"]).encode()
        texts = {
            "a list": b"[]",
            "a number": b"1",
            "a text": b'"x"',
            "null": b"null",
            "empty": b"{}",
            "not UTF-8": b'{"\xff": {}}',
            "UTF-16": json.dumps(self.header).encode("utf-16"),
            "deep lists": b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
            "deep tables": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
            "many lists": b'{"a":[' + b"[]," * 300_000 + b"[]]}",
            "many names": b"{" + b",".join(b'"%d":{}' % i for i in range(80_000)) + b"}",
            "too many names": b"{" + b",".join(b'"%d":{}' % i for i in range(900_000)) + b"}",
            "metadata twice": b'{"__metadata__":' + meta + b"," + own.strip()[1:],
            "a name twice": own.strip()[:-1] + b',"head.linear.bias":' + json.dumps(self.entry_of()).encode() + b"}",
            "NaN": own.strip()[:-1] + b',"x":NaN}',
            "metadata alone": b'{"__metadata__":' + meta + b"}",
        }
        return found | {name: {WEIGHTS: raw(text, self.data)} for name, text in texts.items()}

    def entry_of(self) -> dict[str, Any]:
        return self.header["head.linear.bias"]

    def entries(self) -> dict[str, Change]:
        """Changes to what the header says of one tensor, or of all."""
        bias, n = "head.linear.bias", len(self.data)
        settings: dict[str, Any] = {
            "dtype": ["F16", "F64", "I64", "BOOL", "F8_E4M3", "X", "", 3, None, ["F32"]],
            "shape": [[-3], [3.0], ["3"], 3, None, [2**62], [2**32, 2**32], [3, 0], [3, 1], [1] * 10_000, "3"],
            "data_offsets": [
                [0, 0],
                [12, 0],
                [-12, 0],
                [0, n + 12],
                [n, n + 12],
                [0, 12],
                [1, 13],
                [2**63, 2**63],
                "x",
            ],
        }
        found = {
            f"{key} {str(value)[:24]}": self.entry(lambda h, key=key, value=value: h[bias].update({key: value}))
            for key, values in settings.items()
            for value in values
        }
        found |= {f"without {key}": self.entry(lambda h, key=key: h[bias].pop(key)) for key in settings}

        def shifted(header, by):
            for name, each in header.items():
                if name != "__metadata__":
                    each["data_offsets"] = [offset + by for offset in each["data_offsets"]]

        found["a hole in front"] = self.entry(lambda h: shifted(h, 8), bytes(8))
        found["all before the beginning"] = self.entry(lambda h: shifted(h, -8))
        metadata = "__metadata__"
        found["no metadata"] = self.entry(lambda h: h.pop(metadata))
        for value in ("", "0" * 64, 5, None, {}, "a" * 100_000):
            found[f"checksum {str(value)[:8]!r}"] = self.entry(lambda h, v=value: h[metadata].update(about_sha256=v))
        found["metadata is a list"] = self.entry(lambda h: h.update({metadata: []}))
        return found

    def values(self) -> dict[str, Change]:
        names = [n for n, t in self.tensors.items() if t.dtype == np.float32]
        some = names[:: max(1, len(names) // 8)]
        return {
            f"{value} in {name} at {place}": self.tensor(
                lambda t, name=name, place=place, value=value: t[name].reshape(-1).__setitem__(place, value)
            )
            for name in some
            for place, value in ((0, np.nan), (-1, np.inf), (-1, -np.inf))
        }

    def shapes(self) -> dict[str, Change]:
        w, b = "head.linear.weight", "head.linear.bias"
        first = next(iter(self.tensors))
        weight, bias = self.tensors[w], self.tensors[b]
        changes: dict[str, dict[str, Any]] = {
            "a class more": {w: np.vstack([weight, weight[:1]]), b: np.append(bias, bias[:1])},
            "a class less": {w: weight[:-1], b: bias[:-1]},
            "a feature more": {w: np.hstack([weight, weight[:, :1]])},
            "turned": {w: np.ascontiguousarray(weight.T)},
            "flat": {w: weight.ravel()},
            "a scalar": {b: np.zeros((), np.float32)},
            "none": {b: bias[:0]},
            "float64": {b: bias.astype(np.float64)},
            "float16": {first: self.tensors[first].astype(np.float16)},
            "int32": {b: bias.astype(np.int32)},
            "bool": {b: bias > 0},
            "flat in the body": {first: self.tensors[first].ravel()},
            "one more": {"extra": bias},
            "one more in the body": {"features.extra.weight": bias},
            "no name": {"": bias},
            "an optimizer's": {"optimizer.state": weight},
        }
        found = {name: self.tensor(lambda t, c=change: t.update(c)) for name, change in changes.items()}
        for name in (w, b, first):
            found[f"without {name}"] = self.tensor(lambda t, name=name: t.pop(name))
        found["other names"] = self.tensor(lambda t: [t.update({f"module.{n}": t.pop(n)}) for n in list(t)])
        found["the head alone"] = self.tensor(lambda t: [t.pop(n) for n in list(t) if n not in (w, b)])
        found["the body alone"] = self.tensor(lambda t: [t.pop(n) for n in (w, b)])
        return found

    def changed(self) -> dict[str, Change]:
        """One thing changed in `bundle.json`, the weights left as they were."""
        changes: dict[str, Callable[[dict[str, Any]], Any]] = {
            "classes": lambda a: a["classes"].reverse(),
            "mean": lambda a: a["expected"].update(mean=[0, 0, 0]),
            "std": lambda a: a["expected"].update(std=[1, 1, 1]),
            "stretch": lambda a: a["cell"]["pixels"].update(stretch="asinh"),
            "crop": lambda a: a["cell"]["pixels"].update(crop=16),
            "temperature": lambda a: a.update(temperature=3.0),
            "scores": lambda a: a["scores"]["own"].update(macro_f1=0.123),
            "licence": lambda a: a.update(licence="none"),
            "seed": lambda a: a.update(seed=5),
            "a file": lambda a: a["files"].update({"model.onnx": "0" * 64}),
            "refit": lambda a: a.update(refit=5),
        }
        return {name: {ABOUT: self.said(change)[ABOUT]} for name, change in changes.items()}

    def texts(self) -> dict[str, Change]:
        text = (self.bundle / ABOUT).read_bytes()
        body = text.strip()[1:]
        contents = {
            "blank": b" \n",
            "null": b"null",
            "a list": b"[]",
            "truth": b"true",
            "a byte order mark": b"\xef\xbb\xbf" + text,
            "UTF-16": text.decode().encode("utf-16"),
            "not UTF-8": text.replace(b"small", b"sm\xffll"),
            "a null byte": text + b"\0",
            "two of it": text + text,
            "a comment": b"// x\n" + text,
            "a trailing comma": text.replace(b"\n}", b",\n}"),
            "a name twice": b'{"name": "x",' + body,
            "a name twice within": text.replace(b'"expected": {', b'"expected": {"side": 40,'),
            "NaN": text.replace(b'"scores": {', b'"scores": {"x": NaN,'),
            "infinity": text.replace(b'"scores": {', b'"scores": {"x": -Infinity,'),
            "1e999": text.replace(b'"scores": {', b'"scores": {"x": 1e999,'),
            "5000 digits": text.replace(b'"scores": {', b'"scores": {"x": ' + b"9" * 5000 + b","),
            "deep lists": b"[" * 400_000,
            "deep tables": b'{"scores":' * 80_000,
            "many lists": b'{"scores": [' + b"[]," * 300_000 + b"[]]}",
            "a megabyte": text + b" " * (1 << 20),
            "five megabytes": text + b" " * (5 << 20),
        }
        return {name: self.text(each) for name, each in contents.items()}

    def missing(self) -> dict[str, Change]:
        """A key gone, one too many, one of another type; the weights belong to it."""
        optional = {"files", "refit", "tensors_sha256"}  # which older bundles lack
        found = {f"no {key}": self.said(lambda a, key=key: a.pop(key)) for key in self.about if key not in optional}
        found |= {
            f"{key} is {{1}}": self.said(lambda a, key=key: a.update({key: {"1": 1}}))
            for key in self.about
            if key != "objects"
        }
        for place in ("expected", "cell"):
            found[f"one more in {place}"] = self.said(lambda a, place=place: a[place].update(command="rm"))
        found["one more"] = self.said(lambda a: a.update(command="rm"))
        found["escapes in a key"] = self.said(lambda a: a.update({"\x1b[2J\x1b]0;x\x07": 1}))
        return found

    def sizes(self) -> dict[str, Change]:
        """Numbers that would cost memory or time."""
        pixels = lambda **new: lambda a: a["cell"]["pixels"].update(new)  # noqa: E731
        expected = lambda **new: lambda a: a["expected"].update(new)  # noqa: E731
        cell = lambda **new: lambda a: a["cell"].update(new)  # noqa: E731
        recipe = lambda **new: lambda a: a["cell"]["recipe"].update(new)  # noqa: E731
        return {
            name: self.said(change)
            for name, change in {
                "crop 10^9": pixels(crop=10**9),
                "crop 4096": pixels(crop=4096),
                "crop 0": pixels(crop=0),
                "crop -1": pixels(crop=-1),
                "size 10^9": pixels(size=10**9),
                "size 4096 in batches": lambda a: (pixels(size=4096)(a), recipe(batch=64)(a)),
                "side 10^9": expected(side=10**9),
                "side 0": expected(side=0),
                "side 1.5": expected(side=1.5),
                "side as text": expected(side="many"),
                "batch 10^9": recipe(batch=10**9),
                "batch 10^400": recipe(batch=10**400),
                "batch 0": recipe(batch=0),
                "depth 10^9": cell(depth=10**9),
                "depth 10^18": cell(depth=10**18),
                "depth -1": cell(depth=-1),
                "depth one more": cell(depth=self.about["blocks"] + 1),
                "blocks 0": lambda a: a.update(blocks=0),
                "blocks 10^18": lambda a: a.update(blocks=10**18),
                "a block more": lambda a: a.update(blocks=a["blocks"] + 1),
                "features 10^12": lambda a: a.update(features=10**12),
                "a feature less": lambda a: a.update(features=a["features"] - 1),
                "50,000 classes": lambda a: a.update(classes=[f"c{i}" for i in range(50_000)]),
                "20,000 bands": expected(bands=[f"b{i}" for i in range(20_000)]),
                "20,000 inputs": pixels(bands=list(range(20_000))),
            }.items()
        } | {
            f"the network {name}": self.said(cell(backbone=f"timm:{name}", weights=self.about["cell"]["weights"]))
            for name in HUGE
        }

    def names(self) -> dict[str, Change]:
        """Names of networks, strategies, bands and options that lead elsewhere."""
        here = self.canary.parent
        backbones = (
            "hf-hub:evil/model",
            "hf_hub:evil/model",
            "timm:hf-hub:evil/model",
            "timm:hf_hub:evil/model@main",
            f"local-dir:{here}",
            f"timm:local-dir:{here}",
            "timm:../../../etc/passwd",
            "timm:resnet50.evil",
            "timm:https://127.0.0.1/x",
            "timm:",
            "",
            "os.system",
            f"timm:__import__('os').system('touch {self.canary}')",
            "timm:test_resnet",
            "timm:test_vit",
            "mobilenetv2",
            "\x1b[31mred",
            "x" * 10_000,
        )
        options = {
            "pretrained": True,
            "checkpoint_path": str(self.bundle / WEIGHTS),
            "cache_dir": str(here),
            "pretrained_cfg": "x",
            "pretrained_cfg_overlay": "x",
            "features_only": True,
            "scriptable": True,
            "num_classes": 10**9,
            "in_chans": 10**9,
            "output_stride": 10**9,
            "drop_rate": 2,
            "pad_type": "../x",
            "built_as": "../x",
            "bn_eps": "x",
            "drop_path_rate": "x",
        }
        found = {
            f"backbone {name[:30]!r}": self.said(lambda a, n=name: a["cell"].update(backbone=n)) for name in backbones
        }
        found |= {
            f"option {name}": self.said(lambda a, n=name, v=value: a["cell"]["weights"]["options"].update({n: v}))
            for name, value in options.items()
        }
        for name in ("none", "block:0", "block:" + "9" * 5000, "top:3", "../top", ""):
            found[f"strategy {name[:12]!r}"] = self.said(lambda a, n=name: a["cell"].update(strategy=n))
        found["a file of weights"] = self.said(lambda a: a["cell"]["weights"].update(file="/etc/passwd"))
        for name in ("", "a\nb", "\x1b[2J", "\u202eabc", "x" * 1000, "\ud800"):
            found[f"class {name[:8]!a}"] = self.said(lambda a, n=name: a["classes"].__setitem__(0, n))
        found["one class"] = self.said(lambda a: a.update(classes=["A"]))
        found["a class twice"] = self.said(lambda a: a["classes"].__setitem__(0, a["classes"][1]))
        for file in ("../x", "/etc/passwd", "x", "a/b.onnx"):
            found[f"a file {file!r}"] = self.said(lambda a, f=file: a["files"].update({f: "0" * 64}))
        found["a checksum"] = self.said(lambda a: a["files"].update({"model.onnx": "x"}))
        return found

    def numbers(self) -> dict[str, Change]:
        """Numbers that make no sense, or would make others that are not finite."""
        expected: dict[str, list[Any]] = {
            "mean": [[], [0.5], [0.5] * 4, [1e30] * 3, [None] * 3, "x"],
            "std": [[0, 1, 1], [-1, 1, 1], [1e-300, 1, 1], [1e300] * 3, [1, 1]],
            "interpolation": ["nearest", "../x", 1],
            "dtype": ["float64", "object", ">f4"],
            "bands": [[], ["r"], ["r", "r", "r"], ["", "g", "b"]],
            "pixel_scale": ["x", [1]],
        }
        found = {
            f"{key} {str(value)[:24]}": self.said(lambda a, k=key, v=value: a["expected"].update({k: v}))
            for key, values in expected.items()
            for value in values
            if not (key == "bands" and len(value) == 3 and value[0] == "r")  # names of bands may be alike in 8 bits
        }
        for value in (0, -1, 1e-300, 1e300, "x", None):
            found[f"temperature {value}"] = self.said(lambda a, v=value: a.update(temperature=v))
        for value in ([3, 4, 5], [0, 0, 1], ["x", "y", "z"], [], [-1, 0, 1]):
            found[f"bands {value}"] = self.said(lambda a, v=value: a["cell"]["pixels"].update(bands=v))
        for value in (
            "log",
            {"kind": "asinh", "low": 1, "high": 0},
            {"kind": "asinh", "softening": 0},
            {"kind": "linear", "low": [1, 2]},
        ):
            found[f"stretch {str(value)[:40]}"] = self.said(lambda a, v=value: a["cell"]["pixels"].update(stretch=v))
        for value in (2, 0, "1", None):
            found[f"schema {value!r}"] = self.said(lambda a, v=value: a.update(schema=v))
        return found

    def kinds(self) -> dict[str, Change]:
        """Other things than files, and files elsewhere."""
        outside = self.canary.parent / "outside"
        outside.mkdir(exist_ok=True)
        found: dict[str, Change] = {}
        for file in (WEIGHTS, ABOUT):
            real = outside / file
            real.write_bytes((self.bundle / file).read_bytes())
            found |= {
                f"no {file}": {file: gone},
                f"{file} a folder": {file: Path.mkdir},
                f"{file} a pipe": {file: os.mkfifo},
                f"{file} a socket": {file: listening},
                f"{file} a link out": {file: lambda path, real=real: path.symlink_to(real)},
                f"{file} a link to zeros": {file: lambda path: path.symlink_to("/dev/zero")},
                f"{file} a link to noise": {file: lambda path: path.symlink_to("/dev/urandom")},
                f"{file} a link to passwd": {file: lambda path: path.symlink_to("/etc/passwd")},
                f"{file} a link to nothing": {file: lambda path: path.symlink_to("nothing")},
                f"{file} a link to itself": {file: lambda path: path.symlink_to(path)},
                f"{file} of a terabyte": {file: lambda path, real=real: sparse(path, real.read_bytes(), 1 << 40)},
            }
        return found

    def onnx(self) -> dict[str, Change]:
        """Read by `read_file`, whose checksum it fails."""
        content = (self.bundle / ONNX).read_bytes()
        flipped = bytearray(content)
        flipped[len(flipped) // 2] ^= 1
        return {
            "one bit": {ONNX: bytes(flipped)},
            "torn": {ONNX: content[:-1]},
            "one byte more": {ONNX: content + b"\0"},
            "nothing": {ONNX: b""},
            "a pickle": {ONNX: pickle.dumps(Does(os.system, f"touch {self.canary}"))},
            "gone": {ONNX: gone},
            "a pipe": {ONNX: os.mkfifo},
            "a link to zeros": {ONNX: lambda path: path.symlink_to("/dev/zero")},
            "of a terabyte": {ONNX: lambda path: sparse(path, content, 1 << 40)},
        }


def raw(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def crc(data: bytes) -> int:
    return zipfile.crc32(data)


def npy(value: object) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([value], dtype=object), allow_pickle=True)
    return out.getvalue()


def gone(path: Path) -> None:
    """Makes nothing."""


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as each:
        before = Path.cwd()
        os.chdir(path.parent)  # a socket's path may have 107 letters
        try:
            each.bind(path.name)
        finally:
            os.chdir(before)


def sparse(path: Path, beginning: bytes, size: int) -> None:
    """A file that announces a size and takes no room."""
    path.write_bytes(beginning)
    os.truncate(path, size)

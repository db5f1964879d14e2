"""A classifier as an ONNX file, checked against torch on real images before it is kept.

The graph takes what `skythaw.data.network_input.batch_input` gives: crop, bands, stretch and size done, values 0 to 1.
It normalises, classifies, and gives calibrated probabilities and the features they come from. So a program without
skythaw has to do the first part itself; the bundle's model card says how.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from skythaw.bundle.bundle_file import BundleInfo
from skythaw.bundle.onnx_session import FEATURES, INPUT, OUTPUT, TOLERANCE, open_session, runtime
from skythaw.errors import BundleError, UnknownNameError
from skythaw.tuning.thawed_network import ThawedNetwork, pool

OPSET = 18
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class _Graph(nn.Module):
    """Values 0 to 1 -> calibrated probabilities, and pooled features."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: ThawedNetwork, about: BundleInfo) -> None:
        super().__init__()
        self.network, self.head = model.network, model.head
        self.temperature = about.temperature
        self.register_buffer("mean", torch.tensor(about.expected.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(about.expected.std).view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = pool(self.network((image - self.mean) / self.std))
        return torch.softmax(self.head.classify(features) / self.temperature, 1), features


def to_onnx(model: ThawedNetwork, about: BundleInfo, images: Float32[Tensor, "batch band y x"]) -> bytes:
    """The content of an ONNX file.

    Parameters
    ----------
    model
        the classifier, on the CPU
    about
        what its bundle says
    images
        at least two real ones, as the graph takes them: it must give the same for them as torch

    Raises
    ------
    UnknownNameError
        A package that this needs is not installed.
    BundleError
        The network can't be exported, or gives other probabilities.
    """
    _require_packages()
    graph = _Graph(model, about).eval()
    with tempfile.TemporaryDirectory() as folder, _quiet():  # with gradients on: without, torch's exporter stumbles
        path = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                graph,
                (images[:2].contiguous(),),
                path,
                input_names=[INPUT],
                output_names=[OUTPUT, FEATURES],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter raises many kinds
            text = " ".join(str(error).split())[:200]
            raise BundleError(f"{about.cell.backbone} can't be exported to ONNX: {text}") from None
        content = _bare(path.read_bytes())
        wanted = graph(images)[0].detach().numpy()
    open_session(content, about)  # which is strict
    found = run_onnx(content, images.numpy())
    if (worst := float(np.abs(found - wanted).max())) > TOLERANCE:
        raise BundleError(f"the ONNX file's probabilities differ from torch's by {worst:.2g}; at most {TOLERANCE:g}")
    return content


def run_onnx(content: bytes, images: np.ndarray, threads: int = 0) -> Float32[np.ndarray, "object class"]:
    """What an ONNX file says of images, as its graph takes them; on the CPU with so many threads (0: all)."""
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([OUTPUT], {INPUT: np.ascontiguousarray(images)})[0])


def _bare(content: bytes) -> bytes:
    """The graph without the exporter's notes, which hold the paths of this machine's files."""
    import onnx

    model = onnx.load_from_string(content)
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model.SerializeToString(deterministic=True)


def can_export() -> bool:
    """Whether the packages that it takes are installed."""
    return not _missing()


def _missing() -> list[str]:
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def _require_packages() -> None:
    if missing := _missing():
        raise UnknownNameError(f"ONNX needs the package {missing[0]}: pip install 'skythaw[onnx]'")


class _quiet:  # noqa: N801 (used as a context)
    """Without the exporter's remarks on its own work."""

    def __enter__(self) -> None:
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._before)
        self._warnings.__exit__(None, None, None)

"""Write a classifier as an ONNX file, and compare it with torch on real images.

The graph takes the output of `skythaw.data.network_input.batch_input`: crop, bands, stretch and size are done, and the
values are 0 to 1. It normalises and classifies, and gives calibrated probabilities and the features from which they
come. A program without skythaw has to do the first part itself; the bundle's model card says how.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from skythaw.bundle.bundle_file import BundleDescription
from skythaw.bundle.network_mean import NetworkMean
from skythaw.bundle.onnx_session import FEATURES, INPUT, OUTPUT, TOLERANCE, open_session, runtime
from skythaw.errors import BundleError, UnknownNameError
from skythaw.tuning.thawed_network import ThawedNetwork

OPSET = 18
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class _Graph(nn.Module):
    """Values 0 to 1 -> calibrated probabilities, and pooled features."""

    mean: Tensor
    std: Tensor

    def __init__(self, models: Sequence[ThawedNetwork], about: BundleDescription) -> None:
        super().__init__()
        self.networks = NetworkMean(models, about)
        self.temperature = about.temperature
        self.register_buffer("mean", torch.tensor(about.expected.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(about.expected.std).view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits, features = self.networks((image - self.mean) / self.std)
        return torch.softmax(logits / self.temperature, 1), features


def to_onnx(
    models: Sequence[ThawedNetwork], about: BundleDescription, images: Float32[Tensor, "batch band y x"]
) -> bytes:
    """The content of an ONNX file.

    Parameters
    ----------
    models
        the networks of the classifier, on the CPU
    about
        what its bundle says of itself
    images
        at least two real images, as the graph takes them, for which it must agree with torch

    Raises
    ------
    UnknownNameError
        A package that is needed is not installed.
    BundleError
        The network can't be exported, or the graph gives other probabilities.
    """
    _require_packages()
    graph = _Graph(models, about).eval()
    with _quiet():  # with gradients on: without, torch's exporter stumbles
        try:
            program = torch.onnx.export(
                graph,
                (images[:2].contiguous(),),
                input_names=[INPUT],
                output_names=[OUTPUT, FEATURES],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # the exporter raises many kinds
            text = " ".join(str(error).split())[:200]
            raise BundleError(f"{about.cell.backbone} can't be exported to ONNX: {text}") from None
        assert program is not None  # by dynamo
        content = _bare(program.model_proto)
        wanted = graph(images)[0].detach().numpy()
    open_session(content, about)  # which is strict
    given = run_onnx(content, images.numpy())
    if (worst := float(np.abs(given - wanted).max())) > TOLERANCE:
        raise BundleError(f"the ONNX file's probabilities differ from torch's by {worst:.2g}; at most {TOLERANCE:g}")
    return content


def run_onnx(content: bytes, images: np.ndarray, threads: int = 0) -> Float32[np.ndarray, "object class"]:
    """The probabilities that an ONNX file gives for images, as its graph takes them; on the CPU.

    Parameters
    ----------
    content
        of the ONNX file
    images
        float32 [batch, band, y, x]
    threads
        of the CPU; 0 uses all
    """
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([OUTPUT], {INPUT: np.ascontiguousarray(images)})[0])


def _bare(model: Any) -> bytes:
    """The graph without the exporter's notes, which hold paths of this machine."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model.SerializeToString(deterministic=True)


def can_export() -> bool:
    """Whether the packages that the export needs are installed."""
    return not _missing()


def _missing() -> list[str]:
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def _require_packages() -> None:
    if missing := _missing():
        raise UnknownNameError(f"ONNX needs the package {missing[0]}: pip install 'skythaw[onnx]'")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks on its own work."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)

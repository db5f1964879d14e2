"""Open a bundle's ONNX file safely: it may compute with the operations of ONNX alone, and it may read no other file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from skythaw.bundle.bundle_file import ONNX, BundleDescription
from skythaw.bundle.onnx_nodes import require_straight
from skythaw.errors import BundleError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, NodeArg

INPUT, OUTPUT, FEATURES = "image", "probability", "features"
TOLERANCE = 1e-4
"""largest difference from a probability of torch"""
LARGEST = 2 << 30
"""bytes: the most that ONNX allows"""
ELSEWHERE = b"location"
"""The key with which a tensor of a graph names another file or memory (onnx.proto: TensorProto.external_data)."""
QUIET = 4
"""onnxruntime's log level at which it prints fatal errors alone"""


def runtime() -> Any:
    """The module onnxruntime. Since version 1.29 it reports to its maker what it runs; this is turned off first."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def open_session(content: bytes, about: BundleDescription, threads: int = 1) -> InferenceSession:
    """A graph, ready to run on the CPU.

    Parameters
    ----------
    content
        of the ONNX file
    about
        what its bundle says
    threads
        number of threads that share the work of a layer; with 1, each thread that calls the session works alone

    Raises
    ------
    BundleError
        It can't be run, refers to other files, has loops or branches, or other inputs or outputs than this classifier.
    """
    if ELSEWHERE in content:
        raise BundleError(f"{ONNX} refers to data outside of it; the graph of a bundle should hold all its data")
    require_straight(content, ONNX)
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = QUIET
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session: InferenceSession = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises many kinds
        raise BundleError(f"{ONNX} can't be run: {' '.join(str(error).split())[:200]}") from None
    size, bands = about.cell.pixels.size, about.cell.pixels.inputs
    _require("takes", session.get_inputs(), {INPUT: (bands, size, size)})
    _require("gives", session.get_outputs(), {OUTPUT: (len(about.classes),), FEATURES: (about.features,)})
    return session


def _require(does: str, found: Sequence[NodeArg], wanted: dict[str, tuple[int, ...]]) -> None:
    """Raise `BundleError` unless these are the names and shapes, for any number of images."""
    shapes = {arg.name: tuple(arg.shape) for arg in found if arg.type == "tensor(float)"}
    shapes = {name: shape[1:] for name, shape in shapes.items() if shape and not isinstance(shape[0], int)}
    if len(shapes) < len(found) or shapes != wanted:
        say = ", ".join(f"{arg.name} {arg.type} {arg.shape}" for arg in found)
        right = ", ".join(f"{name} tensor(float) {['batch', *shape]}" for name, shape in wanted.items())
        raise BundleError(f"{ONNX} {does} {say[:200]}; this bundle's should be {right}")

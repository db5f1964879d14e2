"""What a graph in an ONNX file is made of, read without memory and without running anything: onnx.proto of ONNX 1.17.

Loops and branches are refused: a graph of a few bytes could run for ever, and no network of a bundle has any.
"""

from __future__ import annotations

from collections.abc import Iterator

from skythaw.errors import BundleError

GRAPH, FUNCTIONS = 7, 25
"""fields of a ModelProto"""
NODES_OF_GRAPH, NODES_OF_FUNCTION = 1, 7
OP_TYPE, ATTRIBUTE = 4, 5
"""fields of a NodeProto"""
GRAPHS_IN_ATTRIBUTE = {6, 11}
"""fields of an AttributeProto that hold graphs: the body of a loop, the branches of a condition"""
MOST_NODES = 100_000
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""kinds of fields in a protocol buffer"""


def require_straight(content: bytes, name: str) -> None:
    """Raise `BundleError` unless a graph has no loop and no branch, and no more than `MOST_NODES` nodes."""
    nodes = 0
    try:
        for field, part in _fields(memoryview(content)):
            within = {GRAPH: NODES_OF_GRAPH, FUNCTIONS: NODES_OF_FUNCTION}.get(field)
            for inner, node in _fields(part) if within else ():
                if inner == within:
                    nodes += 1
                    _require_no_body(node, name)
                if nodes > MOST_NODES:
                    raise BundleError(f"{name} has more than {MOST_NODES:,} nodes; no network of a bundle has so many")
    except (IndexError, ValueError):
        raise BundleError(f"{name} can't be run: it is no ONNX file, or it is torn") from None


def _require_no_body(node: memoryview, name: str) -> None:
    kind = ""
    for field, part in _fields(node):
        if field == OP_TYPE:
            kind = bytes(part[:40]).decode(errors="replace")
        elif field == ATTRIBUTE and any(inner in GRAPHS_IN_ATTRIBUTE for inner, _ in _fields(part)):
            raise BundleError(
                f"{name} has a node {kind or 'with a graph'!r} that runs another graph; a bundle's should have no loop "
                "and no branch"
            )


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The numbers of the fields of a message, and the content of those that have a length; others are empty.

    Raises
    ------
    IndexError, ValueError
        It is no protocol buffer.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        length = 0
        if (kind := tag & 7) == BYTES:
            length, at = _varint(message, at)
        elif kind == VARINT:
            _, at = _varint(message, at)
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"a field of the kind {kind}")
        if at + length > end:
            raise ValueError("a field is longer than what holds it")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 10 bytes")

"""Networks for tests: each is built once a session, with random weights."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from helpers_soak import soak
from skythaw import registry
from skythaw.backbones.blocks import Block
from skythaw.backbones.known_backbones import IMAGENET, backbone
from skythaw.backbones.network import Network, build
from skythaw.backbones.pretrained_weights import RANDOM

NAMED = registry.names("backbone")
SMALL = ["timm:test_resnet", "timm:test_convnext", "timm:test_efficientnet", "timm:mobilenetv3_small_050"]
KEPT = ("mobilenetv2", "nasnet_mobile", *SMALL)
"""networks of each library and kind: `make test` tries these, and `make soak` the others"""
every_network = pytest.mark.parametrize("name", soak([*NAMED, *SMALL], KEPT))
every_named = pytest.mark.parametrize("name", soak(NAMED, KEPT))


@functools.cache
def network(name: str) -> Network:
    """Shared by all tests: one that changes it must put it back, or take `fresh`."""
    return build(backbone(name), RANDOM)


def fresh(name: str) -> Network:
    return build(backbone(name), RANDOM)


def images(size: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(size))


def handmade(features: nn.Module, *blocks: str, channels: int = 4) -> Network:
    """A network whose blocks are given by how the names in them begin: ``"a"``, or ``"a c"``."""
    parameters, buffers = dict(features.named_parameters()), dict(features.named_buffers())
    made = [
        Block(
            block,
            tuple(n for n in parameters if n.startswith(tuple(block.split()))),
            tuple(n for n in buffers if n.startswith(tuple(block.split()))),
        )
        for block in blocks
    ]
    return Network(features, tuple(made), channels, IMAGENET, "handmade").eval()


@contextmanager
def serving(files: dict[str, bytes], headers: dict[str, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """A web server on the loopback interface; gives its address, and a list to which it adds every path asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_HEAD = do_GET  # noqa: N815 (as http.server calls it)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()

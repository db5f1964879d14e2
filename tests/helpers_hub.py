"""A stand-in for the Hugging Face Hub: a web server that answers as the real one does, for its own library to ask."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

FIRST, SECOND = "a" * 40, "b" * 40
"""commits"""


@dataclass
class Repository:
    """A model of the Hub: its files at each commit, and the names of commits."""

    commits: dict[str, dict[str, bytes]]
    names: dict[str, str] = field(default_factory=lambda: {"main": FIRST})
    fault: str = ""
    """what the Hub answers instead, as ``X-Error-Code``: ``GatedRepo``, ``RepoNotFound``"""


def timm_files(
    network: str, state: dict[str, Tensor], arguments: dict[str, Any] | None = None, **expected: Any
) -> dict[str, bytes]:
    """The two files of a model that timm pushed to the Hub."""
    config = {
        "architecture": network,
        "num_classes": 0,
        "num_features": 256,
        "model_args": arguments or {},
        "pretrained_cfg": {"custom_load": False, "input_size": [3, 224, 224], "interpolation": "bicubic", **expected},
    }
    return {"config.json": json.dumps(config).encode(), "model.safetensors": safetensors.torch.save(state)}


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_cache(cache: Path, name: str, files: dict[str, bytes], commit: str = FIRST) -> None:
    """Lay out files as the Hub's library keeps them."""
    repository = cache / f"models--{name.replace('/', '--')}"
    write_folder(repository / "snapshots" / commit, files)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


@contextmanager
def hub(repositories: dict[str, Repository]) -> Iterator[tuple[str, list[str]]]:
    """Serve models; gives the address, and a list to which every path asked for is added."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, code, commit, content = _answer(repositories, self.path)
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            if commit:
                self.send_header("X-Repo-Commit", commit)
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815 (as http.server calls it)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def _answer(repositories: dict[str, Repository], path: str) -> tuple[int, str, str, bytes]:
    """Status, error code, commit and content of ``/OWNER/NAME/resolve/REVISION/FILE``."""
    if path.count("/resolve/") != 1:
        return 404, "", "", b""
    owner, name, _, revision, file = path.strip("/").split("/", 4)
    found = repositories.get(f"{owner}/{name}")
    if found is None or found.fault == "RepoNotFound":
        return 401, "RepoNotFound", "", b""  # as the Hub answers those who are not logged in
    if found.fault:
        return 403, found.fault, "", b""
    commit = found.names.get(revision, revision)
    if commit not in found.commits:
        return 404, "RevisionNotFound", "", b""
    if file not in found.commits[commit]:
        return 404, "EntryNotFound", commit, b""
    return 200, "", commit, found.commits[commit][file]

"""A stand-in for the whole of the Hugging Face Hub: repositories that are made, filled and read; and its faults."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".onnx", ".parquet")
"""endings of files that go by themselves, before the commit that names them"""
Faults = dict[str, int | str]
"""what goes wrong, by the step: a status; ``cut`` (the connection ends without an answer); ``half`` (of a file)"""


@dataclass
class Stored:
    """A repository: its commits, the newest last, and names of commits."""

    private: bool = True
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {}})
    names: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        """Add a commit with these files; its name."""
        text = json.dumps([sorted((name, blob_id(data)) for name, data in files.items()), len(self.commits)])
        name = hashlib.sha1(text.encode()).hexdigest()
        self.commits[name] = files
        return name

    def find(self, revision: str) -> str | None:
        """The commit that a revision names."""
        newest = next(reversed(self.commits))
        name = self.names.get(revision, newest if revision == "main" else revision)
        return name if name in self.commits else None


def blob_id(data: bytes) -> str:
    """The name of a file's content in git."""
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


class HubServer:
    """What the stand-in knows. Repositories are called ``models/OWNER/NAME`` or ``datasets/OWNER/NAME``."""

    def __init__(self) -> None:
        self.repositories: dict[str, Stored] = {}
        self.faults: Faults = {}
        self.asked: list[str] = []
        """steps, in order"""
        self.large: dict[str, bytes] = {}
        self.address = ""

    def create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"models/{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.address}/{asked['organization']}/{asked['name']}"}
        if name in self.repositories:
            return 409, {"error": "You already created this model repo", **url}
        private = asked.get("visibility") == "private" or asked.get("private") is True
        self.repositories[name] = Stored(private)
        return 200, url

    def about(self, name: str, revision: str) -> tuple[int, Any]:
        stored = self.repositories[name]
        commit = stored.find(revision)
        if commit is None:
            return 404, "RevisionNotFound"
        siblings = [{"rfilename": each} for each in sorted(stored.commits[commit])]
        plain = name.partition("/")[2]
        return 200, {"id": plain, "sha": commit, "private": stored.private, "siblings": siblings, "tags": []}

    def tree(self, name: str, revision: str) -> tuple[int, Any]:
        stored = self.repositories[name]
        commit = stored.find(revision)
        if commit is None:
            return 404, "RevisionNotFound"
        files = stored.commits[commit].items()
        return 200, [{"type": "file", "path": n, "size": len(d), "oid": blob_id(d)} for n, d in sorted(files)]

    def preupload(self, name: str, asked: dict[str, Any]) -> tuple[int, Any]:
        stored = self.repositories[name]
        there = stored.commits[next(reversed(stored.commits))]
        files = []
        for each in asked["files"]:
            path, large = each["path"], each["path"].endswith(LARGE)
            oid = hashlib.sha256(there[path]).hexdigest() if large and path in there else None
            oid = blob_id(there[path]) if path in there and not large else oid
            mode = "lfs" if large else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return 200, {"files": files}

    def batch(self, asked: dict[str, Any]) -> tuple[int, Any]:
        objects = []
        for each in asked["objects"]:
            found: dict[str, Any] = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.large:
                found["actions"] = {"upload": {"href": f"{self.address}/put/{each['oid']}", "header": {}}}
            objects.append(found)
        return 200, {"transfer": "basic", "objects": objects}

    def commit(self, name: str, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        stored = self.repositories[name]
        newest = next(reversed(stored.commits))
        files = dict(stored.commits[newest])
        for line in lines:
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit") not in (None, newest):
                return 412, {"error": "the branch has moved on"}
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            if line["key"] == "deletedFile":
                del files[value["path"]]
        made = stored.commit(files)
        return 200, {"commitUrl": f"{self.address}/{name.partition('/')[2]}/commit/{made}", "commitOid": made}


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """Serve; the server's `address` is for HF_ENDPOINT."""
    state = HubServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            path = unquote(urlsplit(self.path).path).strip("/")
            step, status, content, commit = _answered(state, self.command, path, body)
            state.asked.append(step)
            fault = state.faults.get(step)
            if fault == "cut":
                self.close_connection = True
                self.connection.close()
                return
            code = content if isinstance(content, str) else ""
            content = {"error": code} if code else content
            if isinstance(fault, int):
                status, code, content = fault, "", {"error": "a fault"}
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            if commit:
                self.send_header("X-Repo-Commit", commit)
            if isinstance(content, bytes):
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(data[: len(data) // 2] if fault == "half" else data)
            if fault == "half":
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 (as http.server calls them)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield state
        finally:
            server.shutdown()


@contextmanager
def asked_instead_of_the_hub(monkeypatch: Any) -> Iterator[HubServer]:
    """In this process, the Hub's own library asks the stand-in, and does not wait before it asks again."""
    from huggingface_hub import constants, file_download

    with hub_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        for module in (constants, file_download):  # the oldest one has a copy of its own
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_stand_in")
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield server


def _answered(state: HubServer, method: str, path: str, body: bytes) -> tuple[str, int, Any, str]:
    """The step, the status, the answer and the commit of a request."""
    parts = path.split("/")
    if path == "api/repos/create" and isinstance(state.faults.get("create"), int):
        return "create", 200, {}, ""  # what is refused is not done
    if path == "api/repos/create":
        return ("create", *state.create(json.loads(body)), "")
    if path == "api/validate-yaml":
        return "validate", 200, {"errors": [], "warnings": []}, ""
    if path.endswith(".git/info/lfs/objects/batch"):
        return ("batch", *state.batch(json.loads(body)), "")
    if parts[0] == "put":
        if state.faults.get("put") is None:
            state.large[parts[1]] = body
        return "put", 200, {}, ""
    inside = parts[1:] if parts[0] == "api" else parts if parts[0] == "datasets" else ["models", *parts]
    name, rest = "/".join(inside[:3]), inside[3:]
    if name not in state.repositories:
        return "unknown", 401, "RepoNotFound", ""
    if parts[0] == "api":
        if not rest or rest[0] == "revision":
            return ("about", *state.about(name, "/".join(rest[1:]) or "main"), "")
        if rest[0] == "tree":
            return ("tree", *state.tree(name, rest[1]), "")
        if rest[0] == "preupload":
            return ("preupload", *state.preupload(name, json.loads(body)), "")
        return ("commit", *state.commit(name, [json.loads(line) for line in body.splitlines()]), "")
    commit, file = state.repositories[name].find(rest[1]), "/".join(rest[2:])
    if commit is None or file not in state.repositories[name].commits[commit]:
        return "file", 404, "EntryNotFound", commit or ""
    return "file" if method == "GET" else "head", 200, state.repositories[name].commits[commit][file], commit

"""`skythaw serve` as a process: sockets, slow and greedy clients, tokens, and its end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from helpers_bundle import make_bundle
from helpers_web import LARGEST, TOKEN, serving
from skythaw.data.cutouts import read_cutouts

PREDICT = "/api/v1/bundles/bundle/predict"
HEAD = "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: multipart/form-data; boundary=x\r\n"
PART = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a"\r\n\r\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("served")
    make_bundle(folder, cache)
    return folder


@pytest.fixture(scope="module")
def served(folder):
    with serving(folder, "--run", folder / "run", "--bundle", folder / "bundle") as service:
        yield service


@pytest.fixture(scope="module")
def slow(served):
    """Two clients of whom the service should tire: one never ends its head, the other its body."""
    never, late = (socket.create_connection(("127.0.0.1", served.port), 60) for _ in range(2))
    with never, late:
        never.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n")
        late.sendall((HEAD.format(path=PREDICT) + "content-length: 1000\r\n\r\n").encode() + PART)
        yield never, late


@pytest.fixture
def connect(served):
    opened = []

    def go():
        opened.append(socket.create_connection(("127.0.0.1", served.port), 20))
        return opened[-1]

    yield go
    for each in opened:
        each.close()


def poured(connection, head, content, most):
    """How many bytes could be sent before the service had enough, and what it said."""
    connection.sendall(head)
    sent = 0
    connection.settimeout(20)
    try:
        while sent < most:
            connection.sendall(content)
            sent += len(content)
    except OSError:  # it closed the connection
        pass
    try:
        return sent, connection.recv(1 << 16)
    except OSError:
        return sent, b""


def test_health_and_a_prediction(served, folder, slow):
    assert httpx.get(f"{served.address}/health").text == "ok"
    data = next(read_cutouts(folder / "survey.parquet").images())[1]
    answer = httpx.post(served.address + PREDICT, files={"files": ("a.jpg", data)}, timeout=60)
    assert answer.status_code == 200
    assert "server" not in answer.headers


def test_an_upload_over_the_cap_is_cut_off(connect):
    """T18: by its length before a byte of it is read; without a length, in pieces, when the cap is passed."""
    told = HEAD.format(path=PREDICT) + f"content-length: {200 * LARGEST}\r\n\r\n"
    connection = connect()
    connection.sendall(told.encode())
    assert b" 413 " in connection.recv(1 << 16)  # not a byte of the body was sent
    piece = b"0" * 50_000
    chunk = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    head = (HEAD.format(path=PREDICT) + "transfer-encoding: chunked\r\n\r\n").encode()
    head += f"{len(PART):x}\r\n".encode() + PART + b"\r\n"
    sent, said = poured(connect(), head, chunk, 200 * LARGEST)
    assert sent < 50 * LARGEST  # what lies in the system's buffers was sent, too
    assert said == b"" or b" 413 " in said


def test_slow_clients_stop_nobody(connect, served):
    """T18: a hundred that send a byte at a time."""
    slow = [connect() for _ in range(100)]
    for each in slow:
        each.sendall((HEAD.format(path=PREDICT) + f"content-length: {LARGEST // 2}\r\n\r\n").encode() + PART)
    for _ in range(5):
        for each in slow:
            each.sendall(b"0")
        start = time.monotonic()
        assert httpx.get(f"{served.address}/health", timeout=10).text == "ok"
        assert time.monotonic() - start < 5  # the promise is half a second, on a machine that does nothing else


@pytest.mark.parametrize(
    "path",
    ["/static/../../../../../../etc/passwd", "/../../etc/passwd", "/static/%2e%2e/%2e%2e/app.py", "/static//etc/passwd",
     "/static/..%5c..%5capp.py", "/runs/run/%00", "http://evil.example/", "/static/\xff\xfe"],
)  # fmt: skip
def test_raw_paths_lead_nowhere(connect, path):
    connection = connect()
    request = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode("latin-1")
    connection.sendall(request)
    said = b""
    while more := connection.recv(1 << 16):
        said += more
    assert said.split(b" ")[1] in (b"400", b"404", b"200")
    assert b"root:" not in said
    assert b"import annotations" not in said


def test_garbage_is_not_its_end(connect, served):
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        b"A" * 100_000,
        b"GET /\r\n\r\n",
        b"\r\n" * 1000,
    ):
        connection = connect()
        connection.sendall(garbage)
        connection.close()
    assert httpx.get(f"{served.address}/health").text == "ok"


def test_others_need_a_token(folder):
    """T20: no token, no start; with one, it is in no log and no address."""
    command = [
        sys.executable,
        "-m",
        "skythaw",
        "serve",
        "--bundle",
        folder / "bundle",
        "--host",
        "0.0.0.0",
        "--port",
        "0",
    ]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "--token-file" in refused.stderr
    arguments = ("--bundle", folder / "bundle", "--host", "0.0.0.0")
    with serving(folder, *arguments, environment={"SKYTHAW_TOKEN": TOKEN}) as service:
        address = f"http://127.0.0.1:{service.port}"
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert httpx.get(address).status_code == 401
        assert httpx.get(address, headers=bearer).status_code == 200
        assert httpx.post(f"{address}/login", data={"token": TOKEN}).status_code == 303
        assert httpx.post(address + PREDICT, headers=bearer, files={"files": ("a", b"a")}).status_code == 200
    assert TOKEN not in service.log.read_text()


BAD = {
    "nothing to serve": (["--name", "sky.example"], "nothing to serve: give --run RUN, --bundle BUNDLE"),
    "runs for others": (
        ["--folder", ".", "--name", "sky.example"],
        "alone: leave out --host and --name",
    ),
    "runs on the network": (["--folder", ".", "--host", "0.0.0.0", "--token-file", "good"], "on this machine alone"),
    "no folder": (["--folder", "nowhere"], "--folder nowhere is no folder"),
    "no run": (["--run", "nowhere"], "nowhere is not a run folder"),
    "no bundle": (["--bundle", "nowhere"], "nowhere is no bundle"),
    "a torn bundle": (["--bundle", "torn"], "can't read"),
    "a short token": (["--bundle", "bundle", "--token-file", "short"], "16 or more letters"),
    "no token file": (["--bundle", "bundle", "--token-file", "nowhere"], "can't read the token in nowhere"),
    "no such address": (
        ["--bundle", "bundle", "--host", "192.0.2.1", "--token-file", "good"],
        "can't listen on 192.0.2.1",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), BAD.values(), ids=BAD)
def test_bad_arguments_are_one_line(folder, skythaw, arguments, said):
    (folder / "short").write_text("short")
    if not (folder / "torn").exists():
        shutil.copytree(folder / "bundle", folder / "torn")
        os.truncate(folder / "torn" / "model.safetensors", 1000)
    (folder / "good").write_text(TOKEN)
    done = skythaw("serve", *arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_without_the_package_it_says_what_to_install(folder, monkeypatch, capsys):
    from skythaw.cli import main

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "skythaw.web.http_server", raising=False)
    monkeypatch.delattr("skythaw.web.http_server", raising=False)
    with pytest.raises(SystemExit) as end:
        main(["serve", "--bundle", str(folder / "bundle")])
    assert end.value.code == 2
    assert "pip install 'skythaw[web]'" in capsys.readouterr().err


def test_a_port_that_is_taken(served, folder, skythaw):
    done = skythaw("serve", "--bundle", folder / "bundle", "--port", served.port)
    assert done.returncode == 2
    assert f"can't listen on 127.0.0.1, port {served.port}" in done.stderr


def test_a_client_that_never_asks_is_let_go(slow):
    assert slow[0].recv(1 << 16) == b""


@pytest.mark.soak
def test_a_client_that_is_too_slow_is_let_go(slow):
    assert b" 408 " in slow[1].recv(1 << 16)


@pytest.mark.soak
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_told_to(folder, how):
    with serving(folder, "--bundle", folder / "bundle") as service:
        assert httpx.get(f"{service.address}/health").text == "ok"
        service.process.send_signal(how)
        assert service.process.wait(20) in (0, 130, -how)
        assert "Traceback" not in service.log.read_text()

"""Clients that hold connections open and say nothing: each is closed in time, and they keep nobody out."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import socket
import subprocess
import sys
import time

import httpx
import pytest

from helpers_soak import soak
from skythaw.web.http_server import listen

SERVER = """
import sys
from skythaw.web import http_server
http_server.HEAD, http_server.SENDING, http_server.CROWD, http_server.CONNECTIONS = map(eval, sys.argv[1:])

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/body":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(2000 if scope["path"] == "/much" else 0):
        await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
    await send({"type": "http.response.body", "body": b"ok"})

listening = http_server.listen("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)
http_server.run(app, listening)
"""
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
STALLS = {
    "nothing": b"",
    "a head": b"GET / HTTP/1.1\r\nhost: ",
    "a second head": GET + b"G",
    "a body that is not read": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx",
    "an upgrade": b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "an answer that is not read": b"GET /much HTTP/1.1\r\nhost: x\r\n\r\n",
}


@contextlib.contextmanager
def serving(head, sending=100.0, crowd=600, connections=1000):
    command = [sys.executable, "-c", SERVER, *map(str, (head, sending, crowd, connections))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def connected(port, say):
    made = socket.create_connection(("127.0.0.1", port), 20)
    made.sendall(say)
    return made


def is_closed(connection, seconds):
    """Whether the service ends the connection in time, though a byte comes now and then."""
    connection.settimeout(0.1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            try:
                connection.sendall(b"x")
                if connection.recv(4096) == b"":
                    return True
            except (ConnectionError, BrokenPipeError):
                return True
    return False


@pytest.mark.soak
@pytest.mark.parametrize("kind", [each for each in STALLS if each != "an answer that is not read"])
def test_a_connection_without_a_request_is_closed_in_time(kind):
    with serving(1.0) as port, connected(port, STALLS[kind]) as one:
        assert is_closed(one, 20)


def test_an_answer_that_is_not_read_is_given_up():
    with serving(100.0, sending=1.0) as port, connected(port, STALLS["an answer that is not read"]) as one:
        time.sleep(3)
        assert is_closed(one, 20) or unread(one)
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "ok"


def unread(connection):
    """Whether the service has ended the answer before its end, once all that lies in buffers is read."""
    connection.settimeout(20)
    size = 0
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(1 << 20):
            size += len(data)
    return size < 200_000_000


@pytest.mark.parametrize("kind", ["nothing", "a second head", "a body"])
@pytest.mark.parametrize("many", soak([60, 600], 1))
def test_many_stalled_connections_keep_nobody_out(kind, many):
    say = STALLS.get(kind, b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx")
    with serving(1000.0, crowd=many - 10, connections=many + 300) as port, contextlib.ExitStack() as stack:
        stalled = [stack.enter_context(connected(port, say)) for _ in range(many)]
        for _ in range(3):
            assert httpx.get(f"http://127.0.0.1:{port}/", timeout=10).text == "ok"
        assert is_closed(stalled[0], 20), "the oldest goes first"
        assert not is_closed(stalled[-1], 0.5)


def test_a_connection_that_is_used_stays_open():
    with serving(1.5) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(4):
            assert client.get("/").text == "ok"
            time.sleep(0.6)


def test_an_answer_does_not_wait_for_the_client():
    """With Nagle's algorithm the second part of each answer would come 40 ms later."""

    async def accepted():
        connections = asyncio.Queue()

        async def take(reader, writer):
            await connections.put(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with contextlib.closing(listen("127.0.0.1", 0)) as listening:
            async with await asyncio.start_server(take, sock=listening):
                with socket.create_connection(listening.getsockname()):
                    return await connections.get()

    assert asyncio.run(accepted())


HEAPS = """
import ctypes, sys, threading
from skythaw.machine.allocator import share_arenas
if sys.argv[1] == "few":
    share_arenas()
gate = threading.Barrier(17)
threads = [threading.Thread(target=lambda: (bytearray(1000), gate.wait())) for _ in range(16)]
[each.start() for each in threads]
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
gate.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there are no arenas here")
def test_threads_share_a_few_heaps(tmp_path):
    """So what uploads took in many threads is handed back."""
    found = {}
    for how in ("few", "many"):
        subprocess.run([sys.executable, "-c", HEAPS, how, tmp_path / how], check=True, timeout=60)
        found[how] = (tmp_path / how).read_text().count("<heap nr=")
    assert found["few"] <= 2 < found["many"]

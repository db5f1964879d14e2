"""The services of SDSS as they answer, faults included: a real HTTP server over the objects of `sdss_universe`.

`python tests/sdss_server.py CONFIG.json` prints its address; tests use `with serving(config) as url`.
The reply shapes are those of the project's notes on the services (SkyServer, SAS, Legacy viewer, hips2fits).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import re
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from sdss_sql import RefusedError, Sql, SqlError, Table, spoil_table
from sdss_universe import BANDS, FAULTS, PERMANENT, Universe, bz2_bomb, encode, fits_bytes, gzip_bomb, message

UNIVERSE = ("objects", "seed", "faults", "hostile", "shape")
HTML, JPEG, TEXT = "text/html; charset=utf-8", "image/jpeg", "text/plain"
UNAVAILABLE = b"""<html><body><h1>503 Service Unavailable</h1>
No server is available to handle this request.
</body></html>
"""
SKYSERVER_ERROR = b"""<!DOCTYPE html><html><head><title>Skyserver Error</title></head>
<body><h1>An error occured</h1><p>Execution Timeout Expired.</p></body></html>
"""
OUTSIDE = "Requested (ra, dec) is outside the SDSS footprint."
SKY = re.compile(r"/dr1[4-8]/skyserverws/(searchtools/sqlsearch|imgcutout/getjpeg)", re.IGNORECASE)
FRAME = re.compile(
    r"/sas/(?:dr(?:1[3-7])/eboss|dr18/prior-surveys/sdss4-dr17-eboss)/photoObj/frames/301/(\d+)/(\d)/"
    r"frame-([ugriz])-(\d{6})-(\d)-(\d{4})\.fits\.bz2"
)
VIEWER = re.compile(r"/viewer/(?:cutout\.(jpg|fits)|(jpeg|fits)-cutout)")
HIPS = "/hips-image-services/hips2fits"
RECORDS = "/MocServer/query"
SKIES = {
    "CDS/P/SDSS9": ("color", *BANDS),
    "CDS/P/DSS2": ("color", "red", "blue"),
    "CDS/P/2MASS": ("color", *"JHK"),
    "CDS/P/Rare": ("color", "g"),
}
"""surveys of CDS: their colour images and their bands"""
SQL_FAULTS = ("json500", "html200", "error_table", "html503", "lb200", "cut", "wrong_header", "duplicate_row",
              "foreign_class", "bad_id", "hang", "endless")  # fmt: skip
HOSTILE = ("gzip_bomb", "bz2_bomb", "endless", "redirect_host", "redirect_file", "redirect_loop", "html200",
           "wrong_size", "jpeg404", "huge_header", "many_headers", "slow", "png", "truncated_jpeg", "bad_length",
           "message500", "svg", "empty")  # fmt: skip
IMAGE_FAULTS = {*FAULTS, *HOSTILE}
LAYERS = {"sdss": "gri", "sdss2": "gri", "sdssco": "gri", "ls-dr9": "grz", "ls-dr10": "griz"}


@dataclass(frozen=True)
class Reply:
    """What to send, and how: whole, cut, hang, endless or slow."""

    status: int = 200
    body: bytes = b""
    kind: str = TEXT
    how: str = "whole"
    headers: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    close: bool = False
    object: int | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Picture:
    """The good image of a request, and what takes its place in a fault."""

    kind: str
    size: tuple[int, int]
    good: Callable[[], bytes]
    black: Callable[[], bytes]
    other: Callable[[], bytes]  # of another size
    outside: Reply = field(default_factory=lambda: Reply(404, b"<html><h1>404 Not Found</h1></html>", HTML))


class BadRequestError(Exception):
    """A parameter that is missing or can't be read."""


def json_error(status: int, text: str, error_type: str = "InternalServerError") -> Reply:
    body = {"ErrorCode": status, "ErrorType": error_type, "ErrorMessage": text, "LogMessageID": "5d1c", "LogTime": ""}
    return Reply(status, json.dumps(body).encode(), "application/json")


def jpeg_error(status: int, text: str, size: tuple[int, int]) -> Reply:
    reason = ("NOT FOUND. " if status == 404 else "INTERNAL SERVER ERROR. ") + text
    return Reply(status, message(*size, text), JPEG, reason=reason)


@functools.lru_cache(32)
def black_jpeg(width: int, height: int) -> bytes:
    return message(width, height, "")


@functools.lru_cache(1)
def noise_png(width: int, height: int) -> bytes:
    return encode(np.random.default_rng(0).integers(1, 255, (height, width, 3), dtype=np.uint8), "PNG")


def number(query: dict[str, str], name: str, default: float | None = None) -> float:
    try:
        value = float(query[name]) if query.get(name) else default
    except ValueError:
        value = None
    if value is None or not np.isfinite(value):
        raise BadRequestError(f"The parameter {name} is missing or not a number.")
    return value


class Sdss:
    """Answers requests; knows nothing of sockets."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.universe = Universe(**{key: config[key] for key in UNIVERSE if key in config})
        self.tables = Sql(self.universe, config.get("row_limit", 500_000))
        self.sql_faults = list(config.get("sql_faults", []))
        always = {config["image_faults_always"]} if config.get("image_faults_always") else set()
        wrong = set(self.sql_faults) - set(SQL_FAULTS) | (always | set(self.universe.hostile.values())) - IMAGE_FAULTS
        if wrong:
            raise ValueError(f"no such fault: {sorted(wrong)}")
        self.served: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.frame_file = functools.lru_cache(256)(self.universe.frame_file)
        if "gzip_bomb" in self.universe.hostile.values():
            gzip_bomb()  # before the first request

    def route(self, path: str, query: dict[str, str]) -> Reply:
        try:
            if match := SKY.fullmatch(path):
                return self.sql(query) if match[1].lower().endswith("sqlsearch") else self.getjpeg(query)
            if match := FRAME.fullmatch(path):
                return self.frame(*match.groups())
            if match := VIEWER.fullmatch(path):
                return self.viewer("fits" if "fits" in match.groups() else "jpg", query)
            if path == HIPS:
                return self.hips(query)
            if path == RECORDS:
                survey, _, what = query.get("id", "").rpartition("/")
                found = [{"ID": query["id"]}] if what in SKIES.get(survey, ()) else []
                return Reply(200, json.dumps(found).encode(), "application/json")
        except BadRequestError as error:
            if path == HIPS:
                return hips_error(400, str(error))
            return json_error(400, str(error), "BadRequest")
        return Reply(404, b"<html><h1>404 Not Found</h1></html>", HTML)

    # SQL

    def sql(self, query: dict[str, str]) -> Reply:
        with self.lock:
            fault = self.sql_faults.pop(0) if self.sql_faults else None
        if not query.get("cmd"):
            raise BadRequestError("The parameter cmd is missing.")
        if query.get("format") not in ("csv", "txt"):  # what .NET's serializer writes
            return Reply(200, b"\x00\x01\x00\x00\x00\xff\xff\xff\xff\x01", "application/octet-stream", fault=fault)
        if fault == "json500":
            text = "Execution Timeout Expired.  The timeout period elapsed prior to completion of the operation."
            return replace(json_error(500, text), fault=fault)
        if fault in ("html200", "lb200", "html503"):
            reply = Reply(200, SKYSERVER_ERROR if fault == "html200" else UNAVAILABLE, HTML, fault=fault)
            return replace(reply, status=503, close=True) if fault == "html503" else reply
        try:
            table = self.tables.answer(query["cmd"])
            if self.config.get("shuffle"):
                random.shuffle(table.rows)
            if fault == "error_table":
                raise RefusedError(f"ERROR: Maximum 60 queries allowed per minute. Rejected query: {query['cmd']}")
        except SqlError as error:
            return replace(json_error(500, str(error)), fault=fault)
        except RefusedError as error:
            table = Table(["error_message"], [[str(error)]])
        body = spoil_table(fault, table).csv().encode()
        how = fault if fault in ("cut", "hang", "endless") else "whole"
        return Reply(200, body, TEXT, how, fault=fault)

    # images

    def getjpeg(self, query: dict[str, str]) -> Reply:
        ra, dec, _ = (number(query, name) for name in ("ra", "dec", "scale"))
        size = tuple(int(min(2048, max(64, number(query, name, 128)))) for name in ("width", "height"))
        index = self.universe.nearest(ra % 360, dec)
        if index is None:
            return jpeg_error(404, OUTSIDE, size)
        return self.image(f"getjpeg/{index}", index, self.jpeg(index, size))

    def jpeg(self, index: int, size: tuple[int, int]) -> Picture:
        return Picture(
            JPEG,
            size,
            good=lambda: self.universe.jpeg(index, *size),
            black=lambda: black_jpeg(*size),
            other=lambda: self.universe.jpeg(index, size[0] + 64, size[1] + 64),
            outside=jpeg_error(404, OUTSIDE, size),
        )

    def frame(self, *groups: str) -> Reply:
        run, camcol, band, run2, camcol2, number_ = groups
        place = (int(run), int(camcol), int(number_))
        if run.startswith("0") or (int(run2), camcol2) != (*place[:1], camcol) or place not in self.universe.number:
            return Reply(404, b"<html><h1>404 Not Found</h1></html>", HTML)
        good = functools.partial(self.frame_file, *place, band)
        small = np.ones((64, 64), np.float32)
        picture = Picture("application/x-bzip2", (64, 64), good, lambda: self.frame_file(*place, band, blank=True),
                          lambda: self.universe.pack(small, *place, band))  # fmt: skip
        hostile, fault = self.universe.frame_hostile(*place), self.universe.frame_fault(*place, band)
        return self.image(f"frame/{place}/{band}", None, picture, hostile, fault)

    def viewer(self, form: str, query: dict[str, str]) -> Reply:
        ra, dec = number(query, "ra"), number(query, "dec")
        layer = query.get("layer") or "ls-dr9"
        if layer not in LAYERS:
            return Reply(200, b"no such layer", HTML)
        side = number(query, "size", 256)
        size = tuple(int(min(3000, max(1, number(query, name, side)))) for name in ("width", "height"))
        bands = query.get("bands") or "gri"
        bands = bands if set(bands) <= set(LAYERS[layer]) else LAYERS[layer]
        index = self.universe.nearest(ra % 360, dec)
        if form == "jpg":
            if index is None:
                blank = np.full((*size[::-1], 3), self.config.get("blank", 0), np.uint8)
                return Reply(200, encode(blank), JPEG)
            return self.image(f"viewer/{index}", index, self.jpeg(index, size))
        if index is None:
            return Reply(500, b"<h1>Server Error (500)</h1>", HTML)
        survey = {"SURVEY": "SDSS" if layer.startswith("sdss") else "LegacySurvey", "BANDS": bands}
        survey |= {f"BAND{k}": band for k, band in enumerate(bands)}
        picture = self.cube(index, bands, size, survey, (ra, dec, number(query, "pixscale", 0.396)))
        return self.image(f"viewer/{index}", index, picture)

    def cube(self, index: int, bands: str, size: tuple[int, int], cards: dict[str, Any], place: tuple) -> Picture:
        ra, dec, scale = place

        def pack(width: int, height: int, light: float = 1) -> bytes:
            cube = self.universe.cube(index, bands, width, height) * np.float32(light)
            wcs = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec, "CRPIX1": width / 2 + 0.5,
                   "CRPIX2": height / 2 + 0.5, "CD1_1": -scale / 3600, "CD1_2": 0.0, "CD2_1": 0.0,
                   "CD2_2": scale / 3600}  # fmt: skip
            return fits_bytes(cube if "BANDS" in cards else cube[0], cards | wcs)

        return Picture("image/fits", size, lambda: pack(*size), lambda: pack(*size, 0),
                       lambda: pack(size[0] + 64, size[1] + 64))  # fmt: skip

    def hips(self, query: dict[str, str]) -> Reply:
        ra, dec, fov = (number(query, name) for name in ("ra", "dec", "fov"))
        size = tuple(int(max(1, number(query, name))) for name in ("width", "height"))
        form, (survey, _, what) = query.get("format", "fits"), query.get("hips", "").rpartition("/")
        index = self.universe.nearest(ra % 360, dec)
        if what not in SKIES.get(survey, ()):
            return hips_error(404, f"No HiPS found for {query.get('hips')}")
        if (form == "jpg") != (what == "color") or form not in ("jpg", "fits"):
            return hips_error(400, f"Format {form} is not available for {query['hips']}")
        if form == "jpg":
            if index is None:
                return Reply(200, black_jpeg(*size), JPEG)
            return self.image(f"hips/{index}", index, self.jpeg(index, size))
        if index is None:
            return Reply(200, fits_bytes(np.full(size[::-1], np.nan, np.float32), {}), "image/fits")
        picture = self.cube(index, what if what in BANDS else "r", size, {}, (ra, dec, fov * 3600 / size[0]))
        return self.image(f"hips/{what}/{index}", index, picture)

    def image(self, key: str, index: int | None, picture: Picture, hostile: str | None = None,
              fault: str | None = None) -> Reply:  # fmt: skip
        """The picture, or what the fault of this request makes of it."""
        if index is not None:
            hostile, fault = self.universe.hostile.get(index), self.universe.fault(index)
        always = hostile or self.config.get("image_faults_always")
        if not always and fault not in PERMANENT:
            with self.lock:
                self.served[key] += 1
                fault = fault if self.served[key] <= self.config.get("fault_times", 1) else None
        fault = always or fault
        return replace(self.spoil(fault, picture) if fault else Reply(200, picture.good(), picture.kind),
                       object=index, fault=fault)  # fmt: skip

    def spoil(self, fault: str, picture: Picture) -> Reply:
        kind, size = picture.kind, picture.size
        match fault:
            case "html503":
                return Reply(503, UNAVAILABLE, HTML, close=True)
            case "rate429":
                return Reply(429, b"Too Many Requests", TEXT, headers=(("Retry-After", self.retry_after()),))
            case "html200":
                return Reply(200, SKYSERVER_ERROR, HTML)
            case "outside404":
                return picture.outside
            case "black200":
                return Reply(200, picture.black(), kind)
            case "cut" | "hang" | "slow" | "endless":
                return Reply(200, picture.good(), kind, fault)
            case "jpeg404":
                return jpeg_error(404, OUTSIDE, size)
            case "message500":
                return jpeg_error(500, "Object reference not set to an instance of an object.", size)
            case "gzip_bomb":
                return Reply(200, gzip_bomb(), kind, headers=(("Content-Encoding", "gzip"),))
            case "bz2_bomb":
                return Reply(200, bz2_bomb(), "application/x-bzip2")
            case "redirect_host":
                return Reply(302, headers=(("Location", "http://192.0.2.1/x"),))
            case "redirect_file":
                return Reply(302, headers=(("Location", "file:///etc/passwd"),))
            case "redirect_loop":
                return Reply(302, how="loop")
            case "wrong_size":
                return Reply(200, picture.other(), kind)
            case "huge_header":
                return Reply(200, picture.good(), kind, headers=(("X-Padding", "x" * 1_000_000),))
            case "many_headers":
                return Reply(200, picture.good(), kind, headers=tuple((f"X-{k}", "x") for k in range(10_000)))
            case "bad_length":
                return Reply(200, picture.good(), kind, "bad_length", close=True)
            case "png":
                return Reply(200, noise_png(*size), kind)
            case "truncated_jpeg":
                body = picture.good()
                return Reply(200, body[: len(body) // 2], kind)
            case "svg":
                body = '<svg xmlns="http://www.w3.org/2000/svg" width="{}" height="{}"><script>1</script></svg>'
                return Reply(200, body.format(*size).encode(), "image/svg+xml")
            case "empty":
                return Reply(200, b"", kind)
        raise ValueError(f"no such fault: {fault}")

    def retry_after(self) -> str:
        value = self.config.get("retry_after", 1)
        date = value.get("retry_after_date") if isinstance(value, dict) else self.config.get("retry_after_date")
        return str(value) if date is None else formatdate(time.time() + date, usegmt=True)


def hips_error(status: int, text: str) -> Reply:
    return Reply(status, json.dumps({"title": "Bad Request", "description": text}).encode(), "application/json")


class Handler(BaseHTTPRequestHandler):
    """One connection: reads requests, logs them, sends replies."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Microsoft-IIS/10.0", ""
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle()

    def do_GET(self) -> None:
        arrival = time.time()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {name.lower(): value for name, value in parse_qsl(url.query, keep_blank_values=True)}
        reply = self.server.sdss.route(url.path, query)
        self.server.write_log(
            {
                "t": arrival,
                "method": self.command,
                "path": url.path,
                "query": query,
                "object": reply.object,
                "fault": reply.fault,
                "status": None if reply.how == "hang" else reply.status,
                "agent": self.headers.get("User-Agent"),
            }
        )
        self.send(reply)

    do_POST = do_GET  # noqa: N815

    def send(self, reply: Reply) -> None:
        if reply.how == "hang":
            time.sleep(self.server.sdss.config.get("hang_seconds", 60))
            self.close_connection = True
            return
        headers = [("Server", self.server_version), ("Date", self.date_time_string()), ("Content-Type", reply.kind)]
        if reply.how == "endless":
            headers.append(("Transfer-Encoding", "chunked"))
        else:
            headers.append(("Content-Length", "abc" if reply.how == "bad_length" else str(len(reply.body))))
        headers += [("Location", self.path)] if reply.how == "loop" else reply.headers
        if reply.close:
            headers.append(("Connection", "close"))
        reason = reply.reason or HTTPStatus(reply.status).phrase
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        head = f"HTTP/1.1 {reply.status} {reason}\r\n{lines}\r\n".encode("latin-1")
        self.close_connection = self.close_connection or reply.close or reply.how in ("cut", "slow", "endless")
        if reply.how == "endless":
            self.wfile.write(head)
            self.write_chunk(reply.body)
            while True:
                self.write_chunk(reply.body[-(len(reply.body) // 2) :] * 4)
                time.sleep(0.001)
        elif reply.how == "slow":
            self.wfile.write(head)
            for value in reply.body:
                self.wfile.write(bytes([value]))
                time.sleep(1)
        else:
            self.wfile.write(head + (reply.body[: len(reply.body) // 2] if reply.how == "cut" else reply.body))

    def write_chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, config: dict[str, Any]) -> None:
        self.sdss = Sdss(config)
        self.log = Path(config["log"]).open("a", encoding="utf-8") if config.get("log") else None  # noqa: SIM115
        self.log_lock = threading.Lock()
        super().__init__(("127.0.0.1", config.get("port", 0)), Handler)

    def server_bind(self) -> None:  # without the look-up of the host's name
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def write_log(self, line: dict[str, Any]) -> None:
        if self.log:
            with self.log_lock:
                self.log.write(json.dumps(line) + "\n")
                self.log.flush()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def start(config: dict[str, Any]) -> tuple[subprocess.Popen[str], str]:
    """Start a server of its own process, which ends with this one; its address comes when it is ready."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({**config, "parent": os.getpid()}, file, default=str)
        file.flush()
        process = subprocess.Popen([sys.executable, __file__, file.name], stdout=subprocess.PIPE, text=True)
        url = process.stdout.readline().strip()
    if not url:
        stop(process)
        raise RuntimeError(f"the server ended with {process.returncode}")
    return process, url


def stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    process.stdout.close()


@contextlib.contextmanager
def serving(config: dict[str, Any]) -> Iterator[str]:
    process, url = start(config)
    try:
        yield url
    finally:
        stop(process)


def watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def main(path: str) -> None:
    config = json.loads(Path(path).read_text(encoding="utf-8"))
    server = Server(config)
    if "parent" in config:
        threading.Thread(target=watch, args=(config["parent"],), daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])

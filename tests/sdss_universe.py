"""A small made-up SDSS: the truth that `sdss_server` serves, the same in every process for the same arguments."""

from __future__ import annotations

import base64
import bz2
import functools
import hashlib
import io
import math
import threading
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

BANDS = "ugriz"
CLASSES = ("GALAXY", "STAR", "QSO")
FAULTS = ("html503", "rate429", "cut", "html200", "outside404", "black200", "hang")
PERMANENT = ("outside404", "black200")
PIXEL = 0.396  # arcsec
NOISE = 0.005  # of a frame, nanomaggies
SHIFT = {"u": (1.7, -0.8), "g": (-1.2, 0.6), "r": (0.0, 0.0), "i": (0.9, 1.4), "z": (-0.4, -1.9)}  # band against r, px
CELL = 1e-5  # radians: a little more than the two arcsec within which a position is an object
SUBCLASSES = {"GALAXY": ("", "", "STARFORMING", "AGN"), "STAR": ("F5", "K3", "M2"), "QSO": ("BROADLINE", "")}
COLOURS = {"GALAXY": (1.7, 0.8, 0.4, 0.3), "STAR": (1.2, 0.5, 0.2, 0.1), "QSO": (0.2, 0.2, 0.15, 0.1)}
SPEC = ["specObjID", "bestObjID", "class", "subClass", "z", "zErr", "zWarning", "plate", "mjd", "fiberID", "run2d"]
SPEC += ["survey", "programname", "snMedian", "ra", "dec", "htmID"]
MAGNITUDES = ("psfMag", "modelMag", "cModelMag", "petroMag", "extinction")
PHOTO = ["photoRa", "photoDec", "run", "rerun", "camcol", "field", "type", "petroR50_r", "petroR90_r", "dered_r"]
PHOTO += [f"{kind}_{band}" for kind in MAGNITUDES for band in BANDS]
Field = tuple[int, int, int]
BZ2_BOMB = (
    "c-nJ{%CIzaj8qGbJm^-{!&>K9$8mtwfx&^<*2zrW$3cLBfkT0zlvCBDs+X-<AwxLSh2yY?wDYAIHyW8DFL80L?$vuO"
    "RVI1C_hOi5?D`8YTc*t9SMFW7=aeL0Lf5*Y@AJ>~M@KyPeLeSWz45lpCKk?=HT%y5gn3T6=G;`V{XqER2@D1d3``sh"
    "JPN{r6IO6$IW15fl^>NK{PIcVFD)9BW*LIy6~HQt8ND(WYD~D{vdH=9or!)TD(su}EFA#BG%+L"
)


def spec_id(plate: int, mjd: int, fiber: int, run2d: str) -> int:
    """specObjID by the bits of fSpecidFromSDSS."""
    if run2d.startswith("v"):
        major, minor, patch = map(int, run2d[1:].split("_"))
        rerun = (major - 5) * 10000 + minor * 100 + patch
    else:
        rerun = int(run2d)
    return (plate << 50) + (fiber << 38) + ((mjd - 50000) << 24) + (rerun << 10)


def encode(pixels: np.ndarray | Image.Image, kind: str = "JPEG") -> bytes:
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@functools.lru_cache(64)
def message(width: int, height: int, text: str) -> bytes:
    """A black JPEG of the asked size; the services draw their error texts into such a one."""
    image = Image.new("RGB", (width, height))
    ImageDraw.Draw(image).text((3, height // 3), text, fill="white")
    return encode(image)


def fits_bytes(pixels: np.ndarray, header: dict[str, Any], *extensions: Any) -> bytes:
    from astropy.io import fits

    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(pixels, fits.Header(header)), *extensions]).writeto(buffer)
    return buffer.getvalue()


@functools.cache
def gzip_bomb() -> bytes:
    """One gzip stream of a gigabyte that begins as a JPEG does: a flushed block of zeros, again and again."""
    zeros, packer = bytes(1 << 24), zlib.compressobj(9, wbits=-15)
    start = b"\xff\xd8\xff\xe0" + bytes(12)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = functools.reduce(lambda value, _: zlib.crc32(zeros, value), range(64), zlib.crc32(start))
    tail = b"\x03\x00" + crc.to_bytes(4, "little") + (len(start) + (64 << 24)).to_bytes(4, "little")
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + first + 64 * block + tail


def bz2_bomb() -> bytes:
    """One bz2 stream of 866 bytes: a FITS image of 16384 x 16384 float32 zeros. To make it takes seconds."""
    return zlib.decompress(base64.b85decode(BZ2_BOMB))


class Universe:
    """Objects of three classes on frames of SDSS, and the faults that a request for one of them meets."""

    def __init__(
        self,
        objects: int,
        seed: int,
        faults: dict[str, float] | None = None,
        hostile: dict[str, str] | None = None,
        shape: tuple[int, int] = (149, 205),
    ) -> None:
        self.objects, self.seed, self.shape = objects, seed, tuple(shape)
        self.faults = faults or {}
        self.hostile = {int(index): kind for index, kind in (hostile or {}).items()}
        if unknown := set(self.faults) - set(FAULTS):
            raise ValueError(f"no such fault: {sorted(unknown)}")
        self._lock = threading.Lock()
        rng = np.random.default_rng([seed, objects])
        self.columns: dict[str, list[Any]] = {}
        self._draw_fields(rng)
        self._draw_objects(rng)

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One dict an object, in the order of the index."""
        names = [*SPEC, *PHOTO]
        values = zip(*(self.columns[name] for name in names), strict=True)
        return [dict(zip(names, row, strict=True)) for row in values]

    # sky

    def _draw_fields(self, rng: np.random.Generator) -> None:
        count = max(1, round(self.objects / 40))
        runs = np.sort(rng.choice(np.arange(94, 8162), -(-count // 24), replace=False)).tolist()
        first = rng.integers(11, 990, len(runs)).tolist()
        self.fields: list[Field] = [(runs[k // 24], 1 + k % 6, first[k // 24] + k % 24 // 6) for k in range(count)]
        # half-degree cells of the sky; a frame is smaller than one
        dec = np.repeat(-10 + 0.5 * np.arange(140), 240)
        ra = np.tile(1.5 * np.arange(240), 140)  # one column at ra = 0: frames that straddle it
        cells = rng.choice(len(ra), count, replace=False)
        if count > 1 and not np.any(ra[cells] == 0):
            cells[1] = 240 * rng.integers(0, 140)
        self._centre = np.radians(np.column_stack((ra[cells], dec[cells])))
        self._angle = np.radians(rng.uniform(15, 75, count) + 90 * rng.integers(0, 4, count))  # north is never up
        self.number = {field: k for k, field in enumerate(self.fields)}

    def _draw_objects(self, rng: np.random.Generator) -> None:
        n, column = self.objects, self.columns
        where = np.sort(rng.integers(0, len(self.fields), n))
        rng.shuffle(where)
        self.members: list[np.ndarray] = [np.flatnonzero(where == k) for k in range(len(self.fields))]
        self.xy = np.empty((n, 2))  # pixel of the r frame, first pixel's centre is 0
        for members in self.members:
            self.xy[members] = self._scatter(len(members), rng)
        ra, dec = self._sky(where, self.xy)
        column["photoRa"], column["photoDec"] = np.round(ra, 9).tolist(), np.round(dec, 9).tolist()
        off = rng.normal(0, 0.08 / 3600, (2, n))  # the fibre is not quite on the object
        column["ra"] = (np.round(ra + off[0] / np.cos(np.radians(dec)), 8) % 360).tolist()
        column["dec"] = np.round(dec + off[1], 8).tolist()
        column["run"], column["camcol"], column["field"] = map(
            list, zip(*(self.fields[k] for k in where), strict=True)
        )  # fmt: skip
        column["rerun"] = [301] * n
        column["bestObjID"] = [0] * n
        for (run, camcol, field), members in zip(self.fields, self.members, strict=True):
            for number, index in enumerate(members):
                frame = (2 << 59) | (301 << 48) | (run << 32) | (camcol << 29) | (field << 16)
                column["bestObjID"][index] = frame | (number + 11)
        self._draw_spectra(rng)
        self._draw_magnitudes(rng)

    def _scatter(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Positions in a frame, apart from each other where there is room."""
        height, width = self.shape
        points = rng.uniform(4, [width - 5, height - 5], (8 * count + 50, 2))
        apart = min(10.0, 0.5 * math.sqrt(height * width / max(count, 1)))
        kept: list[int] = []
        for k, point in enumerate(points):
            if len(kept) == count:
                break
            if not kept or np.min(np.hypot(*(points[kept] - point).T)) > apart:
                kept.append(k)
        rest = [k for k in range(len(points)) if k not in set(kept)]
        return points[(kept + rest)[:count]]

    def _sky(self, where: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.shape
        dx, dy = np.radians(PIXEL / 3600) * (xy - [width // 2, height // 2]).T
        (ra0, dec0), angle = self._centre[where].T, self._angle[where]
        xi, eta = -np.cos(angle) * dx + np.sin(angle) * dy, np.sin(angle) * dx + np.cos(angle) * dy
        across = np.cos(dec0) - eta * np.sin(dec0)
        dec = np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, across))
        return np.degrees(ra0 + np.arctan2(xi, across)) % 360, np.degrees(dec)

    @functools.cached_property
    def _grid(self) -> dict[tuple[int, ...], list[tuple[int, tuple[float, ...]]]]:
        grid: dict[tuple[int, ...], list[tuple[int, tuple[float, ...]]]] = {}
        for index, place in enumerate(zip(self.columns["photoRa"], self.columns["photoDec"], strict=True)):
            point = unit(*place)
            grid.setdefault(tuple(math.floor(v / CELL) for v in point), []).append((index, point))
        return grid

    def nearest(self, ra: float, dec: float, radius: float = 2.0) -> int | None:
        """Index of the object at a position (degrees), None with none within `radius` arcsec (at most 2)."""
        point = unit(ra, dec)
        a, b, c = (math.floor(v / CELL) for v in point)
        near = [
            (math.dist(point, other), index)
            for i in (a - 1, a, a + 1) for j in (b - 1, b, b + 1) for k in (c - 1, c, c + 1)
            for index, other in self._grid.get((i, j, k), ())
        ]  # fmt: skip
        distance, index = min(near, default=(9.0, None))
        return index if distance < math.radians(radius / 3600) else None

    # catalogue

    def _draw_spectra(self, rng: np.random.Generator) -> None:
        n, column = self.objects, self.columns
        column["class"] = rng.choice(CLASSES, n, p=(0.6, 0.29, 0.11)).tolist()
        column["subClass"] = [SUBCLASSES[c][k % len(SUBCLASSES[c])] for k, c in enumerate(column["class"])]
        redshift = {"GALAXY": (0.02, 0.7), "STAR": (-0.0008, 0.0008), "QSO": (0.4, 3.5)}
        column["z"] = [round(rng.uniform(*redshift[c]), 7) for c in column["class"]]
        column["zErr"] = np.round(rng.uniform(5e-6, 5e-4, n), 9).tolist()
        column["zWarning"] = [0] * n
        column["snMedian"] = np.round(rng.lognormal(2, 0.6, n), 5).tolist()
        column["htmID"] = rng.integers(1, 1 << 43, n).tolist()
        seen: set[tuple[int, int]] = set()
        mjds: dict[int, int] = {}
        for name in ("plate", "mjd", "fiberID", "run2d", "survey", "programname", "specObjID"):
            column[name] = []
        while len(seen) < n:
            old = rng.random() < 0.4
            plate = int(rng.integers(266, 2974) if old else rng.integers(3586, 12548))
            fiber = int(rng.integers(1, 641 if old else 1001))
            if (plate, fiber) in seen:
                continue
            seen.add((plate, fiber))
            mjd = mjds.setdefault(plate, int(rng.integers(51600, 54600) if old else rng.integers(55176, 58932)))
            survey = "sdss" if old else "boss" if plate < 7500 else "eboss"
            run2d = "26" if old else "v5_13_0"
            values = (plate, mjd, fiber, run2d, survey, "legacy" if old else survey, spec_id(plate, mjd, fiber, run2d))
            for name, value in zip(
                ("plate", "mjd", "fiberID", "run2d", "survey", "programname", "specObjID"), values, strict=True
            ):
                column[name].append(value)

    def _draw_magnitudes(self, rng: np.random.Generator) -> None:
        n, column = self.objects, self.columns
        kind = np.array(column["class"])
        galaxy = kind == "GALAXY"
        colours = np.array([COLOURS[c] for c in column["class"]]) + rng.normal(0, 0.12, (n, 4))
        r = rng.uniform(15.5, 20, n) + (kind == "QSO")
        model = np.column_stack((r + colours[:, 0] + colours[:, 1], r + colours[:, 1], r, r - colours[:, 2],
                                 r - colours[:, 2] - colours[:, 3]))  # fmt: skip
        reddening = rng.exponential(0.04, n) + 0.01
        extinction = np.round(reddening[:, None] * [4.24, 3.30, 2.29, 1.70, 1.26], 5)
        extended = np.where(galaxy, rng.uniform(0.3, 1.2, n), rng.normal(0, 0.02, n))[:, None]
        tables = {
            "psfMag": model + extended,
            "modelMag": model,
            "cModelMag": model + rng.normal(0, 0.03, (n, 5)),
            "petroMag": model + rng.normal(0.02, 0.05, (n, 5)),
            "extinction": extinction,
        }
        tables["petroMag"][rng.random(n) < 0.01, 2] = -9999
        for name, table in tables.items():
            for band, values in zip(BANDS, table.T, strict=True):
                column[f"{name}_{band}"] = np.round(values, 5).tolist()
        column["dered_r"] = np.round(np.array(column["modelMag_r"]) - column["extinction_r"], 5).tolist()
        r50 = np.where(galaxy, rng.uniform(1.2, 5, n), rng.uniform(0.65, 0.9, n))
        column["petroR50_r"] = np.round(r50, 5).tolist()
        column["petroR90_r"] = np.round(r50 * rng.uniform(2.1, 3.2, n), 5).tolist()
        column["type"] = np.where(galaxy, 3, 6).tolist()

    # faults

    def _fault(self, key: str) -> str | None:
        digest = hashlib.blake2b(f"{self.seed}/{key}".encode(), digest_size=8).digest()
        left = int.from_bytes(digest, "big") / 2**64
        for name, share in self.faults.items():
            left -= share
            if left < 0:
                return name
        return None

    def fault(self, index: int) -> str | None:
        """What the first requests for an object's image meet (all of them, for a permanent fault)."""
        return self._fault(str(index))

    def frame_fault(self, run: int, camcol: int, field: int, band: str) -> str | None:
        return self._fault(f"{run}/{camcol}/{field}/{band}")

    def fetchable(self, index: int) -> bool:
        """Whether a patient client gets the object's JPEG in the end."""
        return index not in self.hostile and self.fault(index) not in PERMANENT

    def frame_hostile(self, run: int, camcol: int, field: int) -> str | None:
        members = self.members[self.number[run, camcol, field]].tolist()
        return next((self.hostile[i] for i in members if i in self.hostile), None)

    def frame_fetchable(self, run: int, camcol: int, field: int, band: str) -> bool:
        place = (run, camcol, field)
        return self.frame_hostile(*place) is None and self.frame_fault(*place, band) not in PERMANENT

    # pictures

    def jpeg(self, index: int, width: int, height: int | None = None) -> bytes:
        """The object's JPEG: one of a few pictures of its class, with the index in a comment."""
        with self._lock:  # one thread draws
            pool = pictures(width, height or width)[self.columns["class"][index]]
        picture, comment = pool[index % len(pool)], f"object {index}".encode()
        return picture[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + picture[2:]

    def sigma(self, index: int) -> float:
        """Width of an object's blob in a frame, pixels."""
        return 1.4 if self.columns["type"][index] == 6 else 1.4 + 0.3 * self.columns["petroR50_r"][index]

    def peak(self, index: int, band: str) -> float:
        """Height of an object's blob in a frame, nanomaggies."""
        return 10 ** (0.4 * (22.5 - self.columns[f"psfMag_{band}"][index])) / (2 * math.pi * self.sigma(index) ** 2)

    def pixel(self, index: int, band: str) -> tuple[float, float]:
        """Where an object lies in the frame of a band, (x, y), first pixel's centre is 0."""
        return tuple((self.xy[index] + SHIFT[band]).tolist())

    def header(self, run: int, camcol: int, field: int, band: str) -> dict[str, Any]:
        """Cards of a frame: its own WCS, a little shifted from band to band as in SDSS."""
        k, (height, width) = self.number[run, camcol, field], self.shape
        scale, angle = PIXEL / 3600, self._angle[k]
        (ra, dec), cos, sin = np.degrees(self._centre[k]), scale * math.cos(angle), scale * math.sin(angle)
        return {
            "BUNIT": "nanomaggy", "RUN": run, "CAMCOL": camcol, "FIELD": field, "RERUN": "301", "FILTER": band,
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg",
            "CRPIX1": width // 2 + 1 + SHIFT[band][0], "CRPIX2": height // 2 + 1 + SHIFT[band][1],
            "CRVAL1": float(ra), "CRVAL2": float(dec), "CD1_1": -cos, "CD1_2": sin, "CD2_1": sin, "CD2_2": cos,
        }  # fmt: skip

    def frame(self, run: int, camcol: int, field: int, band: str) -> np.ndarray:
        """float32 [y, x] in nanomaggies, ten binary digits of each number kept as SDSS does."""
        k = self.number[run, camcol, field]
        rng = np.random.default_rng([self.seed, k, BANDS.index(band)])
        image = rng.normal(0, NOISE, self.shape).astype(np.float32)
        for index in self.members[k]:
            self._add(image, index, band, *self.pixel(index, band))
        return (image.view(np.uint32) & 0xFFFFE000).view(np.float32)

    def _add(self, image: np.ndarray, index: int, band: str, x: float, y: float) -> None:
        sigma = self.sigma(index)
        reach = math.ceil(6 * sigma)
        left, low = max(0, round(x) - reach), max(0, round(y) - reach)
        part = image[low : round(y) + reach + 1, left : round(x) + reach + 1]
        across = np.exp(-((np.arange(part.shape[1]) + left - x) ** 2) / (2 * sigma**2))
        up = np.exp(-((np.arange(part.shape[0]) + low - y) ** 2) / (2 * sigma**2))
        part += (self.peak(index, band) * up[:, None] * across).astype(np.float32)

    def frame_file(self, run: int, camcol: int, field: int, band: str, blank: bool = False) -> bytes:
        """A frame as SDSS stores it, or one without light."""
        pixels = np.zeros(self.shape, np.float32) if blank else self.frame(run, camcol, field, band)
        return self.pack(pixels, run, camcol, field, band)

    def pack(self, pixels: np.ndarray, run: int, camcol: int, field: int, band: str) -> bytes:
        """bz2 of FITS with (dummies of) the calibration, sky and astrometry extensions."""
        from astropy.io import fits

        sky = [fits.Column(name, "8E", array=np.ones((1, 8))) for name in ("ALLSKY", "XINTERP", "YINTERP")]
        place = [fits.Column(name, "D", array=[0.0]) for name in ("NODE", "INCL")]
        extensions = (
            fits.ImageHDU(np.full(self.shape[1], 0.005, np.float32)),
            fits.BinTableHDU.from_columns(sky),
            fits.BinTableHDU.from_columns(place),
        )
        return bz2.compress(fits_bytes(pixels, self.header(run, camcol, field, band), *extensions), 1)

    def cube(self, index: int, bands: str, width: int, height: int) -> np.ndarray:
        """float32 [band, y, x]: the object alone, in the middle, on noise; what the resampling services cut."""
        rng = np.random.default_rng([self.seed, index, width, height])
        cube = rng.normal(0, NOISE, (len(bands), height, width)).astype(np.float32)
        for image, band in zip(cube, bands, strict=True):
            self._add(image, index, band, (width - 1) / 2, (height - 1) / 2)
        return cube


def unit(ra: float, dec: float) -> tuple[float, ...]:
    ra, dec = math.radians(ra), math.radians(dec)
    return math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)


@functools.lru_cache(32)
def pictures(width: int, height: int) -> dict[str, list[bytes]]:
    """A dozen JPEGs a class: a blob in the middle, neighbours, sky noise that is nowhere black."""
    rng = np.random.default_rng([width, height])
    y, x = np.mgrid[:height, :width].astype(np.float32)

    def blob(cx: float, cy: float, wide: float, colour: tuple[float, ...], q: float = 1) -> np.ndarray:
        spot = np.exp(-((x - cx) ** 2 + ((y - cy) / q) ** 2) / (2 * wide**2))
        return spot[..., None] * np.array(colour, np.float32)

    def draw(kind: str) -> bytes:
        wide = rng.uniform(3, 7) if kind == "GALAXY" else rng.uniform(1.5, 1.9)
        colour = {"GALAXY": (200, 165, 110), "STAR": (215, 205, 190), "QSO": (130, 165, 225)}[kind]
        spot = blob(width / 2, height / 2, wide, colour, rng.uniform(0.5, 1) if kind == "GALAXY" else 1)
        image = rng.normal(24, 8, (height, width, 3)).astype(np.float32) + spot
        for _ in range(2):
            image += blob(rng.uniform(0, width), rng.uniform(0, height), 1.6, tuple(rng.uniform(20, 120, 3)))
        return encode(np.clip(image, 2, 255).astype(np.uint8))

    return {kind: [draw(kind) for _ in range(12 if width * height <= 512**2 else 1)] for kind in CLASSES}

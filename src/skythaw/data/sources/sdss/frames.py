"""Cut cubes of float32 from the corrected frames of SDSS. Every frame is fetched once for all objects in it.

A frame holds nanomaggies per pixel without the sky background, in the orientation of the camera, and each band is
shifted. So a cutout is interpolated (with a cubic spline) onto one grid for all bands: a tangent plane around the
object, with north up and east left.
"""

from __future__ import annotations

import bz2
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from skythaw.data.fits import encode_fits
from skythaw.data.sources.sdss.http_client import Client
from skythaw.data.sources.sdss.image_services import check_covered, filled
from skythaw.data.sources.sdss.missing_reasons import Fault, Reason
from skythaw.data.sources.sdss.sdss_request import Request
from skythaw.data.sources.sdss.state_rows import Target
from skythaw.machine.machine_fault import raise_if_memory_is_short

FOLDERS = {18: "dr18/prior-surveys/sdss4-dr17-eboss"}
RERUN = 301
PACKED, UNPACKED = 32 << 20, 64 << 20
"""bytes of a frame, at most; a real one has about 3 and 12.5 million"""
EDGE = 8
"""pixels around a cutout that the spline uses, too"""


def fetch_cubes(client: Client, request: Request, targets: Sequence[Target]) -> Iterator[tuple[Target, bytes | Fault]]:
    """Cut the cubes of the objects in one field. Its five frames are in memory one after the other.

    Yields
    ------
    target, image
        a FITS file of float32 [band, y, x] in nanomaggies per pixel, or why there is none
    """
    bad = [(target, _no_frame()) for target in targets if target.frame is None]
    yield from bad
    targets = [target for target in targets if target.frame is not None]
    cubes = [np.empty((request.size, request.size, len(request.bands)), np.float32) for _ in targets]
    for band_number, band in enumerate(request.bands):
        if not targets:
            return
        try:
            pixels, wcs = _frame(client, request, targets[0], band)
        except Fault as fault:
            detail = Fault(fault.reason, f"frame of band {band}: {fault.detail}")
            yield from ((target, detail) for target in targets)
            return
        for cube, target in zip(cubes, targets, strict=True):
            cube[..., band_number] = _cut(pixels, wcs, target, request)
    for cube, target in zip(cubes, targets, strict=True):
        try:
            check_covered(cube, request.max_black)
            yield target, encode_fits(filled(cube), request.bands, _header(target, request))
        except Fault as fault:
            yield target, fault


def frame_url(release: int, run: int, camcol: int, field: int, band: str) -> str:
    """The URL of the corrected frame of a field and band."""
    folder = FOLDERS.get(release, f"dr{release}/eboss")
    name = f"frame-{band}-{run:06d}-{camcol}-{field:04d}.fits.bz2"
    return f"https://data.sdss.org/sas/{folder}/photoObj/frames/{RERUN}/{run}/{camcol}/{name}"


def _no_frame() -> Fault:
    return Fault(Reason.OUTSIDE, "its run, camcol and field are unknown, and so is the frame that has it")


def _frame(client: Client, request: Request, target: Target, band: str) -> tuple[np.ndarray, Any]:
    """The pixels [y, x] (from the bottom, as in the file) and world coordinates of a frame."""
    assert target.frame is not None
    return client.get(frame_url(request.release, *target.frame, band), {}, PACKED, _read)


def _read(packed: bytes) -> tuple[np.ndarray, Any]:
    """A frame from its file."""
    from astropy.io import fits
    from astropy.wcs import WCS

    data = _unpack(packed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(data), memmap=False, lazy_load_hdus=True) as hdus:
                header = hdus[0].header
                if header.get("NAXIS") != 2 or abs(header.get("BITPIX", 0)) > 64:
                    raise ValueError("it is no image")
                pixels = np.asarray(hdus[0].data, dtype=np.float32)
                wcs = WCS(header, naxis=2)
                if not (wcs.has_celestial and wcs.proj_plane_pixel_area().value > 0):
                    raise ValueError("its header gives no place on the sky")
                return pixels, wcs
    except Exception as error:  # astropy raises many kinds on a torn file
        raise_if_memory_is_short(error)
        raise Fault(Reason.TRUNCATED, f"no whole FITS image: {error}") from None


def _unpack(packed: bytes) -> bytes:
    """Undo bzip2, of no more than `UNPACKED` bytes."""
    if not packed.startswith(b"BZh"):
        raise Fault(
            Reason.NOT_AN_IMAGE, f"it begins with {packed[:40].decode('ascii', 'replace')!r}, not as bzip2 does"
        )
    unpacker = bz2.BZ2Decompressor()
    try:
        data = unpacker.decompress(packed, UNPACKED + 1)
    except (OSError, ValueError) as error:
        raise Fault(Reason.TRUNCATED, f"damaged bzip2: {error}") from None
    if len(data) > UNPACKED:
        raise Fault(Reason.TOO_LARGE, f"more than {UNPACKED} bytes unpacked")
    if not unpacker.eof:
        raise Fault(Reason.TRUNCATED, "the bzip2 file is not whole")
    return data


def _cut(pixels: np.ndarray, wcs: Any, target: Target, request: Request) -> np.ndarray:
    """The pixels of a frame on the object's own grid [y, x], row 0 in the north; NaN where the frame has none."""
    from scipy.ndimage import map_coordinates

    x, y = wcs.all_world2pix(*_grid(target, request), 0)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):  # the other side of the sky
        return np.full(x.shape, np.nan, np.float32)
    area = request.scale**2 / (wcs.proj_plane_pixel_area().to_value("arcsec2"))
    low_x, low_y = int(np.floor(x.min())) - EDGE, int(np.floor(y.min())) - EDGE
    high_x, high_y = int(np.ceil(x.max())) + EDGE + 1, int(np.ceil(y.max())) + EDGE + 1
    low_x, low_y = max(low_x, 0), max(low_y, 0)
    part = pixels[low_y:high_y, low_x:high_x]
    if not part.size:
        return np.full(x.shape, np.nan, np.float32)
    values = map_coordinates(part.astype(np.float64), (y - low_y, x - low_x), order=3, mode="nearest")
    height, width = pixels.shape
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return np.where(inside, values * area, np.nan).astype(np.float32)


def _grid(target: Target, request: Request) -> tuple[np.ndarray, np.ndarray]:
    """Right ascension and declination, degrees [y, x], of the pixels of an object's own grid."""
    from astropy.wcs import WCS

    own = WCS(naxis=2)
    for name, values in _plane(target, request).items():
        setattr(own.wcs, name, values)
    rows, columns = np.mgrid[request.size - 1 : -1 : -1, : request.size]
    ra, dec = own.all_pix2world(columns, rows, 0)
    return ra, dec


def _plane(target: Target, request: Request) -> dict[str, list[Any]]:
    """The tangent plane about an object, in astropy's words: north up, east left, the object in the centre."""
    middle, step = (request.size + 1) / 2, request.scale / 3600
    return {
        "ctype": ["RA---TAN", "DEC--TAN"],
        "crval": [target.ra, target.dec],
        "crpix": [middle, middle],
        "cdelt": [-step, step],
    }


def _header(target: Target, request: Request) -> dict[str, Any]:
    """The FITS cards that say where on the sky a cube is, and in what units."""
    cards: dict[str, Any] = {"BUNIT": "nanomaggy"}
    for name, values in _plane(target, request).items():
        cards |= {f"{name.upper()}{axis}": value for axis, value in enumerate(values, 1)}
    return cards

"""Ask a service for the image of one position, and make sure that the answer is that image."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import Image

from skythaw.data.decode import BrokenImageError, decode
from skythaw.data.fits import MAGIC, encode_fits, probe_fits
from skythaw.data.sources.sdss.http_client import Client
from skythaw.data.sources.sdss.missing_reasons import Fault, Reason
from skythaw.data.sources.sdss.sdss_request import Request
from skythaw.data.sources.surveys.survey_request import SurveyRequest

SKYSERVER = "https://skyserver.sdss.org/dr{release}/SkyServerWS/ImgCutout/getjpeg"
LEGACY = "https://www.legacysurvey.org/viewer/cutout"
HIPS2FITS = "https://alasky.cds.unistra.fr/hips-image-services/hips2fits"
HEADER_BYTES = 64 << 10
"""bytes that a file may have beside its pixels"""
T = TypeVar("T")
Wanted = Request | SurveyRequest
BLOCK = 8
"""pixels a side of the blocks in which JPEG is coded"""


def fetch_jpeg(client: Client, request: Wanted, ra: float, dec: float) -> bytes:
    """The colour JPEG of a position, as the service sent it.

    Raises
    ------
    Fault
        There is no image, or the answer is something else.
    """
    size, scale = str(request.size), f"{request.scale:g}"
    place = {"ra": f"{ra:.7f}", "dec": f"{dec:.7f}"}
    if isinstance(request, Request) and request.service == "skyserver":
        url = SKYSERVER.format(release=request.release)
        query = place | {"scale": scale, "width": size, "height": size, "opt": ""}
    elif request.service == "legacy":
        url, query = f"{LEGACY}.jpg", place | {"layer": request.survey.color or "", "pixscale": scale, "size": size}
    else:
        url, query = HIPS2FITS, _hips(request.survey.color or "", "jpg", request, place)
    largest = HEADER_BYTES + 4 * request.size**2
    return _get(client, url, query, largest, lambda data: checked_jpeg(data, request))


def fetch_fits(client: Client, request: Wanted, ra: float, dec: float) -> bytes:
    """The cube of a position as a FITS file of float32, band by band, from a service that cuts it out itself.

    Raises
    ------
    Fault
        There is no image, or the answer is something else.
    """
    place = {"ra": f"{ra:.7f}", "dec": f"{dec:.7f}"}
    largest = HEADER_BYTES + 8 * request.size**2
    if request.service == "legacy":
        query = place | {"layer": request.survey.color or "", "pixscale": f"{request.scale:g}"}
        query["size"] = str(request.size)
        query["bands"] = "".join(request.bands)
        most = largest * len(request.bands)
        try:
            return _get(client, f"{LEGACY}.fits", query, most, lambda data: _whole_cube(data, request))
        except Fault as fault:
            if fault.reason is Reason.UNAVAILABLE:  # so it answers where it has no image, too: its JPEG is empty then
                _require_there(client, request, ra, dec)
            raise
    asked = [_hips(request.survey.bands[band], "fits", request, place) for band in request.bands]
    planes = [_get(client, HIPS2FITS, query, largest, lambda data: _pixels(data, request.size)) for query in asked]
    cube = np.concatenate(planes, axis=-1)
    check_covered(cube, request.max_black)
    return encode_fits(filled(cube), request.bands)


def checked_jpeg(data: bytes, request: Wanted) -> bytes:
    """The data, if they are a whole JPEG of the right size whose black part is small; else raise `Fault`.

    Only blocks of 8 x 8 pixels that are zero throughout count as black. A place without data is black over whole
    blocks, while the noise of the sky leaves single pixels at zero. (Of 8,931 real SDSS cutouts, 31 % have more than
    5 % of such pixels, but only 3 have more than 5 % of such blocks; docs/decisions/0016.)
    """
    pixels = _decoded(data, b"\xff\xd8", "JPEG", request.size)
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as opened:
        if opened.mode != "RGB":
            raise Fault(Reason.NOT_AN_IMAGE, f"a JPEG of the kind {opened.mode}; images should have three colours")
    rows = request.size - request.size % BLOCK
    if pixels.min() == pixels.max():
        raise Fault(Reason.BLACK, "all pixels of the image are alike")
    blocks = pixels[:rows, :rows].reshape(rows // BLOCK, BLOCK, rows // BLOCK, BLOCK, -1).max((1, 3, 4))
    _check_black(float((blocks == 0).mean()), request.max_black)
    return data


def check_covered(cube: np.ndarray, max_black: float) -> None:
    """Raise `Fault` if too many pixels [y, x, band] of a band are zero or no number, because the survey ends there."""
    empty = ~np.isfinite(cube) | (cube == 0)
    _check_black(float(empty.mean((0, 1)).max()), max_black)


def filled(cube: np.ndarray) -> np.ndarray:
    """The cube with 0, which is the level of the sky, where the survey has no data."""
    return np.nan_to_num(cube, nan=0.0, posinf=0.0, neginf=0.0)


def _hips(which: str, form: str, request: Wanted, place: dict[str, str]) -> dict[str, str]:
    size = str(request.size)
    return {
        "hips": which,
        **place,
        "fov": f"{request.size * request.scale / 3600:.8f}",
        **{"width": size, "height": size, "projection": "TAN", "coordsys": "icrs", "rotation_angle": "0.0"},
        "format": form,
    }


def _require_there(client: Client, request: Wanted, ra: float, dec: float) -> None:
    """Raise `Fault` if the survey has no image of a position, as its JPEG shows."""
    try:
        fetch_jpeg(client, request, ra, dec)
    except Fault as fault:
        if fault.reason is Reason.BLACK:
            raise Fault(Reason.OUTSIDE, "its JPEG is empty, too") from None


def _get(client: Client, url: str, query: dict[str, str], largest: int, check: Callable[[bytes], T]) -> T:
    """An answer of a service; that it has no such survey is no matter of the position."""
    try:
        return client.get(url, query, largest, lambda data: check(_known(data)))
    except Fault as fault:
        if url == HIPS2FITS and fault.reason is Reason.OUTSIDE:  # where a survey ends, it sends an empty image
            raise Fault(Reason.REFUSED, fault.detail, fault.pause) from None
        raise


def _known(data: bytes) -> bytes:
    """The answer, unless it says that there is no such layer."""
    if data[:40].strip().lower().startswith(b"no such layer"):
        raise Fault(Reason.REFUSED, "no such layer")
    return data


def _whole_cube(data: bytes, request: Wanted) -> bytes:
    """The data, if they are a cube of the right size and bands without large gaps; else raise `Fault`."""
    cube = _pixels(data, request.size)
    if (found := probe_fits(data).bands) != request.bands:
        raise Fault(Reason.WRONG_SIZE, f"bands {', '.join(found)} instead of {', '.join(request.bands)}")
    check_covered(cube, request.max_black)
    return data


def _pixels(data: bytes, size: int) -> np.ndarray:
    """The pixels [y, x, band] of a FITS file as it came."""
    return _decoded(data, MAGIC, "FITS", size)


def _decoded(data: bytes, magic: bytes, kind: str, size: int) -> np.ndarray:
    """The pixels of a whole file of that kind and size; else raise `Fault`."""
    if not data.startswith(magic):
        text = data[:60].decode("ascii", "replace")
        raise Fault(Reason.NOT_AN_IMAGE, f"it begins with {text!r}, and not like a {kind} file")
    try:
        pixels = decode(data, "?")
    except BrokenImageError as error:
        empty = "are NaN or infinite" in error.reason  # what hips2fits sends where a survey ends
        raise Fault(Reason.BLACK if empty else Reason.TRUNCATED, error.reason) from None
    _check_size(pixels.shape, size)
    return pixels


def _check_size(shape: tuple[int, ...], size: int) -> None:
    if shape[:2] != (size, size):
        raise Fault(Reason.WRONG_SIZE, f"{shape[1]} x {shape[0]} pixels instead of {size} x {size}")


def _check_black(share: float, max_black: float) -> None:
    if share > max_black:
        raise Fault(Reason.BLACK, f"{100 * share:.1f} % of the image is empty; {100 * max_black:g} % are allowed")

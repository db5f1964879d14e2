"""How the mock sky is observed: point spread function, sky and noise of an SDSS frame, and the colour JPEG made of it.

Bands are in the order g, r, i; fluxes are nanomaggies (nmgy: 22.5 mag is one), images ``[y, x]``, north up, east left.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import galsim
import numpy as np
from astropy.visualization import make_lupton_rgb
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from skythaw.data.sources.mock.mock_sky import CALIBRATION, DARK, GAIN, PIXEL_SCALE, Field, Placed
from skythaw.data.sources.mock.mock_source import Source

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

MARGIN = 16
"""pixels drawn round a cutout: one block of the frame's JPEG"""

# Colour picture of i, r, g as red, green, blue (Lupton et al. 2004), as `make_lupton_rgb` takes them, in nmgy. Our own
# fit to 146 DR16 cutouts of stars and quasars with magnitudes known; Wherry's IDL code of 2003, the origin of many SDSS
# pictures, has the ratios 1 : 1.16 : 1.59.
RGB_SCALES = (1.0, 1.25, 1.74)
STRETCH, Q = 0.57, 6.8
MINIMUM = 0.0125
SMOOTHING = 0.6
"""pixels, sigma: SkyServer interpolates a cutout from stored JPEG frames; our own fit to the grain of the cutouts"""
FRAME_CHROMA, CHROMA = "4:4:4", "4:2:0"
QUALITY = 75
"""of both JPEGs. This and 4:2:0 chroma are those of the files that SkyServer serves; 4:4:4 is our own fit"""

# As in SDSS psField files: two Gaussians and a power-law wing (1 + r^2 / (slope width^2))^(-slope / 2). Ratios to the
# core at the centre, and widths against its sigma; approximate, near our own fit to the cutouts.
PSF_SECOND, PSF_SECOND_WIDTH = 0.11, 2.3
PSF_WING, PSF_WING_WIDTH, PSF_WING_SLOPE = 0.0015, 5.0, 3.5


@lru_cache(maxsize=64)
def point_spread(fwhm: float, smooth_wing: bool = False) -> Any:
    """The point spread function of unit flux, as on the detector (pixel included), of a FWHM in arcsec.

    With `smooth_wing` a Gaussian of the same flux and half-light radius stands for the power law, which holds 5 % of
    the light: a convolution with a galaxy is then eight times as fast and looks the same.
    """
    wing = galsim.Moffat(beta=PSF_WING_SLOPE / 2, scale_radius=np.sqrt(PSF_WING_SLOPE) * PSF_WING_WIDTH, trunc=0)
    if smooth_wing:
        wing = galsim.Gaussian(half_light_radius=wing.half_light_radius, flux=wing.flux)
    parts = [galsim.Gaussian(sigma=1.0), galsim.Gaussian(sigma=PSF_SECOND_WIDTH), wing]
    peaks = [1.0, PSF_SECOND, PSF_WING]
    fluxes = [peak / part.xValue(0, 0) for peak, part in zip(peaks, parts, strict=True)]
    total = galsim.Add([part.withFlux(flux) for part, flux in zip(parts, fluxes, strict=True)]).withFlux(1.0)
    return total.dilate(fwhm / _half_width(total))


def _half_width(profile: Any) -> float:
    """FWHM of a profile that falls outwards, by bisection."""
    low, high, half = 0.5, 4.0, profile.xValue(0, 0) / 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if profile.xValue(middle, 0) > half else (low, middle)
    return 2 * low


def profile(source: Source, band: int) -> Any:
    """The light of a galaxy above the atmosphere, unit flux: de Vaucouleurs bulge, exponential disc, central point."""
    share, nucleus = source.bulge[band] * (1 - source.nucleus[band]), source.nucleus[band]
    parts = [galsim.DeltaFunction(flux=nucleus)] if nucleus > 1e-3 else []
    for flux, kind, radius, ratio in (
        (share, galsim.DeVaucouleurs, source.bulge_radius, source.axis_ratios[0]),
        (1 - nucleus - share, galsim.Exponential, source.disc_radius, source.axis_ratios[1]),
    ):
        if flux > 1e-3:
            shape = galsim.Shear(q=ratio, beta=source.angle * galsim.radians)
            # GalSim shears keep the area: the radius along the major axis is radius / sqrt(q) of a circle.
            parts.append(kind(half_light_radius=radius * np.sqrt(ratio), flux=flux, gsparams=FAST).shear(shape))
    return parts[0].withFlux(1.0) if len(parts) == 1 else galsim.Add(parts)


ONE_SHAPE = 20.5
"""mag in r: fainter galaxies have the blur of r in every band, as it makes no difference above the noise"""
FAST = galsim.GSParams(folding_threshold=2e-2, maxk_threshold=2e-2, kvalue_accuracy=1e-3, maximum_fft_size=8192)
"""Accuracy of the convolution: errors stay under 1 % of the peak, below the noise of these images."""


def draw(images: Sequence[Any], source: Source, field: Field, centre: tuple[float, float]) -> None:
    """Add a source to images in g, r, i, in nmgy, at a centre in pixels (x, y; the first pixel's centre is 1)."""
    fluxes = 10 ** (-0.4 * (np.array(source.mags) - 22.5))
    reach = _reach(source, fluxes.max())
    box = galsim.BoundsI(*(round(c + s) for c in centre for s in (-reach, reach))) & images[0].bounds
    if not box.isDefined():
        return
    place = galsim.PositionD(*centre)
    if not source.is_point and source.mags[1] > ONE_SHAPE:
        shape = seen(source, field, 1).drawImage(images[1][box].copy(), center=place, method="no_pixel")
        for image, flux in zip(images, fluxes, strict=True):
            image[box] += shape * flux
        return
    for band, (image, flux) in enumerate(zip(images, fluxes, strict=True)):
        light = seen(source, field, band) * flux
        light.drawImage(image[box], center=place, add_to_image=True, method="no_pixel")


def seen(source: Source, field: Field, band: int) -> Any:
    """The profile of a source as blurred in a field, unit flux."""
    psf = point_spread(field.fwhm[band], smooth_wing=not source.is_point)
    return psf if source.is_point else galsim.Convolve(profile(source, band), psf, gsparams=FAST)


def _reach(source: Source, flux: float) -> int:
    """Pixels from the centre beyond which a source is below a fifth of the noise."""
    point = 8 + 9 * np.log10(1 + flux)
    return int(min(point + 5 * max(source.bulge_radius, source.disc_radius) / PIXEL_SCALE, 200))


def render(field: Field, sources: Iterable[Placed], size: int) -> Floats:
    """The light of sources, nmgy per pixel, ``[band, y, x]``, without sky and noise."""
    images = [galsim.ImageD(size, size, scale=PIXEL_SCALE) for _ in field.fwhm]
    for source, x, y in sources:
        draw(images, source, field, ((size + 1) / 2 + x, (size + 1) / 2 + y))
    return np.stack([image.array for image in images])


@lru_cache(maxsize=8)
def psf_images(field: Field, size: int) -> Floats:
    """The point spread functions of a field in the middle of `size` pixels, unit flux, ``[band, y, x]``."""
    return render(field, [(Source("STAR", (22.5, 22.5, 22.5)), 0.0, 0.0)], size)


def expose(light: Floats, field: Field, rng: np.random.Generator) -> Floats:
    """The calibrated images ``[band, y, x]`` of some light, both nmgy per pixel, after sky subtraction.

    The noise is that of electrons from light and sky (Poisson), of dark current and of reading out (Gaussian).
    """
    gain, dark, unit, sky, error = (
        np.array(values)[:, None, None]
        for values in (GAIN[field.camcol - 1], DARK[field.camcol - 1], CALIBRATION, field.sky, field.sky_error)
    )
    electrons = rng.poisson(np.clip(light + sky, 0, None) / unit * gain)
    counts = electrons / gain + rng.normal(0, 1, light.shape) * np.sqrt(dark)
    return counts * unit - sky + error


def colour_picture(images: Floats) -> Bytes:
    """The colour picture ``[y, x, RGB]`` of images in g, r, i, nmgy per pixel."""
    g, r, i = images
    red, green, blue = (band * scale for band, scale in zip((i, r, g), RGB_SCALES, strict=True))
    return np.asarray(make_lupton_rgb(red, green, blue, minimum=MINIMUM, stretch=STRETCH, Q=Q))


def jpeg(picture: Bytes, chroma: str) -> bytes:
    """A picture ``[y, x, RGB]``, north at the top, as JPEG."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=QUALITY, subsampling=chroma)
    return out.getvalue()


def cutout(images: Floats, size: int, phase: tuple[int, int]) -> bytes:
    """The JPEG that SkyServer would serve of images with `MARGIN` pixels round the cutout.

    The frame was kept as a JPEG, whose blocks lie at any `phase` (pixels, x and y, 0 to 15) to the cutout; the cutout
    is interpolated from it and compressed again.
    """
    x, y = phase
    frame = colour_picture(images)[::-1][y:, x:]  # row 0 of the images is in the south, of a picture in the north
    stored = np.asarray(Image.open(io.BytesIO(jpeg(frame, FRAME_CHROMA)))).astype(np.float64)
    smooth = gaussian_filter(stored, (SMOOTHING, SMOOTHING, 0))
    top, left = MARGIN - y, MARGIN - x
    return jpeg(np.rint(smooth[top : top + size, left : left + size]).astype(np.uint8), CHROMA)

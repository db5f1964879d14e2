"""What is asked of the archive: everything that decides the result, and nothing else."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skythaw.data.sources.sdss.spectra_query import CLASSES, RELEASES, Limits
from skythaw.data.sources.surveys.sky_surveys import SDSS, SkySurvey
from skythaw.errors import SpecError, nearest

SERVICES = {"skyserver": "ugriz", "legacy": "gri", "hips2fits": "ugriz"}
"""Each service, and the bands that it has as FITS images."""
NATIVE = 0.396
"""arcsec per pixel of SDSS"""
SIZES = (64, 2048)
"""least and largest size in pixels; SkyServer silently gives the nearest of these where less or more is asked for"""


@dataclass(frozen=True)
class Request:
    """The description of a set of cutouts."""

    release: int = 17
    images: str = "jpeg"
    """``jpeg`` (colour) or ``fits`` (float32, band by band)"""
    service: str = "skyserver"
    size: int = 64
    """pixels a side"""
    scale: float = NATIVE
    """arcsec per pixel"""
    bands: tuple[str, ...] = ()
    """of FITS images; empty: all that the service has"""
    max_black: float = 0.05
    """largest share of an image that may lie outside the survey"""
    per_class: int | None = None
    total: int | None = None
    classes: tuple[str, ...] = CLASSES
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    """each seed gives another sample"""
    sql: str | None = None
    """the user's own query: one that begins with SELECT"""
    catalog: Path | None = None
    """the user's own positions"""
    columns: dict[str, str] = field(default_factory=dict)
    """names of columns of the query or the catalogue, for object_id, ra, dec, label, run, camcol, field"""

    def __post_init__(self) -> None:
        self._check_choice("images", self.images, ("jpeg", "fits"))
        self._check_choice("service", self.service, tuple(SERVICES))
        if self.release not in RELEASES:
            raise SpecError(f"release {self.release} is none of DR{RELEASES[0]} to DR{RELEASES[-1]}")
        if self.service == "skyserver" and not SIZES[0] <= self.size <= SIZES[1]:
            raise SpecError(f"size {self.size} should be {SIZES[0]} to {SIZES[1]} pixels: SkyServer gives no others")
        check_image(self.size, self.scale, self.max_black, f"SDSS has {NATIVE}")
        self._check_bands()
        self._check_sample()

    def _check_choice(self, what: str, value: str, known: tuple[str, ...]) -> None:
        if value not in known:
            raise SpecError(f"no such {what}: {value!r}; {nearest(value, known)}")

    def _check_bands(self) -> None:
        bands = SERVICES[self.service]
        if self.images == "jpeg":
            if self.bands:
                raise SpecError("bands are for FITS images; a JPEG has three colours")
            return
        if odd := [band for band in self.bands if band not in bands]:
            raise SpecError(f"{self.service} has no band {odd[0]!r}; it has {', '.join(bands)}")
        if len(set(self.bands)) < len(self.bands):
            raise SpecError(f"one of the bands {''.join(self.bands)} occurs twice")
        object.__setattr__(self, "bands", self.bands or tuple(bands))

    def _check_sample(self) -> None:
        ways = {"per_class": self.per_class, "total": self.total, "sql": self.sql, "catalog": self.catalog}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) != 1:
            have = f", not {' and '.join(given)}" if given else ""
            raise SpecError(
                f"say what to fetch with one of --per-class N, --total N, --sql FILE or --catalog FILE{have}"
            )
        if self.sql is not None and not self.sql.strip().lower().startswith("select"):
            raise SpecError(f"SkyServer takes one query that begins with SELECT, not {self.sql.strip()[:40]!r}")
        for name in ("per_class", "total"):
            if (number := ways[name]) is not None and int(str(number)) < 1:
                raise SpecError(f"{name} = {number} should be at least 1")
        for name in self.classes:
            self._check_choice("class", name, CLASSES)
        limits = self.limits
        for low, high in ((limits.min_mag, limits.max_mag), (limits.min_redshift, limits.max_redshift)):
            for value in (low, high):
                if value is not None and not math.isfinite(value):
                    raise SpecError(f"the limit {value} is no number")
            if low is not None and high is not None and low > high:
                raise SpecError(f"the limits {low:g} to {high:g} leave nothing; the first should be the smaller one")

    @property
    def strata(self) -> tuple[tuple[str, ...], ...]:
        """The classes that are sampled together: each its own, or all in their natural proportion."""
        return tuple((name,) for name in self.classes) if self.per_class else (self.classes,)

    @property
    def wanted(self) -> int:
        """Objects of each stratum."""
        return self.per_class or self.total or 0

    @property
    def survey(self) -> SkySurvey:
        """SDSS, as a service calls it that is not its own."""
        return SDSS[self.service]

    @property
    def common(self) -> dict[str, Any]:
        """Columns that are alike for all objects."""
        return {"release": f"DR{self.release}", "pixel_scale": self.scale}

    def describe(self) -> dict[str, Any]:
        """Everything that decides the result, JSON-able; a catalogue is described by its checksum."""
        about: dict[str, Any] = {
            "source": "sdss",
            "release": f"DR{self.release}",
            "service": self.service,
            "images": self.images,
            "size": self.size,
            "pixel_scale": self.scale,
            "max_black": self.max_black,
        }
        if self.images == "fits":
            about["bands"] = "".join(self.bands)
        if self.catalog is not None:
            return about | {"catalog_sha256": file_sha256(self.catalog), "columns": self.columns}
        if self.sql is not None:
            return about | {"sql": self.sql, "columns": self.columns}
        sample = {"per_class": self.per_class} if self.per_class else {"total": self.total}
        limits = {name: value for name, value in vars(self.limits).items() if value is not None}
        return about | {"sample": {**sample, "classes": list(self.classes), "seed": self.seed, **limits}}


def check_image(size: int, scale: float, max_black: float, native: str) -> None:
    """Raise `SpecError` unless a service can be asked for such images."""
    if not 8 <= size <= SIZES[1]:
        raise SpecError(f"size {size} should be 8 to {SIZES[1]} pixels")
    if not 0.015 <= scale <= 60:
        raise SpecError(f"scale {scale} should be 0.015 to 60 arcsec per pixel; {native}")
    if not 0 <= max_black <= 1:
        raise SpecError(f"max_black = {max_black} should be a share from 0 to 1")


def file_sha256(path: Path) -> str:
    """The checksum of a catalogue."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SpecError(f"can't read the catalogue {path}: {error.strerror or error}") from None

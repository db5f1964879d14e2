"""What is asked of a survey: everything that decides the cutouts, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skythaw.data.sources.sdss.sdss_request import check_image, file_sha256
from skythaw.data.sources.surveys.sky_surveys import SkySurvey
from skythaw.errors import SpecError, nearest

FORMS = ("jpeg", "fits")


@dataclass(frozen=True)
class SurveyRequest:
    """The description of the cutouts of a catalogue from one survey."""

    survey: SkySurvey
    catalog: Path
    images: str = "jpeg"
    """``jpeg`` (colour) or ``fits`` (float32, band by band)"""
    size: int = 64
    """pixels a side"""
    scale: float = 1.0
    """arcsec per pixel: see `scale_of`"""
    bands: tuple[str, ...] = ()
    """of FITS images; empty: all that are known of the survey"""
    max_black: float = 0.05
    """largest share of an image that may lie outside the survey"""
    columns: dict[str, str] = field(default_factory=dict)
    """names of columns of the catalogue that are not found by their usual names"""
    sql: None = None
    """a survey is asked for positions alone"""

    def __post_init__(self) -> None:
        if self.images not in FORMS:
            raise SpecError(f"no such images: {self.images!r}; {nearest(self.images, FORMS)}")
        native = f"{self.survey.name} has about {self.survey.scale:g}" if self.survey.scale else "of the output"
        check_image(self.size, self.scale, self.max_black, native)
        if self.images == "jpeg":
            if self.survey.color is None:
                raise SpecError(f"{self.survey.name} has one band and no colours: say --images fits")
            if self.bands:
                raise SpecError("bands are for FITS images (--images fits); a JPEG has three colours")
            return
        own = self.survey.bands
        if odd := next((band for band in self.bands if own and band not in own), None):
            raise SpecError(f"{self.survey.name} has no band {odd!r}; it has {', '.join(own)}")
        if len(set(self.bands)) < len(self.bands):
            raise SpecError(f"one of the bands {', '.join(self.bands)} occurs twice")
        if not self.bands and not own:
            raise SpecError(f"say which bands {self.survey.name} has, such as --bands gr")
        object.__setattr__(self, "bands", self.bands or tuple(own))

    @property
    def service(self) -> str:
        """Who cuts the images out."""
        return self.survey.service

    @property
    def common(self) -> dict[str, Any]:
        """Columns that are alike for all objects."""
        return {"survey": self.survey.name, "pixel_scale": self.scale}

    def describe(self) -> dict[str, Any]:
        """Everything that decides the result, JSON-able; the catalogue is described by its checksum."""
        about: dict[str, Any] = {
            "source": "survey",
            "survey": self.survey.name,
            "service": self.service,
            "images": self.images,
            "size": self.size,
            "pixel_scale": self.scale,
            "max_black": self.max_black,
        }
        if self.images == "fits":
            about["bands"] = list(self.bands)
        return about | {"catalog_sha256": file_sha256(self.catalog), "columns": self.columns}


def scale_of(survey: SkySurvey, given: float | None) -> float:
    """Arcsec per pixel: as given, or about the survey's own."""
    if given is None and survey.scale is None:
        raise SpecError(f"say --scale, arcsec per pixel: that of {survey.name} is not known here")
    return float(given if given is not None else survey.scale or 0)

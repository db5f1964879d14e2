"""What a person writes: `Study`, read from a TOML file. A `Cell` is the same with every default and name settled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from skythaw.errors import SpecError, nearest
from skythaw.spec.cell import CELL_SCHEMA, IMAGES, NUMBER_MODELS
from skythaw.spec.number_settings import Numbers
from skythaw.spec.pixel_settings import Bands, Pixels, Side, Stretch
from skythaw.spec.recipe import Recipe
from skythaw.spec.record import Frozen, Positive, Seed, refuse_truth_values
from skythaw.spec.split_settings import Split
from skythaw.spec.toml_file import read_toml
from skythaw.spec.validation_message import one_line
from skythaw.spec.weights_choice import WeightsChoice, name_within, without_path

INPUTS = (IMAGES, "table", "both", "both:mean", "both:stack")
"""What a classifier is given: images; numbers alone; or both, combined in the way that is named, or the best one."""
DEPTH_FORMS = ("0%", "25%", "50%", "75%", "100%", "tpr:10%")


class Data(Frozen):
    """The labelled cutouts of a study; paths are relative to the study file."""

    path: Path
    test_path: Path | None = None
    """An external test set; `split` then divides `path` into training and validation only."""
    crop: Side | None = None
    """pixels; None is the whole cutout"""
    size: Side | None = None
    """pixels; None is the crop as it is"""
    bands: Bands | None = Field(None, exclude_if=lambda bands: bands is None)
    """by name, or by number from 0; None is all of them"""
    stretch: Stretch = Stretch(kind="linear")
    skip_broken: bool = False
    """Leave out images that can't be read (they are listed in the ledger) instead of refusing them."""
    split: Split = Split()
    columns: tuple[str, ...] = Field((), exclude_if=lambda columns: not columns)
    """numbers beside the images: columns of the data file, or of `table`"""
    table: Path | None = Field(None, exclude_if=lambda table: table is None)
    """a catalogue that is joined to the images by object_id or by position"""
    measured: bool | None = Field(None, exclude_if=lambda measured: measured is None)
    """whether numbers are measured from the images too; None is: where no columns are named"""
    radius: float | None = Field(None, gt=0, exclude_if=lambda radius: radius is None)
    """arcsec, of a match by position; None is 1"""
    extinction: dict[str, str] = Field(default_factory=dict, exclude_if=lambda columns: not columns)
    """of a column of magnitudes, the column of its extinction"""
    allow_leak: tuple[str, ...] = Field((), exclude_if=lambda columns: not columns)
    """columns that are used although they may give the class away"""

    @field_validator("path", "test_path", "table", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if value == "":
            raise ValueError("'' names no file or folder")
        return value

    @model_validator(mode="after")
    def _leaves_training(self) -> Self:
        share = self.split.validation + self.split.test
        if self.test_path is None and share >= 1:
            raise ValueError(f"split: validation + test = {share:g} leaves no training images")
        return self

    @property
    def numbers(self) -> Numbers:
        """Which numbers stand beside the images."""
        return Numbers(
            columns=self.columns,
            measured=not self.columns if self.measured is None else self.measured,
            radius=1.0 if self.radius is None else self.radius,
            extinction=self.extinction,
            allow_leak=self.allow_leak,
        )


class Grid(BaseModel):
    """The axes of a study; each is a list. Beside the seven named ones, any key of `Pixels` or `Recipe`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    backbone: tuple[str, ...] = Field(min_length=1)
    depth: tuple[int | str, ...] = Field(("0%", "25%", "50%", "75%", "100%"), min_length=1)
    train_size: tuple[Positive | Literal["all"], ...] = Field(("all",), min_length=1)
    seed: tuple[Seed, ...] = Field((0, 1, 2), min_length=1)
    strategy: tuple[str, ...] = Field(("top",), min_length=1)
    inputs: tuple[str, ...] = Field((IMAGES,), min_length=1, exclude_if=lambda inputs: inputs == (IMAGES,))
    """of `INPUTS`; a study of both has images alone and the numbers alone beside it"""
    weights: tuple[WeightsChoice, ...] = Field((), exclude_if=lambda weights: not weights)
    """of each network; none are those of ``[weights]``, or the official ones"""

    @model_validator(mode="before")
    @classmethod
    def _no_truth_values(cls, content: Any) -> Any:
        refuse_truth_values(cls, content)
        return content

    @model_validator(mode="before")
    @classmethod
    def _known_axes(cls, content: Any) -> Any:
        for name in content if isinstance(content, dict) else ():
            if name not in AXES and name not in cls.model_fields:
                section = next(
                    (s for s, model in (("data", Data), ("recipe", Recipe)) if name in model.model_fields), ""
                )
                right = f"it stands in [{section}]" if section else nearest(name, [*AXES, *cls.model_fields])
                raise ValueError(f"no such axis: {name!r}; {right}")
        return content

    @field_validator("depth", mode="before")
    @classmethod
    def _forms(cls, value: Any) -> Any:
        for depth in value if isinstance(value, list | tuple) else ():
            if not isinstance(depth, str) and not (isinstance(depth, float) and depth.is_integer()):
                parse_depth(depth)
        return value

    @field_validator("depth")
    @classmethod
    def _depths(cls, value: tuple[int | str, ...]) -> tuple[int | str, ...]:
        for depth in value:
            parse_depth(depth)
        return value

    @field_validator("inputs")
    @classmethod
    def _inputs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in INPUTS:
                raise ValueError(f"no such inputs: {name!r}; {nearest(name, INPUTS)}")
        if set(value) == {"table"}:
            raise ValueError("'table' alone has no network: add 'images', or take 'both'")
        return value

    @model_validator(mode="after")
    def _axes(self) -> Self:
        for name, values in self.axes.items():
            if not isinstance(values, list) or not values:
                raise ValueError(f"{name} = {values!r} must be a list with at least one value")
        for name, values in [*self.axes.items(), *((n, getattr(self, n)) for n in type(self).model_fields)]:
            if len({json.dumps(v, default=str) for v in values}) < len(values):
                raise ValueError(f"{name} = {[getattr(v, 'label', v) for v in values]!r} has the same value twice")
        return self

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The axes that are keys of `Pixels` or `Recipe`."""
        return self.model_extra or {}


AXES = [name for name in (*Pixels.model_fields, *Recipe.model_fields) if name != "interpolation"]


class Study(Frozen):
    """A grid of cells over one data set: what a study file says."""

    name: str = Field("study", pattern=r"^[\w.-]+$")
    data: Data
    grid: Grid
    recipe: Recipe = Recipe()
    weights: dict[str, WeightsChoice] = Field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Study:
        """Read a study file.

        Raises
        ------
        SpecError
            No such file, not TOML, an unknown key or a bad value: named by its dotted name, with the nearest right one.
        """
        return cls.parse(read_toml(Path(path)), name=str(path)).relative_to(Path(path).parent)

    @classmethod
    def parse(cls, content: dict[str, Any], name: str = "study") -> Study:
        """Make a study from the content of its file; every axis is checked against the model it belongs to."""
        try:
            study = cls.model_validate(content)
        except ValidationError as error:
            raise SpecError(f"{name}: {one_line(error, cls)}") from None
        settled = {axis: [_settled(axis, v, name) for v in values] for axis, values in study.grid.axes.items()}
        return study.model_copy(update={"grid": study.grid.model_copy(update=settled)})

    def relative_to(self, folder: Path) -> Study:
        """The same study with its relative paths taken from `folder`."""

        def anchored(path: Path | None) -> Path | None:
            return None if path is None else folder / path.expanduser()

        paths = {name: anchored(getattr(self.data, name)) for name in ("path", "test_path", "table")}
        data = self.data.model_copy(update=paths)
        weights = {name: choice.within(folder) for name, choice in self.weights.items()}
        axes: dict[str, Any] = {
            "backbone": tuple(name_within(name, folder) for name in self.grid.backbone),
            "weights": tuple(each.within(folder) for each in self.grid.weights),
        }
        grid = self.grid.model_copy(update=axes)
        return self.model_copy(update={"data": data, "grid": grid, "weights": weights})

    @property
    def uses_numbers(self) -> bool:
        """Whether numbers beside the images are part of the study."""
        return self.grid.inputs != (IMAGES,)

    def skipping_broken(self) -> Study:
        """The same study with ``data.skip_broken``."""
        return self.model_copy(update={"data": self.data.model_copy(update={"skip_broken": True})})

    def allowing(self, columns: Sequence[str]) -> Study:
        """The same study with further ``data.allow_leak``."""
        allowed = tuple(dict.fromkeys((*self.data.allow_leak, *columns)))
        return self.model_copy(update={"data": self.data.model_copy(update={"allow_leak": allowed})})

    def describe(self, train_sizes: Iterable[int] = ()) -> dict[str, Any]:
        """Everything that decides the study's numbers, defaults written out: no name and no path.

        `train_sizes` are those of the cells. Where all allow the same number of steps, ``max_steps`` is that number.
        """
        content = self.model_dump(mode="json", exclude={"name": True, "data": {"path", "test_path", "table"}})
        content["weights"] = {name: choice.described() for name, choice in self.weights.items()}
        content["grid"]["backbone"] = [without_path(name) for name in self.grid.backbone]
        if self.grid.weights:
            content["grid"]["weights"] = [choice.described() for choice in self.grid.weights]
        if self.uses_numbers:
            content["number_models"] = list(NUMBER_MODELS)
        if len(most := {self.recipe.most_steps(size) for size in train_sizes}) == 1:
            content["recipe"]["max_steps"] = most.pop()
        return {"cell_schema": CELL_SCHEMA, **content}


def parse_depth(depth: int | str) -> tuple[Literal["blocks", "percent", "tpr"], float]:
    """Read a depth: a count of blocks (``3``), a share of blocks (``"25%"``) or of parameters (``"tpr:10%"``).

    Returns
    -------
    kind, value
        the unit, and the count or the percentage

    Raises
    ------
    SpecError
        It is none of these.
    """
    if isinstance(depth, Integral) and not isinstance(depth, bool):
        if depth < 0:
            raise SpecError(f"depth {depth} is negative; 0 trains the head alone")
        return "blocks", int(depth)
    text = str(depth).replace(" ", "")
    if match := re.fullmatch(r"(tpr:)?(\d+(?:\.\d+)?)%", text):
        value = float(match[2])
        if value > 100:
            raise SpecError(f"depth {depth!r} is more than 100%")
        return ("tpr" if match[1] else "percent"), value
    raise SpecError(
        f"depth {depth!r} is not a count of blocks (3), a share of blocks ('25%') or of parameters ('tpr:10%'); "
        + nearest(text, DEPTH_FORMS)
    )


def _settled(axis: str, value: Any, name: str) -> Any:
    """The value of an axis as the model it belongs to reads it."""
    model, rest = (Recipe, {}) if axis in Recipe.model_fields else (Pixels, {"crop": 4, "size": 4})
    try:
        return getattr(model.model_validate({**rest, axis: value}), axis)
    except ValidationError as error:
        nested = "; in [grid] it is a list of lists" if axis == "bands" and not isinstance(value, list) else ""
        raise SpecError(f"{name}: grid.{one_line(error, model)}{nested}") from None

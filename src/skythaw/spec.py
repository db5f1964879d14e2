"""What is to be done: `Study`, read from a TOML file, and `Cell`, one training run of it. All frozen, no torch.

A study is what a person writes; a cell is the same after every default, name and percentage has been settled. The
cell's `key` is the SHA-256 of its canonical JSON: two cells with one key give the same numbers on the same machine.

Longer than our 300 lines: it is the one page where every key of a study file stands with its default and meaning.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from skythaw.errors import SpecError, nearest
from skythaw.explain import one_line
from skythaw.spec_pixels import Bands, Frozen, Pixels, Side, Stretch

CELL_SCHEMA = 2
"""Raised by one, deliberately, when the code changes a cell's numbers: old results then no longer count as done."""

ON_OFF = BeforeValidator(lambda value: None if value is False else value)
"""TOML has no null: ``false`` turns an option off."""

Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
AUTO_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""What ``lr = "auto"`` tries, half a decade apart: from below what suits a whole network to above what suits a head."""
DEPTH_FORMS = ("0%", "25%", "50%", "75%", "100%", "tpr:10%")


class Split(Frozen):
    """How objects are divided into training, validation and test."""

    by: str = "field"
    """``field`` (run, camcol and field), ``healpix``, ``random``, or a column: objects alike in it stay together."""
    validation: Fraction = 0.15
    test: Fraction = 0.25
    seed: Seed = 0
    nside: Positive = 64
    """HEALPix resolution for ``by = "healpix"``; 64 makes pixels of 55 arcmin."""


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

    @model_validator(mode="after")
    def _leaves_training(self) -> Self:
        share = self.split.validation + self.split.test
        if self.test_path is None and share >= 1:
            raise ValueError(f"split: validation + test = {share:g} leaves no training images")
        return self


class Recipe(Frozen):
    """How the trained part is trained. Every key may also stand in ``[grid]`` as a list and becomes an axis."""

    epochs: Positive = 10
    batch: Positive = 64
    """Images a step."""
    lr: Annotated[float, Field(gt=0)] | Literal["auto"] = 1e-3
    """Peak learning rate, or ``auto``: a short seeded search on validation, for each cell its own."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    schedule: Literal["onecycle", "cosine", "constant"] = "onecycle"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of all steps in which the learning rate rises."""
    clip: Annotated[Annotated[float, Field(gt=0)] | None, ON_OFF] = 1.0
    """Largest norm of the gradient."""
    ema: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, ON_OFF] = 0.98
    """Decay, per step, of the moving average of weights that is scored and kept."""
    batchnorm: Literal["running", "train"] = "running"
    """Batch norm in trained blocks: pretrained running statistics, or statistics of each batch."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Annotated[Literal["balanced"] | None, ON_OFF] = None
    views: Annotated[int, Field(ge=1, le=8)] = 8
    """How many of the eight flips and rotations are used in training; 1 is none: the image as it is."""
    shift: Annotated[int, Field(ge=0)] = 0
    """Largest random shift in training, pixels of the cutout."""
    select: Literal["macro_f1", "log_loss"] = "macro_f1"
    """The validation score that chooses the epoch (and the rate, for ``lr = "auto"``)."""
    patience: Annotated[Positive | None, ON_OFF] = None
    """Stop after so many epochs without a better validation score."""
    precision: Literal["float32", "mixed"] = "float32"
    """``mixed`` uses 16-bit arithmetic on a GPU; nothing on a CPU."""
    activations: Literal["float16", "float32"] = "float16"
    """Precision of the frozen activations that training starts from, kept or computed again. Scores are always of
    float32, and so are the pooled features of depth 0."""
    threads: Positive = 1
    """CPU threads of a cell. Sums depend on it in the last bit, so it is the cell's, not the machine's."""


def trial_epochs(recipe: Recipe) -> int:
    """How long ``lr = "auto"`` trains each rate: a third of the epochs, at least two."""
    return max(2, recipe.epochs // 3)


class WeightsChoice(Frozen):
    """Where a backbone's weights come from, if not the official place, and what they expect."""

    file: Path | None = None
    random: bool = False
    mean: tuple[float, ...] | None = None
    """Per band, of pixels scaled to 0..1. None is what the official weights expect."""
    std: tuple[float, ...] | None = None
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Passed to the library that builds the network, e.g. ``pad_type = "same"``."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.random and self.file is not None:
            raise ValueError("give a file or random = true, not both")
        return self


def _weights_choice(value: Any) -> Any:
    if isinstance(value, str):
        return {"random": True} if value == "random" else {"file": value}
    return value


class Grid(BaseModel):
    """The axes of a study; each is a list. Beside the five named ones, any key of `Pixels` or `Recipe`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    backbone: tuple[str, ...] = Field(min_length=1)
    depth: tuple[int | str, ...] = Field(("0%", "25%", "50%", "75%", "100%"), min_length=1)
    train_size: tuple[Positive | Literal["all"], ...] = Field(("all",), min_length=1)
    seed: tuple[Seed, ...] = Field((0,), min_length=1)
    strategy: tuple[str, ...] = Field(("top",), min_length=1)

    @field_validator("depth")
    @classmethod
    def _depths(cls, value: tuple[int | str, ...]) -> tuple[int | str, ...]:
        for depth in value:
            parse_depth(depth)
        return value

    @model_validator(mode="after")
    def _axes(self) -> Self:
        for name, values in self.axes.items():
            if name not in AXES:
                raise ValueError(f"no such axis: {name!r}; {nearest(name, [*AXES, *type(self).model_fields])}")
            if not isinstance(values, list) or not values:
                raise ValueError(f"{name} = {values!r} must be a list with at least one value")
        for name, values in [*self.axes.items(), *((n, getattr(self, n)) for n in type(self).model_fields)]:
            if len({json.dumps(v, default=str) for v in values}) < len(values):
                raise ValueError(f"{name} = {list(values)!r} has the same value twice")
        return self

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The axes that are keys of `Pixels` or `Recipe`."""
        return self.model_extra or {}


AXES = [*Pixels.model_fields, *Recipe.model_fields]


class Study(Frozen):
    """A grid of cells over one data set: what a study file says."""

    name: str = Field("study", pattern=r"^[\w.-]+$")
    data: Data
    grid: Grid
    recipe: Recipe = Recipe()
    weights: dict[str, Annotated[WeightsChoice, BeforeValidator(_weights_choice)]] = Field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Study:
        """Read a study file.

        Raises
        ------
        SpecError
            No such file, not TOML, an unknown key or a bad value: named by its dotted name, with the nearest right one.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"can't read the study file {path}: {getattr(error, 'strerror', None) or error}") from None
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"{path} is not TOML: {error}") from None
        return cls.parse(content, name=str(path)).relative_to(Path(path).parent)

    @classmethod
    def parse(cls, content: dict[str, Any], name: str = "study") -> Study:
        """Make a study from the content of its file; every axis is checked against the model it belongs to."""
        try:
            study = cls.model_validate(content)
        except ValidationError as error:
            raise SpecError(f"{name}: {one_line(error, cls)}") from None
        settled = {axis: [_settled(axis, v) for v in values] for axis, values in study.grid.axes.items()}
        return study.model_copy(update={"grid": study.grid.model_copy(update=settled)})

    def relative_to(self, folder: Path) -> Study:
        """The same study with its relative paths taken from `folder`."""

        def anchored(path: Path | None) -> Path | None:
            return None if path is None else folder / path.expanduser()

        data = self.data.model_copy(
            update={"path": anchored(self.data.path), "test_path": anchored(self.data.test_path)}
        )
        weights = {n: w.model_copy(update={"file": anchored(w.file)}) for n, w in self.weights.items()}
        return self.model_copy(update={"data": data, "weights": weights})

    def skipping_broken(self) -> Study:
        """The same study with ``data.skip_broken``."""
        return self.model_copy(update={"data": self.data.model_copy(update={"skip_broken": True})})

    def describe(self) -> dict[str, Any]:
        """Everything that decides the study's numbers, defaults written out: no name and no path."""
        content = self.model_dump(mode="json", exclude={"name": True, "data": {"path", "test_path"}})
        content["weights"] = {n: w.model_dump(mode="json", exclude={"file"}) for n, w in self.weights.items()}
        return {"cell_schema": CELL_SCHEMA, **content}


class Cell(Frozen):
    """One training run, and everything that decides its numbers."""

    backbone: str
    strategy: str
    depth: Annotated[int, Field(ge=0)]
    """blocks trained, counted from the top"""
    train_size: Positive
    seed: Seed
    pixels: Pixels
    split: Split
    skip_broken: bool
    recipe: Recipe
    weights: WeightsChoice
    """as chosen, without the file's path: its content is in `weights_sha256`"""
    weights_sha256: str
    data_sha256: str
    test_sha256: str | None

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
        content = {"schema": CELL_SCHEMA, **self.model_dump(mode="json")}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def setting(self, axis: str) -> Any:
        """What stands for the cell on an axis, in tables: a number or words."""
        place = next(each for each in (self, self.pixels, self.recipe) if axis in type(each).model_fields)
        value = getattr(place, axis)
        if isinstance(value, tuple):
            return "+".join(map(str, value))
        return str(value) if isinstance(value, Stretch) else value


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
    if isinstance(depth, int) and not isinstance(depth, bool):
        if depth < 0:
            raise SpecError(f"depth {depth} is negative; 0 trains the head alone")
        return "blocks", depth
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


def _settled(axis: str, value: Any) -> Any:
    """The value of an axis as the model it belongs to reads it."""
    try:
        if axis in Recipe.model_fields:
            return getattr(Recipe.model_validate({axis: value}), axis)
        return getattr(Pixels.model_validate({"crop": 4, "size": 4, axis: value}), axis)
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecError(f"grid.{axis}: {first['msg'].lower()}, not {value!r}") from None

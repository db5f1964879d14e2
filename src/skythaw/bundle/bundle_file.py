"""A bundle: a folder with a fine-tuned classifier and everything that is needed to use it. Imports no torch.

::

    bundle.json              network, classes, what is expected of an image, temperature, scores, origin
    model.safetensors        all weights; the metadata hold the checksum of bundle.json
    model2.safetensors ...   the weights of further networks, where the answer is the mean of several
    model.onnx               the same network for other programs (where it was exported with ONNX)
    numbers.safetensors      the model of the numbers beside the image (where it takes both)
    references.safetensors   training images with which others are compared, and their coordinates in feature space
    README.md                a model card

Nothing in a bundle is ever run or unpickled. A bundle whose files do not fit together is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import struct
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NoReturn, Self

from pydantic import Field, ValidationError, model_validator

from skythaw.bundle.members import MOST, Member
from skythaw.bundle.no_bundle import instead_of
from skythaw.bundle.numbers_record import SCORES, NumbersRecord, Temperature, numbers_problem
from skythaw.bundle.plain_words import Word
from skythaw.data.image_form import RGB, Form
from skythaw.errors import BundleError, DataError, UnknownNameError
from skythaw.spec import Cell, Frozen, Seed
from skythaw.spec.validation_message import one_line
from skythaw.spec.weights_choice import DESCRIBED

ABOUT, WEIGHTS, ONNX, CARD = "bundle.json", "model.safetensors", "model.onnx", "README.md"
REFERENCES, NUMBERS = "references.safetensors", "numbers.safetensors"
LARGEST_ABOUT = 1 << 20
LARGEST_HEADER = 1 << 20
"""bytes; JSON may take thirty times as much memory when it is read"""
LARGEST_STEP = 1 << 28
"""numbers in the input of the network for one batch"""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PLAIN_OPTIONS: dict[str, tuple[str | int, ...]] = {
    "pad_type": ("", "same", "valid"),
    "built_as": ("keras",),
    "output_stride": (8, 16, 32),
    **dict.fromkeys(("bn_eps", "bn_momentum", "drop_rate", "drop_path_rate"), ()),
}
"""Options of the network that a bundle may set, and their values; without values, a number from 0 to 1. Others could
make the library that builds the network read files."""
Level = Annotated[float, Field(ge=-1e6, le=1e6)]
"""a mean or deviation of pixels that are scaled to 0..1"""


class Expected(Frozen):
    """What the classifier expects of an image; crop, size, bands and stretch are in the cell."""

    side: Annotated[int, Field(ge=4, le=4096)]
    """pixels a side of the training images"""
    bands: Annotated[tuple[Word, ...], Field(min_length=1, max_length=100)]
    """of those images, in order"""
    dtype: Literal["uint8", "float32"]
    """8-bit (JPEG, PNG), or floats (FITS)"""
    pixel_scale: float | None
    """arcsec per pixel; None if it is not known"""
    mean: tuple[Level, ...]
    """of each band that the network gets, after the stretch"""
    std: tuple[Annotated[Level, Field(ge=1e-6)], ...]
    interpolation: Literal["bicubic", "bilinear"]
    """how images are resized where size differs from crop"""


class BundleDescription(Frozen):
    """The content of `bundle.json`: what a bundle says of itself."""

    schema_: Literal[1] = Field(alias="schema")
    name: Word
    cell: Cell
    """the training run that made the classifier"""
    classes: Annotated[tuple[Word, ...], Field(min_length=2)]
    expected: Expected
    blocks: Annotated[int, Field(ge=1)]
    """number of blocks of the network"""
    features: Annotated[int, Field(ge=1)]
    """number of features: bands of the network's last map"""
    temperature: Temperature
    """fitted on the validation set; the logits of the network are divided by it"""
    scores: dict[str, Any]
    """on the test set, with 95 % intervals where there are predictions"""
    objects: dict[str, Any]
    """numbers of objects in each part, and of each class"""
    licence: str
    """of the pretrained weights"""
    pretrained: str
    """where the pretrained weights come from"""
    seed: Seed
    versions: dict[str, str]
    files: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z]+$")], Sha256] = Field(default_factory=dict)
    """other files of the bundle that programs read, with their checksums"""
    tensors_sha256: Sha256 | None = Field(default=None, exclude_if=lambda sha256: sha256 is None)
    """of the weights: see `skythaw.bundle.bundle_weights.tensors_sha256`; None in bundles of older versions"""
    refit: Annotated[int, Field(ge=1)] | None = Field(default=None, exclude_if=lambda images: images is None)
    """images of training and validation together on which the weights were trained again; None: they were not"""
    numbers: NumbersRecord | None = Field(default=None, exclude_if=lambda numbers: numbers is None)
    """what it takes beside an image; None: it takes images alone"""
    members: Annotated[tuple[Member, ...], Field(max_length=MOST)] = Field(default=(), exclude_if=lambda each: not each)
    """the networks whose mean is the answer; `cell` is the first of them. Empty: there is one network"""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        pixels, inputs = self.cell.pixels, self.cell.pixels.inputs
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"a class occurs twice in {list(self.classes)}")
        if len(self.expected.mean) != inputs or len(self.expected.std) != inputs:
            raise ValueError(f"mean and std should have {inputs} numbers, one for each band that the network gets")
        if pixels.crop > self.expected.side:
            raise ValueError(f"crop = {pixels.crop} is larger than the images, which have {self.expected.side} pixels")
        if self.cell.depth > self.blocks:
            raise ValueError(f"depth = {self.cell.depth} is more than the number of blocks, {self.blocks}")
        step = self.cell.recipe.batch * max(pixels.crop, pixels.size) ** 2 * inputs
        if step > LARGEST_STEP:
            raise ValueError(f"batches of {self.cell.recipe.batch} images of {pixels.size} pixels are too large")
        if self.expected.dtype == "uint8" and self.expected.bands != RGB:
            raise ValueError(f"images of 8 bits should have the bands {', '.join(RGB)}")
        if missing := SCORES - self.scores.keys():
            raise ValueError(f"the scores lack {min(missing)!r}")
        if self.members and (len(self.members) < 2 or self.members[0].cell != self.cell.key or self.numbers):
            raise ValueError("members should be two or more networks on images alone, that of the cell first")
        if problem := numbers_problem(self.cell, self.numbers):
            raise ValueError(problem)
        try:
            pixels.settled(self.expected.bands, self.expected.dtype == "float32")
        except UnknownNameError as error:
            raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _leads_nowhere(self) -> Self:
        weights, network = self.cell.weights, self.cell.backbone
        if network.startswith(DESCRIBED) or "/" in network:
            raise ValueError(f"a bundle should say its network itself, and this one names {network!r}")
        if weights.file is not None:
            raise ValueError(f"a bundle should name no file of weights, and this one names {str(weights.file)!r}")
        for name, value in weights.options.items():
            if name not in PLAIN_OPTIONS:
                raise ValueError(f"a bundle may not set the network's option {name!r}")
            known = PLAIN_OPTIONS[name]
            if value not in known if known else not (isinstance(value, int | float) and 0 <= value <= 1):
                raise ValueError(f"the network's option {name} = {value!r} should be {known or 'from 0 to 1'}")
        return self

    def require(self, form: Form) -> None:
        """Raise `DataError` unless images of that form are like those that the classifier was trained on."""
        height, width = form.size
        if min(height, width) < self.cell.pixels.crop:
            raise DataError(
                f"images of {width} x {height} pixels: this classifier takes the central {self.cell.pixels.crop} x "
                f"{self.cell.pixels.crop}, of the same scale as in training ({self.expected.side} pixels there)"
            )
        if form.dtype != self.expected.dtype or form.bands != self.expected.bands:
            raise DataError(
                f"images of {form.dtype} with bands {', '.join(form.bands)}: this classifier was trained on "
                f"{self.expected.dtype} with {', '.join(self.expected.bands)}"
            )

    def canonical(self) -> str:
        """The text that `bundle.json` holds."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, sort_keys=True, allow_nan=False) + "\n"

    @property
    def references(self) -> bool:
        """Whether the bundle keeps training images with which others are compared."""
        return REFERENCES in self.files

    @property
    def sha256(self) -> str:
        """Checksum of `canonical`, which is kept with the weights."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def read_about(folder: Path) -> BundleDescription:
    """What a bundle says of itself, if its weights belong to it.

    Raises
    ------
    BundleError
        It is no bundle; a file is torn, too large or contradicts itself; or the weights are of another bundle.
    """
    folder = Path(folder)
    text = _read(folder / ABOUT, LARGEST_ABOUT)
    try:
        about = BundleDescription.model_validate(plain_json(text))
    except ValidationError as error:
        raise BundleError(f"{folder / ABOUT}: {one_line(error, BundleDescription)}") from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise BundleError(f"{folder / ABOUT} is not plain JSON: {error}") from None
    recorded = header(folder / WEIGHTS).get("__metadata__", {}).get("about_sha256")
    if recorded != about.sha256:
        raise BundleError(f"{folder}: {WEIGHTS} belongs to another {ABOUT}; one of the two was changed")
    return about


def read_file(folder: Path, about: BundleDescription, name: str, largest: int) -> bytes | None:
    """The content of another file of the bundle; None if the bundle has no such file.

    Raises
    ------
    BundleError
        The file is gone, larger than `largest` bytes, or not the one with which the bundle was made.
    """
    if name not in about.files:
        return None
    data = _read(Path(folder) / name, largest)
    if hashlib.sha256(data).hexdigest() != about.files[name]:
        raise BundleError(f"{Path(folder) / name} is not the one that the bundle was made with: its checksum differs")
    return data


def require_file(folder: Path, about: BundleDescription, name: str) -> None:
    """Raise `BundleError` unless a file is the one with which the bundle was made; it may be large."""
    found = hashlib.sha256()
    with opened(Path(folder) / name) as file:
        while part := file.read(1 << 20):
            found.update(part)
        if found.hexdigest() != about.files.get(name):
            raise BundleError(f"{Path(folder) / name} is not the one that the bundle was made with")


def header(path: Path) -> dict[str, dict[str, Any]]:
    """The header of a safetensors file: what it says of each tensor, and `__metadata__`. Nothing else is read.

    Raises
    ------
    BundleError
        It is no safetensors file.
    """
    try:
        with opened(path) as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > LARGEST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            found = plain_json(file.read(length))
        if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
            raise ValueError("its header is no table of tensors")
        return found
    except (ValueError, struct.error, RecursionError, OverflowError) as error:
        raise BundleError(f"can't read {path} as safetensors: {error}") from None


def opened(path: Path) -> BinaryIO:
    """Open a file of a bundle, which must be a regular file in its folder.

    Raises
    ------
    BundleError
        It is not: a link could name any file of this machine, and a pipe never ends.
    """
    try:
        if not path.resolve().is_relative_to(path.parent.resolve()):
            raise BundleError(f"{path} is a link that leads out of the bundle; put the file itself there")
        if not stat.S_ISREG(path.stat().st_mode):
            raise BundleError(f"{path} is no regular file")
        return path.open("rb")
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
        if isinstance(error, BundleError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"{path.parent} is no bundle: can't read {path.name}: {reason}{instead_of(path)}") from None


def plain_json(text: bytes) -> Any:
    """Read strict JSON: UTF-8, no name twice, all numbers finite; raises `ValueError` or `RecursionError`."""
    return json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_not_finite, parse_float=_finite)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return entries


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _read(path: Path, largest: int) -> bytes:
    with opened(path) as file:
        if os.fstat(file.fileno()).st_size > largest:
            raise BundleError(f"{path} has more than {largest} bytes, too many for the {path.name} of a bundle")
        return file.read(largest)

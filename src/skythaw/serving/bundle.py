"""A bundle: a folder that holds a fine-tuned classifier and all that it takes to use it. Imports no torch.

::

    bundle.json          what it is: network, classes, what it expects of an image, temperature, scores, origin
    model.safetensors    every weight; its metadata hold the checksum of bundle.json
    model.onnx           the same network for other programs (where it was exported with ONNX)
    references.*         training images to compare others with, and their places in the space of features
    README.md            a model card

Nothing in a bundle is ever run or unpickled, and what does not fit together is refused.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from skythaw.errors import BundleError
from skythaw.explain import one_line
from skythaw.spec import Cell, Seed
from skythaw.spec_pixels import Frozen

ABOUT, WEIGHTS, ONNX, CARD = "bundle.json", "model.safetensors", "model.onnx", "README.md"
LARGEST_ABOUT = 4 << 20
LARGEST_HEADER = 16 << 20
"""bytes"""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PLAIN_OPTIONS = frozenset({"pad_type", "bn_eps", "bn_momentum", "output_stride", "drop_rate", "drop_path_rate"})
"""What a bundle may tell the library that builds its network: others could make it read files."""


class Expected(Frozen):
    """What the classifier expects of an image; crop, size, bands and stretch are the cell's."""

    side: Annotated[int, Field(ge=4, le=4096)]
    """pixels a side of the images it was trained on"""
    bands: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)]
    """of those images, in order"""
    dtype: Literal["uint8", "float32"]
    """8-bit (JPEG, PNG), or floats (FITS)"""
    pixel_scale: float | None
    """arcsec per pixel; None where it is not known"""
    mean: tuple[float, ...]
    """of each band the network gets, after the stretch"""
    std: tuple[Annotated[float, Field(gt=0)], ...]
    interpolation: str
    """how images are resized where size differs from crop"""


class About(Frozen):
    """What `bundle.json` says."""

    schema_: Literal[1] = Field(alias="schema")
    name: str
    cell: Cell
    """the cell it is"""
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    expected: Expected
    blocks: Annotated[int, Field(ge=1)]
    """of the network"""
    features: Annotated[int, Field(ge=1)]
    """of its last map"""
    temperature: Annotated[float, Field(gt=0)]
    """fitted on validation; logits are divided by it"""
    scores: dict[str, Any]
    """on the test set, with 95 % intervals where there are predictions"""
    objects: dict[str, Any]
    """how many objects in each part, and of each class"""
    licence: str
    """of the pretrained weights"""
    pretrained: str
    """where those come from"""
    seed: Seed
    versions: dict[str, str]
    files: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z]+$")], Sha256] = Field(default_factory=dict)
    """the bundle's other files that programs read, with their checksums"""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.classes)) < len(self.classes) or not all(self.classes):
            raise ValueError(f"classes {list(self.classes)}: one is empty, or there twice")
        inputs = self.cell.pixels.inputs
        if len(self.expected.mean) != inputs or len(self.expected.std) != inputs:
            raise ValueError(f"mean and std should have {inputs} numbers, one for each band the network gets")
        if odd := sorted(set(self.cell.weights.options) - PLAIN_OPTIONS):
            raise ValueError(f"the network's option {odd[0]!r} is not one a bundle may set")
        return self

    def canonical(self) -> str:
        """The text that `bundle.json` holds."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, sort_keys=True, allow_nan=False) + "\n"

    @property
    def references(self) -> bool:
        """Whether it keeps training images to compare others with."""
        return any(name.startswith("references.") for name in self.files)

    @property
    def sha256(self) -> str:
        """Checksum of `canonical`, kept with the weights."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def read_about(folder: Path) -> About:
    """What a bundle says of itself, if its weights belong to it.

    Raises
    ------
    BundleError
        No bundle; a file is torn, too large or says what can't be; or the weights are of another bundle.
    """
    text = _read(Path(folder) / ABOUT, LARGEST_ABOUT)
    try:
        about = About.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{folder / ABOUT}: {one_line(error, About)}") from None
    said = metadata(Path(folder) / WEIGHTS).get("about_sha256")
    if said != about.sha256:
        raise BundleError(f"{folder}: {WEIGHTS} belongs to another {ABOUT}: one of the two was changed")
    return about


def read_file(folder: Path, about: About, name: str, largest: int) -> bytes | None:
    """The content of one of the bundle's other files; None if it came without.

    Raises
    ------
    BundleError
        It is gone, larger than `largest` bytes, or not the one that the bundle was made with.
    """
    if name not in about.files:
        return None
    data = _read(Path(folder) / name, largest)
    if hashlib.sha256(data).hexdigest() != about.files[name]:
        raise BundleError(f"{Path(folder) / name} is not the one that the bundle was made with: its checksum differs")
    return data


def metadata(path: Path) -> dict[str, str]:
    """The metadata in the header of a safetensors file, which alone is read.

    Raises
    ------
    BundleError
        It is no safetensors file.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > LARGEST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(file.read(length))
        found = header.get("__metadata__", {})
        return {str(name): str(value) for name, value in found.items()}
    except (OSError, ValueError, struct.error, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"can't read {path} as safetensors: {reason}") from None


def _read(path: Path, largest: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise BundleError(f"{path.parent} is no bundle: can't read {path.name}: {error.strerror or error}") from None
    if len(data) > largest:
        raise BundleError(f"{path} has more than {largest} bytes; that is no {path.name} of a bundle")
    return data

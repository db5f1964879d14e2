"""Where the weights of a backbone come from: `WeightsChoice`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from skythaw.spec.record import Frozen

LOCAL = "local-dir:"
DESCRIBED = ("hf_hub:", "hf-hub:", "timm:hf_hub:", "timm:hf-hub:", "torchvision:", LOCAL)
"""How names begin that name a network only by its weights."""
SOURCES = ("timm:", *DESCRIBED)
"""How names of published weights begin."""
IMAGENET = "imagenet"
"""The official weights of a network, among others."""


class WeightsChoice(Frozen):
    """Where a backbone's weights come from, if not the official place, and what they expect.

    A text stands for it in a study: ``imagenet``, ``random``, a name of published weights such as ``timm:NAME.TAG`` or
    ``hf_hub:OWNER/NAME``, or else a file.
    """

    file: Path | None = None
    key: str | None = Field(default=None, exclude_if=lambda key: key is None)
    """which set of weights in the file, where several fit: such as ``"teacher"`` or ``"model_ema"``"""
    random: bool = False
    mean: tuple[float, ...] | None = None
    """Per band, of pixels scaled to 0..1. None is what the official weights expect."""
    std: tuple[float, ...] | None = None
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Passed to the library that builds the network, e.g. ``pad_type = "same"``."""
    name: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """of published weights, or what they are called in the report; the content is in a cell's key, and not the name"""
    commit: str | None = Field(default=None, exclude_if=lambda commit: commit is None)
    """of the repository on the Hugging Face Hub"""

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value == "random":
            return {"random": True}
        return {"name": value} if value == IMAGENET or value.startswith(SOURCES) else {"file": value}

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.random and self.file is not None:
            raise ValueError("give a file or random = true, not both")
        if self.random and self.published:
            raise ValueError(f"give the name {self.name!r} or random = true, not both")
        return self

    @property
    def published(self) -> str | None:
        """The name of published weights, pinned to their revision; None where it is a file, random, or the official."""
        if self.file is not None or self.name is None or not self.name.startswith(SOURCES):
            return None
        return self.name if self.commit is None else f"{self.name.partition('@')[0]}@{self.commit}"

    @property
    def label(self) -> str:
        """What the weights are called beside others of the same network."""
        if self.name is not None:
            return self.name
        return "random" if self.random else IMAGENET if self.file is None else self.file.name

    def beside(self, network: str) -> str:
        """What a network with these weights is called: its name, and theirs where the study names them."""
        return network if self.name is None else f"{network} ({self.name})"

    def within(self, folder: Path) -> WeightsChoice:
        """The same with its relative paths taken from a folder."""
        if self.name is not None and self.name.startswith(LOCAL):
            return self.model_copy(update={"name": name_within(self.name, folder)})
        return self if self.file is None else self.model_copy(update={"file": folder / self.file.expanduser()})

    def described(self) -> dict[str, Any]:
        """What decides numbers, as a ledger keeps it: no path."""
        content = self.model_dump(mode="json", exclude={"file"})
        return content if self.name is None else content | {"name": without_path(self.name)}


def name_within(name: str, folder: Path) -> str:
    """The name, a relative path in it taken from a folder."""
    return f"{LOCAL}{folder / Path(name.removeprefix(LOCAL)).expanduser()}" if name.startswith(LOCAL) else name


def without_path(name: str) -> str:
    """The name, of a path in it the last part alone."""
    return f"{LOCAL}{Path(name.removeprefix(LOCAL)).name}" if name.startswith(LOCAL) else name

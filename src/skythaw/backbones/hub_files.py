"""Files of the Hugging Face Hub: from its cache on this machine, else fetched by its own library. Imports no torch.

Files are read, and never run: a repository that comes with code of its own is of no use here.
"""

from __future__ import annotations

import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skythaw.machine.hub_repository import HubRepository, reason_of, why_not

TIMEOUT = 10.0
"""seconds without an answer after which a download has failed"""
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
CONFIG = "config.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""How timm calls a file of weights on the Hub: the first that is there is read."""


class HubError(Exception):
    """A file of the Hub can't be had; says why, and what would help."""


@dataclass(frozen=True)
class HubFile:
    """A file of the Hub on this machine."""

    path: Path
    commit: str
    """of its repository, 40 hexadecimal digits"""


def cached_file(repository: str, names: Sequence[str], revision: str | None = None) -> HubFile | None:
    """The first of these files that is in the Hub's cache, at a revision (a branch, a tag or a commit)."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        path = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(path, str):
            return HubFile(Path(path), Path(path).parent.name)
    return None


def fetch_file(repository: str, names: Sequence[str], revision: str | None = None) -> HubFile:
    """The first of these files that a repository has: downloaded, unless it is in the cache.

    Raises
    ------
    HubError
        It can't be had.
    """
    if found := cached_file(repository, names, revision):
        return found
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        if not constants.HF_HUB_OFFLINE:  # its library tries for 23 s where there is no network: ask once before
            _ask(f"{constants.ENDPOINT}/{repository}/resolve/{revision or 'main'}/{names[0]}")
        for name in names:
            try:
                path = Path(hf_hub_download(repository, name, revision=revision, etag_timeout=TIMEOUT))
                return HubFile(path, path.parent.name)
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError:
                continue
    except Exception as error:  # its errors come from several libraries
        raise HubError(_why(error, repository, revision)) from error
    raise HubError(f"{repository} has no {' or '.join(names)}")


def _ask(address: str) -> None:
    """Fail if nothing answers at an address; what it answers is for the hub's library to judge."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # the hub's library may know other certificates
            raise


def _why(error: Exception, repository: str, revision: str | None) -> str:
    """Why a file can't be had, and what would help, in one line."""
    from huggingface_hub import constants
    from huggingface_hub.errors import DisabledRepoError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError | DisabledRepoError | RepositoryNotFoundError | RevisionNotFoundError):
        return why_not(error, HubRepository(repository, revision=revision))
    why = "the Hub is switched off by HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else reason_of(error)
    pinned = f" --revision {revision}" if revision else ""
    return (
        f"the download failed ({why}); where there is a network, run `hf download {repository}{pinned}`, and "
        f"copy the folder models--{repository.replace('/', '--')} from the Hub's cache there to "
        f"{constants.HF_HUB_CACHE} here"
    )

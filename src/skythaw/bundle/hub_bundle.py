"""A bundle on the Hugging Face Hub: `hf://owner/name` is fetched into the user's cache folder, and is a folder then."""

from __future__ import annotations

import re
from pathlib import Path

from platformdirs import user_cache_path

from skythaw.errors import BundleError
from skythaw.machine.hub_repository import HubRepository, fetch_repository, is_hub_address

ADDRESS = re.compile(r"hf:/+(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
PARTS = ("*.json", "*.safetensors", "*.onnx", "README.md")
"""files of a bundle; nothing else of a repository is fetched"""


def bundle_folder(bundle: Path | str, store: Path | None = None) -> Path:
    """The folder of a bundle, which may be on the Hub: fetched then, all files of one commit.

    Parameters
    ----------
    bundle
        a folder; or ``hf://owner/name``, or ``hf://owner/name@revision``: a branch, a tag or a commit
    store
        folder for bundles; by default in the user's cache folder

    Raises
    ------
    BundleError
        It begins like an address, and is none.
    RemoteError, OutputError
        The Hub can't be reached, or has no such bundle; or it can't be written here.
    """
    if not is_hub_address(bundle):
        return Path(bundle)
    match = ADDRESS.fullmatch(str(bundle))
    if match is None:
        given = re.sub("^hf:/+", "hf://", str(bundle))  # a path has one stroke where an address has two
        raise BundleError(f"{given} should be hf://owner/name, or hf://owner/name@revision")
    wanted = HubRepository(match["name"], "model", match["revision"])
    return fetch_repository(wanted, [PARTS], store or user_cache_path("skythaw", appauthor=False) / "bundles").path

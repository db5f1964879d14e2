"""A bundle on the Hugging Face Hub: `hf://owner/name` is fetched into the user's cache folder, and is a folder then."""

from __future__ import annotations

import re
from pathlib import Path

from platformdirs import user_cache_path

from skythaw.errors import BundleError, RemoteError

HUB = "hf://"
ADDRESS = re.compile(r"hf://(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
PARTS = ("*.json", "*.safetensors", "*.onnx", "README.md")
"""files of a bundle; nothing else of a repository is fetched"""


def fetched(address: str, store: Path | None = None) -> Path:
    """The folder of a bundle on the hub; what is there already is not fetched again.

    Parameters
    ----------
    address
        ``hf://owner/name``, or ``hf://owner/name@revision``
    store
        folder for bundles; by default in the user's cache folder

    Raises
    ------
    BundleError
        It is no such address.
    RemoteError
        The hub can't be reached, or has no such repository.
    """
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise BundleError(f"{address} should be hf://owner/name, or hf://owner/name@revision")
    from huggingface_hub import snapshot_download

    owner, name, revision = match["owner"], match["name"], match["revision"]
    kept = f"{owner}--{name}--{(revision or 'main').replace('/', '-')}"
    folder = (store or user_cache_path("skythaw") / "bundles") / kept
    try:  # into a folder of its own: the hub's cache is made of links, and a bundle is read without following any
        snapshot_download(f"{owner}/{name}", revision=revision, allow_patterns=list(PARTS), local_dir=folder)
    except Exception as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RemoteError(f"can't fetch {address} from the Hugging Face Hub: {why}") from None
    return folder

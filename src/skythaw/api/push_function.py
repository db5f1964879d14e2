"""`skythaw push` from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skythaw.api.data_functions import several_names
from skythaw.errors import SpecError

if TYPE_CHECKING:
    from skythaw.bundle.export.push_bundle import PushSummary


def push(  # noqa: PLR0913 (each is an option of the command)
    bundle: Path | str,
    repository: str,
    *,
    public: bool = False,
    licence: str | None = None,
    dataset: str | Sequence[str] | None = None,
    dry_run: bool = False,
    progress: bool = True,
) -> PushSummary:
    """Put a classifier on the Hugging Face Hub, from where `skythaw.load("hf://owner/name")` loads it.

    The files go in one commit, so that nothing is ever there by half. The same call again changes nothing; after it was
    stopped, it goes on. Log in once before, with ``hf auth login``.

    Parameters
    ----------
    bundle
        the classifier's folder; only files that belong to it go
    repository
        ``owner/name``; it is made if it is not there
    public
        let everyone see it; else its owner alone does
    licence
        of the classifier: a name that the Hub knows, such as ``cc-by-4.0``, or the address of its text; by default
        that of the pretrained weights, if it is known
    dataset
        ``owner/name`` of datasets on the Hub on which it was trained
    dry_run
        change nothing, and say what would go
    progress
        show a bar

    Returns
    -------
    PushSummary
        ``address`` (with the commit, for `skythaw.load`), ``files`` and their bytes, ``private``, ``card``

    Raises
    ------
    SpecError, BundleError, RemoteError
        The name or the licence can't be used; the bundle is damaged; the Hub refuses or can't be reached.
    """
    from skythaw.bundle.export.push_bundle import push_bundle
    from skythaw.machine.hub_repository import is_hub_address

    if is_hub_address(bundle):
        raise SpecError(f"{bundle} is on the Hub already; give the folder of a classifier on this machine")
    return push_bundle(
        Path(bundle),
        repository,
        public=public,
        licence=licence,
        datasets=several_names(dataset),
        dry_run=dry_run,
        progress=progress,
    )

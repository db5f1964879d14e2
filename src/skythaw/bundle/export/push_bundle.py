"""`push_bundle`: a bundle as a repository of the Hugging Face Hub, in one commit, so that nothing is there by half."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skythaw.bundle.bundle_file import ABOUT, CARD, WEIGHTS, BundleDescription, opened, read_about, require_file
from skythaw.bundle.export.hub_card import hub_card
from skythaw.bundle.members import weight_files
from skythaw.errors import BundleError, RemoteError, SkythawError, SpecError
from skythaw.machine.hub_repository import HubRepository, bars_on_terminals, why_not

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
LARGEST_CARD = 1 << 20
THEIRS = frozenset({".gitattributes", CARD})
"""files that the Hub makes itself"""
OURS = re.compile(r"(bundle\.json|model\d*\.(safetensors|onnx)|(numbers|references)\.safetensors)")
"""files that a bundle has; one of an older bundle that the new one lacks is removed"""


@dataclass(frozen=True)
class PushSummary:
    """What is on the Hub, or would be."""

    repository: str
    """OWNER/NAME"""
    private: bool
    files: dict[str, int]
    """bytes of each file of the bundle"""
    removed: tuple[str, ...]
    """files of an older bundle there, which this one lacks"""
    commit: str | None
    """40 hexadecimal digits; None of a dry run"""
    card: str
    """the text of README.md there"""
    changed: bool = True
    """whether anything was not there already"""

    @property
    def address(self) -> str:
        """What loads this very classifier: `skythaw.load(summary.address)`."""
        return f"hf://{self.repository}" + (f"@{self.commit}" if self.commit else "")


def push_bundle(  # noqa: PLR0913 (each is an option of the command)
    bundle: Path,
    repository: str,
    *,
    public: bool = False,
    licence: str | None = None,
    datasets: Sequence[str] = (),
    dry_run: bool = False,
    progress: bool = True,
) -> PushSummary:
    """Put a bundle on the Hub. Repeated, it changes nothing; stopped, the same call goes on.

    Parameters
    ----------
    bundle
        its folder; only the files that belong to it go
    repository
        OWNER/NAME, which is made if it is not there
    public
        for everyone to see; else for its owner alone
    licence, datasets
        see `skythaw.bundle.export.hub_card.hub_card`
    dry_run
        ask and change nothing on the Hub
    progress
        show a bar, on a terminal

    Raises
    ------
    BundleError
        It is no bundle, or is damaged.
    SpecError
        The name is none; the licence is not known; the repository is there for others to see, or not to see, or holds
        something else.
    RemoteError
        The Hub refuses, or can't be reached.
    """
    names = {"repository": (repository,), "dataset": tuple(datasets)}
    for what, given in names.items():
        if odd := next((each for each in given if not REPOSITORY.fullmatch(each)), None):
            raise SpecError(f"the {what} {odd!r} should be OWNER/NAME, such as astro-group/star-galaxy")
    about = read_about(bundle)
    files = _files(bundle, about)
    own = files.pop(CARD, None)
    if own is None:
        raise BundleError(f"{bundle} has no {CARD}, which is its card on the Hub; export the bundle again")
    with opened(own) as file:
        content = file.read(LARGEST_CARD + 1)
    if len(content) > LARGEST_CARD:
        raise BundleError(f"{own} has more than {LARGEST_CARD} bytes, too many for a card")
    text = content.decode("utf-8", "replace")
    card = hub_card(text, about, repository, licence=licence, datasets=tuple(datasets))
    sizes = {CARD: len(card.encode())} | {name: path.stat().st_size for name, path in files.items()}
    if dry_run:
        return PushSummary(repository, not public, sizes, (), None, card)
    wanted = HubRepository(repository)
    try:
        with bars_on_terminals(progress):
            commit, removed, changed = _commit(wanted, files, card, public)
    except SkythawError:
        raise
    except Exception as error:  # its errors come from several libraries
        raise RemoteError(f"can't push to {repository} on the Hugging Face Hub: {why_not(error, wanted)}") from None
    return PushSummary(repository, not public, sizes, removed, commit, card, changed)


def _files(bundle: Path, about: BundleDescription) -> dict[str, Path]:
    """The files that belong to a bundle, each as it was when the bundle was made."""
    for name in about.files:
        require_file(bundle, about, name)
    from skythaw.bundle.bundle_weights import require_own

    weights = weight_files(WEIGHTS, about.members)
    for name in weights:
        require_own(bundle / name, about)
    found = {name: bundle / name for name in [ABOUT, *weights, *sorted(about.files), CARD]}
    return {name: path for name, path in found.items() if path.exists()}


def _commit(
    wanted: HubRepository, files: dict[str, Path], card: str, public: bool
) -> tuple[str, tuple[str, ...], bool]:
    """Make the repository if need be, and one commit; which it is, what was removed, and whether it is new."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants

    api = HfApi(endpoint=constants.ENDPOINT)
    api.create_repo(wanted.name, private=not public, exist_ok=True)
    info = api.model_info(wanted.name)
    there = {each.rfilename for each in info.siblings or ()}
    _require_ours(wanted, info, there, public)
    removed = tuple(sorted(name for name in there - files.keys() if OURS.fullmatch(name)))
    operations: list[Any] = [CommitOperationAdd(CARD, card.encode())]
    operations += [CommitOperationAdd(name, str(path)) for name, path in files.items()]
    operations += [CommitOperationDelete(name) for name in removed]
    done = api.create_commit(wanted.name, operations, commit_message="A classifier of skythaw", parent_commit=info.sha)
    return done.oid, removed, done.oid != info.sha


def _require_ours(wanted: HubRepository, info: Any, there: set[str], public: bool) -> None:
    """Raise `SpecError` if another audience would see it than was asked for, or if the repository is of others."""
    if not public and info.private is False:
        raise SpecError(f"{wanted.name} is on the Hub already, for everyone to see: say --public, or take another name")
    if public and info.private is True:
        raise SpecError(
            f"{wanted.name} is on the Hub already, for its owner alone: leave out --public, or let everyone see all of "
            f"it at {wanted.page}/settings first"
        )
    if ABOUT not in there and (others := sorted(there - THEIRS)):
        raise SpecError(
            f"{wanted.name} holds something else on the Hub ({', '.join(others[:3])}): take another name, or empty it"
        )

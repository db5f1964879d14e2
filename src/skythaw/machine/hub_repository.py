"""Repositories of the Hugging Face Hub: the files of one commit, whole, in a folder of this disk; by its own library.

What a repository holds is read, and never run. The folder of a repository in the cache::

    refs/REVISION            the commit that a branch or a tag named when it was last looked up
    COMMIT/listing.json      the files of the repository at that commit, and their sizes
    COMMIT/NAME/...          those that were fetched
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import quote

from skythaw.errors import OutputError, RemoteError
from skythaw.machine.files import discard, replacing, writing

HUB = re.compile(r"hf:/+")
"""how an address begins; one slash is what `Path` leaves of two"""
COMMIT = re.compile(r"[0-9a-f]{40}")
SPARE = 256 << 20
"""bytes that a disk should have left after a download"""
UNREACHED = re.compile(r"Errno -[23]\b|getaddrinfo|name resolution|Name or service|nodename|Network is unreachable")
SIGNED = re.compile(r"(https?://[^\s'\"?]+)\?[^\s'\"]*")
"""an address with what stands behind its path, which may let anybody in who has it"""
LONGEST = 400
"""letters of a reason"""
Kind = Literal["model", "dataset"]


@dataclass(frozen=True)
class HubRepository:
    """Where something is on the Hub."""

    name: str
    """OWNER/NAME"""
    kind: Kind = "model"
    revision: str | None = None
    """a branch, a tag or a commit; None: the branch main"""

    def __str__(self) -> str:
        return f"hf://{'datasets/' * (self.kind == 'dataset')}{self.name}{f'@{self.revision}' * bool(self.revision)}"

    @property
    def page(self) -> str:
        """Its page, for people."""
        return f"https://huggingface.co/{'datasets/' * (self.kind == 'dataset')}{self.name}"


@dataclass(frozen=True)
class HubFolder:
    """Files of a repository on this machine."""

    path: Path
    commit: str
    """40 hexadecimal digits"""
    names: tuple[str, ...]
    """of all files of the commit, fetched or not"""


def is_hub_address(given: Path | str) -> bool:
    """Whether something is named as ``hf://...``."""
    return HUB.match(str(given)) is not None


def fetch_repository(wanted: HubRepository, choices: Sequence[Sequence[str]], store: Path) -> HubFolder:
    """The files of a repository whose names match patterns, all of one commit.

    What is there already is not fetched again. A commit that is there needs no network; of a branch or a tag, the
    commit that it named when it was last looked up is taken where there is no network.

    Parameters
    ----------
    wanted
        the repository, and the revision of it
    choices
        patterns of names of files, such as ``*.parquet``, in groups: the first group that any file matches is taken
    store
        folder for repositories

    Raises
    ------
    RemoteError
        The Hub can't be reached, has no such repository or no such files, or does not give them.
    OutputError
        The disk is too full, or the folder can't be written.
    """
    home = store / f"{wanted.kind}s--{wanted.name.replace('/', '--')}"
    try:
        commit = _commit(wanted, home)
        folder = home / commit
        listing = _listing(wanted, commit, folder)
        patterns = next((each for each in choices if any(_matches(name, each) for name in listing)), choices[-1])
        files = {name: size for name, size in listing.items() if _matches(name, patterns)}
        into = folder / wanted.name.rpartition("/")[2]
        if not files:
            some = ", ".join(sorted(listing)[:5]) or "nothing"
            needed = ", ".join(dict.fromkeys(each.lower() for group in choices for each in group))
            raise RemoteError(f"{wanted} has none of the files that are needed ({needed}); it has {some}")
        if missing := _missing(into, files):
            _require_room(wanted, home, sum(missing.values()))
            for name in missing:
                discard(into / name)  # its library would take a torn file for the one that it fetched
            _download(wanted, commit, patterns, into)
            if missing := _missing(into, files):
                raise RemoteError(f"{wanted}: {min(missing)} did not come whole; the same call goes on")
    except (RemoteError, OutputError):
        raise
    except Exception as error:  # its errors come from several libraries
        raise RemoteError(f"can't fetch {wanted} from the Hugging Face Hub: {why_not(error, wanted)}") from None
    return HubFolder(into, commit, tuple(sorted(listing)))


def why_not(error: Exception, wanted: HubRepository) -> str:
    """Why the Hub did not do what was asked, and what would help, in one line."""
    from huggingface_hub.errors import (
        DisabledRepoError,
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return f"{wanted.name} is gated: accept its terms at {wanted.page}, then run `hf auth login`"
    if isinstance(error, DisabledRepoError):
        return f"{wanted.name} was disabled by the Hub"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"the Hub shows no repository {wanted.name}: the name is wrong, or it was deleted, or it is private (then "
            "run `hf auth login`)"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{wanted.name} has no revision {wanted.revision!r}: give a branch, a tag or a commit that it has"
    if isinstance(error, OfflineModeIsEnabled):
        return "the Hub is switched off by HF_HUB_OFFLINE, and this revision was not fetched before"
    return _of_status(error, wanted) or reason_of(error)


def reason_of(error: BaseException) -> str:
    """What an error says in one line, or its kind; of the error behind it, where it says nothing itself. No secrets."""
    if isinstance(error, UnicodeEncodeError) or "Bearer " in str(error):  # such an error shows the token
        return "your token holds a letter that no token has: run `hf auth login` again"
    told = getattr(error, "server_message", None)
    text = " ".join(str(told).split()) if told else str(getattr(error, "reason", None) or error).strip()
    behind = error.__cause__
    if behind is not None and (isinstance(error, RuntimeError) or type(error).__name__ == "LocalEntryNotFoundError"):
        return reason_of(behind)
    first, *others = text.splitlines() or [""]
    listed = [line for line in others if line.startswith("- ")]
    said = SIGNED.sub(r"\1", " ".join([first, *listed]))[:LONGEST] or type(error).__name__
    return f"this machine can't reach it: is there a network? ({said})" if UNREACHED.search(first) else said


def status_of(error: BaseException | None) -> int | None:
    """The status with which the Hub answered, where that is the reason, or the reason behind it."""
    while error is not None:
        if (status := getattr(getattr(error, "response", None), "status_code", None)) is not None:
            return int(status)
        error = error.__cause__
    return None


def _of_status(error: Exception, wanted: HubRepository) -> str | None:
    """What a status of HTTP means here."""
    status = status_of(error)
    meaning = {
        401: "it does not know who asks: run `hf auth login` with a token that has the right to do this",
        403: f"your token has no right to do this with {wanted.name}: see the rights of tokens in your settings there",
        404: f"it has no {wanted.name}, or does not show it to you: is the owner right?",
        **dict.fromkeys(
            (409, 412), "it was changed by somebody else meanwhile: look at it, then the same call goes on"
        ),
        429: "it asks for fewer requests: wait some minutes, then the same call goes on",
    }
    if status is not None and status >= 500:
        return f"it has trouble of its own (status {status}): the same call goes on later"
    return f"{meaning[status]} (status {status})" if status in meaning else None


def _commit(wanted: HubRepository, home: Path) -> str:
    """The commit that the revision names."""
    revision = wanted.revision or "main"
    if COMMIT.fullmatch(revision):
        return revision
    known = home / "refs" / quote(revision, safe="")
    from huggingface_hub import HfApi, constants

    try:
        with bars_on_terminals():
            found = HfApi(endpoint=constants.ENDPOINT).repo_info(wanted.name, revision=revision, repo_type=wanted.kind)
    except Exception as error:
        if status_of(error) is None and known.exists():  # no answer at all
            return known.read_text(encoding="ascii")
        raise
    if not COMMIT.fullmatch(found.sha or ""):
        raise RemoteError(f"{wanted}: the Hub names the commit {found.sha!r}, which is none")
    with replacing(known) as file:
        file.write(str(found.sha).encode())
    return str(found.sha)


def _listing(wanted: HubRepository, commit: str, folder: Path) -> Mapping[str, int]:
    """The size of each file of a repository at a commit, in bytes."""
    kept = folder / "listing.json"
    if kept.exists():
        try:
            return {str(name): int(size) for name, size in json.loads(kept.read_bytes()).items()}
        except (ValueError, AttributeError, TypeError):
            kept.unlink()  # torn: ask again
    from huggingface_hub import HfApi, constants
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(endpoint=constants.ENDPOINT)
    with bars_on_terminals():
        entries = api.list_repo_tree(wanted.name, recursive=True, revision=commit, repo_type=wanted.kind)
        found = {each.path: each.size for each in entries if isinstance(each, RepoFile)}
    for name in found:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise RemoteError(f"{wanted} has a file {name!r}, whose name leads out of its folder")
    with replacing(kept) as file:
        file.write(json.dumps(found).encode())
    return found


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _missing(folder: Path, files: Mapping[str, int]) -> dict[str, int]:
    """The files that are not there whole, and their sizes."""
    there = {name: folder / name for name in files}
    return {
        name: files[name] for name, path in there.items() if not path.is_file() or path.stat().st_size != files[name]
    }


def _require_room(wanted: HubRepository, home: Path, size: int) -> None:
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home).free
    if size + SPARE > free:
        raise OutputError(
            f"{wanted} needs {size / 1e6:,.1f} MB more, and the disk of {home} has {free / 1e6:,.1f} MB left, of which "
            f"{SPARE / 1e6:.0f} are left free; name a part of it, or give another folder with `skythaw --cache`"
        )


def _download(wanted: HubRepository, commit: str, patterns: Sequence[str], folder: Path) -> None:
    """Into a folder of its own: the Hub's cache is made of links, and what we read may not lead out of its folder."""
    from huggingface_hub import constants, snapshot_download

    with bars_on_terminals():
        snapshot_download(
            wanted.name,
            repo_type=wanted.kind,
            revision=commit,
            allow_patterns=list(patterns),
            local_dir=folder,
            endpoint=constants.ENDPOINT,
        )


@contextmanager
def bars_on_terminals(shown: bool = True) -> Iterator[None]:
    """Inside, the Hub's library draws bars on a terminal alone, if they are to be shown, and says nothing."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with _bars(shown):
            yield
    finally:
        logging.set_verbosity(before)


@contextmanager
def _bars(shown: bool) -> Iterator[None]:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled() or (shown and sys.stderr.isatty()):
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()

"""Twins: the same image under two names.

Their files are equal byte for byte, or their decoded pixels are equal, or one was compressed again or scaled
(`skythaw.data.near_copies`).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from skythaw.data.cutouts import Cutouts
from skythaw.data.decode import BrokenImageError, decode, require_checksum
from skythaw.data.near_copies import Signatures
from skythaw.data.overlaps import identify
from skythaw.data.pixel_store import Store
from skythaw.errors import OutputError
from skythaw.machine.files import replacing

WORDS = 3
"""numbers of 64 bits in a digest: two of the pixels, and one that near copies share"""
Basis = Literal["bytes", "pixels", "near"]
"""what tells twins: equal files; equal pixels as well; nearly equal ones as well"""
KEPT = "digests"
ROWS = 256
"""images that are read at once"""
NOTHING = hashlib.sha256(b"").hexdigest()
"""of an object without an image: it has no twin"""


def twin_groups(cutouts: Cutouts, digests: np.ndarray | None = None, basis: Basis = "near") -> np.ndarray:
    """A number for each object, int [object], the same for twins.

    Parameters
    ----------
    cutouts
        the objects
    digests
        of their pixels, as `store_digests` or `decoded_digests` gives them; None compares the files' bytes alone
    basis
        what of the digests is compared
    """
    sha256 = np.array(cutouts.image_sha256, dtype=object)
    alone = np.where(sha256 == NOTHING, np.arange(1, len(sha256) + 1), 0)
    same_bytes = identify([sha256, alone])
    if digests is None or basis == "bytes":
        return same_bytes
    same_pixels = merged(same_bytes, _same_pixels(digests))
    return same_pixels if basis == "pixels" else merged(same_pixels, _near(digests))


def twin_basis(cutouts: Cutouts, chosen: np.ndarray, digests: np.ndarray | None) -> Basis | None:
    """What tells that some of the `chosen` objects (bool [object]) are twins; None if none are."""
    found, images = None, int(chosen.sum())
    for basis in get_args(Basis):
        left = len(np.unique(twin_groups(cutouts, digests, basis)[chosen]))
        found, images = (basis, left) if left < images else (found, images)
    return found


def merged(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The finest groups, int [object], that keep together what `left` or `right` keeps together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    left, right = identify([left]), identify([right])
    first = int(left.max(initial=-1)) + 1
    count = first + int(right.max(initial=-1)) + 1
    links = coo_array((np.ones(len(left)), (left, right + first)), shape=(count, count))
    return connected_components(links, directed=False)[1][left].astype(np.int64)


def conflicting(labels: np.ndarray, groups: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Which of the `chosen` objects (bool [object]) have a twin among them with another label, bool [object]."""
    seen: dict[int, set[str]] = defaultdict(set)
    rows = np.flatnonzero(chosen)
    for row in rows:
        seen[int(groups[row])].add(labels[row])
    odd = np.zeros(len(labels), dtype=bool)
    odd[rows] = [len(seen[int(groups[row])]) > 1 for row in rows]
    return odd


def say_conflicts(sets: Sequence[Sequence[tuple[str, str]]]) -> str:
    """Images that are there with different labels, in words: for each, the ids and labels of its objects."""
    shown = [
        " = ".join(f"{name} ({label})" for name, label in some[:4]) + (" = ..." if len(some) > 4 else "")
        for some in sets[:3]
    ]
    how = "image is there" if len(sets) == 1 else "images are there"
    return f"{len(sets)} {how} with different labels: {'; '.join(shown)}{'; ...' if len(sets) > 3 else ''}"


def conflict_sets(
    ids: Sequence[str], labels: np.ndarray, groups: np.ndarray, chosen: np.ndarray
) -> list[list[tuple[str, str]]]:
    """For each image that some of the `chosen` objects have with different labels, their ids and labels."""
    sets: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for row in np.flatnonzero(conflicting(labels, groups, chosen)).tolist():
        sets[int(groups[row])].append((ids[row], labels[row]))
    return list(sets.values())


def digest_of(pixels: np.ndarray) -> tuple[int, int]:
    """128 bits that tell an image's shape, type and values from those of any other."""
    about = f"{pixels.shape} {pixels.dtype.str}".encode()
    found = hashlib.blake2b(about + np.ascontiguousarray(pixels).tobytes(), digest_size=16).digest()
    first, second = np.frombuffer(found, dtype="<u8").tolist()
    return first, second


def store_digests(store: Store) -> np.ndarray:
    """Digests of decoded images, uint64 [object, word]; zeros for those that can't be used. Kept beside the images."""

    def computed() -> np.ndarray:
        found = np.zeros((len(store.pixels), WORDS), dtype=np.uint64)
        noise = Signatures(len(found))
        for rows, pixels in _pages(store):
            noise.add(rows, pixels)
            found[rows, :2] = [digest_of(each) for each in pixels]
        found[:, 2] = noise.groups() + 1
        return found

    return _kept(_folder(store) / KEPT, "<u8", (len(store.pixels), WORDS), computed)


def near_copies_of(ours: Store, theirs: Store) -> np.ndarray:
    """For each image of `theirs` the row of its near copy in `ours`, or -1; int64 [object]. Kept beside the images."""
    first = len(ours.pixels)

    def computed() -> np.ndarray:
        noise = Signatures(first + len(theirs.pixels))
        for store, begin in ((ours, 0), (theirs, first)):
            for rows, pixels in _pages(store):
                noise.add(begin + rows, pixels)
        found = noise.groups()[first:]
        return np.where(found < first, found, -1)

    return _kept(_folder(theirs) / f"near-{_folder(ours).name}", "<i8", (len(theirs.pixels),), computed)


def decoded_digests(cutouts: Cutouts) -> np.ndarray:
    """The same as `store_digests`, where there is no store: every image is decoded."""
    found = np.zeros((len(cutouts), WORDS), dtype=np.uint64)
    noise = Signatures(len(cutouts))
    for row, (name, data, sha256) in enumerate(cutouts.images()):
        try:
            require_checksum(data, sha256, name)
            pixels = decode(data, name)
        except BrokenImageError:
            continue
        found[row, :2] = digest_of(pixels)
        noise.add([row], pixels[None])
    found[:, 2] = noise.groups() + 1
    return found


def _same_pixels(digests: np.ndarray) -> np.ndarray:
    """Groups of equal digests, int [object]; zeros stand for an image that is like no other."""
    alone = np.where(digests[:, :2].any(1), 0, np.arange(1, len(digests) + 1))
    return identify([*digests[:, :2].T, alone])


def _near(digests: np.ndarray) -> np.ndarray:
    """Groups of near copies, int [object]; zeros stand for an image that is like no other."""
    return np.where(digests[:, 2] == 0, -np.arange(1, len(digests) + 1), digests[:, 2].astype(np.int64))


def _folder(store: Store) -> Path:
    return Path(str(store.pixels.filename)).parent


def _pages(store: Store) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of usable images, and their pixels, some at a time."""
    usable = np.flatnonzero(store.usable)
    for begin in range(0, len(usable), ROWS):
        rows = usable[begin : begin + ROWS]
        yield rows, store.pixels[rows]


def _kept(file: Path, dtype: str, shape: tuple[int, ...], compute: Callable[[], np.ndarray]) -> np.ndarray:
    """An array from its file, or computed and kept there."""
    try:
        return np.frombuffer(file.read_bytes(), dtype).reshape(shape)
    except (OSError, ValueError):  # not there, or of another version
        found = compute()
    try:
        with replacing(file) as out:
            out.write(found.astype(dtype).tobytes())
    except (OSError, OutputError):
        return found  # a cache that can't be written: computed again next time
    return found

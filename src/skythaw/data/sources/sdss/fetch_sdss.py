"""`fetch_sdss`: from a request to a file of cutouts. START READING HERE.

First, the objects of the request are written to the state file (`fetch_state.py`): from queries for slices of the sky,
or from the user's own catalogue. Then threads fetch the images that are missing, and each image is kept as it comes.
Then the result is built from the state file alone. So it may be stopped at any moment, and the same replies give the
same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from skythaw.data.cutouts import write_cutouts
from skythaw.data.sources.column_names import FRAME
from skythaw.data.sources.sdss import spectra_query
from skythaw.data.sources.sdss.fetch_images import fetch_all
from skythaw.data.sources.sdss.fetch_state import FETCHED, WAITING, FetchState
from skythaw.data.sources.sdss.http_client import Client, HttpSettings
from skythaw.data.sources.sdss.image_services import Wanted
from skythaw.data.sources.sdss.missing_reasons import TRANSIENT, Fault, Reason
from skythaw.data.sources.sdss.positions import read_catalog
from skythaw.data.sources.sdss.sdss_request import Request
from skythaw.data.sources.sdss.state_rows import SkyObject
from skythaw.errors import DataError, RemoteError, SkythawError
from skythaw.machine.package_version import version_of

Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Passes an iterable of known length through, and shows how far it is, under a name."""


@dataclass(frozen=True)
class FetchSummary:
    """How many objects of a request were fetched, and why others were not."""

    asked: int
    """objects of the request"""
    fetched: int
    """objects with an image"""
    rejected: dict[str, int]
    """objects without an image, by reason (`Reason`)"""
    state: Path
    """the state file, which has the reason for every object"""
    notes: tuple[str, ...] = ()
    """what is suspicious about the positions of a catalogue, or was changed in them"""


def fetch_sdss(
    out: Path,
    request: Request,
    http: HttpSettings | None = None,
    *,
    workers: int = 2,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> FetchSummary:
    """Make a file of cutouts from the SDSS archive. If it was stopped, the same call goes on.

    The state file `OUT.sdss` lies beside `out`. It prevents that anything is fetched twice, and may be deleted
    afterwards.

    Parameters
    ----------
    out
        the Parquet file to make or replace
    request
        the objects and images that are wanted
    http
        how the services are asked
    workers
        requests under way at once; the rate holds for all together
    retry_failed
        try again after all failures; without it, only after those that may pass (see `Reason.passes`)
    progress
        called with the objects of a step, their number, and the name of the step

    Returns
    -------
    FetchSummary

    Raises
    ------
    RemoteError
        The services do not answer as they should; the same call goes on later.
    DataError, SpecError
        The catalogue or the state file can't be used; or nothing could be fetched.
    OutputError
        `out` or the state file can't be written.
    """
    out = Path(out)
    state = settle(
        out.with_name(out.name + ".sdss"),
        request,
        http or HttpSettings(),
        workers=workers,
        retry_failed=retry_failed,
        progress=progress,
    )
    try:
        return build(out, state, request)
    finally:
        state.close()


def settle(
    path: Path,
    request: Wanted,
    http: HttpSettings,
    *,
    workers: int = 2,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> FetchState:
    """Fetch until every object has its image or its reason, and return the open state file; see `fetch_sdss`.

    A request that is refused before any object is known leaves no state file.
    """
    show = progress or (lambda items, total, name: items)
    state = FetchState(path)
    try:
        state.bind(request.describe())
        client = Client(http)
        try:
            _list_objects(state, client, request, show)
            state.retry(set(Reason) - {Reason.DUPLICATE, Reason.BAD_POSITION} if retry_failed else TRANSIENT)
            state.mend()
            while waiting := state.counts().get(WAITING, 0):
                for _ in show(fetch_all(state, client, request, workers), waiting, "fetching"):
                    pass
                state.mend()
        finally:
            client.close()
    except BaseException as error:
        if isinstance(error, SkythawError):
            state.discard_new()
        state.close()
        raise
    return state


def ask(client: Client, request: Request, query: str, read: Callable[[bytes], Any]) -> Any:
    """The reply to a query, as `read` returns it.

    Raises
    ------
    RemoteError
        There is no good reply.
    """
    fields = {"cmd": query, "format": "csv"}
    try:
        return client.get(spectra_query.address(request.release), fields, spectra_query.LARGEST_REPLY, read)
    except Fault as fault:
        raise RemoteError(f"SkyServer, DR{request.release}, to a query: {fault.detail}") from None


def _list_objects(state: FetchState, client: Client, request: Wanted, show: Progress) -> None:
    """Write every object of the request to the state file, unless all are there."""
    if state.get("listed"):
        return
    if isinstance(request, Request) and request.catalog is None and request.sql is None:
        for stratum in request.strata:
            listing = _list_stratum(state, client, request, stratum)
            for _ in show(listing, request.wanted, f"looking for {', '.join(stratum)}"):
                pass
        state.add([], listed=True)
        return
    source = request.catalog
    if isinstance(request, Request) and request.sql is not None:
        source = ask(client, request, " ".join(request.sql.split()), _whole_table)
    assert source is not None
    catalog = read_catalog(source, request.columns)
    columns = [(name, str(kind)) for name, kind in catalog.columns]
    notes: dict[str, Any] = {"columns": columns}
    if isinstance(source, bytes):
        notes["replies"] = {"sql": hashlib.sha256(source).hexdigest()}
    state.add(catalog.items, listed=True, said=catalog.notes, **notes)


def _list_stratum(state: FetchState, client: Client, request: Request, stratum: tuple[str, ...]) -> Iterator[None]:
    """Ask for slices of the sky, in an order drawn by the seed, until there are enough objects; yield for each object.

    Within a slice the order of the objects is drawn by the seed, too. So a smaller sample is the beginning of a larger
    one, and the order of the service's rows makes no difference.
    """
    order = sorted(range(spectra_query.SLICES), key=lambda number: _draw(request.seed, f"slice {number}"))
    replies: dict[str, str] = state.get("replies") or {}
    usable = state.usable(stratum)
    yield from (None for _ in range(usable))
    for number in order:
        name = f"{'+'.join(stratum)} {number}"
        if usable >= request.wanted or name in replies:
            continue
        query = spectra_query.slice_query(stratum, number, request.limits)
        rows = ask(client, request, query, lambda reply: spectra_query.read_slice(reply, stratum, request.release))
        rows.sort(key=lambda row: _draw(request.seed, row["specObjID"]))
        replies[name] = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
        added = state.add(map(_item, rows), limit=request.wanted - usable, replies=replies)
        usable += added
        yield from (None for _ in range(added))


def _whole_table(reply: bytes) -> bytes:
    """The reply to the user's own query, with its rows sorted, if the service did not cut the table off."""
    _, rows = spectra_query.read_table(reply)
    if (count := sum(1 for _ in rows)) >= spectra_query.ROW_LIMIT:
        raise Fault(Reason.TOO_LARGE, f"{count} rows, where the service silently cuts tables off; ask for fewer")
    first, header, *lines = reply.splitlines()
    return b"\n".join([first, header, *sorted(lines), b""])


def _draw(seed: int, text: str) -> bytes:
    """A number drawn for a text: the same on every machine, and another one for each seed."""
    return hashlib.sha256(f"{seed}:{text}".encode()).digest()


def _item(row: spectra_query.Row) -> SkyObject:
    """An object of the clean sample. Its label is the class of the spectrum; its position is that of the photometry."""
    own = {"specObjID", "class", "photoRa", "photoDec", *FRAME}
    extra = {name: value for name, value in row.items() if name not in own}
    frame = (row["run"], row["camcol"], row["field"])
    return SkyObject(row["specObjID"], row["class"], row["photoRa"], row["photoDec"], row["bestObjID"], frame, extra)


def build(out: Path, state: FetchState, request: Wanted) -> FetchSummary:
    """Write the result from the state file, and count the objects."""
    counts, found = state.counts(), _extra_columns(state)
    hidden = [name for name, _ in found if name in request.common]
    ours = [f"the catalogue's column {name} is not in the file, which has its own" for name in hidden]
    summary = FetchSummary(
        asked=sum(counts.values()),
        fetched=counts.get(FETCHED, 0),
        rejected={name: counts[name] for name in map(str, Reason) if name in counts},
        state=state.path,
        notes=(*(state.get("said") or ()), *ours),
    )
    if not summary.fetched:
        why = ", ".join(f"{name}: {count}" for name, count in summary.rejected.items()) or "no object was found"
        first = next((f"; of the first: {detail}" for _, _, detail in state.failed() if detail), "")
        raise DataError(
            f"there is no image to write to {out}; {why}{first} ({state.path} has the reason for every object)"
        )
    position: tuple[tuple[str, pa.DataType], ...] = (("ra", pa.float64()), ("dec", pa.float64()))
    frame = [(name, pa.int64()) for name in FRAME] if state.has_frames() else []
    added = [(name, pa.string() if isinstance(value, str) else pa.float64()) for name, value in request.common.items()]
    extra = [each for each in found if each[0] not in request.common]
    recipe = {
        **request.describe(),
        "replies": state.get("replies") or {},
        "asked": summary.asked,
        "rejected": summary.rejected,
        "skythaw": version_of("skythaw"),
    }
    if isinstance(request, Request) and request.sql is None and request.catalog is None:
        recipe["query"] = spectra_query.slice_query(request.classes, 0, request.limits)
    write_cutouts(out, _rows(state, request), [*position, *frame, *extra, *added], recipe)
    return summary


def _extra_columns(state: FetchState) -> list[tuple[str, pa.DataType]]:
    """Names and types of the columns that come with the objects."""
    if (columns := state.get("columns")) is not None:
        return [(name, pa.type_for_alias(kind)) for name, kind in columns]
    own = {"specObjID", "class", *FRAME}
    kinds = {**dict.fromkeys(spectra_query.TEXT, pa.string()), **dict.fromkeys(spectra_query.WHOLE, pa.int64())}
    names = [name for name in spectra_query.HEADER if name not in own and not name.startswith("photo")]
    return [(name, kinds.get(name, pa.float64())) for name in names]


def _rows(state: FetchState, request: Wanted) -> Iterator[dict[str, Any]]:
    ending = "jpg" if request.images == "jpeg" else "fits"
    for item, image in state.fetched():
        frame = dict(zip(FRAME, item.frame or (None,) * 3, strict=True))
        own = {"object_id": item.object_id, "label": item.label, "ra": item.ra, "dec": item.dec, "image": image}
        yield {**item.extra, **frame, **request.common, **own, "image_path": f"{item.object_id}.{ending}"}

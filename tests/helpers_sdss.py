"""For the tests of the SDSS source: a quick client, what the server was asked, and what a file holds."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

from sdss_universe import Universe
from skythaw.data.cutouts import read_cutouts
from skythaw.data.sources.sdss.fetch_sdss import fetch_sdss
from skythaw.data.sources.sdss.http_client import HttpSettings
from skythaw.data.sources.sdss.sdss_request import Request


def quick(url: str, **settings) -> HttpSettings:
    """HttpSettings for a server of our own."""
    return HttpSettings(**{"base_url": url, "rate": 1000, "backoff": 0.01, "timeout": 5, **settings})


def fetch(out: Path, url: str, request: Request, workers: int = 4, retry_failed: bool = False, **http):
    """`fetch_sdss` from a server of our own."""
    return fetch_sdss(out, request, quick(url, **http), workers=workers, retry_failed=retry_failed)


def requests_of(log: Path) -> list[dict]:
    """What the server was asked, in order of arrival."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def write_catalog(path: Path, universe: Universe, rows=None) -> Path:
    """A CSV of a universe's objects, called by their number."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["object_id", "ra", "dec", "label", "run", "camcol", "field", "modelMag_r"])
        for i in range(len(universe.rows)) if rows is None else rows:
            row = universe.rows[i]
            place = [row["photoRa"], row["photoDec"], row["class"], row["run"], row["camcol"], row["field"]]
            writer.writerow([f"o{i:05d}", *place, row["modelMag_r"]])
    return path


def images(path: Path) -> dict[str, str]:
    """SHA-256 of the image of each object of a file, computed anew."""
    return {name: hashlib.sha256(data).hexdigest() for name, data, _ in read_cutouts(path, need_labels=False).images()}


def truth(universe: Universe, size: int = 64) -> dict[str, str]:
    """SHA-256 of the image of each object that can be fetched, by its spectrum's id."""
    return {
        str(row["specObjID"]): hashlib.sha256(universe.jpeg(i, size)).hexdigest()
        for i, row in enumerate(universe.rows)
        if universe.fetchable(i)
    }

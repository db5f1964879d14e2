"""What `skythaw data sdss` and `skythaw data cutouts` say in the end: what was fetched, and why the rest was not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skythaw.cli.terminal import print_json, say, warn
from skythaw.cli.terminal_table import TerminalTable, print_table

if TYPE_CHECKING:
    from skythaw.data.sources.sdss.fetch_sdss import FetchSummary

JSON_SCHEMA = 1


def print_fetched(summary: FetchSummary, out: Path, size: int, *, wanted: int = 0, as_json: bool) -> None:
    """Print what became of the objects; `wanted` is how many were to be drawn from a survey."""
    from skythaw.data.sources.sdss.missing_reasons import Reason

    for note in summary.notes:
        warn(note)
    if as_json:
        numbers = {"asked": summary.asked, "fetched": summary.fetched, "rejected": summary.rejected}
        print_json({"schema": JSON_SCHEMA, **numbers, "state": str(summary.state), "file": str(out)})
        return
    table = TerminalTable(f"{summary.asked} objects asked for", ("result", "objects"))
    table.add("fetched", str(summary.fetched))
    for name, number in summary.rejected.items():
        table.add(f"{name}: {Reason(name).words}", str(number))
    print_table(table)
    if wanted > summary.asked:
        warn(f"the survey has {summary.asked} such objects, not {wanted}")
    if again := sum(number for name, number in summary.rejected.items() if Reason(name).passes):
        warn(f"{again} of them may be there another time; run the same command again")
    say(f"wrote {summary.fetched} cutouts of {size} px to {out}; {summary.state} has the reason for every object")

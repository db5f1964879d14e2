"""What `skythaw data import` says in the end: what was read, changed and left out, and what comes next."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from skythaw.cli.terminal import plain_line, print_json, say, warn
from skythaw.cli.terminal_table import TerminalTable, print_table

if TYPE_CHECKING:
    from skythaw.data.sources.folder import ImportResult

NAMED = 3
"""names of what was left out for one reason"""
SHOWN = 20
"""warnings about single images"""


def print_import(result: ImportResult, out: Path, *, as_json: bool) -> None:
    """Print what became of the images of an import, from its result and from the file that it wrote."""
    from skythaw.data.cutouts import read_cutouts

    cutouts = read_cutouts(out, need_labels=False)
    for text in result.notes:
        warn(plain_line(text))
    unlabelled = int((~cutouts.labelled).sum())
    if as_json:
        told = {"out": str(out), "objects": result.objects, "classes": cutouts.counts, "unlabelled": unlabelled}
        told |= {"changed": result.changed, "notes": list(result.notes)}
        told["left_out"] = [{"name": name, "reason": reason} for name, reason in result.left_out.items()]
        print_json({"schema": 1, **told})
        return
    for object_id, reason in list(result.broken.items())[:SHOWN]:
        warn(plain_line(f"left out {object_id}: {reason}"))
    table = TerminalTable("read:", ("class", "objects"))
    for name, number in cutouts.counts.items():
        table.add(name, str(number))
    if unlabelled:
        table.add("(no label)", str(unlabelled))
    print_table(table)
    if result.changed:
        changed = TerminalTable("changed:", ("how", "how many"))
        for what, number in result.changed.items():
            changed.add(what, str(number))
        print_table(changed)
    if result.left_out:
        _print_left_out(result.left_out)
    say(f"wrote {result.objects} cutouts to {out}")
    say(f"next: skythaw data inspect {out}")


def _print_left_out(left_out: dict[str, str]) -> None:
    from skythaw.data.sources.image_files import NOT_IMAGE

    reasons: dict[str, list[str]] = defaultdict(list)
    for name, reason in left_out.items():
        reasons["not images" if reason.startswith(NOT_IMAGE) else reason].append(name)
    table = TerminalTable(f"left out: {len(left_out)}", ("why", "which", "how many"), text_columns=2)
    for reason, names in sorted(reasons.items(), key=lambda each: -len(each[1])):
        which = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
        table.add(plain_line(reason), plain_line(which), str(len(names)))
    print_table(table)

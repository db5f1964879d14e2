"""What `predict` and `features` both say of many images, on the terminal and for programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from skythaw.cli.terminal import brief, say, warn

if TYPE_CHECKING:
    from skythaw.predict.image_summary import ImageSummary

JSON_SCHEMA = 1
NAMED = 10
"""reasons that are printed, at most"""


def facts_of(summary: ImageSummary, out: Path) -> dict[str, Any]:
    """For programs: of all images together."""
    return {
        "schema": JSON_SCHEMA,
        "objects": summary.objects,
        "failed": dict(summary.failed.most_common()),
        "passed_over": len(summary.passed_over),
        "resumed": summary.resumed,
        "seconds": summary.seconds,
        "images_per_second": summary.rate,
        "backend": summary.backend,
        "file": str(out),
    }


def say_left_out(summary: ImageSummary) -> None:
    """Of images that could not be used: how many reasons were not named; and the files that are no images."""
    if len(summary.failed) > NAMED:
        warn(f"there are {len(summary.failed) - NAMED:,} more reasons; the column status has them all")
    if others := list(summary.passed_over):
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        say(f"passed over {len(others):,} files that are not images ({shown})")


def speed_of(summary: ImageSummary) -> str:
    """Images a second, and what the network ran on."""
    if summary.objects > summary.resumed:
        return f"{brief(summary.rate)} images/s, {summary.backend}"
    return "all done before"

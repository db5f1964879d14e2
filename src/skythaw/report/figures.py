"""Pictures of a report, for papers and the README."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from skythaw.data.files import replacing
from skythaw.errors import DataError, OutputError

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Wong, Nature Methods 8, 441 (2011): told apart by colour-blind readers too."""
MARKERS = "osD^vPX"
FORMATS = ("png", "svg", "pdf")


def save_depth_curves(facts: dict[str, Any], file: Path) -> None:
    """Draw macro-F1 on test against depth, with the spread over seeds, and save the picture.

    One line for each backbone, strategy, training size and value of a further axis; a ring marks the depth that
    validation chose.

    Parameters
    ----------
    facts
        from `skythaw.report.facts.report_facts`
    file
        its ending decides the format: png, svg or pdf

    Raises
    ------
    OutputError
        The format is unknown, or the file can't be written.
    DataError
        There is nothing to draw yet, or matplotlib is not installed.
    """
    kind = file.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise OutputError(f"can't draw {file}: its name must end in {', '.join('.' + f for f in FORMATS)}")
    if not facts["rows"]:
        raise DataError("there is nothing to draw: no cell of the study is done yet")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise DataError("pictures need matplotlib: pip install 'skythaw[plot]'") from None
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lines = _lines(facts)
    for i, (label, rows) in enumerate(lines.items()):
        _draw(axes, rows, label, i)
    for choice in facts["recommended"]:
        axes.plot(
            100 * choice["depth"] / choice["blocks"],
            choice["macro_f1"]["mean"],
            "o",
            markersize=15,
            markerfacecolor="none",
            markeredgecolor="0.25",
        )
    axes.plot([], [], "o", markersize=12, markerfacecolor="none", markeredgecolor="0.25", label="chosen on validation")
    axes.set_xlabel("fine-tuned blocks, counted from the top (% of the backbone's blocks)")
    axes.set_ylabel("macro-F1 on the test set")
    axes.set_title(_title(facts), fontsize=11, loc="left")
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    with replacing(file) as out:
        figure.savefig(out, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


def _lines(facts: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Rows by the label of their line; a setting that is the same everywhere is left out of the labels."""
    names = ("backbone", "strategy", "train_size", *facts["axes"])
    varying = [name for name in names if len({str(row[name]) for row in facts["rows"]}) > 1]
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(facts["rows"], key=lambda row: row["depth"]):
        lines.setdefault(", ".join(_say(name, row[name]) for name in varying or ["backbone"]), []).append(row)
    return lines


def _say(name: str, value: Any) -> str:
    if name in ("backbone", "strategy"):
        return str(value)
    return f"{value} images" if name == "train_size" else f"{name} {value}"


def _draw(axes: Any, rows: Iterable[dict[str, Any]], label: str, i: int) -> None:
    rows = list(rows)
    axes.errorbar(
        [100 * row["depth"] / row["blocks"] for row in rows],
        [row["macro_f1"]["mean"] for row in rows],
        yerr=[row["macro_f1"]["std"] or 0.0 for row in rows],
        color=COLOURS[i % len(COLOURS)],
        marker=MARKERS[i % len(MARKERS)],
        linestyle="-" if i < len(COLOURS) else "--",
        capsize=3,
        label=label,
    )


def _title(facts: dict[str, Any]) -> str:
    seeds = max(row["seeds"] for row in facts["rows"])
    bars = f"bars: standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    return f"{facts['name']}: {', '.join(facts['classes'])} ({bars})"

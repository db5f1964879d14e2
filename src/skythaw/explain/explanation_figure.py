"""One picture of an explanation: what `skythaw explain` draws."""

from __future__ import annotations

import io
import os
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from skythaw.bundle.references import Neighbour
from skythaw.data.decode import BrokenImageError, decode
from skythaw.errors import OutputError
from skythaw.explain.explanation import FAR, NEIGHBOURS, Explanation
from skythaw.explain.numbers_panel import draw_numbers
from skythaw.machine.files import replacing, writing
from skythaw.report.figures.figure_style import COLOURS, LIGHT, shorten
from skythaw.report.figures.matplotlib_figures import matplotlib_rules

DPI = 150
SIZE = (9.0, 6.6)
"""inches"""
TALLER = 2.2
"""inches more with numbers"""
MARGIN = 0.02
"""left and right, as a share of the width"""


def explain_png(found: Explanation) -> bytes:
    """The picture, as a PNG file.

    Raises
    ------
    DataError
        matplotlib is not installed.
    """
    with matplotlib_rules(extra="explain"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        size = SIZE if found.numbers is None else (SIZE[0], SIZE[1] + TALLER)
        canvas: Any = Figure(figsize=size, layout="constrained", facecolor="white")
        FigureCanvasAgg(canvas)
        canvas.get_layout_engine().set(rect=(MARGIN, 0, 1 - 2 * MARGIN, 1))
        ratios = [1.45, 1] if found.neighbours else [8, 1]
        if found.numbers is None:
            upper, lower = canvas.subfigures(2, 1, height_ratios=ratios)
        else:
            between = sum(ratios) * TALLER / SIZE[1]
            upper, numbers, lower = canvas.subfigures(3, 1, height_ratios=[ratios[0], between, ratios[1]])
            draw_numbers(numbers, found.numbers, found.p, found.label)
        _maps(upper, found)
        _neighbours(lower, found)
        out = io.BytesIO()
        canvas.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()


def save_png(found: Explanation, file: Path) -> None:
    """Draw the picture into a file, which appears whole or not at all."""
    content = explain_png(found)
    with writing(file), replacing(file) as out:
        out.write(content)


def check_picture(file: Path, image: str) -> None:
    """Raise `OutputError` unless a picture of an image's explanation can be written under this name."""
    if file.suffix.lower() != ".png":
        raise OutputError(f"the picture {file} should end in .png, not {file.suffix!r}")
    if file.is_dir():
        raise OutputError(f"can't write {file}: it is a folder")
    if file.exists() and os.path.realpath(file) == os.path.realpath(image):
        raise OutputError(f"can't write {file}: it is the image itself, which would be lost; give another output")


def _maps(canvas: Any, found: Explanation) -> None:
    """The cutout and both maps in a row, the probabilities under them."""
    canvas.suptitle(
        f"{shorten(found.name, 60)}: {shorten(_answer(found), 40)}", x=0.005, ha="left", fontsize=12, fontweight="bold"
    )
    grid = canvas.add_gridspec(2, 3, height_ratios=[2.6, 0.32 + 0.2 * min(len(found.p), 12)])
    image, cam, hidden = (canvas.add_subplot(grid[0, column]) for column in range(3))
    _show(image, found.picture, "the cutout, as the network sees it")
    _show(cam, found.picture, f"Grad-CAM for {shorten(found.label, 16)} ({found.cells} x {found.cells} map)")
    _heat(canvas, cam, found.grad_cam, (0.0, 1.0), "inferno")
    worst = max(0.01, float(np.abs(found.occlusion).max()))
    _show(hidden, found.picture, f"drop of p({shorten(found.label, 16)}) if hidden")
    _heat(canvas, hidden, found.occlusion, (-worst, worst), "RdBu_r")
    _bars(canvas.add_subplot(grid[1, :]), found)


def _answer(found: Explanation) -> str:
    name = max(found.p, key=lambda each: found.p[each])
    return f"{name}, p = {found.p[name]:.3f}"


def _show(axes: Any, picture: np.ndarray, title: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(fill(title, 36), fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _heat(canvas: Any, axes: Any, heat: np.ndarray, limits: tuple[float, float], colours: str) -> None:
    """A map over what is there, more opaque where it is stronger, with its scale."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = Normalize(*limits)
    axes.imshow(
        heat, cmap=colours, norm=scale, alpha=0.75 * np.abs(heat) / max(map(abs, limits)), interpolation="bilinear"
    )
    bar = canvas.colorbar(ScalarMappable(scale, colours), ax=axes, fraction=0.046, pad=0.03)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)


def _bars(axes: Any, found: Explanation) -> None:
    """The most probable classes."""
    names = sorted(found.p, key=lambda name: -found.p[name])[:12]
    colours = [COLOURS[0] if name == found.label else "#b9c4cf" for name in names]
    axes.barh([f" {shorten(name, 24)}" for name in names], [found.p[name] for name in names], color=colours, height=0.7)
    for place, name in enumerate(names):
        axes.text(found.p[name] + 0.008, place, f"{found.p[name]:.3f}", va="center", fontsize=8.5)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel("probability (calibrated)", fontsize=8.5)
    axes.tick_params(axis="y", length=0)


def _neighbours(canvas: Any, found: Explanation) -> None:
    """How like the training images it is, and the nearest of them."""
    far = found.percentile is not None and found.percentile > FAR
    colour = COLOURS[1] if far else LIGHT["ink"]
    canvas.suptitle(fill(found.verdict, 110), x=0.005, ha="left", fontsize=10, color=colour)
    if not found.neighbours:
        return
    for place, (axes, each) in enumerate(
        zip(np.atleast_1d(canvas.subplots(1, NEIGHBOURS)), [*found.neighbours, *[None] * NEIGHBOURS], strict=False)
    ):
        axes.axis("off")
        if each is None:
            continue
        _thumbnail(axes, each)
        first = "nearest in training\n" if place == 0 else "\n"
        axes.set_title(f"{first}{shorten(each.label, 18)}", fontsize=9, loc="left")
        words = f"{shorten(each.object_id, 22)}\ndistance {each.distance:.3g}"
        axes.text(0, -0.05, words, transform=axes.transAxes, va="top", fontsize=7, color=LIGHT["muted"])


def _thumbnail(axes: Any, neighbour: Neighbour) -> None:
    """A training image, or a word where it can't be decoded: it comes from a file that may be anybody's."""
    try:
        axes.imshow(decode(neighbour.image, neighbour.object_id), interpolation="nearest")
    except BrokenImageError:
        axes.text(0.5, 0.5, "(no picture)", ha="center", va="center", fontsize=8, transform=axes.transAxes)

"""The figures of a run, drawn on the axes of the caller: `run.plot.depth(ax=ax)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from skythaw.errors import DataError
from skythaw.report.figures.elements import Figure
from skythaw.report.figures.matplotlib_figures import draw_on, require_matplotlib
from skythaw.report.figures.report_figures import ReportFigures, report_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class RunPlots:
    """Each method draws one figure of the report on `ax`, or on new axes, and gives the axes back."""

    def __init__(self, facts: Callable[[], dict[str, Any]]) -> None:
        self._facts = facts

    def depth(self, ax: Axes | None = None) -> Axes:
        """Scores against the share of blocks that are trained, a line for each network."""
        return _drawn([self._figures().depth], ax, "")

    def learning(self, ax: Axes | None = None) -> Axes:
        """How the recommended network trained: macro-F1 on validation against steps, a line for each seed."""
        return _drawn(self._figures().learning, ax, "the ledger has no curves of its training")

    def confusion(self, ax: Axes | None = None) -> Axes:
        """What each class was taken for by the recommended network: shares of each true class."""
        return _drawn(self._of_choice("confusion"), ax, "the ledger has no confusion of its classes")

    def sizes(self, ax: Axes | None = None) -> Axes:
        """Scores against the number of training images."""
        figure = self._figures().size
        return _drawn([figure] if figure else [], ax, "the study tried one number of training images")

    def calibration(self, ax: Axes | None = None) -> Axes:
        """Whether the probabilities of the recommended network mean what they say."""
        return _drawn(self._of_choice("reliability"), ax, "the run folder has no predictions")

    def __repr__(self) -> str:
        return "plots of a run: .depth(), .learning(), .confusion(), .sizes(), .calibration(); each takes ax="

    def _figures(self) -> ReportFigures:
        facts = self._facts()
        if not facts["rows"]:
            raise DataError("no training of the run is finished yet, so there is nothing to draw")
        return report_figures(facts)

    def _of_choice(self, name: str) -> Sequence[Figure]:
        """The figures of a kind, that of the chosen network first."""
        some: Sequence[Figure] = getattr(self._figures(), name)
        chosen = self._facts()["choice"]["network"]
        return sorted(some, key=lambda figure: not figure.title.startswith(f"{chosen}, "))


def _drawn(figures: Sequence[Figure], ax: Axes | None, why_none: str) -> Axes:
    """The first of the figures, drawn."""
    if not figures:
        raise DataError(f"there is no such figure of this run: {why_none}")
    require_matplotlib("plot")
    from matplotlib import axes

    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(figsize=(7.0, 4.5), layout="constrained")
    if not isinstance(ax, axes.Axes) or hasattr(ax, "get_zlim"):
        raise DataError(f"ax = {ax!r} should be one flat matplotlib Axes, such as the second value of plt.subplots()")
    draw_on(figures[0], ax)
    return ax

"""An engine that calls a function of a test before each item. The fixture `own_engine` gives such engines a name."""

from __future__ import annotations

from skythaw.engines.serial import Serial
from skythaw.study.run_cell import CellTask


class Watched(Serial):
    """Works here, and calls `before` with each item first. What that raises is what becomes of the item."""

    @staticmethod
    def before(item):
        pass

    def map(self, function, items):
        def work(item):
            self.before(item)
            return function(item)

        return super().map(work, items)


def failing(is_bad):
    """What to call before cells, so that some of them fail."""

    def before(item):
        if isinstance(item, CellTask) and is_bad(item.cell):
            raise RuntimeError("a cosmic ray")

    return before


def watched(before):
    """A kind of engine that calls `before` with each item."""
    return type("Own", (Watched,), {"before": staticmethod(before)})

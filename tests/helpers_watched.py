"""Engines that do something before each item. The fixture `own_engine` gives an engine of a test a name."""

from __future__ import annotations

from skythaw.engines.serial import Serial
from skythaw.study.cell_task import CellTask


def watched(before):
    """A kind of engine that works here and calls `before` with each item: what that raises becomes of the item."""

    class Watched(Serial):
        def map(self, function, items):
            def work(item):
                before(item)
                return function(item)

            return super().map(work, items)

    return Watched


def failing(is_bad):
    """A kind of engine whose workers fail on some cells."""

    def before(item):
        if isinstance(item, CellTask) and is_bad(item.cell):
            raise RuntimeError("a cosmic ray")

    return watched(before)

"""How well many nodes would be used: a simulation of the schedule, not a measurement. Needs no Ray.

``python benchmarks/ray_simulation.py`` prints efficiency (work / (nodes x time), 1 is ideal) against the number of
nodes for a survey in pieces and for a study whose groups have home nodes. It follows the engine: a free slot takes the
next item; a cell that does not find its group's activations at its node keeps what it needs of them there first. What
it would be without that (such a cell computes the frozen part in every epoch) stands beside it.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from collections.abc import Callable
from typing import Any

NODES = (1, 2, 5, 10, 20, 50, 100, 200)
SLOTS = 8
"""of a node"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--piece", type=float, default=10.0, help="seconds of a piece")
    parser.add_argument("--pieces", type=int, default=10_000)
    parser.add_argument("--start", type=float, default=20.0, help="seconds until a worker is there")
    parser.add_argument("--slow", type=float, default=0.02, help="share of nodes that are three times as slow")
    parser.add_argument(
        "--driver", type=float, default=140.0, help="items a second that the driver can hand out and write"
    )
    options = parser.parse_args()
    for nodes in NODES:
        print(json.dumps({"survey": True, "nodes": nodes, **survey(nodes, options)}))
    for cells in (100, 1000):
        for nodes in NODES:
            print(json.dumps({"study": True, "cells": cells, "nodes": nodes, **study(nodes, cells, options)}))


def survey(nodes: int, options: argparse.Namespace) -> dict[str, float]:
    draw = random.Random(0)
    pieces = [options.piece * draw.lognormvariate(0, 0.2) for _ in range(options.pieces)]
    slow = slow_nodes(nodes, options, draw)
    time = makespan(nodes, slow, len(pieces), lambda i, node: pieces[i], options)
    return {"efficiency": round(sum(pieces) / (nodes * SLOTS * time), 3), "hours": round(time / 3600, 3)}


def study(nodes: int, cells: int, options: argparse.Namespace, groups: int = 7) -> dict[str, float]:
    """Cells of 100 s; the frozen part takes 200 in all epochs, 40 once, 10 more for another cell of the group."""
    draw = random.Random(1)
    work = sorted((100 * draw.lognormvariate(0, 0.7), draw.randrange(groups)) for _ in range(cells))[::-1]
    slow, useful = slow_nodes(nodes, options, draw), sum(seconds for seconds, _ in work)
    found: dict[str, float] = {}
    for name, first, later in (("efficiency", 40, 10), ("computing_again", 200, 200)):
        there: set[tuple[int, int]] = set()

        def cost(i: int, node: int, first: int = first, later: int = later, there: set[Any] = there) -> float:
            seconds, group = work[i]
            extra = 0 if node == group % nodes else later if (node, group) in there else first
            there.add((node, group))
            return seconds + extra

        found[name] = round(useful / (nodes * SLOTS * makespan(nodes, slow, cells, cost, options)), 3)
    return found


def slow_nodes(nodes: int, options: argparse.Namespace, draw: random.Random) -> set[int]:
    return set(draw.sample(range(nodes), round(options.slow * nodes)))


def makespan(
    nodes: int, slow: set[int], items: int, cost: Callable[[int, int], float], options: argparse.Namespace
) -> float:
    """Seconds until all is done: a free slot takes the next item once the driver hands it out."""
    free = [(options.start, node) for node in range(nodes) for _ in range(SLOTS)]
    heapq.heapify(free)
    end = 0.0
    for i in range(items):
        at, node = heapq.heappop(free)
        at = max(at, i / options.driver) + cost(i, node) * (3 if node in slow else 1)
        heapq.heappush(free, (at, node))
        end = max(end, at)
    return end


if __name__ == "__main__":
    main()

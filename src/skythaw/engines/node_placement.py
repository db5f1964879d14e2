"""Which node of a cluster can hold what. Knows nothing of the cluster's software."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace

from skythaw.engines.engine import Needs

PATIENCE = 300.0
"""seconds to wait for a node that can hold an item, before it counts as failed"""

Nodes = dict[str, dict[str, float]]
"""What each living node has in all (``CPU``, ``GPU``, ``memory`` in bytes), by its id."""


@dataclass
class Placing:
    """Places items on nodes that come and go."""

    nodes: Nodes = field(default_factory=dict)
    """as they are now"""
    _homes: dict[str, str] = field(default_factory=dict)
    """the node of each group"""
    _homeless: dict[Needs, float] = field(default_factory=dict)
    """since when no node can hold items with such needs"""

    def see(self, nodes: Nodes) -> None:
        """Take note of the nodes there are now."""
        self.nodes = nodes
        self._homeless = {needs: since for needs, since in self._homeless.items() if not self.able(needs)}

    def room(self, needs: Needs) -> int:
        """How many items with such needs all nodes can hold; at least one is tried."""
        bounded = self.bounded(needs)
        return max(1, sum(_times(node, bounded) for node in self.nodes.values()))

    def bounded(self, needs: Needs) -> Needs:
        """The needs; where no node has so many CPUs or so much memory, all of the node that comes nearest.

        More threads than CPUs change no number, and the memory is an estimate.
        """
        able = [n for n in self.nodes.values() if n.get("CPU") and n.get("GPU", 0) >= needs.gpus]
        fits = [(min(n.get("memory", 0), needs.memory), min(n["CPU"], needs.cpus)) for n in able]
        memory, cpus = max(fits, default=(needs.memory, needs.cpus))
        return replace(needs, memory=int(memory), cpus=cpus)

    def home(self, needs: Needs) -> str | None:
        """The node of a group; a new group, or one whose node is gone, gets the one with the fewest for its CPUs."""
        if needs.group is None:
            return None
        bounded = self.bounded(replace(needs, memory=max(needs.memory, needs.largest)))
        able = {name: node for name, node in self.nodes.items() if _times(node, bounded)}
        if self._homes.get(needs.group) not in able and able:
            count = Counter(self._homes.values())
            self._homes[needs.group] = min(able, key=lambda name: (count[name] / able[name]["CPU"], name))
        return self._homes.get(needs.group)

    def able(self, needs: Needs) -> bool:
        """Whether some node can hold an item with just such needs."""
        return any(_times(node, needs) for node in self.nodes.values())

    def is_hopeless(self, needs: Needs) -> bool:
        """Whether no node was able for long; the time begins when this is first asked while none is."""
        kind = replace(needs, group=None)
        if self.able(needs):
            return False
        return time.monotonic() - self._homeless.setdefault(kind, time.monotonic()) > PATIENCE


def said(needs: Needs) -> str:
    """Needs in words."""
    parts = [f"{needs.cpus:g} CPUs", f"{needs.gpus:g} GPUs" if needs.gpus else ""]
    parts += [f"{needs.memory / 1e9:.3g} GB of memory" if needs.memory else ""]
    return ", ".join(part for part in parts if part)


def _times(node: dict[str, float], needs: Needs) -> int:
    """How many items with such needs a node can hold."""
    times = [node.get("CPU", 0) / needs.cpus]
    times += [node.get("GPU", 0) / needs.gpus] if needs.gpus else []
    times += [node.get("memory", 0) / needs.memory] if needs.memory else []
    return int(min(times))

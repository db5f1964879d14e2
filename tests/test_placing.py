"""Which node of a cluster gets what: items have what they need, groups have one home, and waiting has an end."""

from __future__ import annotations

import pytest

from skythaw.engines import node_placement
from skythaw.engines.engine import Needs
from skythaw.engines.node_placement import Placing

GB = 10**9
SMALL, LARGE = {"CPU": 4.0, "memory": 4.0 * GB}, {"CPU": 8.0, "memory": 32.0 * GB}
HEAD, WITH_GPU = {"CPU": 0.0, "memory": 90.0 * GB}, {"CPU": 2.0, "GPU": 1.0, "memory": 8.0 * GB}


@pytest.mark.parametrize(
    ("needs", "room"),
    [
        (Needs(), 12),
        (Needs(cpus=3), 3),
        (Needs(memory=3 * GB), 9),
        (Needs(memory=5 * GB), 6),
        (Needs(cpus=4, memory=20 * GB), 1),
    ],
)
def test_room_is_counted_node_by_node(needs, room):
    assert Placing({"small": SMALL, "large": LARGE, "head": HEAD}).room(needs) == room


def test_what_is_more_than_any_node_has_becomes_a_whole_node():
    nodes = Placing({"small": SMALL, "large": LARGE, "head": HEAD})
    assert nodes.bounded(Needs(cpus=64, memory=50 * GB)) == Needs(cpus=8, memory=32 * GB)
    assert nodes.room(Needs(cpus=64, memory=50 * GB)) == 1
    assert nodes.bounded(Needs(cpus=3, memory=GB)) == Needs(cpus=3, memory=GB)
    assert Placing({"gpu": WITH_GPU, **nodes.nodes}).bounded(Needs(cpus=6, gpus=1)) == Needs(cpus=2, gpus=1)


def test_cpus_and_memory_must_be_on_one_node():
    nodes = Placing({"wide": {"CPU": 16.0, "memory": 2.0 * GB}, "tall": {"CPU": 2.0, "memory": 64.0 * GB}})
    bounded = nodes.bounded(Needs(cpus=8, memory=10 * GB))
    assert nodes.able(bounded)
    assert bounded == Needs(cpus=2, memory=10 * GB)


def test_groups_are_shared_out_by_cpus_and_move_when_their_node_is_gone():
    nodes = Placing({"small": SMALL, "large": LARGE, "head": HEAD})
    homes = [nodes.home(Needs(group=str(number))) for number in range(6)]
    assert sorted(homes) == ["large"] * 4 + ["small"] * 2
    assert [nodes.home(Needs(group=str(number))) for number in range(6)] == homes
    nodes.see({"small": SMALL})
    assert {nodes.home(Needs(group=str(number))) for number in range(6)} == {"small"}
    assert nodes.home(Needs()) is None


def test_a_home_has_room_for_its_items():
    nodes = Placing({"small": SMALL, "large": LARGE})
    assert {nodes.home(Needs(group=str(number), memory=9 * GB)) for number in range(4)} == {"large"}


@pytest.fixture
def clock(monkeypatch):
    """Seconds, in a list: what time it is."""
    now = [1000.0]
    monkeypatch.setattr(node_placement.time, "monotonic", lambda: now[0])
    return now


def test_waiting_is_for_needs_not_for_each_item(clock):
    nodes, wanted = Placing({"small": SMALL}), Needs(gpus=1)
    assert not nodes.is_hopeless(wanted)
    clock[0] += node_placement.PATIENCE + 1
    assert nodes.is_hopeless(wanted)
    assert nodes.is_hopeless(Needs(gpus=1, group="another"))
    assert not nodes.is_hopeless(Needs(gpus=2)), "this is asked for the first time"
    nodes.see({"gpu": WITH_GPU})
    assert not nodes.is_hopeless(wanted)
    nodes.see({"small": SMALL})
    assert not nodes.is_hopeless(wanted), "there was a node meanwhile: the time begins anew"


def test_a_node_that_was_there_meanwhile_counts_though_nobody_asked(clock):
    nodes = Placing({"small": SMALL})
    assert not nodes.is_hopeless(Needs(gpus=1))
    nodes.see({"gpu": WITH_GPU})
    clock[0] += 10 * node_placement.PATIENCE
    nodes.see({"small": SMALL})
    assert not nodes.is_hopeless(Needs(gpus=1))


def test_a_home_has_room_for_the_largest_item_of_its_group():
    nodes = Placing({"small": SMALL, "large": LARGE})
    homes = {nodes.home(Needs(group=str(number), memory=GB, largest=9 * GB)) for number in range(4)}
    assert homes == {"large"}

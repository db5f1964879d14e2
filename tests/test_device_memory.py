"""Activations in a device's memory: read once, within a room that a cell shares, and given back."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers_study import write_study
from skythaw.data.views import gathered
from skythaw.engines.engine import attempt
from skythaw.spec import Pixels, Study
from skythaw.stats.cell_predictions import read_log_probabilities
from skythaw.study import cell_sets, execute
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import RunSettings
from skythaw.study.run_study import run_study
from skythaw.tuning import labelled_images
from skythaw.tuning.frozen import device_memory
from skythaw.tuning.frozen.activation_files import VIEWS, Writer, create
from skythaw.tuning.frozen.device_memory import SHARE, DeviceActivations, DeviceRows, copied, room_on
from skythaw.tuning.labelled_images import LabelledImages, holding

CPU, GPU = torch.device("cpu"), torch.device("cuda")
OBJECTS = 20
ROOM = 200_000


@pytest.fixture
def kept(tmp_path):
    views, rows = np.divmod(np.arange(VIEWS * OBJECTS), OBJECTS)
    made = create(tmp_path / "kept", OBJECTS, ((2, 2, 3), (5,)), torch.float16)
    with Writer(made) as writer:
        writer.put(views, rows, (torch.rand(len(rows), 3, 2, 2), torch.rand(len(rows), 5)))
        writer.commit()
    return made


def test_when_the_room_is_full_only_what_is_not_held_is_read_from_the_files(kept, monkeypatch):
    held = DeviceActivations(kept, np.arange(OBJECTS), CPU, 30 * 2 * (12 + 5))
    assert held.bytes == 30 * 2 * (12 + 5)
    first = np.zeros(OBJECTS, np.int64), np.arange(OBJECTS)
    held.read(*first, CPU)
    asked, released = [], []

    def watched_copied(array, places, device):
        if array is kept.arrays[0]:
            asked.append(places.tolist())
        return copied(array, places, device)

    rng = np.random.default_rng(0)
    views, rows = rng.integers(0, 3, 40), rng.integers(0, OBJECTS, 40)
    expected = kept.read(views, rows, CPU)
    monkeypatch.setattr(device_memory, "copied", watched_copied)
    monkeypatch.setattr(device_memory, "release", released.append)
    for _ in range(2):
        found = held.read(views, rows, CPU)
        assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(expected, found, strict=True))
    places = np.unique(views * OBJECTS + rows)
    taken = places[places >= OBJECTS][:10].tolist()
    left = [place for place in (views * OBJECTS + rows).tolist() if place not in {*range(OBJECTS), *taken}]
    assert len(left) > 0
    assert asked == [taken, left, left]
    assert len(released) == 3 * len(kept.arrays), "pages that were read are no longer this process's memory"


def test_what_was_begun_while_scoring_goes_on_while_training(kept):
    held = DeviceActivations(kept, np.arange(OBJECTS), CPU, 10**6)
    with torch.inference_mode():
        held.read(np.zeros(2, np.int64), np.arange(2), CPU)
    some = np.ones(4, np.int64), np.arange(4)
    found, expected = held.read(*some, CPU), kept.read(*some, CPU)
    assert all(torch.equal(a, b) and not a.is_inference() for a, b in zip(found, expected, strict=True))


def said(out):
    with Ledger.read(out) as ledger:
        done = [entry for entry in ledger.entries() if entry.result]
    return {e.key: read_log_probabilities(out, e.key, "test", e.result.classes) for e in done}


def test_the_sets_of_a_cell_share_one_room_and_its_numbers_stay_the_same(here, cache, monkeypatch):
    write_study(here, replace={"seed = [0, 1]": "seed = [0]"})
    study, shares, held = Study.load(here / "study.toml"), [], []

    def run(out):
        run_study(study, RunSettings(here / out, cache, "serial", 3, "cpu", control=False))
        return said(here / out)

    def small_room(device, share):
        shares.append(share)
        held.append(0)
        return ROOM

    class Watched(DeviceActivations):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            held[-1] += self.bytes

    before = run("plain")
    monkeypatch.setattr(cell_sets, "room_on", small_room)
    monkeypatch.setattr(cell_sets, "DeviceActivations", Watched)
    after = run("held")
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)
    assert 0.9 * SHARE * ROOM < max(held) <= SHARE * ROOM
    assert set(shares) == {1.0}, "the serial engine runs one cell at a time"


@pytest.mark.soak
@pytest.mark.parametrize(
    ("share", "change"),
    [(0.0, {}), (0.3, {"crop = 32": "crop = 24\nsize = 32"})],
    ids=["as cut, copied each time", "resized, some held"],
)
def test_input_that_is_made_on_the_device_is_the_same_to_the_bit(share, change, here, cache, monkeypatch):
    """Crop, bands, stretch, size, views and shifts of a whole study, with nothing kept of the frozen part."""
    recipe = {"seed = [0, 1]": "seed = [0]", "epochs = 7": "epochs = 2\nshift = 2"}
    write_study(here, replace=recipe | change)
    study, takers = Study.load(here / "study.toml"), []

    def run(out):
        run_study(study, RunSettings(here / out, cache, "serial", 1, "cpu", cache_size=0, control=False))
        return said(here / out)

    def room(images, _):
        takers.append(DeviceRows((images.pixels,), len(images), CPU, int(share * images.pixels[images.rows].nbytes)))
        return replace(images, held=takers[-1] if share else None)

    before = run("plain")
    monkeypatch.setattr(LabelledImages, "made_on_cpu", property(lambda self: False))
    monkeypatch.setattr(labelled_images, "apply_views", gathered)
    monkeypatch.setattr(cell_sets, "holding", room)
    after = run("there")
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)
    assert {bool(taker.bytes) for taker in takers} == {share > 0}


def test_floats_and_a_cpus_images_are_made_on_the_cpu():
    pixels, rows = np.zeros((2, 8, 8, 3), np.uint8), np.arange(2)
    images = LabelledImages(pixels, rows, rows, Pixels(crop=8, size=8), (), ())
    assert images.made_on_cpu
    assert holding(images, 10**9).held is None
    there = replace(images, device=GPU)
    assert not there.made_on_cpu
    assert holding(there, 0).held is None
    assert holding(there, 200).held.bytes == 192, "one image of two"
    assert replace(there, pixels=pixels.astype(np.float32)).made_on_cpu


def test_a_cells_room_is_its_share_of_what_is_free_and_of_what_torch_keeps_unused(monkeypatch):
    for name, value in (("mem_get_info", (700, 1000)), ("memory_reserved", 250), ("memory_allocated", 150)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert room_on(GPU, 0.25) == 0.25 * 800
    assert room_on(CPU, 1.0) == 0


class Large:
    """A tensor of a cell."""


@pytest.mark.parametrize("fails", [False, True])
def test_after_a_cell_a_gpus_memory_is_given_back_when_nothing_holds_it_any_more(fails, monkeypatch):
    alive, made = [], []

    def cell(_):
        tensor = Large()
        made.append(weakref.ref(tensor))
        if fails:
            raise ValueError("no")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(made[0]() is not None))
    assert (attempt(cell, 1).error is not None) == fails
    assert alive == [False]


class SeenError(Exception):
    """Enough was seen."""


def test_a_cell_beside_others_has_a_share_of_the_room(here, cache, monkeypatch):
    given = []

    def locations(*said):
        given.append(said[-1])
        raise SeenError

    monkeypatch.setattr(execute, "Locations", locations)
    settings = RunSettings(here / "run", cache, "processes", 4, "cpu", control=False)
    with pytest.raises(SeenError):
        run_study(Study.load(here / "study.toml"), settings)
    assert given == [0.25]

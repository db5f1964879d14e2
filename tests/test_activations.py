"""Kept activations: the same bits as computed ones, whatever happens to the folder they are in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers_networks import NAMED, SMALL, every_named, every_network, fresh, network
from helpers_soak import soak
from skythaw.backbones.cut import cut, prefixes
from skythaw.backbones.fold_batchnorm import fold
from skythaw.data.network_input import batch_input
from skythaw.errors import CutError
from skythaw.spec import Pixels, Recipe
from skythaw.tuning.frozen.activation_files import VIEWS, Writer, as_kept, create, find
from skythaw.tuning.frozen.crossing import SLICE, compute, crossing
from skythaw.tuning.frozen.device_memory import DeviceActivations, DeviceRows
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.strategies.top import top
from skythaw.tuning.thawed_network import Head, ThawedNetwork
from skythaw.tuning.training_loop import fit, predict

OBJECTS = 20
SIZES = {"xception": 96, "nasnet_mobile": 96}
PRECISIONS = soak(
    [(name, p) for name in SMALL for p in ("float16", "float32")] + [(name, "float16") for name in NAMED],
    [("timm:test_resnet", "float16"), ("timm:test_efficientnet", "float32"), ("mobilenetv2", "float16")],
)


def images(size, objects=OBJECTS, precision=torch.float16):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (objects, size, size, 3), dtype=np.uint8)
    spec = Pixels(crop=size, size=size)
    return LabelledImages(
        pixels, np.arange(objects), np.arange(objects) % 3, spec, (0.5,) * 3, (0.5,) * 3, precision=precision
    )


def model_of(net, depth):
    head = Head(net.channels, 3, 0.0, torch.Generator().manual_seed(0))
    return ThawedNetwork(net, top(len(net.blocks), depth), head, "running").to(memory_format=torch.channels_last)


def filled(folder, model, some, views, rows):
    """The images with what was computed for some views and rows, kept."""
    values = compute(model, some, rows, views)
    shapes = tuple(tuple(as_kept(value).shape[1:]) for value in values)
    dtype = torch.float32 if model.cut_depth == 0 else some.precision
    kept = create(folder, len(some.pixels), shapes, dtype)
    with Writer(kept) as writer:
        writer.put(views, rows, values)
        writer.commit()
    return replace(some, kept=find(folder, len(some.pixels)))


def everything(objects=OBJECTS):
    return np.repeat(np.arange(VIEWS), objects), np.tile(np.arange(objects), VIEWS)


@pytest.mark.parametrize(("name", "precision"), PRECISIONS)
def test_training_on_kept_activations_gives_the_same_bits(name, precision, tmp_path):
    """Networks x depths: weights and predictions of a run that reads everything, and of one that reads nothing."""
    size = SIZES.get(name, 48)
    count = len(network(name).blocks)
    recipe = Recipe(epochs=2, batch=7, lr=1e-3)
    for depth in sorted({0, 1, count // 2, count - 1} if name in SMALL else {count // 3}):
        trained = []
        for keep in (False, True):
            model = model_of(fresh(name), depth)
            some = images(size, precision=getattr(torch, precision))
            if keep:
                some = filled(tmp_path / f"{depth}", model, some, *everything())
            fit(model, some, some, recipe, 0)
            trained.append((model.trained(), predict(model, some, recipe)))
        (plain, p), (kept, q) = trained
        assert all(torch.equal(plain[key], kept[key]) for key in plain), depth
        assert np.array_equal(p, q), depth


@every_network
def test_one_pass_gives_what_each_cut_gives(name):
    net = fresh(name).requires_grad_(False)
    fold(net.features)
    count = len(net.blocks)
    depths = [d for d in sorted({0, 1, 2, count // 2, count - 1}) if d < count]
    x = torch.randn(2, 3, SIZES.get(name, 48), SIZES.get(name, 48))
    with torch.inference_mode():
        together = prefixes(net, depths)(x)
        for depth, values in zip(depths, together, strict=True):
            alone = cut(net, depth).prefix(x)
            assert len(values) == len(alone)
            assert all(torch.equal(a, b) for a, b in zip(values, alone, strict=True)), depth


def test_all_blocks_have_no_prefix():
    net = network("timm:test_resnet")
    with pytest.raises(CutError, match="no prefix"):
        prefixes(net, [0, len(net.blocks)])


@every_named
def test_a_value_does_not_depend_on_the_images_beside_it(name):
    """Else what is kept for one batch would not be what another batch computes."""
    model = model_of(fresh(name), len(network(name).blocks) // 3)
    some = images(SIZES.get(name, 48), precision=torch.float32)
    rows, views = np.arange(OBJECTS), np.arange(OBJECTS) % 8
    whole = compute(model, some, rows, views)
    order = np.random.default_rng(1).permutation(OBJECTS)
    for chosen in (order, order[:3], order[5:6], np.array([7] * 9), order[: SLICE + 1]):
        part = compute(model, some, chosen, views[chosen])
        assert all(torch.equal(a, b[chosen]) for a, b in zip(part, whole, strict=True))


def test_what_is_missing_is_computed_and_what_is_there_is_read(tmp_path, monkeypatch):
    model = model_of(fresh("densenet121"), 30)
    some = images(48)
    views, rows = np.arange(OBJECTS) % 8, np.arange(OBJECTS)
    expected = compute(model, some, rows, views)
    some = filled(tmp_path / "kept", model, some, views[::2], rows[::2])
    asked = []
    monkeypatch.setattr(LabelledImages, "batch", _watched(LabelledImages.batch, asked))
    assert len(expected) > 1, "several tensors cross"
    for values in (crossing(model, some, rows, views), crossing(model, some, rows[::2], views[::2])):
        step = OBJECTS // len(values[0])
        assert all(torch.equal(a, b[::step]) for a, b in zip(values, expected, strict=True))
        assert all(a.stride() == b.stride() for a, b in zip(values, expected, strict=True) if step == 1)
    assert sorted(set(np.concatenate(asked).tolist())) == rows[1::2].tolist(), "only what was missing was computed"


def _watched(batch, asked):
    def watched(self, chosen, *rest):
        asked.append(chosen)
        return batch(self, chosen, *rest)

    return watched


def test_shifted_images_are_never_read(tmp_path):
    model = model_of(fresh("timm:test_resnet"), 1)
    some = images(48)
    some = replace(some, spec=Pixels(crop=40, size=40))
    plain = compute(model, some, np.arange(3), np.zeros(3, np.int64))
    some = filled(tmp_path / "kept", model, some, *everything())
    shifts = np.array([[2, -1], [0, 3], [-4, 0]])
    moved = crossing(model, some, np.arange(3), np.zeros(3, np.int64), shifts)
    assert not any(torch.equal(a, b) for a, b in zip(plain, moved, strict=True))
    x = batch_input(some.pixels, np.arange(3), some.spec, shifts)
    assert torch.equal(some.batch(np.arange(3), None, shifts), (x - 0.5) / 0.5)


def test_values_are_on_the_disk_before_they_are_marked(tmp_path, monkeypatch):
    """A power cut between the two loses work, and never leaves a mark without its value."""
    kept = create(tmp_path / "kept", 2, ((3,),), torch.float32)
    names = {file.stat().st_ino: file.name for file in kept.folder.iterdir()}
    synced, sync = [], os.fsync

    def watched_sync(handle):
        synced.append((names[os.fstat(handle).st_ino], (kept.folder / "present").read_bytes().count(1)))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched_sync)
    with Writer(kept) as writer:
        writer.put(np.array([0]), np.array([1]), (torch.ones(1, 3),))
        writer.commit()
    assert synced == [("values-0", 0), ("checks", 0), ("present", 1)]


class TestFolder:
    """What happens to the folder."""

    def make(self, folder, dtype=torch.float16):
        return create(folder, 10, ((2, 2, 3), (5,)), dtype)

    def values(self, count, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(count, 3, 2, 2, generator=generator), torch.randn(count, 5, generator=generator)

    @pytest.mark.parametrize("file", ["values-0", "values-1", "checks", "present"])
    def test_one_flipped_bit_is_found_and_the_value_counts_as_absent(self, tmp_path, file):
        kept, views, rows = self.make(tmp_path / "a"), np.array([0, 7, 3]), np.array([9, 0, 4])
        with Writer(kept) as writer:
            writer.put(views, rows, self.values(3))
            writer.commit()
        size = (tmp_path / "a" / file).stat().st_size // (VIEWS * 10)
        with (tmp_path / "a" / file).open("r+b") as opened:
            opened.seek((7 * 10 + 0) * size)
            byte = opened.read(1)[0] ^ 1
            opened.seek(-1, os.SEEK_CUR)
            opened.write(bytes([byte]))
        found = find(tmp_path / "a", 10)
        assert found.absent(views, rows).tolist() == [False, True, False]
        assert found.absent(views, rows, verify=False).tolist() == [False, file == "present", False]

    def test_what_is_put_comes_back_after_commit(self, tmp_path):
        kept = self.make(tmp_path / "a", torch.float32)
        values, views, rows = self.values(3), np.array([0, 7, 3]), np.array([9, 0, 4])
        with Writer(kept) as writer:
            writer.put(views, rows, values)
            assert kept.absent(views, rows).all(), "not before it is on the disk"
            writer.commit()
        assert not find(tmp_path / "a", 10).absent(views, rows).any()
        back = kept.read(views[::-1].copy(), rows[::-1].copy(), torch.device("cpu"))
        assert all(torch.equal(a.flip(0), b) for a, b in zip(back, values, strict=True))
        assert kept.absent(np.array([1]), np.array([9])).all()

    def test_half_precision_rounds_to_nearest(self, tmp_path):
        kept = self.make(tmp_path / "a")
        values = self.values(1)
        with Writer(kept) as writer:
            writer.put(np.array([0]), np.array([0]), values)
            writer.commit()
        back = kept.read(np.array([0]), np.array([0]), torch.device("cpu"))
        assert all(torch.equal(a, b.half().float()) for a, b in zip(back, values, strict=True))

    def test_room_that_is_not_used_takes_no_space(self, tmp_path):
        kept = create(tmp_path / "a", 100_000, ((64, 64, 64),), torch.float16)
        files = list(kept.folder.iterdir())
        assert sum(f.stat().st_size for f in files) > 10**11
        assert sum(f.stat().st_blocks * 512 for f in files) < 10**7

    @pytest.mark.parametrize("harm", ["cut", "gone", "json", "shape", "objects"])
    def test_a_damaged_folder_is_not_found_and_made_anew(self, harm, tmp_path):
        folder = self.make(tmp_path / "a").folder
        about = json.loads((folder / "about.json").read_text())
        if harm == "cut":
            os.truncate(folder / "values-0", 100)
        elif harm == "gone":
            (folder / "present").unlink()
        elif harm == "json":
            (folder / "about.json").write_text("{")
        elif harm == "shape":
            (folder / "about.json").write_text(json.dumps(about | {"shapes": [[2, 2, 3], "x"]}))
        assert find(folder, 11 if harm == "objects" else 10) is None
        if harm != "objects":
            assert self.make(folder).absent(*everything(10)).all()
            assert not [f for f in tmp_path.iterdir() if f.name.startswith(".making")]

    def test_a_full_disk_is_an_error_and_not_a_crash(self, tmp_path):
        """The limit on file size stands for it: both make the write fail."""
        script = (
            "import resource, signal, sys, numpy as np, torch\n"
            "from pathlib import Path\n"
            "from skythaw.tuning.frozen.activation_files import Writer, create\n"
            "kept = create(Path(sys.argv[1]), 100, ((1000,),), torch.float32)\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))\n"
            "writer = Writer(kept)\n"
            "try: writer.put(np.zeros(100, int), np.arange(100), (torch.ones(100, 1000),))\n"
            "except OSError as error: print('refused', error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path / "a"], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("refused")
        assert find(tmp_path / "a", 100).absent(*everything(100)).all()

    @pytest.mark.soak
    def test_killed_while_writing_it_holds_truth(self, tmp_path):
        """Whatever is present after a kill is what was put, whole."""
        script = (
            "import sys, numpy as np, torch\n"
            "from pathlib import Path\n"
            "from skythaw.tuning.frozen.activation_files import Writer, create\n"
            "kept = create(Path(sys.argv[1]), 10000, ((500,),), torch.float32)\n"
            "writer = Writer(kept)\n"
            "print('ready', flush=True)\n"
            "for row in range(10000):\n"
            "    writer.put(np.zeros(1, int), np.array([row]), (torch.full((1, 500), float(row + 1)),))\n"
            "    if row % 7 == 6: writer.commit()\n"
        )
        found = 0
        for wait in (0.05, 0.3, 0.6):
            process = subprocess.Popen([sys.executable, "-c", script, tmp_path / "a"], stdout=subprocess.PIPE)
            process.stdout.readline()
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
            kept = find(tmp_path / "a", 10000)
            rows = np.flatnonzero(~kept.absent(np.zeros(10000, int), np.arange(10000)))
            (values,) = kept.read(np.zeros(len(rows), int), rows, torch.device("cpu"))
            assert torch.equal(values, torch.from_numpy(rows + 1.0).float()[:, None].expand(-1, 500))
            found = len(rows)
        assert found > 0

    @pytest.mark.soak
    def test_two_processes_make_one_folder(self, tmp_path):
        script = (
            "import sys, torch\nfrom pathlib import Path\nfrom skythaw.tuning.frozen.activation_files import create\n"
            "for n in range(60): create(Path(sys.argv[1]) / str(n), 50, ((4,), (2, 2, 2)), torch.float16)\n"
        )
        both = [subprocess.Popen([sys.executable, "-c", script, tmp_path]) for _ in range(2)]
        assert [process.wait() for process in both] == [0, 0]
        assert sorted(int(f.name) for f in Path(tmp_path).iterdir()) == list(range(60))
        assert all(find(tmp_path / str(n), 50) for n in range(60))


@pytest.mark.parametrize("room", [0, 60, 10**9], ids=["no room", "room for some", "room for all"])
def test_held_in_a_devices_memory_they_are_the_same_and_read_once(tmp_path, room, monkeypatch):
    """The device is the CPU here: the level above the files is the same code."""
    model, some = model_of(fresh("timm:test_resnet"), 2), images(32)
    views, rows = everything()
    kept = filled(tmp_path / "kept", model, some, views, rows).kept
    each = sum(array.itemsize * array.shape[1] for array in kept.arrays)
    held = DeviceActivations(kept, np.arange(OBJECTS), torch.device("cpu"), min(room, VIEWS * OBJECTS) * each)
    reads = []
    # what is taken from the files is told to nobody
    monkeypatch.setattr(DeviceRows, "_take", watched(DeviceRows._take, reads))
    rng = np.random.default_rng(0)
    for _ in range(20):
        some_views, some_rows = rng.integers(0, VIEWS, 5), rng.integers(0, OBJECTS, 5)
        expected = kept.read(some_views, some_rows, torch.device("cpu"))
        found = held.read(some_views, some_rows, torch.device("cpu"))
        assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(expected, found, strict=True))
    assert len(reads) == len(set(reads)) <= room, "each value at most once, and never more than there is room for"
    assert bool(reads) == bool(room)


def watched(take, reads):
    def taking(self, places):
        reads.extend(places.tolist())
        take(self, places)

    return taking

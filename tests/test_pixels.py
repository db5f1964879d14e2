"""Crop, stretch, resize and views: exact pixels, the centre kept, and order does not matter."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from helpers_data import picture
from skythaw.data.network_input import batch_input, device_input, normalise
from skythaw.data.views import apply_views, gathered
from skythaw.errors import SpecError
from skythaw.spec import Pixels

CUTOUTS = np.stack([picture(number, 20) for number in range(9)])
ROWS = np.array([3, 0, 8, 3])


def test_the_whole_cutout_as_it_is():
    x = batch_input(CUTOUTS, ROWS, Pixels(crop=20, size=20))
    assert x.shape == (4, 3, 20, 20)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal((x * 255).round().to(torch.uint8), torch.from_numpy(CUTOUTS[ROWS]).permute(0, 3, 1, 2))
    assert batch_input(CUTOUTS, ROWS[:0], Pixels(crop=20, size=20)).shape == (0, 3, 20, 20)


@pytest.mark.parametrize(("crop", "first"), [(8, 6), (7, 6), (20, 0), (19, 0)])
def test_the_crop_begins_at_half_the_difference(crop, first):
    x = batch_input(CUTOUTS, ROWS, Pixels(crop=crop, size=crop))
    right = CUTOUTS[ROWS, first : first + crop, first : first + crop]
    assert torch.equal((x * 255).round().to(torch.uint8), torch.from_numpy(right).permute(0, 3, 1, 2))


def test_shifts_move_each_crop_by_its_own():
    shifts = np.array([[0, 0], [-6, 6], [3, -2], [6, 1]])
    x = batch_input(CUTOUTS, ROWS, Pixels(crop=8, size=8), shifts)
    for image, row, (dy, dx) in zip(x, ROWS, shifts, strict=True):
        right = CUTOUTS[row, 6 + dy : 14 + dy, 6 + dx : 14 + dx]
        assert np.array_equal((image * 255).round().byte().permute(1, 2, 0).numpy(), right)
    plain = batch_input(CUTOUTS, ROWS, Pixels(crop=8, size=8))
    assert torch.equal(plain, batch_input(CUTOUTS, ROWS, Pixels(crop=8, size=8), np.zeros((4, 2), int)))


def test_a_crop_that_does_not_fit():
    spec = Pixels(crop=8, size=8)
    for cutout, shift, message in (
        (7, 0, "crop = 8 is larger than the cutouts, which have 7 pixels a side"),
        (20, 7, "with shift = 7 needs cutouts of 22 pixels; these have 20, so shift can be 6 at most"),
        (9, 9, "so shift can be 0 at most"),
    ):
        with pytest.raises(SpecError, match=message):
            spec.require_room(cutout, shift)
    spec.require_room(20, 6)
    with pytest.raises(SpecError, match="with shift = 7 needs cutouts of 22 pixels"):
        batch_input(CUTOUTS, ROWS, spec, np.array([[0, 0], [0, -7], [0, 0], [0, 0]]))


@pytest.mark.parametrize("stretch", ["linear", "sqrt", "asinh"])
def test_stretches_keep_black_white_and_order(stretch):
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    x = batch_input(ramp, np.array([0]), Pixels(crop=16, size=16, stretch=stretch))[0, 0].flatten()
    assert x[0] == 0
    assert x[-1] == 1
    assert (x.diff() > 0).all()
    value = torch.arange(256, dtype=torch.float64) / 255
    right = {"linear": value, "sqrt": value.sqrt(), "asinh": (10 * value).asinh() / torch.tensor(10.0).asinh()}[stretch]
    assert torch.allclose(x.double(), right, atol=1e-7)


def test_8_bit_values_are_stretched_from_a_table_bit_by_bit_as_ever():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    x = np.arange(256) / 255
    for stretch, right in (("linear", x), ("sqrt", np.sqrt(x)), ("asinh", np.arcsinh(10.0 * x) / np.arcsinh(10.0))):
        for said in (stretch, {"kind": stretch, "low": 0, "high": [255, 255, 255]}):
            found = batch_input(ramp, np.array([0]), Pixels(crop=16, size=16, stretch=said))
            assert np.array_equal(found[0, 1].flatten().numpy(), right.astype(np.float32))
    ends = {"kind": "linear", "low": 51, "high": 204}
    found = batch_input(ramp, np.array([0]), Pixels(crop=16, size=16, stretch=ends))[0, 1].flatten().numpy()
    assert np.array_equal(found, ((np.arange(256.0) - 51) / 153).clip(0, 1).astype(np.float32))


def test_floats_are_stretched_band_by_band():
    pixels = np.array([-1, 0, 0.5, 1, 2, 3, 4, 9], np.float32).reshape(1, 1, 8, 1).repeat(8, 1).repeat(2, 3)
    stretch = {"kind": "asinh", "low": [0, -1], "high": [1, 3], "softening": [10, 2]}
    spec = Pixels(crop=8, size=8, bands=["g", "r"], stretch=stretch)
    x = batch_input(pixels, np.array([0]), spec, bands=("g", "r"))[0, :, 3]
    scaled = torch.tensor([[0, 0, 0.5, 1, 1, 1, 1, 1], [0, 0.25, 0.375, 0.5, 0.75, 1, 1, 1]])
    softening = torch.tensor([[10.0], [2.0]])
    assert torch.allclose(x, (softening * scaled).asinh() / softening.asinh(), atol=1e-6)
    for kind, right in (("linear", scaled[1]), ("sqrt", scaled[1].sqrt())):
        spec = Pixels(crop=8, size=8, bands=[1], stretch={"kind": kind, "low": -1, "high": 3})
        assert torch.allclose(batch_input(pixels, np.array([0]), spec, bands=("g", "r"))[0, 0, 3], right, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_bands_are_taken_in_the_order_asked_for(dtype):
    pixels = np.random.default_rng(0).integers(0, 200, (4, 16, 16, 5)).astype(dtype)
    shifts = np.array([[1, -1]] * 4)
    stretch = {"kind": "linear", "low": 0, "high": 255}
    for bands, places in ((["i", "r", "g"], [3, 2, 1]), ([4, "u"], [4, 0]), (["z"], [4]), (None, [0, 1, 2, 3, 4])):
        spec = Pixels(crop=8, size=8, bands=bands, stretch=stretch)
        for moved, top, left in ((None, 4, 4), (shifts, 5, 3)):
            x = batch_input(pixels, np.arange(4), spec, moved, bands=tuple("ugriz"))
            assert x.is_contiguous(memory_format=torch.channels_last)
            right = pixels[:, top : top + 8, left : left + 8, places]
            assert torch.equal((x * 255).round().permute(0, 2, 3, 1), torch.from_numpy(right.astype(np.float32)))


@pytest.mark.parametrize("size", [12, 20, 32])
def test_resizing_keeps_range_flat_images_and_the_centre(size):
    flat = np.full((1, 20, 20, 3), 77, np.uint8)
    assert torch.allclose(
        batch_input(flat, np.array([0]), Pixels(crop=20, size=size)), torch.tensor(77 / 255), atol=1e-6
    )
    checks = ((np.indices((20, 20)).sum(0) // 2 % 2) * 255).astype(np.uint8)[None, :, :, None].repeat(3, 3)
    x = batch_input(checks, np.array([0]), Pixels(crop=20, size=size))
    assert x.min() >= 0
    assert x.max() <= 1
    spot = np.zeros((1, 20, 20, 3), np.uint8)
    spot[:, 9:11, 9:11] = 255
    x = batch_input(spot, np.array([0]), Pixels(crop=20, size=size))[0, 0]
    grid = torch.arange(size) + 0.5
    assert (x.sum(0) * grid).sum() / x.sum() == pytest.approx(size / 2, abs=1e-4)
    assert (x.sum(1) * grid).sum() / x.sum() == pytest.approx(size / 2, abs=1e-4)


def test_normalise():
    x = batch_input(CUTOUTS, ROWS, Pixels(crop=8, size=8))
    out = normalise(x, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    assert torch.allclose(out[:, 1], (x[:, 1] - 0.2) / 0.6)
    assert out.is_contiguous(memory_format=torch.channels_last)


def view(image: np.ndarray, k: int) -> np.ndarray:
    """uint8 [y, x, band] in view k, said with numpy."""
    return np.rot90(image[:, ::-1] if k >= 4 else image, k % 4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_views(layout):
    x = batch_input(CUTOUTS[:8], np.arange(8), Pixels(crop=20, size=20)).contiguous(memory_format=layout)
    before = x.clone()
    for shift in range(8):
        views = (torch.arange(8) + shift) % 8
        out = apply_views(x, views)
        assert out.is_contiguous(memory_format=layout)
        for image, cutout, k in zip(out, CUTOUTS, views.tolist(), strict=False):
            assert np.array_equal((image * 255).round().byte().permute(1, 2, 0).numpy(), view(cutout, k))
    assert torch.equal(x, before)
    assert torch.equal(apply_views(x, torch.zeros(8, dtype=torch.int64)), x)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(
    "spec",
    [
        Pixels(crop=9, size=9),
        Pixels(crop=12, size=20, stretch="asinh"),
        Pixels(crop=12, size=7, bands=("r", "g")),
        Pixels(crop=12, size=12, stretch={"kind": "sqrt", "low": [0, 10, 20], "high": [200, 250, 255]}),
    ],
    ids=["plain", "larger", "two bands, smaller", "each band apart"],
)
def test_input_made_on_a_device_is_that_of_the_processor(spec, shifted):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (10, 20, 21, 3), dtype=np.uint8)
    rows = rng.integers(0, 10, 16)
    shifts = rng.integers(-4, 5, (16, 2)) if shifted else None
    here = batch_input(pixels, rows, spec, shifts, ("g", "r", "i"))
    there = device_input(torch.from_numpy(pixels[rows]), spec, shifts, ("g", "r", "i"))
    assert torch.equal(here, there)
    assert here.stride() == there.stride()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_views_in_one_pass_are_the_same(layout):
    """As on a GPU."""
    x = batch_input(CUTOUTS, np.arange(64) % len(CUTOUTS), Pixels(crop=19, size=19)).contiguous(memory_format=layout)
    views = torch.randint(0, 8, (64,), generator=torch.Generator().manual_seed(0))
    out = gathered(x, views)
    assert torch.equal(out, apply_views(x, views))
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(gathered(x[:0], views[:0]), x[:0])


def test_the_eight_views_differ():
    x = batch_input(CUTOUTS, np.zeros(8, int), Pixels(crop=20, size=20))
    out = apply_views(x, torch.arange(8))
    assert len({image.numpy().tobytes() for image in out}) == 8


@pytest.mark.parametrize(("crop", "size"), [(8, 8), (20, 20), (12, 9), (12, 20), (20, 12)])
def test_crop_and_resize_commute_with_views(crop, size):
    """For an even difference of cutout and crop: both orders give the same input."""
    spec = Pixels(crop=crop, size=size, stretch="asinh")
    for k in range(8):
        turned = np.stack([view(image, k) for image in CUTOUTS])
        first = batch_input(turned, ROWS, spec)
        last = apply_views(batch_input(CUTOUTS, ROWS, spec), torch.full((4,), k))
        if crop == size:
            assert torch.equal(first, last)
        assert torch.allclose(first, last, rtol=0, atol=1e-6)


def test_memory_does_not_grow_with_the_objects_read(tmp_path):
    """Every image of a 150 MB file is read; the process keeps next to nothing of it."""
    script = """
        import sys
        from pathlib import Path
        import numpy as np
        from skythaw.data.network_input import batch_input
        from skythaw.spec import Pixels

        pixels = np.memmap(sys.argv[1], dtype=np.uint8, mode="r", shape=(3072, 128, 128, 3))
        held = lambda: int(Path("/proc/self/status").read_text().split("RssFile:")[1].split()[0]) / 1024
        spec = Pixels(crop=64, size=64)
        batch_input(pixels, np.arange(64), spec)
        before, most = held(), 0
        for start in range(0, 3072, 64):
            batch_input(pixels, np.arange(start, start + 64), spec)
            most = max(most, held())
        print(most - before)
    """
    file = tmp_path / "pixels"
    file.write_bytes(bytes(3072 * 128 * 128 * 3))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), file], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 10, "MB"

"""Decoded images: exact, one build for any number of processes, none torn by a kill, every bad image named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers_data import encode, files_of_at_most, make, picture
from skythaw.data import decode as decoding
from skythaw.data import pixel_store
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import BrokenImageError, decode, probe
from skythaw.data.fits import encode_fits
from skythaw.data.pixel_store import open_store
from skythaw.errors import DataError, OutputError

HERE = Path(__file__).parent


def test_every_pixel_is_the_decoded_one_and_the_second_opening_decodes_nothing(tmp_path):
    cutouts = make(tmp_path / "a.parquet")
    seen = []
    first = open_store(cutouts, tmp_path / "cache", progress=lambda items, total: seen.append(total) or items)
    assert first.pixels.shape == (36, 16, 16, 3)
    assert first.pixels.dtype == np.uint8
    for row, (name, data, _) in enumerate(cutouts.images()):
        assert np.array_equal(first.pixels[row], decode(data, name))
    assert first.broken == {}
    assert first.usable.all()
    second = open_store(cutouts, tmp_path / "cache", progress=lambda items, total: seen.append(total) or items)
    assert np.array_equal(first.pixels, second.pixels)
    assert seen == [36]
    with pytest.raises(ValueError, match="read-only"):
        second.pixels[0] = 1


def test_broken_images_are_refused_or_left_out(tmp_path):
    good = encode(picture(0))
    changes = {0: good[: len(good) // 2], 3: b"<html>429</html>", 4: b"", 35: good[:-8]}
    cutouts = make(tmp_path / "a.parquet", image=changes)
    with pytest.raises(
        DataError, match=r"object 'obj00000' is broken: .*[Tt]runcated.*skip_broken = true, or --skip-broken"
    ):
        open_store(cutouts, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache" / "pixels").iterdir() if path.suffix != ".lock"]
    for _ in range(2):
        opened = open_store(cutouts, tmp_path / "cache", skip_broken=True)
        assert list(opened.broken) == ["obj00000", "obj00003", "obj00004", "obj00035"]
        assert np.flatnonzero(~opened.usable).tolist() == [0, 3, 4, 35]
        assert not opened.pixels[[0, 3, 4, 35]].any()
        assert opened.pixels.shape == (36, 16, 16, 3)
        assert np.array_equal(opened.pixels[1], picture_of(cutouts, 1))
    with pytest.raises(DataError, match="is broken"):
        open_store(cutouts, tmp_path / "cache")
    assert "begins with b'<html>42'" in opened.broken["obj00003"]
    assert opened.broken["obj00004"] == "it has no bytes"


def picture_of(cutouts, row):
    name, data, _ = next(cutouts.images(row))
    return decode(data, name)


def test_one_flipped_bit_is_found_by_the_checksum(tmp_path):
    """T16: any bit, any image; the file stays readable, only that image is broken."""
    path = make(tmp_path / "a.parquet").paths[0]
    whole = path.read_bytes()
    cutouts = read_cutouts(path)
    rng = np.random.default_rng(0)
    for trial, (row, (name, data, _)) in enumerate(zip(range(36), cutouts.images(), strict=True)):
        at = whole.index(data) + int(rng.integers(len(data)))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << int(rng.integers(8))]) + whole[at + 1 :])
        opened = open_store(read_cutouts(path), tmp_path / str(trial), skip_broken=True)
        assert opened.broken == {name: "its bytes differ from their checksum"}
        assert np.flatnonzero(~opened.usable).tolist() == [row]


def test_several_sizes_and_nothing_readable(tmp_path):
    cutouts = make(tmp_path / "a.parquet", image={5: encode(picture(0, 20)), 6: encode(np.zeros((8, 9, 3), np.uint8))})
    with pytest.raises(DataError, match=r"3 sizes: 16 x 16 px \(34 images\), 20 x 20 px \(1 images\), 9 x 8 px"):
        open_store(cutouts, tmp_path / "cache")
    cutouts = make(tmp_path / "a.parquet", 3, image=dict.fromkeys(range(3), b"x"))
    with pytest.raises(DataError, match="none of the 3 images can be read; the first is 'obj00000'"):
        open_store(cutouts, tmp_path / "cache", skip_broken=True)


def test_floats_are_kept_as_they_are(tmp_path):
    wanted = [np.random.default_rng(n).normal(size=(16, 16, 5)).astype(np.float32) for n in range(36)]
    files = {n: encode_fits(image, "ugriz") for n, image in enumerate(wanted)}
    opened = open_store(make(tmp_path / "a.parquet", image=files | {3: b"no"}), tmp_path / "cache", skip_broken=True)
    assert opened.pixels.dtype == np.float32
    assert opened.bands == tuple("ugriz")
    assert not opened.pixels[3].any()
    assert all(np.array_equal(opened.pixels[n], wanted[n]) for n in range(36) if n != 3)


def test_a_set_of_two_kinds_or_of_other_bands(tmp_path):
    flat = np.zeros((16, 16, 2), np.float32)
    few = {n: encode_fits(flat, "gr") for n in (3, 4)}
    with pytest.raises(
        DataError,
        match=r"2 kinds: 8 bits, such as JPEG or PNG \(34 images\), floats, .* \(2 images\); all must be of one",
    ):
        open_store(make(tmp_path / "a.parquet", image=few), tmp_path / "cache")
    many = {n: encode_fits(flat, "gr" if n else "rg") for n in range(36)}
    with pytest.raises(DataError, match=r"2 sets of bands: g, r \(35 images\), r, g \(1 images\); all must have"):
        open_store(make(tmp_path / "b.parquet", image=many), tmp_path / "cache")


def test_a_store_of_the_first_version_is_opened(tmp_path):
    """It said neither type nor bands."""
    cutouts = make(tmp_path / "a.parquet")
    right = np.array(open_store(cutouts, tmp_path / "cache").pixels)
    (about,) = (tmp_path / "cache" / "pixels").glob("*/about.json")
    old = {name: json.loads(about.read_text())[name] for name in ("format", "shape", "broken")}
    about.write_text(json.dumps(old))
    again = pixel_store.find_store(cutouts, tmp_path / "cache")
    assert np.array_equal(again.pixels, right)
    assert again.bands == ("red", "green", "blue")


def test_one_flipped_bit_in_a_store_is_found_when_it_is_verified_and_the_images_are_decoded_again(tmp_path):
    cutouts, rng, rebuilt = make(tmp_path / "a.parquet"), np.random.default_rng(0), []
    right = np.array(open_store(cutouts, tmp_path / "cache").pixels)
    (folder,) = (path for path in (tmp_path / "cache" / "pixels").iterdir() if path.is_dir())
    for name in ("pixels", "about.json") * 6:
        data = bytearray((folder / name).read_bytes())
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        (folder / name).write_bytes(data)
        store = open_store(
            cutouts, tmp_path / "cache", verify=True, progress=lambda items, total: rebuilt.append(1) or items
        )
        assert np.array_equal(store.pixels, right)
        assert store.broken == {}
    assert len(rebuilt) >= 10, "a bit of a name that nobody reads may pass"


def test_a_torn_store_is_built_again(tmp_path):
    cutouts = make(tmp_path / "a.parquet")
    right = np.array(open_store(cutouts, tmp_path / "cache").pixels)
    (folder,) = (path for path in (tmp_path / "cache" / "pixels").iterdir() if path.is_dir())
    pixels, about = folder / "pixels", folder / "about.json"
    whole = json.loads(about.read_text())
    damage = [
        lambda: pixels.write_bytes(pixels.read_bytes()[:-1]),
        lambda: pixels.write_bytes(pixels.read_bytes() + b"x"),
        pixels.unlink,
        lambda: about.write_text("{"),
        lambda: about.write_text("[]"),
        lambda: about.write_text(json.dumps(whole | {"shape": []})),
        lambda: about.write_text(json.dumps(whole | {"dtype": "float32"})),
        lambda: about.write_text(json.dumps(whole | {"shape": [35, 16, 16, 3]})),
    ]
    for harm in damage:
        harm()
        assert np.array_equal(open_store(cutouts, tmp_path / "cache").pixels, right)
        assert pixels.stat().st_size == right.size


def test_unwritable_cache(tmp_path):
    cutouts = make(tmp_path / "a.parquet")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't write"):
        open_store(cutouts, tmp_path / "file" / "cache")
    with files_of_at_most(10_000), pytest.raises(OutputError, match="File too large"):
        open_store(cutouts, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache" / "pixels").iterdir() if path.suffix != ".lock"]


def child(tmp_path: Path, body: str) -> subprocess.Popen[str]:
    code = f"""
import sys, time; sys.path.insert(0, {str(HERE)!r})
from pathlib import Path
from skythaw.data import pixel_store
from skythaw.data.cutouts import read_cutouts
from skythaw.data.fits import encode_fits
cutouts = read_cutouts(Path({str(tmp_path / "a.parquet")!r}))
cache = Path({str(tmp_path / "cache")!r})
def slowly(items, total):
    print("decoding", flush=True)
    for item in items:
        time.sleep(0.01)
        yield item
{body}
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_processes_that_open_one_store_at_once_build_it_once(tmp_path):
    cutouts = make(tmp_path / "a.parquet")
    body = "print(int(pixel_store.open_store(cutouts, cache, progress=slowly).pixels.sum()))"
    children = [child(tmp_path, body) for _ in range(3)]
    said = [each.communicate(timeout=60)[0].split() for each in children]
    total = str(int(open_store(cutouts, tmp_path / "cache").pixels.sum()))
    assert [words[-1] for words in said] == [total] * 3
    assert sum("decoding" in words for words in said) == 1


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_kill_in_the_middle_then_open_again_twice(tmp_path):
    cutouts = make(tmp_path / "a.parquet")
    for pause in (0.0, 0.1, 0.2):
        with child(tmp_path, "pixel_store.open_store(cutouts, cache, progress=slowly)") as process:
            assert process.stdout.readline() == "decoding\n"
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
        assert [path.suffix for path in sorted((tmp_path / "cache" / "pixels").iterdir())] == [".lock", ".tmp"]
    for _ in range(2):
        opened = open_store(cutouts, tmp_path / "cache")
        assert all(np.array_equal(opened.pixels[row], picture_of(cutouts, row)) for row in (0, 17, 35))
    assert sorted(path.suffix for path in (tmp_path / "cache" / "pixels").iterdir()) == ["", ".lock"]


def test_labels_that_change_make_another_store(tmp_path):
    open_store(make(tmp_path / "a.parquet"), tmp_path / "cache")
    open_store(make(tmp_path / "a.parquet", label={0: "QSO"}), tmp_path / "cache")
    assert sum(path.is_dir() for path in (tmp_path / "cache" / "pixels").iterdir()) == 2


def forms() -> dict[str, tuple[bytes, np.ndarray]]:
    """Images of 8 bits in every form that Pillow may meet, with the pixels they should give (to a JPEG's accuracy)."""
    rgb = picture(1)
    grey = rgb[..., 0]
    image = Image.fromarray(rgb)
    alpha = np.dstack([rgb, np.where(np.arange(16)[:, None] < 8, 255, 0).repeat(16, 1)]).astype(np.uint8)
    masked = rgb * (alpha[..., 3:] > 0)
    exif = Image.Exif()
    exif[274] = 6
    palette = image.quantize(256)
    return {
        "png": (encode(rgb, "PNG"), rgb),
        "grey": (encode(grey, "PNG"), np.dstack([grey] * 3)),
        "grey jpeg": (encode(grey, "JPEG", quality=100), np.dstack([grey] * 3)),
        "one bit": (encode(Image.fromarray(grey > 99), "PNG"), np.dstack([(grey > 99) * 255] * 3)),
        "palette": (encode(palette, "PNG"), np.asarray(palette.convert("RGB"))),
        "alpha": (encode(alpha, "PNG"), masked),
        "grey alpha": (encode(Image.fromarray(alpha).convert("LA"), "PNG"), None),
        "transparent colour": (encode(rgb, "PNG", transparency=tuple(int(v) for v in rgb[0, 0])), None),
        "cmyk": (encode(image.convert("CMYK"), "JPEG", quality=100), rgb),
        "turned by exif": (encode(image, "JPEG", quality=100, subsampling=0, exif=exif), rgb),
        "animated": (encode(image, "PNG", save_all=True, append_images=[image.rotate(90)]), rgb),
    }


@pytest.mark.parametrize("form", forms())
def test_every_form_becomes_rgb(form):
    data, right = forms()[form]
    pixels = decode(data, "x")
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8
    assert probe(data).size == (16, 16)
    if right is not None:
        limit = 0 if data.startswith(b"\x89PNG") else 24
        assert np.abs(pixels.astype(int) - right).max() <= limit
    if form == "transparent colour":
        assert not pixels[0, 0].any()


def test_bad_images_are_named_never_accepted_never_crash():
    """T14: cuts, foreign formats, bombs. A JPEG cut anywhere, and a PNG cut before its last 12 bytes, is refused."""
    jpeg, png = encode(picture(2, 64)), encode(picture(2, 64), "PNG")
    bad = [jpeg[: len(jpeg) * k // 200] for k in range(199)] + [png[: (len(png) - 20) * k // 100] for k in range(100)]
    bad += [encode(picture(2), kind) for kind in ("PPM", "TGA", "ICO", "PCX")]
    bad += [b"<svg></svg>", b"\0" * 999, b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + b"\0" * 99]
    for data in bad:
        with pytest.raises(BrokenImageError, match=r"object 'id 7' is broken: ."):
            decode(data, "id 7")


def test_images_that_are_too_large_are_refused_by_their_header(monkeypatch):
    data = encode(Image.new("1", (5000, 4000)), "PNG")
    with pytest.raises(BrokenImageError, match="5000 x 4000 pixels are too many"):
        decode(data, "x")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15_000_000)  # between once and twice the limit Pillow only warns
    with pytest.raises(BrokenImageError, match="decompression bomb"):
        decode(data, "x")


def test_any_bytes_and_any_flip_give_an_image_or_a_named_error():
    rng = np.random.default_rng(3)
    for data in (encode(picture(3, 32)), encode(picture(3, 32), "PNG")):
        for _ in range(300):
            flipped = bytearray(data)
            for at in rng.integers(0, len(data), 3):
                flipped[at] ^= 1 << int(rng.integers(8))
            try:
                assert decode(bytes(flipped), "x").shape[2] == 3
            except BrokenImageError as error:
                assert error.reason  # noqa: PT017 - it may also not be raised


def test_broken_image_errors_cross_processes():
    import pickle

    error = pickle.loads(pickle.dumps(BrokenImageError("a", "why")))
    assert str(error) == "the image of object 'a' is broken: why"
    assert decoding.LARGEST == 1 << 24


def test_a_table_without_checksums_gives_the_same_store(tmp_path):
    first = open_store(make(tmp_path / "a.parquet"), tmp_path / "cache")
    pq.write_table(pq.read_table(tmp_path / "a.parquet").drop_columns(["sha256"]), tmp_path / "b.parquet")
    seen = []
    again = open_store(read_cutouts(tmp_path / "b.parquet"), tmp_path / "cache", progress=lambda *_: seen.append(1))
    assert np.array_equal(again.pixels, first.pixels)
    assert not seen, "nothing is decoded again"

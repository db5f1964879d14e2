"""Nothing in a folder is dropped in silence: every file is read, or named with a reason."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers_data import encode, picture
from helpers_soak import few
from skythaw.data.fits import encode_fits
from skythaw.data.sources.folder import import_folder
from skythaw.data.sources.image_files import why_no_image
from skythaw.errors import DataError

SIDE = 40
IMAGES = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000")
FITS = encode_fits(np.ones((SIDE, SIDE, 1), np.float32), "r")
OTHERS = {
    "a.csv": b"x,y\n",
    ".DS_Store": b"\0",
    "notes": b"text without an ending",
    "a.npy": b"\x93NUMPY",
    "b.zip": b"PK\3\4",
    "c.tga": b"\0\0\2" + bytes(15),
    "c.heic": b"\0\0\0\x18ftypheic",
    "t.csv.gz": gzip.compress(b"x,y\n", mtime=0),
    "e.fits.xz": b"\xfd7zXZ",
}


def image(kind: str, number: int) -> bytes:
    return encode(picture(number, SIDE), kind)


@few(40)
def test_the_counts_add_up(tmp_path, examples):
    """Any format under any ending, or none, among files of every other kind, some torn."""

    @settings(max_examples=examples, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from(IMAGES), st.sampled_from(("", ".jpg", ".TIF", ".png", ".xyz", ".webp"))),
            max_size=6,
        ),
        st.lists(st.sampled_from(sorted(OTHERS)), unique=True),
        st.integers(0, 2),
        st.integers(0, 10_000),
    )
    def check(images, others, torn, number):
        folder = tmp_path / str(number)
        for name in "AB":
            (folder / name).mkdir(parents=True, exist_ok=True)
        for file in folder.rglob("*.*"):
            file.unlink()
        (folder / "B" / "other.png").write_bytes(image("PNG", 99))
        files = {f"A/i{n}{end}": image(kind, n) for n, (kind, end) in enumerate(images)}
        files |= {f"A/{name}": OTHERS[name] for name in others}
        files |= {f"A/torn{n}.tif": image("TIFF", 0)[:40] for n in range(torn)}
        for name, data in files.items():
            (folder / name).write_bytes(data)
        for file in set(folder.rglob("A/*")) - {folder / name for name in files}:
            file.unlink()
        if not images and not torn:  # one class alone
            with pytest.raises(DataError):
                import_folder(folder, tmp_path / "out.parquet", skip_broken=True)
            return
        result = import_folder(folder, tmp_path / "out.parquet", skip_broken=True)
        assert result.objects == len(images) + 1
        assert set(result.left_out) == {f"A/{name}" for name in others} | {f"A/torn{n}.tif" for n in range(torn)}
        assert result.objects + len(result.left_out) == len(files) + 1
        assert all(result.left_out.values())

    check()


def test_reasons():
    from skythaw.data.sources.image_files import begins_as_image

    assert all(begins_as_image(image(kind, 1)) for kind in IMAGES)
    assert begins_as_image(FITS)
    assert begins_as_image(gzip.compress(FITS))
    assert not any(map(begins_as_image, OTHERS.values()))


def test_images_of_other_formats_are_named_as_such(tmp_path):
    (tmp_path / "c.tga").write_bytes(OTHERS["c.tga"])
    assert why_no_image(str(tmp_path / "c.tga")).startswith("an image of a format that is not read")


def test_a_folder_without_images_is_refused_with_what_is_there(tmp_path, skythaw):
    (tmp_path / "images").mkdir()
    for name, data in OTHERS.items():
        (tmp_path / "images" / name).write_bytes(data)
    done = skythaw("data", "import", tmp_path / "images", tmp_path / "out.parquet")
    assert done.returncode == 2
    assert "holds no images: none of its 9 files is an image: .DS_Store (not an image: a hidden file)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_links_that_lead_nowhere_are_named(tmp_path):
    (tmp_path / "images" / "A").mkdir(parents=True)
    (tmp_path / "images" / "A" / "a.png").write_bytes(image("PNG", 1))
    (tmp_path / "images" / "B").mkdir()
    (tmp_path / "images" / "B" / "d.png").write_bytes(image("PNG", 2))
    (tmp_path / "images" / "A" / "b.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "images" / "A" / "c.png")
    with pytest.raises(DataError, match=r"A/b.png: .*No such file"):
        import_folder(tmp_path / "images", tmp_path / "out.parquet")
    result = import_folder(tmp_path / "images", tmp_path / "out.parquet", skip_broken=True)
    assert result.left_out == {"A/b.png": "No such file or directory", "A/c.png": "no regular file"}


def test_what_gave_no_object_is_said(tmp_path):
    """Empty folders, and classes of which no image can be read."""
    for name in ("A/1.png", "B/2.png", "C/3.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        (tmp_path / "images" / name).write_bytes(image("PNG", int(name[2])))
    (tmp_path / "images" / "C" / "3.png").write_bytes(b"\x89PNG\r\n torn")
    for name in ("EMPTY", "TEXT/below", "A/deeper"):
        (tmp_path / "images" / name).mkdir(parents=True)
    (tmp_path / "images" / "TEXT" / "below" / "notes.txt").write_text("no image")
    (tmp_path / "images" / "B" / "round").symlink_to(tmp_path / "images" / "B")
    result = import_folder(tmp_path / "images", tmp_path / "out.parquet", skip_broken=True)
    assert result.notes == (
        "no image lies in A/deeper, B/round, EMPTY, ...",
        "no image of class 'C' could be taken: there is no such class",
    )

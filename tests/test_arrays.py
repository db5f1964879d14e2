"""Arrays and archives: each form of images and labels gives the same cutouts, or one line that says why not."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers_data import encode, picture
from skythaw import registry
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.data.fits import decode_fits
from skythaw.data.sources.read_images import ImageOptions
from skythaw.data.sources.set_choices import SetChoices
from skythaw.data.sources.source_formats import source_of
from skythaw.errors import DataError

COUNT = 6
RGB = np.stack([picture(n, 24) for n in range(COUNT)])
FLUX = np.random.default_rng(0).normal(size=(COUNT, 3, 16, 20)).astype(np.float32)
ANS = np.array([0, 1, 2, 0, 1, -1])


def load(path, out, labels=None, **options):
    result = registry.get("source", source_of(path))(path, out, labels, **options)
    cutouts = read_cutouts(out, need_labels=False)
    assert result.objects == len(cutouts)
    return cutouts


def pixels(cutouts):
    return [decode(data, name) for name, data, _ in cutouts.images()]


def hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name.replace("__", "/"), data=values)
    return path


def test_galaxy10_as_hdf5(tmp_path):
    path = hdf5(tmp_path / "Galaxy10.h5", images=RGB, ans=ANS, ra=[1.0, -2, 3, 4, 5, 6], dec=[0.0] * 6, z=[0.1] * 6)
    cutouts = load(path, tmp_path / "out.parquet")
    assert cutouts.object_ids[:2] == ["Galaxy10-000000", "Galaxy10-000001"]
    assert cutouts.labels.tolist() == ["0", "1", "2", "0", "1", None]
    assert cutouts.column("ra").tolist() == [1, 358, 3, 4, 5, 6]
    assert cutouts.column("z").tolist() == [0.1] * 6
    assert np.array_equal(pixels(cutouts), RGB)


def test_arrays_of_the_multimodal_universe_keep_their_bands_and_ids(tmp_path):
    ids = np.array([1237648672922272244 + n for n in range(COUNT)])
    bands = np.array([b"g", b"r", b"z"])
    hdf5(tmp_path / "a.hdf5", image__flux=FLUX, image__band=bands, object_id=ids)
    rows = [{"band": ["g", "r", "z"], "flux": flux.tolist()} for flux in FLUX]
    columns = {"object_id": ids.astype(str), "TYPE": ["PSF"] * COUNT}
    pq.write_table(pa.table({"image": rows, **columns}), tmp_path / "b.parquet")
    rows = [[{"band": b, "flux": flux.tolist()} for b, flux in zip("grz", one, strict=True)] for one in FLUX]
    pq.write_table(pa.table({"image": rows, "object_id": ids.astype(str)}), tmp_path / "c.parquet")
    for name in ("a.hdf5", "b.parquet", "c.parquet"):
        cutouts = load(tmp_path / name, tmp_path / "out.parquet")
        assert cutouts.object_ids == ids.astype(str).tolist(), name
        assert not cutouts.labelled.any()
        data = [data for _, data, _ in cutouts.images()]
        assert np.array_equal([decode_fits(one)[::-1] for one in data], np.moveaxis(FLUX, 1, -1)), name
        assert b"BANDS   = 'grz" in data[0]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_images_and_labels(save, tmp_path):
    save(tmp_path / "a.npz", images=RGB, labels=ANS, class_names=np.array(["disc", "bulge", "bar"]))
    cutouts = load(tmp_path / "a.npz", tmp_path / "out.parquet")
    assert cutouts.labels.tolist() == ["disc", "bulge", "bar", "disc", "bulge", None]
    assert np.array_equal(pixels(cutouts), RGB)
    one_hot = np.eye(3)[np.abs(ANS)]
    save(tmp_path / "a.npz", RGB[..., 0], one_hot)
    cutouts = load(tmp_path / "a.npz", tmp_path / "out.parquet")
    assert cutouts.labels.tolist() == [str(n) for n in np.abs(ANS)]
    assert np.array_equal([one[:, :, 0] for one in pixels(cutouts)], RGB[..., 0])


def test_npy_with_labels_beside_it(tmp_path):
    np.save(tmp_path / "a.npy", RGB.astype(np.float64) / 255)
    np.save(tmp_path / "l.npy", ANS)
    (tmp_path / "l.csv").write_text("class,id\n" + "".join(f"C{n},o{row}\n" for row, n in enumerate(ANS)))
    cutouts = load(tmp_path / "a.npy", tmp_path / "out.parquet", tmp_path / "l.npy")
    assert cutouts.labels.tolist() == ["0", "1", "2", "0", "1", None]
    assert np.array_equal(pixels(cutouts), (RGB / 255).astype(np.float32))
    cutouts = load(tmp_path / "a.npy", tmp_path / "out.parquet", tmp_path / "l.csv")
    assert cutouts.object_ids[0] == "o0"
    assert cutouts.labels[1] == "C1"
    with pytest.raises(DataError, match=r"a.npy has images without labels; give them with --labels"):
        load(tmp_path / "a.npy", tmp_path / "out.parquet")
    np.save(tmp_path / "l.npy", ANS[:3])
    with pytest.raises(DataError, match="'label' has 3 values for 6 images"):
        load(tmp_path / "a.npy", tmp_path / "out.parquet", tmp_path / "l.npy")


def tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def jpegs(*names):
    return {name: encode(picture(number, 16)) for number, name in enumerate(names)}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_webdataset(mode, tmp_path):
    files = jpegs("0001.jpg", "0002.jpg", "0003.jpg") | {"0001.cls": b"1", "0002.cls": b"0\n", "0003.cls": b"-1"}
    cutouts = load(tar(tmp_path / "a.tar", files, mode), tmp_path / "out.parquet")
    assert dict(zip(cutouts.object_ids, cutouts.labels, strict=True)) == {"0001": "1", "0002": "0", "0003": None}
    files = jpegs("s/a.jpg", "s/b.jpg") | {
        "s/a.json": json.dumps({"label": "STAR", "ra": 1.5, "dec": 2.5, "more": [1]}).encode(),
        "s/b.json": json.dumps({"label": "QSO", "ra": 3, "dec": 4}).encode(),
    }
    cutouts = load(tar(tmp_path / "a.tar", files, mode), tmp_path / "out.parquet")
    assert cutouts.labels.tolist() == ["STAR", "QSO"]
    assert cutouts.column("ra").tolist() == [1.5, 3]


def test_a_folder_of_webdataset_shards(tmp_path):
    """Keys may come again in another shard; names of parts become the column part; other files are named."""
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    for number, shard in enumerate(("train-00000.tar", "train-00001.tar", "test-00000.tar.gz")):
        files = {f"{key}.jpg": encode(picture(4 * number + key, 16)) for key in range(4)}
        files |= {f"{key}.cls": f"{key % 2}".encode() for key in range(4)}
        tar(folder / shard, files, "w:gz" if shard.endswith("gz") else "w")
    (folder.parent / "README.md").write_text("x")
    result = registry.get("source", source_of(tmp_path / "set"))(tmp_path / "set", tmp_path / "out.parquet")
    cutouts = read_cutouts(tmp_path / "out.parquet")
    assert result.left_out == {"README.md": "not an image: .md"}
    assert cutouts.counts == {"0": 6, "1": 6}
    assert cutouts.column("part").tolist().count("train") == 8
    assert len(set(cutouts.object_ids)) == 12
    (folder / "train-00001.tar").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"can't unpack .*train-00001.tar"):
        load(tmp_path / "set", tmp_path / "out.parquet")
    (folder / "train-00001.tar").unlink()
    (folder / "odd.jpg").write_bytes(encode(picture(0)))
    assert source_of(tmp_path / "set") == "folder", "images beside an archive are images"


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_zip_and_tar_of_class_folders(tmp_path):
    files = jpegs("top/STAR/a.jpg", "top/QSO/b.jpg", "top/QSO/c.jpg") | {"__MACOSX/top/._a.jpg": b"x"}
    for path in (zipped(tmp_path / "a.zip", files), tar(tmp_path / "b.tar", files)):
        cutouts = load(path, tmp_path / "out.parquet")
        assert cutouts.counts == {"QSO": 2, "STAR": 1}
        assert sorted(each.name for each in tmp_path.iterdir() if each.name.startswith(".")) == []
    (tmp_path / "labels.csv").write_text("file,label\na.jpg,S\nb.jpg,Q\n")
    path = zipped(tmp_path / "c.zip", jpegs("a.jpg", "b.jpg"))
    assert load(path, tmp_path / "out.parquet", tmp_path / "labels.csv").labels.tolist() == ["S", "Q"]


def link(name):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


def hostile(kind, path):
    """A file of a kind that does harm, or is not read."""
    if kind in ("../x.jpg", "/etc/x.jpg", "C:\\x.jpg"):
        return zipped(path / "a.zip", {kind: encode(picture(0))})
    if kind.startswith("tar "):
        return tar(path / "a.tar", {kind[4:]: encode(picture(0))})
    if kind == "link":
        with tarfile.open(path / "a.tar", "w") as archive:
            archive.addfile(link("A/b.jpg"))
        return path / "a.tar"
    if kind == "zip link":
        info = zipfile.ZipInfo("A/b.jpg")
        info.external_attr = 0o120777 << 16
        with zipfile.ZipFile(path / "a.zip", "w") as archive:
            archive.writestr(info, "/etc/passwd")
        return path / "a.zip"
    if kind == "zip bomb":
        return zipped(path / "a.zip", {f"A/{n}.jpg": bytes(100 << 20) for n in range(3)})
    if kind == "cut zip":
        data = zipped(path / "b.zip", jpegs("A/a.jpg")).read_bytes()
        (path / "a.zip").write_bytes(data[:60] + bytes([data[60] ^ 255]) + data[61:])
        return path / "a.zip"
    if kind == "short zip":
        data = zipped(path / "b.zip", jpegs("A/a.jpg")).read_bytes()
        (path / "a.zip").write_bytes(data[:-30])
        return path / "a.zip"
    if kind == "locked zip":
        data = bytearray(zipped(path / "b.zip", jpegs("A/a.jpg")).read_bytes())
        data[data.index(b"PK\1\2") + 8] |= 1
        (path / "a.zip").write_bytes(data)
        return path / "a.zip"
    if kind == "zip twice":
        with zipfile.ZipFile(path / "a.zip", "w") as archive:
            archive.writestr("A/a.jpg", encode(picture(0)))
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr("A/a.jpg", encode(picture(1)))
        return path / "a.zip"
    if kind == "twice tar":
        with tarfile.open(path / "a.tar", "w") as archive:
            for number in range(2):
                data = encode(picture(number))
                info = tarfile.TarInfo("A/a.jpg")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return path / "a.tar"
    if kind == "both zip":
        zipped(path / "a.zip", {"A": b"x", "A/a.jpg": b"x"})
        return path / "a.zip"
    if kind == "pipe":
        os.mkfifo(path / "a.h5")
        return path / "a.h5"
    if kind == "code npy":
        text = b"__import__('os').abort()".ljust(117) + b"\n"
        (path / "a.npy").write_bytes(b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text)
        np.save(path / "l.npy", np.arange(2))
        return path / "a.npy"
    if kind == "huge hdf5":
        with h5py.File(path / "a.h5", "w") as file:
            file.create_dataset("images", (10**9, 64, 64, 3), "u1", chunks=(1, 64, 64, 3))
            file["ans"] = [1]
        return path / "a.h5"
    if kind == "external hdf5":
        (path / "secret").write_bytes(bytes(1200))
        with h5py.File(path / "a.h5", "w") as file:
            file.create_dataset("images", (1, 20, 20, 3), "u1", external=[(str(path / "secret"), 0, 1200)])
        return path / "a.h5"
    if kind == "object npy":
        np.save(path / "a.npy", np.array([{}, None] * 3, dtype=object).reshape(2, 3, 1), allow_pickle=True)
        np.save(path / "l.npy", np.arange(2))
        return path / "a.npy"
    if kind == "huge npy":
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 9, 9)})
        (path / "a.npy").write_bytes(header.getvalue())
        return path / "a.npy"
    if kind == "npz bomb":
        header = io.BytesIO()
        about = {"descr": "|u1", "fortran_order": False, "shape": (300, 1024, 1024)}
        np.lib.format.write_array_header_1_0(header, about)
        zipped(path / "a.npz", {"images.npy": header.getvalue() + bytes(300 << 20)})
        return path / "a.npz"
    name, content = kind.split(":", 1)
    (path / name).write_bytes(content.encode("latin-1"))
    return path / name


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("../x.jpg", "the name .* leads out of the archive"),
        ("/etc/x.jpg", "leads out of the archive"),
        ("C:\\x.jpg", "leads out of the archive"),
        ("tar ../x.jpg", "leads out of the archive"),
        ("tar /x.jpg", "leads out of the archive"),
        ("link", "'A/b.jpg' is a link or a device, which is refused"),
        ("zip link", "'A/b.jpg' is a link, which is not followed"),
        ("zip bomb", "unpacks to more bytes than images have"),
        ("cut zip", "can't unpack .*a.zip"),
        ("short zip", "is a .zip archive that is cut off or damaged"),
        ("locked zip", "is locked by a password; unpack it"),
        ("zip twice", "holds 'A/a.jpg' twice; unpack it"),
        ("twice tar", "holds 'A/a.jpg' twice; unpack it"),
        ("both zip", r"can't unpack 'A/a.jpg' of .*a.zip: (File exists|Not a directory)"),
        ("tar A/" + "x" * 300 + ".jpg", "can't unpack .*a.tar: File name too long"),
        ("pipe", "is a pipe or a device"),
        ("code npy", "'a.npy' has a damaged header"),
        ("huge hdf5", "'images' announces 12288000000000 bytes, and . are there"),
        ("external hdf5", "the values of 'images' lie in another file"),
        ("object npy", "holds Python objects, which are pickles and never opened"),
        ("huge npy", "can't read .*a.npy as NumPy arrays: .* announces"),
        ("npz bomb", "'images' announces 314572800 bytes, and"),
        ("a.h5:\x89HDF\r\n\x1a\nxxx", "can't read .*a.h5 as HDF5"),
        ("a.npy:\x93NUMPYxxxxx", "can't read .*a.npy as NumPy arrays"),
        ("a.tar:xxxx", "can't unpack .*a.tar"),
        ("a.mat:MATLAB 5.0 MAT-file", "is a MATLAB file; save its arrays"),
        ("a.pkl:x", "is a Python pickle, which is never opened"),
        ("a.bin:\x80\x04x", "is a Python pickle, which is never opened"),
        ("a.pt:x", "is a file of PyTorch"),
        ("a.tfrecord:x", "is a TensorFlow record file"),
        ("a.arrow:\xff\xff\xff\xff", "is an Arrow file; datasets.load_from_disk"),
        ("a.rar:Rar!x", "is a RAR archive; unpack it"),
        ("a.7z:7z\xbc\xafx", "is a 7-Zip archive; unpack it"),
        ("a.csv:a,b", "is a table, which holds no images; give the folder of images, and it with --labels"),
        ("a.jpg:\xff\xd8\xff", "is one JPEG image; give the folder that holds the images"),
        ("a.foo:hello", "is no kind of file that is known"),
        ("a.foo:", "is an empty file; a folder of images"),
    ],
)
def test_what_is_hostile_or_not_read_is_refused_in_one_line(kind, message, tmp_path):
    path = hostile(kind, tmp_path)
    labels = tmp_path / "l.npy"
    before = set(tmp_path.iterdir()) | {tmp_path / "l.npy"}
    with pytest.raises(DataError, match=message) as caught:
        load(path, tmp_path / "out.parquet", labels if path.suffix == ".npy" else None)
    assert "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) <= before, "nothing is left behind"


def test_a_pickle_is_never_opened(tmp_path):
    """Nor one that hides in an archive of arrays."""
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(data, {"descr": "|O", "fortran_order": False, "shape": (1, 2, 2)})
    path = zipped(tmp_path / "a.npz", {"images.npy": data.getvalue() + pickle.dumps([1])})
    with pytest.raises(DataError, match="'images' holds Python objects"):
        load(path, tmp_path / "out.parquet")


def test_broken_images_of_arrays_are_named_or_left_out(tmp_path):
    flux = FLUX.copy()
    flux[2] = np.nan
    path = hdf5(tmp_path / "a.h5", images=flux, labels=["a", "b"] * 3)
    with pytest.raises(DataError, match=r"'a-000002' is broken: 100 % of band .*--skip-broken"):
        load(path, tmp_path / "out.parquet")
    assert len(load(path, tmp_path / "out.parquet", skip_broken=True)) == COUNT - 1
    flux[3] = np.nan
    path = hdf5(tmp_path / "two.h5", images=flux, labels=["a", "b"] * 3)
    with pytest.raises(DataError, match=r"2 images can't be read: two-000002 \(.*\), two-000003 \(.*--skip-broken"):
        load(path, tmp_path / "out.parquet")
    with pytest.raises(DataError, match="can't be told which axis"):
        load(hdf5(tmp_path / "b.h5", images=FLUX[:, :, :5, :5], labels=["a", "b"] * 3), tmp_path / "out.parquet")


def test_arrays_on_the_command_line(tmp_path, skythaw):
    done = skythaw("data", "import", hdf5(tmp_path / "a.h5", images=RGB, ans=ANS), tmp_path / "out.parquet")
    assert (done.returncode, "wrote 6 cutouts" in done.stdout) == (0, True), done.stderr
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    done = skythaw("data", "import", tmp_path / "a.mat", tmp_path / "other.parquet")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_one_column_for_each_class_gives_no_label_where_none_is_the_largest(tmp_path):
    votes = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    votes[0], votes[1], votes[2] = 0, [0.5, 0.5, 0], np.nan
    path = hdf5(tmp_path / "a.h5", images=RGB, labels=votes)
    result = registry.get("source", "hdf5")(path, tmp_path / "out.parquet")
    assert read_cutouts(tmp_path / "out.parquet").labels.tolist() == [None, None, None, "0", "1", "2"]
    assert result.changed == {"row without a label, kept as unlabelled": 3}


def test_a_number_without_a_name_is_refused(tmp_path):
    path = hdf5(tmp_path / "a.h5", images=RGB, ans=[0, 1, 7, 0, 1, -1], class_names=[b"a", b"b", b"c"])
    with pytest.raises(DataError, match="the label 7 has no name; there are names for 0 to 2 alone"):
        load(path, tmp_path / "out.parquet")


@pytest.mark.parametrize("kind", ["npz", "hdf5"])
def test_arrays_that_are_not_read_are_named(kind, tmp_path):
    """Such as masks, or values of something else than images."""
    arrays = {"images": RGB, "labels": ANS, "masks": RGB[..., 0], "seeing": np.zeros(2)}
    if kind == "npz":
        np.savez(tmp_path / "a.npz", **arrays)
    else:
        hdf5(tmp_path / "a.hdf5", **arrays)
    result = registry.get("source", source_of(tmp_path / f"a.{kind}"))(tmp_path / f"a.{kind}", tmp_path / "out.parquet")
    assert sorted(result.left_out) == ["masks (6, 24, 24)", "seeing (2,)"]
    assert set(result.left_out.values()) == {"an array that is neither the images nor a value for each of them"}


def test_an_npy_file_without_labels_is_for_predict_alone(tmp_path):
    np.save(tmp_path / "a.npy", RGB)
    with pytest.raises(DataError, match=r"without labels; .* or say --unlabelled"):
        load(tmp_path / "a.npy", tmp_path / "out.parquet")
    cutouts = load(tmp_path / "a.npy", tmp_path / "out.parquet", choices=SetChoices(unlabelled=True))
    assert not cutouts.labelled.any()
    assert np.array_equal(pixels(cutouts), RGB)


def test_options_for_image_files_are_named_as_they_are_written(tmp_path):
    path = hdf5(tmp_path / "a.h5", images=RGB, ans=ANS)
    with pytest.raises(DataError, match="holds arrays of pixels; --size, --resize is for files of images"):
        load(path, tmp_path / "out.parquet", images=ImageOptions(size=16, resize=True))


TEXTS = ["0", "1", "2", "0", "1", None]


@pytest.mark.parametrize("kind", ["npz", "npy", "hdf5"])
def test_labels_of_one_column_are_no_columns_of_classes(kind, tmp_path):
    path, beside = tmp_path / f"a.{kind}", None
    if kind == "npz":
        np.savez(path, images=RGB, labels=ANS[:, None])
    elif kind == "npy":
        np.save(path, RGB)
        np.save(beside := tmp_path / "l.npy", ANS[:, None])
    else:
        hdf5(path, images=RGB, labels=ANS[:, None])
    assert load(path, tmp_path / "out.parquet", beside).labels.tolist() == TEXTS


@pytest.mark.parametrize("kind", ["npz", "hdf5"])
def test_y_beside_x_is_a_place_and_no_label(kind, tmp_path):
    arrays = {"images": RGB, "x": np.arange(COUNT), "y": np.arange(COUNT), "morphology": np.array([b"a", b"b"] * 3)}
    path = tmp_path / f"a.{kind}"
    np.savez(path, **arrays) if kind == "npz" else hdf5(path, **arrays)
    result = registry.get("source", source_of(path))(path, tmp_path / "out.parquet")
    cutouts = read_cutouts(tmp_path / "out.parquet", need_labels=False)
    assert not cutouts.labelled.any()
    assert cutouts.column("y").tolist() == list(range(COUNT))
    assert "has a label: none of its arrays for each image is called label" in result.notes[0]
    assert "not read: none" in result.notes[0]
    assert set(result.notes[0].partition("columns: ")[2].partition(";")[0].split(", ")) == {"x", "y", "morphology"}


def test_labels_that_are_there_are_found_or_refused(tmp_path):
    for path in (hdf5(tmp_path / "a.h5", images=RGB, labels=ANS[:-1]), tmp_path / "a.npz"):
        np.savez(tmp_path / "a.npz", images=RGB, labels=ANS[:-1])
        with pytest.raises(DataError, match="'labels' has 5 values for 6 images in 'images'"):
            load(path, tmp_path / "out.parquet")
    np.savez(tmp_path / "b.npz", images=RGB, classes=np.array(["a", "b"] * 3))
    assert load(tmp_path / "b.npz", tmp_path / "out.parquet").labels.tolist() == ["a", "b"] * 3
    table = np.array([(b"a", 1.5), (b"b", 2.5)] * 3, dtype=[("class", "S1"), ("ra", "f8")])
    cutouts = load(hdf5(tmp_path / "c.h5", images=RGB, table=table), tmp_path / "out.parquet")
    assert cutouts.labels.tolist() == ["a", "b"] * 3


@pytest.mark.parametrize("name", ["a.npy", "a.h5", "a.npz"])
def test_one_image_is_not_taken_for_many(name, tmp_path):
    path = tmp_path / name
    np.save(path, RGB[0]) if name == "a.npy" else np.savez(path, images=RGB[0])
    if name == "a.h5":
        hdf5(path, image=RGB[0])
    with pytest.raises(DataError, match=r"is one image; \[image, y, x, band\] is needed, .*\(1, 24, 24, 3\)"):
        load(path, tmp_path / "out.parquet")


def test_no_label_is_the_same_in_texts_and_numbers(tmp_path):
    path = hdf5(tmp_path / "a.h5", images=RGB, labels=ANS.astype("S2"))
    assert load(path, tmp_path / "out.parquet").labels.tolist() == TEXTS
    np.savez(tmp_path / "a.npz", images=RGB, labels=np.array(["a", "nan", "b", "NaN", "a", "N/A"]))
    assert load(tmp_path / "a.npz", tmp_path / "out.parquet").labels.tolist() == ["a", None, "b", None, "a", None]


@pytest.mark.parametrize(
    "names", ["x_train y_train x_test y_test", "train/images train/labels test/images test/labels"]
)
@pytest.mark.parametrize("kind", ["npz", "hdf5"])
def test_train_and_test_arrays_become_parts(kind, names, tmp_path):
    arrays = dict(zip(names.split(), (RGB[:4], ANS[:4, None], RGB[4:], ANS[4:, None]), strict=True))
    path = tmp_path / f"a.{kind}"
    if kind == "npz":
        np.savez(path, **arrays)
    else:
        hdf5(path, **arrays)
    result = registry.get("source", source_of(path))(path, tmp_path / "out.parquet")
    cutouts = read_cutouts(tmp_path / "out.parquet", need_labels=False)
    assert (cutouts.labels.tolist(), result.left_out) == (TEXTS, {})
    of_name = dict(zip(cutouts.object_ids, cutouts.column("part"), strict=True))
    assert [of_name[f"a-{n:06d}"] for n in range(COUNT)] == ["train"] * 4 + ["test"] * 2
    assert "are parts of the data" in result.notes[0]


def import_tar(folder, files):
    path = tar(folder / "a.tar", files)
    result = registry.get("source", "webdataset")(path, folder / "out.parquet")
    return result, read_cutouts(folder / "out.parquet", need_labels=False)


def test_a_tar_of_class_folders_keeps_its_classes_beside_json(tmp_path):
    files = jpegs("STAR/a.jpg", "STAR/b.jpg", "QSO/c.jpg", "QSO/d.jpg")
    result, cutouts = import_tar(tmp_path, {"info.json": b'{"name": "my set"}'} | files)
    assert cutouts.counts == {"QSO": 2, "STAR": 2}
    assert result.left_out == {"info.json": "no image has its name, so it belongs to none"}
    notes = {f"{name[:-4]}.json": b'{"ra": 1.5, "dec": 2.5, "name": "n"}' for name in files}
    _, cutouts = import_tar(tmp_path, files | notes)
    assert cutouts.counts == {"QSO": 2, "STAR": 2}
    assert cutouts.column("ra").tolist() == [1.5] * 4
    with pytest.raises(DataError, match=r"no image has a label: .*the keys are morphology\), and folders name no"):
        import_tar(tmp_path, jpegs("a.jpg") | {"a.json": b'{"morphology": "disc"}'})
    (tmp_path / "labels.csv").write_text("file,label\na.jpg,S\n")
    result = registry.get("source", "webdataset")(tmp_path / "a.tar", tmp_path / "out.parquet", tmp_path / "labels.csv")
    assert result.notes[0] == "1 .cls and .json files are not read, for --labels is given"


def test_an_error_names_the_archive_and_not_where_it_was_unpacked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tar(tmp_path / "a.tar", jpegs("a.jpg"))
    with pytest.raises(DataError, match=r"lie directly in a\.tar and have no class"):
        load(Path("a.tar"), Path("out.parquet"))


@pytest.mark.parametrize(
    "names", ["J1.3+1.jpg J1.3+1.cls J1.7+2.jpg J1.7+2.cls", "1.image.jpg 1.label.cls 2.image.jpg 2.label.cls"]
)
def test_keys_of_a_webdataset_may_have_dots(names, tmp_path):
    one, one_class, two, two_class = names.split()
    _, cutouts = import_tar(tmp_path, jpegs(one, two) | {one_class: b"a", two_class: b"b"})
    assert sorted(cutouts.labels) == ["a", "b"]


def test_a_label_in_a_list_of_one_is_a_label(tmp_path):
    notes = {"a.txt": b"a caption", "a.json": b"[2]", "b.json": b'{"label": [0]}'}
    result, cutouts = import_tar(tmp_path, notes | jpegs("a.jpg", "b.jpg"))
    assert sorted(cutouts.labels) == ["0", "2"]
    assert result.left_out == {"a.txt": "not an image: .txt"}


def test_advice_for_masked_arrays_is_one_that_arrays_take(tmp_path):
    flux = FLUX.copy()
    flux[2, :, :8] = np.nan
    with pytest.raises(DataError, match="NaN") as said:
        load(hdf5(tmp_path / "a.h5", images=flux, ans=ANS), tmp_path / "out.parquet")
    assert "--max-nan" not in str(said.value)
    assert "fill them in the array" in str(said.value)

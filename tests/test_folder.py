"""Import of image files: every file once, every label once, each mistake named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers_data import encode, picture
from helpers_soak import few
from skythaw import import_images, tune
from skythaw.data.cutouts import read_cutouts
from skythaw.data.fits import encode_fits
from skythaw.data.sources.folder import ImportResult, import_folder
from skythaw.data.sources.label_table import read_labels
from skythaw.errors import DataError, SkythawError
from skythaw.predict.prediction_formats import check_output
from skythaw.tables.catalogue_files import read_catalogue


def put(folder: Path, *names: str, size: int = 16) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        kind = "PNG" if name.lower().endswith("png") else "JPEG"
        (folder / name).write_bytes(encode(picture(number, size), kind))
    return folder


def load(folder: Path, labels: str | None = None, **options):
    """Import; returns the cutouts."""
    table = None
    if labels is not None:
        table = folder.parent / "labels.csv"
        table.write_text(labels, encoding=options.pop("encoding", "utf-8"))
    import_folder(folder, folder.parent / "out.parquet", table, **options)
    return read_cutouts(folder.parent / "out.parquet")


def test_class_folders(tmp_path):
    names = ["STAR/b.jpg", "STAR/deep/er/a.JPEG", "QSO/c.PnG", "QSO/.hidden.jpg", ".git/x.jpg", "QSO/.d/y.jpg"]
    folder = put(tmp_path / "images", *names)
    (folder / "STAR" / "notes.txt").write_text("x")
    (folder / "STAR" / "folder.jpg").mkdir()
    seen = []
    cutouts = load(folder, progress=lambda items, total: seen.append(total) or items)
    assert dict(zip(cutouts.object_ids, cutouts.labels, strict=True)) == {"a": "STAR", "b": "STAR", "c": "QSO"}
    assert seen == [3, 3], "headers first"
    images = pq.read_table(tmp_path / "out.parquet")["image"].to_pylist()
    assert [image["path"] for image in images] == ["QSO/c.PnG", "STAR/b.jpg", "STAR/deep/er/a.JPEG"]
    assert all(image["bytes"] == (folder / image["path"]).read_bytes() for image in images)
    first = (tmp_path / "out.parquet").read_bytes()
    said = (
        "images in deeper folders (STAR/deep/er) have the class of the folder above",
        "no image lies in STAR/folder.jpg",
    )
    left_out = {"QSO/.hidden.jpg": "not an image: a hidden file", "STAR/notes.txt": "not an image: .txt"}
    assert import_folder(folder, tmp_path / "out.parquet") == ImportResult(3, {}, left_out, notes=said)
    assert (tmp_path / "out.parquet").read_bytes() == first


def test_names_that_clash_become_paths(tmp_path):
    assert load(put(tmp_path / "i", "A/1.jpg", "B/1.jpg", "B/2.png")).object_ids == ["A/1.jpg", "B/1.jpg", "B/2.png"]


def test_a_folder_called_nan_is_no_class(tmp_path):
    folder = put(tmp_path / "in", "STAR/1.jpg", "QSO/2.jpg", "NaN/3.jpg", "NaN/4.jpg")
    found = import_folder(folder, tmp_path / "out.parquet")
    assert found.changed == {"class 'NaN' is none, kept as unlabelled": 2}
    assert read_cutouts(tmp_path / "out.parquet").counts == {"QSO": 1, "STAR": 1}


def test_a_name_that_is_no_text_is_left_out_and_named(tmp_path):
    for name, folder in ((b"a.jpg", b"A"), (b"b.jpg", b"B"), (b"\xff.jpg", b"A")):
        place = os.fsencode(tmp_path) + b"/in/" + folder
        os.makedirs(place, exist_ok=True)  # noqa: PTH103 - bytes
        with open(place + b"/" + name, "wb") as file:  # noqa: PTH123 - bytes
            file.write(encode(picture(name[0], 16)))
    found = import_folder(tmp_path / "in", tmp_path / "out.parquet")
    assert found.left_out == {"A/\\udcff.jpg": "its name is not in UTF-8, so it can't be written: rename the file"}
    assert found.objects == 2
    shutil.rmtree(tmp_path / "in" / "B")
    with pytest.raises(DataError, match=r"1 files whose names are not in UTF-8 do not count: rename them \(A/.udcff"):
        import_folder(tmp_path / "in", tmp_path / "out.parquet")


def test_outputs_and_catalogues_whose_names_are_no_text_are_refused(tmp_path):
    folder = put(tmp_path / "in", "A/1.jpg", "B/2.jpg")
    odd, wrong = tmp_path / "gal\udcff.parquet", "is not in UTF-8, which it should be"
    for refused in (
        lambda: import_images(folder, odd),
        lambda: tune(folder, out=odd),
        lambda: check_output(odd),
        lambda: read_catalogue(odd),
    ):
        with pytest.raises(SkythawError, match=wrong):
            refused()
    assert [each.name for each in tmp_path.iterdir()] == ["in"]


def test_linked_folders_are_followed_but_not_in_circles(tmp_path):
    put(tmp_path / "elsewhere", "1.jpg")
    folder = put(tmp_path / "images", "A/2.jpg")
    (folder / "A" / "2.jpg").write_bytes(encode(picture(2)))
    (folder / "B").symlink_to(tmp_path / "elsewhere")
    for name in ("loop", "loop2", "loop3"):
        (folder / "A" / name).symlink_to(folder)
    cutouts = load(folder)
    assert cutouts.counts == {"A": 1, "B": 1}


def test_a_table_of_labels(tmp_path):
    folder = put(tmp_path / "images", "1237648720693755918.jpg", "2.png", "sub/3.jpg")
    text = (
        "\ufeff#Table1\nobjID,class,ra,run,night,specobjid,note,empty\n"
        "1237648720693755918,STAR,1.5,752,007,299,a b,\n3,,2,,012,300,,\n\n2,QSO, 3.25 ,756,013,301,c,\n"
    )
    cutouts = load(folder, text)
    assert cutouts.object_ids == ["1237648720693755918", "3", "2"]
    assert cutouts.labels.tolist() == ["STAR", None, "QSO"]
    assert cutouts.column("ra").tolist() == [1.5, 2.0, 3.25]
    assert cutouts.table["run"].to_pylist() == [752, None, 756]
    assert cutouts.table["night"].to_pylist() == ["007", "012", "013"]
    assert cutouts.table["specobjid"].type == pa.string()
    assert cutouts.table["empty"].null_count == 3


def test_a_table_that_names_files_and_ids(tmp_path):
    folder = put(tmp_path / "images", "a.jpg", "sub/b.png", "sub/c.png", "d.jpg")
    text = f"file;object_id;label\na.jpg;X1;S\n./sub//b.png;X2;Q\nc;X3;Q\n{folder}/d.jpg;X4;S\n"
    cutouts = load(folder, text)
    assert cutouts.object_ids == ["X1", "X2", "X3", "X4"]
    assert cutouts.labels.tolist() == ["S", "Q", "Q", "S"]
    assert load(folder, "path\tlabel\na.jpg\tS\nb\tQ\nsub\\c.png\tQ\nd\tS\n").object_ids == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "are empty; the first line should name the columns"),
        (
            "file,kind\na.jpg,S\n",
            "has no column for the label; it should be called label, class, .* --column label=NAME; .* are file, kind",
        ),
        ("fil,label\na.jpg,S\n", "has no column for the image; it should be called object_id, objid"),
        ("objid,label\n1.24E+18,S\nb,S\n", r"'objid' holds 1.24E\+18: a spreadsheet rounded the ids"),
        ("file,label\na.jpg,S\n", r"1 images in .* have no row in .*labels.csv: b.jpg"),
        ("file,label\na.jpg,S\nb.jpg,Q\nc.jpg,Q\n", r"labels 1 images that are not in .*: c.jpg"),
        ("file,label\na.jpg,S\na,Q\nb,S\n", r"more than one row for 1 images: a.jpg"),
        ("file,label\n,S\nb,S\n", r"labels 1 images that are not in"),
        ("file,label\na.jpg,S,T\n", r"labels.csv, line 2: 3 values for 2 columns"),
        ('file,label\n"a.jpg,S\n', r"labels.csv, line 2: unexpected end of data"),
        ("file,label,label\na.jpg,S,S\n", "two columns called 'label'"),
        ("file,label\n../images/../secret.jpg,S\n", r"'../images/../secret.jpg' leads out of the folder"),
        ("file,label\n/etc/secret.jpg,S\n", r"labels 1 images that are not in .*: /etc/secret.jpg; .* --skip-missing"),
        ("file,object_id,label\na,1,S\nb,1,S\n", "object_id '1' occurs twice"),
        ("file,label,sha256\na,S,x\nb,S,x\n", "two columns would be called 'sha256'"),
        ("file,label\n\0,S\n", "labels 1 images that are not in"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, text, message):
    folder = put(tmp_path / "images", "a.jpg", "b.jpg")
    (tmp_path / "secret.jpg").write_bytes(encode(picture(9)))
    with pytest.raises(DataError, match=message) as caught:
        load(folder, text)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.parquet").exists()


def test_a_table_can_not_reach_out_through_a_link(tmp_path):
    folder = put(tmp_path / "images", "a.jpg")
    (tmp_path / "secret.jpg").write_bytes(encode(picture(9)))
    (folder / "b.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(DataError, match=r"'b.jpg' leads out of the folder"):
        load(folder, "file,label\na.jpg,S\nb.jpg,Q\n")


def test_ambiguous_missing_and_unreadable_tables(tmp_path):
    folder = put(tmp_path / "images", "x/a.jpg", "y/a.jpg", "a.png")
    with pytest.raises(DataError, match=r"'a' may be any of a.png, x/a.jpg, y/a.jpg; give the path"):
        load(folder, "file,label\na,S\n")
    with pytest.raises(DataError, match="no text in UTF-8"):
        load(folder, "file,label\n\x81,S\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"can't read the labels .*: No such file"):
        import_folder(folder, tmp_path / "out.parquet", tmp_path / "none.csv")


def test_wrong_folders(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        load(tmp_path / "none")
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"holds no images$"):
        load(tmp_path / "images")
    folder = put(tmp_path / "images", "a.jpg", "STAR/b.jpg")
    with pytest.raises(DataError, match=r"1 images lie directly in .* have no class \(a.jpg\).*--labels CSV"):
        load(folder)


def test_several_broken_images_are_counted_and_the_first_are_named(tmp_path):
    folder = put(tmp_path / "images", *(f"A/{i}.jpg" for i in range(6)), "B/6.jpg")
    for i in range(1, 5):
        (folder / f"A/{i}.jpg").write_bytes(b"\xff\xd8 torn")
    with pytest.raises(
        DataError, match=r"4 images can't be read: 1 \(.*\), 2 \(.*\), 3 \(.*\), \.\.\.; to leave out"
    ) as said:
        load(folder)
    assert "\n" not in str(said.value)
    assert not list(tmp_path.glob("*.parquet"))


def test_broken_images_and_sizes(tmp_path):
    folder = put(tmp_path / "images", "A/1.jpg", "A/2.jpg", "B/3.jpg")
    (folder / "A" / "2.jpg").write_bytes((folder / "A" / "1.jpg").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"A/2.jpg: the image of object '2' is broken: .*--skip-broken"):
        load(folder)
    result = import_folder(folder, tmp_path / "out.parquet", skip_broken=True)
    assert result.objects == 2
    assert list(result.broken) == ["2"]
    assert result.left_out == {"A/2.jpg": result.broken["2"]}
    put(folder, "C/4.jpg", size=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out.parquet"]
    for name in ("A/1.jpg", "B/3.jpg", "C/4.jpg"):
        (folder / name).write_bytes(b"")
    with pytest.raises(DataError, match="none of the 4 images can be used; the first is '1': it has no bytes"):
        import_folder(folder, tmp_path / "other.parquet", skip_broken=True)


TABLES = st.one_of(st.binary(max_size=200), st.text('abE+.0123456789,;\t"\n\r#-_ ', max_size=200).map(str.encode))


@few(1000)
def test_any_table_is_read_or_refused(tmp_path, examples):
    """T23: no other error than our own."""

    @settings(max_examples=examples, deadline=None)
    @given(TABLES, st.booleans())
    def check(content, header):
        (tmp_path / "t.csv").write_bytes(b"file,label,x,yid\n" + content if header else content)
        try:
            table = read_labels(tmp_path / "t.csv")
        except DataError:
            return
        for (_, kind), values in zip(table.columns, table.values, strict=True):
            pa.array(values, kind)

    check()


def floats(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode_fits(np.full((16, 16, 2), number, np.float32), "gr"))
    return folder


def test_fits_files_come_in_as_they_are(tmp_path, skythaw):
    folder = floats(tmp_path / "images", "STAR/a.fits", "QSO/b.FIT", "QSO/c.fits")
    done = skythaw("data", "import", folder, tmp_path / "out.parquet")
    assert done.returncode == 0, done.stderr
    found = {name: data for name, data, _ in read_cutouts(tmp_path / "out.parquet").images()}
    assert found == {name: file.read_bytes() for file in folder.rglob("*.*") for name in [file.stem]}


def test_images_of_several_kinds_are_refused(tmp_path, skythaw):
    folder = floats(put(tmp_path / "images", "STAR/a.jpg", "QSO/b.png", "QSO/c.jpg"), "STAR/d.fits")
    done = skythaw("data", "import", folder, tmp_path / "out.parquet")
    assert (done.returncode, (tmp_path / "out.parquet").exists()) == (2, False)
    assert "images of 2 kinds: 8 bits, such as JPEG or PNG (3 images), floats, such as FITS" in done.stderr
    assert done.stderr.count("\n") == 1

"""Tables of labels as people have them: names, encodings, formats, positions; what was put in comes back."""

from __future__ import annotations

import csv
import gzip
import io
import json
import unicodedata
import zipfile

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.coordinates import Angle
from astropy.table import Table
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers_data import encode, picture
from helpers_soak import few
from skythaw.data.class_names import is_no_label
from skythaw.data.cutouts import read_cutouts
from skythaw.data.sources import excel_table, text_tables
from skythaw.data.sources.column_names import FILE_NAMES, ID_NAMES, LABEL_NAMES
from skythaw.data.sources.folder import import_folder
from skythaw.data.sources.label_table import LabelSettings, read_labels
from skythaw.data.sources.rounded_ids import RoundedIds
from skythaw.data.sources.sky_positions import PositionCheck, read_degrees
from skythaw.errors import DataError, SpecError

IDS = [str(1237648672922272244 + 7 * n) for n in range(4)]
CLASSES = ["STAR", "QSO", "STAR", "GALAXY"]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(IDS):
        (folder / f"{name}.jpg").write_bytes(encode(picture(number)))
    return folder


def load(images, content, name="labels.csv", **settings):
    """Import with a table; returns the result and the cutouts."""
    table = images.parent / name
    if content is not None:
        table.write_bytes(content if isinstance(content, bytes) else content.encode())
    out = images.parent / "out.parquet"
    result = import_folder(images, out, LabelSettings(table, **settings))
    return result, read_cutouts(out, need_labels=False)


def rows(*lines):
    return "\n".join(lines) + "\n"


def labelled(header, ids=IDS, classes=CLASSES, separator=","):
    return rows(header, *(separator.join(pair) for pair in zip(ids, classes, strict=True)))


@pytest.mark.parametrize("image", [*FILE_NAMES, *ID_NAMES, "GalaxyID", "FILE_LOC", "File Name"])
def test_columns_of_images_are_found_by_their_usual_names(images, image):
    assert load(images, labelled(f"{image},label"))[1].labels.tolist() == CLASSES


@pytest.mark.parametrize("label", [*LABEL_NAMES, "Class", "TARGET"])
def test_columns_of_labels_are_found_by_their_usual_names(images, label):
    assert load(images, labelled(f"id,{label}"))[1].labels.tolist() == CLASSES


def test_a_y_beside_an_x_is_no_label(images):
    with pytest.raises(DataError, match=r"no column for the label.*--column label=NAME"):
        load(images, rows("id,x,y", *(f"{name},1,2" for name in IDS)))


def test_columns_as_the_user_says(images):
    content = rows("what,where,label,n", *(f"A{n},{name},other,{n}" for n, name in enumerate(IDS)))
    _, cutouts = load(images, content, columns={"file": "where", "label": "what"})
    assert cutouts.labels.tolist() == ["A0", "A1", "A2", "A3"]
    assert set(cutouts.column("label_in_table")) == {"other"}
    with pytest.raises(DataError, match="no column 'wher'; did you mean 'where'"):
        load(images, content, columns={"file": "wher"})
    with pytest.raises(DataError, match="can't be called 'fil'; did you mean 'file'"):
        load(images, content, columns={"fil": "where"})


@pytest.mark.parametrize("prefix", ["/other/machine/J000/", "C:\\data\\", "images/", ""])
def test_files_of_another_machine_are_found_by_their_end(images, prefix):
    content = labelled("iauname,file_loc,label", ids=[f"J{n},{prefix}{name}.jpg" for n, name in enumerate(IDS)])
    _, cutouts = load(images, content)
    assert cutouts.object_ids == ["J0", "J1", "J2", "J3"]
    assert cutouts.labels.tolist() == CLASSES


def test_files_of_another_part_are_not_those_of_this_one(images):
    """A folder called train, and a table of the test images, whose numbers begin at 0 as well."""
    train = images.rename(images.parent / "train")
    _, cutouts = load(train, labelled("file,label", ids=[f"train/{name}.jpg" for name in IDS]))
    assert cutouts.labels.tolist() == CLASSES
    for prefix in ("test/", "/other/machine/test/"):
        with pytest.raises(DataError, match="labels 4 images that are not in"):
            load(train, labelled("file,label", ids=[f"{prefix}{name}.jpg" for name in IDS]))


def test_paths_from_the_folder_of_the_table(images):
    tables = images.parent / "tables"
    tables.mkdir()
    content = labelled("file,label", ids=[f"../images/{name}.jpg" for name in IDS])
    assert load(images, content, "tables/labels.csv")[1].labels.tolist() == CLASSES
    with pytest.raises(DataError, match="leads out of the folder"):
        load(images, content.replace("../images", "../../images"), "tables/labels.csv")


@pytest.mark.parametrize("form", ["{}.png", "{}.JPG", "/old/{}.fits.gz"])
def test_images_that_were_converted_since_are_found(images, form):
    result, cutouts = load(images, labelled("file,label", ids=[form.format(name) for name in IDS]))
    assert cutouts.labels.tolist() == CLASSES
    said = {"image found, though its file has another ending than the table says": len(IDS)}
    assert result.changed == ({} if form.endswith("JPG") else said)
    with pytest.raises(DataError, match="labels 1 images that are not in"):
        load(images, labelled("file,label", ids=[f"{IDS[0]}.txt", *IDS[1:]]))


def test_the_column_that_finds_most_images_is_taken(images):
    content = labelled("id,image_path,dr7objid,label", ids=[f"{n},/old/{n}.png,{name}" for n, name in enumerate(IDS)])
    assert load(images, content)[1].object_ids == ["0", "1", "2", "3"]


def test_labels_for_some_images_and_images_for_some_labels(images):
    content = labelled("id,label", ids=[*IDS[:2], "77"], classes=["S", "", "Q"])
    with pytest.raises(DataError, match=r"labels 1 images that are not in .*77; --labelled-only .*--skip-missing"):
        load(images, content)
    with pytest.raises(DataError, match=r"2 images in .* have no row in .*; --labelled-only .*--skip-missing"):
        load(images, content, skip_missing=True)
    result, cutouts = load(images, content, skip_missing=True, labelled_only=True)
    assert cutouts.labels.tolist() == ["S", None]
    assert set(result.left_out) == {"77", f"{IDS[2]}.jpg", f"{IDS[3]}.jpg"}
    assert result.left_out["77"].startswith("its image is not in")
    assert result.left_out[f"{IDS[2]}.jpg"] == "it has no row in labels.csv"
    assert result.changed == {"row without a label, kept as unlabelled": 1}


def test_options_on_the_command_line(images, skythaw, tmp_path):
    (tmp_path / "l.csv").write_text(labelled("num,kind", ids=IDS[:3], classes=CLASSES[:3]))
    command = ["data", "import", images, tmp_path / "out.parquet"]
    done = skythaw(*command, "--labels", tmp_path / "l.csv", "--column", "file=num", "--column", "label=kind")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = skythaw(
        *command, "--labels", tmp_path / "l.csv", "--column", "file=num", "--column", "label=kind", "--labelled-only"
    )
    assert done.returncode == 0, done.stderr
    assert f"it has no row in l.csv {IDS[3]}.jpg 1" in " ".join(done.stdout.split())
    done = skythaw(*command, "--labelled-only")
    assert (done.returncode, "give it with --labels" in done.stderr) == (2, True)


VOTES = rows(
    "GalaxyID,smooth,disc,artifact", f"{IDS[0]},0.7,0.2,0.1", f"{IDS[1]},.4,.4,.2", f"{IDS[2]},,,", f"{IDS[3]},0.1,,0.3"
)


@pytest.mark.parametrize("columns", [("smooth", "disc", "artifact"), ("*o*", "disc", "art*")])
def test_vote_fractions_become_classes(images, columns):
    result, cutouts = load(images, VOTES, argmax=columns)
    assert cutouts.labels.tolist() == ["smooth", None, None, "artifact"]
    assert list(result.changed.values()) == [1, 1]
    assert cutouts.column("smooth")[0] == 0.7


def test_vote_fractions_that_can_not_be_used(images):
    with pytest.raises(SpecError, match="has no column 'smoth'; did you mean 'smooth'"):
        load(images, VOTES, argmax=("smoth",))
    with pytest.raises(SpecError, match="two or more columns"):
        load(images, VOTES, argmax=("smooth",))
    with pytest.raises(DataError, match=r"column 'disc' .* should hold numbers"):
        load(images, VOTES.replace("0.2,0.1", "x,0.1"), argmax=("smooth", "disc"))
    with pytest.raises(SpecError, match="--argmax makes the label"):
        load(images, VOTES, argmax=("smooth", "disc"), columns={"label": "disc"})


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("cp1252", "cp1252"),
    ],
)
def test_encodings_are_recognised_and_said(images, encoding, said):
    content = labelled("id;label", classes=["Étoile", "Quasar", "Étoile", "Müller"], separator=";").encode(encoding)
    result, cutouts = load(images, content)
    assert cutouts.labels.tolist() == ["Étoile", "Quasar", "Étoile", "Müller"]
    assert [said in note for note in result.notes] == [True] * (said is not None)


@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_names_that_unicode_writes_in_two_ways_are_equal(tmp_path, written):
    other = {"NFC": "NFD", "NFD": "NFC"}[written]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / unicodedata.normalize(other, "étoile.jpg")).write_bytes(encode(picture(0)))
    for folder in ("", "images/", "/other/machine/"):
        content = rows("file,label", folder + unicodedata.normalize(written, "étoile.jpg") + ",S")
        assert load(tmp_path / "images", content)[1].labels.tolist() == ["S"]


def excel(path, header, columns):
    book = openpyxl.Workbook()
    for row in [header, *zip(*columns, strict=True)]:
        book.active.append(row)
    book.save(path)


def write(path, header, columns):
    """A table as a file of the kind that its ending says."""
    ending = path.name.partition(".")[2]
    if ending == "xlsx":
        excel(path, header, columns)
    elif ending == "parquet":
        pq.write_table(pa.table(dict(zip(header, columns, strict=True))), path)
    elif ending in ("csv.gz", "tsv"):
        text = io.StringIO()
        csv.writer(text, delimiter="\t" if ending == "tsv" else ",").writerows([header, *zip(*columns, strict=True)])
        data = text.getvalue().encode()
        path.write_bytes(gzip.compress(data) if ending == "csv.gz" else data)
    else:
        kind = {"fits": "fits", "fits.gz": "fits", "ecsv": "ascii.ecsv", "vot": "votable"}[ending]
        Table(dict(zip(header, columns, strict=True))).write(path, format=kind)
    return path


@pytest.mark.parametrize("ending", ["xlsx", "parquet", "csv.gz", "tsv", "fits", "fits.gz", "ecsv", "vot"])
@pytest.mark.parametrize("name", ["labels.{}", "labels"])
def test_formats_are_told_by_content(images, ending, name):
    table = write(
        images.parent / f"t.{ending}",
        ["objID", "class", "mag", "RA", "DEC"],
        [IDS, CLASSES, [1.5, 2, 3, 4], [350.5, 1, 2, 3], [-1.5, 2, 3, 4]],
    )
    table.rename(images.parent / name.format(ending))
    _, cutouts = load(images, None, name.format(ending))
    assert cutouts.object_ids == IDS
    assert cutouts.labels.tolist() == CLASSES
    assert cutouts.column("mag").tolist() == [1.5, 2, 3, 4]
    assert cutouts.numbers("ra").tolist() == [350.5, 1, 2, 3]


@pytest.mark.parametrize("ending", ["fits", "parquet", "ecsv"])
def test_ids_that_are_decimal_numbers_are_refused(images, ending):
    numbers = np.array([float(name) for name in IDS])
    write(images.parent / f"t.{ending}", ["objid", "class"], [numbers, CLASSES])
    with pytest.raises(DataError, match=r"'objid' holds 12376\d+ as a decimal number \(float64\), which loses digits"):
        load(images, None, f"t.{ending}")
    write(images.parent / f"small.{ending}", ["objid", "class"], [np.array([1.0, 2, 3, 4]), CLASSES])
    assert read_labels(images.parent / f"small.{ending}").ids == ("1", "2", "3", "4")


ROUNDED = [str(int(float(name))) for name in [*IDS, "1237648720693755918"]]
SHORT = [f"{float(name):.15g}" for name in IDS]


@pytest.mark.parametrize("ids", [ROUNDED[:4], [str(int(float(x))) for x in SHORT], [f"{x[:15]}0000" for x in IDS]])
def test_ids_that_were_rounded_are_refused(images, ids):
    with pytest.raises(DataError, match="all large ids are rounded as decimal numbers are"):
        load(images, labelled("objid,label", ids=ids))
    with pytest.raises(DataError, match=r"all of them are rounded as decimal numbers are .*--skip-missing"):
        load(images, labelled("file,label", ids=[f"{x}.jpg" for x in ids]))


@pytest.mark.parametrize(
    ("column", "ids"),
    [
        ("objid", [*ROUNDED[:3], IDS[0]]),
        ("objid", ROUNDED[:1]),
        ("objid", ["1", "2", "3", "256", "512"]),
        ("specobjid", [str(299489676975171584 + 1024 * n) for n in range(20)]),
        ("source_id", [str(600000000000000000 + 128 * n) for n in range(20)]),
        ("objid", [str(10**18 + 256 * n + 1) for n in range(9)]),
    ],
)
def test_ids_that_only_look_rounded_pass(column, ids):
    check = RoundedIds(column)
    check.add(ids)
    assert not check.found


NAMES = [
    ("RA", "DEC"),
    ("Ra", "Dec"),
    ("RAJ2000", "DEJ2000"),
    ("_RAJ2000", "_DEJ2000"),
    ("ALPHA_J2000", "DELTA_J2000"),
    ("ra_deg", "dec_deg"),
    ("RA (deg)", "DEC [deg]"),
]


@pytest.mark.parametrize(("ra", "dec"), NAMES)
def test_positions_are_found_and_become_ra_and_dec(images, ra, dec):
    content = rows(
        f"id,label,{ra},{dec}",
        *(f"{x},{c},{n - 2}.5,-{n}.25" for n, (x, c) in enumerate(zip(IDS, CLASSES, strict=True))),
    )
    result, cutouts = load(images, content)
    assert cutouts.column("ra").tolist() == [357.5, 358.5, 0.5, 1.5]
    assert cutouts.column("dec").tolist() == [-0.25, -1.25, -2.25, -3.25]
    assert result.changed == {"right ascension wrapped to 0..360": 2}
    assert result.notes == ("2 right ascensions lay outside 0..360 degrees and were wrapped",)


@pytest.mark.parametrize(
    ("header", "ra", "dec", "degrees"),
    [
        ("ra;dec", "12:34:56.7", "-01:02:03", (188.73625, -1.0341667)),
        ("ra;dec", "12 34 56.7", "-00 00 36", (188.73625, -0.01)),
        ("ra;dec", "12h34m56s", "+01d02m03s", (188.7333333, 1.0341667)),
        ("ra;dec", "197,614455", "-0,5", (197.614455, -0.5)),
        ("ra (hours);dec", "1.5", "1", (22.5, 1)),
        ("ra_hours;dec", "1.5", "1", (22.5, 1)),
        ("ra (deg);dec", "12:30:00", "1:30:00", (12.5, 1.5)),
    ],
)
def test_notations_of_positions(images, header, ra, dec, degrees):
    content = rows(f"id;label;{header}", *(f"{x};{c};{ra};{dec}" for x, c in zip(IDS, CLASSES, strict=True)))
    _, cutouts = load(images, content)
    assert (cutouts.column("ra")[0], cutouts.column("dec")[0]) == pytest.approx(degrees)


@pytest.mark.parametrize(
    ("ra", "dec", "message"),
    [
        ("1", "91", r"row 1: dec = 91 is outside -90 to 90 degrees; are ra and dec swapped\?"),
        ("200", "-9999", "row 1: dec = -9999 is outside -90 to 90 degrees; leave the cell empty"),
        ("-999", "1", "row 1: ra = -999 is outside 0 to 360 degrees"),
        ("x", "1", "row 1: column 'ra' should hold degrees, not 'x'"),
        ("25:00:00", "1", "row 1: column 'ra' should hold degrees, not '25:00:00'"),
    ],
)
def test_what_is_no_position_is_refused_with_its_row(images, ra, dec, message):
    with pytest.raises(DataError, match=message):
        load(images, rows("id,label,ra,dec", *(f"{x},S,{ra},{dec}" for x in IDS)))


def test_right_ascensions_are_wrapped_by_one_turn():
    ra = [-360.0, -0.5, 0.0, 359.5, 360.0, 719.5, 720.0, -361.0, -1e-20, None]
    check = PositionCheck()
    assert check.wrap(ra, [0.0] * len(ra)) == [0, 359.5, 0, 359.5, 0, 359.5, 720, -361, 0, None]
    assert check.changed == {"right ascension wrapped to 0..360": 5}


@pytest.mark.parametrize(("header", "ra", "said"), [("ra", "{}.5", 1), ("ra_hours", "0.{}", 0), ("ra", "00:0{}:30", 0)])
def test_right_ascensions_that_were_read_as_hours_are_not_suspicious(images, header, ra, said):
    lines = [f"{name},{label},{ra.format(n)},1" for n, (name, label) in enumerate(zip(IDS, CLASSES, strict=True))]
    result, _ = load(images, rows(f"objid,label,{header},dec", *lines))
    assert len(result.notes) == said


def test_suspicious_positions_are_said():
    def notes(ra, dec):
        check = PositionCheck()
        check.wrap(ra, dec)
        return " ".join(check.notes)

    assert "they are taken as degrees. If they are hours, call the column ra_hours" in notes([1, 12, 23.0], [1, 2, 3.0])
    assert "look swapped" in notes([1, 2, 3.0], [120, 2, 3.0])
    assert "2 objects lie at ra = 0, dec = 0" in notes([0, 0, 100.0], [0, 0, 3.0])
    assert not notes([1, 100, None], [1, 2, 3.0])


@few(300)
def test_positions_come_back_in_every_notation(examples):
    """As astropy writes and reads them."""

    @settings(max_examples=examples, deadline=None)
    @given(
        st.lists(st.tuples(st.floats(0, 359.999), st.floats(-90, 90)), min_size=1, max_size=5),
        st.sampled_from([":", " ", "fromunit"]),
    )
    def check(places, separator):
        ra, dec = (Angle(list(axis), units.deg) for axis in zip(*places, strict=True))
        hours = ra.to_string(units.hourangle, sep=separator, precision=8)
        degrees = dec.to_string(units.deg, sep=separator, precision=8, alwayssign=True)
        assert read_degrees(list(hours), "ra") == pytest.approx(ra.deg.tolist(), abs=1e-9)
        assert read_degrees(list(degrees), "dec") == pytest.approx(dec.deg.tolist(), abs=1e-9)
        assert read_degrees([repr(x).replace(".", ",") for x in ra.deg.tolist()], "ra") == ra.deg.tolist()
        assert read_degrees((ra.deg / 15).tolist(), "ra", "hourangle") == pytest.approx(ra.deg.tolist())

    check()


LETTERS = st.characters(codec="cp1252", exclude_categories=["Cc", "Zs"])
CELL = st.text(LETTERS, max_size=8).filter(lambda text: not text.startswith("#"))


@few(150)
def test_any_table_gives_back_what_was_put_in(tmp_path, examples):
    def case(name):
        return st.sampled_from([name, name.upper(), name.title()])

    @settings(max_examples=examples, deadline=None)
    @given(
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
        st.sampled_from(",;\t|"),
        st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        st.sampled_from(FILE_NAMES).flatmap(case),
        st.sampled_from([name for name in LABEL_NAMES if name != "y"]).flatmap(case),
        st.lists(st.tuples(CELL.filter(bool), CELL.filter(is_label), CELL), min_size=1, max_size=6),
    )
    def check(encoding, separator, quoting, file, label, cells):
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=separator, quoting=quoting)
        writer.writerows([[file, label, "note"], *cells])
        content = text.getvalue().encode(encoding)
        if encoding == "cp1252":  # nobody can tell the two apart where the bytes are UTF-8 as well
            assume(content.decode("utf-8", "ignore").encode() != content or content.isascii())
        (tmp_path / "t.csv").write_bytes(content)
        table = read_labels(tmp_path / "t.csv")
        assert table.files[0] == (file, tuple(cell[0] for cell in cells))
        assert table.labels == tuple(cell[1] or None for cell in cells)
        ((kind, values),) = zip([kind for _, kind in table.columns], table.values, strict=True)
        if kind == pa.string():
            assert values == tuple(cell[2] or None for cell in cells)

    check()


@pytest.mark.parametrize("ending", ["parquet", "fits", "jsonl", "json"])
def test_columns_that_are_neither_numbers_nor_texts_are_named(tmp_path, ending):
    path = tmp_path / f"labels.{ending}"
    columns = {"file": ["a.png", "b.png"], "label": ["STAR", "QSO"], "flux": [[1.0, 2.0], [3.0, 4.0]]}
    if ending == "fits":
        Table(columns).write(path)
    elif ending == "parquet":
        pq.write_table(pa.table(columns), path)
    else:
        rows = [json.dumps(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
        path.write_text("\n".join(rows) if ending == "jsonl" else f"[{','.join(rows)}]")
    table = read_labels(path)
    assert table.columns == ()
    (note,) = table.notes
    assert note.startswith(f"columns of {path} that hold neither numbers nor texts are not kept: flux (")


@pytest.mark.parametrize(
    ("lines", "files"),
    [
        (["# file,label", "a.png,STAR", "b.png,QSO"], ("a.png", "b.png")),
        (["# made today", '#"file" , label', "a.png,STAR", "", "b.png,QSO"], ("a.png", "b.png")),
        (["# file;label", "a.png;STAR"], ("a.png",)),
        (["# the files, their classes", "file,label", "a.png,STAR"], ("a.png",)),
        (["# file,class", "file,label", "a.png,STAR"], ("a.png",)),
        (["#Table1", "file,label", "a.png,STAR"], ("a.png",)),
    ],
)
def test_a_header_behind_a_hash_is_told_from_a_remark(tmp_path, lines, files):
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    table = read_labels(tmp_path / "t.csv")
    assert table.files == (("file", files),)
    assert table.labels == ("STAR", "QSO")[: len(files)]


def is_label(text):
    return text != "-1" and not is_no_label(text)


def bomb(kind, path):
    if kind == "gz of zeros":
        path.write_bytes(gzip.compress(bytes(8 << 20)))
    elif kind == "gz of text":
        path.write_bytes(gzip.compress(b"file,label\n" + b"a,b\n" * (2 << 20)))
    elif kind == "many rows":
        pq.write_table(pa.table({"label": pa.array(["a"]).take(np.zeros(10_000_001, int))}), path)
    elif kind == "gz of FITS":
        path.write_bytes(gzip.compress(b"SIMPLE  =" + bytes(8 << 20)))
    elif kind == "long line":
        path.write_bytes(b"file,label\n" + b"a" * (3 << 20))
    elif kind == "many columns":
        path.write_bytes(b"file,label" + b",a" * 20_000)
    elif kind.startswith("xlsx"):
        excel(path, ["file", "label"], [["a"], ["b"]])
        with zipfile.ZipFile(path) as book:
            parts = {name: book.read(name) for name in book.namelist()}
        if kind == "xlsx bomb":
            parts["xl/x.bin"] = bytes(130 << 20)
        if kind == "xlsx entities":
            parts["xl/workbook.xml"] = b'<!DOCTYPE a [<!ENTITY b "c">]>' + parts["xl/workbook.xml"]
        if kind == "xlsx of rows":
            cell = b'<row r="99999999"><c r="XFD99999999"><v>1</v></c></row></sheetData>'
            parts["xl/worksheets/sheet1.xml"] = parts["xl/worksheets/sheet1.xml"].replace(b"</sheetData>", cell)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
            for name, data in parts.items():
                book.writestr(name, data)
    else:
        path.write_bytes(b"PK\x03\x04" + bytes(100))
    return path


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        (["nan", "STAR", "N/A", "null"], [None, "STAR", None, None]),
        (["-1", "0", "1", "2"], [None, "0", "1", "2"]),
        (["-1", "1", "1", "-1"], ["-1", "1", "1", "-1"]),
        (["-1", "0", "STAR", "1"], ["-1", "0", "STAR", "1"]),
        (["NA", "none", "None", "-"], [None, "none", None, "-"]),
        (["-1.0", "0.0", "1.0", "2.00"], [None, "0", "1", "2"]),
        (["", "0.0", "1.0", "7.0"], [None, "0", "1", "7"]),
        (["0.5", "0.0", "1.0", "7.0"], ["0.5", "0.0", "1.0", "7.0"]),
    ],
)
def test_what_stands_for_no_label_is_no_class(images, written, labels):
    result, cutouts = load(images, labelled("objid,label", classes=written))
    assert cutouts.labels.tolist() == labels
    missing = labels.count(None)
    assert result.changed == ({"row without a label, kept as unlabelled": missing} if missing else {})


def test_json_as_pandas_writes_it(images):
    found = [{"file": f"{name}.jpg", "label": label, "z": 0.5} for name, label in zip(IDS, CLASSES, strict=True)]
    del found[1]["z"]
    _, cutouts = load(images, json.dumps(found), "labels.json")
    assert cutouts.labels.tolist() == CLASSES
    assert cutouts.column("z").tolist()[0] == 0.5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "it is an old Excel file .* save it as .xlsx or as CSV"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "it is an HDF5 file"),
        (b"ARROW1" + bytes(600), "it is a Feather file"),
        (b"file label\na.jpg STAR\n", "its columns \\('file label'\\) are separated by blanks; save it with commas"),
        (b"file  label  ra\na.jpg  STAR  1\n", "separated by blanks"),
        (b'["a", "b"]', "a JSON array, but not of objects"),
        (b"[" * 100_000, "it is no JSON: "),
        (b"[1, 2", "it is no JSON: Expecting"),
        (b"[]", "^[^:]* has no rows"),
        (b'{"file": {"0": "a.jpg"}, "label": {"0": "S"}}', "holds no plain values; pandas writes what is read with"),
        (b"", "^the labels .* are empty"),
    ],
)
def test_other_tables_are_named(images, content, message):
    with pytest.raises(DataError, match=message) as caught:
        load(images, content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("gz of zeros", "longer than 1048576 characters|unpacks to more"),
        ("gz of text", "it unpacks to more than 4 MiB"),
        ("many rows", "has more than 10000000 rows"),
        ("gz of FITS", "can't read the labels"),
        ("long line", "line 2: it is longer than 1048576 characters"),
        ("many columns", "has 20002 columns; at most 10000"),
        ("xlsx bomb", "unpacks to more than 128 MiB"),
        ("xlsx entities", "entities or a document type"),
        ("xlsx of rows", "more than 100000 cells or rows"),
        ("zip", "can't read the labels .*: File is not a zip file"),
    ],
)
def test_hostile_tables_are_refused_in_one_line(kind, message, tmp_path, monkeypatch):
    monkeypatch.setattr(text_tables, "LARGEST_UNPACKED", 4 << 20)
    monkeypatch.setattr(excel_table, "MOST_CELLS", 100_000)
    with pytest.raises(DataError, match=message) as caught:
        read_labels(bomb(kind, tmp_path / "t"))
    assert "\n" not in str(caught.value)


def test_the_table_of_labels_is_not_written_over(images, skythaw):
    """The user forgot ``--labels``."""
    table = images.parent / "labels.csv"
    table.write_text(labelled("file,label"))
    done = skythaw("data", "import", images, table)
    assert done.returncode == 2
    assert "its name should end in .parquet; the table of labels is given with --labels" in done.stderr
    assert table.read_text() == labelled("file,label")

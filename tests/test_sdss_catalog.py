"""The user's own catalogue: four kinds of file, read without losing a digit, or refused in one line."""

from __future__ import annotations

import contextlib
import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Column, Table
from astropy.time import Time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers_sdss import fetch, requests_of
from helpers_soak import few
from sdss_server import serving
from sdss_universe import Universe
from skythaw.data.cutouts import read_cutouts
from skythaw.data.sources.sdss.positions import read_catalog
from skythaw.data.sources.sdss.sdss_request import Request
from skythaw.errors import DataError

SKY = {"objects": 30, "seed": 9}
UNIVERSE = Universe(**SKY)
LONG = "1237648720693755918"
IDS = ["007", LONG, "a b"]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("sdss") / "log"


@pytest.fixture(scope="module")
def url(log):
    with serving({**SKY, "log": str(log)}) as address:
        yield address


def read(path, content=None, **called):
    """Items of a catalogue, and the types of its other columns."""
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    catalog = read_catalog(path, called)
    return list(catalog.items), {name: str(kind) for name, kind in catalog.columns}


ROWS = "007,10.5,-1,STAR\n1237648720693755918,0,90,\na b,359.999,+2.5,QSO\n"


def test_columns_that_the_images_bring_are_named(tmp_path):
    (tmp_path / "c.csv").write_text("ra,dec,release,mag,pixel_scale\n1,2,DR7,19,0.3\n")
    catalog = read_catalog(tmp_path / "c.csv", {})
    assert [name for name, _ in catalog.columns] == ["mag"]
    assert catalog.notes == [f"left out of {tmp_path / 'c.csv'}, for the images bring their own: release, pixel_scale"]
    (tmp_path / "d.csv").write_text("ra,dec,mag,run\n1,2,3,4\n")
    assert read_catalog(tmp_path / "d.csv", {}).notes == []


@pytest.mark.parametrize(
    "content",
    [
        "objid,ra,dec,class\n" + ROWS,
        "\ufeffobjid,ra,dec,class\n" + ROWS,
        "#Table1\n# two, lines\nobjid,ra,dec,class\n" + ROWS,
        "\ufeff#Table1\nobjid,ra,dec,class\n" + ROWS,
        "objid;ra;dec;class\n" + ROWS.replace(",", ";"),
        "objid\tra\tdec\tclass\n" + ROWS.replace(",", "\t"),
        "\tobjid,ra,dec\t, class \n" + ROWS.replace(",", " ,  "),
        ("objid,ra,dec,class\n" + ROWS).replace("\n", "\r\n"),
        '"objid","ra","dec","class"\n' + ROWS.replace("a b", '"a b"'),
        "objid,ra,dec,class\n" + ROWS.rstrip("\n").replace(",\n", ",null\n"),
        "objid,ra,dec,class\n" + ROWS.replace(",\n", ",None\n"),
        "# objid,ra,dec,class\n" + ROWS,
    ],
    ids=[
        "plain",
        "bom",
        "comments",
        "bom_comments",
        "semicolons",
        "tabs",
        "blanks",
        "crlf",
        "quotes",
        "no_last_line",
        "None",
        "hash",
    ],
)
def test_a_csv_is_read_however_it_is_written(content, tmp_path):
    items, _ = read(tmp_path / "c.csv", content)
    assert [item.object_id for item in items] == IDS
    assert [item.label for item in items] == ["STAR", None, "QSO"]
    assert [(item.ra, item.dec) for item in items] == [(10.5, -1), (0, 90), (359.999, 2.5)]


def tables(path, extra=None):
    """A small table as a file of the kind that the ending says."""
    columns = {"objID": IDS, "RA": [10.5, 0.0, 359.999], "Dec": [-1.0, 90.0, 2.5], "n": [1, 2, 3], "mag": [1.5, 2, 3]}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns | (extra or {})), path)
    else:
        table = Table(columns | (extra or {}))
        table["mag"].unit = "mag"
        table.write(path, format="ascii.ecsv" if path.suffix == ".ecsv" else "votable")
    return path


@pytest.mark.parametrize("ending", ["ecsv", "vot", "xml", "parquet"])
def test_other_kinds_of_file_give_the_same(ending, tmp_path):
    items, columns = read(tables(tmp_path / f"c.{ending}", {"class": ["STAR", "QSO", "STAR"]}))
    assert [item.object_id for item in items] == IDS
    assert [(item.ra, item.dec) for item in items] == [(10.5, -1), (0, 90), (359.999, 2.5)]
    assert [item.label for item in items] == ["STAR", "QSO", "STAR"]
    assert columns == {"n": "int64", "mag": "double"}
    assert [item.extra for item in items] == [{"n": n, "mag": mag} for n, mag in ((1, 1.5), (2, 2.0), (3, 3.0))]


@pytest.mark.parametrize("ending", ["ecsv", "vot", "parquet"])
def test_ids_beyond_63_bits_keep_their_digits(ending, tmp_path):
    own = np.array([2**63 + 5, 1, 2**64 - 1], np.uint64)
    if ending == "vot":
        own = own.astype(str)  # VOTable has no such number
    items, _ = read(tables(tmp_path / f"c.{ending}", {"specObj": own}), object_id="specObj")
    assert [item.object_id for item in items] == [str(2**63 + 5), "1", str(2**64 - 1)]


def test_an_ecsv_with_times_and_arrays_keeps_its_plain_columns(tmp_path):
    table = Table({"ra": [1.0, 2.0], "dec": [3.0, 4.0]}, masked=True)
    table["when"], table["box"] = Time([59000.0, 59001.0], format="mjd"), Column(np.ones((2, 3)))
    table["mag"] = np.ma.array([20.5, 0], mask=[False, True])
    table.write(tmp_path / "c.ecsv", format="ascii.ecsv")
    items, columns = read(tmp_path / "c.ecsv")
    assert (columns, [item.extra for item in items]) == ({"mag": "double"}, [{"mag": 20.5}, {"mag": None}])


def test_categories_of_a_parquet_file_are_text(tmp_path):
    label = pa.array(["STAR", None, "STAR"]).dictionary_encode()
    items, _ = read(tables(tmp_path / "c.parquet", {"label": label}))
    assert [item.label for item in items] == ["STAR", None, "STAR"]


def test_columns_are_found_by_name_or_as_given(tmp_path):
    content = "RAJ2000,DEJ2000,obj,kind,mean\n1.5,2.5,1.10,7,12\n3.5,4.5,1.1,8,13\n"
    items, columns = read(tmp_path / "c.csv", content)
    assert [item.object_id for item in items] == ["0000001", "0000002"], "rows without ids are numbered"
    assert columns == {"obj": "double", "kind": "int64", "mean": "int64"}
    items, columns = read(tmp_path / "c.csv", object_id="obj", label="kind", ra="mean")
    assert [(item.object_id, item.label, item.ra) for item in items] == [("1.10", "7", 12), ("1.1", "8", 13)]
    assert columns == {"RAJ2000": "double"}


def test_extra_columns_have_the_narrowest_type_that_loses_nothing(tmp_path):
    header = "id,ra,dec,whole,signed,number,text,code,long,bestObjID,formula,none,late"
    rows = [f'1,1,1,5,+5,1e3,x,007,{LONG}9,{LONG},"=1+1",,1', f"2,2,2,-6,-7,nan,y,12,{LONG}9,{LONG},+cmd,,2.5"]
    items, columns = read(tmp_path / "c.csv", "\n".join([header, *rows, f"3,3,3,,,,,,,{LONG},@SUM(A1),,z"]) + "\n")
    assert columns == {
        **{"whole": "int64", "signed": "double", "number": "double", "text": "string", "code": "string"},
        **{"long": "string", "bestObjID": "string", "formula": "string", "none": "string", "late": "string"},
    }
    assert [item.extra["formula"] for item in items] == ["=1+1", "+cmd", "@SUM(A1)"]
    assert [item.extra["signed"] for item in items] == [5, -7, None]
    assert [item.extra["number"] for item in items] == [1000, None, None]
    assert items[0].extra["long"] == f"{LONG}9"


def test_an_index_without_a_name_is_no_column_and_names_may_be_quoted(tmp_path):
    """As pandas writes a table; the index is left out."""
    items, columns = read(tmp_path / "c.csv", ',id,ra,dec,"note, long"\n0,a,1,2,x\n1,b,3,4,"y, z"\n')
    assert [(item.object_id, item.ra, item.extra) for item in items] == [
        *(("a", 1, {"note, long": "x"}), ("b", 3, {"note, long": "y, z"}))
    ]
    assert columns == {"note, long": "string"}


def test_quoted_newlines_are_part_of_their_cell_wherever_they_are(tmp_path):
    more = "c,\n" * 30
    rows = [f'{n},1,1,"a\nb, ""{n}""\n{more}"\n' for n in range(30_000)]
    items, _ = read(tmp_path / "c.csv", "id,ra,dec,note\n" + "".join(rows))
    assert len(items) == len(rows)
    assert all(item.extra["note"].startswith(f'a\nb, "{n}"\n') for n, item in enumerate(items))


TWO = "id,ra,dec\n1,1,1\n"
VOT = (
    '<?xml version="1.0"?>{}<VOTABLE version="1.4"><RESOURCE><TABLE><FIELD name="ra" datatype="double"/>{}'
    "</TABLE></RESOURCE></VOTABLE>"
)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.csv", "objid,ra,dec\n1.24E+18,1,1\n", "'objid' holds 1.24E\\+18: a spreadsheet rounded the ids"),
        ("c.csv", "", "can't read|has no rows"),
        ("c.csv", "id,ra,dec\n", "c.csv has no rows|Empty CSV"),
        ("c.csv", TWO + "2,2,2,2\n", "Expected 3 columns, got 4"),
        ("c.csv", TWO + "2,2\n", "Expected 3 columns, got 2"),
        ("c.csv", TWO.encode() + b"\x81,2,2\n", "no text in UTF-8 .invalid start byte., nor in UTF-16 or cp1252"),
        ("c.csv", TWO.encode() + b"\xff\0,2,2\n", "it has the byte 0x00"),
        ("c.csv", TWO + ",2,2\n", "'id' is empty in 1 rows"),
        ("c.csv", "id,ra,dec\n1,10.5,1\n2,12:34:56.7,1\n", "'ra' should hold degrees, not '12:34:56.7'"),
        (
            "c.csv",
            "id,x,y\n1,1,1\n",
            "has no column for ra; call it ra, .* with --column ra=NAME; the columns are id, x, y",
        ),
        ("c.csv", "id,ra,ra,dec\n1,1,1,1\n", "two columns are called 'ra'"),
        ("c.csv", "<html><body>not found</body></html>", "it is a web page, and no table"),
        ("c.csv", "\n<!DOCTYPE html>\n<html><body>not found</body></html>", "it is a web page, and no table"),
        ("c.ecsv", gzip.compress(b"# %ECSV 1.0\n", mtime=0), "can't read"),
        ("c.vot", gzip.compress(VOT.encode(), mtime=0), "can't read"),
        ("c.csv.gz", gzip.compress(TWO.encode(), mtime=0)[:-9], "can't read"),
        ("c.vot", VOT.format('<!DOCTYPE x [<!ENTITY a "b">]>', ""), "entities"),
        ("c.vot", VOT.format('<!doctype x [<!entity a "b">]>', ""), "entities"),
        ("c.vot", VOT.format('<!DOCTYPE x [<!ENTITY a "b">]>', "").encode("utf-16"), "like XML"),
        ("c.vot", VOT.format('<!DOCTYPE x [<!ENTITY a "b">]>', "").encode("utf-16-le"), "entities"),
        ("c.vot", VOT.format("", '<DATA><BINARY><STREAM\nhref="{url}"/></BINARY></DATA>'), "other files"),
        ("c.vot", VOT.format("", '<DATA><FITS><STREAM a=">" href = "file:///x"/></FITS></DATA>'), "other files"),
        ("c.vot", VOT.format("", "")[:60], "can't read"),
    ],
)
def test_what_can_not_be_read_is_refused_in_a_line_that_says_why(name, content, words, url, log, tmp_path):
    before = len(requests_of(log))
    content = content.replace("{url}", url) if isinstance(content, str) else content
    with pytest.raises(DataError, match=words) as error:
        read(tmp_path / name, content)
    assert "\n" not in str(error.value)
    assert len(requests_of(log)) == before, "nothing is fetched for it"


def test_columns_that_are_not_there_are_told_with_the_nearest(tmp_path):
    with pytest.raises(DataError, match="no column 'RA_J200'; did you mean 'RA_J2000'"):
        read(tmp_path / "c.csv", "id,RA_J2000,dec\n1,1,1\n", ra="RA_J200")
    with pytest.raises(DataError, match="can't be called 'objectid'; did you mean 'object_id'"):
        read(tmp_path / "c.csv", objectid="id")
    with pytest.raises(DataError, match=r"can't read .*no.csv as a catalogue: No such file"):
        read(tmp_path / "no.csv")
    twice = pa.table([[1.0], [2.0], ["x"], ["y"]], names=["ra", "dec", "note", "note"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(DataError, match="two columns called 'note'"):
        read(tmp_path / "twice.parquet")


def write(path, ids, rows=range(30), label=True):
    """A CSV as the catalogue of SDSS DR14 that is passed around: objid ruined, specobjid whole."""
    lines = ["objid,ra,dec,u,run,specobjid" + ",class" * label]
    for name, i in zip(ids, rows, strict=True):
        row = UNIVERSE.rows[i]
        cells = [name, row["photoRa"], row["photoDec"], 19.5, row["run"], row["specObjID"]]
        lines.append(",".join(map(str, [*cells, *[row["class"]] * label])))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_id_twice_is_refused_and_the_mended_catalogue_is_taken(url, log, tmp_path):
    out, before = tmp_path / "a.parquet", len(requests_of(log))
    with pytest.raises(DataError, match="object_id '2' occurs twice"):
        fetch(out, url, Request(catalog=write(tmp_path / "c.csv", [1, 2, 2, 3], range(4))))
    assert len(requests_of(log)) == before
    assert fetch(out, url, Request(catalog=write(tmp_path / "c.csv", [1, 2, 4, 3], range(4)))).fetched == 4


@pytest.mark.parametrize("labels", [True, False])
def test_a_catalogue_of_ones_own_end_to_end(labels, url, skythaw, tmp_path):
    catalog = write(tmp_path / "c.csv", [f"{i:03d}" for i in range(30)], label=labels)
    done = skythaw("data", "sdss", tmp_path / "a.parquet", "--catalog", catalog, "--base-url", url, "--rate", 500)
    assert done.returncode == 0, done.stderr
    cutouts = read_cutouts(tmp_path / "a.parquet", need_labels=labels)
    assert cutouts.object_ids == [f"{i:03d}" for i in range(30)]
    assert list(cutouts.labels) == [row["class"] if labels else None for row in UNIVERSE.rows]
    assert list(cutouts.column("specobjid")) == [str(row["specObjID"]) for row in UNIVERSE.rows]
    assert set(cutouts.column("u")) == {19.5}
    assert [data for _, data, _ in cutouts.images()] == [UNIVERSE.jpeg(i, 64) for i in range(30)]


def test_a_ruined_id_column_is_refused_and_another_one_works(url, skythaw, tmp_path):
    catalog = write(tmp_path / "c.csv", ["1.24E+18"] * 30)
    command = ["data", "sdss", tmp_path / "a.parquet", "--catalog", catalog, "--base-url", url, "--rate", 500]
    done = skythaw(*command)
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*'objid' holds 1.24E\+18: a spreadsheet rounded the ids.*\n", done.stderr)
    assert not (tmp_path / "a.parquet").exists()
    done = skythaw(*command, "--column", "object_id=specobjid")
    assert done.returncode == 0, done.stderr
    assert read_cutouts(tmp_path / "a.parquet").object_ids == [str(row["specObjID"]) for row in UNIVERSE.rows]


def test_two_hundred_thousand_rows_are_read_in_bounded_memory(tmp_path):
    rows = (f"{n},{n % 360},{n % 90},{'x' * 200}\n" for n in range(200_000))
    (tmp_path / "c.csv").write_text("id,ra,dec,note\n" + "".join(rows))
    code = (
        "import sys, re, pathlib; from skythaw.data.sources.sdss.positions import read_catalog\n"
        "print(sum(1 for _ in read_catalog(pathlib.Path(sys.argv[1]), {}).items))\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "c.csv"], capture_output=True, text=True, check=True)
    rows, peak = map(int, done.stdout.split())
    assert rows == 200_000
    assert peak * 1024 < 500e6


def read_or_refused(path: Path, data: bytes):
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        list(read_catalog(path, {}).items)


CELLS = st.sampled_from(
    ["", "1", "-1.5", "nan", '"', "a", ",", "\n", "\r", "#", ";", "1e400", "\0", "\u2028", "ra", "9" * 30]
)
WARM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
ANY = st.one_of(st.binary(), st.lists(CELLS).map(lambda cells: ("id,ra,dec,x\n" + ",".join(cells)).encode()))
CHANGES = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=6)


@few(1000)
def test_whatever_a_csv_holds_it_is_read_or_refused(tmp_path, examples):
    @settings(max_examples=examples, **WARM)
    @given(ANY)
    def check(data):
        read_or_refused(tmp_path / "c.csv", data)

    check()


@few(300)
@pytest.mark.parametrize("ending", ["ecsv", "vot", "parquet"])
def test_whatever_happens_to_another_file_it_is_read_or_refused(tmp_path, ending, examples):
    good = tables(tmp_path / f"good.{ending}").read_bytes()

    @settings(max_examples=examples, **WARM)
    @given(CHANGES, st.integers(0, 6000))
    def check(places, cut):
        data = bytearray(good)
        for place, value in places:
            data[place % len(data)] = value
        end = len(data) - cut if cut < len(data) // 2 else len(data)
        read_or_refused(tmp_path / f"c.{ending}", bytes(data[:end]))

    check()


@pytest.mark.parametrize(("unit", "degrees"), [("rad", 57.29577951308232), ("hourangle", 15), ("arcsec", 1 / 3600)])
def test_positions_in_other_units_become_degrees(unit, degrees, tmp_path):
    table = Table({"ra": Column([1.0, 2.0], unit=unit), "dec": Column([1.0, 2.0], unit="deg")})
    table.write(tmp_path / "c.ecsv", format="ascii.ecsv")
    items, _ = read(tmp_path / "c.ecsv")
    assert [item.ra for item in items] == pytest.approx([degrees, 2 * degrees])
    table["ra"].unit = "kg"
    table.write(tmp_path / "c.ecsv", format="ascii.ecsv", overwrite=True)
    with pytest.raises(DataError, match="column 'ra' should hold degrees, not values in 'kg', which is no unit of an"):
        read(tmp_path / "c.ecsv")


@pytest.mark.parametrize("ending", ["fits", "fits.gz", "csv.gz", "tsv", "ecsv.gz", "xlsx", "vot"])
@pytest.mark.parametrize("name", ["c.{}", "catalogue.txt"])
def test_catalogues_are_told_by_content(ending, name, tmp_path):
    table = Table({"objID": IDS, "RA": [10.5, 0.0, 359.999], "Dec": [-1.0, 90.0, 2.5], "n": [1, 2, 3]})
    path = tmp_path / name.format(ending)
    kind, _, packed = ending.partition(".")
    if kind == "xlsx":
        book = openpyxl.Workbook()
        for row in [table.colnames, *table.iterrows()]:
            book.active.append([value.item() if hasattr(value, "item") else value for value in row])
        book.save(tmp_path / "b.xlsx")
        (tmp_path / "b.xlsx").rename(path)
    else:
        forms = {"fits": "fits", "csv": "ascii.csv", "tsv": "ascii.tab", "ecsv": "ascii.ecsv", "vot": "votable"}
        table.write(tmp_path / "b", format=forms[kind])
        data = (tmp_path / "b").read_bytes()
        path.write_bytes(gzip.compress(data) if packed else data)
    items, columns = read(path)
    assert [item.object_id for item in items] == IDS
    assert [(item.ra, item.dec) for item in items] == [(10.5, -1), (0, 90), (359.999, 2.5)]
    assert columns == {"n": "int64"}


def test_negative_right_ascensions_are_wrapped_and_said(url, skythaw, tmp_path):
    text = (write(tmp_path / "c.csv", [f"{i:03d}" for i in range(30)])).read_text()
    lines = [line.split(",") for line in text.splitlines()]
    wrapped = [f"{float(line[1]) - 360!r}" for line in lines[1:]]
    rows = [",".join([line[0], ra, *line[2:]]) for line, ra in zip(lines[1:], wrapped, strict=True)]
    (tmp_path / "c.csv").write_text("\n".join([",".join(lines[0]), *rows]) + "\n")
    options = ["--catalog", tmp_path / "c.csv", "--base-url", url, "--rate", 500]
    done = skythaw("data", "sdss", tmp_path / "a.parquet", *options)
    assert done.returncode == 0, done.stderr
    assert "30 right ascensions lay outside 0..360 degrees and were wrapped" in done.stderr
    assert read_cutouts(tmp_path / "a.parquet").numbers("ra").min() >= 0


def test_ids_rounded_to_decimal_numbers_are_refused(url, skythaw, tmp_path):
    ids = [str(int(float(1237648672922272244 + 1001 * n))) for n in range(30)]
    catalog = write(tmp_path / "c.csv", ids)
    done = skythaw("data", "sdss", tmp_path / "a.parquet", "--catalog", catalog, "--base-url", url, "--rate", 500)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "column 'objid' holds 12376486729" in done.stderr
    assert "all large ids are rounded" in done.stderr


def test_fits_files_that_hold_no_table_or_announce_too_much(tmp_path):
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "a.fits")
    with pytest.raises(DataError, match="a FITS file without a table; it has image"):
        read(tmp_path / "a.fits")
    Table({"ra": [1.0], "dec": [2.0]}).write(tmp_path / "b.fits")
    rows, many = (f"NAXIS2  = {count:20d}".encode() for count in (1, 999999999999))
    data = (tmp_path / "b.fits").read_bytes().replace(rows, many)
    with pytest.raises(DataError, match="it is truncated: part 1 announces 15999999999984 bytes"):
        read(tmp_path / "b.fits", data)
    with pytest.raises(DataError, match="it is truncated"):
        read(tmp_path / "b.fits", gzip.compress(data))

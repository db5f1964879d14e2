"""A bundle over every kind of input: the same numbers, a status for what can't be read, and nothing lost by a kill."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

import skythaw
from helpers_bundle import make_bundle
from helpers_data import encode, picture
from helpers_study import make_survey
from skythaw.bundle.backends import Torch
from skythaw.bundle.bundle_file import read_about
from skythaw.cli import main
from skythaw.data.cutouts import read_cutouts, write_cutouts
from skythaw.data.decode import BrokenImageError, decode
from skythaw.data.fits import encode_fits
from skythaw.errors import DataError, SpecError
from skythaw.predict.find_inputs import find_inputs
from skythaw.predict.image_contents import Content
from skythaw.predict.predict_images import PredictSettings, predict_to, predictions

ROUNDING = 1e-6
"""seen: 0 between batches of 1 and 256, and 1 and 3 threads; 6e-7 from `Classifier.predict`, which has other batches"""
NO_IMAGE = "not a JPEG, PNG or FITS file, nor TIFF, WebP, BMP, GIF or JPEG 2000"
KINDS = ("jpeg", "png", "glob", "parquet", "folder of parquet", "hugging face", "csv")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("bundle"), cache)


@pytest.fixture(scope="module")
def float_bundle(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("floats"), cache, floats=True)


@pytest.fixture(scope="module")
def classifier(bundle):
    return skythaw.load(bundle, device="cpu")


def images_of(file, count=24):
    """Bytes by object_id, of a survey."""
    return {name: data for name, data, _ in islice(read_cutouts(file).images(), count)}


@pytest.fixture(scope="module")
def images(bundle):
    return images_of(bundle.parent / "survey.parquet")


def put(folder: Path, images, ending=".jpg"):
    for i, (name, data) in enumerate(images.items()):
        file = folder / f"night{i % 3}" / f"{name}{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def write_rows(path, images, **columns):
    rows = [{"object_id": name, "label": None, "image": data} for name, data in images.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_cutouts(path, rows, [], {})
    if columns:
        pq.write_table(pa.table({**columns, "image": pq.read_table(path)["image"]}), path)
    return path


def write_csv(path, rows):
    path.write_text("".join(",".join(row) + "\n" for row in rows))
    return path


def make_inputs(kind, folder, images):
    """The argument for a kind of input, and the names that its images should get."""
    names = list(images)
    if kind in ("jpeg", "glob"):
        put(folder / "in", images)
        return str(folder / "in" if kind == "jpeg" else folder / "i?" / "**" / "*.jpg"), names
    if kind == "png":
        return put(folder / "in", {n: encode(decode(d, n), "PNG") for n, d in images.items()}, ".PNG"), names
    if kind == "parquet":
        return write_rows(folder / "in.parquet", images), names
    if kind == "folder of parquet":
        for part in range(2):
            write_rows(folder / "in" / f"{part}.parquet", {n: images[n] for n in names[12 * part : 12 * part + 12]})
        return folder / "in", names
    if kind == "hugging face":
        write_rows(folder / "hf.parquet", images, caption=["?"] * len(images))
        return folder / "hf.parquet", [f"hf.parquet:{row}" for row in range(len(images))]
    put(folder / "in", images)
    rows = [(f"star {n}", f"in/night{i % 3}/{n}.jpg", "1.5") for i, n in enumerate(names)]
    return write_csv(folder / "in.csv", [("name", "File", "z"), *rows]), [row[0] for row in rows]


def run(classifier, *given, batch=256, **setting):
    """Rows by object_id."""
    found = find_inputs([*map(str, given)])
    rows = pa.concat_tables(
        predictions(Torch(classifier), found.items(), PredictSettings(batch, "cpu", **setting))
    ).to_pylist()
    assert len({row["object_id"] for row in rows}) == len(rows) == len(found)
    return {row["object_id"]: row for row in rows}


def matrix(rows, classes):
    return np.array([[row[f"p_{name}"] for name in classes] for row in rows], np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_input_gives_the_same_probabilities(kind, classifier, images, tmp_path):
    given, names = make_inputs(kind, tmp_path, images)
    found = run(classifier, given)
    expected = classifier.predict(list(images.values()))
    p = matrix([found[name] for name in names], classifier.classes)
    assert np.abs(p - expected).max() < ROUNDING
    for row, each in zip((found[name] for name in names), p.astype(float), strict=True):
        assert row["label"] == classifier.classes[each.argmax()]
        entropy = -sum(x * math.log(x) for x in each if x) / math.log(3)
        assert (row["status"], row["entropy"]) == ("ok", pytest.approx(entropy, abs=1e-5))


def test_fits_files(float_bundle, tmp_path):
    classifier, images = skythaw.load(float_bundle, device="cpu"), images_of(float_bundle.parent / "floats.parquet", 9)
    put(tmp_path, images, ".fits")
    (tmp_path / "wrong.fits").write_bytes(encode_fits(np.zeros((40, 40, 3), np.float32), "gri"))
    (tmp_path / "eight.png").write_bytes(encode(np.zeros((40, 40, 3), np.uint8), "PNG"))
    found = run(classifier, tmp_path)
    p = matrix([found[name] for name in images], classifier.classes)
    assert np.abs(p - classifier.predict(list(images.values()))).max() < ROUNDING
    assert "images of float32 with bands g, r, i: this classifier was trained on" in found["wrong"]["status"]
    assert "images of uint8 with bands red, green, blue" in found["eight"]["status"]


def test_neither_batch_nor_threads_change_anything_beyond_rounding(classifier, images, tmp_path):
    write_rows(tmp_path / "a.parquet", images)
    several = [run(classifier, tmp_path, batch=batch, threads=threads) for batch, threads in ((1, 1), (7, 3), (256, 1))]
    ps = [matrix(found.values(), classifier.classes) for found in several]
    assert max(np.abs(p - ps[-1]).max() for p in ps) < ROUNDING
    assert several[0].keys() == several[1].keys() == several[2].keys()


def test_larger_images_are_cut_in_the_middle(classifier, tmp_path):
    large = np.random.default_rng(0).integers(0, 255, (57, 57, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(encode(large, "PNG"))
    found = run(classifier, tmp_path)
    assert np.abs(matrix(found.values(), classifier.classes) - classifier.predict(large[None])).max() < ROUNDING


def test_what_cannot_be_read_has_a_status(classifier, images, tmp_path):
    good = next(iter(images.values()))
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "huge.fits").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "lost.jpg").symlink_to("nowhere")
    (tmp_path / "folder.jpg").mkdir()
    files = {
        "good.jpg": good,
        "torn.jpg": good[:-300],
        "empty.png": b"",
        "text.jpg": b"hello",
        "small.png": encode(np.zeros((20, 20, 3), np.uint8), "PNG"),
        "oblong.png": encode(np.zeros((31, 50, 3), np.uint8), "PNG"),
        "bands.fits": encode_fits(np.zeros((40, 40, 1), np.float32), "r"),
        "packed.fits.gz": b"",
        "torn.parquet": b"PAR1",
        "notes.txt": b"passed over",
        ".hidden.jpg": b"passed over",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    pq.write_table(pa.table({"object_id": ["x"]}), tmp_path / "table.parquet")
    found = run(classifier, tmp_path)
    says = {
        "good": "ok",
        str(tmp_path / "torn.jpg"): "truncated",
        str(tmp_path / "torn.parquet"): "torn.parquet as Parquet",
        "empty": "no bytes",
        "text": "not a JPEG, PNG or FITS file",
        "small": "20 x 20 pixels: this classifier takes the central 32 x 32",
        "oblong": "50 x 31 pixels",
        "bands": "images of float32 with bands r",
        "packed": "no bytes",
        "pipe": "no regular file",
        "huge": "too large",
        "lost": "No such file",
        "table": "no column 'image'; it has object_id",
    }
    assert {name for name, text in says.items() if text in found[name]["status"]} == found.keys()
    for name, row in found.items():
        known = [value is not None for key, value in row.items() if key not in ("object_id", "status")]
        assert all(known) if name == "good" else not any(known)


def test_a_damaged_parquet_file_costs_what_is_damaged(classifier, images, tmp_path):
    path = tmp_path / "a.parquet"
    table = pq.read_table(write_rows(path, images))
    pq.write_table(table, path, row_group_size=8, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    flipped = data.index(images[list(images)[3]]) + 400
    data[flipped] ^= 1
    start = pq.ParquetFile(path).metadata.row_group(1).column(2).data_page_offset
    data[start : start + 8] = bytes(8)
    path.write_bytes(data)
    status = [row["status"] for row in run(classifier, path).values()]
    assert status[3] == "its bytes differ from their checksum"
    assert all("as Parquet" in each for each in status[8:16])
    assert status.count("ok") == 24 - 9
    late = find_inputs([path]).items(10)
    assert [name for name, _ in late] == list(images)[10:]


def test_a_csv_reaches_only_into_its_folder(classifier, images, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    data = next(iter(images.values()))
    for file in (tmp_path / "secret.jpg", folder / "a.jpg", folder / "a"):
        file.write_bytes(data)
    (folder / "link.jpg").symlink_to("../secret.jpg")
    (folder / "inner.jpg").symlink_to("a.jpg")
    (folder / "up").symlink_to("..")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    out, ok = "leads out of the folder", "ok"
    says = {
        "a.jpg": ok,
        "./sub/../a.jpg": ok,
        "inner.jpg": ok,
        "../secret.jpg": out,
        "..\\secret.jpg": out,
        "../in/../secret.jpg": out,
        str(tmp_path / "secret.jpg"): out,
        "/etc/passwd": out,
        "link.jpg": out,
        "up/secret.jpg": out,
        "loop.jpg": "",
        "no.jpg": "No such file",
        "bad\0name.jpg": "can't be used",
        "": "the row names no image",
        ".": "no regular file",
    }
    rows = [("id", "path"), *((f"row {i}", name) for i, name in enumerate(says))]
    found = run(classifier, write_csv(folder / "list.csv", rows))
    assert list(found) == [f"row {i}" for i in range(len(says))]
    for row, (name, text) in zip(found.values(), says.items(), strict=True):
        assert text in row["status"], name
        assert (row["status"] == ok) == (text == ok), name


def test_a_csv_finds_images_without_ending_and_says_plainly_what_is_wrong(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("o0.png", "o1.png", "two.png", "two.jpg", "../x.png"):
        (tmp_path / "in" / name).write_bytes(b"x")
    names = ("o0", "o1.fits", "two", "../x.png", ".")
    found = find_inputs([write_csv(tmp_path / "in" / "list.csv", [("file",), *((name,) for name in names)])])
    contents = [content for _, content in found.items()]
    assert [content.read() for content in contents[:2]] == [b"x", b"x"]
    for content, reason in zip(
        contents[2:], ("two may be any of two.jpg, two.png", "its path leads out", "it is a folder"), strict=True
    ):
        with pytest.raises(BrokenImageError) as said:
            content.read()
        assert said.value.reason.startswith(reason)


def test_names_are_unique_and_a_file_is_taken_once(tmp_path, images):
    data = next(iter(images.values()))
    for name in ("a/x.jpg", "b/x.png", "b/y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    write_rows(tmp_path / "b" / "c.parquet", {"y": data, "z": data})
    write_csv(tmp_path / "list.csv", [("file",), ("a/x.jpg",), ("a/x.jpg",)])
    given = [tmp_path / "b", tmp_path / "b" / "y.jpg", tmp_path / "a" / "x.jpg", tmp_path / "list.csv"]
    x = f"{tmp_path}/a/x.jpg"
    names = [
        f"{tmp_path}/b/c.parquet:0",
        "z",
        f"{tmp_path}/b/x.png",
        f"{tmp_path}/b/y.jpg",
        *(f"{x}#{i}" for i in (4, 5, 6)),
    ]
    found = find_inputs(given)
    assert (list(found.ids.to_pylist()), len(found)) == (names, 7)
    assert [name for name, _ in found.items(3)] == names[3:]


def test_ids_that_are_not_kept_are_told(tmp_path, images):
    write_rows(tmp_path / "a.parquet", images)
    assert find_inputs([tmp_path / "a.parquet"]).notes == ()
    twice, first = write_rows(tmp_path / "b.parquet", dict(islice(images.items(), 2))), next(iter(images))
    (note,) = find_inputs([tmp_path / "a.parquet", twice]).notes
    assert note.startswith("4 images are called by their paths or rows, because others have the same id")
    assert note.endswith(f"the first is {first!r}")


def test_images_are_read_as_they_are_needed(classifier, images):
    data, taken = next(iter(images.values())), 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield str(taken), Content(data)

    stream = predictions(Torch(classifier), endless(), PredictSettings(16, "cpu", threads=2, shard=40))
    sizes, ahead = [], []
    for table in islice(stream, 6):
        sizes.append(len(table))
        ahead.append(taken - sum(sizes))
    stream.close()
    assert sizes == [16, 16, 8, 16, 16, 8], "a batch ends where a shard does"
    assert max(ahead) <= 2 * 16, "a batch for each thread"


def test_the_three_forms_hold_the_same(bundle, images, tmp_path):
    names = ["=1+1", "-5", "@a", "+b", "#c", "d e", 'f"', "g,h", "é"]
    write_rows(tmp_path / "in.parquet", dict(zip([*names, *list(images)[9:]], images.values(), strict=True)))
    (tmp_path / "=bad.jpg").write_bytes(b"")
    setting = PredictSettings(10, "cpu", 1, 10, "torch")
    for form in ("parquet", "csv", "ecsv"):
        out = tmp_path / f"out.{form}"
        summary = predict_to(bundle, [tmp_path / "in.parquet", tmp_path / "=bad.jpg"], out, setting)
        assert (summary.objects, summary.ok, dict(summary.failed)) == (25, 24, {"it has no bytes": 1})
        assert not (tmp_path / f"out.{form}.part").exists()
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        texts = list(csv.DictReader(file))
    ecsv = Table.read(tmp_path / "out.ecsv")
    assert rows[0].keys() == texts[0].keys() == set(ecsv.colnames)
    for row, text, each in zip(rows, texts, ecsv, strict=True):
        for name, value in row.items():
            if value is None:
                assert text[name] == ""
                assert each[name] is np.ma.masked
            elif isinstance(value, float):
                assert np.float32(text[name]) == np.float32(value) == each[name]
            else:
                assert text[name] == ("'" + value if value[0] in "=+-@" else value)
                assert each[name] == value
    about = read_about(bundle)
    said = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"skythaw"])
    assert said == dict(ecsv.meta)
    assert (said["bundle_sha256"], said["cell"], said["bundle"]) == (about.sha256, about.cell.key, "small")
    assert said["backend"] == "torch"
    assert (said["temperature"], said["classes"]) == (about.temperature, list(about.classes))
    kinds = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "out.parquet")}
    assert list(kinds.values()) == ["string", *3 * ["float"], "string", *3 * ["float"], "string"]
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 3


def test_the_command(bundle, images, skythaw, tmp_path):
    """The results lie among the inputs, which a second run does not take for its own."""
    put(tmp_path / "in", images)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"bad")
    for _ in range(2):
        done = skythaw("predict", bundle, "in", "-o", "in/out.parquet", "--json", "--threads", 1, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["schema"], said["objects"], said["ok"], said["file"]) == (1, 25, 24, "in/out.parquet")
        assert said["failed"] == {f"{NO_IMAGE} (it begins with b'bad')": 1}
        assert said["images_per_second"] > 0
        assert said["backend"] in ("torch", "onnx")
        assert 0 < sum(said["classes"].values()) == 24
    done = skythaw("predict", bundle, "in/*/*.jpg", "in/bad.jpg", "-o", "new/out.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "25 objects" in done.stdout
    assert "wrote 25 rows to new/out.csv" in done.stdout
    assert done.stderr == f"warning: 1 without probabilities: {NO_IMAGE} (it begins with b'bad')\n"
    assert len((tmp_path / "new" / "out.csv").read_text().splitlines()) == 26


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("in", "-o", "out.txt"), "the output out.txt should end in .parquet, .csv, .ecsv, not '.txt'"),
        (("in", "-o", "out"), "should end in .parquet, .csv or .ecsv"),
        (("in", "-o", "folder.csv"), "can't write folder.csv: it is a folder"),
        (("in", "no.jpg", "-o", "out.csv"), "there is no file or folder no.jpg"),
        (("in", "no*.jpg", "-o", "out.csv"), "nothing matches the pattern no*.jpg"),
        (("", "-o", "out.csv"), "there is no file or folder"),
        (("in", "folder.csv", "-o", "out.csv"), "the folder folder.csv holds no images, and no Parquet files"),
        (
            ("a.csv", "-o", "out.csv"),
            "no column that names image files; it should be called file, filename, path, image",
        ),
        (("b.csv", "-o", "out.csv"), "b.csv, line 2: 1 values for 2 columns"),
        (("c.csv", "-o", "out.csv"), "there are no images in c.csv"),
        (("in", "-o", "in/x.jpg/out.csv"), "can't write in/x.jpg/out.csv.part: Not a directory"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_starts(bundle, tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/x.jpg").write_bytes(b"")
    Path("folder.csv").mkdir()
    for name, text in {"a.csv": "ra,dec\n1,2\n", "b.csv": "id,file\n1\n", "c.csv": "file,id\n"}.items():
        Path(name).write_text(text)
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit, match="2"):
        main(["predict", str(bundle), *arguments])
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_what_is_no_bundle(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["predict", str(tmp_path), str(tmp_path), "-o", "x.csv"])
    assert f"{tmp_path} is no bundle: can't read bundle.json" in capsys.readouterr().err


def begin(bundle, folder, out, backend):
    command = [sys.executable, "-m", "skythaw", "predict", bundle, "in.parquet", "bad.jpg", "-o", out, "--shard", 50]
    options = ["--batch", 16, "--threads", 2, "--device", "cpu", "--backend", backend]
    return subprocess.Popen([*map(str, [*command, *options])], cwd=folder, stderr=subprocess.PIPE, text=True)


def stop(process, part: Path, shards: int, how):
    """Send a signal as soon as there are so many shards."""
    until = time.monotonic() + 300
    while len(list(part.glob("[0-9]*.parquet"))) < shards:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(how)
    return process.communicate()[1]


@pytest.mark.soak
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_kill_and_resume_gives_the_bytes_of_an_undisturbed_run(bundle, tmp_path, monkeypatch, backend):
    """Begun on a backend by name, it goes on there by itself, for that is written down."""
    make_survey(tmp_path / "in.parquet", 1500)
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    monkeypatch.chdir(tmp_path)
    part, given = Path("out.parquet.part"), ["in.parquet", "bad.jpg"]
    process = begin(bundle, tmp_path, "out.parquet", backend)
    stop(process, part, 3, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not Path("out.parquet").exists()
    first = sorted(part.glob("[0-9]*.parquet"))
    assert 3 <= len(first) < 31
    first[-1].write_bytes(first[-1].read_bytes()[:-9])  # as a power cut might leave it
    process = begin(bundle, tmp_path, "out.parquet", "auto")
    error = stop(process, part, len(first) + 4, signal.SIGINT)
    assert process.returncode != 0
    assert "stopped; what was done is kept in out.parquet.part, and the same command goes on" in error

    setting = PredictSettings(16, "cpu", 1, 50)
    with pytest.raises(
        SpecError, match=r"of another inputs: \['in.parquet', 'bad.jpg'\], now \['in.parquet'\]; repeat the"
    ):
        predict_to(bundle, ["in.parquet"], Path("out.parquet"), setting)
    times = Path("bad.jpg").stat()
    os.utime("bad.jpg", (1, 1))
    with pytest.raises(SpecError, match="of another set of files"):
        predict_to(bundle, given, Path("out.parquet"), setting)
    os.utime("bad.jpg", ns=(times.st_atime_ns, times.st_mtime_ns))
    other = {"torch": "onnx", "onnx": "torch"}[backend]
    with pytest.raises(SpecError, match=f"of another backend: {backend}, now {other}; repeat the command"):
        predict_to(bundle, given, Path("out.parquet"), replace(setting, backend=other))
    done = sum(pq.read_metadata(each).num_rows for each in part.glob("[0-9]*.parquet"))
    summary = predict_to(bundle, given, Path("out.parquet"), setting)
    assert (summary.objects, summary.resumed, summary.backend) == (1501, done, backend)
    assert 0 < done < 1501
    assert not part.exists()
    predict_to(bundle, given, Path("whole.parquet"), replace(setting, backend=backend))
    assert Path("out.parquet").read_bytes() == Path("whole.parquet").read_bytes()


def test_an_unfinished_prediction_belongs_to_its_bundle(bundle, float_bundle, images, tmp_path):
    put(tmp_path / "in", images)
    given, out, part = [tmp_path / "in"], tmp_path / "out.csv", tmp_path / "out.csv.part"
    setting = PredictSettings(4, "cpu", 1, 5, "torch")

    def stopped(items, total):
        yield from items
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_to(bundle, given, out, setting, stopped)
    with pytest.raises(SpecError, match=r"of another bundle: [0-9a-f]{64}, now [0-9a-f]{64}"):
        predict_to(float_bundle, given, out, setting)
    with pytest.raises(SpecError, match="of another shard: 5, now 6"):
        predict_to(bundle, given, out, PredictSettings(4, "cpu", 1, 6, "torch"))
    summary = predict_to(bundle, given, out, setting)
    assert (summary.resumed, summary.ok, out.is_file(), part.exists()) == (20, 24, True, False)
    part.mkdir()
    (part / "thesis.tex").write_text("")
    with pytest.raises(SpecError, match=r"is no unfinished prediction: it holds thesis.tex"):
        predict_to(bundle, given, out, setting)
    (part / "thesis.tex").unlink()
    (part / "about.json").write_text("{")
    with pytest.raises(SpecError, match=r"to begin again"):
        predict_to(bundle, given, out, setting)


@pytest.mark.parametrize("every", [0.0, 1000.0])
def test_a_prediction_of_few_images_goes_on_where_it_was_stopped(bundle, images, tmp_path, monkeypatch, every):
    """Rows are on the disk after `EVERY` seconds, or when the call is stopped, whatever the size of a shard."""
    put(tmp_path / "in", images)
    given, out, setting = [tmp_path / "in"], tmp_path / "out.parquet", PredictSettings(4, "cpu", 1, 10_000, "torch")
    monkeypatch.setattr("skythaw.predict.prediction_files.EVERY", every)

    def stopped(items, total):
        yield from islice(items, 12)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_to(bundle, given, out, setting, stopped)
    parts = sorted((tmp_path / "out.parquet.part").glob("*.parquet"))
    assert len(parts) == (2 if every == 0 else 1)
    summary = predict_to(bundle, given, out, setting)
    assert (summary.resumed, summary.ok) == (8, 24)
    predict_to(bundle, given, tmp_path / "whole.parquet", setting)
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.soak
def test_one_flipped_bit_in_what_is_done_is_found_and_these_rows_are_predicted_again(bundle, images, tmp_path):
    put(tmp_path / "in", images)
    given, out, setting = [tmp_path / "in"], tmp_path / "out.parquet", PredictSettings(4, "cpu", 1, 8, "torch")

    def stopped(items, total):
        yield from islice(items, 20)
        raise KeyboardInterrupt

    rng, resumed = np.random.default_rng(0), set()
    predict_to(bundle, given, tmp_path / "whole.parquet", setting)
    for _ in range(6):
        with pytest.raises(KeyboardInterrupt):
            predict_to(bundle, given, out, setting, stopped)
        first = tmp_path / "out.parquet.part" / "00000000.parquet"
        data = bytearray(first.read_bytes())
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        first.write_bytes(data)
        resumed.add(predict_to(bundle, given, out, setting).resumed)
        assert pq.read_table(out).equals(pq.read_table(tmp_path / "whole.parquet"))
    assert resumed <= {0, 16}, "16: the bit was one that nobody reads"
    assert 0 in resumed


def test_what_is_said_to_be_kept_is_there(bundle, images, tmp_path, monkeypatch, capsys):
    put(tmp_path / "in", images)

    def stopped(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("skythaw.predict.predict_images.open_backend", stopped)
    with pytest.raises(SystemExit, match="130"):
        main(["predict", str(bundle), str(tmp_path / "in"), "-o", str(tmp_path / "out.csv")])
    assert "stopped; nothing was done yet" in capsys.readouterr().err
    assert not (tmp_path / "out.csv.part").exists()


def test_two_at_once_are_refused(bundle, images, tmp_path):
    put(tmp_path / "in", images)

    def progress(items, total):
        with pytest.raises(DataError, match=r"another process is writing to .*out.csv.part"):
            predict_to(bundle, [tmp_path / "in"], tmp_path / "out.csv")
        return items

    predict_to(bundle, [tmp_path / "in"], tmp_path / "out.csv", progress=progress)
    assert (tmp_path / "out.csv").is_file()


SIDE = 40
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000")
FITS = encode_fits(np.ones((SIDE, SIDE, 1), np.float32), "r")
OTHERS = {"a.csv": b"x,y\n", ".DS_Store": b"\0", "notes": b"text", "a.npy": b"\x93NUMPY", "e.fits.xz": b"\xfd7zXZ"}


def night(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_predict_reads_what_import_reads(bundle, tmp_path, skythaw):
    files = {f"{kind}.{kind.lower()}": encode(picture(1, SIDE), kind) for kind in FORMATS} | {
        "none": encode(picture(2, SIDE), "PNG")
    }
    files["wide.png"] = encode(np.zeros((SIDE, 60, 3), np.uint8), "PNG")
    folder = night(tmp_path / "night", files | OTHERS | {"r.fits.gz": gzip.compress(FITS)})
    done = skythaw("predict", bundle, folder, "-o", tmp_path / "p.csv", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["ok"] == len(files)
    assert said["ok"] + sum(said["failed"].values()) + said["passed_over"] == len(files) + len(OTHERS) + 1
    said = skythaw("predict", bundle, folder, "-o", tmp_path / "p.csv")
    assert "passed over 3 files that are not images (" in said.stdout
    assert "packed with xz, which is not read" in said.stderr


def test_predict_ends_with_2_where_nothing_could_be_used(bundle, tmp_path, skythaw):
    folder = night(tmp_path / "night", {f"{n}.fits": FITS for n in range(3)})
    done = skythaw("predict", bundle, folder, "-o", tmp_path / "p.parquet")
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: not one of the 3 images could be used (3: images of float32 with bands r")
    assert pq.read_table(tmp_path / "p.parquet").num_rows == 3, "each has its reason"
    assert predict_to(bundle, [folder], tmp_path / "q.parquet").ok == 0


def test_predict_cuts_the_centre_of_what_is_larger_or_not_square(bundle, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, 64, 3), np.uint8)
    folder = night(tmp_path / "night", {"wide.png": encode(pixels, "PNG"), "cut.png": encode(pixels[:, 12:52], "PNG")})
    predict_to(bundle, [folder], tmp_path / "p.parquet")
    first, second = pq.read_table(tmp_path / "p.parquet").drop_columns(["object_id"]).to_pylist()
    assert first == pytest.approx(second, abs=1e-6)

"""Predicting a survey into shards: one row an image, whatever dies, by every engine."""

from __future__ import annotations

import json
import shutil

import fsspec
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from helpers_bundle import make_bundle
from helpers_survey import POISON, DeadlyWork, hats, rows, split
from skythaw.errors import BundleError, DataError, SpecError
from skythaw.serving import survey
from skythaw.serving.predict import Setting, predict_to
from skythaw.serving.survey import KILLS, Spread, predict_survey

SETTING = Setting(device="cpu", shard=40)
TWENTY = Setting(device="cpu", shard=20)
SERIAL = Spread("serial")


@pytest.fixture(scope="module")
def made(tmp_path_factory, cache):
    """A bundle, its survey in three files, and the rows that are due."""
    folder = tmp_path_factory.mktemp("survey")
    bundle = make_bundle(folder, cache)
    split(folder / "survey.parquet", folder / "nights")
    predict_to(bundle, [folder / "survey.parquet"], folder / "whole.parquet", Setting(device="cpu", shard=40))
    return folder, pq.read_table(folder / "whole.parquet")


def manifest(out):
    return json.loads((out / "manifest.json").read_text())


def same(found, expected):
    assert found["object_id"].to_pylist() == expected["object_id"].to_pylist()
    assert found.drop_columns(["status"]).equals(expected.drop_columns(["status"]))


def test_every_image_has_its_row_and_the_manifest_says_where(made, tmp_path):
    folder, expected = made
    told = []
    out = tmp_path / "out"
    summary = predict_survey(
        folder / "bundle", [str(folder / "nights")], out, SETTING, SERIAL, lambda *now: told.append(now)
    )
    same(rows(out), expected)
    assert (summary.objects, summary.undone, summary.failed, summary.resumed) == (180, {}, {}, 0)
    assert told[0] == (0, 180)
    assert told[-1] == (180, 180)
    content = manifest(out)
    assert content["complete"]
    assert content["rows"] == sum(content["classes"].values()) == 180
    assert content["origin"]["bundle_sha256"] == content["binding"]["bundle"]
    shards = content["shards"]
    assert [each["rows"] for each in shards] == [40, 20] * 3
    assert [each["first"] for each in shards] == [0, 40] * 3
    assert shards[2]["input"] == str(folder / "nights" / "night1.parquet")


@pytest.mark.slow
def test_processes_give_the_same_bytes(made, tmp_path):
    folder, _ = made
    for spread in (SERIAL, Spread("processes", 2)):
        predict_survey(folder / "bundle", [str(folder / "nights")], tmp_path / spread.engine, SETTING, spread)
    one, other = (manifest(tmp_path / name)["shards"] for name in ("serial", "processes"))
    assert one == other


def test_a_hats_catalogue_is_its_partitions(made, tmp_path):
    folder, expected = made
    hats(folder / "survey.parquet", tmp_path / "catalogue")
    predict_survey(folder / "bundle", [str(tmp_path / "catalogue")], tmp_path / "out", SETTING, SERIAL)
    same(rows(tmp_path / "out"), expected)


def test_an_address_of_object_storage(made, tmp_path):
    folder, expected = made
    fsspec.filesystem("memory").put(str(folder / "nights"), "/bucket/nights", recursive=True)
    predict_survey(folder / "bundle", ["memory://bucket/nights"], tmp_path / "out", SETTING, SERIAL)
    same(rows(tmp_path / "out"), expected)
    predict_survey(folder / "bundle", [(folder / "nights").as_uri()], tmp_path / "uri", SETTING, SERIAL)
    same(rows(tmp_path / "uri"), expected)


def test_only_shards_that_are_lacking_are_made(made, tmp_path):
    folder, expected = made
    out, arguments = tmp_path / "out", (folder / "bundle", [str(folder / "nights")], tmp_path / "out", SETTING, SERIAL)
    predict_survey(*arguments)
    before = manifest(out)
    (out / "shards" / "00000002.parquet").unlink()
    torn = out / "shards" / "00000003.parquet"
    torn.write_bytes(torn.read_bytes()[:-9])
    (out / "shards" / ".00000002.parquet.99.tmp").write_bytes(b"PAR1")
    times = {path.name: path.stat().st_mtime_ns for path in (out / "shards").glob("0*")}
    assert predict_survey(*arguments).resumed == 120
    after = {path.name: path.stat().st_mtime_ns for path in (out / "shards").glob("0*")}
    assert {name for name in after if after[name] != times.get(name)} == {"00000002.parquet", "00000003.parquet"}
    assert manifest(out) == before
    assert not list(out.glob("shards/.*"))
    same(rows(out), expected)


def test_a_folder_of_something_else_is_refused(made, tmp_path):
    folder, _ = made
    bundle, nights, out = folder / "bundle", str(folder / "nights"), tmp_path / "out"
    predict_survey(bundle, [nights], out, SETTING, SERIAL)
    with pytest.raises(SpecError, match="another shard: 40, now 60"):
        predict_survey(bundle, [nights], out, Setting(device="cpu", shard=60), SERIAL)
    with pytest.raises(SpecError, match="another set of files"):
        predict_survey(bundle, [f"{nights}/night0.parquet"], out, SETTING, SERIAL)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(SpecError, match=r"holds no predictions of ours, but thesis\.tex"):
        predict_survey(bundle, [nights], other, SETTING, SERIAL)
    (out / "manifest.json").write_text("{")
    with pytest.raises(SpecError, match=r"can't read .*manifest\.json"):
        predict_survey(bundle, [nights], out, SETTING, SERIAL)
    with FileLock(out / "lock"), pytest.raises(DataError, match="another process is writing"):
        predict_survey(bundle, [nights], out, SETTING, SERIAL)


def test_inputs_that_are_none_are_refused_before_anything_is_written(made, tmp_path):
    folder, _ = made
    bundle, night = folder / "bundle", str(folder / "nights" / "night0.parquet")
    (tmp_path / "text.parquet").write_text("no")
    pq.write_table(pq.read_table(night, columns=["object_id"]), tmp_path / "bare.parquet")
    refused = {
        "no Parquet file at .*/nothing": str(tmp_path / "nothing"),
        "can't read .*text.parquet as Parquet": str(tmp_path / "text.parquet"),
        "no column 'image'": str(tmp_path / "bare.parquet"),
        "can't open gopher://hole": "gopher://hole/survey.parquet",
    }
    for reason, given in refused.items():
        with pytest.raises(DataError, match=reason):
            predict_survey(bundle, [given], tmp_path / "out", SETTING, SERIAL)
    with pytest.raises(DataError, match="twice"):
        predict_survey(bundle, [night, night], tmp_path / "out", SETTING, SERIAL)
    with pytest.raises(BundleError):
        predict_survey(tmp_path, [night], tmp_path / "out", SETTING, SERIAL)
    assert not (tmp_path / "out").exists()


def test_a_damaged_row_group_costs_its_rows_and_a_lost_file_its_shards(made, tmp_path, monkeypatch):
    folder, expected = made
    nights = shutil.copytree(folder / "nights", tmp_path / "nights")
    file = nights / "night1.parquet"
    column = pq.ParquetFile(file).metadata.row_group(1)
    place = next(column.column(i) for i in range(column.num_columns) if "image.bytes" in str(column.column(i)))
    data = bytearray(file.read_bytes())
    data[place.data_page_offset : place.data_page_offset + 40] = b"\xff" * 40
    file.write_bytes(data)
    real = survey.find_pieces

    def lose(inputs, size):
        found = real(inputs, size)
        (nights / "night2.parquet").rename(tmp_path / "lost")
        return found

    monkeypatch.setattr(survey, "find_pieces", lose)
    arguments = (folder / "bundle", [str(nights)], tmp_path / "out", SETTING, SERIAL)
    summary = predict_survey(*arguments)
    assert sorted(summary.undone) == [4, 5]
    assert "night2.parquet" in summary.undone[4]
    assert not manifest(tmp_path / "out")["complete"]
    assert summary.objects == 120
    assert sum(summary.failed.values()) == 20
    (tmp_path / "lost").rename(nights / "night2.parquet")
    monkeypatch.setattr(survey, "find_pieces", real)
    assert predict_survey(*arguments).undone == {}
    found = rows(tmp_path / "out")
    good = [*range(80), *range(100, 180)]
    assert found.take(good).equals(expected.take(good))


@pytest.mark.slow
def test_an_image_that_kills_its_worker_is_alone_with_its_status(made, tmp_path, monkeypatch):
    folder, expected = made
    monkeypatch.setattr(survey, "Work", DeadlyWork)
    out = tmp_path / "out"
    summary = predict_survey(folder / "bundle", [str(folder / "nights")], out, TWENTY, Spread("processes", 2))
    assert summary.failed == {KILLS: 1}
    found = rows(out)
    assert found["object_id"].to_pylist() == expected["object_id"].to_pylist()
    bad = found["object_id"].to_pylist().index(POISON)
    good = [row for row in range(180) if row != bad]
    assert found["status"][bad].as_py() == KILLS
    assert found["p_STAR"][bad].as_py() is None
    same(found.take(good), expected.take(good))


@pytest.mark.slow
def test_the_command(made, tmp_path, skythaw):
    folder, _ = made
    command = ("predict", folder / "bundle", folder / "nights", "--device", "cpu", "-o")
    ran = skythaw(*command, tmp_path / "out", "--engine", "serial", "--shard", 40, "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["objects"] == 180
    refused = skythaw(*command, tmp_path / "other", "--engine", "abacus")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "unknown engine 'abacus'" in refused.stderr
    assert not (tmp_path / "other").exists()

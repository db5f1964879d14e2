"""Predicting a survey into shards: one row an image, whatever dies, by every engine."""

from __future__ import annotations

import json
import shutil

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from helpers_bundle import make_bundle
from helpers_survey import POISON, deadly_kind, frail_kind, hats, rows, split
from skythaw.bundle.export.export_bundle import export
from skythaw.engines.processes import Processes
from skythaw.errors import BundleError, DataError, SpecError
from skythaw.predict.predict_images import PredictSettings, predict_to
from skythaw.predict.survey.predict_survey import HOPELESS, KILLS, EngineChoice, predict_survey
from skythaw.predict.survey.shard_manifest import REASONS

SETTING = PredictSettings(device="cpu", shard=40)
TWENTY = PredictSettings(device="cpu", shard=20)
SERIAL = EngineChoice("serial")


@pytest.fixture(scope="module")
def made(tmp_path_factory, cache):
    """A bundle, its survey in three files, and the rows that are due."""
    folder = tmp_path_factory.mktemp("survey")
    bundle = make_bundle(folder, cache)
    split(folder / "survey.parquet", folder / "nights")
    predict_to(bundle, [folder / "survey.parquet"], folder / "whole.parquet", PredictSettings(device="cpu", shard=40))
    return folder, pq.read_table(folder / "whole.parquet")


def manifest(out):
    return json.loads((out / "manifest.json").read_text())


def same(found, expected):
    assert found["object_id"].to_pylist() == expected["object_id"].to_pylist()
    assert found.drop_columns(["status"]).equals(expected.drop_columns(["status"]))


def damage_images(file, number):
    """Overwrite the beginning of the images of a row group."""
    group = pq.ParquetFile(file).metadata.row_group(number)
    place = next(group.column(i) for i in range(group.num_columns) if "image.bytes" in str(group.column(i)))
    data = bytearray(file.read_bytes())
    data[place.data_page_offset : place.data_page_offset + 40] = b"\xff" * 40
    file.write_bytes(data)


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


def test_processes_give_the_same_bytes(made, tmp_path):
    folder, _ = made
    for spread in (SERIAL, EngineChoice("processes", 2)):
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
        predict_survey(bundle, [nights], out, PredictSettings(device="cpu", shard=60), SERIAL)
    with pytest.raises(SpecError, match="another set of files"):
        predict_survey(bundle, [f"{nights}/night0.parquet"], out, SETTING, SERIAL)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(SpecError, match=r"holds thesis\.tex, which is no prediction of skythaw"):
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


def test_a_damaged_row_group_costs_its_rows_and_a_lost_file_its_shards(made, tmp_path):
    folder, expected = made
    nights = shutil.copytree(folder / "nights", tmp_path / "nights")
    damage_images(nights / "night1.parquet", 1)

    def lose(done, _all):
        if done == 0:
            (nights / "night2.parquet").rename(tmp_path / "lost")

    arguments = (folder / "bundle", [str(nights)], tmp_path / "out", SETTING, SERIAL)
    summary = predict_survey(*arguments, lose)
    assert sorted(summary.undone) == [4, 5]
    assert "night2.parquet" in summary.undone[4]
    assert not manifest(tmp_path / "out")["complete"]
    assert summary.objects == 120
    assert sum(summary.failed.values()) == 20
    (tmp_path / "lost").rename(nights / "night2.parquet")
    assert predict_survey(*arguments).undone == {}
    found = rows(tmp_path / "out")
    assert found["object_id"].to_pylist() == expected["object_id"].to_pylist()
    good = [*range(80), *range(100, 180)]
    same(found.take(good), expected.take(good))


@pytest.mark.soak
def test_an_image_that_kills_its_worker_is_alone_with_its_status(made, tmp_path, own_engine):
    folder, expected = made
    deadly = EngineChoice(own_engine(deadly_kind(Processes)), 2)
    out = tmp_path / "out"
    summary = predict_survey(folder / "bundle", [str(folder / "nights")], out, TWENTY, deadly)
    assert summary.failed == {KILLS: 1}
    found = rows(out)
    assert found["object_id"].to_pylist() == expected["object_id"].to_pylist()
    bad = found["object_id"].to_pylist().index(POISON)
    good = [row for row in range(180) if row != bad]
    assert found["status"][bad].as_py() == KILLS
    assert found["p_STAR"][bad].as_py() is None
    same(found.take(good), expected.take(good))


@pytest.fixture
def frail(own_engine):
    """An engine of which items die, and where it counts their deaths."""

    def make(deadly):
        kind = frail_kind(deadly)
        return EngineChoice(own_engine(kind)), kind

    return make


@pytest.mark.soak
@pytest.mark.parametrize("rows_of_a_shard", [1, 20])
def test_where_every_worker_dies_no_image_is_to_blame(made, tmp_path, frail, rows_of_a_shard):
    """No memory for the network, say: nothing is done, the reason is given, and the same call tries again."""
    folder, expected = made
    nights = split(folder / "survey.parquet", tmp_path / "nights", 3, rows_of_a_shard)
    setting = PredictSettings(device="cpu", shard=rows_of_a_shard)
    arguments = (folder / "bundle", [str(nights)], tmp_path / "out", setting)
    spread, engine = frail(lambda names: True)
    summary = predict_survey(*arguments, spread)
    assert engine.deaths <= 3 * HOPELESS
    assert sorted(summary.undone) == list(range(180 // rows_of_a_shard))
    assert f"{2 * HOPELESS} workers died one after another" in summary.undone[0]
    assert "killed by SIGKILL (out of memory?)" in summary.undone[0]
    assert (summary.objects, summary.failed) == (0, {})
    assert not manifest(tmp_path / "out")["complete"]
    summary = predict_survey(*arguments, SERIAL)
    assert (summary.resumed, summary.undone, summary.failed) == (0, {}, {})
    same(rows(tmp_path / "out"), expected)


def test_where_workers_begin_to_die_what_is_left_is_left(made, tmp_path, frail):
    folder, _ = made
    nights = split(folder / "survey.parquet", tmp_path / "nights", 3, 4)
    seen = []
    spread, engine = frail(lambda names: seen.append(names) or len(seen) > 10)
    setting = PredictSettings(device="cpu", shard=4)
    summary = predict_survey(folder / "bundle", [str(nights)], tmp_path / "out", setting, spread)
    assert summary.objects == 40
    assert sorted(summary.undone) == list(range(10, 45))
    assert summary.failed == {}
    assert engine.deaths <= 2 * HOPELESS + 4


@pytest.mark.soak
def test_images_that_kill_in_every_shard_are_found(made, tmp_path, frail):
    """More of them one after another than deaths that are borne."""
    folder, expected = made
    nights = split(folder / "survey.parquet", tmp_path / "nights", 3, 4)
    every = expected["object_id"].to_pylist()
    deadly = set(every[1::4])
    spread, _ = frail(lambda names: deadly & set(names))
    out = tmp_path / "out"
    summary = predict_survey(folder / "bundle", [str(nights)], out, PredictSettings(device="cpu", shard=4), spread)
    assert (summary.undone, summary.failed) == ({}, {KILLS: 45})
    found = rows(out)
    assert found["object_id"].to_pylist() == every
    assert {name for name, status in zip(every, found["status"].to_pylist(), strict=True) if status == KILLS} == deadly
    good = [row for row, name in enumerate(every) if name not in deadly]
    same(found.take(good), expected.take(good))


def test_a_file_that_changes_meanwhile_leaves_its_shards_lacking(made, tmp_path):
    folder, _ = made
    nights = shutil.copytree(folder / "nights", tmp_path / "nights")

    def change(done, _all):
        if done == 0:
            shutil.copy(nights / "night2.parquet", nights / "night1.parquet")

    arguments = (folder / "bundle", [str(nights)], tmp_path / "out", SETTING, SERIAL)
    summary = predict_survey(*arguments, change)
    assert sorted(summary.undone) == [2, 3]
    assert "night1.parquet has changed since it was looked at" in summary.undone[2]
    assert summary.objects == 120
    assert not manifest(tmp_path / "out")["complete"]
    with pytest.raises(SpecError, match="another set of files"):
        predict_survey(*arguments)


@pytest.mark.soak
def test_a_bundle_that_changes_meanwhile_is_not_taken_for_the_one_it_was(made, tmp_path):
    folder, _ = made
    bundle = shutil.copytree(folder / "bundle", tmp_path / "bundle")

    def change(done, _all):
        if done == 0:
            export(folder / "run", tmp_path / "other", references=0)
            shutil.rmtree(bundle)
            (tmp_path / "other").rename(bundle)

    summary = predict_survey(bundle, [str(folder / "nights")], tmp_path / "out", SETTING, SERIAL, change)
    assert len(summary.undone) == 6
    assert "is no longer the bundle that this prediction began with" in summary.undone[0]
    assert summary.objects == 0


@pytest.mark.parametrize("place", ["label", "p_STAR", "end"])
def test_a_damaged_shard_is_made_again(made, tmp_path, place):
    folder, expected = made
    arguments = (folder / "bundle", [str(folder / "nights")], tmp_path / "out", SETTING, SERIAL)
    predict_survey(*arguments)
    before = manifest(tmp_path / "out")
    shard = tmp_path / "out" / "shards" / "00000001.parquet"
    data = bytearray(shard.read_bytes())
    group = pq.ParquetFile(shard).metadata.row_group(0)
    offsets = {group.column(i).path_in_schema: group.column(i).data_page_offset for i in range(group.num_columns)}
    data[offsets.get(place, len(data) - 300) + 40] ^= 1
    shard.write_bytes(data)
    summary = predict_survey(*arguments)
    assert (summary.resumed, summary.undone) == (160, {})
    assert manifest(tmp_path / "out") == before
    same(rows(tmp_path / "out"), expected)


def test_a_damaged_shard_is_found_without_a_manifest_that_knows_it(made, tmp_path):
    """The driver was killed before it wrote the whole manifest: the pages have checksums of their own."""
    folder, expected = made
    arguments = (folder / "bundle", [str(folder / "nights")], tmp_path / "out", SETTING, SERIAL)
    predict_survey(*arguments)
    path = tmp_path / "out" / "manifest.json"
    path.write_text(json.dumps({"schema": 1, "complete": False, "binding": manifest(tmp_path / "out")["binding"]}))
    shard = tmp_path / "out" / "shards" / "00000001.parquet"
    data = bytearray(shard.read_bytes())
    column = pq.ParquetFile(shard).metadata.row_group(0).column(1)
    data[column.dictionary_page_offset + column.total_compressed_size - 1] ^= 1
    shard.write_bytes(data)
    assert predict_survey(*arguments).resumed == 160
    same(rows(tmp_path / "out"), expected)


def test_the_manifest_says_incomplete_while_shards_are_lacking(made, tmp_path):
    folder, _ = made
    arguments = (folder / "bundle", [str(folder / "nights")], tmp_path / "out", SETTING, SERIAL)
    predict_survey(*arguments)
    (tmp_path / "out" / "shards" / "00000002.parquet").unlink()

    def stop(done, _all):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_survey(*arguments, stop)
    assert not manifest(tmp_path / "out")["complete"]
    assert predict_survey(*arguments).resumed == 140
    assert manifest(tmp_path / "out")["complete"]


def test_a_damaged_row_group_in_object_storage_costs_its_rows_alone(made, tmp_path):
    folder, expected = made
    file = shutil.copy(folder / "nights" / "night1.parquet", tmp_path / "night1.parquet")
    damage_images(file, 1)
    fsspec.filesystem("memory").put(str(file), "/damaged/night1.parquet")
    address = ["memory://damaged/night1.parquet"]
    summary = predict_survey(folder / "bundle", address, tmp_path / "out", TWENTY, SERIAL)
    assert (summary.undone, sum(summary.failed.values())) == ({}, 20)
    assert all(
        reason.startswith("can't read memory://damaged/night1.parquet as Parquet: ") for reason in summary.failed
    )
    found = rows(tmp_path / "out")
    assert found["object_id"].to_pylist() == expected["object_id"].to_pylist()[60:120]
    good = [*range(20), *range(40, 60)]
    same(found.take(good), expected.take([60 + row for row in good]))


def test_reasons_without_end_are_counted_together(made, tmp_path):
    folder, _ = made
    table = pq.read_table(folder / "survey.parquet")
    images = [{"bytes": f"{row:04d} no image".encode(), "path": None} for row in range(180)]
    bad = table.set_column(table.schema.get_field_index("image"), "image", pa.array(images, table["image"].type))
    pq.write_table(bad.drop_columns(["sha256"]), tmp_path / "bad.parquet", row_group_size=20)
    summary = predict_survey(folder / "bundle", [str(tmp_path / "bad.parquet")], tmp_path / "out", SETTING, SERIAL)
    assert len(summary.failed) == REASONS + 1
    assert sum(summary.failed.values()) == 180
    assert summary.failed["other reasons: see the column status"] == 180 - REASONS


def test_what_can_not_run_here_is_refused_before_anything_is_written(made, tmp_path):
    folder, _ = made
    nights, out = [str(folder / "nights")], tmp_path / "out"
    bare = tmp_path / "bare"
    export(folder / "run", bare, onnx=False)
    for bundle, setting, words in (
        (folder / "bundle", PredictSettings(device="abacus"), "there is no device 'abacus'; use cpu"),
        (folder / "bundle", PredictSettings(device="xpu"), "skythaw does not compute on 'xpu'; use cpu"),
        (bare, PredictSettings(device="cpu", backend="onnx"), "the backend onnx needs model.onnx"),
    ):
        with pytest.raises(SpecError, match=words):
            predict_survey(bundle, nights, out, setting, SERIAL)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(SpecError, match="which is no prediction of skythaw"):
        predict_survey(folder / "bundle", nights, other, SETTING, SERIAL)
    assert not out.exists()
    assert [each.name for each in other.iterdir()] == ["thesis.tex"]


def test_the_command(made, tmp_path, skythaw):
    folder, _ = made
    command = ("predict", folder / "bundle", folder / "nights", "--device", "cpu", "-o")
    ran = skythaw(*command, tmp_path / "out", "--engine", "serial", "--shard", 40, "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["objects"] == 180
    again = skythaw(*command, tmp_path / "out", "--engine", "serial", "--shard", 40)
    assert "wrote 180 rows to" in again.stdout
    assert "(all done before)" in again.stdout
    refused = skythaw(*command, tmp_path / "other", "--engine", "abacus")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "unknown engine 'abacus'" in refused.stderr
    assert not (tmp_path / "other").exists()
    refused = skythaw(*command, tmp_path / "out.parquet", "--engine", "ray")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "the engine ray makes a folder of shards" in refused.stderr
    refused = skythaw(*command, tmp_path / "other", "--engine", "ray", "--address", "127.0.0.1:1")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "no Ray cluster at 127.0.0.1:1" in refused.stderr
    assert not (tmp_path / "other").exists()
    refused = skythaw(*command, tmp_path / "other", "--device", "abacus")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "there is no device 'abacus'" in refused.stderr

"""Datasets of images on the Hub are imported from one commit, and from the cache without the Hub."""

from __future__ import annotations

import io
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import skythaw
from helpers_data import encode, picture
from hub_server import Stored, asked_instead_of_the_hub
from skythaw.cli import main
from skythaw.data.cutouts import read_cutouts
from skythaw.errors import DataError, OutputError, RemoteError
from skythaw.machine import hub_repository
from skythaw.machine.hub_repository import reason_of

NAME = "hf://datasets/sky/survey"
JPEGS = [encode(picture(number, 16)) for number in range(12)]
CLASSES = ["GALAXY", "QSO", "STAR"]
README = {"README.md": b"text", "train.py": b"import os", "old.bin": b"\x80\x04pickle"}


def shard(images, numbers):
    """A Parquet file as `datasets` writes it."""
    table = pa.table({"image": [{"bytes": data, "path": None} for data in images], "label": numbers})
    features = {"image": {"_type": "Image"}, "label": {"names": CLASSES, "_type": "ClassLabel"}}
    about = json.dumps({"info": {"features": features}})
    content = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": about}), content)
    return content.getvalue()


SHARDS = {
    "data/train-00000-of-00002.parquet": shard(JPEGS[:4], [0, 1, 2, 0]),
    "data/train-00001-of-00002.parquet": shard(JPEGS[4:8], [1, 2, 0, 1]),
    "data/test-00000-of-00001.parquet": shard(JPEGS[8:], [2, 0, 1, 2]),
    **README,
}
FOLDERS = {f"train/{CLASSES[i % 2]}/{i}.jpg": data for i, data in enumerate(JPEGS)} | README
ROWS = "".join(f"{i}.jpg,{CLASSES[i % 3]}\n" for i in range(12))
TABLE = {f"train/{i}.jpg": data for i, data in enumerate(JPEGS)} | {
    "train/metadata.csv": f"file_name,label\n{ROWS}".encode()
}


@pytest.fixture
def hub(monkeypatch):
    with asked_instead_of_the_hub(monkeypatch) as server:
        yield server


@pytest.fixture
def read(hub, tmp_path):
    """Import a dataset that the stand-in has; what was written, and the commit."""

    def read(files, address=NAME, **options):
        commit = serve(hub, files)
        out = tmp_path / "out.parquet"
        skythaw.import_images(address.format(commit=commit), out, cache=tmp_path / "cache", progress=False, **options)
        return read_cutouts(out), commit

    return read


def serve(hub, files):
    stored = hub.repositories.setdefault("datasets/sky/survey", Stored())
    commit = stored.commit(files)
    stored.names["v1"] = commit
    return commit


def test_shards_of_parquet_with_names_of_classes(read, tmp_path):
    cutouts, commit = read(SHARDS)
    assert cutouts.labels.tolist() == [CLASSES[n] for n in [2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]]
    assert [data for _, data, _ in cutouts.images()] == JPEGS[8:] + JPEGS[:8]
    assert cutouts.recipe["origin"] == f"{NAME}@{commit}"
    fetched = {each.name for each in (tmp_path / "cache").rglob("*") if each.is_file() and ".cache" not in each.parts}
    assert not fetched & {"train.py", "old.bin"}


def test_folders_that_may_be_several_sets_are_named(hub, tmp_path):
    """Configurations, as the Hub calls them: the same objects in other sizes, or other objects."""
    half = {"train-0.parquet": shard(JPEGS[:6], [0, 1] * 3)}, {"train-0.parquet": shard(JPEGS[6:], [0, 1] * 3)}
    for names, says in ((("64px", "128px"), True), (("train", "test"), False)):
        files = {f"{name}/{file}": data for name, part in zip(names, half, strict=True) for file, data in part.items()}
        commit = serve(hub, files)
        address = f"{NAME}@{commit}"
        found = skythaw.import_images(address, tmp_path / "o.parquet", cache=tmp_path / "c", progress=False)
        assert found.objects == 12
        said = " ".join(found.notes)
        assert (
            f"2 folders (128px, 64px) were read as one set; if they are several, import one of them: {address}/128px"
            in said
        ) is says
        assert "as one set" not in said or says


def test_a_name_of_the_hub_for_what_it_converted(read, hub):
    commit = serve(hub, SHARDS)
    hub.repositories["datasets/sky/survey"].names["refs/convert/parquet"] = commit
    for name in ("refs/convert/parquet", "refs%2Fconvert%2Fparquet"):
        cutouts, _ = read(SHARDS, f"{NAME}@{name}")
        assert len(cutouts) == 12


@pytest.mark.parametrize("files", [FOLDERS, TABLE], ids=["class folders", "a table of labels"])
def test_folders_of_images(read, files):
    cutouts, commit = read(files)
    assert sorted(data for _, data, _ in cutouts.images()) == sorted(JPEGS)
    assert len(cutouts.counts) == (2 if files is FOLDERS else 3)
    assert cutouts.recipe["origin"] == f"{NAME}@{commit}"


@pytest.mark.parametrize("address", [NAME + "@v1", NAME + "@{commit}", NAME + "@main"])
def test_a_revision(read, address):
    assert len(read(SHARDS, address)[0]) == 12


def test_a_part_of_a_repository(read):
    cutouts, commit = read(SHARDS | {"other/a.parquet": b"no parquet"}, NAME + "@v1/data/test-00000-of-00001.parquet")
    assert [data for _, data, _ in cutouts.images()] == JPEGS[8:]
    assert cutouts.recipe["origin"] == f"{NAME}@{commit}/data/test-00000-of-00001.parquet"
    assert len(read(SHARDS | {"other/a.parquet": b"no parquet"}, NAME + "/data")[0]) == 12


def test_a_table_of_labels_in_the_repository_may_be_named(read):
    files = {f"images/{i}.jpg": data for i, data in enumerate(JPEGS)}
    files |= {"a.csv": f"file_name,kind\n{ROWS}".encode(), "b.csv": b"x,y\n1,2\n"}
    assert len(read(files, labels="a.csv", column={"label": "kind"})[0].counts) == 3


def test_offline_from_the_cache(read, hub, tmp_path):
    first, commit = read(SHARDS)
    hub.faults = dict.fromkeys(("about", "tree", "head", "file"), "cut")
    for revision in ("", f"@{commit}"):
        out = tmp_path / "again.parquet"
        skythaw.import_images(NAME + revision, out, cache=tmp_path / "cache", progress=False)
        assert read_cutouts(out).recipe == first.recipe
    with pytest.raises(RemoteError, match=r"can't fetch hf://datasets/sky/survey@v1 from the Hugging Face Hub: "):
        skythaw.import_images(NAME + "@v1", out, cache=tmp_path / "cache", progress=False)


def test_a_file_that_is_not_whole_is_fetched_again(read, tmp_path):
    first, commit = read(SHARDS)
    torn = next((tmp_path / "cache").rglob("train-00000*.parquet"))
    torn.write_bytes(torn.read_bytes()[:100])
    out = tmp_path / "again.parquet"
    skythaw.import_images(f"{NAME}@{commit}", out, cache=tmp_path / "cache", progress=False)
    assert [data for _, data, _ in read_cutouts(out).images()] == [data for _, data, _ in first.images()]


@pytest.mark.parametrize(
    ("step", "fault", "words"),
    [
        ("about", 401, "does not know who asks"),
        ("about", 404, "does not show it to you"),
        ("tree", 429, "asks for fewer requests"),
        ("tree", "cut", "can't fetch"),
        ("file", "half", "can't fetch"),
        ("file", 403, "has no right"),
    ],
)
def test_a_hub_that_fails(hub, tmp_path, capsys, step, fault, words):
    serve(hub, SHARDS)
    hub.faults[step] = fault
    out, cache = tmp_path / "out.parquet", tmp_path / "cache"
    with pytest.raises(SystemExit) as caught:
        main(["--cache", str(cache), "data", "import", NAME, str(out)])
    said = capsys.readouterr().err
    assert (caught.value.code, said.count("\n")) == (2, 1)
    assert words in said
    assert not out.exists()
    hub.faults.clear()
    skythaw.import_images(NAME, out, cache=cache, progress=False)
    assert len(read_cutouts(out)) == 12


@pytest.mark.parametrize("address", ["hf://datasets/survey", "hf://sky/survey", "hf://datasets/sky/survey/../x"])
def test_addresses_that_are_none(tmp_path, address):
    with pytest.raises(DataError, match="should be hf://datasets/OWNER/NAME"):
        skythaw.import_images(address, tmp_path / "out.parquet")


def test_what_is_not_there(read, hub, tmp_path):
    for files, address, words in (
        (README, NAME, r"has none of the files that are needed .*it has README.md, old.bin, train.py"),
        (SHARDS, NAME + "@v1/none", "has none of the files"),
        (SHARDS, NAME + "@v9", "has no revision 'v9'"),
        (SHARDS, "hf://datasets/sky/none", "the Hub shows no repository sky/none"),
    ):
        with pytest.raises(RemoteError, match=words):
            read(files, address)
    assert not (tmp_path / "out.parquet").exists()


def test_a_disk_without_room(read, monkeypatch):
    monkeypatch.setattr(hub_repository, "SPARE", 1 << 60)
    wanted = r"needs 0\.0 MB more, .* has [\d,.]+ MB left, of which \d+ are left free; name a part of it"
    with pytest.raises(OutputError, match=wanted):
        read(SHARDS)


def zipped(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def test_tables_beside_an_archive_do_not_hide_it(read):
    files = {"data.zip": zipped(FOLDERS), "dataset_infos.json": b"{}", "classes.csv": b"a,b\n1,2\n"}
    assert sorted(data for _, data, _ in read(files)[0].images()) == sorted(JPEGS)


def test_of_several_archives_one_has_to_be_named(read):
    files = {"test.zip": zipped(FOLDERS), "train.zip": zipped(FOLDERS), "info.json": b"{}"}
    with pytest.raises(DataError, match=rf"holds archives: say which one .* such as {NAME}/test\.zip$"):
        read(files)
    assert len(read(files, f"{NAME}/train.zip")[0]) == 12


@pytest.mark.parametrize("images", [SHARDS, FOLDERS], ids=["Parquet", "files"])
def test_archives_beside_images_are_named(hub, images, tmp_path):
    one = {"old/all.zip": zipped(FOLDERS)}
    for left, says in (({}, ""), (one, "an archive"), (one | {"new.tar": b"tar"}, "2 archives")):
        commit = serve(hub, images | left)
        found = skythaw.import_images(f"{NAME}@{commit}", tmp_path / "o.parquet", cache=tmp_path / "c", progress=False)
        assert found.objects == 12
        assert any(note.startswith(f"{says} beside the images") for note in found.notes) is bool(says)
        first = f"import {NAME}@{commit}/{min(left, default='')}"
        assert not says or found.notes[-1].endswith(first)


def test_who_takes_no_address_says_what_to_run_first(tmp_path):
    with pytest.raises(
        DataError, match=r"is on the Hugging Face Hub: first run skythaw data import hf:/\S+ DATA\.parq"
    ):
        skythaw.tune(NAME, out=tmp_path / "out", budget="1m")


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("[Errno -2] Name or service not known", True),
        ("[Errno -3] Temporary failure in name resolution", True),
        ("[Errno 101] Network is unreachable", True),
        ("[Errno 111] Connection refused", False),
    ],
)
def test_a_machine_without_a_network_is_asked_for_one(text, asks):
    said = reason_of(OSError(text))
    assert ("is there a network?" in said) is asks
    assert text in said

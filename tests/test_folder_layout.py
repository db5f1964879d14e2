"""Folders as people have them: classes and parts are found, or what was found is said and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import strategies as st

from helpers_data import encode, picture
from helpers_soak import fuzz
from skythaw.data.cutouts import read_cutouts
from skythaw.data.part_names import part_of, parts_in_names, parts_of
from skythaw.data.sources.folder import import_folder
from skythaw.data.sources.folder_layout import read_layout
from skythaw.data.sources.set_choices import SetChoices
from skythaw.errors import DataError, SpecError

NAMES = ["GALAXY", "QSO", "STAR", "Sa", "E", "spirals", "star forming", "0", "9", "édge"]
EXTRA = st.lists(st.sampled_from(["images", "data", "sdss", "cutouts"]), max_size=2)
PARTS = st.sampled_from([(), ("train", "test"), ("Training", "VAL", "Testing"), ("train_set", "dev", "test set")])


@st.composite
def layouts(draw):
    """Files in folders, and the class and the part of each."""
    classes = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=5, unique=True))
    parts, above, below = draw(PARTS), draw(EXTRA), draw(EXTRA)
    inside = draw(st.booleans())
    found = {}
    for part in parts or (None,):
        for label in classes:
            middle = [label] if part is None else [label, part] if inside else [part, label]
            for number in range(draw(st.integers(1, 3))):
                found["/".join([*above, *middle, *below, f"{number}.jpg"])] = (label, part)
    return found


@fuzz(150, layouts())
def test_a_random_layout_gives_the_classes_that_were_put_in(files):
    names = sorted(files)
    layout = read_layout(Path("data"), names)
    assert list(layout.labels) == [files[name][0] for name in names]
    parts = [files[name][1] for name in names]
    assert layout.parts == (None if parts[0] is None else tuple(part_of(part) for part in parts))
    assert len(layout.said) == skipped(names) + bool(layout.parts)


def skipped(names):
    """Levels with a single folder."""
    return sum(len(set(level)) == 1 for level in zip(*(name.split("/")[:-1] for name in names), strict=True))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["x/1.jpg", "x/2.jpg"], "all 2 images lie in one folder, x, which would be the only class"),
        (["x/y/1.jpg"], "all 1 images lie in one folder, y.*such as x/y/STAR/"),
        (["train/1.jpg", "test/2.jpg"], "folders test, train look like parts of the data, not like classes"),
        (
            ["train/S/1.jpg", "train/G/2.jpg", "test/3.jpg"],
            r"1 images lie directly in the folder test .*data/train",
        ),
        (["train/S/1.jpg", "test/S/2.jpg"], "the only class|look like parts"),
        (["train/S/1.jpg", "val/G/1.jpg", "notes/G/2.jpg"], "train, val look like parts of the data, and notes do not"),
        (["test/1.jpg", "S/2.jpg", "G/3.jpg"], "test look like parts of the data, and G, S do not.*--level 1"),
        (["S/a/1.jpg", "S/b/1.jpg", "G/a/2.jpg"], r"--level 1 makes 2 classes \(G, S\); --level 2 makes 2 classes"),
        (["S/1.jpg", "G/a/1.jpg", "G/b/1.jpg"], r"some images lie in S, others in G/a"),
        (
            ["train_S/1.jpg", "train_G/2.jpg", "test_S/3.jpg"],
            "test_S, train_G, train_S look like a part and a class in one",
        ),
        (["S-train/1.jpg", "S-val/2.jpg"], "look like a part and a class in one name.*--level 1"),
        (["S/1.jpg", "2.jpg", "G/3.jpg"], r"1 images lie directly in data and have no class \(2.jpg\)"),
    ],
)
def test_what_may_mean_several_things_is_refused(files, says):
    with pytest.raises(DataError, match=says) as caught:
        read_layout(Path("data"), files)
    assert "\n" not in str(caught.value)


def test_a_level_may_be_given():
    files = ["S/a/1.jpg", "S/b/1.jpg", "G/a/2.jpg"]
    assert read_layout(Path("data"), files, 1).labels == ("S", "S", "G")
    assert read_layout(Path("data"), files, 2).labels == ("a", "b", "a")
    assert read_layout(Path("data"), ["test/1.jpg", "S/2.jpg"], 1).labels == ("test", "S")
    for level in (0, 3, -1):
        with pytest.raises(SpecError, match=rf"--level {level}: images in data have 2 or more folders"):
            read_layout(Path("data"), files, level)


def test_names_of_parts():
    assert [part_of(name) for name in ("Train", " VALID ", "testing", "dev", "star", "testimony", "")] == [
        *("train", "validation", "test", "validation"),
        *(None, None, None),
    ]
    assert parts_of(["train", "training"]) is None, "two names of one part"
    assert parts_of(["train2017", "val2017", "test_1"]) is not None
    assert not parts_in_names(["test_S", "test_G"]), "one part alone may well be a name"
    assert not parts_in_names(["train_S", "test_G"]), "no class is in two parts"
    assert read_layout(Path("data"), ["train_S/1.jpg", "test_S/2.jpg"], 1).labels == ("train_S", "test_S")


def folder_of(folder: Path, *names: str, same: dict[str, int] | None = None) -> Path:
    """Images in a folder; `same` gives some of them a picture's number, so that they are copies."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        kind = "PNG" if name.endswith("png") else "JPEG"
        options = {"compress_level": number % 9} if kind == "PNG" else {}
        (folder / name).write_bytes(encode(picture((same or {}).get(name, number)), kind, **options))
    return folder


def test_parts_become_a_column(tmp_path, skythaw):
    """Case A01."""
    names = [f"{part}/{c}/{part}{c}{i}.jpg" for part in ("train", "test") for c in ("GALAXY", "STAR") for i in range(2)]
    folder = folder_of(tmp_path / "data", *names)
    done = skythaw("data", "import", folder, tmp_path / "o.parquet")
    assert done.returncode == 0, done.stderr
    assert "the folders test, train are parts of the data" in done.stderr
    cutouts = read_cutouts(tmp_path / "o.parquet")
    assert cutouts.counts == {"GALAXY": 4, "STAR": 4}
    parts = dict(zip(cutouts.object_ids, cutouts.column("part"), strict=True))
    assert all(name.startswith(part) for name, part in parts.items())
    table = tmp_path / "t.csv"
    table.write_text("file,label\n" + "".join(f"{name},{'AB'[i % 2]}\n" for i, name in enumerate(names)))
    result = import_folder(folder, tmp_path / "t.parquet", table)
    assert read_cutouts(tmp_path / "t.parquet").column("part").tolist() == ["train"] * 4 + ["test"] * 4
    assert "are parts of the data" in result.notes[0]


def test_the_table_of_an_import(tmp_path, skythaw):
    """Cases A12 and F08: what was read, changed and left out is said, and adds up."""
    names = [f"{c}/{c.strip()}{i}.png" for c in ("STAR", "Star ", "galaxy", "QSO") for i in range(3)]
    same = {"STAR/STAR0.png": 50, "QSO/QSO0.png": 50}
    folder = folder_of(tmp_path / "images", *names, same=same)
    out = tmp_path / "o.parquet"
    done = skythaw("data", "import", folder, out)
    assert (done.returncode, out.exists()) == (2, False)
    assert "1 image is there with different labels: QSO0 (QSO) = STAR0 (STAR)" in done.stderr
    assert "--drop-conflicts" in done.stderr
    done = skythaw("data", "import", folder, out, "--drop-conflicts")
    assert "'STAR' (3) and 'Star ' (3) may be one; to merge them: --merge" in done.stderr
    done = skythaw("data", "import", folder, out, "--drop-conflicts", "--merge")
    said = " ".join(done.stdout.split())
    assert "STAR 5" in said
    assert "class 'Star ' is now 'STAR' 3" in said
    assert "left out: 2" in said
    assert "QSO/QSO0.png, " in said
    assert f"next: skythaw data inspect {out}" in done.stdout
    assert not done.stderr
    told = json.loads(skythaw("data", "import", folder, out, "--drop-conflicts", "--merge", "--json").stdout)
    assert told["objects"] + len(told["left_out"]) == len(names)
    assert told["classes"] == {"QSO": 2, "STAR": 5, "galaxy": 3}
    assert sum(told["classes"].values()) + told["unlabelled"] == told["objects"]


def test_a_table_of_labels_is_merged_as_folders_are(tmp_path):
    folder = folder_of(tmp_path / "images", *(f"{i}.jpg" for i in range(4)))
    (tmp_path / "t.csv").write_text("file,label\n0.jpg,SN Ia\n1.jpg,sn_ia\n2.jpg,SN Ia\n3.jpg,\n")
    result = import_folder(folder, tmp_path / "o.parquet", tmp_path / "t.csv", choices=SetChoices(merge=True))
    assert read_cutouts(tmp_path / "o.parquet").labels.tolist() == ["SN Ia", "SN Ia", "SN Ia", None]
    assert result.changed["class 'sn_ia' is now 'SN Ia'"] == 1


@pytest.mark.parametrize("odd", ["a\nb", "a\tb", "a\x1bb", "x" * 101, "a\u202eb", "\u200b", " ", "a\u2028b"])
def test_odd_classes_are_refused_at_import(tmp_path, odd):
    folder = folder_of(tmp_path / "images", f"{odd}/1.jpg", "STAR/2.jpg")
    with pytest.raises(DataError, match=r"the class name '.*; rename this class") as caught:
        import_folder(folder, tmp_path / "o.parquet")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "o.parquet").exists()

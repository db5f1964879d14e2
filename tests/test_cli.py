"""The command line as a user meets it: what is wrong gets one clear line, exit code 2, and nothing half-written."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from conftest import SKYTHAW
from helpers_run import World, make_run
from helpers_soak import SIZES
from helpers_study import CLASSES, COLUMNS, draw, jpeg, make_survey, write_study
from skythaw.cli import app, main
from skythaw.data.cutouts import write_cutouts
from skythaw.data.sources.mock.mock_survey import make_mock


def survey_of(here, rows):
    """Replace the survey by other rows: (label, image bytes, field)."""
    content = [
        {"object_id": f"obj{i}", "label": label, "image": image, "run": 1, "camcol": 1, "field": field}
        for i, (label, image, field) in enumerate(rows)
    ]
    write_cutouts(here / "survey.parquet", content, COLUMNS, {})


def some_rows(count, classes=CLASSES, size=40):
    rng = np.random.default_rng(0)
    return [(classes[i % len(classes)], jpeg(draw(classes[i % len(classes)], rng, size)), i // 3) for i in range(count)]


def no_such_file(here):
    (here / "survey.parquet").unlink()


def not_parquet(here):
    (here / "survey.parquet").write_text("object_id,label\n1,STAR\n")


def missing_column(here):
    import pyarrow.parquet as pq

    table = pq.read_table(here / "survey.parquet")
    pq.write_table(table.drop_columns(["label"]), here / "survey.parquet")


def truncated_jpeg(here):
    rows = some_rows(60)
    rows[7] = (rows[7][0], rows[7][1][:200], rows[7][2])
    survey_of(here, rows)
    write_study(here, replace={"[75]": "[30]"})


def several_sizes(here):
    rows = some_rows(60)
    rows[5] = (rows[5][0], some_rows(1, size=48)[0][1], rows[5][2])
    survey_of(here, rows)
    write_study(here, replace={"[75]": "[30]"})


def external(here, **changes):
    """A test set of its own, spoilt in some way."""
    make_survey(here / "other.parquet", **({"objects": 45, "seed": 9, "prefix": "999"} | changes))
    write_study(here, replace={'path = "survey.parquet"': 'path = "survey.parquet"\ntest_path = "other.parquet"'})


def test_of_other_size(here):
    external(here, size=24)


def test_with_the_same_images(here):
    external(here, objects=180, seed=0)


def test_with_the_same_objects(here):
    external(here, prefix="1237")


def test_without_a_class(here):
    external(here)
    rows = some_rows(20, classes=("GALAXY", "STAR"))
    content = [
        {"object_id": f"t{i}", "label": label, "image": image, "run": 9, "camcol": 1, "field": i}
        for i, (label, image, _) in enumerate(rows)
    ]
    write_cutouts(here / "other.parquet", content, COLUMNS, {})


for helper in (test_of_other_size, test_with_the_same_images, test_with_the_same_objects, test_without_a_class):
    helper.__test__ = False


def no_utf8(here):
    (here / "study.toml").write_bytes(b"name = '\xff'")


def one_class(here):
    survey_of(here, some_rows(60, classes=("STAR",)))


def a_tiny_class(here):
    rows = some_rows(60, classes=("GALAXY", "STAR"))
    survey_of(here, [*rows, ("QSO", some_rows(61)[60][1], 500)])


def study_with(old, new):
    def change(here):
        write_study(here, replace={old: new})

    return change


def weights_of_another_network(here):
    save_file({"conv.weight": np.zeros((3, 3), np.float32)}, here / "other.safetensors")
    write_study(here, replace={'"timm:test_efficientnet" = "random"': '"timm:test_efficientnet" = "other.safetensors"'})


def no_weights_here(here):
    write_study(
        here, replace={"timm:test_efficientnet": "efficientnet_b2", '[weights]\n"efficientnet_b2" = "random"': ""}
    )


BAD = {
    "no such file": (no_such_file, "study.toml: data.path = survey.parquet: there is no such file or folder"),
    "not Parquet": (not_parquet, "as Parquet"),
    "missing column": (missing_column, "lacks the column label"),
    "truncated JPEG": (truncated_jpeg, "obj7"),
    "several sizes": (several_sizes, "48 x 48"),
    "one class only": (one_class, "at least 2 classes"),
    "class too small": (a_tiny_class, "'QSO' has 1 object"),
    "a test set of other size": (test_of_other_size, "crop = 32 is larger than the cutouts, which have 24"),
    "a test set with the same images": (test_with_the_same_images, "shares 180 images"),
    "a test set with the same objects": (test_with_the_same_objects, "shares 45 objects"),
    "a test set without a class": (test_without_a_class, "has no 'QSO'"),
    "too few images for all classes": (study_with("[75]", "[2]"), "train_size = 2 is too few for all classes"),
    "batches of one image": (
        study_with("batch = 16", 'batch = 1\nbatchnorm = "train"'),
        "makes batches of one image",
    ),
    "a study that is not UTF-8": (no_utf8, "can't read the study file"),
    "unknown backbone": (
        study_with('"timm:test_efficientnet"]', '"resnet5O"]'),
        "study.toml: unknown backbone 'resnet5O'; did you mean 'resnet50'?",
    ),
    "unknown timm network": (study_with("test_efficientnet", "test_efficientnot"), "did you mean"),
    "unknown model of the Hub": (
        study_with('"timm:test_efficientnet"]', '"hf_hub:nobody"]'),
        "write hf_hub:OWNER/NAME",
    ),
    "no such folder": (
        study_with('"timm:test_efficientnet"]', '"local-dir:none"]'),
        "has to be a folder with config.json and weights; it is not there",
    ),
    "weights named twice": (
        study_with("[75]", '[75]\nweights = ["random"]'),
        "are named twice: in [grid] weights, and",
    ),
    "unknown strategy": (study_with("[recipe]", 'strategy = ["topp"]\n[recipe]'), "did you mean 'top'?"),
    "unknown depth": (study_with('"50%"', '"half"'), "'half' is not a count of blocks"),
    "depth beyond the network": (study_with('"50%"', "9"), "timm:test_efficientnet has 7 blocks"),
    "image too small": (study_with("crop = 32", "crop = 8"), "images of at least 32 pixels, not size = 8"),
    "crop too large": (study_with("crop = 32", "crop = 64"), "crop = 64 is larger than the cutouts"),
    "no room for shifts": (study_with("batch = 16", "batch = 16\nshift = 9"), "needs cutouts of 50 pixels"),
    "weights of another network": (
        weights_of_another_network,
        "are not of timm:test_efficientnet: 73 of 73 tensors missing",
    ),
    "no weights": (no_weights_here, "efficientnet_b2"),
    "weights of a backbone not in the grid": (
        study_with('"timm:test_efficientnet" =', "vgg16 ="),
        "study.toml: unknown backbone in [weights]",
    ),
    "unknown key": (study_with("batch = 16", "bach = 16"), "unknown key 'recipe.bach'; did you mean 'batch'?"),
    "train size too large": (
        study_with("[75]", "[5000]"),
        "error: study.toml: train_size = 5000 is more than there are: 90",
    ),
    "no such column to split by": (study_with('by = "field"', 'by = "feild"'), "feild"),
    "no coordinates to split by": (study_with('by = "field"', 'by = "healpix"'), "ra"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_leaves_nothing(case, here, skythaw):
    spoil, says = BAD[case]
    spoil(here)
    before = sorted(here.iterdir())
    done = skythaw("study", "run", "study.toml", "--out", "run", "--engine", "serial", cwd=here)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert sorted(here.iterdir()) == before, "nothing is half-written"


def test_broken_images_can_be_left_out(here, skythaw):
    rows = some_rows(60)
    for i in (0, 7):
        rows[i] = (rows[i][0], rows[i][1][: 5 if i == 0 else 200], rows[i][2])
    survey_of(here, rows)
    write_study(here, replace={"[75]": '["all"]', "seed = [0, 1]": "seed = [0]", '["0%", "50%", "100%"]': "[0]"})
    done = skythaw("study", "run", "study.toml", "--out", "run", "--engine", "serial", "--skip-broken", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "left out obj0: " in done.stderr
    assert "left out obj7: " in done.stderr
    used = json.loads(skythaw("report", "run", "--json", cwd=here).stdout)["objects"]
    assert sum(used.values()) == 58
    plan = skythaw("study", "plan", "study.toml", "--out", "run", "--skip-broken", "--json", cwd=here)
    assert [c["state"] for c in json.loads(plan.stdout)["cells"]] == ["done"]


@pytest.mark.parametrize("blocked", ["a file in the way", "read-only"])
def test_an_output_folder_that_cannot_be_written(here, skythaw, blocked):
    if blocked == "read-only":
        out = Path("/proc/skythaw")  # not even root may make a folder there
    else:
        (here / "run").touch()
        out = here / "run"
    done = skythaw("study", "run", "study.toml", "--out", out, "--engine", "serial", cwd=here)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"can't write {out}" in done.stderr


@pytest.mark.soak
def test_a_full_disk(here, skythaw, tmp_path_factory):
    """A real one: a file system of 64 kB. Where mounting is not allowed, a limit on the size of files instead."""
    full = tmp_path_factory.mktemp("full")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full], capture_output=True, check=False
    )
    prefix = [] if mounted.returncode == 0 else ["bash", "-c", 'ulimit -f 64; exec "$@"', "-"]
    try:
        done = subprocess.run(
            [*prefix, *SKYTHAW, "data", "mock", full / "m.parquet", "--objects", "100"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"error: can't write {full / 'm.parquet'}: ")
        assert not list(full.iterdir()), "nothing is half-written"
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", full], check=True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["blocks", "resnet5O"], "unknown backbone 'resnet5O'; did you mean 'resnet50'?"),
        (["blocks", "vgg16", "--size", "8"], "vgg16 takes images of at least 32 pixels, not --size 8"),
        (["data", "inspect", "none.parquet"], "there is no file none.parquet"),
        (["data", "mock", "m.parquet", "--objects", "1"], "objects = 1"),
        (["data", "mock", "m.parquet", "--size", "4"], "size = 4"),
        (["data", "import", "none", "o.parquet"], "none"),
        (["study", "plan", "none.toml"], "can't read the study file none.toml: No such file or directory"),
        (["--cache", "c", "report", "none", "--json"], "none is not a run folder"),
        (
            ["study", "run", "study.toml", "--out", "run", "--device", "meta"],
            "there is no device 'meta'; use",
        ),
        (["study", "status", "none"], "none is not a run folder"),
        (["report", "none"], "none is not a run folder"),
        (["study", "run", "study.toml", "--out", "run", "--engine", "rey"], "unknown engine 'rey'"),
        (
            ["study", "run", "study.toml", "--out", "run", "--device", "tpu"],
            "there is no device 'tpu'; use cpu, cuda (a GPU), or auto",
        ),
    ],
)
def test_bad_arguments_get_one_line(here, skythaw, arguments, says):
    done = skythaw(*arguments, cwd=here)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert sorted(p.name for p in here.iterdir()) == ["study.toml", "survey.parquet"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("tune", "{}"),
        ("tune", "survey.parquet", "--out", "{}"),
        ("study", "init", "{}"),
        ("study", "run", "study.toml", "--out", "{}"),
        ("data", "import", "survey.parquet", "{}"),
        ("data", "mock", "{}"),
        ("features", "{}", "survey.parquet", "-o", "f.parquet"),
        ("report", "{}"),
    ],
    ids=" ".join,
)
def test_a_name_that_no_file_can_have_is_one_line(here, skythaw, arguments):
    name = "x" * 300
    before = sorted(here.iterdir())
    ended = skythaw(*(each.format(name) for each in arguments), cwd=here)
    assert ended.returncode == 2
    assert ended.stderr.count("error: ") == 1
    assert len(ended.stderr.strip().splitlines()) <= 2, "tune says first what it reads"
    assert name in ended.stderr
    assert sorted(here.iterdir()) == before


def test_usage_errors_have_exit_code_2(skythaw):
    for arguments in (["nonsense"], ["study", "run", "x.toml"], ["blocks", "vgg16", "--size", "big"]):
        done = skythaw(*arguments)
        assert done.returncode == 2
        assert "Usage: skythaw" in done.stderr


def test_help_is_quick_and_loads_nothing_heavy():
    """Under 0.5 s of the processor, the best of five; torch, timm and the like are imported where used."""
    script = (
        "import sys\nfrom skythaw.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'galsim', 'sklearn', 'scipy', 'numpy', 'pyarrow', 'pydantic'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("LOADED []\n")
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*SKYTHAW, "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("command", ["plan", "report"])
def test_plan_and_report_load_no_torch(here, cache, skythaw, command):
    """Once the facts about a network are in the cache."""
    write_study(here, replace={"timm:test_efficientnet": "mobilenetv2", "[75]": "[30]"})
    skythaw("study", "plan", "study.toml", cwd=here)
    if command == "report":
        make_run(here / "run", World({"mobilenetv2": {0: 1.0, 3: 1.5}}, objects=60, groups=20))
    arguments = ["report", "run", "--html", "r.html"] if command == "report" else ["study", "plan", "study.toml"]
    script = (
        "import sys\nfrom skythaw.cli import main\n"
        f"try: main(['--cache', {str(cache)!r}, *{arguments!r}])\nexcept SystemExit: pass\n"
        "print('LOADED', sorted({'torch', 'timm', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=here)
    assert done.stdout.endswith("LOADED []\n"), done.stdout


def test_blocks_are_listed_from_the_top(skythaw, skythaw_process):
    found = json.loads(skythaw_process("blocks", "mobilenetv2", "--size", "64", "--json").stdout)
    rows = found["blocks"]
    assert found["schema"] == 1
    assert [row["depth"] for row in rows] == list(range(len(rows)))
    assert rows[0]["name"] == "head"
    assert rows[0]["parameters"] == 1280 * 3 + 3
    assert rows[1]["name"] == "conv_head"
    for ratio in ("tpr", "tlr", "tfr"):
        values = [row[ratio] for row in rows]
        assert values == sorted(values)
        assert values[-1] == 1
    total = sum(row["parameters"] for row in rows)
    assert rows[1]["tpr"] == pytest.approx((rows[0]["parameters"] + rows[1]["parameters"]) / total)
    table = skythaw("blocks", "mobilenetv2", "--size", "64").stdout
    assert all(row["name"] in table for row in rows)


def test_backbones_are_listed(skythaw):
    found = json.loads(skythaw("backbones", "--json").stdout)["backbones"]
    names = [row["name"] for row in found]
    seed = ["resnet50", "densenet121", "vgg16", "xception", "efficientnet_b2", "mobilenetv2", "nasnet_mobile"]
    assert names[:7] == seed
    for row in found:
        assert row["smallest_input"] <= row["input_size"]
        assert row["weights"]
        assert len(row["preprocessing"]["mean"]) == 3


def test_import_inspect_and_sheet(tmp_path, skythaw, skythaw_process):
    rng = np.random.default_rng(0)
    for label in ("GALAXY", "STAR"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "images" / label / f"{label}{i}.jpg").write_bytes(jpeg(draw(label, rng, 32)))
    (tmp_path / "images" / "STAR" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    done = skythaw("data", "import", "images", "o.parquet", cwd=tmp_path)
    assert done.returncode == 2
    assert "broken" in done.stderr
    assert not (tmp_path / "o.parquet").exists()
    done = skythaw_process("data", "import", "images", "o.parquet", "--skip-broken", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left out" in done.stderr
    assert "wrote 8 cutouts" in done.stdout
    done = skythaw_process("data", "inspect", "o.parquet", "--sheet", "s.png", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert (found["objects"], found["classes"]) == (8, {"GALAXY": 4, "STAR": 4})
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert "GALAXY" in skythaw("data", "inspect", "o.parquet", cwd=tmp_path).stdout


def test_a_random_split_warns_with_the_overlap(here, skythaw):
    write_study(here, replace={'by = "field"': 'by = "random"'})
    done = skythaw("study", "plan", "study.toml", cwd=here)
    assert done.returncode == 0
    assert "warning: split by = 'random' ignores the sky" in done.stderr
    assert "cutouts share a field with one in another part" in done.stderr


def test_an_external_test_set_that_shares_a_field_warns(here, skythaw):
    external(here)
    done = skythaw("study", "plan", "study.toml", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "cutouts share a field with one in another part" in done.stderr


def test_the_same_cell_twice_in_the_grid_is_one_cell(here, skythaw):
    """And it is told that [recipe] has a batch too."""
    write_study(here, replace={"[75]": '["all", 90]', "[recipe]": "batch = [16, 16.0]\n[recipe]"})
    found = json.loads(skythaw("study", "plan", "study.toml", "--json", cwd=here).stdout)
    assert len({c["key"] for c in found["cells"]}) == len(found["cells"]) == 6
    assert any("listed twice in the grid; run once" in w for w in found["warnings"])
    assert any("batch = 16 in [recipe] is not used" in w for w in found["warnings"])


def test_text_where_numbers_should_be(tmp_path, skythaw):
    """Sexagesimal coordinates do no harm where coordinates are not needed, and get one line where they are."""
    content = [
        {"object_id": f"o{i}", "label": label, "image": image, "ra": "00:42:00", "dec": "+41:16:09", "field": None}
        for i, (label, image, _) in enumerate(some_rows(60))
    ]
    columns = [(name, pa.string()) for name in ("ra", "dec", "field")]
    write_cutouts(tmp_path / "survey.parquet", content, columns, {})
    assert "overlap on the sky: unknown" in skythaw("data", "inspect", "survey.parquet", cwd=tmp_path).stdout
    write_study(tmp_path, replace={'by = "field"': 'by = "random"', "[75]": '["all"]'})
    assert skythaw("study", "plan", "study.toml", cwd=tmp_path).returncode == 0
    write_study(tmp_path, replace={'by = "field"': 'by = "healpix"'})
    done = skythaw("study", "plan", "study.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "column 'ra' should hold numbers" in done.stderr


def test_labels_are_no_markup(tmp_path, skythaw):
    rows = [(label, image, field) for label, image, field in some_rows(40, classes=("GALAXY", "STAR"))]
    rows = [("[/STAR] :star:" if label == "STAR" else label, image, field) for label, image, field in rows]
    survey_of(tmp_path, rows)
    assert "[/STAR] :star:" in skythaw("data", "inspect", "survey.parquet", cwd=tmp_path).stdout


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("size", SIZES)
def test_the_demo_tells_the_whole_story(tmp_path, skythaw, skythaw_process, size):
    """A small one finds its surveys and its study there: 60 objects, two depths of a tiny network, with and without
    numbers, one epoch."""
    from skythaw.cli import demo_command

    small = demo_command.STUDY.replace("efficientnet_lite0", "timm:test_efficientnet").replace("[250]", "[24]")
    small = small.replace("seed = [0, 1, 2]", "seed = [0]").replace('"0%", "50%", "100%"', '"0%", "100%"')
    small = small.replace("batch = 32", "epochs = 1\nlr = 1e-3\nbatch = 32")
    small += '[weights]\n"timm:test_efficientnet" = "random"\n'
    cells = 4 if size == "small" else 18
    if size == "small":
        (tmp_path / "demo").mkdir()
        (tmp_path / "demo" / "study.toml").write_text(small)
        make_mock(tmp_path / "demo" / "mock.parquet", 60, 0, 64)
        make_mock(tmp_path / "demo" / "new.parquet", 12, 1, 64)
    for _ in range(2):  # the second time everything is there
        if size == "small":
            done = skythaw("demo", "--out", tmp_path / "demo")
        else:
            done = skythaw_process("demo", "--out", tmp_path / "demo", timeout=1200)
        assert done.returncode == 0, done.stderr
        said = done.stdout
        assert f"({cells} of {cells} cells)" in said
        assert "=>" in said
        assert re.search(r"what it says of (12|150) objects of another mock sky \(\d+ right\)", said)
    assert (tmp_path / "demo" / "depth.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_depth_twice_runs_once_and_says_so(here, skythaw):
    write_study(here, replace={'"50%"': '1, "10%"'})
    done = skythaw("study", "plan", "study.toml", "--json", cwd=here)
    found = json.loads(done.stdout)
    assert sorted({c["depth"] for c in found["cells"]}) == [0, 1, 7]
    assert len(found["cells"]) == 6
    assert any("depths 1 and '10%' are the same (1 of 7 blocks)" in w for w in found["warnings"])


def test_every_command_has_help(skythaw):
    def walk(group, path):
        for command in group.registered_commands:
            yield [*path, command.name or command.callback.__name__]
        for child in group.registered_groups:
            yield from walk(child.typer_instance, [*path, child.name])

    for command in walk(app, []):
        done = skythaw(*command, "--help")
        assert done.returncode == 0, command
        assert f"Usage: skythaw {' '.join(command)}" in done.stdout


def test_the_version(skythaw):
    assert skythaw("--version").stdout.startswith("skythaw 0.")


@pytest.mark.parametrize("command", ["run", "search"])
@pytest.mark.parametrize("option", ["address=auto", "node-cache=/tmp/x", "gpu-share=0.5", "cell-memory=4GB"])
def test_options_of_a_cluster_without_one_are_refused(here, cache, capsys, monkeypatch, command, option):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # which is for others
    words = ["--cache", str(cache), "study", command, str(here / "study.toml"), "--out", str(here / "run")]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--" + option.partition("=")[0], option.partition("=")[2]])
    assert ended.value.code == 2
    assert (
        capsys.readouterr().err == f"error: --{option.partition('=')[0]} is for a Ray cluster: say --engine ray, too\n"
    )
    assert not (here / "run").exists()

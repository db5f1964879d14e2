"""``skythaw report`` as a user runs it: what it prints, and every file it writes."""

from __future__ import annotations

import csv
import json

import jsonschema
import pytest

from helpers_run import World, make_run
from helpers_study import make_survey
from skythaw.report.figures.elements import Table
from skythaw.report.figures.report_figures import report_figures
from skythaw.report.number_format import with_interval
from skythaw.report.page.table_files import as_csv, depths_as_latex
from skythaw.report.report_facts import report_facts
from skythaw.report.write_report import ReportFiles, write_report
from skythaw.study.ledger import Ledger
from test_ledger import STUDY, cells
from test_report import ASSETS, SCHEMA

TWO = World(
    {"resnet50": {0: 1.0, 5: 1.8}, "mobilenetv2": {0: 1.0, 3: 1.5}},
    objects=240,
    groups=80,
    sizes=(300, 1000),
    alarm="collapsed",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("report") / "run", TWO)


@pytest.fixture(scope="module")
def facts(run):
    with Ledger.read(run) as ledger:
        return report_facts(ledger)


def test_all_that_can_be_written(run, facts, skythaw, tmp_path):
    done = skythaw(
        *("report", run, "--html", "r.html", "--json", "r.json", "--figures", "figures", "--csv", "tables"),
        *("--latex", "depths.tex", "--picture", "depths.pdf"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for what in ("page r.html", "JSON r.json", "figures figures", "tables tables", "LaTeX table depths.tex"):
        assert f"wrote the {what}" in done.stdout
    content = json.loads((tmp_path / "r.json").read_text())
    jsonschema.validate(content, SCHEMA)
    assert content == json.loads(json.dumps(facts))
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!doctype html>")
    assert len(page) < 8e6
    drawn = {"score-tpr", "score-depth", "score-images", "gap", "learning", "losses", "completeness-purity"}
    names = {p.stem for p in (tmp_path / "figures").iterdir()}
    assert names >= drawn | {"confusion-0", "reliability-0"}
    assert {p.suffix for p in (tmp_path / "figures").iterdir()} == {".png", ".svg"}
    assert (tmp_path / "depths.pdf").read_bytes().startswith(b"%PDF")
    rows, pairs = (
        list(csv.DictReader((tmp_path / "tables" / f"{name}.csv").read_text().splitlines()))
        for name in ("depths", "pairs")
    )
    assert [float(row["macro-F1"]) for row in rows] == pytest.approx(
        [row["macro_f1"]["mean"] for row in sorted(facts["rows"], key=lambda r: (r["backbone"], r["train_size"]))]
    )
    assert [pair["inputs"] for pair in pairs] == ["images"] * 4
    assert float(pairs[0]["p (corrected)"]) == facts["comparisons"][0]["pairs"][0]["macro_f1"]["p_simultaneous"]


def test_the_answer_comes_first_and_verdicts_follow(run, facts, skythaw, tmp_path):
    lines = skythaw("report", run, cwd=tmp_path).stdout
    told = " ".join(lines.split())
    assert told.startswith(f"ANSWER: {facts['answer']}"), "the first screen"
    assert told.endswith(facts["answer"]), "and the last lines"
    assert told.index("mobilenetv2 3 of 10") < told.index("resnet50, 300 training images")
    for claim in facts["claims"]:
        known = claim["verdict"] != "cannot be told"
        assert (f"{claim['number']}. {claim['claim']} {claim['verdict'].upper()}." in told) == known
    unknown = [str(claim["number"]) for claim in facts["claims"] if claim["verdict"] == "cannot be told"]
    assert f"Can't be told on these data: claims {', '.join(unknown)}" in told
    assert "ALARM mobilenetv2, depth 3, 300 images, seed 0: collapsed" in told
    assert "2,000 bootstrap draws of 80 groups of the split (240 objects)" in told
    row = next(r for r in facts["rows"] if r["depth"] == 5 and r["train_size"] == 1000)
    assert f"{row['macro_f1']['low']:.3f} to {row['macro_f1']['high']:.3f}" in told


def test_a_smaller_margin_asks_for_more(run, skythaw, tmp_path):
    skythaw("report", run, "--margin", "1", "--json", "wide.json", cwd=tmp_path)
    skythaw("report", run, "--margin", "0", "--json", "none.json", cwd=tmp_path)
    wide, none = (json.loads((tmp_path / name).read_text()) for name in ("wide.json", "none.json"))
    assert {each["depth"] for each in wide["recommended"]} == {0}
    assert 0 not in {each["depth"] for each in none["recommended"]}


def test_pictures_of_objects_come_from_the_data_or_from_where_they_went(skythaw, tmp_path):
    """Folder 2's survey is gone; the same survey elsewhere gives the pictures back."""
    told = skythaw("report", ASSETS / "run-2", "--html", "without.html", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    make_survey(tmp_path / "moved.parquet")
    skythaw("report", ASSETS / "run-2", "--html", "with.html", "--data", "moved.parquet", cwd=tmp_path)
    without, found = ((tmp_path / name).read_text() for name in ("without.html", "with.html"))
    assert found.count("data:image/png") > without.count("data:image/png") + 30
    assert "some of the test set" not in without
    assert "GALAXY: some of the test set" in found


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--picture", "p.bmp"], "can't draw p.bmp: its name must end in .png, .svg, .pdf"),
        (["--margin", "2"], "Invalid value for '--margin': Input should be less than or equal to 1"),
        (["--html", "folder"], "can't write folder"),
        (["--html", "r.html", "--data", "gone.parquet"], "there is no file gone.parquet"),
    ],
)
def test_what_can_not_be_written_is_refused(run, skythaw, tmp_path, arguments, says):
    (tmp_path / "folder").mkdir()
    done = skythaw("report", run, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert [p.name for p in tmp_path.rglob("*")] == ["folder"]


def test_nothing_is_written_of_a_study_without_a_finished_cell(skythaw, tmp_path):
    Ledger.create(tmp_path / "run", STUDY, cells()).close()
    done = skythaw("report", "run", "--html", "r.html", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: no cell of the study is done yet: r.html would be empty\n"
    assert not (tmp_path / "r.html").exists()


def test_figures_hold_the_numbers_of_the_facts(facts):
    found = report_figures(facts)
    assert [s.label for s in found.ratio.series] == ["resnet50", "mobilenetv2"], (
        "one line a network, of the most images"
    )
    assert len(found.depth.series) == 4
    row = next(r for r in facts["rows"] if (r["backbone"], r["train_size"], r["depth"]) == ("mobilenetv2", 1000, 3))
    line = found.ratio.series[-1]
    assert (line.x[1], line.y[1]) == (100 * row["tpr"], row["macro_f1"]["mean"])
    assert (line.low[1], line.high[1]) == (row["macro_f1"]["low"], row["macro_f1"]["high"])
    assert line.marked == (1,)
    assert [s.x for s in found.size.series] == [(300, 1000)] * 2
    assert {s.label for s in found.gap.series} == {s.label for s in found.depth.series}
    assert [chart.name for chart in found.learning] == ["learning", "losses"]
    assert [c.name for c in found.errors] == ["errors-0"]
    assert [c.name for c in found.pareto] == ["score-parameters", "score-file-bytes", "score-latency"]


def test_the_map_of_p_values_holds_those_of_every_pair(tmp_path):
    run = make_run(tmp_path, World({"resnet50": {0: 1.0, 5: 1.5, 10: 1.8}}, objects=120, groups=40))
    facts = write_report(run, ReportFiles())
    (pairs,) = report_figures(facts).pairs
    values = [each["macro_f1"]["p_simultaneous"] for each in facts["comparisons"][0]["pairs"]]
    assert pairs.values == ((None, values[0], values[1]), (values[0], None, values[2]), (values[1], values[2], None))


def test_latex_of_hostile_names_is_harmless(facts):
    row = {**facts["rows"][0], "network": r"a_b\input{x}%&"}
    text = depths_as_latex({**facts, "rows": [row], "recommended": []})
    assert r"a\_b\textbackslash{}input\{x\}\%\&" in text
    assert with_interval(row["macro_f1"]) in text
    bold = depths_as_latex(facts)
    assert bold.count(r"\textbf{") == 7 * len(facts["recommended"])


def test_csv_has_all_digits(facts):
    text = as_csv(Table("t", ("a", "b"), ((0.1234567890123, None), ("x,y", 2))))
    assert text == 'a,b\n0.1234567890123,\n"x,y",2\n'

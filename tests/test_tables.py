"""What commands print fits a terminal of 80 columns; with `--wide`, tables have all their columns."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from itertools import product

import pytest

from helpers_run import World, make_run
from helpers_study import make_float_survey, make_survey, write_study
from skythaw.cli.terminal_table import TerminalTable, print_table
from skythaw.report.plain_answer import plain_answer
from skythaw.report.report_facts import report_facts
from skythaw.study.ledger import Ledger

COPIED = re.compile(r"skythaw |wrote |^stretch = ")
"""lines with a command, a path or a setting, which must stay whole to be copied"""
TWO = {
    "crop = 32\n": "",
    'backbone = ["timm:test_efficientnet"]': 'backbone = ["timm:test_efficientnet", "timm:test_resnet"]',
    "train_size = [75]": 'train_size = [40, 75]\ncrop = [32, 36]\nstrategy = ["top", "lp_ft"]',
    '"timm:test_efficientnet" = "random"': '"timm:test_efficientnet" = "random"\n"timm:test_resnet" = "random"',
}


def too_wide(text):
    assert "…" not in text, "a number was cut"
    return [line for line in text.splitlines() if len(line.rstrip()) > 80 and not COPIED.search(line)]


def test_tables_of_the_data_and_the_networks_fit(skythaw, tmp_path, monkeypatch):
    monkeypatch.setattr("skythaw.registry.names", lambda kind: ["mobilenetv2", "efficientnet_lite0"])
    make_survey(tmp_path / "survey.parquet")
    make_float_survey(tmp_path / "floats.parquet")
    for command in (["backbones"], ["blocks", "mobilenetv2"], ["data", "inspect", "survey.parquet"],
                    ["data", "inspect", "floats.parquet"]):  # fmt: skip
        done = skythaw(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "──" in done.stdout
        assert not too_wide(done.stdout), command


def test_a_plan_of_many_axes_fits_and_has_all_columns_where_it_is_wide(skythaw, here):
    write_study(here, replace=TWO)
    plain, all_of_it = (skythaw("study", "plan", "study.toml", *more, cwd=here) for more in ([], ["--wide"]))
    narrow, wide = plain.stdout, all_of_it.stdout
    assert plain.returncode == 0, plain.stderr
    assert not too_wide(narrow)
    assert "With --wide, tables also have: " in narrow
    assert "With --wide" not in wide
    for name in ("strategy", "crop", "TPR", "TLR", "TFR", "memory", "passes", "different"):
        assert name in wide


@pytest.mark.soak
def test_a_study_from_its_run_to_its_predictions_fits_and_ends_with_the_answer(skythaw, here):
    run = skythaw("study", "run", "study.toml", "--out", "run", "--workers", "1", cwd=here)
    with Ledger.read(here / "run") as ledger:
        facts = report_facts(ledger)
    assert " ".join(run.stdout.split()).endswith(facts["answer"])
    search = skythaw("study", "search", "study.toml", "--out", "search", "--workers", "1", cwd=here)
    assert "ANSWER: Use timm:test_efficientnet with" in " ".join(search.stdout.split())
    commands = [["report", "run"], ["report", "search"], ["study", "status", "run"]]
    commands += [["export", "run", "bundle", "--no-onnx"], ["predict", "bundle", "survey.parquet", "-o", "p.parquet"]]
    told = [run, search, *(skythaw(*command, cwd=here) for command in commands)]
    for done in told:
        assert done.returncode == 0, done.stderr
        assert not too_wide(done.stdout), done.args
    for done in told[-2:]:
        assert "The classifier is timm:test_efficientnet with" in " ".join(done.stdout.split())


@pytest.mark.soak
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_report_of_long_names_and_several_networks_fits(skythaw, tmp_path, seeds):
    names = ("timm:tf_efficientnetv2_b3.in21k_ft_in1k", "efficientnet_lite0")
    world = World({name: {0: 1.0, 5: 1.8} for name in names}, objects=120, groups=40, seeds=seeds, sizes=(300, 1000))
    run = make_run(tmp_path / "run", world)
    narrow, wide = (skythaw("report", run, *more).stdout for more in ([], ["--wide"]))
    assert not too_wide(narrow)
    assert "efficientnetv2_b3.in21k_ft_in1k" in narrow
    for name in ("peak epoch", "gap", "seconds", "over seeds"):
        assert f"  {name}" not in narrow.partition("With --wide")[0]
        assert name in wide
    with Ledger.read(run) as ledger:
        sentences = plain_answer(report_facts(ledger)["choice"])
    assert " ".join(narrow.split()).startswith(f"ANSWER: {sentences[0]}")


def test_columns_are_left_out_in_their_order_and_words_are_broken_rather_than_cut():
    table = TerminalTable("a title", ("name", *(f"number {i}" for i in range(9))), spare=("number 3", "number 5"))
    for i, j in product(range(2), range(2)):
        table.add("a" * 30 + str(i), *(f"{j}.{k}" for k in range(9)))
    out = io.StringIO()
    with redirect_stdout(out):
        left_out = print_table(table)
    assert left_out == ["number 3", "number 5"]
    text = out.getvalue()
    assert not too_wide(text)
    assert "number 3" not in text
    assert (
        "".join(line[:9].strip() for line in text.splitlines() if set(line[:9].strip()) <= set("a01")).count("a") == 120
    )

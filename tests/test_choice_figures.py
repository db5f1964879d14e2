"""What is drawn of the choice: single seeds, completeness and purity, learning curves, and what is not converged."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from helpers_run import World, make_run
from skythaw.report.figures.elements import HeatMap, Table, dots_of, figures_of
from skythaw.report.figures.matplotlib_figures import draw
from skythaw.report.figures.plotly_figures import plot
from skythaw.report.figures.report_figures import report_figures
from skythaw.report.figures.training_figures import training_charts
from skythaw.report.page.html_page import render
from skythaw.report.page.page_sections import make_page
from skythaw.report.page.report_tables import report_tables
from skythaw.report.report_facts import report_facts
from skythaw.report.statistics.chosen_cells import LEVELS, cell_curve, kept_place, purity
from skythaw.stats.scored_sample import read_sample
from skythaw.study.ledger import Ledger
from test_ledger import result

FOUR = ("resnet50", "vgg16", "mobilenetv2", "efficientnet_lite0")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    skills = {name: {0: 1.0, 5: 1.6 + 0.1 * i, 10: 1.7 + 0.1 * i} for i, name in enumerate(FOUR)}
    return make_run(tmp_path_factory.mktemp("four") / "run", World(skills, sizes=(300, 1000), objects=240, groups=80))


@pytest.fixture(scope="module")
def facts(run):
    with Ledger.read(run) as ledger:
        return report_facts(ledger)


def test_single_seeds_are_dots_beside_their_mean_in_both_drawings(facts):
    for chart in (report_figures(facts).depth, report_figures(facts).ratio):
        traces = [trace for trace in plot(chart).traces if trace.get("marker", {}).get("opacity")]
        assert len(traces) == len(chart.series)
        for series, trace in zip(chart.series, traces, strict=True):
            assert [np.mean(values) for values in series.dots] == pytest.approx(series.y)
            assert trace["y"] == [value for values in series.dots for value in values]
            assert list(zip(trace["x"], trace["y"], strict=True)) == dots_of(chart, series)
        assert draw(chart, "svg") != draw(_without_dots(chart), "svg")


def _without_dots(chart):
    from dataclasses import replace

    return replace(chart, series=tuple(replace(series, dots=()) for series in chart.series))


def test_purity_is_precision_where_the_class_is_first_so_complete():
    rng = np.random.default_rng(0)
    for digits in (1, 6):
        true = rng.random(200) < 0.3
        p = np.round(np.clip(rng.normal(0.4 + 0.2 * true, 0.2), 0, 1), digits)
        precision, recall, _ = precision_recall_curve(true, p)
        expected = [precision[np.flatnonzero(recall >= level - 1e-9)[-1]] for level in LEVELS]
        assert purity(true, p) == pytest.approx(expected)
    assert purity(true, true.astype(float)) == pytest.approx(np.ones(len(LEVELS)))


def test_completeness_and_purity_as_predicted_are_the_recall_and_precision_of_the_row(run, facts):
    choice = facts["choice"]
    row = next(each for each in facts["rows"] if each["keys"] == choice["keys"])
    for each in facts["completeness_and_purity"]:
        scores = row["per_class"][each["class"]]
        assert each["as_predicted"]["completeness"] == pytest.approx(scores["recall"]["mean"])
        assert each["as_predicted"]["purity"] == pytest.approx(scores["precision"]["mean"])
    sample = read_sample(run, "test", facts["classes"], choice["keys"])
    one = [purity(sample.true == 0, sample.probabilities(key)[:, 0]) for key in choice["keys"]]
    assert facts["completeness_and_purity"][0]["purity"] == pytest.approx(np.mean(one, axis=0))
    chart = report_figures(facts).classes
    assert [series.label for series in chart.series] == [*facts["classes"], "as predicted"]


def test_learning_curves_are_those_of_the_choice_with_the_kept_weights_and_their_reasons(facts):
    short = [{**each, "not_converged": ["best at the end: epoch 5 of 5"]} for each in facts["training"]]
    learning, losses = report_figures({**facts, "training": short}).learning
    seeds = [f"seed {seed}, validation, NOT CONVERGED" for seed in (0, 1, 2)]
    assert [series.label for series in learning.series] == seeds
    assert [series.label for series in losses.series] == [*seeds, *(f"seed {seed}, training" for seed in (0, 1, 2))]
    assert all(series.marked == (4,) for series in losses.series)
    assert "Not converged: seed 0 (best at the end: epoch 5 of 5)" in learning.caption
    assert learning.x_label == "epoch"


def test_curves_stand_against_steps_where_results_have_them():
    curves = [{"step": 10 * i, "epoch": i / 2, "macro_f1": 0.1 * i, "log_loss": 1.0} for i in (1, 2, 3, 4)]
    new = result("k").model_copy(update={"curves": curves, "peak_epoch": 1.0, "peak_step": 20, "not_converged": ()})
    curve = cell_curve(new)
    assert (curve["step"], curve["epoch"], curve["kept"]) == ([10, 20, 30, 40], [0.5, 1.0, 1.5, 2.0], 1)
    charts = training_charts({"network": "a", "depth": 1}, [{"seed": 0, **curve}])
    assert [chart.x_label for chart in charts] == ["training steps"] * 2
    assert charts[0].series[0].x == (10.0, 20.0, 30.0, 40.0)
    assert charts[0].series[0].label == "seed 0, validation"
    assert kept_place(new.model_copy(update={"peak_step": 0})) is None


def test_a_row_that_has_not_converged_is_marked_on_the_page(facts):
    rows = [{**row, "converged": row["depth"] != 5, "not_converged": ["still falling"]} for row in facts["rows"]]
    marked = {**facts, "rows": rows}
    table = report_tables(marked).depths
    places = [table.columns.index(name) for name in ("depth", "converged")]
    assert {tuple(row[i] for i in places) for row in table.rows} == {(0, "yes"), (5, "NO"), (10, "yes")}
    assert "depth 5, 1,000 images (still falling)" in render(make_page(marked, {}, "0.1", date(2026, 1, 1)))
    assert any(note.startswith("NOT CONVERGED") for note in report_figures(marked).depth.series[0].notes)


def test_a_page_of_four_networks_has_fewer_than_a_thousand_words(facts):
    page = make_page(facts, {}, "0.1", date(2026, 1, 1))
    said = [page.title, page.question, *page.answers, *page.alarms]
    for section in page.sections:
        said += [section.title, *(part if isinstance(part, str) else "" for part in section.parts)]
        said += [part.caption for part in section.parts if isinstance(part, Table)]
    assert len(" ".join(said).split()) < 1000
    assert not [s.name for s in page.sections if s.folded and any(isinstance(p, HeatMap) for p in s.parts)]
    assert {"method", "data"} <= {section.name for section in page.sections if section.folded}
    assert page.answers[0].startswith("Use ")
    assert json.dumps([figure.name for figure in figures_of(page)]).count("completeness-purity") == 1

"""Probabilities at a temperature, and whether they mean what they say."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from trust_lines import CALIBRATION, PERFECT, CalibrationWorld, ece_line

from helpers_run import CLASSES, World, make_run, sample_of
from skythaw.report.report_facts import report_facts
from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.calibration import fit_temperature, reliability, tempered
from skythaw.stats.cell_predictions import (
    Predictions,
    predictions_path,
    read_log_probabilities,
    read_predictions,
    save_predictions,
)
from skythaw.study.ledger import Ledger
from test_spec import cell


def test_temperature_scaling_finds_the_temperature_and_mends_the_error(tmp_path):
    rng = np.random.default_rng(0)
    honest = rng.dirichlet([0.7, 0.7, 0.7], 5000)
    true = np.array([rng.choice(3, p=p) for p in honest])
    assert fit_temperature(tempered(np.log(honest), 0.5), true) == pytest.approx(2.0, rel=0.05)
    assert np.allclose(np.exp(tempered(np.log(honest), 1.0)), honest)
    bold = World({"mobilenetv2": {0: 1.0, 3: 1.5}}, objects=1500, groups=300, boldness=6.0)
    with Ledger.read(make_run(tmp_path, bold)) as ledger:
        (compared,) = report_facts(ledger, 0.04)["comparisons"]
    before, after = (compared["calibration"][when] for when in ("before", "after"))
    assert after["ece"]["mean"] < before["ece"]["mean"]
    assert after["log_loss"] < before["log_loss"]
    assert sum(each["objects"] for each in before["bins"]) == pytest.approx(1500)


def test_logarithms_of_probabilities_are_kept_and_old_files_without_them_are_read(tmp_path):
    """A probability of exp(-300) is 0 in float32, and a temperature of 100 makes 0.05 of it."""
    made = cell()
    log_p = np.array([[0.0, -300.0, -600.0], [-1.0, -1.0, -1.4]], np.float32)
    said = {"test": log_p}
    save_predictions(tmp_path, made, Predictions(CLASSES, {"test": ["a", "b"]}, {"test": np.array([0, 1])}, said))
    of_file = tmp_path, made.key, "test", CLASSES
    assert np.array_equal(read_log_probabilities(*of_file), log_p)
    assert np.array_equal(read_predictions(*of_file)[1], np.exp(log_p))
    path = predictions_path(tmp_path, made.key)
    table = pq.read_table(path)
    old = table.drop_columns([name for name in table.column_names if name.startswith("logp_")])
    pq.write_table(old.replace_schema_metadata(None), path)  # without checksum, too
    assert read_log_probabilities(*of_file)[0] == pytest.approx([0.0, -87.3, -87.3], abs=0.1)
    assert read_log_probabilities(*of_file)[1] == pytest.approx(log_p[1], abs=1e-6)


def test_the_calibration_error_of_a_perfect_network_is_not_told_from_0():
    """As counted it is far from 0 where objects are few; the estimate and its interval are not."""
    lines = [ece_line(PERFECT, objects, 25) for objects in (200, 1000)]
    assert all(line.share >= 0.88 for line in lines), lines


@pytest.mark.soak
@pytest.mark.parametrize("world", ["too sure", "wrong in one bin"])
def test_the_interval_of_the_calibration_error_covers_the_truth(world):
    wrong = next(each for each, _ in CALIBRATION if each.name == world)
    line = ece_line(wrong, 1000, 25)
    assert line.share >= 0.85, line


def test_a_calibration_error_that_is_surely_there_is_shown():
    log_p, true, group = CalibrationWorld("far too sure", 6.0, 3.0).draw(2000, np.random.default_rng(0))
    found = reliability([log_p, log_p], Bootstrap(sample_of(true, {"k": true}, group, CLASSES), 500))
    assert 0.1 < found["ece"]["low"] < found["ece"]["mean"] < found["ece"]["high"] < 0.25
    assert found["ece_plain"] == pytest.approx(found["ece"]["mean"], abs=0.01)


def test_a_few_objects_that_are_all_right_prove_no_perfection():
    """30 of 30 right at 0.9: the interval still reaches as far as chance does."""
    log_p = np.log(np.tile([0.9, 0.05, 0.05], (30, 1)))
    sample = sample_of(np.zeros(30, int), {"k": np.zeros(30, int)}, classes=CLASSES)
    found = reliability([log_p], Bootstrap(sample, 500))["ece"]
    assert found["low"] < 0.05 < found["high"]

"""Probabilities at a temperature, and whether they mean what they say."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from helpers_run import CLASSES, World, make_run
from skythaw.report.report_facts import report_facts
from skythaw.stats.calibration import fit_temperature, tempered
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
    pq.write_table(table.drop_columns([name for name in table.column_names if name.startswith("logp_")]), path)
    assert read_log_probabilities(*of_file)[0] == pytest.approx([0.0, -87.3, -87.3], abs=0.1)
    assert read_log_probabilities(*of_file)[1] == pytest.approx(log_p[1], abs=1e-6)

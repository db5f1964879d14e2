"""What is given in place of a classifier is told, with what would be right."""

from __future__ import annotations

import pytest

from skythaw.bundle.bundle_file import read_about
from skythaw.bundle.hub_bundle import bundle_folder
from skythaw.errors import BundleError


def test_the_folder_of_tune_or_of_a_run_is_no_classifier_and_leads_to_it(tmp_path):
    tune, run = tmp_path / "tune", tmp_path / "tune" / "run"
    (tune / "classifier").mkdir(parents=True)
    run.mkdir()
    (tune / "classifier" / "bundle.json").touch()
    (run / "ledger.sqlite").touch()
    with pytest.raises(BundleError, match=f"no bundle: .*; its classifier is the folder {tune}/classifier$"):
        read_about(tune)
    with pytest.raises(BundleError, match=f"no bundle: .*; it is a run folder, of which `skythaw export {run} CLASS"):
        read_about(run)
    with pytest.raises(BundleError, match=r"No such file or directory$"):
        read_about(tmp_path)


def test_an_address_is_named_as_it_was_given(tmp_path):
    with pytest.raises(BundleError, match=r"^hf://nobody should be hf://owner/name"):
        bundle_folder(type(tmp_path)("hf://nobody"))

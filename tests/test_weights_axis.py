"""Weights as an axis: several sets of weights of one network are cells of one study, and the report compares them."""

from __future__ import annotations

import json

import jsonschema
import pytest
import safetensors.torch
import torch
from huggingface_hub import constants

import skythaw as package
from helpers_hub import FIRST, timm_files, write_cache, write_folder
from helpers_networks import fresh
from helpers_study import make_survey, write_study
from skythaw.bundle.bundle_file import ABOUT, CARD
from skythaw.bundle.export.export_bundle import export
from skythaw.cli.print_report import print_report
from skythaw.errors import BundleError, SpecError, UnknownNameError, WeightsError
from skythaw.report.report_facts import report_facts
from skythaw.report.weight_sentences import weight_sentences
from skythaw.spec import Cell, Study, WeightsChoice
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import RunSettings
from skythaw.study.plan import make_plan
from skythaw.study.run_study import run_study
from test_report import SCHEMA

NETWORK, OFFICIAL, ZOO = "test_efficientnet", "timm/test_efficientnet.r160_in1k", "zoo/encoder"
TABLE = '[weights]\n"timm:test_efficientnet" = "random"\n'
AXIS = '"imagenet", "hf_hub:zoo/encoder", "random", "other.safetensors"'


def state_of(seed: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = fresh(f"timm:{NETWORK}").features.state_dict()
        return {name: torch.randn_like(t) * 0.1 + t if t.is_floating_point() else t for name, t in state.items()}


def absolute(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.abs() + 0.1 if "running_var" in name else tensor for name, tensor in state.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A survey, a Hub's cache with two models, and a file of weights; no network."""
    folder = tmp_path_factory.mktemp("axis")
    make_survey(folder / "survey.parquet")
    write_cache(folder / "hub", OFFICIAL, timm_files(NETWORK, absolute(state_of(1))))
    expected = {"mean": [0.0], "std": [0.5], "interpolation": "bilinear", "license": "mit"}
    write_cache(folder / "hub", ZOO, timm_files(NETWORK, absolute(state_of(2)), **expected))
    write_folder(folder / "mine", timm_files(NETWORK, absolute(state_of(3))))
    safetensors.torch.save_file(absolute(state_of(4)), folder / "other.safetensors")
    return folder


@pytest.fixture(autouse=True)
def hub_cache(folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def study_of(folder, axis: str | None, network: str = f"timm:{NETWORK}", table: str = "", **replace: str) -> Study:
    replace = {"seed = [0, 1]": "seed = [0]", '"0%", "50%", "100%"': '"0%", "100%"', TABLE: table, **replace}
    replace['backbone = ["timm:test_efficientnet"]'] = (
        f"backbone = [{network if ',' in network else repr(network)}]" + (f"\nweights = [{axis}]" if axis else "")
    )
    return Study.load(write_study(folder, replace=replace))


def test_each_set_of_weights_is_a_cell(folder, cache):
    plan = make_plan(study_of(folder, AXIS + ', "local-dir:mine"', **{"crop = 32": "crop = 32\nsize = 40"}), cache)
    cells = {each.cell.weights.name: each.cell for each in plan.cells}
    assert list(cells) == ["imagenet", "hf_hub:zoo/encoder", "random", "other.safetensors", "local-dir:mine"]
    assert len(plan.cells) == 10
    zoo = cells["hf_hub:zoo/encoder"]
    assert (zoo.weights.commit, zoo.weights.mean, zoo.weights.std) == (FIRST, (0.0, 0.0, 0.0), (0.5, 0.5, 0.5))
    assert zoo.pixels.interpolation == "bilinear"
    assert zoo.network == "timm:test_efficientnet (hf_hub:zoo/encoder)"
    assert cells["imagenet"].pixels.interpolation == "bicubic"
    assert len({each.weights_sha256 for each in cells.values()}) == 5
    assert not any(str(folder) in each.cell.model_dump_json() for each in plan.cells)
    assert str(folder) not in json.dumps(plan.description)


def test_names_are_no_part_of_the_key(folder, cache):
    """A study without the axis has the same cells: nothing is trained again for a name."""
    by_axis = {each.cell.key for each in make_plan(study_of(folder, '"imagenet", "random"'), cache).cells}
    official = {each.cell.key for each in make_plan(study_of(folder, None), cache).cells}
    random = {each.cell.key for each in make_plan(study_of(folder, None, table=TABLE), cache).cells}
    assert by_axis == official | random


def test_a_commit_is_part_of_the_key(folder, cache):
    cell = make_plan(study_of(folder, '"hf_hub:zoo/encoder"'), cache).cells[0].cell
    moved = cell.model_dump() | {"weights": cell.weights.model_dump() | {"commit": "c" * 40}}
    assert Cell.model_validate(moved).key != cell.key
    assert Cell.model_validate_json(cell.model_dump_json()).key == cell.key


def test_a_backbone_by_the_name_of_its_weights(folder, cache):
    """It is the same as the axis: timm's network with these weights."""
    both = f"'timm:{NETWORK}', 'hf_hub:{ZOO}'"
    named = make_plan(study_of(folder, None, both), cache)
    axis = make_plan(study_of(folder, '"imagenet", "hf_hub:zoo/encoder"'), cache)
    assert {each.cell.key for each in named.cells} == {each.cell.key for each in axis.cells}
    table = f'[weights]\n"timm:{NETWORK}" = "hf_hub:{ZOO}"\n'
    assert {each.cell.key for each in make_plan(study_of(folder, None, table=table), cache).cells} < {
        each.cell.key for each in axis.cells
    }


def test_a_folder_is_found_from_the_study_file(folder, cache):
    plan = make_plan(study_of(folder, None, "local-dir:mine"), cache)
    assert {each.cell.network for each in plan.cells} == {f"timm:{NETWORK} (local-dir:mine)"}
    assert str(folder) not in json.dumps(plan.description)


@pytest.mark.parametrize("other", ["other.safetensors", "random"])
def test_a_described_network_with_other_weights_stays_as_described(other, folder, cache):
    """A file in the place of weights that could not be fetched: what they expect is known from their config."""
    plan = make_plan(study_of(folder, None, f"hf_hub:{ZOO}", f'[weights]\n"hf_hub:{ZOO}" = "{other}"\n'), cache)
    choice = plan.cells[0].cell.weights
    assert (choice.name, choice.commit, choice.mean, choice.std) == (other, None, (0.0, 0.0, 0.0), (0.5, 0.5, 0.5))


def test_weights_go_to_the_networks_that_they_are_of(folder, cache):
    networks = f"'timm:{NETWORK}', 'timm:test_resnet'"
    plan = make_plan(study_of(folder, '"random", "hf_hub:zoo/encoder"', networks), cache)
    assert {each.cell.network for each in plan.cells} == {
        "timm:test_efficientnet (random)",
        "timm:test_efficientnet (hf_hub:zoo/encoder)",
        "timm:test_resnet (random)",
    }
    said = "weights hf_hub:zoo/encoder are of test_efficientnet, so timm:test_resnet is not tried with them"
    assert said in plan.warnings


@pytest.mark.parametrize(
    ("axis", "network", "table", "kind", "message"),
    [
        ('"hf_hub:zoo/encoder"', "timm:test_resnet", "", SpecError, "are of test_efficientnet, which is none of the"),
        (AXIS, f"timm:{NETWORK}", TABLE, SpecError, "are named twice: in \\[grid\\] weights, and in \\[weights\\]"),
        (AXIS, "hf_hub:zoo/encoder", "", SpecError, "are named twice: .*write 'timm:test_efficientnet'"),
        (AXIS, "timm:test_efficientnet.r160_in1k", "", SpecError, "are named twice: .*write 'timm:test_efficientnet'"),
        ('{ name = "mine" }', f"timm:{NETWORK}", "", SpecError, "'mine' is no name of published weights"),
        ('"timm:convnext_nanno.in12k"', f"timm:{NETWORK}", "", UnknownNameError, "'timm:convnext_nano.in12k'"),
        ('"hf_hub:zoo/other"', f"timm:{NETWORK}", "", WeightsError, "switched off by HF_HUB_OFFLINE"),
        ('"a.pth", "b/a.pth"', f"timm:{NETWORK}", "", SpecError, "two sets called 'a.pth'"),
        ('"none.pth"', f"timm:{NETWORK}", "", WeightsError, "can't read the weights .*none.pth"),
        ('"random", "random"', f"timm:{NETWORK}", "", SpecError, "has the same value twice"),
        ('{ name = "hf_hub:a/b", random = true }', f"timm:{NETWORK}", "", SpecError, "or random = true, not both"),
        (None, f"timm:{NETWORK}", '[weights]\n"timm:test_efficientnet" = "timm:test_resnet.r160_in1k"\n', SpecError,
         "are of test_resnet, not of timm:test_efficientnet"),
        ('"imagenet"', "timm:resnet50_clip", "", SpecError, "have not seen ImageNet .timm/resnet50_clip.openai"),
    ],
)  # fmt: skip
def test_what_can_not_be_compared(axis, network, table, kind, message, folder, cache):
    with pytest.raises(kind, match=message) as caught:
        make_plan(study_of(folder, axis, network, table), cache)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def run(folder, cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        study = study_of(folder, AXIS, **{"seed = [0]": "seed = [0, 1]", "epochs = 7": "epochs = 2"})
        summary = run_study(study, RunSettings(folder / "run", cache, "serial", 1, "cpu", control=False))
    assert (summary.done, summary.failed) == (16, 0)
    return folder / "run"


@pytest.fixture(scope="module")
def facts(run):
    with Ledger.read(run) as ledger:
        return report_facts(ledger)


def test_the_report_compares_weights(facts):
    jsonschema.validate(facts, SCHEMA)
    labels = {"imagenet", "hf_hub:zoo/encoder", "random", "other.safetensors"}
    assert {row["weights"] for row in facts["rows"]} == labels
    assert {row["backbone"] for row in facts["rows"]} == {f"timm:{NETWORK}"}
    assert len(facts["rows"]) == 8
    assert {each["weights"] for each in facts["recommended"] if each["main"]} == labels
    (found,) = facts["weights"]
    assert {each["weights"] for each in found["weights"]} == labels
    assert len(found["best"]) == len(found["frozen"]) == 6
    scores = [each["macro_f1"]["mean"] for each in found["weights"]]
    assert scores == sorted(scores, reverse=True)
    first = {each["weights"]: each for each in found["weights"]}
    for pair in found["best"]:
        apart = first[pair["first"]]["macro_f1"]["mean"] - first[pair["second"]]["macro_f1"]["mean"]
        assert pair["difference"] == pytest.approx(apart)
        assert pair["converged"] == all(first[pair[each]]["converged"] for each in ("first", "second"))
        assert pair["low_simultaneous"] <= pair["low"] <= pair["difference"] <= pair["high"]


def test_claim_3_has_a_set_for_each_network_and_weights(facts):
    depths = facts["claims"][2]["numbers"]["depths"]
    assert {each["network"] for each in depths} == {row["network"] for row in facts["rows"]}


def test_the_report_says_it_in_words(facts, capsys):
    (said,) = weight_sentences(facts)
    assert said.startswith("timm:test_efficientnet with other weights, at its best depth: macro-F1 with ")
    assert "Left frozen, " in said
    print_report(facts)
    printed = " ".join(capsys.readouterr().out.split())
    assert "with other weights, at its best depth" in printed
    assert f"Use {facts['choice']['network']} with" in printed


def weights_of(label, tried=(0, 3), may_be_best=(0,), seeds=3, converged=True):
    score = {"mean": 0.8, "low": 0.7, "high": 0.9}
    return {"weights": label, "depth": 0, "blocks": 5, "seeds": seeds, "tried": list(tried), "macro_f1": score,
            "set": list(may_be_best), "frozen": score, "converged": converged}  # fmt: skip


def said_of(one, other):
    pair = {"first": "a", "second": "b", "converged": one["converged"] and other["converged"], "difference": 0.1}
    pair |= {"low_simultaneous": 0.05, "high_simultaneous": 0.15}
    return weight_sentences(
        {"weights": [{"backbone": "net", "weights": [one, other], "best": [pair], "frozen": [pair]}]}
    )[0]


def test_what_is_said_of_weights_and_when():
    """Nothing is called better, or said to need less depth, on one seed, unfinished, or at other depths."""
    said = said_of(weights_of("a"), weights_of("b", may_be_best=(3,)))
    assert "a is 10.0 points of macro-F1 (5.0 to 15.0) better than b. Left frozen, a is 10.0 points" in said
    assert said.endswith("a needs less depth than b: depth 0 may be best, and depth 3.")
    said = said_of(weights_of("a", seeds=1), weights_of("b", may_be_best=(3,), seeds=1))
    assert said.endswith("There is one seed, so none of them is called better, and what depth they need can't be told.")
    assert "points" not in said
    said = said_of(weights_of("a", converged=False), weights_of("b", may_be_best=(3,)))
    assert "points" not in said
    assert "needs less" not in said
    said = said_of(weights_of("a", tried=(0,)), weights_of("b", tried=(3,), may_be_best=(3,)))
    assert said.endswith("a and b were not tried at the same depths.")
    assert "It can't be told whether a needs another depth than b" in said_of(weights_of("a"), weights_of("b"))


def test_export_takes_the_weights_along(run, facts, tmp_path):
    for name in ("hf_hub:zoo/encoder", "other.safetensors"):
        row = next(row for row in facts["rows"] if row["weights"] == name)
        about = export(run, tmp_path / "bundle", cell=row["keys"][0], onnx=False)
        assert about.cell.weights.name == name
        classifier = package.load(tmp_path / "bundle", device="cpu")
        assert classifier.about.cell.key == row["keys"][0]
    row = next(row for row in facts["rows"] if row["weights"] == "hf_hub:zoo/encoder")
    about = export(run, tmp_path / "zoo", cell=row["keys"][0], onnx=False)
    assert about.expected.mean == (0.0, 0.0, 0.0)
    assert (about.pretrained, about.licence) == (f"hf_hub:zoo/encoder@{FIRST}", "mit")
    assert f"began with the weights `hf_hub:zoo/encoder@{FIRST}`" in (tmp_path / "zoo" / CARD).read_text()
    best = max(facts["recommended"], key=lambda each: each["validation_macro_f1"]["mean"])
    chosen = export(run, tmp_path / "best", onnx=False).cell
    assert (chosen.network, chosen.depth) == (best["network"], best["depth"])


def test_a_choice_in_one_word():
    assert WeightsChoice.model_validate("random") == WeightsChoice(random=True)
    assert WeightsChoice.model_validate("w.pth").label == "w.pth"
    assert WeightsChoice.model_validate("hf_hub:a/b@v1").published == "hf_hub:a/b@v1"
    assert WeightsChoice(name="hf_hub:a/b@v1", commit=FIRST).published == f"hf_hub:a/b@{FIRST}"
    assert WeightsChoice().label == "imagenet"


@pytest.mark.parametrize(
    "name", ["hf_hub:someone/x", "timm:hf-hub:someone/x", "local-dir:/etc", "torchvision:vgg11", "a/b"]
)
def test_a_bundle_that_names_weights_as_its_network_is_refused(name, run, tmp_path):
    """Loading it would fetch files, or read them."""
    export(run, tmp_path / "bundle", onnx=False)
    about = tmp_path / "bundle" / ABOUT
    about.write_text(about.read_text().replace(f'"timm:{NETWORK}"', json.dumps(name)))
    with pytest.raises(BundleError, match="a bundle should say its network itself"):
        package.load(tmp_path / "bundle", device="cpu")

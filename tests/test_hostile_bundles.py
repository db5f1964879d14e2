"""T12: hundreds of hostile bundles are refused with one line; no code is run; memory and time stay bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from corpus_bundles import Corpus
from helpers_bundle import make_bundle
from helpers_study import draw
from skythaw.backbones.network import build, outline
from skythaw.backbones.pretrained_weights import RANDOM

pytestmark = pytest.mark.soak
MEMORY = 50 << 20
"""bytes, beside 1.2 x the size of the weights' file"""
SLOWEST = 10.0
"""seconds: five times what is promised, for machines with much else to do"""


@pytest.fixture(scope="module")
def found(tmp_path_factory, cache) -> tuple[list[dict], Path]:
    """What became of every case, and where the canary would be."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("hostile")
    bundle, canary = make_bundle(folder, cache), folder / "canary"
    Image.fromarray(draw("STAR", np.random.default_rng(0), 40)).save(folder / "one.png")
    corpus = Corpus(bundle, canary)
    assert len(corpus.cases) >= 200
    (folder / "cases").mkdir()
    places = {name: str(corpus.make(name, folder / "cases" / f"{i:03d}")) for i, name in enumerate(corpus.cases)}
    (folder / "cases.json").write_text(json.dumps(places))
    child = Path(__file__).with_name("hostile_child.py")
    done = subprocess.run(
        [sys.executable, child, bundle, folder / "one.png", folder / "cases.json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(verdicts) == 1 + len(places)
    for each in verdicts[1:]:
        each["bytes"] = allocated(Path(places[each["name"]]) / "model.safetensors")
    return verdicts, canary


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512 if path.is_file() else 0


def test_all_are_refused(found):
    verdicts, _ = found
    good, *bad = verdicts
    assert good["code"] == 0, good
    assert bad
    assert [each for each in bad if each["code"] != 2] == []
    assert not [each for each in bad if "prediction" in each["said"]], "each for what it is"


def test_each_is_one_line_of_plain_text(found):
    verdicts, _ = found
    for each in verdicts[1:]:
        line = each["said"].removesuffix("\n")
        assert line.startswith("error: "), each
        assert line.isprintable(), each
        assert len(line) < 2100, each


def test_nothing_was_run(found):
    _, canary = found
    assert not canary.exists()
    written = {path.name for path in canary.parent.joinpath("cases").iterdir()}
    assert {name for name in written if "." in name} == set(), "nor anything left beside them"


def test_memory_and_time_are_bounded(found):
    verdicts, _ = found
    for each in verdicts[1:]:
        assert each["grown"] < 1.2 * each["bytes"] + MEMORY, each
        assert each["seconds"] < SLOWEST, each


OUTLINED = ["mobilenetv2", "nasnet_mobile", "densenet121", "timm:mobilenetv3_small_050", "vgg16"]


@pytest.mark.parametrize("name", OUTLINED)
def test_the_outline_of_a_network_is_the_network(name):
    """So that no good bundle is refused by it; what is left out of a network is small or a classifier."""
    from skythaw.backbones.known_backbones import backbone

    whole, own = outline(backbone(name)), build(backbone(name), RANDOM).features.state_dict()
    assert {n: (t.shape, t.dtype) for n, t in own.items()} == {n: (whole[n].shape, whole[n].dtype) for n in own}
    assert all(tensor.is_meta for tensor in whole.values())

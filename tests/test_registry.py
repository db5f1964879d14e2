"""One plug-in mechanism: names, entry points, and plug-ins that are broken. Real packages, installed in a folder."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from skythaw import registry
from skythaw.backbones.known_backbones import backbone
from skythaw.errors import UnknownNameError


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in registry.BUILTIN for n in registry.BUILTIN[k]])
def test_every_built_in_name_gives_an_object(kind, name):
    assert registry.get(kind, name) is not None


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown backbone 'resnet5O'; did you mean 'resnet50'"):
        registry.get("backbone", "resnet5O")


def test_an_unknown_name_far_from_all_lists_them():
    with pytest.raises(UnknownNameError, match="known: 'processes', 'ray', 'serial'"):
        registry.get("engine", "quantum")


def test_a_plugin_adds_a_name_and_a_broken_one_breaks_nothing(tmp_path):
    info = tmp_path / "demo_plugin-1.0.dist-info"
    info.mkdir()
    (tmp_path / "demo_plugin.py").write_text(
        "from skythaw.tuning.thaw import Thaw\n\ndef bottom(blocks, depth):\n    return Thaw.at_once(range(depth))\n"
    )
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: demo-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[skythaw.strategy]\nbottom = demo_plugin:bottom\nbroken = no_such_module:x\ntop = demo_plugin:bottom\n"
    )
    script = """
        from skythaw import registry
        assert registry.names("strategy") == [*registry.BUILTIN["strategy"], "bottom", "broken"]
        assert registry.get("strategy", "bottom")(5, 2).blocks == (0, 1)
        assert registry.get("strategy", "top")(5, 2).blocks == (3, 4), "a plug-in must not replace a built-in"
        problems = registry.problems("strategy")
        assert "no_such_module" in problems["broken"] and "would replace" in problems["top"], problems
        try:
            registry.get("strategy", "broken")
        except registry.BrokenPluginError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the plug-in 'broken' (no_such_module:x) can't be imported" in done.stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet18", "did you mean 'timm:resnet18'?"),
        ("ResNet50", "did you mean 'resnet50'?"),
        ("someone/some-encoder", "Then write 'hf_hub:someone/some-encoder'"),
        ("zzzz", "`skythaw backbones` lists ours"),
    ],
)
def test_a_wrong_name_of_a_network_is_answered_with_the_nearest(name, says):
    with pytest.raises(UnknownNameError, match=f"unknown backbone '{name}'; .*") as said:
        backbone(name)
    assert says in str(said.value)
    assert "\n" not in str(said.value)

"""Weights are found wherever training scripts put them; two sets that fit are never guessed between."""

from __future__ import annotations

import argparse
import math

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers_networks import network
from helpers_soak import few
from skythaw.backbones.checkpoint import read_checkpoint
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import locate
from skythaw.errors import WeightsError
from skythaw.spec import WeightsChoice

SMALL = "timm:test_resnet"
PREFIXES = ("module.", "model.", "net.", "encoder.", "backbone.", "student.", "_orig_mod.", "anything.")
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "student", "teacher", "ema", "weights")


@pytest.fixture(scope="module")
def state():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = network(SMALL).features.state_dict()
        return {name: torch.rand_like(each) if each.is_floating_point() else each for name, each in net.items()}


def loaded(path, content, key=None, name=SMALL):
    if path.suffix in (".safetensors", ".bin"):
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path)
    choice = WeightsChoice(file=path, key=key)
    return build(backbone(name), locate(backbone(name), choice), choice)


def assert_is(net, state):
    assert all(torch.equal(each, state[name]) for name, each in net.features.state_dict().items())


@few(40)
def test_any_prefixes_and_wrappers_are_found(state, tmp_path, examples):
    @settings(max_examples=examples, deadline=None)
    @given(
        st.lists(st.sampled_from(PREFIXES), max_size=3),
        st.lists(st.sampled_from(WRAPPERS), max_size=2),
        st.booleans(),
        st.booleans(),
    )
    def check(prefixes, wrappers, head, optimizer):
        prefix = "".join(prefixes)
        content = {prefix + name: each for name, each in state.items()}
        content |= {f"{prefix}fc.weight": torch.ones(5, 4), "criterion.weight": torch.ones(3)} if head else {}
        if head and not prefix:
            content.pop("criterion.weight")
        for wrapper in wrappers:
            content = {wrapper: content, "epoch": 3}
        if optimizer and wrappers:
            content["optimizer"] = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}
        net = loaded(tmp_path / "w.pth", content)
        assert_is(net, state)
        assert bool(net.read_how) == bool(prefixes or wrappers)

    check()


def test_two_sets_that_fit_are_asked_for(state, tmp_path):
    other = {name: each * 2 for name, each in state.items()}
    content = {"student": state, "teacher": other, "epoch": 4}
    with pytest.raises(
        WeightsError, match=r"several sets of weights that fit .*: 'student', 'teacher'; .*key = "
    ) as said:
        loaded(tmp_path / "w.pth", content)
    assert "\n" not in str(said.value)
    assert_is(loaded(tmp_path / "w.pth", content, "teacher"), other)
    assert_is(loaded(tmp_path / "w.pth", content, "student"), state)
    with pytest.raises(
        WeightsError, match="no weights of timm:test_resnet called 'ema'; there are 'student', 'teacher'"
    ):
        loaded(tmp_path / "w.pth", content, "ema")
    mixed = {f"student.{n}": each for n, each in state.items()} | {f"teacher.{n}": each for n, each in other.items()}
    with pytest.raises(WeightsError, match="'student', 'teacher'"):
        loaded(tmp_path / "w.pth", mixed)
    assert_is(loaded(tmp_path / "w.pth", mixed, "teacher"), other)
    assert_is(loaded(tmp_path / "w.pth", {"model": state, "model_ema": dict(state)}), state)


def test_the_key_that_is_proposed_tells_them_apart(state, tmp_path):
    """As DINO keeps student and teacher: both names end in the same word."""
    other = {f"backbone.{name}": each * 2 for name, each in state.items()}
    content = {
        "student": {f"module.backbone.{n}": each for n, each in state.items()},
        "teacher": other,
        "optimizer": {},
    }
    with pytest.raises(WeightsError, match='key = "teacher"') as said:
        loaded(tmp_path / "w.pth", content)
    key = str(said.value).rpartition("key = ")[2].partition('" }')[0].strip('"')
    assert_is(loaded(tmp_path / "w.pth", content, key), {name: each * 2 for name, each in state.items()})


def test_deep_in_the_file_and_in_lists(state, tmp_path):
    for content in ({"a": {"b": {"c": {"d": state}}}}, {"models": [state]}, [{"x": 1}, {"model": state}]):
        assert_is(loaded(tmp_path / "w.pth", content), state)


def test_a_long_log_before_the_weights_does_not_hide_them(state, tmp_path):
    log = [{"loss": 1.0} for _ in range(12_000)]
    assert_is(loaded(tmp_path / "w.pth", {"history": log, "model": {"net": state}}), state)


def test_what_stands_beside_a_network_is_left_out_and_said(state, tmp_path):
    content = state | {"decoder.0.weight": torch.ones(3, 3), "mask_token": torch.ones(1)}
    net = loaded(tmp_path / "w.pth", content)
    assert_is(net, state)
    assert net.read_how == "without decoder, mask_token beside it"


def test_a_file_without_weights_says_what_it_holds(tmp_path):
    moments = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}
    with pytest.raises(WeightsError, match=r"there are no named tensors in it, only 'optimizer', 'epoch'$"):
        loaded(tmp_path / "w.pth", {"optimizer": moments, "epoch": 3})


def test_a_file_that_holds_itself_takes_no_time(tmp_path):
    whole: dict[str, object] = {}
    whole.update({str(number): whole for number in range(1000)})
    with pytest.raises(WeightsError, match="there are no named tensors in it"):
        loaded(tmp_path / "w.pth", whole)


@pytest.mark.parametrize("kind", [torch.int8, torch.complex64])
def test_numbers_of_another_kind_are_refused(kind, state, tmp_path):
    content = {name: each.to(kind) if each.is_floating_point() else each for name, each in state.items()}
    with pytest.raises(WeightsError, match=f"are {str(kind)[6:]} in conv1.*give floating-point numbers"):
        loaded(tmp_path / "w.pth", content)


def test_arguments_of_a_script_beside_the_weights_do_no_harm(state, tmp_path):
    content = {
        "state_dict": {f"model.{n}": t for n, t in state.items()},
        "hyper_parameters": argparse.Namespace(lr=0.1),
    }
    assert loaded(tmp_path / "w.ckpt", content).read_how == "read from 'state_dict.model'"


def test_safetensors_of_any_name_and_half_precision(state, tmp_path):
    half = {name: each.half() if each.is_floating_point() else each for name, each in state.items()}
    net = loaded(tmp_path / "pytorch_model.bin", half)
    assert_is(net, {name: each.float() if each.is_floating_point() else each for name, each in half.items()})


class Custom:
    pass


def test_what_needs_code_is_refused_with_what_to_do(state, tmp_path):
    for content, holds in (
        ({"state_dict": state, "config": Custom()}, "Custom"),
        ({"state_dict": state, "config": math.factorial}, "factorial"),
    ):
        with pytest.raises(WeightsError, match=rf"{holds}.*torch.save\(model.state_dict\(\), FILE\)") as said:
            loaded(tmp_path / "w.pth", content)
        assert "\n" not in str(said.value)


def test_weights_for_other_bands_say_so(state, tmp_path):
    one = state | {"conv1.0.weight": state["conv1.0.weight"][:, :1]}
    with pytest.raises(
        WeightsError, match=r"trained on images of 1 band, and the images here have 3: .*bands = \[...\]"
    ):
        loaded(tmp_path / "w.pth", one)
    five = backbone(SMALL).with_bands(1)
    choice = WeightsChoice(file=tmp_path / "w.pth")
    assert torch.equal(build(five, locate(five, choice), choice).features.conv1[0].weight, one["conv1.0.weight"])


def test_torchvisions_mobilenet_gives_what_torchvision_gives(tmp_path):
    from torchvision.models import mobilenet_v2

    with torch.random.fork_rng():
        torch.manual_seed(1)
        other = mobilenet_v2(weights=None).eval()
        x = torch.rand(2, 3, 64, 64)
    net = loaded(tmp_path / "w.pth", other.state_dict(), name="mobilenetv2")
    assert "matched by the order and shapes" in net.read_how
    with torch.inference_mode():
        assert torch.allclose(net.features(x), other.features(x), atol=1e-5)


@pytest.mark.parametrize(("version", "reads"), [("2.6.0", False), ("2.9.1+cpu", False), ("2.10.0", True)])
def test_an_old_pytorch_reads_no_pickled_file_but_those_of_installed_packages(tmp_path, monkeypatch, version, reads):
    file = tmp_path / "weights.pth"
    torch.save({"a": torch.ones(2)}, file)
    monkeypatch.setattr(torch, "__version__", version)
    if reads:
        assert read_checkpoint(file)
        return
    with pytest.raises(WeightsError, match=r"install PyTorch 2\.10 or newer, or give the weights as safetensors"):
        read_checkpoint(file)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert read_checkpoint(file)

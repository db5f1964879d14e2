"""Files of Keras are read in the order of their layers; networks that differ are refused. The features: benchmarks/."""

from __future__ import annotations

import json
import zipfile

import h5py
import numpy as np
import pytest
import torch

from helpers_networks import network
from skythaw.backbones.keras_networks import DIFFERENT, of_keras
from skythaw.backbones.known_backbones import backbone, chosen
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import locate
from skythaw.errors import WeightsError
from skythaw.spec import WeightsChoice

KERAS_NAMES = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def layers_of(state):
    """What Keras would keep of a network: for each layer its class and arrays, in order."""
    found: dict[str, tuple[str, dict[str, np.ndarray]]] = {}
    for name, tensor in state.items():
        layer, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            continue
        if tensor.ndim == 4:
            depthwise = tensor.shape[1] == 1
            kernel = tensor.permute(2, 3, 0, 1) if depthwise else tensor.permute(2, 3, 1, 0)
            found[layer] = ("DepthwiseConv2D" if depthwise else "Conv2D", {"kernel": kernel.numpy()})
        elif layer in found and "kernel" in found[layer][1]:
            found[layer][1]["bias"] = tensor.numpy()
        else:
            found.setdefault(layer, ("BatchNormalization", {}))[1][KERAS_NAMES[kind]] = tensor.numpy()
    return {name.replace(".", "_"): each for name, each in found.items()}


def write_h5(path, layers):
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in layers]
        for name, (_, arrays) in layers.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{kind}:0".encode() for kind in arrays]
            for kind, array in arrays.items():
                group[f"{name}/{kind}:0"] = array
    return path


def write_keras(path, layers):
    """As Keras 3: groups go by their class and a number, arrays by a number; the config has the order."""
    with h5py.File(path.with_suffix(".part"), "w") as file:
        for i, (name, (_, arrays)) in enumerate(reversed(layers.items())):
            group = file.create_group(f"layers/layer_{i}/vars")
            group.attrs["name"] = name
            for j, array in enumerate(arrays.values()):
                group[str(j)] = array
    config = {"config": {"layers": [{"class_name": kind, "config": {"name": n}} for n, (kind, _) in layers.items()]}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.write(path.with_suffix(".part"), "model.weights.h5")
    return path


def built(name, path, bands=3):
    choice = of_keras(backbone(name), WeightsChoice(file=path))
    return build(chosen(backbone(name).with_bands(bands), choice), locate(backbone(name), choice))


@pytest.mark.parametrize(("write", "file"), [(write_h5, "w.h5"), (write_keras, "w.keras"), (write_keras, "w.h5")])
def test_every_tensor_finds_its_place(write, file, tmp_path):
    state = network("mobilenetv2").features.state_dict()
    net = built("mobilenetv2", write(tmp_path / file, layers_of(state)))
    there = {name: tensor for name, tensor in net.features.state_dict().items() if not name.endswith("_tracked")}
    assert all(torch.equal(tensor, state[name]) for name, tensor in there.items())
    assert net.read_how == "converted from Keras"
    assert net.preprocessing.mean == net.preprocessing.std == (0.5, 0.5, 0.5)
    assert net.features.bn1.eps == 1e-3


def test_blue_comes_first_and_epsilon_is_made_up_for(tmp_path):
    state = network("vgg16").features.state_dict()
    net = built("vgg16", write_h5(tmp_path / "w.h5", layers_of(state)))
    assert torch.equal(net.features.features[0].weight, state["features.0.weight"].flip(1))
    assert net.preprocessing.std == (1 / 255,) * 3
    state = network("densenet121").features.state_dict()
    net = built("densenet121", write_h5(tmp_path / "d.h5", layers_of(state)))
    assert torch.allclose(net.features.features.norm0.running_var - 1, torch.tensor(1e-8), atol=1e-7)


@pytest.mark.parametrize("bands", [1, 5])
def test_weights_of_keras_are_adapted_to_other_bands(bands, tmp_path):
    state = network("mobilenetv2").features.state_dict()
    net = built("mobilenetv2", write_h5(tmp_path / "w.h5", layers_of(state)), bands)
    assert net.preprocessing.mean == (0.5,) * bands
    assert net.features.conv_stem.weight.shape[1] == bands


def refused(name, path, choice=None):
    found = backbone(name)
    with pytest.raises(WeightsError) as caught:
        build(found, locate(found, choice), choice) if choice else built(name, path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_refused(tmp_path):
    layers = layers_of(network("mobilenetv2").features.state_dict())
    path = write_h5(tmp_path / "w.h5", layers)
    for name in ("resnet50", "xception", "nasnet_mobile"):
        assert DIFFERENT[backbone(name).model] in refused(name, path)
    assert "weights of Keras are read for vgg16" in refused("timm:test_resnet", path)
    assert "not of efficientnet_b2" in refused("efficientnet_b2", path)
    assert 'need options = { pad_type = "same" }' in refused("mobilenetv2", path, WeightsChoice(file=path))
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        file.create_group("layers")
    assert "model.save('FILE.keras')" in refused("mobilenetv2", tmp_path / "w.weights.h5")
    (tmp_path / "torn.h5").write_bytes(path.read_bytes()[:3000])
    assert "can't read the weights" in refused("mobilenetv2", tmp_path / "torn.h5")
    with zipfile.ZipFile(tmp_path / "bare.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"x")
    assert "can't read the weights" in refused("mobilenetv2", tmp_path / "bare.keras")


HOSTILE = {
    "huge": lambda group: group.create_dataset("0", shape=(3, 3, 10**6, 300), dtype="f4", chunks=(3, 3, 1000, 300)),
    "outside": lambda group: group.create_dataset(
        "0", shape=(1, 1, 1, 4), dtype="f4", external=[("secret.txt", 0, 16)]
    ),
    "virtual": lambda group: group.create_virtual_dataset("0", h5py.VirtualLayout((1, 1, 1, 4), "f4")),
    "linked": lambda group: group.__setitem__("0", h5py.ExternalLink("other.h5", "x")),
}
"""what stands for more numbers than the file holds, or for those of another file"""


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("huge", "its weights are larger than 2048 MiB"),
        ("outside", "the numbers of its layer 'a' are not in it, but in another file"),
        ("virtual", "the numbers of its layer 'a' are not in it, but in another file"),
        ("linked", "can't read the weights"),
    ],
)
def test_a_file_of_keras_stands_for_itself_alone(kind, message, tmp_path, monkeypatch):
    """A small file can't take the machine's memory, nor make weights of any other file on it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_bytes(b"x" * 16)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.ones((1, 1, 1, 4), np.float32)
    with h5py.File(tmp_path / "part.h5", "w") as file:
        group = file.create_group("layers/layer/vars")
        group.attrs["name"] = "a"
        HOSTILE[kind](group)
    config = {"config": {"layers": [{"class_name": "Conv2D", "config": {"name": "a"}}]}}
    with zipfile.ZipFile(tmp_path / "w.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.write(tmp_path / "part.h5", "model.weights.h5")
    assert message in refused("mobilenetv2", tmp_path / "w.keras")


def test_an_old_file_of_keras_takes_nothing_from_another(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a/kernel:0"] = np.ones((1, 1, 1, 4), np.float32)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = ["a"]
        file["a"] = h5py.ExternalLink("other.h5", "a")
        with h5py.File(tmp_path / "other.h5", "a") as other:
            other["a"].attrs["weight_names"] = ["kernel:0"]
    assert "not in it, but in another file" in refused("mobilenetv2", tmp_path / "w.h5")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b"{}", "does not say in which order its layers are"),
        (b"[" * 10**5, "maximum recursion depth exceeded"),
        (b" " * (2**24 + 1), "its config.json is larger than 16 MiB"),
    ],
)
def test_a_config_of_keras_that_is_of_no_use(config, message, tmp_path):
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file.create_group("layers")
    with zipfile.ZipFile(tmp_path / "w.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
        archive.write(tmp_path / "part.h5", "model.weights.h5")
    assert message in refused("mobilenetv2", tmp_path / "w.keras")

"""Files of Keras are read by names or in the order of their layers; others are refused. The features: benchmarks/."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from helpers_networks import network
from skythaw.backbones.cut import cut
from skythaw.backbones.keras_names import TABLES
from skythaw.backbones.keras_networks import KERAS, of_keras
from skythaw.backbones.known_backbones import backbone, chosen
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import RANDOM, locate
from skythaw.errors import SpecError, WeightsError
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


def renamed(state, network):
    """What Keras would keep of a network that branches: its names, its order of layers turned round, and biases."""
    theirs = {ours: name for table in TABLES[network] for ours, name in table()}
    found: dict[str, tuple[str, dict[str, np.ndarray]]] = {}
    for name, tensor in state.items():
        words, kind = name.split(".")[:-1], name.split(".")[-1]
        if kind == "num_batches_tracked":
            continue
        whole = ".".join(words) in theirs
        layer = theirs[".".join(words if whole else words[:-1])]
        layer = layer.replace("skip_conv", "conv2d").replace("skip_bn", "batch_normalization")
        if tensor.ndim == 1:
            found.setdefault(layer, ("BatchNormalization", {}))[1][KERAS_NAMES[kind]] = tensor.numpy()
        elif whole:
            found[layer] = ("Conv2D", {"kernel": tensor.permute(2, 3, 1, 0).numpy()})
            if network == "ResNet50":
                found[layer][1]["bias"] = np.full(len(tensor), 0.5, np.float32)
        elif words[-1] in ("conv1", "dw_conv"):
            found[layer] = ("SeparableConv2D", {"depthwise_kernel": tensor.permute(2, 3, 0, 1).numpy()})
        else:
            found[layer][1]["pointwise_kernel"] = tensor.permute(2, 3, 1, 0).numpy()
    numbered = [name for name in found if name.startswith(("conv2d", "batch_normalization"))]
    return {name: found[name] for name in (*numbered, *(each for each in reversed(found) if each not in numbered))}


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
    config = {"config": {"layers": config_of(layers)}}
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


@pytest.mark.parametrize("write", [write_h5, write_keras])
@pytest.mark.parametrize("name", ["resnet50", "xception", "nasnet_mobile"])
def test_a_network_that_branches_is_read_by_names(name, write, tmp_path):
    net = network(name)
    state = net.features.state_dict()
    theirs = KERAS[backbone(name).model]
    path = write(tmp_path / ("w.h5" if write is write_h5 else "w.keras"), renamed(state, theirs.name))
    there = built(name, path).features.state_dict()
    first = next(iter(state))
    for tensor, expected in state.items():
        if tensor.endswith("running_var"):
            continue
        shifted = expected - 0.5 if name == "resnet50" and tensor.endswith("running_mean") else expected
        assert torch.equal(there[tensor], shifted.flip(1) if tensor == first and theirs.blue_first else shifted), tensor


def test_names_of_keras():
    """Written down by hand, for what writes the files of the tests above takes them from the code."""
    resnet, old, xception, nasnet = (
        dict(t()) for name in ("ResNet50", "Xception", "NASNetMobile") for t in TABLES[name]
    )
    assert resnet["layer2.0.downsample.0"] == "conv3_block1_0_conv"
    assert (old["layer3.5.conv2"], old["layer1.0.bn3"]) == ("res4f_branch2b", "bn2a_branch2c")
    assert (xception["block1.rep.3"], xception["block12.rep.5"]) == ("block2_sepconv2", "block13_sepconv2_bn")
    assert nasnet["stage2.unit2.path.path2.conv"] == "adjust_conv_2_5"
    assert nasnet["stage3.unit5.comb1_left.conv2.bn"] == "separable_conv_2_bn_normal_left2_12"
    assert nasnet["stem1_unit.comb4_left.conv1.conv"] == "separable_conv_1_reduction_left4_stem_1"


def test_networks_are_built_as_in_keras():
    """By hand: where Keras halves a map, and what it pads. The features: benchmarks/keras_features.py."""
    as_there = {name: shape(name) for name in ("resnet50", "xception", "nasnet_mobile")}
    block = as_there["resnet50"].layer2[0]
    assert (block.conv1.stride, block.conv2.stride, block.downsample[0].stride) == ((2, 2), (1, 1), (2, 2))
    pool = as_there["xception"].block1.rep[-1]
    assert pool(torch.arange(16.0).view(1, 1, 4, 4)).flatten().tolist() == [10, 11, 14, 15]  # nothing on the left
    assert pool(torch.arange(9.0).view(1, 1, 3, 3)).flatten().tolist() == [4, 5, 7, 8]
    pool = as_there["nasnet_mobile"].stem1_unit.comb2_left
    assert pool(torch.ones(1, 1, 4, 4)).flatten().tolist() == pytest.approx([1, 6 / 9, 6 / 9, 4 / 9])  # zeros count
    assert as_there["nasnet_mobile"](torch.zeros(1, 3, 40, 40)).shape == (1, 1056, 2, 2)  # pytorchcv's own can't


def shape(name):
    return build(replace(backbone(name), options=(("built_as", "keras"),)), RANDOM).features


@pytest.mark.parametrize("name", ["xception", "nasnet_mobile"])
def test_a_network_built_as_in_keras_is_cut(name):
    net = build(replace(backbone(name), options=(("built_as", "keras"),)), RANDOM)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        parts = cut(net, 5)
        assert torch.equal(parts.suffix(*parts.prefix(images)), net(images))


def test_built_as_what():
    for name, value in (("vgg16", "keras"), ("resnet50", "jax")):
        with pytest.raises(SpecError, match="built_as"):
            build(replace(backbone(name), options=(("built_as", value),)), RANDOM)


def test_a_model_within_a_model(tmp_path):
    """As transfer learning leaves it; partly frozen, its tensors stand in another order than its layers."""
    state = network("mobilenetv2").features.state_dict()
    layers = layers_of(state)
    inner = {"class_name": "Functional", "config": {"name": "base", "layers": config_of(layers)}}
    config = {"config": {"layers": [{"class_name": "Rescaling", "config": {"name": "scale"}}, inner]}}
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = ["scale", "base"]
        root.create_group("scale").attrs["weight_names"] = np.array([], "S1")
        weights = {f"{name}/{kind}": array for name, (_, arrays) in layers.items() for kind, array in arrays.items()}
        weights = dict(sorted(weights.items(), key=lambda each: "moving" in each[0])[::-1])
        root.create_group("base").attrs["weight_names"] = list(weights)
        for name, array in weights.items():
            root[f"base/{name}"] = array
    there = built("mobilenetv2", tmp_path / "w.h5").features.state_dict()
    assert all(torch.equal(there[name], each) for name, each in state.items() if not name.endswith("_tracked"))
    with h5py.File(tmp_path / "w.h5", "a") as file:
        del file.attrs["model_config"]
    assert "does not say in which order" in refused("mobilenetv2", tmp_path / "w.h5")


def config_of(layers):
    return [{"class_name": kind, "config": {"name": name}} for name, (kind, _) in layers.items()]


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
    assert "not of resnet50" in refused("resnet50", path)
    assert "can't take weights of Keras: they are read for vgg16" in refused("timm:test_resnet", path)
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

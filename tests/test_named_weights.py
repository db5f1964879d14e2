"""Weights by their names: on the Hub, in its cache, in a folder, of torchvision; and what is said where that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import timm
import torch
from huggingface_hub import constants

from helpers_hub import FIRST, SECOND, Repository, hub, timm_files, write_cache, write_folder
from helpers_networks import fresh, network
from skythaw.backbones.described_networks import TORCHVISION
from skythaw.backbones.known_backbones import Preprocessing, backbone
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import Weights, locate
from skythaw.errors import UnknownNameError, WeightsError
from skythaw.spec import WeightsChoice

ZOO = "zoo/encoder"
MEAN = [0.1, 0.2, 0.3]


@pytest.fixture(scope="module")
def state():
    return {name: tensor.clone() for name, tensor in network("timm:test_resnet").features.state_dict().items()}


@pytest.fixture
def files(state):
    return timm_files("test_resnet", state, mean=MEAN, std=[0.5], license="mit")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the Hub, and no Hub behind it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    use_hub("http://127.0.0.1:9", monkeypatch)
    return tmp_path / "hub"


def use_hub(address: str, monkeypatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    form = "{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{form}")


@contextmanager
def hub_with(monkeypatch, **repositories: Repository) -> Iterator[list[str]]:
    with hub({f"zoo/{name}": each for name, each in repositories.items()}) as (address, asked):
        use_hub(address, monkeypatch)
        yield asked


@pytest.mark.parametrize("name", [f"hf_hub:{ZOO}", f"hf-hub:{ZOO}", f"timm:hf_hub:{ZOO}"])
def test_from_the_cache_alone(name, cache, files, state):
    write_cache(cache, ZOO, files)
    found = backbone(name)
    assert (found.name, found.model, found.revision, found.licence) == (f"hf_hub:{ZOO}", "test_resnet", FIRST, "mit")
    assert found.preprocessing == Preprocessing(tuple(MEAN), (0.5, 0.5, 0.5), "bicubic")
    assert found.input_size == 224
    weights = locate(found, None, download=False)
    assert weights.path == cache / "models--zoo--encoder" / "snapshots" / FIRST / "model.safetensors"
    assert torch.equal(build(found, weights).features.state_dict()["bn1.weight"], state["bn1.weight"])


def test_from_the_hub(cache, files, state, monkeypatch):
    """A revision is pinned: what the branch says later changes nothing."""
    other = files | timm_files("test_resnet", state, mean=[0.0])
    both = Repository({FIRST: files, SECOND: other}, {"main": SECOND, "v1": FIRST})
    with hub_with(monkeypatch, encoder=both) as asked:
        first, second = backbone(f"hf_hub:{ZOO}@v1"), backbone(f"hf_hub:{ZOO}")
        assert (first.revision, second.revision) == (FIRST, SECOND)
        assert first.preprocessing.mean != second.preprocessing.mean
        assert backbone(f"hf_hub:{ZOO}@{FIRST}").preprocessing == first.preprocessing
        with pytest.raises(WeightsError, match="downloads are off"):
            locate(first, None, download=False)
        assert not any(path.endswith(".safetensors") for path in asked)
        assert FIRST in str(locate(first, None).path)
        count = len(asked)
    assert FIRST in str(locate(backbone(f"hf_hub:{ZOO}@v1"), None).path)
    assert len(asked) == count, "asked again for what is here"


def test_an_old_repository_has_no_safetensors(cache, files, state, monkeypatch, tmp_path):
    torch.save(state, tmp_path / "old.bin")
    del files["model.safetensors"]
    files["pytorch_model.bin"] = (tmp_path / "old.bin").read_bytes()
    with hub_with(monkeypatch, encoder=Repository({FIRST: files})):
        found = locate(backbone(f"hf_hub:{ZOO}"), None)
    assert found.path.name == "pytorch_model.bin"
    assert build(backbone(f"hf_hub:{ZOO}"), found)


def test_from_a_folder(tmp_path, files):
    folder = write_folder(tmp_path / "mine", files)
    found = backbone(f"local-dir:{folder}")
    assert (found.model, found.preprocessing.mean) == ("test_resnet", tuple(MEAN))
    assert locate(found, None) == locate(backbone("timm:test_resnet"), WeightsChoice(file=folder / "model.safetensors"))


def test_what_timm_saves_is_read(tmp_path):
    import timm

    model = timm.create_model("test_efficientnet", num_classes=0)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    found = backbone(f"local-dir:{tmp_path}")
    assert build(found, locate(found, None)).channels == 256


@pytest.mark.parametrize("size", [160, 64])
def test_a_transformer_that_timm_saves_is_read(size, tmp_path):
    """timm writes the size of its positions as two numbers."""
    saved = timm.create_model("test_vit", img_size=size, num_classes=0)
    timm.models.save_for_hf(saved, tmp_path)
    found = backbone(f"local-dir:{tmp_path}")
    assert found.input_size == size
    net = build(found, locate(found, None))
    assert torch.equal(net.features.pos_embed, saved.pos_embed)
    assert build(found.with_size(96), locate(found, None)).features.pos_embed.shape == (1, 37, 64)


def test_options_of_a_config_build_the_network(tmp_path, state):
    files = timm_files("test_efficientnet", network("timm:test_efficientnet").features.state_dict(), {"bn_eps": 0.01})
    found = backbone(f"local-dir:{write_folder(tmp_path, files)}")
    assert build(found, locate(found, None)).features.bn1.eps == 0.01


def test_an_encoder_of_one_band(tmp_path):
    """Such as Zoobot's grey ones: it fits images of one band, and no others."""
    grey = fresh("timm:test_resnet").features.state_dict()
    grey["conv1.0.weight"] = grey["conv1.0.weight"].sum(1, keepdim=True)
    files = timm_files("test_resnet", grey, {"in_chans": 1}, mean=[0.5], std=[0.25])
    config = json.loads(files["config.json"])
    config["pretrained_cfg"]["input_size"] = [1, 64, 64]
    files["config.json"] = json.dumps(config).encode()
    found = backbone(f"local-dir:{write_folder(tmp_path, files)}")
    assert (found.bands, found.input_size, found.preprocessing.mean) == (1, 64, (0.5,))
    assert build(found, locate(found, None)).bands == 1
    with pytest.raises(WeightsError, match="trained on images of 1 band, and the images here have 3"):
        build(found.with_bands(3), locate(found, None))


@pytest.mark.parametrize("bands", [1, 5])
def test_other_numbers_of_bands_are_adapted_as_timm_does(bands, tmp_path, state):
    import timm

    folder = write_folder(tmp_path, timm_files("test_resnet", state, first_conv="conv1.0"))
    found = backbone(f"local-dir:{folder}").with_bands(bands)
    ours = build(found, locate(found, None)).features.state_dict()
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0, in_chans=bands).state_dict()
    assert torch.allclose(ours["conv1.0.weight"], theirs["conv1.0.weight"])


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "mnasnet0_5", "regnet_y_400mf", "resnet18"])
def test_torchvision_gives_the_same_features(name, tmp_path):
    from torchvision import models

    with torch.random.fork_rng():
        torch.manual_seed(3)
        theirs = models.get_model(name, weights=None).eval()
        for buffer in theirs.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    ours = build(backbone(f"torchvision:{name}"), Weights("file", tmp_path / "w.pth", "x"))
    seen: list[torch.Tensor] = []
    last = {"resnet18": "layer4", "mnasnet0_5": "layers", "regnet_y_400mf": "trunk_output"}.get(name, "features")
    theirs.get_submodule(last).register_forward_hook(lambda *each: seen.append(each[-1]))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        theirs(images)
        assert torch.equal(ours(images), seen[0])


def test_torchvision_names():
    found = backbone("torchvision:mobilenet_v2")
    assert found.name == "torchvision:mobilenet_v2.IMAGENET1K_V2"
    assert found.official == "https://download.pytorch.org/models/mobilenet_v2-7ebf99e0.pth"
    assert found.digest == "sha256:7ebf99e0"
    assert found.preprocessing.interpolation == "bilinear"
    assert backbone("torchvision:mobilenet_v2.IMAGENET1K_V1").official != found.official
    assert all(backbone(f"torchvision:{name}").model == model for name, model in TORCHVISION.items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:mobilenetv2", "did you mean 'mobilenet_v2'?"),
        ("torchvision:resnet18.V1", "known: 'DEFAULT', 'IMAGENET1K_V1'"),
        ("torchvision:swin_t", "timm's network is not the same"),
        ("hf_hub:zoo", "'hf_hub:zoo' is no name of the Hugging Face Hub: write hf_hub:OWNER/NAME"),
        ("hf_hub:../x/y", "is no name of the Hugging Face Hub"),
        ("hf://zoo/encoder@v1", "Then write 'hf_hub:zoo/encoder'"),
        ("zoo/encoder", "Then write 'hf_hub:zoo/encoder'"),
        ("timm:zoo/encoder", "Then write 'hf_hub:zoo/encoder'"),
        ("resnet18", "did you mean 'timm:resnet18'?"),
        ("ResNet50", "did you mean 'resnet50'?"),
        ("zoobot-encoder-convnext-nano", "did you mean 'hf_hub:mwalmsley/zoobot-encoder-convnext_nano'?"),
        ("convnext-nano.in12k", "did you mean 'timm:convnext_nano.in12k'?"),
        ("timm:RESNET18", "did you mean 'timm:resnet18'?"),
        ("dinov2", "_dinov2'?"),
        ("vit", "did you mean 'timm:vit_"),
        ("zoobot", "did you mean 'hf_hub:mwalmsley/zoobot-encoder-"),
        ("timm:", "unknown backbone 'timm:'; write timm:NAME"),
        ("hf_hub", "write hf_hub:OWNER/NAME"),
        ("", "`skythaw backbones` lists ours"),
        ("./model", "a folder as timm writes it is local-dir:model"),
        ("local_dir:zoo/encoder", "a folder as timm writes it is local-dir:zoo/encoder"),
        ("zoo/encoder.pth", "a file of weights goes to [weights]"),
        ("https://huggingface.co/zoo/encoder", "Then write 'hf_hub:zoo/encoder'"),
        ("hf_hub:https://huggingface.co/zoo/encoder/tree/main", "write hf_hub:zoo/encoder"),
        ("timm:mobilnetv2_100", "did you mean 'timm:mobilenetv2_100'?"),
    ],
)
def test_the_nearest_name_is_said(name, message):
    with pytest.raises(UnknownNameError) as caught:
        backbone(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def said(name: str, kind: type[Exception] = WeightsError) -> str:
    with pytest.raises(kind) as caught:
        locate(backbone(name), None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_the_hub_refuses(cache, files, monkeypatch):
    config = {"config.json": files["config.json"]}
    repositories = {
        "gated": Repository({}, fault="GatedRepo"),
        "encoder": Repository({FIRST: files}),
        "bare": Repository({FIRST: {"README.md": b""}}),
        "empty": Repository({FIRST: config}),
    }
    with hub_with(monkeypatch, **repositories):
        assert "the Hub shows no repository zoo/deleted" in said("hf_hub:zoo/deleted")
        assert "the Hub shows no repository nobody/x" in said("hf_hub:nobody/x")
        assert "zoo/gated is gated: accept its terms at https://huggingface.co/zoo/gated" in said("hf_hub:zoo/gated")
        assert "zoo/encoder has no revision 'v9'" in said("hf_hub:zoo/encoder@v9")
        assert "zoo/bare has no config.json" in said("hf_hub:zoo/bare")
        assert "zoo/empty has no model.safetensors or pytorch_model.bin" in said("hf_hub:zoo/empty")


def test_no_network_and_nothing_cached(cache, monkeypatch):
    copied = f"copy the folder models--zoo--encoder from the Hub's cache there to {cache} here"
    expected = f"run `hf download zoo/encoder --revision v1`, and {copied}"
    text = said("hf_hub:zoo/encoder@v1")
    assert expected in text
    assert "Connection refused" in text
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in said("hf_hub:zoo/encoder@v1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "galaxynet_tiny"}, "has no network 'galaxynet_tiny', which its config.json names"),
        ({"architecture": "convnext_nanno"}, "did you mean 'convnext_nano'?"),
        ({"architecture": 7}, "in its config.json, architecture"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "asks for checkpoint_path = '/etc/passwd'"),
        ({"model_args": {"depths": [1, 2]}}, r"asks for depths = [1, 2], which is not supported"),
        ({"model_args": {"depth": 10**6}}, "asks for depth = 1000000; at most 10,000 is built"),
        (
            {"pretrained_cfg": {"input_size": [10**9, 64, 64]}},
            "in its config.json, pretrained_cfg.input_size: 1000000000",
        ),
        ({"pretrained_cfg": {"mean": "white"}}, "in its config.json, pretrained_cfg.mean"),
        ({"pretrained_cfg": {"std": [1, 2, 3, 4]}}, "mean or std = [1.0, 2.0, 3.0, 4.0] has 4 numbers"),
    ],
)
def test_a_config_that_is_of_no_use(change, message, tmp_path, files):
    config = json.loads(files["config.json"])
    files["config.json"] = json.dumps(config | change).encode()
    kind = UnknownNameError if "architecture" in change and isinstance(change["architecture"], str) else WeightsError
    assert message in said(f"local-dir:{write_folder(tmp_path, files)}", kind)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "its config.json is not such as timm writes ('utf-8' codec can't decode"),
        (b"[1]", "it is no table of names and values"),
        (b"[" * 10**5, "maximum recursion depth exceeded"),
        (b" " * (2**20 + 1), "it is larger than 1 MiB"),
        (b'{"model_type": "vit"}', "names no architecture of timm (it is of the library transformers: 'vit')"),
    ],
)
def test_no_config_of_timm(content, message, tmp_path, files):
    assert message in said(f"local-dir:{write_folder(tmp_path, files | {'config.json': content})}")


def test_a_folder_that_lacks_files(tmp_path, files):
    assert "has no config.json, nor weights: timm writes both" in said(f"local-dir:{tmp_path}")
    for name in files:
        left = {each: content for each, content in files.items() if each != name}
        assert f"has no {name}: timm writes" in said(
            f"local-dir:{write_folder(tmp_path / name.partition('.')[0], left)}"
        )

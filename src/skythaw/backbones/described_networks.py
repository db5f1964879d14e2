"""Networks that their weights describe: by the config that timm writes beside them, or as torchvision publishes them.

Whatever a config says, timm builds the network: no code comes with weights.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from skythaw.backbones.hub_files import CONFIG, REPOSITORY, WEIGHT_FILES, HubError, fetch_file
from skythaw.backbones.known_backbones import Backbone, Option, Preprocessing, digest_in, per_band
from skythaw.errors import SpecError, UnknownNameError, WeightsError, nearest
from skythaw.spec.validation_message import one_line

NOT_OURS = frozenset(
    {"num_classes", "in_chans", "global_pool", "drop_rate", "drop_path_rate", "scriptable", "exportable", "no_jit"}
)
"""Arguments of timm that concern the classifier, the bands or training, which a study decides."""
FORBIDDEN = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "checkpoint_path", "cache_dir"}
)
"""Arguments of timm that would read other files."""
LARGEST = 10_000
"""of what a config may say in whole numbers: pixels, bands, layers, widths"""
LONGEST = 2**20
"""bytes of a config"""
FAMILIES = ("resnet", "resnext", "wide_resnet", "densenet", "vgg")
"""Names that torchvision and timm share, for the same networks."""
TORCHVISION = {
    "mobilenet_v2": "mobilenetv2_100",
    "mnasnet0_5": "mnasnet_050",
    "mnasnet1_0": "mnasnet_100",
    **{f"efficientnet_b{n}": f"efficientnet_b{n}" for n in range(5)},
    "regnet_y_400mf": "regnety_004",
    "regnet_y_1_6gf": "regnety_016",
    "regnet_y_3_2gf": "regnety_032",
}
"""timm's names of torchvision's networks: those that give the same features, to the last bit."""


_Size = Annotated[int, Field(ge=1, le=LARGEST)]


class _Expected(BaseModel):
    """What weights expect, as timm writes it; other keys are of no use here."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None
    input_size: tuple[_Size, _Size, _Size] | None = None
    license: str | None = None


class _Config(BaseModel):
    """A ``config.json`` of timm."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    architecture: str
    pretrained_cfg: _Expected = _Expected()
    model_args: dict[str, Any] = Field(default_factory=dict)


def of_hub(model: str) -> Backbone:
    """The network of ``OWNER/NAME`` or ``OWNER/NAME@REVISION`` on the Hugging Face Hub, pinned to its commit.

    Raises
    ------
    WeightsError, UnknownNameError
        There is no such model, it can't be had, or timm can't build its network.
    """
    repository, _, revision = model.partition("@")
    name = f"hf_hub:{model}"
    if not REPOSITORY.fullmatch(repository):
        address = re.fullmatch(r"https?://[^/]+/([^/]+/[^/?#]+).*", repository)
        forms = f"hf_hub:{address[1]}" if address else "hf_hub:OWNER/NAME, or hf_hub:OWNER/NAME@REVISION"
        raise UnknownNameError(f"{name!r} is no name of the Hugging Face Hub: write {forms}")
    try:
        config = fetch_file(repository, (CONFIG,), revision or None)
    except HubError as error:
        raise WeightsError(f"can't read {name}: {error}") from None
    return replace(_of_config(config.path, name), official=repository, revision=config.commit)


def of_folder(folder: Path) -> Backbone:
    """The network of a folder with ``config.json`` and its weights, as timm writes them.

    Raises
    ------
    WeightsError, UnknownNameError
        One of the two is not there, or timm can't build the network.
    """
    name = f"local-dir:{folder}"
    if not folder.is_dir():
        there = 'a file, which goes to [weights]: NETWORK = "FILE"' if folder.exists() else "not there"
        raise WeightsError(f"{name} has to be a folder with {CONFIG} and weights; it is {there}")
    files = [folder / each for each in WEIGHT_FILES if (folder / each).is_file()]
    if not (folder / CONFIG).is_file() or not files:
        lacking = CONFIG if files else WEIGHT_FILES[0] if (folder / CONFIG).is_file() else f"{CONFIG}, nor weights"
        raise WeightsError(f"{name} has no {lacking}: timm writes both with timm.models.save_for_hf(model, FOLDER)")
    return replace(_of_config(folder / CONFIG, name), file=files[0])


def of_torchvision(model: str) -> Backbone:
    """The network of torchvision's ``NAME`` or ``NAME.WEIGHTS``, built by timm.

    Raises
    ------
    UnknownNameError
        torchvision has none of that name, or timm's is not the same network.
    """
    from torchvision import models

    plain, _, wanted = model.partition(".")
    known = {name: TORCHVISION.get(name, name) for name in models.list_models(models) if _same_in_timm(name)}
    if plain in models.list_models(models) and plain not in known:
        raise UnknownNameError(
            f"torchvision:{plain} can't be built: timm's network is not the same; `timm:NAME` has weights of its own"
        )
    if plain not in known:
        raise UnknownNameError.among("network of torchvision", plain, known)
    sets = models.get_model_weights(plain)
    if wanted and wanted not in sets.__members__:
        raise UnknownNameError.among(f"weights of torchvision's {plain}", wanted, sets.__members__)
    chosen = sets[wanted] if wanted else sets["DEFAULT"]
    view = chosen.transforms()
    return Backbone(
        name=f"torchvision:{plain}.{chosen.name}",
        library="timm",
        model=known[plain],
        preprocessing=Preprocessing(tuple(view.mean), tuple(view.std), view.interpolation.value),
        input_size=view.crop_size[0],
        official=chosen.url,
        digest=digest_in(chosen.url),
        licence="BSD-3-Clause",
    )


def _same_in_timm(name: str) -> bool:
    return name in TORCHVISION or name.rstrip("0123456789").startswith(FAMILIES)


def _of_config(path: Path, name: str) -> Backbone:
    """The network that a config of timm describes."""
    import timm

    config = _read_config(path, name)
    model = config.architecture.partition(".")[0]
    if not timm.is_model(model):
        raise UnknownNameError(
            f"{name}: timm {timm.__version__} has no network {model!r}, which its {CONFIG} names; "
            f"{nearest(model, timm.list_models()).partition('known:')[0]}a newer timm may have it (pip install -U timm)"
        )
    usual, expected = timm.get_pretrained_cfg(model) or timm.models.PretrainedCfg(), config.pretrained_cfg
    options = dict(_options(config.model_args, name))
    size = expected.input_size or usual.input_size
    if usual.fixed_input_size and (built_for := options.get("img_size")):
        size = (size[0], int(built_for), int(built_for))
        if built_for == usual.input_size[-1]:
            del options["img_size"]
    try:
        mean, std = (per_band(values, size[0]) for values in (expected.mean or usual.mean, expected.std or usual.std))
    except SpecError as error:
        raise WeightsError(f"can't read {name}: in its {CONFIG}, {error}") from None
    return Backbone(
        name=name,
        library="timm",
        model=model,
        preprocessing=Preprocessing(mean, std, expected.interpolation or usual.interpolation),
        input_size=size[-1],
        official=None,
        licence=expected.license or "not stated",
        options=tuple(options.items()),
        bands=size[0],
        fixed_size=usual.fixed_input_size,
    )


def _read_config(path: Path, name: str) -> _Config:
    try:
        if path.stat().st_size > LONGEST:
            raise ValueError("it is larger than 1 MiB")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no table of names and values")
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"can't read {name}: its {CONFIG} is not such as timm writes ({str(error).partition(chr(10))[0]})"
        ) from None
    if "architecture" not in content:
        kind = content.get("model_type")
        other = f" (it is of the library transformers: {kind!r})" if isinstance(kind, str) else ""
        raise WeightsError(f"can't read {name}: its {CONFIG} names no architecture of timm{other}")
    if "pretrained_cfg" not in content:
        content = {**content, "pretrained_cfg": content}  # as timm wrote it before 2023
    try:
        return _Config.model_validate(content)
    except ValidationError as error:
        raise WeightsError(f"can't read {name}: in its {CONFIG}, {one_line(error, _Config)}") from None


def _options(arguments: dict[str, Any], name: str) -> tuple[tuple[str, Option], ...]:
    """What a config tells timm of how to build the network."""
    wanted = {key: value for key, value in arguments.items() if key not in NOT_OURS}
    side = wanted.get("img_size")
    if isinstance(side, list) and len(side) == 2 and side[0] == side[1]:
        wanted["img_size"] = side[0]  # as timm writes it
    for key, value in wanted.items():
        if key in FORBIDDEN or not isinstance(value, str | int | float | bool):
            raise WeightsError(f"can't read {name}: its {CONFIG} asks for {key} = {value!r}, which is not supported")
        if not isinstance(value, str) and abs(value) > LARGEST:
            raise WeightsError(
                f"can't read {name}: its {CONFIG} asks for {key} = {value}; at most {LARGEST:,} is built"
            )
    return tuple(sorted(wanted.items()))

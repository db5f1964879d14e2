"""A study as the text of its file, with every key explained: what a user may change by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skythaw.spec import Recipe, Split, Stretch, Study

WIDTH = 46
"""columns before the comments"""
DATA = {
    "path": "the labelled images: a Parquet file, or a folder of them",
    "test_path": "images of other sky to test on; then the split divides `path` alone",
    "crop": "pixels cut from the centre of each image",
    "size": "pixels a side that the network gets: the crop is enlarged or reduced to it",
    "bands": "which bands the network gets, by name or by number from 0; left out: all",
    "stretch": "brightness before the network: linear, sqrt or asinh, with low and high for images of floats",
    "skip_broken": "leave out images that can't be read (they are listed), instead of refusing them",
    "columns": "numbers beside the images",
    "table": "a catalogue that is joined to the images by object_id or by position",
    "measured": "whether numbers are measured from the images, too",
    "radius": "arcsec, of a match by position",
    "extinction": "of a column of magnitudes, the column of its extinction",
    "allow_leak": "columns that are used although they may give the class away",
    "split": "by: auto, field, healpix, random or a column; shares of validation and test",
}
GRID = {
    "backbone": "the networks; skythaw backbones lists them",
    "depth": "how many blocks are trained, from the top: '25%' of them, 3 of them, or 'tpr:10%' of the parameters",
    "train_size": "training images; 'all' is all of them",
    "seed": "each seed draws its own training images and first weights: three tell how sure a score is",
    "strategy": "how depth is trained; docs/study.md has them all",
    "inputs": "images, table (numbers alone), both",
    "weights": "of each network: imagenet, random, a file, or a name such as timm:NAME.TAG or hf_hub:OWNER/NAME",
}
RECIPE = {
    "epochs": "how often every image is seen; auto: until validation no longer gains",
    "max_steps": "with epochs = 'auto': most steps before the learning rate falls; auto: 4000, or 64 epochs if more",
    "batch": "images a step",
    "lr": "learning rate; auto: short trials of several rates, for each depth its own",
    "weight_decay": "of AdamW",
    "schedule": "onecycle, cosine or constant: how the rate goes through a given number of epochs",
    "warmup": "share of the steps of a given number of epochs in which the rate rises",
    "clip": "largest norm of the gradient; false: none",
    "ema": "decay of the average of the weights that is kept; false: none",
    "batchnorm": "running: the pretrained statistics; train: those of each batch",
    "dropout": "before the last layer",
    "label_smoothing": "share of each label that is spread over all classes",
    "class_weights": "balanced: rare classes count as much as common ones; false: as they are",
    "views": "how many of the eight flips and quarter turns are used in training",
    "shift": "largest random shift in training, pixels",
    "select": "validation score that chooses the weights: macro_f1 or log_loss",
    "patience": "epochs without a gain after which a given number of epochs ends; false: never",
    "precision": "float32, or mixed: 16 bits on a GPU",
    "activations": "float16 or float32: precision of what is kept of the frozen part",
    "threads": "CPU threads of one training",
}


def study_text(study: Study, *, head: str, folder: Path) -> str:
    """The file of a study.

    Parameters
    ----------
    study
        what it should say
    head
        what made it, and why it is so: a comment at its top
    folder
        where the file will be: paths inside it are written relative to it
    """
    content = study.model_dump(mode="json")
    data = {**content["data"], "split": _shortened(study.data.split)}
    for name in ("path", "test_path", "table"):
        if data.get(name):
            data[name] = _placed(Path(data[name]), folder)
    if isinstance(study.data.stretch, Stretch) and isinstance(data["stretch"], dict):
        data["stretch"] = {k: v for k, v in data["stretch"].items() if v is not None}
    lines = [*(f"# {line}".rstrip() for line in head.splitlines()), "", f"name = {_value(study.name)}", ""]
    lines += ["[data]", *_keys(data, DATA), ""]
    grid = {**content["grid"], **study.grid.axes}
    lines += ["[grid]                                        # every list is an axis: all combinations are trained"]
    lines += [*_keys(grid, GRID), "", "[recipe]                                      # how each network is trained"]
    recipe = {name: getattr(study.recipe, name) for name in Recipe.model_fields}
    lines += _keys({k: False if v is None else v for k, v in recipe.items()}, RECIPE)
    if study.weights:
        lines += [
            "",
            "[weights]                                     # files of weights, by network; else the official ones",
        ]
        for name, choice in study.weights.items():
            said = {"random": True} if choice.random else str(_placed(choice.file or Path(), folder))
            lines.append(f"{_key(name)} = {_value(said)}")
    return "\n".join(lines) + "\n"


def _shortened(split: Split) -> dict[str, Any]:
    return {name: getattr(split, name) for name in ("by", "validation", "test", "seed")} | (
        {"nside": split.nside} if split.by == "healpix" else {}
    )


def _placed(path: Path, folder: Path) -> str:
    """A path as the file says it: relative where it is inside the folder."""
    whole, inside = path.absolute(), folder.absolute()
    return str(whole.relative_to(inside)) if whole.is_relative_to(inside) else str(whole)


def _keys(values: Mapping[str, Any], words: Mapping[str, str]) -> Iterator[str]:
    for name, value in values.items():
        if value is not None:
            yield f"{_key(name)} = {_value(value)}".ljust(WIDTH - 1) + f" # {words.get(name, 'an axis of its own')}"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name) else json.dumps(name)


def _value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(k))} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)

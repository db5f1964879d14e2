"""A bundle's model card, in the form of the Hugging Face hub: YAML front matter, then words."""

from __future__ import annotations

import json
from typing import Any

from skythaw.bundle.bundle_file import About


def model_card(about: About, onnx: bool) -> str:
    """The text of a bundle's README; with or without an ONNX file beside it."""
    cell, expected = about.cell, about.expected
    macro, own = about.scores["macro_f1"], about.scores["own"]
    scale = "" if expected.pixel_scale is None else f" of {expected.pixel_scale:g} arcsec"
    kind = "JPEG or PNG" if expected.dtype == "uint8" else "FITS, float32"
    pixels = cell.pixels
    shown = "" if pixels.size == pixels.crop else f", resized to {pixels.size} (bicubic, antialiased)"
    parts = about.objects.get("parts") or {}
    return f"""{_front(about)}
# {about.name}: {_listed(about.classes)}

The network {cell.backbone}, pretrained on ImageNet and fine-tuned with skythaw to classify cutouts of the sky. Of its
{about.blocks} blocks the upper {cell.depth} were trained (strategy `{cell.strategy}`) on {_trained_on(about)}.

## Use

    import skythaw

    classifier = skythaw.load("this/folder")
    p = classifier.predict(["one.jpg", "two.jpg"])   # names or content of files, or an array [object, y, x, band]

or `skythaw predict this/folder IMAGES... -o predictions.parquet`.

## What it expects

Square images centred on one object: {kind}, bands {", ".join(expected.bands)}, at least {pixels.crop} pixels{scale},
from the service or survey of the training images, and at their scale ({expected.side} pixels there). It cuts the
central {pixels.crop} pixels{shown}, stretches them (`{pixels.stretch}`), and normalises each band.
{_onnx(about) if onnx else ""}
## How good it is
{_refit(about)}
On {parts.get("test", "the")} test objects, on sky that was not trained on: macro-F1 {_interval(macro)};
accuracy {_interval(about.scores["accuracy"])}. Means over {about.scores["seeds"]} seed(s) of the same setting, with
95 % intervals; this cell alone has {own["macro_f1"]:.3f} and {own["accuracy"]:.3f}.

| class | precision | recall | F1 |
|---|---|---|---|
{_classes(about)}

Probabilities are calibrated by one temperature ({about.temperature:.3f}), fitted on validation.

## Limits

It knows {_listed(about.classes)}, and calls everything one of these. It was scored on objects like those it was
trained on: other surveys, depths, seeing, image services or scales, and objects fainter or larger than those, are not
covered by the numbers above. Labels of the training set may be wrong.
{_references() if about.references else ""}
## Where it comes from

Pretrained weights: {about.pretrained}; licence: {about.licence}. Training data: SHA-256 `{cell.data_sha256}`. Cell
`{cell.key}`. Made with {", ".join(f"{name} {number}" for name, number in sorted(about.versions.items()))}.
"""


def _trained_on(about: About) -> str:
    if about.refit is None:
        return f"{about.cell.train_size:,} images"
    return f"{about.refit:,} images of training and validation together"


def _refit(about: About) -> str:
    """What the scores are of, where the weights are not those that were scored."""
    if about.refit is None:
        return ""
    return f"""
The weights were trained again on training and validation together ({about.refit:,} images); the scores and the
temperature are of the network trained without validation, on {about.cell.train_size:,} images.
"""


def _references() -> str:
    """What is told about, and travels with, the training images."""
    return """
`references.safetensors` holds ids, labels and thumbnails of training images. By it, `predict` tells how far an image is
from them (`distance`), and which share of validation was nearer (`percentile`; a hint, not a test: several kinds of
strangers are not told by it), and `skythaw explain` shows the nearest.
"""


def _onnx(about: About) -> str:
    """How to use the graph without skythaw."""
    pixels, count = about.cell.pixels, about.cell.pixels.inputs
    return f"""
`model.onnx` takes `image`, float32 [batch, {count}, {pixels.size}, {pixels.size}] (batch, band, y, x; rows from the
top), and gives `probability` [batch, {len(about.classes)}], calibrated, in the order of the classes in `bundle.json`.
Before it: cut the centre (beginning at pixel (side - {pixels.crop}) // 2), scale to 0..1 (8-bit values by 255),
stretch, and resize where sizes differ. It normalises by itself. `features` [batch, {about.features}] are what the
probabilities come from: the network's last map, averaged over the image.
"""


def _front(about: About) -> str:
    """The YAML block; every text is a JSON string, which YAML reads."""
    metric = {"type": "f1", "name": "macro-F1", "value": round(about.scores["own"]["macro_f1"], 4)}
    lines: dict[str, Any] = {
        "library_name": "skythaw",
        "pipeline_tag": "image-classification",
        "license": "other",
        "license_name": about.licence,
        "tags": ["astronomy", "image-classification", about.cell.backbone],
        "metrics": ["f1", "accuracy"],
        "model-index": [
            {
                "name": about.name,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": about.name, "type": about.cell.data_sha256[:12]},
                        "metrics": [metric],
                    }
                ],
            }
        ],
    }
    return "---\n" + "".join(f"{name}: {json.dumps(value)}\n" for name, value in lines.items()) + "---\n"


def _classes(about: About) -> str:
    per_class = about.scores["per_class"]
    rows = []
    for name in about.classes:
        values = " | ".join(_interval(per_class[name][score]) for score in ("precision", "recall", "f1"))
        rows.append(f"| {name} | {values} |")
    return "\n".join(rows)


def _interval(score: dict[str, Any]) -> str:
    if score.get("low") is None:
        return f"{score['mean']:.3f}"
    return f"{score['mean']:.3f} ({score['low']:.3f} to {score['high']:.3f})"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}"

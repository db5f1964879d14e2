"""A bundle's model card: front matter that the Hugging Face Hub reads, then text for people."""

from __future__ import annotations

import re
from html import escape

from huggingface_hub import EvalResult, ModelCardData

from skythaw.bundle.bundle_file import BundleDescription
from skythaw.bundle.export.card_numbers import interval, numbers_section
from skythaw.bundle.export.hub_card import licence_fields
from skythaw.spec import Cell


def model_card(about: BundleDescription, onnx: bool) -> str:
    """The text of a bundle's README.

    Parameters
    ----------
    about
        what the bundle says of itself
    onnx
        whether an ONNX file lies beside the card
    """
    cell, expected = about.cell, about.expected
    macro = about.scores["macro_f1"]
    scale = "" if expected.pixel_scale is None else f" of {expected.pixel_scale:g} arcsec"
    kind = "JPEG or PNG" if expected.dtype == "uint8" else "FITS, float32"
    pixels, bands = cell.pixels, ", ".join(map(_text, expected.bands))
    resized = (
        "" if pixels.size == pixels.crop else f", resizes them to {pixels.size} ({pixels.interpolation}, antialiased)"
    )
    parts = about.objects.get("parts") or {}
    return f"""---
{_front_matter(about)}
---

# {_text(about.name)}: {_listed(about.classes)}

This classifier labels cutouts of the sky. {_network(about)} is {cell.backbone}, {_begun(about)}, and
fine-tuned with skythaw. The network has {about.blocks} blocks; the upper {cell.depth} were trained (strategy
`{cell.strategy}`) on {_trained_on(about)}.

## Use

    import skythaw

    classifier = skythaw.load("this/folder")
    p = classifier.predict(["one.jpg", "two.jpg"])   # names or content of files, or an array [object, y, x, band]

or `skythaw predict this/folder IMAGES... -o predictions.parquet`.

## What it expects

The images are square ({kind}) and have the bands {bands}.
Each is centred on one object, and has at least {pixels.crop} pixels a side{scale}. Images should come from the same
service or survey as the training images, and have their scale ({expected.side} pixels a side there). The classifier
cuts out the central {pixels.crop} pixels{resized}, stretches them (`{pixels.stretch}`), and normalises each band.
{numbers_section(about)}{_onnx(about) if onnx else ""}
## How good it is
{_refit(about)}
The scores are from {parts.get("test", "the")} test objects{_test_set(cell)}: macro-F1 {interval(macro)} and accuracy
{interval(about.scores["accuracy"])}. {_of_seeds(about)}

| class | precision | recall | F1 |
|---|---|---|---|
{_classes(about)}

{_calibrated(about)}

## Limits

The classifier knows {_listed(about.classes)}, and gives every image one of these labels. It was scored on
{_scored_on(cell)}. The scores do not cover other surveys, depths, seeing, image services or scales, nor
objects that are fainter or larger. Some labels of the training set may be wrong.
{_references() if about.references else ""}
## Where it comes from

Pretrained weights: {about.pretrained}; licence: {about.licence}. Training data: SHA-256 `{cell.data_sha256}`. Cell
`{cell.key}`. Made with {", ".join(f"{name} {number}" for name, number in sorted(about.versions.items()))}.
"""


def _front_matter(about: BundleDescription) -> str:
    """What the Hub reads, as YAML."""
    macro_f1 = EvalResult(
        task_type="image-classification",
        dataset_name=about.name,
        dataset_type=about.cell.data_sha256[:12],
        metric_type="f1",
        metric_name="macro-F1",
        metric_value=round(about.scores["own"]["macro_f1"], 4),
    )
    return ModelCardData(
        library_name="skythaw",
        pipeline_tag="image-classification",
        **licence_fields(about.licence),
        tags=["astronomy", "image-classification", about.cell.backbone],
        metrics=["f1", "accuracy"],
        model_name=about.name,
        eval_results=[macro_f1],
    ).to_yaml()


def _network(about: BundleDescription) -> str:
    if not about.members:
        return "Its network"
    seeds = ", ".join(str(each.seed) for each in about.members)
    return (
        f"It is the mean of {len(about.members)} networks, trained alike from the seeds {seeds}: each gives\n"
        "probabilities at its own temperature, and their mean is the answer. So it takes "
        f"{len(about.members)} times as long, and as much\nspace, as one. Each of them"
    )


def _of_seeds(about: BundleDescription) -> str:
    """What the scores are of, and those of this network itself."""
    if about.members:
        return "They are those of the mean itself, with\n95 % intervals for other objects."
    own, seeds = about.scores["own"], about.scores["seeds"]
    itself = "This network alone has" if about.numbers is None else "This classifier itself, of one seed, has"
    return (
        f"They are means over {seeds} seed(s) of the same setting, with\n95 % intervals. {itself} "
        f"{own['macro_f1']:.3f} and {own['accuracy']:.3f}."
    )


def _calibrated(about: BundleDescription) -> str:
    if about.numbers is None:
        return (
            f"The probabilities are calibrated by one temperature ({about.temperature:.3f}), which was fitted on the "
            "validation set."
        )
    return (
        "The probabilities are calibrated by temperatures that were fitted on the validation set: "
        f"{about.numbers.temperature:.3f} of\nimage and numbers together, {about.temperature:.3f} of the image alone, "
        f"and {about.numbers.table_temperature:.3f} of the numbers alone."
    )


def _begun(about: BundleDescription) -> str:
    """With what weights the fine-tuning began."""
    own = {"random": "which began with random weights", "file": "which began with weights of the user's own"}
    if about.cell.weights.published:
        return f"which began with the weights `{about.pretrained}`"
    return own.get(about.pretrained, "which was pretrained on ImageNet")


def _scored_on(cell: Cell) -> str:
    """How the objects of the scores are related to those of the training."""
    if cell.test_sha256 is not None:
        return "another data set than that of its training"
    return "objects of the data set of its training, which were kept apart as said above"


def _trained_on(about: BundleDescription) -> str:
    if about.refit is None:
        return f"{about.cell.train_size:,} images"
    return f"{about.refit:,} images of training and validation together"


def _test_set(cell: Cell) -> str:
    """How far the test objects are from the training objects."""
    if cell.test_sha256 is not None:
        return ", a data set of its own"
    how = {
        "random": ". They were drawn at random, so they may lie on the same sky as training objects",
        "field": ", in fields of the survey that have no training objects",
        "healpix": f", in pixels of the sky (HEALPix, nside = {cell.split.nside}) that have no training objects",
    }
    return how.get(cell.split.by, f", which share no value of the column `{cell.split.by}` with training objects")


def _refit(about: BundleDescription) -> str:
    """What the scores are of, where the weights are not those that were scored."""
    if about.refit is None:
        return ""
    return f"""
The weights were trained again on training and validation together ({about.refit:,} images). The scores and the
temperature are of the network that was trained without validation, on {about.cell.train_size:,} images.
"""


def _references() -> str:
    """What is told about, and travels with, the training images."""
    return """
`references.safetensors` holds the ids, labels and thumbnails of training images. With it, `predict` tells how far an
image is from them (`distance`), and which percentage of the validation images was nearer (`percentile`). This is a
hint and not a test: several kinds of foreign images are not recognised by it. `skythaw explain` shows the nearest
training images.
"""


def _onnx(about: BundleDescription) -> str:
    """How to use the graph without skythaw."""
    pixels, count = about.cell.pixels, about.cell.pixels.inputs
    return f"""
`model.onnx` takes `image`, float32 [batch, {count}, {pixels.size}, {pixels.size}] (batch, band, y, x; rows from the
top), and gives `probability` [batch, {len(about.classes)}], calibrated, in the order of the classes in `bundle.json`.
Do this before: cut out the centre (it begins at pixel (side - {pixels.crop}) // 2), scale the values to 0..1 (divide
8-bit values by 255), stretch them, and resize the image where the sizes differ. The graph normalises by itself. It also
gives `features` [batch, {about.features}], from which the probabilities come: the network's last map, averaged over the
image.
{_without_numbers(about)}"""


def _without_numbers(about: BundleDescription) -> str:
    """What the graph leaves out."""
    if about.numbers is None:
        return ""
    return """
The graph judges images alone: the model of the numbers is not in it, but in `numbers.safetensors`, which skythaw reads.
"""


def _classes(about: BundleDescription) -> str:
    per_class = about.scores["per_class"]
    rows = []
    for name in about.classes:
        values = " | ".join(interval(per_class[name][score]) for score in ("precision", "recall", "f1"))
        rows.append(f"| {_text(name)} | {values} |")
    return "\n".join(rows)


def _text(name: str) -> str:
    """A user's word in Markdown: never HTML, and never a part of the table around it."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", escape(name, quote=False))


def _listed(names: tuple[str, ...]) -> str:
    names = tuple(map(_text, names))
    return ", ".join(names[:-1]) + f" or {names[-1]}"

"""What a model card says of the numbers beside the image."""

from __future__ import annotations

from typing import Any

from skythaw.bundle.bundle_file import BundleDescription
from skythaw.bundle.numbers_wanted import NumbersWanted

UNITS = {
    "magnitude": "magnitudes",
    "luptitude": "asinh magnitudes (luptitudes)",
    "flux": "fluxes, in the unit of the training",
    "number": "numbers as they are",
}
"""by kind"""
MODELS = {"forest": "a forest", "boosting": "gradient boosting", "linear": "logistic regression"}


def numbers_section(about: BundleDescription) -> str:
    """The section; empty of a classifier on images alone."""
    if about.numbers is None:
        return ""
    wants, record = NumbersWanted(about), about.numbers
    own = int(wants.is_measured.sum())
    parts = []
    if wants.settings.columns:
        parts.append(f"the columns below, and the colours that they form ({len(record.names) - own} numbers)")
    if own:
        parts.append(f"{own} numbers that are measured from the image itself, if it has at least "
                     f"{about.expected.side} pixels a side")  # fmt: skip
    return f"""
## Numbers beside the image

The classifier takes {" and ".join(parts)}.
The network judges the image, {MODELS[record.model]} judges the numbers, and {_fusion(about)}.
An object without its numbers is judged by its image alone, and one without an image by its numbers alone; the column
`inputs` of a prediction says which (`both`, `images` or `table`).
{_columns(wants)}{_how(wants)}
| judged by | macro-F1 | accuracy |
|---|---|---|
{_score("image and numbers", about.scores)}
{_score("the image alone", record.scores["images"])}
{_score("the numbers alone", record.scores["table"])}
"""


def _fusion(about: BundleDescription) -> str:
    assert about.numbers is not None
    if about.numbers.fusion == "mean":
        return "the mean of their probabilities is the answer"
    return "a logistic regression on their probabilities, fitted on objects that neither had seen, gives the answer"


def _columns(wants: NumbersWanted) -> str:
    if not wants.settings.columns:
        return ""
    rows = [f"| `{name}` | {UNITS[wants.record.kinds[name].partition('/')[0]]} |" for name in wants.settings.columns]
    rows += [f"| `{name}` | extinction of `{of}`, magnitudes |" for of, name in wants.settings.extinction.items()]
    return "\n| column | holds |\n|---|---|\n" + "\n".join(rows) + "\n"


def _how(wants: NumbersWanted) -> str:
    if not wants.settings.columns:
        return ""
    example = ", ".join(f'"{name}": [...]' for name in wants.columns[:2]) + (", ..." if len(wants.columns) > 2 else "")
    return f"""
The columns are read from the Parquet file of the images, or from a catalogue (CSV, ECSV, VOTable, FITS or Parquet) that
is joined by `object_id`, or by `ra` and `dec` within {wants.settings.radius:g} arcsec. A missing value is empty, NaN or
-9999.

    skythaw predict this/folder IMAGES... --table catalogue.csv -o predictions.parquet

    p = classifier.predict(["one.jpg", ...], table={{{example}}})   # one row an image
"""


def _score(name: str, scores: dict[str, Any]) -> str:
    return f"| {name} | {interval(scores['macro_f1'])} | {interval(scores['accuracy'])} |"


def interval(score: dict[str, Any]) -> str:
    """A score with its interval, where it has one."""
    if score.get("low") is None:
        return f"{score['mean']:.3f}"
    return f"{score['mean']:.3f} ({score['low']:.3f} to {score['high']:.3f})"

"""skythaw: which layers to fine-tune, and with how many images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skythaw.bundle.classifier import Classifier


def load(bundle: Path | str, *, device: str = "auto") -> Classifier:
    """Open a bundle: a fine-tuned classifier that `skythaw export` wrote.

    Parameters
    ----------
    bundle
        its folder
    device
        ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``

    Returns
    -------
    Classifier
        ``classifier.predict(images)`` gives probabilities [object, class]

    Raises
    ------
    BundleError
        It is no bundle, is damaged, or its parts do not belong together.
    """
    from skythaw.bundle import classifier

    return classifier.load(bundle, device=device)

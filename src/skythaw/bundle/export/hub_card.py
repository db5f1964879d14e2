"""What a model card says to the Hugging Face Hub of its licence: by a name that the Hub knows, and never invented."""

from __future__ import annotations

import re
from typing import Any

from huggingface_hub import ModelCard

from skythaw.bundle.bundle_file import BundleDescription
from skythaw.errors import BundleError, SpecError, nearest

_NAMES = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
    lgpl lgpl-2.1 lgpl-3.0 lgpl-lr isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by
    odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl
"""
LICENCES = frozenset(_NAMES.split())
"""as the Hub calls them: https://huggingface.co/docs/hub/repositories-licenses"""
OTHER = "other"


def licence_fields(licence: str) -> dict[str, Any]:
    """How a card states a licence of weights, whose name may be none that the Hub knows."""
    if licence.lower() in LICENCES:
        return {"license": licence.lower()}
    return {"license": OTHER, "license_name": licence}


def hub_card(
    text: str, about: BundleDescription, repository: str, *, licence: str | None, datasets: tuple[str, ...]
) -> str:
    """The card of a bundle as it stands on the Hub.

    Parameters
    ----------
    text
        the bundle's own card, which its owner may have changed
    about
        what the bundle says of itself
    repository
        OWNER/NAME
    licence
        of the classifier: a name that the Hub knows, or the address of its text; None: as the card says, or as the
        pretrained weights have it
    datasets
        OWNER/NAME of those on the Hub that the classifier was trained on

    Raises
    ------
    SpecError
        The licence is not known, or has no name that the Hub knows: that of the card, too, which is never replaced.
    BundleError
        The card has no header of YAML.
    """
    try:
        card = ModelCard(text)
    except Exception as error:  # YAML has errors of its own
        why = str(error).partition("\n")[0]
        raise BundleError(f"the header of the bundle's README.md is no YAML ({why}); export the bundle again") from None
    said = str(card.data.get("license") or "").lower()
    if licence is not None:
        _state(card, licence)
    elif said not in LICENCES and not (said == OTHER and card.data.get("license_link")):
        own = card.data.get("license_name") or said
        if own and own != about.licence:
            raise SpecError(
                f"the card states the licence {own!r}, which is none that the Hub knows, and no license_link: say "
                "which one it is, with --licence and a name such as cc-by-4.0, or the address of its text"
            )
        if about.licence.lower() not in LICENCES:
            raise SpecError(
                f"the licence of the pretrained weights is {about.licence!r}, which is none that can be stated: say "
                "which one the classifier has, with --licence and a name such as apache-2.0 or cc-by-4.0, or the "
                "address of its text"
            )
        _state(card, about.licence)
    if datasets:
        vars(card.data)["datasets"] = list(datasets)
    return str(card).replace("this/folder", f"hf://{repository}")


def _state(card: ModelCard, licence: str) -> None:
    name = licence.strip()
    stated: dict[str, str | None] = {"license": name.lower(), "license_name": None, "license_link": None}
    if re.fullmatch(r"https?://\S+", name):
        stated = {"license": OTHER, "license_name": "own", "license_link": name}
    elif name.lower() not in LICENCES:
        raise SpecError(f"--licence {name!r} is none that the Hub knows; {nearest(name.lower(), LICENCES)}")
    for field, value in stated.items():
        setattr(card.data, field, value)

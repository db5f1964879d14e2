"""Which network a wrong name probably means: one of ours, of timm's, or of the Hub's that we know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import PurePath

from skythaw.backbones.hub_catalogue import HUB_ENCODERS
from skythaw.backbones.hub_files import REPOSITORY

FORMS = {
    "timm": "timm:NAME",
    "torchvision": "torchvision:NAME",
    "local-dir": "local-dir:PATH",
    "hf_hub": "hf_hub:OWNER/NAME",
    "hf-hub": "hf_hub:OWNER/NAME",
}
"""how a name is written, by its prefix"""
FILES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".h5", ".hdf5", ".keras", ".onnx")
SHORTEST = 3
"""letters of a part of a name"""
TYPING_ERROR, RELATIVE = 0.85, 0.6
"""how alike names are, at least"""


def meant(name: str, known: Sequence[str]) -> str:
    """What was probably meant, as the end of a message; the first of these that is found.

    A prefix without a name, a path, a model of the Hub, the same letters in other case, a name with a typing error, the
    shortest name that holds this one, a name that is a little like it.
    """
    plain = name.strip().removeprefix("timm:").partition("@")[0]
    plain = plain.removeprefix("https://huggingface.co/").removeprefix("hf://")  # that of a classifier or of data
    if form := FORMS.get(plain.rstrip(":")) or FORMS.get(name.strip().rstrip(":")):
        return f"write {form}"
    if plain.endswith(FILES):
        return 'a file of weights goes to [weights]: NETWORK = "FILE"'
    if plain.startswith(("/", ".", "~", "local_dir:")):
        return f"a folder as timm writes it is local-dir:{PurePath(plain.removeprefix('local_dir:'))}"
    if REPOSITORY.fullmatch(plain.rpartition(":")[2]) and "://" not in plain:
        repository = plain.rpartition(":")[2]
        return f"is it a model of the Hugging Face Hub? Then write 'hf_hub:{repository}'"
    found = _nearest(name, known) if plain else None
    rest = "`skythaw backbones` lists ours, and timm:NAME is any network of timm"
    rest = "timm.list_models() shows all" if name.strip().startswith("timm:") else rest
    return f"did you mean {found!r}?" if found else rest


def _nearest(name: str, known: Sequence[str]) -> str | None:
    import timm

    ours = (*known, *(each.name for each in HUB_ENCODERS if each.name.startswith("hf_hub:")))
    names = {each.lower(): each for each in ours}
    names |= {each.name.lower().rpartition("/")[2]: each.name for each in HUB_ENCODERS if "/" in each.name}
    names |= {f"timm:{each}".lower(): f"timm:{each}" for each in (*timm.list_models(), *timm.list_pretrained())}
    name = re.sub(r"\s", "", name.lower())
    names_of_timm = {each: found for each, found in names.items() if each.startswith("timm:")}
    if name.startswith("timm:"):
        names = names_of_timm
    ways = ((names, name), (names_of_timm, f"timm:{name.removeprefix('timm:')}"))
    for table, wanted in ways:
        if wanted in table:
            return table[wanted]
    for cutoff in (TYPING_ERROR, RELATIVE):
        for table, wanted in ways:
            if close := get_close_matches(wanted, table, n=1, cutoff=cutoff):
                return table[close[0]]
        if inside := _holding(name.rpartition(":")[2], names):
            return names[inside]
    return None


def _holding(part: str, names: dict[str, str]) -> str | None:
    """The shortest name that has such a word, or holds such a part; networks that serve tests alone are no answer."""
    found = [each for each in names if len(part) >= SHORTEST and part in each and "test_" not in each]

    def rank(each: str) -> tuple[bool, bool, int, str]:
        words = re.split(r"[_.:/]", each.rpartition(":")[2])
        return words[0] != part, part not in words, len(each), each

    return min(found, key=rank, default=None)

"""Names of classes: which cannot be used, and which look like two spellings of one."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

from skythaw.errors import DataError

LONGEST_CLASS = 100
"""letters"""
NO_LABEL = ("nan", "null", "n/a", "<na>")
"""what stands where there is no label, in lower case"""
NO_LABEL_AS_WRITTEN = ("NA", "None")
"""the same as R and Python write it: pandas, too, reads these as missing; ``none`` may be a class"""
UNLABELLED = "row without a label, kept as unlabelled"
"""what is said of such rows"""


def is_no_label(text: str) -> bool:
    """Whether a text in the place of a label says that there is none. One that holds only blanks is an odd name."""
    plain = text.strip()
    return not text or plain.casefold() in NO_LABEL or plain in NO_LABEL_AS_WRITTEN


def require_plain(names: Iterable[str], where: object) -> None:
    """Raise `DataError` for a name that would do harm in a file, on a page or on a terminal.

    Parameters
    ----------
    names
        of classes
    where
        a file or folder, for the message
    """
    for name in names:
        if odd := _oddness(name):
            shown = ascii(name if len(name) <= LONGEST_CLASS else name[:40] + "...")
            raise DataError(f"{where}: the class name {shown} {odd}; rename this class")


def look_alikes(labels: Iterable[str | None]) -> list[dict[str, int]]:
    """Names that differ only in case, blanks, underscores, hyphens, a plural s or their form in Unicode.

    Parameters
    ----------
    labels
        of the objects; those without one count nowhere

    Returns
    -------
    list of dict
        for each set of such names: objects by name, the commonest first
    """
    alike: dict[str, Counter[str]] = defaultdict(Counter)
    for name, count in Counter(label for label in labels if label is not None).items():
        alike[_essence(name)][name] += count
    return [dict(sorted(names.items(), key=_rank)) for _, names in sorted(alike.items()) if len(names) > 1]


def merged_names(labels: Iterable[str | None]) -> dict[str, str]:
    """The commonest spelling for each name that has several, by name; only for those that change."""
    found: dict[str, str] = {}
    for names in look_alikes(labels):
        first, *others = names
        found |= dict.fromkeys(others, first)
    return found


def say_alike(names: dict[str, int]) -> str:
    """One set of look-alikes, in words."""
    return " and ".join(f"{name!r} ({count})" for name, count in names.items())


def _rank(name_and_count: tuple[str, int]) -> tuple[int, bool, str]:
    """The commonest first; of several, one without blanks around it."""
    name, count = name_and_count
    return -count, name != name.strip(), name


def _oddness(name: str) -> str | None:
    """What is wrong with a name, as the rest of a sentence."""
    if not name.strip():
        return "is empty" if not name else "holds only blanks"
    if len(name) > LONGEST_CLASS:
        return f"has {len(name)} characters; {LONGEST_CLASS} are allowed"
    if hidden := next((c for c in name if not c.isprintable()), None):
        return f"holds a character that cannot be seen ({hidden!a}: {_called(hidden)})"
    if name.startswith("."):
        return "begins with a dot, as hidden files do"
    if name[0] in "/\\":
        return f"begins with {name[0]!r}, as paths do"
    return None


def _called(character: str) -> str:
    usual = {"\n": "line end", "\r": "line end", "\t": "tab", "\0": "NUL"}
    return usual.get(character) or unicodedata.name(character, "control character").lower()


def _essence(name: str) -> str:
    """What look-alike names have in common."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()
    plain = re.sub(r"(?<=[^\W\d])[\s_-]+(?=[^\W\d])", "", plain)
    plain = re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", plain)
    if plain.endswith("ies") and len(plain) > 4:
        return plain[:-3] + "y"
    return plain[:-1] if re.search(r"\w\w[^\W\ds]s$", plain) else plain

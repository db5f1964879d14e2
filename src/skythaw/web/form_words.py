"""What `tune` says to who types commands, in the words of the start page's form."""

from __future__ import annotations

import re

WORDS = (
    (r"--skip-broken", "the box “Leave out images that can't be read”"),
    (r"--budget (\d\S*)", r"\1 as the time"),
    (r"the same command with (twice the|a larger) --budget", r"the same form with \1 time"),
    (r"choose another --out", "choose another folder under “What comes out”"),
    (r"leave out --labels", "leave out the labels"),
    (r"--labels (CSV|TABLE|FILE)", "under “Labels”"),
)
"""options of the command, each with what the form has for it"""


def in_form_words(text: str) -> str:
    """A sentence of `tune`, with the fields of the form in place of options.

    Examples
    --------
    >>> in_form_words("a budget of 3 s is too small, so say --budget 2m")
    'a budget of 3 s is too small, so say 2m as the time'
    """
    for option, words in WORDS:
        text = re.sub(option, words, text)
    return text

"""How a run shows itself in a notebook: a small card of text and one short table, which no browser can choke on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from skythaw.report.number_format import percent, say

SHOWN = 12
"""rows of the table in a notebook, at most"""
CARD = (
    "border:1px solid color-mix(in srgb, currentColor 30%, transparent);border-radius:8px;"
    "padding:10px 14px;max-width:52rem;line-height:1.45"
)


class Answer(str):
    """The answer of a run in one sentence; a notebook shows it as a card with the sentences behind it.

    Attributes
    ----------
    sentences
        the whole answer, as the report has it
    """

    __slots__ = ("sentences",)
    sentences: tuple[str, ...]

    def __new__(cls, text: str, sentences: Iterable[str] = ()) -> Answer:
        made = super().__new__(cls, text)
        made.sentences = tuple(sentences)
        return made

    def _repr_html_(self) -> str:
        return f'<div style="{CARD}">{in_html(self)}</div>'


def in_html(answer: Answer) -> str:
    """The sentence in bold, and under it the sentences behind it."""
    behind = "".join(f"<li>{escape(each)}</li>" for each in answer.sentences)
    more = f'<ul style="margin:.4em 0 0;padding-left:1.2em">{behind}</ul>' if behind else ""
    return f"<strong>{escape(answer)}</strong>{more}"


def run_in_html(name: str, answer: Answer, rows: Sequence[tuple[dict[str, Any], bool]], foot: str) -> str:
    """A run as a card.

    Parameters
    ----------
    name
        of the study
    answer
        of the run
    rows
        of the report, each with whether it is recommended
    foot
        where the run is, and how far
    """
    head = "".join(f"<th>{each}</th>" for each in ("network", "images", "depth", "macro-F1", "accuracy"))
    body = "".join(_row(row, chosen) for row, chosen in rows[:SHOWN])
    more = f"<p>{len(rows) - SHOWN} more rows: run.table()</p>" if len(rows) > SHOWN else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}" if rows else ""
    small = f'<p style="margin:.5em 0 0;opacity:.8"><small>{escape(foot)}</small></p>'
    return f'<div style="{CARD}"><div>{escape(name)}</div>{in_html(answer)}{table}{small}</div>'


def _row(row: dict[str, Any], chosen: bool) -> str:
    cells = (
        row["network"],
        f"{row['train_size']:,}",
        f"{row['depth']} of {row['blocks']}",
        say(row["macro_f1"]["mean"]),
        percent(row["accuracy"]["mean"]),
    )
    style = ' style="font-weight:bold"' if chosen else ""
    return f"<tr{style}>" + "".join(f"<td>{escape(str(each))}</td>" for each in cells) + "</tr>"

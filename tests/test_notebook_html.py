"""What a notebook shows is HTML: no name, label or sentence of anybody's becomes a tag of it."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

from skythaw.api.run_card import Answer, run_in_html
from skythaw.bundle.predicted import PredictedClasses

HOSTILE = (
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href='javascript:alert(1)'>here</a>",
    "<style>*{display:none}</style>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<form action=//evil.example><input name=token>",
    "<object data=//evil.example>",
    "<math><mi//xlink:href='data:x,<script>alert(1)</script>'>",
    "<template><script>alert(1)</script></template>",
    "<!--",
    "--><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "</td></tr></table><script>alert(1)</script>",
    "</style></div><script>alert(1)</script>",
    "</pre><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "`onclick=alert(1)`",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "&amp;lt;b&amp;gt;",
    "<b>bold</b>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<\u017fcript>alert(1)</\u017fcript>",
    "\uff1cscript\uff1ealert(1)\uff1c/script\uff1e",
    "{{ 7 * 7 }} {% include '/etc/passwd' %} ${alert(1)}",
    "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>&y;",
    "\u202egnp.<b>",
    "<" * 1000,
)
OURS = {"div", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "p", "small"}


class Seen(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.odd: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        self.odd.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def shown(text: str) -> dict[str, str]:
    """Everything that shows itself in a notebook, with a text wherever one may stand."""
    row = {
        "network": text,
        "train_size": 100,
        "depth": 1,
        "blocks": 2,
        "macro_f1": {"mean": 0.5},
        "accuracy": {"mean": 0.5},
    }
    answer = Answer(text, (text, text))
    p = PredictedClasses.of(np.array([[0.6, 0.4]], np.float32), [text], (text, "other"))
    return {
        "an answer": answer._repr_html_(),
        "a run": run_in_html(text, answer, [(row, True)], text),
        "predictions": p._repr_html_(),
    }


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_words_stay_words(text):
    for what, html in shown(text).items():
        seen = Seen(html)
        assert seen.tags <= OURS, what
        assert seen.attributes <= {"style"}, what
        assert seen.odd == [], what
        assert text in seen.text, f"{what}: it is shown as it is"

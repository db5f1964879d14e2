"""What axe-core finds wrong with a page in a browser, for those who see, hear or click differently."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

RUN = """
const done = arguments[arguments.length - 1];
const report = (found) => done(found.violations.map(
  (v) => `${v.id} (${v.nodes.length}): ` + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(" | ")
));
axe.run(document, {iframes: false}).then(report, (error) => done([String(error)]));
"""


def script():
    """The newest axe-core that a package has brought here."""
    for package in ("axe_playwright_python", "axe_core_python"):
        if spec := find_spec(package):
            return Path(spec.submodule_search_locations[0], "axe.min.js").read_text(encoding="utf-8")
    return pytest.skip("needs axe-core: pip install axe-core-python")


def findings(window):
    """Everything that axe-core finds on the page that a browser shows."""
    window.driver.execute_script(script())
    window.driver.set_script_timeout(180)  # a long page, on a busy machine
    return window.driver.execute_async_script(RUN)

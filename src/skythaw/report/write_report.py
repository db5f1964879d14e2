"""The report of a run folder as files: the public function beneath ``skythaw report``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

from skythaw.data.cutouts import read_cutouts
from skythaw.errors import DataError
from skythaw.machine.files import replacing
from skythaw.machine.package_version import version_of
from skythaw.report.figures.elements import Page, figures_of
from skythaw.report.figures.matplotlib_figures import save_figure, save_figures
from skythaw.report.figures.object_pictures import pictures
from skythaw.report.figures.report_figures import report_figures
from skythaw.report.page.html_page import save_page
from skythaw.report.page.page_sections import make_page, wanted_images
from skythaw.report.page.report_tables import report_tables
from skythaw.report.page.table_files import as_csv, depths_as_latex
from skythaw.report.recommendations import Facts
from skythaw.report.report_facts import report_facts
from skythaw.report.statistics.depth_contest import MARGIN
from skythaw.spec import Pixels
from skythaw.study.ledger import Ledger
from skythaw.study.ledger_rows import Entry


@dataclass(frozen=True)
class ReportFiles:
    """Which files are wanted of a report, and where."""

    html: Path | None = None
    """the whole report as one page"""
    figures: Path | None = None
    """a folder: every figure as PNG and SVG"""
    csv: Path | None = None
    """a folder: the tables as CSV"""
    latex: Path | None = None
    """the table of depths"""
    picture: Path | None = None
    """scores against depth: .png, .svg or .pdf"""


def write_report(run: Path, files: ReportFiles, margin: float = MARGIN, data: Sequence[Path] = ()) -> Facts:
    """Report on a run folder: its facts, and the files that are wanted of them.

    Parameters
    ----------
    run
        the run folder
    files
        what to write
    margin
        macro-F1 that a shallower depth may lose and still be recommended
    data
        where the images are, if the study's files have moved

    Returns
    -------
    dict
        the facts of the report (`skythaw.report.report_facts.report_facts`)

    Raises
    ------
    LedgerError
        It is no run folder.
    DataError
        There is no such file of data; no cell is done yet, so that a file would be empty; a package is missing.
    OutputError
        A file can't be written.
    """
    for path in data:
        read_cutouts(path, need_labels=False)  # a wrong name is refused before anything is written
    with Ledger.read(run) as ledger:
        facts = report_facts(ledger, margin)
        paths, entries = data or data_files(ledger), ledger.entries()
    wanted = [file for each in fields(files) if (file := getattr(files, each.name)) is not None]
    if wanted and not facts["rows"]:
        raise DataError(f"no cell of the study is done yet: {wanted[0]} would be empty")
    if files.html or files.figures:
        page = build_page(facts, paths, _chosen(entries, facts).cell.pixels)
        if files.html:
            save_page(page, files.html)
        if files.figures:
            save_figures(figures_of(page), files.figures)
    if files.picture:
        save_figure(report_figures(facts).depth, files.picture)
    if files.csv:
        tables = report_tables(facts)
        _save(files.csv / "depths.csv", as_csv(tables.depths))
        _save(files.csv / "pairs.csv", as_csv(tables.pairs))
    if files.latex:
        _save(files.latex, depths_as_latex(facts))
    return facts


def _chosen(entries: Sequence[Entry], facts: Facts) -> Entry:
    """A cell of the choice, whose mistakes the page shows; the first of all where there is no choice."""
    keys = facts["choice"]["keys"] if facts["choice"] else ()
    return next((each for each in entries if each.key in keys), entries[0])


def data_files(ledger: Ledger) -> list[Path]:
    """The study's files of images; they may have moved since."""
    return [Path(each) for each in (ledger.remark("data") or {}).values() if each]


def build_page(facts: Facts, paths: Iterable[Path], pixels: Pixels) -> Page:
    """The page of a report, with pictures of objects.

    Parameters
    ----------
    facts
        of the report; at least one row
    paths
        files of cutouts in which to look for the objects
    pixels
        what the networks got of them: crop, bands, stretch
    """
    return make_page(facts, pictures(paths, wanted_images(facts), pixels), version_of("skythaw"), date.today())


def _save(file: Path, text: str) -> None:
    with replacing(file) as out:
        out.write(text.encode())

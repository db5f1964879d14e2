"""What a study gave: `Run`, over a run folder or over the folder that `skythaw tune` writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skythaw.api.run_card import Answer, run_in_html
from skythaw.api.run_plots import RunPlots
from skythaw.errors import LedgerError
from skythaw.report.page.report_tables import ordered_rows
from skythaw.report.plain_answer import plain_answer
from skythaw.report.report_facts import report_facts
from skythaw.report.short_answer import short_answer
from skythaw.report.tables_out import as_table
from skythaw.stats.cell_predictions import predictions_path
from skythaw.study.ledger import Ledger

if TYPE_CHECKING:
    import astropy.table
    import pandas

    from skythaw.bundle.classifier import Classifier

LEDGER = "ledger.sqlite"
ENDED = ("done", "failed")
"""states of a cell that is not to run"""
SCORES = ("macro_f1", "accuracy", "log_loss")
NAMES = ("network", "backbone", "weights", "strategy", "inputs")
PLAIN = (*NAMES, "train_size", "depth", "blocks", "tpr", "tlr", "tfr", "seeds", "converged")


class Run:
    """A run that is finished, or under way: its answer, its numbers, its figures and its classifier.

    Parameters
    ----------
    folder
        a run folder (``skythaw study run``), or the folder of ``skythaw tune``, which has one in it

    Attributes
    ----------
    folder
        as it was given
    ledger_folder
        the run folder itself
    plot
        figures: ``run.plot.depth(ax=ax)``, ``.learning()``, ``.confusion()``, ``.sizes()``, ``.calibration()``

    Raises
    ------
    LedgerError
        There is no run in the folder.

    Examples
    --------
    >>> from skythaw import Run
    >>> Run("no-such-folder")
    Traceback (most recent call last):
        ...
    skythaw.errors.LedgerError: no-such-folder is not a run folder: there is no ledger.sqlite in it, nor in \
no-such-folder/run (see: skythaw study run, skythaw tune)
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        places = (self.folder, self.folder / "run")
        found = next((each for each in places if (each / LEDGER).is_file()), None)
        if found is None:
            raise LedgerError(
                f"{self.folder} is not a run folder: there is no {LEDGER} in it, nor in {places[1]} "
                "(see: skythaw study run, skythaw tune)"
            )
        self.ledger_folder = found
        self.plot = RunPlots(lambda: self.facts)
        self._made: tuple[dict[str, str], dict[str, Any]] | None = None
        self._loaded: Classifier | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that the report says, as ``skythaw report --json`` has it; made again when cells have ended."""
        with Ledger.read(self.ledger_folder) as ledger:
            ended: dict[str, str] = {entry.key: entry.state for entry in ledger.entries() if entry.state in ENDED}
            if self._made is None or self._made[0] != ended:
                self._made = ended, report_facts(ledger)
        return self._made[1]

    @property
    def answer(self) -> Answer:
        """What to use and how good it is, in one sentence; ``answer.sentences`` is the whole answer."""
        choice = self.facts["choice"]
        return Answer(short_answer(choice), plain_answer(choice))

    def table(self, format: Literal["pandas", "astropy"] = "pandas") -> pandas.DataFrame | astropy.table.Table:
        """Every setting that was tried, with its scores on test: a row for each network, images and depth.

        Parameters
        ----------
        format
            ``pandas`` gives a DataFrame, ``astropy`` a Table

        Returns
        -------
        pandas.DataFrame or astropy.table.Table
            ``macro_f1_low`` and ``macro_f1_high`` are the ends of the 95 % interval, NaN where it is not known
        """
        axes = list(self.facts["axes"])
        rows = [
            {name: row[name] for name in (*PLAIN, *axes)}
            | {"recommended": chosen}
            | {
                f"{score}{end and '_' + end}": row[score].get(end or "mean")
                for score in SCORES
                for end in ("", "low", "high")
            }
            | {name: row[name] for name in ("peak_epoch", "gap", "seconds")}
            for row, chosen in ordered_rows(self.facts)
        ]
        return as_table(rows, format)

    @property
    def classifier(self) -> Classifier:
        """The recommended classifier, loaded.

        It is the bundle ``classifier`` in the run's folder; where there is none yet, or one of a cell that is no longer
        recommended, it is exported there first.
        """
        if self._loaded is None:
            from skythaw.bundle.classifier import load

            self._loaded = load(self._bundle())
        return self._loaded

    @property
    def report(self) -> Path:
        """The report as a web page: the file of the run's folder, made if it is not there or older than a cell."""
        page = self.folder / "report.html"
        if not page.is_file() or page.stat().st_mtime_ns < self._newest_cell():
            from skythaw.report.write_report import ReportFiles, write_report

            write_report(self.ledger_folder, ReportFiles(html=page))
        return page

    def _newest_cell(self) -> int:
        """When the last of the done cells was predicted, as files have it; 0 where none has a file."""
        with Ledger.read(self.ledger_folder) as ledger:
            done = [entry.key for entry in ledger.entries() if entry.state == "done"]
        files = [predictions_path(self.ledger_folder, key) for key in done]
        return max((file.stat().st_mtime_ns for file in files if file.is_file()), default=0)

    def _bundle(self) -> Path:
        """The folder of the classifier, exported where it is not there or is of a cell that is recommended no more."""
        from skythaw.bundle.bundle_file import ABOUT, read_about
        from skythaw.bundle.export.choose_cell import choose
        from skythaw.bundle.export.export_bundle import export

        bundle = self.folder / "classifier"
        there = (bundle / ABOUT).is_file()
        if there and self.ledger_folder != self.folder:
            return bundle  # `tune` has chosen it
        with Ledger.read(self.ledger_folder) as ledger:
            wanted = choose(ledger.entries(), self.facts, None, None, self.ledger_folder).key
        if not there or read_about(bundle).cell.key != wanted:
            export(self.ledger_folder, bundle, onnx=False)
        return bundle

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder,)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}): {self._done()}. {self.answer}"

    def _done(self) -> str:
        cells = self.facts["cells"]
        failed = f", {cells['failed']} failed" if cells["failed"] else ""
        return f"{cells['done']} of {cells['cells']} cells done{failed}"

    def _repr_html_(self) -> str:
        facts = self.facts
        foot = f"{self._done()}, in {self.folder}"
        return run_in_html(str(facts["name"]), self.answer, ordered_rows(facts), foot)

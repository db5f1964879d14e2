"""Tables of a report as files for papers: CSV and LaTeX."""

from __future__ import annotations

import csv
import io

from skythaw.report.figures.elements import Table
from skythaw.report.number_format import percent, with_interval
from skythaw.report.page.report_tables import ordered_rows
from skythaw.report.recommendations import Facts, network_rows, shown_axes


def as_csv(table: Table) -> str:
    """A table as CSV, numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(tuple("" if value is None else value for value in row) for row in table.rows)
    return out.getvalue()


def depths_as_latex(facts: Facts) -> str:
    """The depths of every network as a LaTeX table (package booktabs), the recommended ones in bold."""
    head = ("Network", "Images", "Depth", "TPR", "TLR", "Macro-$F_1$", "Accuracy")
    lines = [r"\begin{tabular}{lrrrrll}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    several = len({row["strategy"] for row in network_rows(facts)}) > 1
    for row, chosen in ordered_rows(facts):
        also = [row["strategy"]] if several else []
        cells = [
            _escaped(", ".join([row["network"], *also, *(f"{axis} {row[axis]}" for axis in shown_axes(facts))])),
            f"{row['train_size']}",
            f"{row['depth']}/{row['blocks']}",
            _escaped(percent(row["tpr"])),
            _escaped(percent(row["tlr"])),
            with_interval(row["macro_f1"]).replace("±", r"$\pm$"),
            with_interval(row["accuracy"]).replace("±", r"$\pm$"),
        ]
        lines.append(" & ".join(rf"\textbf{{{cell}}}" if chosen else cell for cell in cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    """Text with LaTeX's own characters made harmless."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)

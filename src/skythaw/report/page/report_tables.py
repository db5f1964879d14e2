"""The tables of a report, also as CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from typing import Any

from skythaw.report.figures.elements import Table, Value
from skythaw.report.figures.score_figures import identity_of
from skythaw.report.sentences import Facts, main_choices, percent, row_of, with_interval


def depth_table(facts: Facts) -> Table:
    """Every row of the report."""
    axes = facts["axes"]
    columns = (
        "network",
        "strategy",
        "images",
        "depth",
        "blocks",
        *axes,
        "TPR (%)",
        "TLR (%)",
        "TFR (%)",
        "macro-F1",
        "low",
        "high",
    )
    columns += ("accuracy", "log loss", "peak epoch", "gap", "seconds", "seeds", "recommended")
    chosen = {_same(facts, each) for each in facts["recommended"]}
    rows: list[tuple[Value, ...]] = [
        (
            row["backbone"],
            row["strategy"],
            row["train_size"],
            row["depth"],
            row["blocks"],
            *(row[axis] for axis in axes),
            *(None if row[ratio] is None else 100 * row[ratio] for ratio in ("tpr", "tlr", "tfr")),
            row["macro_f1"]["mean"],
            row["macro_f1"]["low"],
            row["macro_f1"]["high"],
            row["accuracy"]["mean"],
            row["log_loss"]["mean"],
            row["peak_epoch"],
            row["gap"],
            row["seconds"],
            row["seeds"],
            "yes" if _same(facts, row) in chosen else "",
        )
        for row in _ordered(facts)
    ]
    return Table(
        "Every depth, on the test set; low and high are of the 95 % interval of macro-F1", columns, tuple(rows)
    )


def peak_table(facts: Facts) -> Table:
    """How each network's training went at its recommended depth."""
    columns = (
        "network",
        "depth",
        "accuracy on validation",
        "kept epoch",
        "gap",
        "accuracy on test",
        "seconds",
        "seeds",
    )
    rows = []
    for choice in main_choices(facts):
        row = row_of(facts, choice)
        validation, test = with_interval(row["validation_accuracy"]), with_interval(row["accuracy"])
        numbers = (row["peak_epoch"], row["gap"], test, row["seconds"], row["seeds"])
        rows.append((choice["backbone"], choice["depth"], validation, *numbers))
    return Table(
        "Peaks: validation accuracy, when it was reached, and how far training was ahead", columns, tuple(rows)
    )


def _ordered(facts: Facts) -> list[dict[str, Any]]:
    return sorted(facts["rows"], key=lambda row: (row["backbone"], row["strategy"], row["train_size"], row["depth"]))


def _same(facts: Facts, row: dict[str, Any]) -> tuple[Any, ...]:
    return (*identity_of(facts, row), row["depth"])


def pair_table(facts: Facts) -> Table:
    """Every pair of depths of every network."""
    columns = ("network", "strategy", "images", "a", "b", "b less a", "low", "high", "p", "p (Holm)")
    rows = [
        (
            c["backbone"],
            c["strategy"],
            c["train_size"],
            pair["a"],
            pair["b"],
            *(pair["macro_f1"][name] for name in ("difference", "low", "high", "p", "p_holm")),
        )
        for c in facts["comparisons"]
        for pair in c["pairs"]
    ]
    return Table("Pairs of depths: difference in macro-F1 on the same objects", columns, tuple(rows))


def probe_table(facts: Facts) -> Table:
    rows = tuple(
        (each["backbone"], each["train_size"], with_interval(each["macro_f1"]), with_interval(each["accuracy"]))
        for each in facts["probes"]
    )
    columns = ("network", "images", "macro-F1", "accuracy")
    return Table("The linear probe solved exactly: what depth 0 comes to without a learning rate", columns, rows)


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
    chosen = {_same(facts, each) for each in facts["recommended"]}
    lines = [r"\begin{tabular}{lrrrrll}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    several = len({row["strategy"] for row in facts["rows"]}) > 1
    for row in _ordered(facts):
        also = [row["strategy"]] if several else []
        cells = [
            _escaped(", ".join([row["backbone"], *also, *(f"{axis} {row[axis]}" for axis in facts["axes"])])),
            f"{row['train_size']}",
            f"{row['depth']}/{row['blocks']}",
            _escaped(percent(row["tpr"])),
            _escaped(percent(row["tlr"])),
            with_interval(row["macro_f1"]).replace("±", r"$\pm$"),
            with_interval(row["accuracy"]).replace("±", r"$\pm$"),
        ]
        bold = _same(facts, row) in chosen
        lines.append(" & ".join(rf"\textbf{{{cell}}}" if bold else cell for cell in cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    """Text with LaTeX's own characters made harmless."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)

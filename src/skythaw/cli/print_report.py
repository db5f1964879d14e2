"""A report on the terminal: the answer, and the tables behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from skythaw.cli.terminal import percent, say, say_wrapped, warn
from skythaw.cli.terminal_table import TerminalTable, print_table, say_left_out

if TYPE_CHECKING:
    from pathlib import Path

    from skythaw.bundle.bundle_file import BundleDescription
    from skythaw.report.recommendations import Facts, Recommendation

SPARE = ("log loss", "peak epoch", "seconds", "gap", "lr", "over seeds", "TFR", "TLR", "accuracy", "TPR")
"""columns of the table of depths that a narrow terminal does without, in this order"""


def print_answer(facts: Facts) -> None:
    """The plain answer, a sentence a line; nothing where no cell is done."""
    from skythaw.report.plain_answer import plain_answer

    for i, sentence in enumerate(plain_answer(facts["choice"])):
        say_wrapped(sentence if i else f"ANSWER: {sentence}", indent="  ")


def print_outcome(run: Path) -> None:
    """The plain answer of a run folder as far as it is done: what `study run` and `study search` end with."""
    from skythaw.report.report_facts import report_facts
    from skythaw.study.ledger import Ledger

    with Ledger.read(run) as ledger:
        facts = report_facts(ledger)
    say("")
    print_answer(facts)


def print_classifier(about: BundleDescription) -> None:
    """What a bundle is, in the words of the plain answer."""
    from skythaw.report.plain_answer import classifier_in_words

    say_wrapped(
        classifier_in_words(
            {name: getattr(about.cell, name) for name in ("network", "strategy", "depth", "train_size")}
            | {"blocks": about.blocks, "size": about.cell.pixels.size, "scores": about.scores["own"]}
        )
    )
    if about.members:
        say_wrapped(
            f"It is the mean of {len(about.members)} networks (seeds {', '.join(str(m.seed) for m in about.members)}), "
            f"so predicting takes {len(about.members)} times as long. These scores are those of the mean."
        )
    if about.numbers:
        alone = ", ".join(
            f"{name} {about.numbers.scores[name]['own']['macro_f1']:.3f}" for name in about.numbers.scores
        )
        say_wrapped(
            f"It takes {len(about.numbers.names)} numbers beside an image (macro-F1 of each half alone: {alone})."
        )


def print_report(facts: Facts, *, wide: bool = False) -> None:
    """The answer, then what is behind it: networks, depths, claims, and how the numbers were made."""
    from skythaw.report import sentences
    from skythaw.report.number_sentences import control_sentences, input_sentences
    from skythaw.report.recommendations import recommendations
    from skythaw.report.weight_sentences import weight_sentences

    cells = facts["cells"]
    if not facts["rows"]:
        failed = f", {cells['failed']} failed: skythaw study status says why" if cells["failed"] else ""
        say(f"{facts['name']}: no cell is done yet ({cells['cells']} to run{failed})")
        if facts["search"]:
            print_search(facts["search"], wide=wide)
        return
    print_answer(facts)
    say("")
    for warning in facts["warnings"]:
        warn(warning)
    recommended = recommendations(facts)
    left_out = _print_networks([each for each in recommended if each.choice["main"]], wide)
    if facts["search"]:
        print_search(facts["search"], wide=wide)
    say_wrapped(sentences.race_sentence(facts))
    left_out += _print_depths(facts, recommended, wide)
    say_wrapped(sentences.RATIOS)
    say_left_out(left_out)
    say("")
    if facts["claims"]:
        _print_claims(facts["claims"])
    for said in (weight_sentences, control_sentences, input_sentences, sentences.size_sentences):
        for sentence in said(facts):
            say_wrapped(sentence)
    say_wrapped(sentences.method(facts))
    for alarm in facts["alarms"]:
        where = f"{alarm['network']}, depth {alarm['depth']}, {alarm['train_size']} images, seed {alarm['seed']}"
        say_wrapped(f"ALARM {where}: {alarm['alarm']}")
    say_wrapped(sentences.incomplete(cells))


def _print_networks(main: Sequence[Recommendation], wide: bool) -> list[str]:
    """Where there are several networks, what is recommended for each."""
    from skythaw.report.page.comparison_tables import network_table
    from skythaw.report.page.text_table import text_table

    if len(main) < 2:
        return []
    made = text_table(network_table(main))
    spare = ("strategy", "TLR", "images", "TPR", "may be best")
    table = TerminalTable(made.caption, tuple(name for name, _ in made.columns), 1, spare)
    for row in made.rows:
        table.add(*(cell.text for cell in row))
    return print_table(table, wide=wide)


def _print_depths(facts: Facts, recommended: Sequence[Recommendation], wide: bool) -> list[str]:
    """A table for each network, strategy and training size, and what its depths come to; the columns left out."""
    from skythaw.report.plain_answer import unfinished
    from skythaw.report.sentences import depths_compared

    first: dict[tuple[Any, ...], str] = {}
    left_out: list[str] = []
    for each in recommended:
        choice = each.choice
        first.setdefault((choice["network"], choice["train_size"]), choice["strategy"])
        rows = _rows_beside(facts, each)
        left_out += print_table(_depth_table(facts, each, rows), wide=wide)
        for line in unfinished(rows):
            say_wrapped(line, indent="  ")
        for probe in facts["probes"]:
            if choice["strategy"] == first[choice["network"], choice["train_size"]] and _same(probe, choice):
                say_wrapped(_probe_line(probe, facts["axes"]))
        if each.comparison and choice["main"]:
            say_wrapped(depths_compared(each.comparison))
        say("")
    return left_out


def _rows_beside(facts: Facts, recommended: Recommendation) -> list[dict[str, Any]]:
    """The rows that a recommended one was chosen among, the shallowest first."""
    from skythaw.report.recommendations import network_rows
    from skythaw.report.statistics.report_rows import CONTEST

    rows = [row for row in network_rows(facts) if all(row[name] == recommended.row[name] for name in CONTEST)]
    return sorted(rows, key=lambda row: row["depth"])


def _depth_table(facts: Facts, recommended: Recommendation, rows: Iterable[dict[str, Any]]) -> TerminalTable:
    """Depth against scores for one backbone, strategy and training size; the choice is marked."""
    choice, axes = recommended.row, facts["axes"]
    inputs = "" if choice["inputs"] == "images" else f", inputs {choice['inputs']}"
    title = f"{choice['network']}, {choice['train_size']} training images, strategy {choice['strategy']}{inputs}"
    scores = ("macro-F1", "95 %", "over seeds", "accuracy", "log loss", "lr", "peak epoch", "gap", "seconds")
    table = TerminalTable(title, ("", "depth", *axes, "TPR", "TLR", "TFR", *scores, "seeds", "converged"), spare=SPARE)
    for row in rows:
        table.add(
            "=>" if row is choice else "",
            f"{row['depth']} of {row['blocks']}",
            *(str(row[axis]) for axis in axes),
            *(percent(row[ratio]) for ratio in ("tpr", "tlr", "tfr")),
            f"{row['macro_f1']['mean']:.3f}",
            "-" if row["macro_f1"]["low"] is None else f"{row['macro_f1']['low']:.3f} to {row['macro_f1']['high']:.3f}",
            "-" if row["macro_f1"]["std"] is None else f"± {row['macro_f1']['std']:.3f}",
            *(f"{row[score]['mean']:.3f}" for score in ("accuracy", "log_loss")),
            ", ".join(f"{lr:.3g}" for lr in row["lrs"]),
            "-" if row["peak_epoch"] is None else f"{row['peak_epoch']:.1f}",
            "-" if row["gap"] is None else f"{row['gap']:+.3f}",
            f"{row['seconds']:.1f}",
            f"{row['seeds']}" + (f" ({row['alarms']} alarms)" if row["alarms"] else ""),
            "yes" if row["converged"] else "NO",
            bold=row is choice,
        )
    return table


def _same(probe: dict[str, Any], choice: dict[str, Any]) -> bool:
    return all(probe[name] == choice[name] for name in ("network", "train_size"))


def _probe_line(probe: dict[str, Any], axes: list[str]) -> str:
    settings = "".join(f", {axis} {probe[axis]}" for axis in axes if axis in probe)
    return (
        f"exact linear probe{settings}: macro-F1 {_with_spread(probe['macro_f1'])}, "
        f"accuracy {_with_spread(probe['accuracy'])}, log loss {_with_spread(probe['log_loss'])}"
    )


def _with_spread(score: dict[str, Any]) -> str:
    return f"{score['mean']:.3f}" if score["std"] is None else f"{score['mean']:.3f} ± {score['std']:.3f}"


def _print_claims(claims: list[dict[str, Any]]) -> None:
    """The verdicts; those that can't be told together, in one line."""
    say_wrapped("What the seed study (arXiv 2205.07124) claims, on these data:")
    told = [each for each in claims if each["verdict"] != "cannot be told"]
    for each in told:
        say_wrapped(f"  {each['number']}. {each['claim']} {each['verdict'].upper()}. {each['why']}", indent="     ")
    if untold := [str(each["number"]) for each in claims if each not in told]:
        say_wrapped(f"  Can't be told on these data: claims {', '.join(untold)} (the page says why).", indent="     ")
    say("")


def print_search(standings: list[dict[str, Any]], *, wide: bool = False) -> None:
    """How each setting of a search did, round by round."""
    from skythaw.report.sentences import search_sentence

    columns = ("network", "strategy", "setting", "round", "fate", "seeds", "images", "log loss", "macro-F1", "behind")
    spare = ("strategy", "seeds", "images", "log loss")
    table = TerminalTable("search for the best depth, on validation", columns, 5, spare)
    for each in standings:
        interval = each.get("behind_f1")  # older searches kept that of the log loss
        table.add(
            each["backbone"],
            each["strategy"],
            each["setting"],
            each["round"],
            each["fate"],
            str(each.get("seeds", "-")),
            str(each["images"]),
            _number(each.get("log_loss")),  # the first searches kept none
            _number(each.get("macro_f1")),
            "-" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}",
        )
    say_left_out(print_table(table, wide=wide))
    say_wrapped(search_sentence(standings))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

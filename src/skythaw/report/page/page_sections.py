"""A report as a page: what is said, drawn and tabulated, in the order in which it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from skythaw.report.figures.elements import Figure, Gallery, Page, Picture, Section, Table
from skythaw.report.figures.report_figures import report_figures
from skythaw.report.number_sentences import control_sentences, input_sentences
from skythaw.report.page.comparison_tables import weights_table
from skythaw.report.page.number_tables import class_pair_table, class_table, control_table, inputs_table
from skythaw.report.page.report_tables import report_tables
from skythaw.report.plain_answer import plain_answer, unfinished
from skythaw.report.recommendations import Facts, network_rows
from skythaw.report.sentences import report_sentences
from skythaw.report.weight_sentences import weight_sentences

Part = str | Figure | Table | Gallery


def make_page(facts: Facts, images: Mapping[str, bytes], version: str, today: date) -> Page:
    """The page of a report.

    Parameters
    ----------
    facts
        from `skythaw.report.report_facts.report_facts`; at least one row
    images
        PNG files by object, of those that `wanted_images` names; some may be missing
    version, today
        for the foot
    """
    said, figures, tables = report_sentences(facts), report_figures(facts), report_tables(facts)
    mistakes, sheet = _mistakes(facts, images), _sheet(facts, images)
    sections = (
        _section("depths", "Depths compared", tables.networks, figures.depth, figures.pairs, tables.compared,
                 said.race, unfinished(network_rows(facts)), tables.depths, tables.probes),
        _section("weights", "Weights compared", weight_sentences(facts), weights_table(facts)),
        _section("training", "Training", figures.learning, figures.gap, tables.peaks, tables.alarms),
        _section("classes", "Classes", figures.classes, tables.classes, figures.confusion),
        _section("claims", "What the seed study claims", said.claims, tables.claims, tables.frozen, tables.own_depths,
                 figures.pareto),
        _section("images", "How many images", figures.size, tables.sizes),
        _section("numbers", "Numbers beside the images", control_sentences(facts), input_sentences(facts),
                 control_table(facts), inputs_table(facts), class_table(facts), class_pair_table(facts)),
        _section("failures", "Where it fails", said.failures, figures.errors, mistakes, tables.mistakes),
        _section("calibration", "Probabilities", said.calibration, figures.reliability, tables.calibration),
        _section("robustness", "Would another choice change it?", tables.robustness, tables.early_signs, folded=True),
        _section("search", "The search", said.search, tables.trials, folded=True),
        _section("data", "Data", tables.objects, said.data, sheet, folded=True),
        _section("method", "How the numbers were made", said.method, folded=True),
    )  # fmt: skip
    return Page(
        title=f"{facts['name']}: which layers to fine-tune",
        question=said.question,
        answers=tuple(plain_answer(facts["choice"])),
        figure=figures.ratio,
        sections=tuple(section for section in sections if section.parts),
        foot=f"Made by skythaw {version} on {today.isoformat()} from {facts['cells']['done']} training runs.",
        alarms=said.warnings,
    )


def wanted_images(facts: Facts) -> list[str]:
    """The objects that the page shows."""
    listed = facts["failures"]["listed"] if facts["failures"] else []
    return [*(each["object_id"] for each in listed), *(i for some in facts["data"]["sheet"].values() for i in some)]


def _section(name: str, title: str, *contents: Part | Iterable[Part] | None, folded: bool = False) -> Section:
    """A section of what there is: no empty text, and no table without rows."""
    parts: list[Part] = []
    for each in contents:
        parts += [each] if isinstance(each, str | Figure | Table | Gallery) else each or ()
    there = tuple(each for each in parts if (each.rows if isinstance(each, Table) else each))
    return Section(name, title, there, folded)


def _mistakes(facts: Facts, images: Mapping[str, bytes]) -> list[Gallery]:
    """The objects that are classified most surely, and wrongly."""
    listed = facts["failures"]["listed"] if facts["failures"] else []
    pictures = tuple(
        Picture(
            images[each["object_id"]],
            f"{each['object_id']}: labelled {each['label']}, predicted {each['predicted']} "
            f"(p = {each['p_predicted']:.2f})",
        )
        for each in listed
        if each["object_id"] in images
    )
    return [Gallery("The surest mistakes, as the network saw them", pictures)] if pictures else []


def _sheet(facts: Facts, images: Mapping[str, bytes]) -> list[Gallery]:
    """Some test objects of each class."""
    shown = {
        name: tuple(Picture(images[each], each) for each in ids if each in images)
        for name, ids in facts["data"]["sheet"].items()
    }
    return [Gallery(f"{name}: some of the test set", pictures) for name, pictures in shown.items() if pictures]

"""A report as a page: its sections, in order, from its facts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from skythaw.report import sentences
from skythaw.report.figures import learning_figures, score_figures
from skythaw.report.figures.elements import Answer, Gallery, Page, Picture, Section, Table
from skythaw.report.page import report_tables
from skythaw.report.sentences import Facts, comparison_of, interval, listed, main_choices, percent, with_interval

Parts = list[Any]


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
    sections = [
        Section("depths", "Depths compared", tuple(_depths(facts))),
        Section("claims", "What the seed study claims", tuple(_claims(facts))),
        Section("images", "How many images", tuple(_sizes(facts))),
        Section("training", "Training", tuple(_training(facts))),
        Section("classes", "Classes", tuple(_classes(facts))),
        Section("failures", "Where it fails", tuple(_failures(facts, images))),
        Section("calibration", "Probabilities", tuple(_calibration(facts))),
        Section("robustness", "Would another choice change it?", tuple(_robustness(facts))),
        Section("search", "The search", tuple(_search(facts))),
        Section("data", "Data", tuple(_data(facts, images))),
        Section("method", "How the numbers were made", tuple(_method(facts))),
    ]
    return Page(
        title=f"{facts['name']}: which layers to fine-tune",
        question=sentences.question(facts),
        answers=tuple(Answer(each["backbone"], sentences.answer(facts, each)) for each in main_choices(facts)),
        figure=score_figures.main_chart(facts),
        sections=tuple(section for section in sections if section.parts),
        foot=f"Made by skythaw {version} on {today.isoformat()} from {facts['cells']['done']} training runs.",
        alarms=tuple(_alarms(facts)),
    )


def wanted_images(facts: Facts) -> list[str]:
    """The objects that the page shows."""
    listed_ = [each["object_id"] for each in (facts["failures"] or {"listed": []})["listed"]]
    return [*listed_, *(each for some in facts["data"]["sheet"].values() for each in some)]


def _main_comparisons(facts: Facts) -> list[dict[str, Any]]:
    return [found for each in main_choices(facts) if (found := comparison_of(facts, each))]


def _alarms(facts: Facts) -> list[str]:
    cells = facts["cells"]
    found = list(facts["warnings"])
    if cells["done"] < cells["cells"]:
        found.append(f"{cells['done']} of {cells['cells']} cells are done: the report is not complete")
    if facts["alarms"]:
        one = facts["alarms"][0]
        more = f", and {len(facts['alarms']) - 1} more" if len(facts["alarms"]) > 1 else ""
        found.append(f"alarm: {one['backbone']}, depth {one['depth']}, seed {one['seed']}: {one['alarm']}{more}")
    return found


def _depths(facts: Facts) -> Parts:
    parts: Parts = [score_figures.depth_chart(facts)]
    for compared in _main_comparisons(facts):
        parts.append(
            f"{score_figures.name_of(compared)}. {sentences.separation(compared)} {sentences.nested(compared)}"
        )
    parts += [
        score_figures.p_value_heat(compared, i)
        for i, compared in enumerate(_main_comparisons(facts))
        if len(compared["pairs"]) > 1
    ]
    parts.append(report_tables.depth_table(facts))
    if facts["probes"]:
        parts.append(report_tables.probe_table(facts))
    return parts


def _claims(facts: Facts) -> Parts:
    if not facts["claims"]:
        return []
    rows = tuple((each["number"], each["claim"], each["verdict"], each["why"]) for each in facts["claims"])
    parts: Parts = [
        "Ethiraj & Bolla (arXiv 2205.07124) fine-tuned seven networks on SDSS images. What they concluded, judged on "
        "these data alone: each network at its largest training size.",
        Table("Six claims", ("", "claim", "verdict", "why"), rows),
    ]
    frozen = facts["claims"][0]["numbers"]
    if frozen:
        columns = (
            "network",
            "best deeper depth",
            "above depth 0",
            "low",
            "high",
            "p (Holm)",
            "deeper is better",
            "all alike",
        )
        names = ("backbone", "depth", "difference", "low", "high", "p_holm", "better", "alike")
        found = tuple(tuple(each[name] for name in names) for each in frozen)
        parts.append(Table("Against the frozen baseline (macro-F1)", columns, found))
    return [*parts, *_own_depths(facts), *score_figures.pareto_charts(facts)]


def _own_depths(facts: Facts) -> Parts:
    depths = facts["claims"][2]["numbers"]["depths"]
    rows = tuple(
        (
            each["backbone"],
            f"{each['depth']} of {each['blocks']}",
            percent(each["tpr"]),
            percent(each["tlr"]),
            ", ".join(f"{one['depth']} ({percent(one['share'])})" for one in each["best_in"] if one["share"] >= 0.01),
        )
        for each in depths
    )
    columns = ("network", "recommended", "TPR", "TLR", "best depth in the draws")
    return [Table("The depth of each network, and how sure it is", columns, rows)]


def _sizes(facts: Facts) -> Parts:
    chart = score_figures.size_chart(facts)
    return [] if chart is None else [chart, *(sentences.size_sentence(each) for each in facts["size_curves"])]


def _training(facts: Facts) -> Parts:
    parts: Parts = [
        each for each in (learning_figures.learning_chart(facts), learning_figures.gap_chart(facts)) if each
    ]
    parts.append(report_tables.peak_table(facts))
    if facts["alarms"]:
        columns = ("network", "depth", "images", "seed", "alarm")
        names = ("backbone", "depth", "train_size", "seed", "alarm")
        rows = tuple(tuple(each[name] for name in names) for each in facts["alarms"])
        parts.append(Table("Alarms", columns, rows))
    return parts


def _classes(facts: Facts) -> Parts:
    rows = []
    for choice in main_choices(facts):
        for name, scores in sentences.row_of(facts, choice)["per_class"].items():
            values = (with_interval(scores[score]) for score in ("precision", "recall", "f1"))
            rows.append((choice["backbone"], choice["depth"], name, *values))
    columns = ("network", "depth", "class", "precision", "recall", "F1")
    return [
        *learning_figures.confusion_heats(facts),
        Table("Scores of each class, on the test set", columns, tuple(rows)),
    ]


def _failures(facts: Facts, images: Mapping[str, bytes]) -> Parts:
    found = facts["failures"]
    if not found:
        return []
    test = facts["method"]["objects"]
    parts: Parts = [
        f"{found['backbone']} at depth {found['depth']} errs on {found['wrong']:,} of {test:,} test objects (mean "
        f"probabilities of its seeds). {found['suspects']:,} labels are suspect by confident learning: another class "
        "is as probable as it usually is for objects that bear its name. The surest mistakes are often wrong labels.",
        *learning_figures.error_charts(facts),
    ]
    pictures = tuple(
        Picture(images[each["object_id"]], _mistake(each)) for each in found["listed"] if each["object_id"] in images
    )
    if pictures:
        parts.append(Gallery("The surest mistakes, as the network saw them", pictures))
    columns = ("object", "label", "predicted", "p of the label", "p of the predicted", "suspect label")
    rows = tuple(
        (
            each["object_id"],
            each["label"],
            each["predicted"],
            each["p_label"],
            each["p_predicted"],
            _yes(each["suspect"]),
        )
        for each in found["listed"]
    )
    return [*parts, Table("The surest mistakes", columns, rows)] if rows else parts


def _mistake(each: dict[str, Any]) -> str:
    return f"{each['object_id']}: labelled {each['label']}, called {each['predicted']} (p = {each['p_predicted']:.2f})"


def _yes(value: bool) -> str:
    return "yes" if value else ""


def _calibration(facts: Facts) -> Parts:
    rows = []
    for compared in _main_comparisons(facts):
        if found := compared["calibration"]:
            temperatures = ", ".join(f"{each:.2f}" for each in found["temperatures"])
            scores = [(interval(found[when]["ece"], ".3f"), found[when]["log_loss"]) for when in ("before", "after")]
            rows.append((compared["backbone"], compared["recommended"], *scores[0], temperatures, *scores[1]))
    if not rows:
        return []
    columns = ("network", "depth", "ECE", "log loss", "temperatures", "ECE, scaled", "log loss, scaled")
    return [
        "The temperature was fitted on validation; all numbers are of the test set. The expected calibration error "
        "(ECE) of few objects is too large even for a perfect classifier: compare, rather than read it alone.",
        *learning_figures.reliability_charts(facts),
        Table("Calibration, before and after temperature scaling", columns, tuple(rows)),
    ]


def _robustness(facts: Facts) -> Parts:
    parts: Parts = []
    if said := [(c["backbone"], *line) for c in _main_comparisons(facts) for line in sentences.robustness(c)]:
        parts.append(Table("The recommended depth with other choices", ("network", "choice", "then"), tuple(said)))
    signs = [(c, name, sign) for c in _main_comparisons(facts) for name, sign in c["early_signs"].items()]
    if signs:
        rows = tuple((c["backbone"], name, sign["correlation"], sign["regret"]) for c, name, sign in signs)
        columns = ("network", "sign", "rank correlation", "macro-F1 lost")
        caption = "Could it have been known earlier? Signs against the test score of the depths"
        parts.append(Table(caption, columns, rows))
    return parts


def _search(facts: Facts) -> Parts:
    if not facts["search"]:
        return []
    columns = ("network", "strategy", "setting", "fate", "rung", "images", "epochs", "log loss", "macro-F1")
    names = ("backbone", "strategy", "setting", "fate", "rung", "images", "epochs", "log_loss", "macro_f1")
    rows = tuple(tuple(each.get(name) for name in names) for each in facts["search"])
    return [
        "Depths were tried on fewer images and epochs, judged on validation, and the best was trained in full.",
        Table("The trials", columns, rows),
    ]


def _data(facts: Facts, images: Mapping[str, bytes]) -> Parts:
    data = facts["data"]
    parts: Parts = []
    if data["balance"]:
        rows = tuple((part, *some.values(), sum(some.values())) for part, some in data["balance"].items())
        parts.append(Table("Objects of each class", ("part", *facts["classes"], "all"), rows))
    elif facts["objects"]:
        parts.append(Table("Objects", ("part", "objects"), tuple(facts["objects"].items())))
    if data["split"]:
        by, how = data["split"]["by"], facts["method"]
        groups = f" The test set holds {how['groups']:,} of them." if how and how["drawn"] != "objects" else ""
        parts.append(f"Divided by {by} (seed {data['split']['seed']}): objects of one group stay together.{groups}")
    if data["sha256"]:
        parts.append(f"Checksum of the data (SHA-256): {data['sha256']['data']}.")
    for name, ids in data["sheet"].items():
        pictures = tuple(Picture(images[each], each) for each in ids if each in images)
        if pictures:
            parts.append(Gallery(f"{name}: some of the test set", pictures))
    return parts


def _method(facts: Facts) -> Parts:
    pairs = sum(len(compared["pairs"]) for compared in facts["comparisons"])
    parts: Parts = [sentences.method(facts)]
    if pairs:
        parts.append(
            f"{pairs:,} pairs of depths were compared; Holm's correction is within each network, strategy and training "
            f"size. The recommended depth is chosen on the test set among {listed(_counts(facts))} depths, so its "
            "score is a little too good; the estimate by validation alone stands beside it."
        )
    return parts


def _counts(facts: Facts) -> list[int]:
    return sorted({len(compared["best_in"]) for compared in facts["comparisons"]})

"""What a report says in words, from its facts: the same sentences on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skythaw.data.part_names import PART_COLUMNS
from skythaw.report.certainty_sentences import how_sure, redrawn, separation
from skythaw.report.number_format import listed, percent, points, points_range, with_interval
from skythaw.report.plain_answer import with_images
from skythaw.report.recommendations import Facts, main_recommendations, network_rows

FEW = 30
"""Groups of the sky below which the report says that there are few."""
RATIOS = "TPR, TLR and TFR are the shares of parameters, layers and FLOPs (floating-point operations) trained."
SUSPECTS = (
    "The network is surely wrong more often than its probabilities allow, and wrong labels explain that; tails of the "
    "probabilities that are too thin would look alike. The list begins with the label that is least believed."
)


CLAIMS = (
    "Ethiraj & Bolla (arXiv 2205.07124) fine-tuned seven networks on SDSS images. This is what they concluded, judged "
    "on these data alone, at the training size of the answer."
)
CALIBRATION = (
    "The temperature was fitted on validation; all numbers are of the test set. What chance alone adds to the expected "
    "calibration error (ECE) is taken off; its interval is of other objects, with these networks."
)
SEARCH = (
    "Every depth had a short trial. A depth that was surely worse on validation, in the trial or with its first seed, "
    "was not trained further. All others were. Validation alone decided which were dropped. With all seeds a depth is "
    "called worse only if that is sure for other seeds, too; how far it is behind is of other objects alone."
)
SEARCH_IN_FULL = "Every depth was trained in full: trials would have cost as much."
OLD_SEARCH = "Depths were tried on fewer images and epochs and judged on validation; the best was trained in full."


@dataclass(frozen=True)
class ReportSentences:
    """All that is said, in the order of the page; a text is empty where the facts hold nothing of it."""

    question: str
    warnings: tuple[str, ...]
    """what makes the answers doubtful"""
    claims: str
    failures: str
    calibration: str
    search: str
    race: str
    data: tuple[str, ...]
    method: tuple[str, ...]


def report_sentences(facts: Facts) -> ReportSentences:
    """Say what the facts say."""
    main = main_recommendations(facts)
    compared = [each.comparison for each in main if each.comparison]
    return ReportSentences(
        question=question(facts),
        warnings=tuple(_warnings(facts)),
        claims=CLAIMS if facts["claims"] else "",
        failures=_failures(facts),
        calibration=CALIBRATION if any(each["calibration"] for each in compared) else "",
        search=search_sentence(facts["search"]),
        race=race_sentence(facts),
        data=data_sentences(facts),
        method=(method(facts), _choice_on_test(facts)),
    )


def search_sentence(standings: Sequence[dict[str, Any]] | None) -> str:
    """How depths were searched for; empty where they were not."""
    if not standings:
        return ""
    if "behind_f1" not in standings[0]:  # of an older version
        return OLD_SEARCH
    return SEARCH if any(each["round"] == "trial" for each in standings) else SEARCH_IN_FULL


def race_sentence(facts: Facts) -> str:
    """Which depths got fewer seeds, and why; empty where all got theirs."""
    contests: dict[str, list[str]] = {}
    for each in facts["race"]:
        low, high = (100 * end for end in each["behind"])
        behind = f"{low:.1f} to {high:.1f} points behind {each['better']} on validation"
        said = f"{each['setting']} ({each['seeds']} of {each['of']} seeds, {behind})"
        contests.setdefault(name_of(each), []).append(said)
    if not contests:
        return ""
    return (
        f"Stopped by the race: {'; '.join(f'{name}: {listed(some)}' for name, some in contests.items())}. They can no "
        "longer be the best (wrong in less than 5 % of simulated studies). A run without --race trains what was left."
    )


def question(facts: Facts) -> str:
    """What the study asks."""
    objects = facts["objects"] or {}
    classes = ", ".join(facts["classes"] or [])
    on = f" Scored on {objects['test']:,} test objects." if objects.get("test") else ""
    return f"Which layers of a pretrained network should be fine-tuned to tell {classes} apart?{on}"


def _warnings(facts: Facts) -> list[str]:
    found = list(facts["warnings"])
    if lacking := incomplete(facts["cells"]):
        found.append(lacking)
    if facts["alarms"]:
        one = facts["alarms"][0]
        more = f", and {len(facts['alarms']) - 1} more" if len(facts["alarms"]) > 1 else ""
        cell = f"depth {one['depth']}{with_images(one, network_rows(facts))}, seed {one['seed']}"
        found.append(f"alarm: {one['network']}, {cell}: {one['alarm']}{more}")
    return found


def incomplete(cells: dict[str, Any]) -> str:
    """How many cells are done, and how many failed; empty where all are done that are to be."""
    if cells["done"] + cells["stopped"] >= cells["cells"]:
        return ""
    failed = f" and {cells['failed']} failed (skythaw study status says why)" if cells["failed"] else ""
    return f"{cells['done']} of {cells['cells']} cells are done{failed}: the report is not complete"


def name_of(compared: dict[str, Any]) -> str:
    """Network, strategy, training size and inputs in words."""
    inputs = "" if compared["inputs"] == "images" else f", inputs {compared['inputs']}"
    return f"{compared['network']}, {compared['train_size']:,} images, strategy {compared['strategy']}{inputs}"


def depths_compared(compared: dict[str, Any]) -> str:
    """How sure the recommended depth is, what would tell more, and what validation alone would choose."""
    return " ".join(filter(None, (how_sure(compared), separation(compared), chosen_on_validation(compared))))


def chosen_on_validation(compared: dict[str, Any]) -> str:
    """The test score of the depth that validation would have chosen."""
    found = compared["nested"]
    return (
        f"Validation alone would have chosen depth {found['depth']}. Its test scores are macro-F1 "
        f"{with_interval(found['macro_f1'])} and accuracy {with_interval(found['accuracy'])}: fair estimates, because "
        "the test set had no part in that choice."
    )


def size_sentences(facts: Facts) -> list[str]:
    """What twice the images would give each network, or why that cannot be told."""
    untold = [
        f"{_line_of(each)}: what more images would give cannot be told: {each['why']}." for each in facts["no_size_law"]
    ]
    return [_size_law(curve) for curve in facts["size_curves"]] + untold


def _line_of(curve: dict[str, Any]) -> str:
    beside = "" if curve["inputs"] == "images" else f", {curve['inputs']}"
    return f"{curve['network']} ({curve['strategy']}{beside})"


def _size_law(curve: dict[str, Any]) -> str:
    gain, test = curve["gain"], curve["test"]
    return (
        f"{_line_of(curve)}: by a power law above a floor, {curve['twice']:,} images would "
        f"give macro-F1 {with_interval(curve['macro_f1'])}, a gain of {points(gain['mean'])} points "
        f"({points_range(gain)}). The law misses the scores by at most {points(curve['residual'], sign=False)} points. "
        f"Through the smaller sizes alone, it predicts {with_interval(test)} for {test['size']:,} images, where "
        f"{test['found']:.3f} was found."
    )


def _failures(facts: Facts) -> str:
    found = facts["failures"]
    if not found:
        return ""
    return (
        f"{found['network']} at depth {found['depth']} is wrong on {found['wrong']:,} of "
        f"{facts['method']['objects']:,} test objects, by the mean probabilities of its seeds. {_labels(found)}"
    )


def _labels(found: dict[str, Any]) -> str:
    """How many labels are wrong, of test, of validation, and of training (by networks that did not see them)."""
    parts = {"test": found, "validation": found["validation"], "training": found["training"]}
    said = [_wrong_labels(name, part) for name, part in parts.items() if part]
    return " ".join(said + ([SUSPECTS] if any(part and part["sign"] for part in parts.values()) else []))


def _wrong_labels(name: str, found: dict[str, Any]) -> str:
    count = found["wrong_labels"]
    if not found["sign"]:
        return f"There is no sign of wrong labels in {name}: up to {count['high']:,.0f} would not be noticed."
    return (
        f"About {count['mean']:,.0f} labels of {name} are wrong ({count['low']:,.0f} to {count['high']:,.0f}). "
        f"{found['suspects']:,} of them can be named with more than even odds: they are suspect."
    )


def data_sentences(facts: Facts) -> tuple[str, ...]:
    """How the data were divided, and which they are."""
    split, how, sha256 = facts["data"]["split"], facts["method"], facts["data"]["sha256"]
    checksum = f"Checksum of the data (SHA-256): {sha256['data']}." if sha256 else ""
    numbers = " ".join(facts["data"].get("numbers") or [])
    if not split:
        return (numbers, checksum)
    random = split["by"] == "random"
    groups = (
        f" The test set holds {how['groups']:,} groups." if how and how["drawn"] != "objects" and not random else ""
    )
    why = f" How this was chosen: {facts['data']['division']}." if facts["data"].get("division") else ""
    return (_divided(split, bool(sha256 and sha256.get("test"))) + why + groups, numbers, checksum)


def _divided(split: dict[str, Any], test_apart: bool) -> str:
    """How training, validation and test were kept apart."""
    by, seed = split["by"], f"(seed {split['seed']})"
    whole = "The test set is a data set of its own. The other data" if test_apart else "The data"
    copies = " Copies of one image are in one part." if split.get("twins") else ""
    if by in PART_COLUMNS:
        return f"{whole} are divided as their column {by} says {seed}.{copies}"
    if by == "random":
        doubt = "" if test_apart else ", so test objects may lie on the same sky as training objects"
        return f"{whole} are divided at random {seed}, object by object{doubt}.{copies}"
    groups = {"field": "fields of the survey", "healpix": f"pixels of the sky (HEALPix, nside = {split.get('nside')})"}
    what = groups.get(by, f"the column {by}")
    return f"{whole} are divided by {what} {seed}: objects of one group stay together.{copies}"


SINGLY = {
    "not kept": (
        "the run folder does not say which of them lie together on the sky. Run the study again to keep that too: "
        "nothing is trained twice"
    ),
    "not known": (
        "it is not known which of them lie together on the sky: they have neither positions (ra, dec) nor fields "
        "(run, camcol, field). If neighbours share pixels or seeing, the true intervals are wider"
    ),
    "one group": "all of them lie in one group of the split",
}
"""why objects were drawn one by one, and what would change that"""


def method(facts: Facts) -> str:
    """How the intervals were made."""
    how = facts["method"]
    if how is None and not network_rows(facts):
        return "No training of a network is done yet, so there is no answer and there are no intervals."
    if how is None:
        return "There are no intervals, because this run folder holds no predictions."
    seeds = max((row["seeds"] for row in network_rows(facts)), default=1)
    what = f"{how['groups']:,} {how['drawn']}"
    if how["drawn"] != "objects":
        what += f" ({how['objects']:,} objects)"
    text = (
        f"Intervals are of {percent(how['level'])}. They are percentiles of {how['draws']:,} bootstrap draws of "
        f"{what}; all depths are scored on the same draws. "
    )
    text += (
        "The spread between seeds enters by Student's t. "
        if seeds > 1
        else "There is one seed, so all this is said of these trained networks: it is not known how seeds differ. "
    )
    text += f"{redrawn(facts)} "
    if how["drawn"] == "objects":
        text += f"Objects were drawn singly, because {SINGLY[how.get('single') or 'not kept']}. "
    if how["missing"]:
        text += f"The predictions of {how['missing']} cells can't be read, so these cells have no part in this. "
    if how["groups"] < FEW:
        drawn = "objects" if how["drawn"] == "objects" else "groups"
        text += f"{how['groups']} {drawn} are few: the intervals and p-values are rough. "
    return text + (
        "A difference has its interval and its p-value from the same Student's t. Corrected p-values and simultaneous "
        "intervals hold for all pairs of depths of a network together; the claims also correct for the number of "
        "networks."
    )


def _choice_on_test(facts: Facts) -> str:
    pairs = sum(len(compared["pairs"]) for compared in facts["comparisons"])
    if not pairs:
        return ""
    counts = sorted({len(compared["best_in"]) for compared in facts["comparisons"]})
    return (
        f"{pairs:,} pairs of depths were compared; the correction is within each network, strategy and training "
        f"size. The recommended depth is chosen on the test set among {listed(counts)} depths, so its score tends to "
        "be a little too high. The score of the depth that validation alone would choose stands beside it."
    )

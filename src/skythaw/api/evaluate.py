"""`evaluate`: what a classifier is worth on labelled images: scores with intervals, and where and how it errs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from skythaw.api.gather_images import Progress, as_given, gather_images
from skythaw.api.progress_bar import tracked
from skythaw.api.run_choices import cache_folder
from skythaw.bundle.bundle_file import BundleDescription, read_about
from skythaw.bundle.export.pick_references import thumbnail
from skythaw.bundle.hub_bundle import bundle_folder
from skythaw.bundle.references import read_references
from skythaw.data.cutouts import Cutouts, is_number
from skythaw.data.decode import decode, middle
from skythaw.data.overlaps import FIELD, identify
from skythaw.data.pixel_store import open_store
from skythaw.data.split_groups import sky_groups
from skythaw.errors import DataError
from skythaw.machine.files import temporary_folder
from skythaw.machine.package_version import version_of
from skythaw.predict.predict_images import PredictSettings, predict_to
from skythaw.report.figures.object_pictures import pictures
from skythaw.report.page.evaluation_page import evaluation_page
from skythaw.report.page.html_page import check_page, save_page
from skythaw.report.statistics.chosen_cells import LEVELS, purity
from skythaw.report.statistics.failures import errors_by_column, mistakes
from skythaw.report.statistics.scores_of_one import scores_of_one
from skythaw.spec import Split
from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.calibration import reliability
from skythaw.stats.scored_sample import Sample
from skythaw.tables.measured import SHAPES, measured_of

SCHEMA = 1
KEY = "classifier"
"""stands for the one classifier in a sample"""
LEAST = 1e-15
"""of a probability, in a logarithm"""
BRIGHTNESS = {"brightness": "ring 3", "size": "size", "sky": "sky"}
"""in words, the measured numbers that errors are held against, in the middle band; and the concentration"""


@dataclass(frozen=True)
class Predicted:
    """What a classifier says of labelled objects."""

    cutouts: Cutouts
    rows: np.ndarray
    """int [object]: which of the cutouts have a label and a prediction"""
    p: Float[np.ndarray, "object class"]
    left_out: dict[str, str]
    """object_id -> why it is not scored"""
    inputs: dict[str, int]
    """of a classifier that takes numbers beside images: how many were judged by ``both``, ``images`` or ``table``"""
    notes: tuple[str, ...]


def evaluate(  # noqa: PLR0913 (each is an option of the command)
    bundle: Path | str,
    labelled: Path | str,
    *,
    labels: Path | str | None = None,
    table: Path | str | None = None,
    html: Path | str | None = None,
    cache: Path | str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Score a classifier on labelled images that it has not seen.

    Parameters
    ----------
    bundle
        the classifier's folder
    labelled
        a folder with a folder of images for each class, an archive, arrays, or Parquet
    labels
        a table of labels, where the images do not say theirs
    table
        of a classifier that takes numbers beside images: the catalogue that has them
    html
        a file: all of it as one web page
    cache
        folder for decoded images; by default the user's own
    progress
        show bars

    Returns
    -------
    dict
        JSON-able: ``macro_f1`` and ``accuracy`` (``mean``, ``low`` and ``high``: 95 % intervals of whole fields or
        pixels of the sky, where they are known), ``classes`` (of each its ``completeness``, ``purity`` and ``f1``),
        ``confusion``, ``calibration``, ``against`` (the share of errors against brightness and other numbers),
        ``mistakes`` (the surest), ``warnings`` and ``left_out``

    Raises
    ------
    BundleError, DataError
        It is no bundle; the images can't be read; a label is no class of the classifier; nothing can be scored.
    OutputError
        The page or temporary files can't be written.
    """
    bundle, labelled = bundle_folder(bundle), Path(labelled)
    about = read_about(bundle)
    check_page(html)

    def shown(items: Iterable[Any], total: int) -> Iterable[Any]:
        return tracked(items, total, "evaluating", shown=progress)

    with temporary_folder() as folder, as_given(folder / "cutouts.parquet", labelled):
        gathered = gather_images(
            labelled, None if labels is None else Path(labels), folder / "cutouts.parquet", skip_broken=True,
            progress=shown,
        )  # fmt: skip
        _require_known(gathered.cutouts, about, labelled)
        numbers = None if table is None else Path(table)
        said = _predict(bundle, about, gathered.cutouts, gathered.path, folder, numbers, shown)
        sample = _sample(said, about, cache_folder(cache))
        found = _scored(bundle, labelled, about, said, sample) | {"notes": list(gathered.notes)}
        if html is not None:
            _save(found, Path(html), gathered.path, about)
    return found


def _save(found: dict[str, Any], html: Path, images: Path, about: BundleDescription) -> None:
    """Write what was found as one page, with pictures of the surest mistakes."""
    shown = pictures([images], [each["object_id"] for each in found["mistakes"]["listed"]], about.cell.pixels)
    save_page(evaluation_page(found, shown, version_of("skythaw"), date.today()), html)


def _require_known(cutouts: Cutouts, about: BundleDescription, labelled: Path) -> None:
    if odd := {name: count for name, count in cutouts.counts.items() if name not in about.classes}:
        name, count = next(iter(odd.items()))
        raise DataError(
            f"{labelled}: the label {name!r} ({count} objects) is no class of the classifier, which knows "
            f"{', '.join(about.classes)}"
        )


def _predict(  # noqa: PLR0913, PLR0917 (what is predicted, by what, and where to)
    bundle: Path, about: BundleDescription, cutouts: Cutouts, path: Path, folder: Path, table: Path | None,
    progress: Progress | None,
) -> Predicted:  # fmt: skip
    out = folder / "predictions.parquet"
    inputs = dict(predict_to(bundle, cutouts.paths, out, PredictSettings(), progress, table=table).inputs)
    found = pq.read_table(out)
    if len(found) != len(cutouts):  # a file of Parquet by content alone, which counts as one image
        raise DataError(f"{path} is Parquet: its name should end in .parquet to be predicted")
    p = np.stack([found[f"p_{name}"].to_numpy().astype(np.float64) for name in about.classes], axis=1)
    known = np.isfinite(p).all(1)
    status, ids = found["status"].to_pylist(), cutouts.object_ids
    left_out = {ids[i]: status[i] for i in np.flatnonzero(cutouts.labelled & ~known)}
    left_out |= {ids[i]: "it has no label" for i in np.flatnonzero(~cutouts.labelled)}
    rows = np.flatnonzero(cutouts.labelled & known)
    if not len(rows):
        raise DataError(
            f"{path}: no labelled image can be classified, the first because {next(iter(left_out.values()))}"
        )
    return Predicted(cutouts, rows, p[rows], left_out, inputs, _seen_before(bundle, about, cutouts, rows))


def _seen_before(bundle: Path, about: BundleDescription, cutouts: Cutouts, rows: np.ndarray) -> tuple[str, ...]:
    """A warning where the classifier was trained on some of the images, as far as the bundle has kept those."""
    references = read_references(bundle, about)
    if references is None:
        return ()
    known, wanted, crop = set(references.images.thumbnails), set(rows.tolist()), about.cell.pixels.crop
    trained = [
        name
        for row, (name, data, _) in enumerate(cutouts.images())
        if row in wanted and thumbnail(middle(decode(data, name, about.require), crop), about) in known
    ]
    if not trained:
        return ()
    return (
        f"{len(trained)} of these objects were trained on ({trained[0]}): the scores flatter the classifier; give "
        "images that it has not seen",
    )


def _sample(said: Predicted, about: BundleDescription, cache: Path) -> Sample:
    """The objects as the statistics of a report take them."""
    cutouts, rows = said.cutouts, said.rows
    place = {name: i for i, name in enumerate(about.classes)}
    true = np.array([place[name] for name in cutouts.labels[rows]], dtype=np.int64)
    known = sky_groups(cutouts, Split().nside)
    group = np.arange(len(rows)) if known is None else identify([known[rows]])
    grouped = known is not None and bool(group.max() > 0)
    return Sample(
        run=Path(),
        part="test",
        classes=about.classes,
        ids=tuple(cutouts.object_ids[i] for i in rows),
        true=true,
        group=group if grouped else np.arange(len(rows)),
        grouped=grouped,
        numbers=_numbers(said, cache),
        said={KEY: said.p.argmax(1).astype(np.int16)},
        loss={KEY: -np.log(np.maximum(said.p[np.arange(len(rows)), true], LEAST)).astype(np.float32)},
        missing=(),
    )


def _numbers(said: Predicted, cache: Path) -> dict[str, np.ndarray]:
    """Brightness as measured from the images, and the columns of numbers that the data have."""
    cutouts, rows = said.cutouts, said.rows
    store = open_store(cutouts, cache, skip_broken=True)
    measured = measured_of(cutouts, store, cache)
    bands = [name.removeprefix("sky ") for name in measured.names if name.startswith("sky ")]
    band = bands[len(bands) // 2]
    wanted = {f"{words} in {band}": f"{name} {band}" for words, name in BRIGHTNESS.items()} | {SHAPES[0]: SHAPES[0]}
    found = {words: measured.values[rows, measured.names.index(name)] for words, name in wanted.items()}
    for name in cutouts.table.column_names:
        values = cutouts.table[name]
        if name not in FIELD and is_number(values.type):
            found[name] = values.cast(pa.float64(), safe=False).to_numpy()[rows]
    return found


def _scored(bundle: Path, labelled: Path, about: BundleDescription, said: Predicted, sample: Sample) -> dict[str, Any]:
    if len(sample) < 2:
        raise DataError(f"{labelled}: one labelled image can't be scored; give more")
    bootstrap = Bootstrap(sample)
    draws = {name: values[0] for name, values in bootstrap.scores([KEY]).items()}
    log_p = np.log(np.maximum(said.p, LEAST))
    confusion = np.zeros((len(about.classes), len(about.classes)), dtype=int)
    np.add.at(confusion, (sample.true, sample.said[KEY]), 1)
    return {
        "schema": SCHEMA,
        **scores_of_one(draws, confusion, about.classes),
        "bundle": str(bundle),
        "labelled": str(labelled),
        "objects": len(sample),
        "grouped": sample.grouped,
        "groups": int(sample.group.max()) + 1,
        "made_by": {"network": about.cell.network, "depth": about.cell.depth},
        "own_test": about.scores["own"],
        "inputs": said.inputs,
        "own_interval": {end: about.scores["macro_f1"].get(end) for end in ("low", "high")},
        "confusion": {"classes": list(about.classes), "counts": confusion.tolist()},
        "completeness_and_purity": _curves(said.p, sample),
        "calibration": reliability([log_p], bootstrap),
        "against": errors_by_column((KEY,), bootstrap),
        "mistakes": mistakes([log_p], sample),
        "warnings": [*said.notes, *_doubts(said, sample)],
        "left_out": said.left_out,
    }  # fmt: skip


def _doubts(said: Predicted, sample: Sample) -> list[str]:
    found = [] if sample.grouped else [_ungrouped(said)]
    scored = [name for i, name in enumerate(sample.classes) if (sample.true == i).any()]
    if absent := [name for name in sample.classes if name not in scored]:
        found.append(
            f"there are no objects of the class{'es' * (len(absent) > 1)} {', '.join(absent)}: macro-F1 is the mean of "
            f"{', '.join(scored)} alone"
        )
    if alone := said.inputs.get("images"):
        found.append(f"{alone} images have no numbers beside them and were judged alone: give the catalogue (--table)")
    if said.left_out:
        reasons = Counter(said.left_out.values()).most_common(3)
        found.append(f"{len(said.left_out)} images are not scored: " + ", ".join(f"{n}: {why}" for why, n in reasons))
    return found


def _ungrouped(said: Predicted) -> str:
    if sky_groups(said.cutouts, Split().nside) is None:
        return "where the objects are on the sky is not known: intervals take each as its own"
    return "all objects are of one field or pixel of the sky: intervals take each as its own, and hold there alone"


def _curves(p: np.ndarray, sample: Sample) -> list[dict[str, Any]]:
    """For each class its purity at levels of completeness, as `completeness_and_purity` of a report has it."""
    found = []
    for i, name in enumerate(sample.classes):
        true, taken = sample.true == i, p.argmax(1) == i
        if not true.any() or true.all():
            continue
        right = float((taken & true).sum())
        found.append(
            {
                "class": name,
                "objects": int(true.sum()),
                "completeness": LEVELS.tolist(),
                "purity": purity(true, p[:, i]).tolist(),
                "as_predicted": {"completeness": right / true.sum(), "purity": right / max(1, taken.sum())},
            }
        )
    return found

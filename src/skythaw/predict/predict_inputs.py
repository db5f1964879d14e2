"""`predict`: what the command `skythaw predict` does. START READING HERE."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skythaw.bundle.bundle_file import read_about
from skythaw.bundle.hub_bundle import bundle_folder
from skythaw.data.sources.read_images import ImageOptions
from skythaw.errors import SpecError
from skythaw.predict.from_sky import FetchSettings, fetch_catalogue
from skythaw.predict.image_summary import PredictSummary
from skythaw.predict.predict_images import PredictSettings, predict_to
from skythaw.predict.prediction_formats import check_output
from skythaw.predict.survey.predict_survey import EngineChoice, predict_survey
from skythaw.predict.unpack_inputs import unpacked

Told = Callable[[str, int, int], None]
"""Called with the name of a step, how much of it is done, and how much it is in all."""


def predict(  # noqa: PLR0913 (each is a group of options of the command)
    bundle: Path,
    inputs: Sequence[str | Path],
    out: Path,
    *,
    setting: PredictSettings | None = None,
    engine_choice: EngineChoice | None = None,
    sdss: FetchSettings | None = None,
    table: Path | None = None,
    images: ImageOptions | None = None,
    told: Told | None = None,
) -> PredictSummary:
    """Write the probabilities of each class for many images, one row for each image.

    If the call is stopped, the same call goes on.

    Parameters
    ----------
    bundle
        the classifier's folder
    inputs
        files, folders and patterns: see `skythaw.predict.find_inputs.find_inputs`; archives and arrays, as
        `skythaw data import` reads them; for a folder of shards, files that
        `skythaw.predict.survey.survey_chunks.find_chunks` takes; with `sdss`, one catalogue of positions
    out
        a file (``.parquet``, ``.csv`` or ``.ecsv``): see `predict_to`; or, without an ending, a folder of shards: see
        `predict_survey`
    setting
        batch, device, threads, rows of a shard, backend
    engine_choice
        the engine that fills a folder of shards
    sdss
        how images are fetched from SDSS for the positions of a catalogue; None: the inputs are images
    table
        a catalogue with the columns that the bundle takes beside images; None: they are in the Parquet files
    images
        how image files are read, as `skythaw data import` was told: extensions, files of single
        bands, masked pixels, size; None: as they are
    told
        called when a part of a step is done

    Raises
    ------
    BundleError, DataError, SpecError, OutputError, RemoteError
        See `predict_to`, `predict_survey`, and `skythaw.predict.from_sky.fetch_catalogue`.
    """
    bundle, out, told = bundle_folder(bundle), Path(out), told or (lambda _step, _done, _all: None)
    if out.suffix and engine_choice and engine_choice.engine != "processes":
        raise SpecError(
            f"the engine {engine_choice.engine} makes a folder of shards: give a name without an ending, not {out}"
        )
    if images is not None and (sdss is not None or not out.suffix):
        where = "images from SDSS" if sdss is not None else "a folder of shards, which is made of Parquet files"
        raise SpecError(f"{', '.join(images.recipe)}: these say how image files are read, and do not go with {where}")
    lists = setting is not None and setting.features
    if sdss is not None:
        check_output(out, lists=lists)
        fetching = replace(sdss, progress=lambda objects, total, step: counted(objects, total, step, told))
        inputs = [fetch_catalogue(read_about(bundle), inputs, out, fetching)]
    if out.suffix:
        check_output(out, lists=lists)
        with unpacked(inputs, out, images) as readable:
            summary = predict_to(
                bundle,
                readable.paths,
                out,
                setting,
                lambda images, total: counted(images, total, "predicting", told),
                table=table,
            )
        done = tuple(f"{count:,} images: {what}" for what, count in readable.changed.items())
        return replace(
            summary,
            passed_over={**summary.passed_over, **readable.passed_over},
            notes=(*summary.notes, *(done if images is not None else ())),
        )
    if table is not None:
        raise SpecError(
            f"a folder of shards takes the numbers from columns of its Parquet files: leave out the table {table}, or "
            "give an output with an ending"
        )
    return predict_survey(
        bundle,
        [str(given) for given in inputs],
        out,
        setting,
        engine_choice,
        lambda done, rows: told("predicting", done, rows),
    )


def counted(things: Iterable[Any], total: int, step: str, told: Told) -> Iterator[Any]:
    """Pass things through, and tell how many are done."""
    for number, thing in enumerate(things):
        told(step, number, total)
        yield thing
    told(step, total, total)

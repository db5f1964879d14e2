"""`skythaw export`, `predict` and `explain` from Python: each as a function with the same names and defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skythaw.api.data_functions import image_options
from skythaw.api.progress_bar import progress_bar, tracked
from skythaw.api.run_choices import cache_folder
from skythaw.api.stopping import stopping_says, what_is_kept

if TYPE_CHECKING:
    from skythaw.bundle.classifier import Classifier
    from skythaw.explain.explanation import Explanation
    from skythaw.predict.image_summary import PredictSummary


def export(  # noqa: PLR0913 (each is an option of the command)
    run: Path | str,
    bundle: Path | str,
    *,
    cell: str | None = None,
    inputs: Literal["images", "both"] | None = None,
    weights: Path | str | None = None,
    data: Path | str | None = None,
    onnx: bool | None = None,
    refit: bool = False,
    ensemble: bool = False,
    device: str = "auto",
    references: int = 4000,
    cache: Path | str | None = None,
    progress: bool = True,
) -> Classifier:
    """Write a finished cell as a self-contained classifier: weights, preprocessing, scores, model card.

    Parameters
    ----------
    run
        the run folder
    bundle
        the folder to write
    cell
        the beginning of a cell's key; by default a cell of the recommended depth
    inputs
        what the classifier takes; by default images and numbers, if the run has such cells
    weights, data
        the pretrained weights and the training data, if they were moved
    onnx
        write an ONNX file, too; by default, if the packages for it are installed
    refit
        train the cell again on training and validation together, on the `device`
    ensemble
        write all seeds of the setting: the mean of their probabilities is the answer, and takes as many times as long
    references
        training images to keep, at most, with which others are compared
    cache
        folder for caches; by default the user's own
    progress
        show a bar

    Returns
    -------
    Classifier
        loaded; ``classifier.about`` is what the bundle says of itself

    Raises
    ------
    SkythawError
        There is no such run or cell, or the folder can't be written.
    """
    from skythaw.bundle.classifier import load
    from skythaw.bundle.export import export_bundle
    from skythaw.bundle.export.refit import Refit
    from skythaw.machine.device import device_here

    device_here(device)  # before anything is written
    how = Refit(
        cache_folder(cache), device, lambda steps, n: tracked(steps, n, "training again", "epochs", shown=progress)
    )
    export_bundle.export(
        Path(run),
        Path(bundle),
        cell=cell,
        inputs=inputs,
        weights=_path(weights),
        data=_path(data),
        onnx=onnx,
        refit=how if refit else None,
        ensemble=ensemble,
        references=references,
    )
    return load(bundle, device=device)


def predict(  # noqa: PLR0913 (each is an option of the command)
    bundle: Path | str,
    inputs: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    table: Path | str | None = None,
    size: int | None = None,
    resize: bool = False,
    ext: str | Sequence[str] | None = None,
    band_from: Literal["name", "none"] | None = None,
    max_nan: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    batch: int = 256,
    backend: Literal["auto", "torch", "onnx"] = "auto",
    features: bool = False,
    sdss: bool = False,
    column: Mapping[str, str] | Sequence[str] | None = None,
    release: str | int = "17",
    service: str = "skyserver",
    rate: float = 1.0,
    contact: str | None = None,
    base_url: str | None = None,
    shard: int = 10_000,
    engine: str = "processes",
    workers: int | None = None,
    address: str | None = None,
    node_cache: str | None = None,
    gpu_share: float = 1.0,
    progress: bool = True,
) -> PredictSummary:
    """Write the probabilities of each class for any number of images; the same call goes on with one that was stopped.

    For images in memory, `skythaw.load(bundle).predict` is the shorter way.

    Parameters
    ----------
    bundle
        the classifier's folder
    inputs
        images, folders, patterns, Parquet or CSV files; with `sdss` one catalogue of positions
    out
        a file (.parquet, .csv or .ecsv), or a folder of shards
    table
        a catalogue with the numbers that the bundle takes beside images
    size, resize, ext, band_from, max_nan
        how image files are read: as `import_images` was told to read those that the classifier learned from
    device, threads, batch, backend, shard
        how it runs on this machine; `shard` is rows that are written at once
    features
        write the features, too: a column with a list of one length, for Parquet and for a folder of shards
    sdss, column, release, service, rate, contact, base_url
        how images come from SDSS; `column` names columns of the catalogue, such as ``{"ra": "RA_J2000"}``
    engine, workers, address, node_cache, gpu_share
        what fills a folder of shards
    progress
        show a bar

    Returns
    -------
    PredictSummary
        what became of the images: ``objects``, ``classes``, ``failed`` by reason ...; of a folder of shards also
        ``undone``, the shards that are missing

    Raises
    ------
    SkythawError
        An input or the output can't be used.
    """
    from skythaw.predict import predict_inputs
    from skythaw.predict.predict_images import PredictSettings
    from skythaw.predict.survey.predict_survey import EngineChoice
    from skythaw.study.on_cluster import Cluster

    several = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    fetching = _fetching(release, service, column, (rate, contact, base_url)) if sdss else None
    images = image_options(size, resize, ext, band_from, max_nan)
    cluster = Cluster(address if engine == "ray" else None, node_cache, gpu_share)
    kept = partial(what_is_kept, Path(out), sdss)
    with stopping_says(lambda: f"{kept()}, and the same call goes on"), progress_bar("images", shown=progress) as bar:
        return predict_inputs.predict(
            Path(bundle),
            several,
            Path(out),
            setting=PredictSettings(batch, device, threads, shard, backend, features),
            engine_choice=EngineChoice(engine, workers, cluster),
            sdss=fetching,
            table=_path(table),
            images=images if images.recipe else None,
            told=StepBar(bar),
        )


class StepBar:
    """Shows work of several steps on a bar: called with a step's name, what of it is done, and how much it is."""

    def __init__(self, bar: Any) -> None:
        self.bar, self.step = bar, "looking at files"
        self.task = bar.add_task(self.step, total=None)

    def __call__(self, step: str, done: int, total: int) -> None:
        if self.step != step:
            self.step = step
            self.bar.reset(self.task, description=step, total=total, completed=done, begun=done)
        self.bar.update(self.task, completed=done)


def explain(
    bundle: Path | str,
    image: str | Path,
    out: Path | str | None = None,
    *,
    label: str | None = None,
    table: Path | str | None = None,
    device: str = "auto",
) -> Explanation:
    """Why a classifier says what it says of one image: where it looks, and which training images are near.

    Parameters
    ----------
    bundle
        the classifier's folder
    image
        an image file, or ``DATA.parquet:OBJECT_ID``
    out
        the picture to write (.png); none by default
    label
        the class to explain; by default the most probable
    table
        a catalogue with the numbers that the bundle takes beside an image
    device
        ``cpu``, ``cuda`` or ``auto``

    Returns
    -------
    Explanation
        ``p``, ``label``, ``neighbours``, ``distance``, ``percentile``, ``verdict`` and the maps

    Raises
    ------
    SkythawError
        The image or the bundle can't be read; there is no such class; captum is not installed.
    """
    from skythaw.bundle.classifier import load
    from skythaw.explain import explanation
    from skythaw.explain.explanation_figure import check_picture, save_png

    if out is not None:
        check_picture(Path(out), str(image))
    classifier = load(bundle, device=device)
    name, pixels = explanation.find_image(str(image), classifier)
    given = explanation.find_numbers(str(image), name, classifier, _path(table))
    found = explanation.explain(classifier, pixels, name, label, given)
    if out is not None:
        save_png(found, Path(out))
    return found


def _fetching(
    release: str | int,
    service: str,
    column: Mapping[str, str] | Sequence[str] | None,
    http: tuple[float, str | None, str | None],
) -> Any:
    """How images come from SDSS."""
    from skythaw.api.data_functions import columns_named, release_number
    from skythaw.data.sources.sdss.http_client import HttpSettings
    from skythaw.predict.from_sky import FetchSettings

    rate, contact, base_url = http
    settings = HttpSettings(rate=rate, contact=contact, base_url=base_url)
    return FetchSettings(release_number(release), service, columns_named(column), settings)


def _path(given: Path | str | None) -> Path | None:
    return None if given is None else Path(given)

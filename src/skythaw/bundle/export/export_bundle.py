"""Export a finished cell of a run as a bundle. START READING HERE."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from safetensors.torch import save

from skythaw.backbones.hub_catalogue import HUB_ENCODERS
from skythaw.backbones.known_backbones import backbone, backbone_of
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import RANDOM, Weights, locate
from skythaw.bundle.bundle_file import ABOUT, CARD, NUMBERS, ONNX, WEIGHTS, BundleDescription, Expected
from skythaw.bundle.bundle_weights import named_tensors, tensors_sha256
from skythaw.bundle.export.choose_cell import Inputs, choose, finished_result
from skythaw.bundle.export.export_numbers import Chosen, halves_of
from skythaw.bundle.export.model_card import model_card
from skythaw.bundle.export.pick_references import collect
from skythaw.bundle.export.refit import Refit, train_again
from skythaw.bundle.export.seed_mean import seed_mean
from skythaw.bundle.export.to_onnx import can_export, to_onnx
from skythaw.bundle.members import weight_files
from skythaw.bundle.references import MOST
from skythaw.data.cutouts import Cutouts, read_cutouts
from skythaw.data.decode import BrokenImageError, decode
from skythaw.data.network_input import batch_input
from skythaw.data.overlaps import first_form
from skythaw.errors import BundleError, DataError, LedgerError, SpecError, WeightsError
from skythaw.machine.files import sync_folder, writing
from skythaw.report.report_facts import report_facts
from skythaw.spec import Cell, WeightsChoice
from skythaw.spec.validation_message import one_line
from skythaw.study.ledger import Ledger
from skythaw.study.ledger_rows import Entry
from skythaw.study.trained_weights import read_weights
from skythaw.tuning.thawed_network import ThawedNetwork, assemble

CHECKED = 32
"""images for which the ONNX file must agree with torch"""
KEPT = 4000
"""training images that a bundle keeps, at most, unless the user says otherwise"""


def export(  # noqa: PLR0913 (each is an option of the command)
    run: Path,
    bundle: Path,
    *,
    cell: str | None = None,
    inputs: Inputs | None = None,
    weights: Path | None = None,
    data: Path | None = None,
    onnx: bool | None = None,
    refit: Refit | None = None,
    ensemble: bool = False,
    references: int = KEPT,
) -> BundleDescription:
    """Write a cell of a run as a bundle. The folder appears whole or not at all, and replaces an older bundle.

    Parameters
    ----------
    run
        the run folder
    bundle
        the folder to make
    cell
        the beginning of the cell's key; by default, the cell with the best validation score at the recommended depth
        of the best network
    inputs
        what the classifier takes: ``images``, or ``both``, which is the default where the run has such cells
    weights
        the file of pretrained weights from which the cell started, if it was moved
    data
        the training data, if they were moved
    onnx
        write an ONNX file, too; by default, if the packages for it are installed
    refit
        train the cell again on training and validation together, and write the new weights: see `train_again`; scores
        and temperature stay those of the cell. None writes the cell as it is
    ensemble
        write all seeds of the cell's setting: the mean of their probabilities is the answer, see
        `skythaw.bundle.members`. It takes as many times as long to predict
    references
        how many training images to keep, at most, with which others are compared: see `skythaw.bundle.references`

    Returns
    -------
    BundleDescription
        what the bundle says of itself

    Raises
    ------
    LedgerError, UnknownNameError
        There is no such run, or no such finished cell.
    WeightsError, DataError
        The pretrained weights or the data are gone, or are not those of the cell.
    BundleError, OutputError
        `bundle` is no bundle and not empty, or can't be written.
    SpecError
        `references` is negative, or more than a bundle can keep; or `refit` or `ensemble` is asked of a cell of both,
        or both are asked for.
    """
    run, bundle = Path(run), Path(bundle)
    if not 0 <= references <= MOST:
        raise SpecError(f"references = {references}: a bundle keeps 0 to {MOST} training images")
    if bundle.exists() and not (bundle / ABOUT).is_file() and (not bundle.is_dir() or any(bundle.iterdir())):
        raise BundleError(f"{bundle} exists and is no bundle; choose another folder")
    if ensemble and refit:
        raise SpecError("--refit trains one network: leave out --ensemble or --refit")
    with Ledger.read(run) as ledger:
        facts = report_facts(ledger)
        entries = ledger.entries()
        entry = choose(entries, facts, cell, inputs, run)
        halves = halves_of(entry, [*entries, *ledger.entries("numbers")])
        chosen = Chosen(run, facts, entry, halves)
        if halves and (refit or ensemble):
            what = "--refit trains a network alone" if refit else "--ensemble is of networks alone"
            raise SpecError(f"{what}: add --inputs images, or leave it out")
        if ensemble:
            chosen = replace(chosen, seeds=seed_mean(entry, entries, facts, run))
        result = finished_result(entry)
        started = _pretrained(entry.cell, ledger, weights)
        where = data or Path((ledger.remark("data") or {}).get("path") or "")
        cutouts = _data(entry.cell, where)
    again = refit and train_again(entry.cell, result, where, started, refit)
    classes, networks = len(result.classes), chosen.seeds.entries if chosen.seeds else (chosen.network,)
    models = [_model(each.cell, started, classes, again.trained if again else _trained(each, run)) for each in networks]
    try:
        about = _about(chosen, cutouts, models[0], started)
    except ValidationError as error:
        raise BundleError(f"the cell {entry.key} can't be a bundle: {one_line(error, BundleDescription)}") from None
    if again:
        about = about.model_copy(update={"refit": again.images})
    extras = {NUMBERS: halves.content(run)} if halves else {}
    if onnx or (onnx is None and can_export()):
        extras[ONNX] = to_onnx(models, about, _some(cutouts, about))
    if references:
        extras |= collect(models[0], about, cutouts, references)
    first, *others = weight_files(WEIGHTS, about.members)
    extras |= {name: save(_tensors(model)) for name, model in zip(others, models[1:], strict=True)}
    checksums = {
        "files": {name: sha256(data).hexdigest() for name, data in extras.items()},
        "tensors_sha256": tensors_sha256(BytesIO(save(_tensors(models[0])))),
    }
    about = about.model_copy(update=checksums)
    own = {
        first: save(_tensors(models[0]), {"about_sha256": about.sha256}),
        ABOUT: about.canonical().encode(),
        CARD: model_card(about, ONNX in extras).encode(),
    }
    _write(bundle, own | extras)
    return about


def _trained(network: Entry, run: Path) -> dict[str, torch.Tensor]:
    """The weights that a cell trained."""
    return read_weights(run, network.key, finished_result(network).weights_sha256)


def _tensors(model: ThawedNetwork) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in named_tensors(model).items()}


def _pretrained(cell: Cell, ledger: Ledger, given: Path | None) -> Weights:
    """The weights from which the cell started, wherever they are now."""
    if cell.weights_sha256 == RANDOM.sha256:
        return RANDOM
    network, recorded = backbone_of(cell), (ledger.remark("weights") or {}).get(cell.network)
    choices = [cell.weights, *([WeightsChoice(file=Path(recorded), key=cell.weights.key)] if recorded else [])]
    if given is not None:
        choices = [WeightsChoice(file=given, key=cell.weights.key)]
    for choice in choices:
        try:
            weights = locate(network, choice, download=False)
        except WeightsError:
            if given is not None:
                raise
            continue
        if weights.sha256 == cell.weights_sha256:
            return replace(weights, key=cell.weights.key)
        if given is not None:
            raise WeightsError(f"the cell did not start from {given}: the file's SHA-256 is {weights.sha256}")
    raise WeightsError(
        f"the weights from which {cell.network} started are not found (SHA-256 {cell.weights_sha256}); give their "
        "file with --weights FILE"
    )


def _data(cell: Cell, path: Path) -> Cutouts:
    try:
        cutouts = read_cutouts(path)
    except DataError as error:
        raise DataError(f"{error}; say where the training data are now with --data FILE") from None
    if cutouts.sha256 != cell.data_sha256:
        raise DataError(f"the cell was not trained on {path}; give its training data with --data FILE")
    return cutouts


def _model(cell: Cell, started: Weights, classes: int, trained: dict[str, torch.Tensor]) -> ThawedNetwork:
    """The pretrained network, with the trained weights put into it."""
    model = assemble(build(backbone_of(cell), started), cell, classes)
    own = model.trained()
    if odd := sorted(own.keys() ^ trained.keys()):
        raise LedgerError(f"the file of trained weights of {cell.key} is of another cell, as {odd[0]} shows")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(trained[name])
    return model


def _about(chosen: Chosen, cutouts: Cutouts, model: ThawedNetwork, started: Weights) -> BundleDescription:
    run, facts, entry = chosen.run, chosen.facts, chosen.entry
    cell, result = entry.cell, finished_result(entry)
    form, network = first_form(cutouts), backbone_of(cell)
    if form is None:
        raise DataError(f"{cutouts.paths[0]}: no image can be read")
    scale = float(np.nanmedian(cutouts.numbers("pixel_scale"))) if "pixel_scale" in cutouts.table.column_names else None
    return BundleDescription(
        schema=1,
        name=str(facts["name"]),
        cell=cell,
        classes=result.classes,
        expected=Expected(
            side=min(form.size),
            bands=form.bands,
            dtype=form.dtype,
            pixel_scale=scale if scale is None or np.isfinite(scale) else None,
            mean=network.preprocessing.mean,
            std=network.preprocessing.std,
            interpolation=cell.pixels.interpolation,
        ),
        blocks=len(model.network.blocks),
        features=model.network.channels,
        temperature=chosen.temperature,
        scores=chosen.scores,
        objects={"parts": facts["objects"], "balance": facts["data"]["balance"], "train_size": cell.train_size},
        licence=_licence(cell, started),
        pretrained=_begun_from(cell, started),
        seed=cell.seed,
        versions=result.versions,
        numbers=chosen.halves.record(facts, run) if chosen.halves else None,
        members=chosen.seeds.members if chosen.seeds else (),
    )


def _some(cutouts: Cutouts, about: BundleDescription) -> torch.Tensor:
    """A few images of the data, as the network gets them."""
    pixels = []
    for name, image, _ in cutouts.images():
        with suppress(BrokenImageError):
            pixels.append(decode(image, name))
        if len(pixels) == CHECKED:
            break
    return batch_input(np.stack(pixels), np.arange(len(pixels)), about.cell.pixels, bands=about.expected.bands)


def _begun_from(cell: Cell, started: Weights) -> str:
    """With what weights the training began, in words."""
    if started.source not in ("package", "download"):
        return started.source
    return cell.weights.published or backbone_of(cell).weights


def _licence(cell: Cell, started: Weights) -> str:
    if started.source not in ("package", "download"):
        return "unknown (weights of the user's own)"
    source = backbone(cell.weights.published) if cell.weights.published else backbone_of(cell)
    known = {each.name: each.licence for each in HUB_ENCODERS}
    return known.get(cell.weights.name or "", "not stated") if source.licence == "not stated" else source.licence


def _write(bundle: Path, files: dict[str, bytes]) -> None:
    """Write a folder that appears whole, and replaces an older one."""
    with writing(bundle):
        bundle.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{bundle.name}.", dir=bundle.parent))
        try:
            for name, content in files.items():
                (part / name).write_bytes(content)
            part.chmod(0o755)
            if bundle.exists():
                shutil.rmtree(bundle)
            part.rename(bundle)
            sync_folder(bundle.parent)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise

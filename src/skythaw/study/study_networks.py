"""The networks of a study, each with each of its weights: what names of published weights say is settled here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from skythaw.backbones.keras_networks import of_keras
from skythaw.backbones.known_backbones import Backbone, backbone
from skythaw.errors import SpecError, UnknownNameError
from skythaw.spec import Cell, Study, WeightsChoice
from skythaw.spec.weights_choice import DESCRIBED, IMAGENET, LOCAL

HAS_SEEN_IMAGENET = re.compile(r"in1k|in12k|in2[12]k")


@dataclass(frozen=True)
class StudyNetwork:
    """A network of a study, with one of its weights."""

    name: str
    """of the network, as it stands in a cell"""
    choice: WeightsChoice
    """with what its name says: the commit, and what the weights expect where that is not what the network does"""
    interpolation: str | None = None
    """how images are resized for published weights; None is as always"""

    @property
    def title(self) -> str:
        return self.choice.beside(self.name)

    def cell(self, cell: Cell, sha256: str) -> Cell:
        """A cell of the network with these weights, its images resized as they expect it."""
        pixels = cell.pixels
        if self.interpolation == "bilinear" and pixels.size != pixels.crop:
            pixels = pixels.model_copy(update={"interpolation": "bilinear"})
        weights = self.choice.model_copy(update={"file": None})
        return cell.model_copy(update={"weights": weights, "weights_sha256": sha256, "pixels": pixels})


def study_networks(study: Study, warnings: list[str]) -> list[StudyNetwork]:
    """Every network with every set of weights, in the order of the grid.

    Raises
    ------
    SpecError, UnknownNameError, WeightsError
        A name is unknown or can't be read; weights are named twice over, or fit none of the networks.
    """
    named = {name: backbone(name) for name in study.grid.backbone}
    if unused := sorted(set(study.weights) - set(named)):
        raise UnknownNameError.among("backbone in [weights]", unused[0], named)
    if study.grid.weights:
        return _every_pair(study, named, warnings)
    return [alone(each, study.weights.get(name)) for name, each in named.items()]


def alone(own: Backbone, choice: WeightsChoice | None) -> StudyNetwork:
    """A network with the one set of weights that the study says, or the official ones."""
    described = own.name.startswith(DESCRIBED)
    network = backbone(f"timm:{own.model}") if described else own
    if choice is not None and choice.name == IMAGENET:
        return StudyNetwork(network.name, _unnamed(choice))
    if described and (choice is None or not choice.published):
        return _as_described(settle(network, WeightsChoice(name=own.name)), network, choice)
    return StudyNetwork(network.name, WeightsChoice()) if choice is None else settle(network, choice)


def _as_described(found: StudyNetwork, network: Backbone, choice: WeightsChoice | None) -> StudyNetwork:
    """The network that a config describes, with its own weights, or with a file or random ones in their place."""
    if choice is None:
        return found
    settled, said = settle(network, choice).choice, found.choice
    update = {
        "name": settled.label,
        "mean": settled.mean or said.mean,
        "std": settled.std or said.std,
        "options": said.options | settled.options,
    }
    return replace(found, choice=settled.model_copy(update=update))


def _unnamed(choice: WeightsChoice) -> WeightsChoice:
    return choice.model_copy(update={"name": None})


def _every_pair(study: Study, named: dict[str, Backbone], warnings: list[str]) -> list[StudyNetwork]:
    """Each network with each of the study's weights that are of it; files, random and ImageNet are tried with all."""
    _require_labels(study.grid.weights)
    published = {each.published: backbone(each.published) for each in study.grid.weights if each.published}
    models = {name: _model(each) for name, each in named.items()}
    for name, source in published.items():
        others = [network for network, model in models.items() if model != _model(source)]
        if len(others) == len(models):
            raise SpecError(
                f"weights = {name!r} are of {_model(source)}, which is none of the backbones: {_some(models)}"
            )
        warnings += [
            f"weights {name} are of {_model(source)}, so {network} is not tried with them" for network in others
        ]
    found = []
    for name, network in named.items():
        if name in study.weights or name.startswith(DESCRIBED) or "." in network.model:
            raise SpecError(
                f"the weights of {name} are named twice: in [grid] weights, and "
                + (
                    f"in [weights] {name!r}"
                    if name in study.weights
                    else f"by the backbone (write 'timm:{_model(network)}')"
                )
            )
        for choice in study.grid.weights:
            if not choice.published or _model(published[choice.published]) == models[name]:
                found.append(settle(network, choice.model_copy(update={"name": choice.label})))
    return found


def _require_labels(choices: Sequence[WeightsChoice]) -> None:
    """Two sets of weights may not have one name in the report."""
    labels = [each.label for each in choices]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise SpecError(
            f"grid.weights has two sets called {twice[0]!r}: give one of them a name of its own, such as "
            f'{{ file = "{twice[0]}", name = "mine" }}'
        )


def settle(network: Backbone, choice: WeightsChoice) -> StudyNetwork:
    """A network with such weights; what their config says is written into the choice, where the network's differs."""
    if choice.published is None:
        if choice.name == IMAGENET:
            _require_imagenet(network)
        elif choice.name is not None and choice.file is None and not choice.random:
            raise SpecError(
                f"weights: {choice.name!r} is no name of published weights (timm:NAME.TAG, hf_hub:OWNER/NAME, "
                f"torchvision:NAME, {LOCAL}PATH), and there is neither file nor random = true"
            )
        return StudyNetwork(network.name, of_keras(network, choice))
    source = backbone(choice.published)
    if _model(source) != _model(network):
        raise SpecError(f"weights = {choice.name!r} are of {_model(source)}, not of {network.name}")
    expected, usual, own = source.preprocessing, network.preprocessing, dict(network.options)
    local = source.name.startswith(LOCAL)
    settled = choice.model_copy(
        update={
            "name": f"{LOCAL}{source.file.parent.name}" if local and source.file else source.name,
            "file": source.file,
            "commit": source.revision,
            "mean": choice.mean or (expected.mean if expected.mean != usual.mean else None),
            "std": choice.std or (expected.std if expected.std != usual.std else None),
            "options": {n: v for n, v in source.options if own.get(n) != v} | choice.options,
        }
    )
    return StudyNetwork(network.name, settled, expected.interpolation)


def _require_imagenet(network: Backbone) -> None:
    official = network.official or ""
    if network.name.startswith("timm:") and "/" in official and not HAS_SEEN_IMAGENET.search(official):
        raise SpecError(
            f"the official weights of {network.name} have not seen ImageNet ({official}): name weights of it, such as "
            "timm:NAME.TAG"
        )


def _model(network: Backbone) -> str:
    """Timm's name of a network, without its weights."""
    return network.model.partition(".")[0]


def _some(names: dict[str, str]) -> str:
    return ", ".join(names)

"""Runs in TensorBoard, MLflow or Trackio: each gives `on_cell` and `on_epoch` for `skythaw.run_study`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from skythaw.api.callbacks import CellEvent, EpochEvent
from skythaw.errors import DataError

SETTINGS = ("network", "backbone", "strategy", "train_size", "depth", "seed", "inputs")
"""of a cell, that a tracker is told as what was chosen"""


class Tracker:
    """What the trackers share: ``run_study(study, out, on_cell=tracker.on_cell, on_epoch=tracker.on_epoch)``."""

    extra = ""
    """the extra of skythaw that brings the package"""

    def on_epoch(self, event: EpochEvent) -> None:
        """Tell of a cell's scores at an epoch."""
        raise NotImplementedError

    def on_cell(self, event: CellEvent) -> None:
        """Tell of a cell that has ended."""
        raise NotImplementedError

    @classmethod
    def package(cls, name: str) -> Any:
        """The package of the tracker; raises `DataError` where it is not installed."""
        try:
            return import_module(name)
        except ImportError:
            raise DataError(f"{cls.__name__} needs the package {name}: pip install 'skythaw[{cls.extra}]'") from None


class TensorBoardTracker(Tracker):
    """Event files in a folder: ``tensorboard --logdir FOLDER`` shows them. Each cell is a run in it."""

    extra = "tensorboard"

    def __init__(self, folder: Path | str) -> None:
        self._writer = self.package("torch.utils.tensorboard").SummaryWriter
        self.folder = Path(folder)
        self._open: dict[str, Any] = {}

    def on_epoch(self, event: EpochEvent) -> None:
        """Write a cell's scores at an epoch; steps are thousandths of an epoch, which may be a fraction."""
        writer = self._of(event.cell.key, event.name)
        for name, value in event.scores.items():
            writer.add_scalar(f"training/{name}", value, round(1000 * event.epoch))

    def on_cell(self, event: CellEvent) -> None:
        """Write a cell's scores, and close its file."""
        writer = self._of(event.cell.key, event.name)
        for name, value in event.scores.items():
            writer.add_scalar(f"{event.part}/{name}", value, 0)
        if event.error:
            writer.add_text("failed", event.error)
        self._open.pop(event.cell.key).close()

    def _of(self, key: str, name: str) -> Any:
        if key not in self._open:
            self._open[key] = self._writer(str(self.folder / f"{name.replace(',', '').replace(' ', '-')}-{key[:8]}"))
        return self._open[key]


class MLflowTracker(Tracker):
    """Each cell as a run of MLflow, in the experiment that is set (``mlflow.set_experiment``)."""

    extra = "mlflow"

    def __init__(self) -> None:
        self._mlflow = self.package("mlflow")
        self._curves: dict[str, list[EpochEvent]] = {}

    def on_epoch(self, event: EpochEvent) -> None:
        """Keep a cell's scores until it ends."""
        self._curves.setdefault(event.cell.key, []).append(event)

    def on_cell(self, event: CellEvent) -> None:
        """Log a cell: what was chosen, how it trained, and its scores."""
        with self._mlflow.start_run(run_name=event.name):
            self._mlflow.log_params(chosen(event))
            for each in self._curves.pop(event.cell.key, []):
                self._mlflow.log_metrics(each.scores, step=round(1000 * each.epoch))
            self._mlflow.log_metrics({f"{event.part}_{name}": value for name, value in event.scores.items()})
            if event.error:
                self._mlflow.set_tag("error", event.error[-4000:])


class TrackioTracker(Tracker):
    """Each cell as a run of Trackio: ``trackio show`` shows them."""

    extra = "trackio"

    def __init__(self, project: str = "skythaw") -> None:
        self._trackio, self.project = self.package("trackio"), project
        self._curves: dict[str, list[EpochEvent]] = {}

    def on_epoch(self, event: EpochEvent) -> None:
        """Keep a cell's scores until it ends."""
        self._curves.setdefault(event.cell.key, []).append(event)

    def on_cell(self, event: CellEvent) -> None:
        """Log a cell: what was chosen, how it trained, and its scores."""
        self._trackio.init(project=self.project, name=event.name, config=chosen(event))
        for each in self._curves.pop(event.cell.key, []):
            self._trackio.log({"epoch": each.epoch, **each.scores})
        self._trackio.log({f"{event.part}_{name}": value for name, value in event.scores.items()})
        self._trackio.finish()


def chosen(event: CellEvent) -> dict[str, Any]:
    """What was chosen of a cell, by name."""
    return {name: getattr(event.cell, name) for name in SETTINGS} | {"trial": event.trial, "key": event.cell.key}

"""Standard work S1 in fastai, in a virtual environment of its own.

    python benchmarks/s1/fastai_loop.py FOLDER WEIGHTS [--size 64] [--json FILE]

FOLDER is what prepare.py made. Freezing is fastai's own (``freeze_to``), whose default lets batch norm learn below
the depth too; one cycle, the eight views as batch transforms, the best epoch on validation is kept. Needs fastai, timm,
safetensors and scikit-learn.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

from fastai.callback.tracker import SaveModelCallback
from fastai.vision.all import (
    CategoryBlock,
    CropPad,
    DataBlock,
    Dihedral,
    F1Score,
    GrandparentSplitter,
    ImageBlock,
    Learner,
    Normalize,
    accuracy,
    get_image_files,
    params,
    parent_label,
)
from plain_timm import BATCH, EPOCHS, RATE, load
from sklearn.metrics import f1_score
from sweep import parser, sweep
from timm.models._manipulate import group_parameters


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--network", default="mobilenetv2")
    sweep(options.parse_args(), run)


def run(args: argparse.Namespace, depth: float) -> float:
    """Train at one depth; macro-F1 of the best epoch's weights on the test images."""
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        splitter=GrandparentSplitter("train", "validation"),
        get_y=parent_label,
        item_tfms=CropPad(args.size),
        batch_tfms=[Dihedral(), Normalize.from_stats([0.5] * 3, [0.5] * 3)],
    )
    data = block.dataloaders(args.folder / "pool", bs=BATCH, num_workers=2, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        learner = Learner(
            data, load(args), splitter=partial(_groups, depth), metrics=[accuracy, F1Score(average="macro")]
        )
        learner.path = Path(folder)
        learner.freeze_to(1)
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(EPOCHS, RATE, pct_start=0.2, cbs=SaveModelCallback("f1_score"))
            test = data.test_dl(get_image_files(args.folder / "test"), with_labels=True)
            p, true = learner.get_preds(dl=test)
    return float(f1_score(true, p.argmax(1), average="macro"))


def _groups(depth: float, model: object) -> list[list[object]]:
    """What is frozen, and what is trained."""
    groups = list(group_parameters(model, model.group_matcher(coarse=False)).values())
    head = {"classifier.weight", "classifier.bias"}
    blocks = [[name for name in group if name not in head] for group in groups]
    lowest = len(blocks) - int(depth * len(blocks) + 0.5)
    trained = head.union(*blocks[lowest:])
    every = dict(model.named_parameters())
    assert len(every) == len(params(model))
    return [[p for n, p in every.items() if n not in trained], [p for n, p in every.items() if n in trained]]


if __name__ == "__main__":
    main()

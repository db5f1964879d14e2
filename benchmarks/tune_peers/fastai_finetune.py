"""fastai as its own tutorials use it, for tune_peers.py: `vision_learner`, then `fine_tune` while there is time.

    PYTHON benchmarks/tune_peers/fastai_finetune.py FOLDER --out OUT --budget SECONDS [--crop 32 --size 96]

PYTHON is that of an environment with fastai and timm. The rate is fastai's default; its augmentations are the default
ones and flips up and down; the length is the number of epochs that the budget holds, by the time that one takes.
"""

from __future__ import annotations

import time

from fastai.vision.all import (
    CategoryBlock,
    ColReader,
    ColSplitter,
    CropPad,
    DataBlock,
    F1Score,
    ImageBlock,
    Learner,
    Resize,
    accuracy,
    aug_transforms,
    vision_learner,
)
from peer_files import NETWORK, arguments, test_images, trained, training_table, write_predictions

SURE = 0.95
"""share of the time that is left that is planned for: the time of an epoch is not always the same"""


def main() -> None:
    args = arguments(__doc__)
    crop = [CropPad(args.crop), Resize(args.size)] if args.crop else []
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_x=ColReader("image"),
        get_y=ColReader("label"),
        splitter=ColSplitter("valid"),
        item_tfms=crop,
        batch_tfms=aug_transforms(flip_vert=True),
    )
    data = block.dataloaders(training_table(args.folder), bs=64, num_workers=0, seed=0)

    def learner() -> Learner:
        local = {"file": str(args.folder / "weights.safetensors")}
        metrics = [accuracy, F1Score(average="macro")]
        return vision_learner(data, NETWORK, metrics=metrics, path=args.out, pretrained_cfg_overlay=local)

    timed = learner()
    timed.unfreeze()
    start = time.time()
    timed.fit_one_cycle(1, 1e-5)
    epoch = time.time() - start
    left = args.budget - (time.time() - args.begun)
    epochs = max(1, int(SURE * left / epoch) - 1)
    print(f"an epoch takes {epoch:.1f} s: one with the frozen network, then {epochs}", flush=True)
    learn = learner()
    with learn.no_bar():
        learn.fine_tune(epochs)
    learn.export("learner.pkl")
    trained(args.out)
    files = test_images(args.folder)
    p, _ = learn.get_preds(dl=data.test_dl([str(file) for file in files]))
    write_predictions(args.out, files, p.numpy(), list(data.vocab))


if __name__ == "__main__":
    main()

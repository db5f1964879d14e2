"""AutoGluon MultiModal with a time limit, for tune_peers.py.

    PYTHON benchmarks/tune_peers/autogluon_fit.py FOLDER --out OUT --budget SECONDS [--crop 32 --size 96]

PYTHON is that of an environment with autogluon.multimodal. The preset is `medium_quality`, with one change: the network
is EfficientNet-Lite0, whose weights are put where the Hugging Face Hub would have put them. AutoGluon has no option to
crop the middle of an image of less than the network's size, so with --crop it is given files that are cropped.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pandas as pd
from peer_files import NETWORK, arguments, test_images, trained, training_table, write_predictions
from PIL import Image

COMMIT = "0" * 40


def main() -> None:
    args = arguments(__doc__)
    os.environ |= {"HF_HOME": str(args.out / "hub"), "HF_HUB_OFFLINE": "1"}
    pretend_downloaded(args.folder / "weights.safetensors", args.out / "hub" / "hub")
    from autogluon.multimodal import MultiModalPredictor  # which reads the environment when it is imported

    table = training_table(args.folder)
    given = {"image": cropped(table["image"], args.crop, args.out / "train"), "label": table["label"]}
    table = pd.DataFrame(given).assign(valid=table["valid"])
    predictor = MultiModalPredictor(
        label="label", problem_type="multiclass", eval_metric="f1_macro", path=str(args.out / "predictor")
    )
    sizes = {"model.timm_image.image_size": args.size} if args.size else {}
    predictor.fit(
        table.loc[~table["valid"], ["image", "label"]],
        tuning_data=table.loc[table["valid"], ["image", "label"]],
        presets="medium_quality",
        time_limit=args.budget - (time.time() - args.begun),
        hyperparameters={
            "model.names": ["timm_image"],
            "model.timm_image.checkpoint_name": NETWORK,
            "env.num_workers": 0,
            "env.num_workers_inference": 0,
            **sizes,
        },
        seed=0,
    )
    trained(args.out)
    files = test_images(args.folder)
    test = pd.DataFrame({"image": cropped([str(file) for file in files], args.crop, args.out / "test")})
    p = predictor.predict_proba(test)
    write_predictions(args.out, files, p.to_numpy(), list(p.columns))


def pretend_downloaded(weights: Path, hub: Path) -> None:
    """Lay a file of weights out as the cache of the Hugging Face Hub."""
    model = hub / f"models--timm--{NETWORK}.in1k"
    for folder in ("refs", f"snapshots/{COMMIT}"):
        (model / folder).mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    shutil.copy(weights, model / "snapshots" / COMMIT / "model.safetensors")


def cropped(images: list[str], side: int | None, out: Path) -> list[str]:
    """The files of the central part of images, without loss; the images themselves where nothing is to be cropped."""
    if side is None:
        return list(images)
    out.mkdir()
    found = []
    for path in images:
        with Image.open(path) as image:
            edge = (image.width - side) // 2
            found.append(str(out / f"{Path(path).stem}.png"))
            image.crop((edge, edge, edge + side, edge + side)).save(found[-1])
    return found


if __name__ == "__main__":
    main()

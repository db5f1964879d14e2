"""Standard work S1 as people write it today: timm, a DataLoader over image files, one run a depth.

    python benchmarks/s1/plain_timm.py FOLDER WEIGHTS [--size 64] [--depths 0 5 ...] [--json FILE]

FOLDER is what prepare.py made. Freezing is done right: frozen blocks without gradient, all batch norm on its running
statistics. The recipe is skythaw's (AdamW, one cycle to 1e-3, clipped gradients), without the average of weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from sklearn.metrics import f1_score
from sweep import parser, sweep
from timm.models._manipulate import group_parameters
from torch import nn
from torch.utils.data import DataLoader, Dataset

BATCH, EPOCHS, RATE = 64, 10, 1e-3
NETWORKS = {
    "mobilenetv2": ("mobilenetv2_100", {"pad_type": "same", "bn_eps": 1e-3}),
    "efficientnet_lite0": ("tf_efficientnet_lite0", {}),
}


class Files(Dataset):
    """The images of a part, cropped to the centre; in training each in a random view."""

    def __init__(self, folder: Path, size: int, training: bool, count: int | None = None) -> None:
        classes = sorted(path.name for path in folder.iterdir())
        each = count // len(classes) if count else None
        self.files = [(file, n) for n, name in enumerate(classes) for file in sorted((folder / name).iterdir())[:each]]
        self.size, self.training = size, training

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        file, label = self.files[index]
        image = np.asarray(Image.open(file).convert("RGB"), dtype=np.float32)
        edge = (len(image) - self.size) // 2
        x = torch.from_numpy(image[edge : edge + self.size, edge : edge + self.size]).permute(2, 0, 1) / 127.5 - 1
        if self.training:
            view = int(torch.randint(8, ()))
            x = torch.rot90(x.flip(2) if view >= 4 else x, view % 4, (1, 2))
        return x.contiguous(), label


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--network", choices=NETWORKS, default="mobilenetv2")
    options.add_argument("--train-size", type=int, help="images to train on, the same share of each class; else all")
    options.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    options.add_argument("--epochs", type=int, default=EPOCHS)
    options.add_argument("--channels-last", action="store_true")
    options.add_argument("--device", default="cpu")
    options.add_argument("--amp", action="store_true", help="mixed precision, on a GPU")
    sweep(options.parse_args(), run)


def run(args: argparse.Namespace, depth: float) -> float:
    """Train at one depth; macro-F1 of the best epoch's weights on the test images."""
    torch.manual_seed(0)
    training, validation, test = (
        DataLoader(
            Files(args.folder / part, args.size, "train" in part, args.train_size if "train" in part else None),
            BATCH,
            shuffle="train" in part,
            num_workers=args.workers,
            pin_memory=args.device != "cpu",
            persistent_workers=args.workers > 0,
        )
        for part in ("pool/train", "pool/validation", "test")
    )
    model = load(args).to(args.device)
    freeze(model, depth)
    if args.channels_last:
        model = model.to(memory_format=torch.channels_last)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01)
    steps = args.epochs * len(training)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.2, cycle_momentum=False)
    scaler = torch.amp.GradScaler(args.device, enabled=args.amp)
    best, kept = -1.0, {}
    for _ in range(args.epochs):
        model.eval()  # every batch norm on its running statistics; there is no dropout
        for x, y in training:
            with torch.autocast(args.device, enabled=args.amp):
                loss = nn.functional.cross_entropy(model(laid_out(x, args)), y.to(args.device, non_blocking=True))
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(trained, 1.0)
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
        score = evaluate(model, validation, args)
        if score > best:
            best, kept = score, {name: t.clone() for name, t in model.state_dict().items()}
    model.load_state_dict(kept)
    return evaluate(model, test, args)


def load(args: argparse.Namespace) -> nn.Module:
    """The network with its weights, and a new head."""
    name, options = NETWORKS[args.network]
    model = timm.create_model(name, num_classes=1000, **options)
    if args.weights.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(args.weights)
    else:
        state = torch.load(args.weights, map_location="cpu", weights_only=True)
    model.load_state_dict(
        dict(zip(model.state_dict(), state.values(), strict=True)) if args.network == "efficientnet_lite0" else state
    )
    model.reset_classifier(3)
    return model


def freeze(model: nn.Module, depth: float) -> None:
    """Freeze all but the head and the upper share of timm's blocks."""
    groups = list(group_parameters(model, model.group_matcher(coarse=False)).values())
    head = {"classifier.weight", "classifier.bias"}
    blocks = [[name for name in group if name not in head] for group in groups]
    lowest = len(blocks) - int(depth * len(blocks) + 0.5)
    trained = head.union(*blocks[lowest:])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)


def laid_out(x: torch.Tensor, args: argparse.Namespace) -> torch.Tensor:
    x = x.to(args.device, non_blocking=True)
    return x.contiguous(memory_format=torch.channels_last) if args.channels_last else x


@torch.inference_mode()
def evaluate(model: nn.Module, loader: DataLoader, args: argparse.Namespace) -> float:
    model.eval()
    predicted, true = [], []
    for x, y in loader:
        with torch.autocast(args.device, enabled=args.amp):
            predicted.append(model(laid_out(x, args)).argmax(1).cpu())
        true.append(y)
    return float(f1_score(torch.cat(true), torch.cat(predicted), average="macro"))


if __name__ == "__main__":
    main()

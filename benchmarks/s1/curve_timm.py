"""A plain loop of timm that trains until validation stops gaining: what S2 compares skythaw with.

As `plain_timm.py`, tuned: channels-last, no loader processes. How long it trains, and how the rate goes, is skythaw's
own rule (`CurvePace`), so that both sides stop alike. Without the average of weights.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from typing import Any

import torch
from plain_timm import BATCH, Files, freeze, load
from sklearn.metrics import f1_score
from torch import nn
from torch.utils.data import DataLoader

from skythaw.tuning.training_pace import CurvePace

MOST = 4000
"""steps before the rate falls, at most: skythaw's `max_steps`"""


def run(args: argparse.Namespace, depth: float, rate: float, seed: int) -> dict[str, Any]:
    """Train at one depth and rate; macro-F1 of the best weights on validation and test, and what it took."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    begun, at_work = time.perf_counter(), time.process_time()
    training, validation, test = (
        DataLoader(
            Files(args.folder / part, args.size, "train" in part, args.train_size if "train" in part else None),
            BATCH,
            shuffle="train" in part,
        )
        for part in ("pool/train", "pool/validation", "test")
    )
    model = load(args)
    freeze(model, depth)
    model = model.to(memory_format=torch.channels_last).eval()  # batch norm on its running statistics; no dropout
    score, steps = _fit(model, training, validation, rate)
    return {
        "depth": depth,
        "rate": rate,
        "seed": seed,
        "steps": steps,
        "validation": score,
        "test": _scores(model, test)[0],
        "processor": time.process_time() - at_work,
        "total": time.perf_counter() - begun,
    }


def _fit(model: nn.Module, training: DataLoader, validation: DataLoader, rate: float) -> tuple[float, int]:
    """Train; leave the best weights in the model. Their score on validation, and all steps done."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01)
    pace = CurvePace(MOST, len(validation.dataset))  # type: ignore[arg-type]
    place, done, best, kept = 0, 0, -1.0, _copy(model)
    remembered = (0, kept, copy.deepcopy(optimizer.state_dict()))
    batches = iter(training)
    while not pace.over(place):
        if (batch := next(batches, None)) is None:
            batches = iter(training)
            batch = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = rate * pace.rate(place)
        loss = nn.functional.cross_entropy(model(_laid_out(batch[0])), batch[1])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        place, done = place + 1, done + 1
        if not pace.due(place):
            continue
        score, log_loss = _scores(model, validation)
        if not math.isfinite(log_loss):
            break
        if score > best:
            best, kept = score, _copy(model)
        turn = pace.saw(place, log_loss, score)
        if turn == "gained":
            remembered = (place, _copy(model), copy.deepcopy(optimizer.state_dict()))
        elif turn == "back":
            place = remembered[0]
            model.load_state_dict(remembered[1])
            optimizer.load_state_dict(remembered[2])
    model.load_state_dict(kept)
    return best, done


def _laid_out(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _copy(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@torch.inference_mode()
def _scores(model: nn.Module, loader: DataLoader) -> tuple[float, float]:
    """Macro-F1 and log loss."""
    seen = [(model(_laid_out(x)), y) for x, y in loader]
    logits, true = (torch.cat(part) for part in zip(*seen, strict=True))
    return float(f1_score(true, logits.argmax(1), average="macro")), float(nn.functional.cross_entropy(logits, true))

"""What every loop of S1 does around its training: options, one run a depth, seconds, scores. Standard library."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The options that all loops have."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("folder", type=Path)
    made.add_argument("weights", type=Path, help="of the network, in the order of timm's")
    made.add_argument("--size", type=int, default=64, help="pixels")
    made.add_argument("--depths", type=float, nargs="+", default=[0, 0.25, 0.5, 0.75, 1], help="shares of the blocks")
    made.add_argument("--json", type=Path)
    return made


def sweep(args: argparse.Namespace, run: Callable[[argparse.Namespace, float], float]) -> None:
    """Run every depth; print seconds and macro-F1, and keep them as JSON."""
    rows = []
    for depth in args.depths:
        start = time.perf_counter()
        score = run(args, depth)
        rows.append({"depth": depth, "seconds": time.perf_counter() - start, "macro_f1": score})
        print(rows[-1], flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows))

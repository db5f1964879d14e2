"""Standard work S1 as files on disk, the same for every contestant.

    python benchmarks/s1/prepare.py DATA.parquet TEST.parquet OUT [--objects 2000] [--train 1500]

DATA and TEST are skythaw's Parquet form, DATA with run, camcol and field. OUT gets ``pool/train``, ``pool/validation``
and ``test``, each with a folder of images a class; and ``pool.csv`` and ``test.csv``, which `skythaw data import
--labels` reads. Training and validation share no field: they are divided as skythaw divides them, with the seeds of
``s1.toml``.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from skythaw.data.cutouts import Cutouts, read_cutouts
from skythaw.data.split import nested_order, split
from skythaw.spec import Split

SPLIT = Split(by="field", validation=0.2, seed=0)
FIELD = ("run", "camcol", "field")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--objects", type=int, default=2000, help="to train and validate on")
    parser.add_argument("--train", type=int, default=1500, help="to train on")
    args = parser.parse_args(arguments)
    data, test = read_cutouts(args.data), read_cutouts(args.test)
    rows = np.sort(nested_order(data.labels, seed=0)[: args.objects])
    pool = Cutouts(data.paths, data.table.take(rows), {})
    parts = split(pool, SPLIT, external_test=True)
    train = parts.train[nested_order(pool.labels[parts.train], seed=0)[: args.train]]
    part = np.full(len(pool), "spare", dtype=object)
    part[train], part[parts.validation] = "train", "validation"
    _write(args.out / "pool", data, dict(zip(rows, part, strict=True)))
    _write(args.out / "test", test, dict.fromkeys(range(len(test)), "."))
    names, counts = np.unique(part.astype(str), return_counts=True)
    print({**dict(zip(names.tolist(), counts.tolist(), strict=True)), "test": len(test)})


def _write(out: Path, cutouts: Cutouts, part: dict[int, str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    columns = [cutouts.column(name) for name in FIELD]
    with out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["object_id", "label", "path", *FIELD])
        for row, (name, image, _) in enumerate(cutouts.images()):
            if row not in part:
                continue
            path = Path(part[row]) / str(cutouts.labels[row]) / f"{name}.jpg"
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(image)
            writer.writerow([name, cutouts.labels[row], path, *(column[row] for column in columns)])


if __name__ == "__main__":
    main()

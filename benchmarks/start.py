"""Seconds from ``skythaw study run`` to the end of the first training step: this tree against an older one, in turns.

    git worktree add ../before 5886443
    python benchmarks/start.py --before ../before --rounds 5

The study is tiny (MobileNetV2 with random weights, 60 mock cutouts), so the start is nearly all of it. With a *warm*
cache the same study has run before, into another folder; with a *cold* one the cache folder is empty. A module that
every Python process of both sides loads writes down when an optimizer of torch has first made a step.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parents[1]
STUDY = """\
name = "start"

[data]
path = "mock.parquet"
crop = 32
split = { by = "object_id", validation = 0.2, test = 0.3, seed = 0 }

[grid]
backbone = ["mobilenetv2"]
depth = ["50%", "100%"]
train_size = [24]
seed = [0]

[recipe]
epochs = 1
lr = 1e-3
batch = 8
lr = 1e-3

[weights]
mobilenetv2 = "random"
"""
HOOK = '''\
"""Imported by every Python process that has this folder in PYTHONPATH."""
import os, sys, time
from importlib.machinery import PathFinder

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "torch.optim.optimizer":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            module.register_optimizer_step_post_hook(stepped)
        spec.loader.exec_module = exec_module
        return spec

def stepped(*_):
    try:
        with open(os.environ["FIRST_STEP"], "x") as file:
            file.write(str(time.time()))
    except FileExistsError:
        pass

sys.meta_path.insert(0, Finder())
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of an older commit")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    sides = {"before": arguments.before.resolve()} if arguments.before else {}
    sides["now"] = HERE
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _prepare(work)
        for cache in ("warm", "cold"):
            for name, tree in sides.items():
                if cache == "warm":
                    _seconds(tree, work, work / f"warm-{name}", whole=True)
            seconds: dict[str, list[float]] = {name: [] for name in sides}
            for _ in range(arguments.rounds):
                for name, tree in sides.items():
                    seconds[name].append(_seconds(tree, work, work / f"{cache}-{name}"))
                    if cache == "cold":
                        shutil.rmtree(work / f"cold-{name}")
                print(cache, *(f"{name} {each[-1]:.2f} s" for name, each in seconds.items()), flush=True)
            for name, each in seconds.items():
                print(f"{cache} cache, {name}: median {median(each):.2f} s ({min(each):.2f} to {max(each):.2f})")
            if "before" in seconds:
                ratios = [now / then for now, then in zip(seconds["now"], seconds["before"], strict=True)]
                spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
                print(f"{cache} cache, now / before: median of the rounds {median(ratios):.2f} {spread}")


def _prepare(work: Path) -> None:
    (work / "study.toml").write_text(STUDY)
    (work / "hook").mkdir()
    (work / "hook" / "sitecustomize.py").write_text(HOOK)
    mock = ["data", "mock", "mock.parquet", "--objects", "60", "--seed", "0", "--size", "40"]
    subprocess.run([sys.executable, "-m", "skythaw", *mock], cwd=work, check=True, capture_output=True)


def _seconds(tree: Path, work: Path, cache: Path, *, whole: bool = False) -> float:
    """Run the study into a new folder until its first step, or wholly; the seconds until that step."""
    step, out = work / "first-step", work / "run"
    for old in (step, out):
        shutil.rmtree(out) if old.is_dir() else old.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tree / "src"), str(work / "hook")]),
        "SKYTHAW_CACHE": str(cache),
        "FIRST_STEP": str(step),
    }
    command = [sys.executable, "-m", "skythaw", "study", "run", "study.toml", "--out", "run", "--workers", "2"]
    begun = time.time()
    with subprocess.Popen(command, cwd=work, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and (whole or not step.exists()):
            time.sleep(0.01)
        process.terminate()
    if not step.exists():
        sys.exit(f"the study of {tree} ended without a training step")
    time.sleep(0.5)  # its processes are gone
    return float(step.read_text()) - begun


if __name__ == "__main__":
    main()

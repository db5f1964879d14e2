"""What a report costs: a made-up run of 500 cells and 5,000 test objects, in seconds and memory, without torch.

    python benchmarks/report.py [--cells 500] [--objects 5000] [--rounds 3]

Five networks, twenty depths and five seeds; every object is a group of its own, which is the most that a bootstrap can
have to do. The report is a process of its own: table, JSON and page.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers_run import World, make_run

CALL = """
import resource, sys
from skythaw.cli import main
try: main(sys.argv[1:])
except SystemExit: pass
print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sorted({"torch", "timm"} & set(sys.modules)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    depths = args.cells // 25
    skills = {f"network{i}": {d: 1 + 0.1 * i + d / depths for d in range(depths)} for i in range(5)}
    world = World(skills, objects=args.objects, groups=args.objects, seeds=(0, 1, 2, 3, 4), blocks=depths)
    print(f"{platform.machine()}, {args.cells} cells, {args.objects} test objects")
    with tempfile.TemporaryDirectory() as folder:
        run, page = make_run(Path(folder) / "run", world), Path(folder) / "r.html"
        seconds, peak = [], 0
        for _ in range(args.rounds):
            start = time.perf_counter()
            command = [sys.executable, "-c", CALL, "report", run, "--html", page, "--json", f"{page}.json"]
            done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
            seconds.append(time.perf_counter() - start)
            last = done.stdout.split("PEAK ")[1].split(maxsplit=1)
            peak = max(peak, int(last[0]))
        print(
            f"{median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f}), {peak / 1e6:.2f} GB at most, "
            f"page of {page.stat().st_size / 1e6:.1f} MB; loaded of torch and timm: {last[1].strip()}"
        )


if __name__ == "__main__":
    main()
